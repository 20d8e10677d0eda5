//! A daemon that hangs is killed and replaced as a dead one is; one that somebody has stopped is left alone. The daemon
//! hangs where a file tells a build for tests to.

mod harness;

use harness::proc::{self, Sig};
use harness::superior::Superior;
use harness::{number, until, Fire, Folder};
use serde_json::json;

const TWO: &str = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nack_timeout = '10ms'\nrestart = 'always'\n";

/// One that waits for a hanging daemon so long, instead of the usual time; `more` variables.
fn start(folder: Folder, patience: &str, more: &[(&str, String)]) -> Fire {
    let hang = folder.join("hang");
    Fire::start_with(folder, TWO, |command| {
        command.env("FIRESTARTER_TEST_PATIENCE_MS", patience).env("FIRESTARTER_TEST_HANG", hang);
        command.envs(more.iter().map(|(name, value)| (name, value)));
    })
}

/// The tests' hook is not in a build that is meant for use.
fn unhookable() -> bool {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: needs a build with debug assertions");
    }
    !cfg!(debug_assertions)
}

#[test]
fn one_that_hangs_is_replaced_and_the_workers_run_on() {
    if unhookable() {
        return;
    }
    for how in ["idle", "busy"] {
        replaced_if_it_hangs(how);
    }
}

/// `how` it does: it waits for nothing, or runs for ever.
fn replaced_if_it_hangs(how: &str) {
    let fire = start(Folder::new(), "1000", &[]);
    let (before, daemon) = (fire.settled("web", 2), fire.daemon());
    fire.folder.write("hang", how);
    proc::signal(before[0], Sig::KILL);
    until("the daemon hangs", || !fire.folder.join("hang").exists());
    let mut wire = fire.wire();
    wire.send("status", json!({})).expect("ask");
    let reply = wire.reply().expect("the next daemon answers what was asked meanwhile");
    assert_ne!(number(&reply["result"]["daemon_pid"]), daemon, "{reply}");
    fire.hears(&format!("the daemon (pid {daemon}) hangs: it has not moved for 1s or more, and is killed"));
    until("a successor", || fire.settled("web", 2)[0] != before[0]);
    assert_eq!(fire.settled("web", 2)[1], before[1], "the other one runs on");
    assert_eq!(fire.status()["recoveries"], 1);
    fire.stop();
}

#[test]
fn one_that_is_stopped_is_left_alone() {
    let fire = start(Folder::new(), "1000", &[]);
    let (before, daemon) = (fire.settled("web", 2), fire.daemon());
    proc::signal(daemon, Sig::STOP);
    proc::signal(before[0], Sig::KILL);
    fire.hears(&format!("the daemon (pid {daemon}) is stopped"));
    let looks = || proc::status(fire.keeper_pid, "voluntary_ctxt_switches").parse::<u64>().expect("a number");
    let after = looks();
    until("more looks than a hanging one gets", || looks() > after + 10);
    proc::signal(daemon, Sig::CONT);
    until("a successor", || fire.settled("web", 2)[0] != before[0]);
    assert_eq!(fire.daemon(), daemon);
    assert!(!fire.stderr().contains("hangs"), "{}", fire.stderr());
    fire.stop();
}

#[test]
fn the_watchdog_hears_that_all_is_well_until_no_daemon_does_what_it_is_told() {
    if unhookable() {
        return;
    }
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let watched = [("NOTIFY_SOCKET", superior.path.display().to_string()), ("WATCHDOG_USEC", "300000".to_owned())];
    let fire = start(folder, "200", &watched);
    let well = || superior.count("WATCHDOG=1");
    until("signs of life", || well() > 3);
    // Nothing happens: the daemon is found out because it is asked.
    fire.folder.write("hang", "idle");
    fire.hears(" hangs: ");
    let so_far = well();
    until("signs of life of the next one", || well() > so_far + 10);
    fire.folder.write("hang", "always");
    let hangs = || fire.stderr().matches(" hangs: ").count();
    until("one daemon after the other hangs, and nothing is said to be well", || {
        let (last, so_far) = (well(), hangs());
        until("some more", || hangs() > so_far + 3);
        well() == last
    });
}
