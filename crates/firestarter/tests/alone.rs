//! No group waits for another: what hangs or shouts in one is nothing to the others.

mod harness;

use std::time::{Duration, Instant};

use harness::proc::{self, Sig};
use harness::{pids, until, worker, Fire, Folder};

#[test]
fn a_program_that_does_not_begin_to_run_holds_up_its_group_alone() {
    let folder = Folder::new();
    std::fs::copy("/bin/sleep", folder.join("program")).expect("copy");
    // The kernel makes an exec of the program wait for as long as somebody holds this lease.
    let mut lease = folder.command(worker()).args(["lease", "program"]).spawn().expect("run");
    until("the lease", || folder.join("leased").exists());
    let toml = "[hangs]\nexec_start = ['@DIR@/program', '1000']\nnumprocesses = 2\nack_timeout = '10ms'\n\
                [other]\nexec_start = ['sleep', '1000']\nnumprocesses = 3\nack_timeout = '10ms'\n";
    let fire = Fire::start_in(folder, toml);
    fire.settled("other", 3);
    fire.order("other", "restart");
    assert_eq!(fire.group("hangs")["ready"], 0);
    fire.hears("hangs: its program has not begun to run");
    lease.kill().and_then(|()| lease.wait()).expect("kill");
    fire.settled("hangs", 2);
    fire.stop();
}

#[test]
fn a_program_that_has_not_begun_to_run_at_the_end_never_does() {
    let folder = Folder::new();
    std::fs::copy("/bin/sleep", folder.join("program")).expect("copy");
    let mut lease = folder.command(worker()).args(["lease", "program"]).spawn().expect("run");
    until("the lease", || folder.join("leased").exists());
    let toml = "[firestarter]\nstop_timeout = '400ms'\n[hangs]\nexec_start = ['@DIR@/program', '1000']\n\
                numprocesses = 2\n[other]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    let mut fire = Fire::start_in(folder, toml);
    fire.settled("other", 1);
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0), "the one that hangs is killed, the other is not begun with");
    lease.kill().and_then(|()| lease.wait()).expect("kill");
    fire.nothing_left();
}

#[test]
fn a_group_whose_program_does_not_begin_to_run_can_be_stopped() {
    let folder = Folder::new();
    std::fs::copy("/bin/sleep", folder.join("program")).expect("copy");
    let mut lease = folder.command(worker()).args(["lease", "program"]).spawn().expect("run");
    until("the lease", || folder.join("leased").exists());
    // The first holds up the others, which would hang one after the other.
    let toml = "[hangs]\nexec_start = ['@DIR@/program', '1000']\nnumprocesses = 3\nstop_timeout = '100ms'\n\
                [other]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    let fire = Fire::start_in(folder, toml);
    fire.settled("other", 1);
    fire.hears("hangs: its program has not begun to run");
    let begun = Instant::now();
    fire.order("hangs", "stop");
    // The kernel lets the exec go on after 45 seconds.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?} {}", begun.elapsed(), fire.stderr());
    lease.kill().and_then(|()| lease.wait()).expect("kill");
    fire.stop();
}

#[test]
fn a_worker_that_acks_without_end_holds_up_nobody() {
    let fire = Fire::start(
        "[shouts]\nexec_start = ['@WORKER@', 'flood']\nack = 'manual'\n\
         [other]\nexec_start = ['sleep', '1000']\nrestart = 'always'\nack = 'none'\n",
    );
    fire.settled("shouts", 1);
    let before = fire.settled("other", 1)[0];
    let begun = Instant::now();
    proc::signal(before, Sig::KILL);
    until("a successor", || pids(&fire.group("other")).iter().any(|pid| *pid != before));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    fire.stop();
}
