//! What workers store for their successors: descriptors, by slot, over respawns, upgrades and deaths of the daemon.

mod harness;

use harness::proc::{self, Sig};
use harness::{number, pids, until, Fire};

/// Steps for the first worker in the test's folder, and steps for its successors. Each says what it was given.
fn first_and_next(first: &str, next: &str, keys: &str) -> String {
    format!(
        "[web]\nexec_start = ['sh', '-c', \"if rm @DIR@/first 2>/dev/null; then exec @NOTIFIER@ got @DIR@/got {first}; \
         else exec @NOTIFIER@ got @DIR@/got {next}; fi\"]\nack = 'notify'\nrestart = 'always'\nbackoff_max = '10ms'\n{keys}\n"
    )
}

fn start(toml: &str) -> Fire {
    let folder = harness::Folder::new();
    folder.write("first", "");
    folder.write("one", "one");
    folder.write("two", "two");
    Fire::start_in(folder, toml)
}

/// What the newest worker was given: all that stands behind its pid.
fn got(fire: &Fire) -> String {
    let all = fire.folder.read("got");
    all.lines().last().and_then(|line| line.split_once(' ')).map_or(String::new(), |(_, given)| given.to_owned())
}

fn successor(fire: &Fire) -> String {
    let before = fire.settled("web", 1);
    proc::signal(before[0], Sig::KILL);
    let next = |status: &serde_json::Value| {
        let pids = pids(&harness::group_of(status, "web"));
        pids.len() == 1 && pids != before
    };
    fire.wait_for("a successor", next);
    fire.settled("web", 1);
    got(fire)
}

/// How many descriptors the daemon's family holds that are files of the test.
fn held(fire: &Fire, name: &str) -> usize {
    let path = if name == "memfd" { "/memfd:stored".to_owned() } else { fire.folder.join(name).display().to_string() };
    proc::descriptors(fire.keeper_pid).iter().filter(|(_, what)| what.starts_with(&path)).count()
}

#[test]
fn stored_descriptors_come_back_after_the_sockets_over_respawn_upgrade_and_deaths() {
    let first = "send 'FDSTORE=1\\\\nFDNAME=a' @DIR@/one twice 'FDSTORE=1\\\\nFDNAME=b' @DIR@/two send FDSTORE=1 memfd say READY=1";
    let fire = start(&first_and_next(
        first,
        "say READY=1",
        "fd_store = 5\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true",
    ));
    let worker = fire.settled("web", 1);
    assert_eq!(got(&fire), "1 web -");
    assert_eq!(proc::variable(worker[0], "FDSTORE").as_deref(), Some("5"));
    let given = format!("4 web:a:b:stored - one two {}", worker[0]);
    assert_eq!(successor(&fire), given);
    let pair = proc::variable(pids(&fire.group("web"))[0], "FIRESTARTER_SOCK_FD");
    assert_eq!(pair.as_deref(), Some("9"), "behind the room for five");
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    assert_eq!(successor(&fire), given, "in the order in which they came");
    fire.order("web", "upgrade");
    fire.settled("web", 1);
    assert_eq!(got(&fire), given);
    fire.order("web", "restart");
    fire.settled("web", 1);
    assert_eq!(got(&fire), given);
    assert_eq!([held(&fire, "one"), held(&fire, "two"), held(&fire, "memfd")], [1, 1, 1]);
    fire.order("web", "stop");
    until("nothing is held for a group that is stopped", || held(&fire, "one") + held(&fire, "memfd") == 0);
    fire.order("web", "start");
    fire.settled("web", 1);
    assert_eq!(got(&fire), "1 web -");
    fire.stop();
}

#[test]
fn without_sockets_the_stored_are_the_first() {
    let fire = start(&first_and_next("send FDSTORE=1 @DIR@/one say READY=1", "say READY=1", "fd_store = 1"));
    fire.settled("web", 1);
    assert_eq!(got(&fire), "- -");
    assert_eq!(successor(&fire), "1 stored one");
}

#[test]
fn who_ends_right_after_storing_has_stored() {
    let fire = start(&first_and_next(
        "wait @DIR@/go say RELOADING=1 say RELOADING=1 send 'FDSTORE=1\\\\nFDNAME=a' @DIR@/one \
         send 'FDSTORE=1\\\\nFDNAME=b' @DIR@/two exit 1",
        "say READY=1",
        "fd_store = 2",
    ));
    // The daemon learns of both at once, and must take in what was said before the end.
    fire.wait_for("a worker", |status| pids(&harness::group_of(status, "web")).len() == 1);
    let (daemon, worker) = (fire.daemon(), pids(&fire.group("web"))[0]);
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    fire.folder.write("go", "");
    until("the worker's zombie", || proc::zombies(fire.keeper_pid).contains(&worker));
    proc::signal(daemon, Sig::CONT);
    fire.settled("web", 1);
    assert_eq!(got(&fire), "2 a:b one two");
}

#[test]
fn removed_by_name_and_not_more_than_so_many() {
    let first = "send 'FDSTORE=1\\\\nFDNAME=a' @DIR@/one send 'FDSTORE=1\\\\nFDNAME=b' @DIR@/two \
                 say 'FDSTOREREMOVE=1\\\\nFDNAME=a' say 'FDSTOREREMOVE=1\\\\nFDNAME=none' \
                 many 'FDSTORE=1\\\\nFDNAME=m' 3 many 'FDSTORE=1\\\\nFDNAME=m' 253 barrier @DIR@/said say READY=1";
    let fire = start(&first_and_next(first, "say READY=1", "fd_store = 3"));
    let worker = fire.settled("web", 1);
    assert_eq!([held(&fire, "one"), held(&fire, "two"), held(&fire, "memfd")], [0, 1, 2]);
    fire.wait_for_lines("stored more than 3 descriptors", 1);
    let pid = worker[0];
    assert_eq!(successor(&fire), format!("3 b:m:m two {pid} {pid}"));
    assert_eq!(fire.stderr().matches("stored more than").count(), 1);
    fire.stop();
}

