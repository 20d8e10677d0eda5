//! Releases that are bad, each in its own way, under load: not one request fails, the old workers never notice, and
//! whoever asked for the upgrade is told what went wrong, by whom, and in the worker's own words.

mod harness;

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{group_of, pids, until, Fire, Folder, Said};

/// Workers that serve, and whose second generation does what `bad` says in place of it.
fn group(bad: &str, keys: &str) -> Fire {
    let folder = Folder::new();
    folder.script("run", &release(""));
    let toml = format!(
        "[web]\nexec_start = ['@DIR@/run']\nnumprocesses = 2\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\n\
         restart = 'always'\nstop_timeout = '200ms'\nbackoff_max = '20ms'\nstderr_log = 'size:1000000:1:@DIR@/err'\n{keys}\n"
    );
    let fire = Fire::start_in(folder, &toml);
    fire.settled("web", 2);
    fire.folder.script("fresh", &release(bad));
    fs::rename(fire.folder.join("fresh"), fire.folder.join("run")).expect("rename");
    fire
}

fn release(bad: &str) -> String {
    format!("#!/bin/sh\n{bad}\nexec {} serve path\n", harness::worker())
}

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

/// Upgrades to the bad release under load.
fn upgraded(fire: &Fire) -> Said {
    let before = fire.settled("web", 2);
    let load = Load::start(address_of(fire), 3, plain);
    load.goes_on(20);
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    load.goes_on(20);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(fire.settled("web", 2), before, "the old workers serve as before: {}", fire.stderr());
    load.stop();
    let group = fire.group("web");
    assert_eq!((&group["generation"], &group["restarts"]), (&1.into(), &0.into()));
    said
}

fn tells(said: &Said, what: &[&str]) {
    what.iter().for_each(|what| assert!(said.err.contains(what), "{what:?} in {said:?}"));
}

#[test]
fn one_that_ends_at_once() {
    let fire = group("echo no module named x >&2; exit 3", "ack = 'manual'");
    let said = upgraded(&fire);
    tells(
        &said,
        &["upgrade aborted: the new worker in slot", "ended with exit code 3", "stderr:\n    no module named x\n"],
    );
    fire.hears("web: its stderr | no module named x");
    fire.stop();
}

#[test]
fn one_that_ends_after_a_while() {
    let fire = group("echo booting >&2; sleep 0.5; echo gave up >&2; kill -SEGV $$", "ack = 'manual'");
    tells(&upgraded(&fire), &["was ended by SIGSEGV", "    booting\n    gave up\n"]);
    fire.stop();
}

#[test]
fn one_that_never_acks() {
    let fire = group("echo waiting for a database >&2; exec sleep 1000", "ack = 'manual'\nstart_timeout = '700ms'");
    let said = upgraded(&fire);
    tells(&said, &["had not acked when start_timeout was over, nor had 1 more", "    waiting for a database\n"]);
    fire.stop();
}

#[test]
fn one_that_acks_and_dies_in_the_soak() {
    let bad = format!("{} say $FIRESTARTER_SOCK_PATH 0; sleep 0.3; echo too late >&2; exit 9", harness::worker());
    let fire = group(&bad, "ack = 'manual'\nsoak = 60");
    tells(&upgraded(&fire), &["ended with exit code 9", "    too late\n"]);
    fire.stop();
}

#[test]
fn one_that_hangs_at_boot_and_does_not_listen() {
    let bad = "trap \"\" TERM INT USR2; echo stuck >&2; while :; do sleep 0.05; done";
    let fire = group(bad, "ack = 'manual'\nstart_timeout = '500ms'");
    tells(&upgraded(&fire), &["had not acked", "    stuck\n"]);
    until("nobody of it is left", || fire.folder.processes().len() <= 5);
    fire.stop();
}

#[test]
fn one_that_forks_away() {
    let fire = group("setsid sleep 1000 & exit 0", "ack = 'manual'");
    // Who has left its session and its process group is nobody's any more; the folder's end finds it.
    tells(&upgraded(&fire), &["ended with exit code 0"]);
}

#[test]
fn one_that_floods_its_stderr() {
    let bad =
        "i=0; while [ $i -lt 3000 ]; do echo line $i of a flood that goes on and on >&2; i=$((i+1)); done; exit 1";
    let fire = group(bad, "ack = 'manual'");
    let said = upgraded(&fire);
    tells(&said, &["exit code 1", "    line 2990 of a flood", "    line 2999 of a flood that goes on and on\n"]);
    assert!(!said.err.contains("line 2989 "), "ten lines are enough: {said:?}");
    fire.stop();
}

#[test]
fn whoever_says_nothing_is_not_quoted() {
    let fire = group("exit 4", "ack = 'manual'");
    assert!(!upgraded(&fire).err.contains("last lines"));
    fire.stop();
}

