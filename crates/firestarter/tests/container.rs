//! As PID 1 of a container: a pid namespace of its own, where the kernel allows one.

mod harness;

use std::fs::File;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use harness::proc::{self, Sig};
use harness::{finish, said, until, Fire, Folder, BIN};

const ONE: &str = "[web]\nexec_start = ['sleep', '1000']\n";

/// A command as PID 1 of a namespace; none where there is none to be had.
fn contained(folder: &Folder, words: &[&str]) -> Option<Command> {
    let inside = |words: &[&str]| {
        let mut command = folder.command("unshare");
        command.args(["--fork", "--pid", "--mount-proc", "--kill-child"]).args(words);
        command
    };
    let allowed = said(inside(&["true"]));
    if allowed.code != 0 {
        eprintln!("no pid namespace to be had, so nothing is tried: {}", allowed.err);
        return None;
    }
    Some(inside(words))
}

fn start(folder: &Folder, toml: &str) -> Option<Child> {
    folder.config(toml);
    let mut command = contained(folder, &[BIN, "run", "-c", "config.toml", "-d", "c"])?;
    command.stderr(File::create(folder.join("stderr")).expect("a file"));
    Some(command.spawn().expect("start"))
}

/// The keeper as it is seen from outside.
fn keeper(fire: &Fire) -> u32 {
    proc::children(fire.keeper_pid)[0]
}

#[test]
fn a_client_from_outside_the_container_is_served() {
    let folder = Folder::new();
    let Some(child) = start(&folder, ONE) else { return };
    // To it the client's pid is 0.
    let mut fire = Fire::watch(folder, child);
    assert_eq!(fire.status()["keeper_pid"], 1);
    fire.hears("PID 1: a stop may take 8 s, then what is left is killed: docker stop -t 10 gives it that time");
    fire.hears("less than the stop_timeout of web (10 s)");
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    assert_eq!(fire.ended().code(), Some(0));
}

#[test]
fn a_signal_to_pid_1_opens_log_files_anew() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nstdout_log = '@DIR@/log'\n";
    let Some(child) = start(&folder, toml) else { return };
    let mut fire = Fire::watch(folder, child);
    until("a line", || fire.folder.read("log") == "up\n");
    std::fs::rename(fire.folder.join("log"), fire.folder.join("old")).expect("rename");
    proc::signal(keeper(&fire), Sig::USR1);
    until("the new file", || fire.folder.join("log").exists());
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    assert_eq!(fire.ended().code(), Some(0));
}

#[test]
fn orphans_are_reaped() {
    let folder = Folder::new();
    // Each is left behind by its parent and ends a moment later.
    let orphans = "for i in 1 2 3 4 5; do (sleep 0.05 & echo $! >> orphans); done; exec sleep 1000";
    let Some(child) = start(&folder, &format!("[web]\nexec_start = ['sh', '-c', '{orphans}']\n")) else { return };
    let mut fire = Fire::watch(folder, child);
    fire.settled("web", 1);
    until("five orphans", || fire.folder.read("orphans").lines().count() == 5);
    // Keeper, daemon, worker, and perhaps the writer.
    until("no more than there must be", || fire.folder.processes().len() <= 5);
    assert_eq!(proc::zombies(keeper(&fire)), [] as [u32; 0]);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    assert_eq!(fire.ended().code(), Some(0));
}

#[test]
fn a_group_that_gave_up_ends_the_container_with_1() {
    let folder = Folder::new();
    let failing = "[web]\nexec_start = ['false']\nrestart = 'always'\nbackoff_max = '10ms'\ngiveup = 3\n";
    let Some(child) = start(&folder, &format!("{failing}[other]\nexec_start = ['sleep', '1000']\n")) else { return };
    assert_eq!(finish(child).code, 1, "{}", folder.read("stderr"));
    assert!(folder.read("stderr").contains("web has failed"), "{}", folder.read("stderr"));
}

#[test]
fn the_whole_stop_fits_into_its_time() {
    let folder = Folder::new();
    let deaf = "[web]\nexec_start = ['sh', '-c', \"trap '' TERM; while :; do sleep 1000; done\"]\n";
    let toml = format!("{deaf}stop_timeout = 1000\n[firestarter]\nstop_timeout = 2\n");
    let Some(child) = start(&folder, &toml) else { return };
    let mut fire = Fire::watch(folder, child);
    fire.settled("web", 1);
    let begun = Instant::now();
    proc::signal(keeper(&fire), Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
}