#[test]
fn what_was_not_asked_for_is_closed_and_slots_are_apart() {
    let toml =
        "[none]\nexec_start = \"@NOTIFIER@ send FDSTORE=1 @DIR@/one send STATUS=x @DIR@/one barrier @DIR@/said\"\n\
        [web]\nexec_start = \"@NOTIFIER@ got @DIR@/got send FDSTORE=1 memfd send X=1 @DIR@/one say READY=1\"\n\
        ack = 'notify'\nnumprocesses = 2\nfd_store = 1\nrestart = 'always'\nbackoff_max = '10ms'\n";
    let fire = start(toml);
    let before = fire.settled("web", 2);
    until("all is handled", || fire.folder.join("said").exists());
    assert_eq!([held(&fire, "one"), held(&fire, "memfd")], [0, 2]);
    proc::signal(before[1], Sig::KILL);
    fire.wait_for("a successor", |status| {
        let pids = pids(&harness::group_of(status, "web"));
        pids.len() == 2 && pids[1] != before[1]
    });
    fire.settled("web", 2);
    assert_eq!(got(&fire), format!("1 stored {}", before[1]), "what was stored in its slot");
    fire.order("web", "dec");
    until("the slot that is gone keeps nothing", || held(&fire, "memfd") == 1);
    fire.stop();
}

#[test]
fn what_has_lost_its_other_end_goes_unless_it_is_not_to_be_polled() {
    let first = "send 'FDSTORE=1\\\\nFDNAME=p' pipe say READY=1 wait @DIR@/go close p";
    let fire = start(&first_and_next(first, "say READY=1", "fd_store = 2"));
    fire.settled("web", 1);
    let pipes =
        |fire: &Fire| proc::descriptors(fire.keeper_pid).iter().filter(|(_, what)| what.starts_with("pipe:")).count();
    let before = pipes(&fire);
    fire.folder.write("go", "");
    until("the pipe without a writer is closed", || pipes(&fire) == before - 1);
    assert_eq!(successor(&fire), "- -");
    let first = "send 'FDSTORE=1\\\\nFDNAME=p\\\\nFDPOLL=0' pipe close p say READY=1";
    let fire = start(&first_and_next(first, "say READY=1", "fd_store = 2"));
    fire.settled("web", 1);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    assert_eq!(successor(&fire), "1 p -");
}

#[test]
fn a_full_table_harms_no_worker_and_is_told_once() {
    let steps = "many 'FDSTORE=1\\\\nFDNAME=m' 130 many 'FDSTORE=1\\\\nFDNAME=m' 130 say READY=1";
    let folder = harness::Folder::new();
    let toml = format!(
        "[web]\nexec_start = \"@NOTIFIER@ {}\"\nack = 'notify'\nfd_store = 48\n",
        steps.replace("\\\\n", "\\n")
    );
    let fire = Fire::start_with(folder, &toml, |command| {
        use std::os::unix::process::CommandExt;
        let limit = rustix::process::Rlimit { current: Some(160), maximum: Some(160) };
        // Set for the child alone.
        unsafe {
            command.pre_exec(move || Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?));
        }
    });
    let worker = fire.settled("web", 1);
    assert_eq!(fire.stderr().matches("for which there was no room").count(), 1, "{}", fire.stderr());
    assert_eq!(fire.settled("web", 1), worker);
    fire.stop();
}

#[test]
fn nothing_is_lost_doubled_or_leaked_when_the_daemon_dies() {
    let seed = u64::from(std::process::id());
    println!("SEED={seed}");
    let mut dice = seed;
    // Each worker stores what it has not been given: the slot always ends with the same two.
    let steps = "[web]\nexec_start = \"@NOTIFIER@ got @DIR@/got send 'FDSTORE=1\\nFDNAME=a' @DIR@/one \
                 send 'FDSTORE=1\\nFDNAME=b' @DIR@/two say 'FDSTOREREMOVE=1\\nFDNAME=a' \
                 send 'FDSTORE=1\\nFDNAME=c' memfd say 'FDSTOREREMOVE=1\\nFDNAME=b' say READY=1\"\n\
                 ack = 'notify'\nrestart = 'always'\nbackoff_max = '10ms'\nfd_store = 40\nstart_timeout = 50\n";
    let fire = start(steps);
    fire.settled("web", 1);
    for round in 0..20 {
        let before = fire.settled("web", 1);
        proc::signal(before[0], Sig::KILL);
        for _ in 0..2 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(std::time::Duration::from_micros((dice >> 33) % 10_000));
            if let Some(daemon) = proc::daemon(fire.keeper_pid) {
                proc::signal(daemon, Sig::KILL);
                until("its death", || !proc::alive(daemon));
            }
        }
        let next = |status: &serde_json::Value| {
            let pids = pids(&harness::group_of(status, "web"));
            pids.len() == 1 && pids != before
        };
        fire.wait_for("a successor", next);
        fire.settled("web", 1);
        // One more each round: the memfd of each worker that has lived.
        let lived = fire.folder.read("got").lines().count();
        assert_eq!([held(&fire, "one"), held(&fire, "two"), held(&fire, "memfd")], [0, 0, lived], "round {round}");
        let named = got(&fire);
        let names = vec!["c"; lived - 1].join(":");
        assert!(lived == 1 || named.starts_with(&format!("{} {names} ", lived - 1)), "round {round}: {named}");
    }
    fire.stop();
}