#[test]
fn an_abort_in_a_later_batch_keeps_what_was_committed_and_a_rollback_brings_all_back() {
    let folder = Folder::new();
    folder.script("run", "#!/bin/sh\n$READY\nexec sleep 1000\n");
    let toml = "[web]\nexec_start = ['@DIR@/run']\nnumprocesses = 4\nrestart = 'always'\nsurge = 1\nack = 'notify'\n\
                environments = ['READY=@NOTIFIER@ say READY=1 barrier /dev/null exit 0']\n";
    let fire = Fire::start_in(folder, toml);
    let before = fire.settled("web", 4);
    // The third of its workers to start is bad.
    let script =
        "#!/bin/sh\ncd @DIR@; echo x >>started; [ $(wc -l <started) -ne 3 ] || exit 5\n$READY\nexec sleep 2000\n";
    fire.folder.script("fresh", &script.replace("@DIR@", &fire.folder.path().display().to_string()));
    fs::rename(fire.folder.join("fresh"), fire.folder.join("run")).expect("rename");
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!(said.code, 1, "{said:?}");
    tells(&said, &["in slot 2", "exit code 5; 2 of 4 workers are new and stay\n", "firestarter ctrl web rollback\n"]);
    fire.hears("2 of 4 workers are new and stay; to take that back: firestarter ctrl web rollback");
    let mixed = fire.settled("web", 4);
    assert_eq!(mixed[2..], before[2..], "slots that were not renewed");
    assert!(mixed[..2].iter().all(|pid| !before.contains(pid)), "what was committed stays: {before:?} {mixed:?}");
    // A script that is ready may not have come to its end yet.
    let runs = |pid: u32| proc::arguments(pid).last().cloned().unwrap_or_default();
    let run =
        |pids: &[u32], words: [&str; 4]| until("the scripts' ends", || pids.iter().map(|pid| runs(*pid)).eq(words));
    run(&mixed, ["2000", "2000", "1000", "1000"]);
    proc::signal(mixed[1], Sig::KILL);
    fire.wait_for("a respawn", |status| !pids(&group_of(status, "web")).contains(&mixed[1]));
    until("it runs", || fire.settled("web", 4).get(1).is_some_and(|pid| runs(*pid) == "1000"));
    fire.order("web", "rollback");
    let back = fire.settled("web", 4);
    run(&back, ["1000"; 4]);
    assert_eq!(fire.group("web")["generation"], 1);
    fire.stop();
}

#[test]
fn a_rollback_and_a_restart_in_steps_say_so_when_they_are_aborted() {
    let folder = Folder::new();
    folder.script("run", "#!/bin/sh\n[ ! -e bad ] || { echo no more >&2; exit 4; }\nexec sleep 1000\n");
    let toml = "[web]\nexec_start = ['@DIR@/run']\nworking_directory = '@DIR@'\nnumprocesses = 2\nrestart = 'always'\n\
                ack_timeout = '300ms'\nsurge = 1\nmax_unavailable = 1\nstderr_log = 'size:1000000:1:@DIR@/err'\n\
                backoff_max = '20ms'\n";
    let fire = Fire::start_in(folder, toml);
    fire.settled("web", 2);
    fire.order("web", "upgrade");
    fire.settled("web", 2);
    for (verb, after) in
        [("rollback", "the old workers serve as before"), ("restart", "all slots run what they ran before")]
    {
        fire.folder.write("bad", "");
        let said = fire.ctl(&["ctrl", "web", verb]);
        fs::remove_file(fire.folder.join("bad")).expect("remove");
        assert_eq!(said.code, 1, "{said:?}");
        let aborted = format!("firestarter: web: {verb} aborted: the new worker in slot ");
        tells(&said, &[&aborted, &format!("ended with exit code 4; {after}\n"), "    no more\n"]);
        tells(&said, &[&format!("then: firestarter ctrl web {verb}\n")]);
        fire.settled("web", 2);
        assert_eq!(fire.group("web")["generation"], 2, "what was committed serves");
    }
    fire.hears("web: rollback to generation 1 aborted: ");
    fire.hears("web: restart aborted: ");
    fire.stop();
}

#[test]
fn old_workers_are_told_when_kill_old_delay_is_over() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sleep', '1000']\nack_timeout = '20ms'\nkill_old_delay = '700ms'\n";
    let fire = Fire::start_in(folder, toml);
    let old = fire.settled("web", 1)[0];
    let begun = Instant::now();
    fire.order("web", "upgrade");
    assert!(proc::alive(old) && begun.elapsed().as_millis() < 700, "it is committed before the delay is over");
    until("its end", || !proc::alive(old));
    assert!(begun.elapsed().as_millis() >= 700, "and the old one lives as long as it lasts");
    fire.settled("web", 1);
    fire.stop();
}

#[test]
fn a_worker_that_is_too_old_is_replaced_start_first() {
    let fire = group("", "ack = 'manual'\nmax_age = '1500ms'");
    let before = fire.settled("web", 2);
    let load = Load::start(address_of(&fire), 3, plain);
    until("all of them were replaced", || {
        let group = fire.group("web");
        assert_ne!(group["ready"], 0, "never without a worker: {group}");
        pids(&group).iter().all(|pid| !before.contains(pid))
    });
    load.goes_on(20);
    load.stop();
    assert_eq!(fire.group("web")["restarts"], 0, "{}", fire.stderr());
    fire.hears("old; starting its successor");
    fire.stop();
}
