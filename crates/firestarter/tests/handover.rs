//! What may happen while Firestarter is being replaced by another version: who asks dies, or who is asked; all is to stop;
//! and there is a time in which neither program can go on. Each worker runs on, and whoever asked is told.

mod harness;

use std::path::Path;

use harness::proc::{self, Sig};
use harness::{until, Fire, Folder, BIN};

const WEB: &str = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nrestart = 'always'\n";

/// Firestarter, to be replaced by a program with this fault.
fn with(fault: &str) -> Fire {
    let folder = Folder::new();
    std::fs::copy(BIN, folder.join("new")).expect("a copy of the program");
    let mut command = harness::run_command(&folder, WEB);
    Fire::watch(folder, command.env("FIRESTARTER_HANDOVER_FAULT", fault).spawn().expect("start"))
}

/// The new program is asked, and thinks.
fn asked(fire: &Fire) -> std::process::Child {
    let client = fire.begin(&["upgrade-daemon", "--binary", "new"]);
    until("the question", || fire.folder.join("asked").exists());
    client
}

#[test]
fn without_a_keeper_the_daemon_stays() {
    let fire = with("slow");
    let (workers, daemon, client) = (fire.settled("web", 2), fire.daemon(), asked(&fire));
    fire.signal_keeper(Sig::KILL);
    fire.folder.write("go", "");
    let said = harness::finish(client);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("not replaced: the keeper is dead: restart Firestarter"), "{said:?}");
    assert!(proc::alive(daemon));
    assert_eq!(fire.settled("web", 2), workers);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.nothing_left();
}

#[test]
fn a_signal_is_not_forgotten_by_the_next_daemon() {
    let folder = Folder::new();
    std::fs::copy(BIN, folder.join("fire")).expect("a copy");
    let mut command = harness::run_command_of(&folder.join("fire"), &folder, WEB);
    let fire = Fire::watch(folder, command.env("FIRESTARTER_HANDOVER_FAULT", "slow").spawn().expect("start"));
    let workers = fire.settled("web", 2);
    fire.signal_keeper(Sig::USR2);
    until("the question", || fire.folder.join("asked").exists());
    fire.kill_daemon();
    until("it is asked again", || fire.stderr().matches("whether it could take over").count() == 2);
    fire.folder.write("go", "");
    until("the new program", || fire.stderr().contains(" took the place of "));
    assert_eq!(fire.settled("web", 2), workers);
    assert_eq!(
        fire.stderr().matches("whether it could take over").count(),
        2,
        "once for the one signal: {}",
        fire.stderr()
    );
    fire.stop();
}

#[test]
fn a_stop_comes_first() {
    let mut fire = with("slow");
    fire.settled("web", 2);
    let client = asked(&fire);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    let said = harness::finish(client);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("not replaced: Firestarter is being stopped"), "{said:?}");
    assert_eq!(fire.ended().code(), Some(0));
    fire.folder.write("go", "");
    fire.nothing_left();
}

#[test]
fn what_the_new_program_leaves_behind_is_not_waited_for() {
    let fire = with("leaves");
    let workers = fire.settled("web", 2);
    let said = fire.ctl(&["upgrade-daemon", "--binary", "new"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((fire.program(), fire.settled("web", 2)), (fire.folder.join("new"), workers.clone()));
    let left: Vec<u32> =
        fire.folder.processes().into_iter().filter(|pid| proc::arguments(*pid)[0] == "sleep").collect();
    let left = left.into_iter().filter(|pid| !workers.contains(pid)).inspect(|pid| proc::signal(*pid, Sig::KILL));
    assert_eq!(left.count(), 1);
    fire.stop();
}

#[test]
fn files_that_have_gone_since_the_start_are_not_missed() {
    let folder = Folder::new();
    folder.write("env", "FROM_FILE=yes\n");
    let fire = Fire::start_in(folder, &format!("{WEB}environment_file = 'env'\n"));
    let workers = fire.settled("web", 2);
    std::fs::remove_file(fire.folder.join("env")).expect("remove");
    for _ in 0..2 {
        let said = fire.ctl(&["upgrade-daemon"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert!(fire.stderr().contains(", the file that runs already, whether it could take over"), "{}", fire.stderr());
    assert_eq!(fire.settled("web", 2), workers);
    fire.order("web", "restart");
    for worker in fire.settled("web", 2) {
        assert_eq!(proc::variable(worker, "FROM_FILE").as_deref(), Some("yes"));
    }
    fire.stop();
}

#[test]
fn a_program_that_can_neither_go_on_nor_back_tries_again() {
    let fire = with("stuck");
    let workers = fire.settled("web", 2);
    fire.folder.write("stuck", "");
    let client = fire.begin(&["upgrade-daemon", "--binary", "new"]);
    fire.hears("workers run on alone; it is tried again in 5 s; SIGTERM stops them all");
    let began = fire.stderr().matches("take over: ").count();
    assert_eq!(began, 2, "each of the two once: {}", fire.stderr());
    std::fs::remove_file(fire.folder.join("stuck")).expect("remove");
    let said = harness::finish(client);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("it could not take over after all"), "{said:?}");
    assert_eq!((fire.program().as_path(), fire.settled("web", 2)), (Path::new(BIN), workers));
    // What the next one replaces is this one again, and not what took its place for a moment.
    fire.ctl(&["upgrade-daemon"]);
    fire.hears(&format!("asking {BIN}"));
    fire.stop();
}

#[test]
fn a_program_that_can_neither_go_on_nor_back_can_be_stopped() {
    let mut fire = with("stuck");
    fire.settled("web", 2);
    fire.folder.write("stuck", "");
    let client = fire.begin(&["upgrade-daemon", "--binary", "new"]);
    fire.hears("SIGTERM stops them all");
    fire.signal_keeper(Sig::TERM);
    assert_eq!((fire.ended().code(), harness::finish(client).code), (Some(1), 1));
    assert_eq!(fire.folder.processes(), [] as [u32; 0]);
}

#[test]
fn a_link_that_is_switched_leads_to_the_new_version() {
    let folder = Folder::new();
    for version in ["1", "2"] {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        std::fs::copy(BIN, folder.join(version).join("fire")).expect("a copy");
    }
    let switch = |folder: &Folder, to: &str| {
        std::os::unix::fs::symlink(to, folder.join("fresh")).expect("a link");
        std::fs::rename(folder.join("fresh"), folder.join("current")).expect("rename");
    };
    switch(&folder, "1");
    let mut command = harness::run_command_of(Path::new("current/fire"), &folder, WEB);
    let fire = Fire::watch(folder, command.spawn().expect("start"));
    let workers = fire.settled("web", 2);
    for version in ["2", "1"] {
        switch(&fire.folder, version);
        let said = fire.ctl(&["upgrade-daemon"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(fire.program(), fire.folder.join(version).join("fire"));
    }
    assert_eq!(fire.settled("web", 2), workers);
    fire.stop();
}
