//! Firestarter as a service: what the service manager hears of it.

mod harness;

use std::time::Duration;

use harness::proc::{self, Sig};
use harness::superior::Superior;
use harness::{number, until, Fire, Folder, BIN};

/// Starts one that has a service manager; `more` variables.
fn serve(toml: &str, more: &[(&str, &str)]) -> (Fire, Superior) {
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let fire = Fire::start_with(folder, toml, |command| {
        command.env("NOTIFY_SOCKET", &superior.path).envs(more.iter().copied());
    });
    (fire, superior)
}

/// Acks when there is a file of this name.
fn acks_by(file: &str) -> String {
    format!(
        "exec_start = ['sh', '-c', 'until [ -e @DIR@/{file} ]; do sleep 0.01; done; exec @WORKER@ serve pair']\n\
         ack = 'manual'\nstart_timeout = 100\nsocket_address = '127.0.0.1:0'\nstart_immediate = true\n"
    )
}

#[test]
fn it_is_ready_once_when_all_workers_are_and_says_how_it_is() {
    let (mut fire, superior) = serve(&format!("[web]\n{}", acks_by("go")), &[]);
    superior.hears("STATUS=1 group, 0 of 1 workers ready; web: 0 of 1 ready");
    // 100 s, and some more.
    superior.hears("EXTEND_TIMEOUT_USEC=115000000");
    assert_eq!(superior.count("READY=1"), 0, "{:?}", superior.heard());
    fire.folder.write("go", "");
    superior.hears("READY=1");
    superior.hears("STATUS=1 group, 1 workers ready");
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    std::fs::remove_file(fire.folder.join("go")).expect("remove");
    proc::signal(fire.settled("web", 1)[0], Sig::KILL);
    until("it is told of again", || superior.heard().last().is_some_and(|last| last.contains("1 group, 0 workers")));
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0));
    let heard = superior.heard();
    let last = heard.last().map(String::as_str);
    assert_eq!(last, Some("STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\nSTATUS=1 group: stopping"), "{heard:?}");
    assert_eq!(superior.count("READY=1"), 1, "{heard:?}");
    assert_eq!(superior.count("WATCHDOG=1"), 0, "nobody asked for it");
    fire.nothing_left();
}

#[test]
fn a_group_that_does_not_come_up_is_not_waited_for_longer_than_its_time() {
    let toml = format!(
        "[slow]\n{}[bad]\nexec_start = '/bin/false'\nrestart = 'always'\nbackoff_max = '1ms'\ngiveup = 3\n\
         [waits]\nexec_start = '/bin/true'\nautostart = false\n",
        acks_by("never").replace("100", "'500ms'")
    );
    let (fire, superior) = serve(&toml, &[]);
    superior.hears("READY=1");
    assert_eq!(fire.group("slow")["ready"], 0);
    superior.hears("slow: 0 of 1 ready");
    superior.hears("bad: gave up");
    fire.stop();
}

#[test]
fn nothing_of_it_is_passed_on_and_nobody_wakes_for_it() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    let (fire, superior) = serve(toml, &[("FDSTORE", "10"), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    superior.hears("READY=1");
    let worker = fire.settled("web", 1)[0];
    assert_ne!(proc::variable(worker, "NOTIFY_SOCKET"), Some(superior.path.display().to_string()));
    for name in ["FDSTORE", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert_eq!(proc::variable(worker, name), None, "{name}");
    }
    let (keeper, daemon) = (fire.keeper_pid, fire.daemon());
    let switches = |pid| proc::status(pid, "voluntary_ctxt_switches").parse::<u64>().unwrap_or(0);
    let quiet = || {
        let before = (switches(keeper), switches(daemon));
        std::thread::sleep(Duration::from_millis(500));
        before == (switches(keeper), switches(daemon))
    };
    until("half a second without a wakeup", quiet);
    assert_eq!(superior.count("WATCHDOG=1"), 0, "that watchdog is another's");
    fire.stop();
}

#[test]
fn a_service_manager_that_is_gone_is_told_of_once_and_harms_nobody() {
    let folder = Folder::new();
    let nowhere = folder.join("nowhere");
    let toml = "[web]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    let fire = Fire::start_with(folder, toml, |command| {
        command.env("NOTIFY_SOCKET", nowhere).env("WATCHDOG_USEC", "20000");
    });
    fire.hears("tell the service manager by NOTIFY_SOCKET: no such file or directory (this is said once)");
    fire.settled("web", 1);
    fire.stop();
}

#[test]
fn another_program_in_its_place_goes_on_speaking() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\nnumprocesses = 2\n";
    let (fire, superior) = serve(toml, &[("WATCHDOG_USEC", "200000")]);
    superior.hears("READY=1");
    let before = fire.settled("web", 2);
    let mut flat = Vec::new();
    for nth in 0..6 {
        let (heard, well) = (superior.heard().len(), superior.count("WATCHDOG=1"));
        let said = fire.ctl(&["upgrade-daemon", "--binary", BIN]);
        assert!(said.code == 0 && said.out.starts_with("replaced "), "{said:?}");
        let later = || superior.heard().split_off(heard);
        until("how it is", || later().iter().any(|text| text.ends_with("STATUS=1 group, 2 workers ready")));
        until("signs of life", || superior.count("WATCHDOG=1") > well + 3);
        assert!(!later().iter().any(|text| text.contains("EXTEND_") || text.contains("STOPPING")), "{:?}", later());
        if nth > 1 {
            flat.push(proc::descriptors(fire.keeper_pid).len());
        }
    }
    assert_eq!(fire.settled("web", 2), before);
    let (least, most) = (flat.iter().min().expect("some"), flat.iter().max().expect("some"));
    assert!(most - least <= 2, "descriptors grow: {flat:?}");
    fire.order("web", "dec");
    superior.hears("STATUS=1 group, 1 workers ready");
    fire.stop();
    assert_eq!(superior.count("STOPPING=1"), 1);
}

#[test]
fn while_another_program_is_asked_and_tried_all_is_said_to_be_well() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    for fault in ["refused", "died"] {
        let (fire, superior) = serve(toml, &[("WATCHDOG_USEC", "200000"), ("FIRESTARTER_HANDOVER_FAULT", fault)]);
        superior.hears("READY=1");
        let well = superior.count("WATCHDOG=1");
        assert_eq!(fire.ctl(&["upgrade-daemon", "--binary", BIN]).code, 1);
        until("signs of life", || superior.count("WATCHDOG=1") > well + 5);
        fire.order("web", "inc");
        superior.hears("STATUS=1 group, 2 workers ready");
        fire.stop();
    }
}
