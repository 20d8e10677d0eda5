//! Signals to Firestarter itself.

mod harness;

use harness::proc::{self, Sig};
use harness::{until, Fire, Folder};

/// Writes each signal that it gets into a file.
const NOTING: &str = "[web]\nexec_start = ['sh', '-c', 'for s in INT TERM QUIT HUP; do \
    trap \"echo $s >>@DIR@/got; exit\" $s; done; echo up >>@DIR@/up; while :; do sleep 0.02; done']\nnumprocesses = 2\n";

fn up(fire: &Fire) -> Vec<u32> {
    until("both are up", || fire.folder.read("up").lines().count() == 2);
    harness::pids(&fire.group("web"))
}

#[test]
fn each_signal_that_asks_to_stop_stops_all_once() {
    for (signal, name) in [(Sig::TERM, "SIGTERM"), (Sig::INT, "SIGINT"), (Sig::QUIT, "SIGQUIT"), (Sig::HUP, "SIGHUP")] {
        let mut fire = Fire::start(NOTING);
        up(&fire);
        fire.signal_keeper(signal);
        assert_eq!(fire.ended().code(), Some(0), "{name}: {}", fire.stderr());
        fire.nothing_left();
        assert_eq!(fire.folder.read("got"), "TERM\nTERM\n", "{name}: the configured signal, once to each");
        assert!(fire.stderr().contains(&format!("{name}: stopping all 2 workers")), "{}", fire.stderr());
    }
}

#[test]
fn an_interrupt_from_the_terminal_reaches_the_workers_once_and_in_order() {
    // A terminal signals its whole foreground process group: the keeper alone is in it.
    let mut fire = Fire::start(NOTING);
    up(&fire);
    proc::signal_group(fire.keeper_pid, Sig::INT);
    assert_eq!(fire.ended().code(), Some(0));
    assert_eq!(fire.folder.read("got"), "TERM\nTERM\n");
    fire.nothing_left();
}

#[test]
fn impatience_changes_nothing() {
    let mut fire = Fire::start(NOTING);
    up(&fire);
    for signal in [Sig::TERM, Sig::INT, Sig::TERM, Sig::QUIT] {
        fire.signal_keeper(signal);
    }
    assert_eq!(fire.ended().code(), Some(0));
    assert_eq!(fire.folder.read("got"), "TERM\nTERM\n");
}

#[test]
fn signals_to_the_daemon_alone_change_nothing() {
    let fire = Fire::start(NOTING);
    let (workers, daemon) = (up(&fire), fire.daemon());
    for signal in [Sig::TERM, Sig::INT, Sig::QUIT, Sig::HUP, Sig::USR1, Sig::USR2, Sig::PIPE, Sig::ALARM, Sig::CHILD] {
        proc::signal(daemon, signal);
        proc::signal(fire.keeper_pid, Sig::CHILD);
    }
    assert_eq!(fire.order("web", "inc").split(' ').next(), Some("increments"));
    assert_eq!(fire.daemon(), daemon);
    assert!(workers.into_iter().all(proc::alive));
}

#[test]
fn signals_that_ask_for_nothing_do_not_end_the_keeper() {
    let fire = Fire::start(NOTING);
    let workers = up(&fire);
    for signal in [Sig::USR1, Sig::USR2, Sig::PIPE, Sig::ALARM, Sig::WINCH] {
        fire.signal_keeper(signal);
    }
    assert_eq!(harness::pids(&fire.status()["groups"][0]), workers);
}

#[test]
fn under_nohup_a_hangup_is_ignored() {
    let folder = Folder::new();
    folder.config(&NOTING.replace("HUP", ""));
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("trap '' HUP; exec {} run -c config.toml -d c 2>stderr", harness::BIN)]);
    let mut fire = Fire::watch(folder, shell.spawn().expect("start"));
    up(&fire);
    fire.signal_keeper(Sig::HUP);
    assert_eq!(fire.order("web", "inc").split(' ').next(), Some("increments"), "it lives on");
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0));
}

#[test]
fn a_stop_waits_for_who_is_slow_and_kills_who_is_deaf() {
    let mut fire = Fire::start(
        "[slow]\nexec_start = ['sh', '-c', 'trap \"sleep 0.3; echo slow >>@DIR@/ended; exit\" TERM; \
         echo >>@DIR@/up; while :; do sleep 0.02; done']\n\
         [deaf]\nexec_start = ['sh', '-c', 'trap \"\" TERM; echo >>@DIR@/up; while :; do sleep 0.02; done']\n\
         stop_timeout = '500ms'\n",
    );
    until("both are up", || fire.folder.read("up").lines().count() == 2);
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    assert_eq!(fire.folder.read("ended"), "slow\n");
    assert!(fire.stderr().contains("did not end in time and gets SIGKILL"), "{}", fire.stderr());
    fire.nothing_left();
}
