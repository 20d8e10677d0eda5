//! Hooks on real processes: what stops a group in place of a signal, and what decides whether there is an upgrade.

mod harness;

use std::time::Instant;

use harness::proc::{self, Sig};
use harness::{finish, until, worker, Fire, Folder};

/// Writes what the hook was given, and ends the workers that it is about by a signal that leaves a trace.
const STOPPER: &str = "#!/bin/sh\n\
    echo \"$PWD $MAINPID $FIRESTARTER_PIDS $(id -u)\" >> stopped\n\
    kill -INT $FIRESTARTER_PIDS\n";

fn two_with(hook: &str) -> String {
    format!("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nack_timeout = '10ms'\n{hook}\n")
}

fn lines(fire: &Fire, name: &str) -> usize {
    fire.folder.read(name).lines().count()
}

#[test]
fn exec_stop_runs_once_in_place_of_the_signal() {
    let folder = Folder::new();
    let stopper = folder.script("stopper", STOPPER);
    let fire = Fire::start_in(folder, &two_with(&format!("exec_stop = '{}'", stopper.display())));
    let workers = fire.settled("web", 2);
    assert_eq!(fire.order("web", "stop"), format!("run exec_stop pid [{}, {}]", workers[0], workers[1]));
    let told = fire.folder.read("stopped");
    let want = format!("{} {} {} {} 0\n", fire.folder.path().display(), workers[0], workers[0], workers[1]);
    assert_eq!(told, want, "in the daemon's folder, environment and user");
    assert!(!workers.into_iter().any(proc::alive));
    fire.order("web", "start");
    let workers = fire.settled("web", 2);
    fire.order("web", "upgrade");
    assert_eq!(lines(&fire, "stopped"), 1, "not for an upgrade's ack");
    until("the old workers gone", || !workers.iter().any(|pid| proc::alive(*pid)));
    fire.settled("web", 2);
    fire.order("web", "restart");
    assert_eq!(lines(&fire, "stopped"), 2, "for a restart");
    fire.settled("web", 2);
    fire.order("web", "dec");
    assert_eq!(lines(&fire, "stopped"), 2, "not for one worker");
    fire.stop();
}

#[test]
fn exec_stop_is_for_the_stop_of_everything_and_for_ack_none() {
    let folder = Folder::new();
    let stopper = folder.script("stopper", STOPPER);
    let mut fire = Fire::start_in(folder, &two_with(&format!("ack = 'none'\nexec_stop = '{}'", stopper.display())));
    fire.settled("web", 2);
    fire.order("web", "upgrade");
    assert_eq!(lines(&fire, "stopped"), 1);
    fire.settled("web", 2);
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0));
    assert_eq!(lines(&fire, "stopped"), 2);
    fire.nothing_left();
}

#[test]
fn a_signal_that_is_named_takes_the_place_of_exec_stop() {
    let folder = Folder::new();
    let stopper = folder.script("stopper", STOPPER);
    let fire = Fire::start_in(folder, &two_with(&format!("exec_stop = '{}'", stopper.display())));
    fire.settled("web", 2);
    let said = fire.ctl(&["ctrl", "web", "stop", "-s", "QUIT"]);
    assert!(said.code == 0 && said.out.contains("send signal SIGQUIT pid ["), "{said:?}");
    assert_eq!(lines(&fire, "stopped"), 0);
}

#[test]
fn who_remains_after_exec_stop_is_killed_when_stop_timeout_is_over() {
    let fire = Fire::start(&two_with("exec_stop = 'true'\nstop_timeout = '300ms'"));
    let workers = fire.settled("web", 2);
    let begun = Instant::now();
    fire.order("web", "stop");
    assert!(begun.elapsed().as_millis() >= 300, "they had their time");
    assert!(!workers.into_iter().any(proc::alive));
    assert!(fire.stderr().contains("did not end in time and gets SIGKILL"), "{}", fire.stderr());
}

#[test]
fn a_hook_that_cannot_be_started_is_named() {
    let fire = Fire::start(&two_with("exec_stop = '/nowhere/stop'\nupgrader = '/nowhere/release now'"));
    fire.settled("web", 2);
    assert_eq!(fire.ctl(&["ctrl", "web", "upgrade"]).code, 1);
    fire.hears("web: upgrader not started: run its program /nowhere/release: no such file or directory");
    fire.ctl(&["ctrl", "web", "stop"]);
    fire.hears("web: exec_stop not started: run its program /nowhere/stop: no such file or directory");
    fire.stop();
}

#[test]
fn an_exec_stop_that_fails_leaves_it_to_the_signal() {
    for (hook, says) in [("exec_stop = 'false'", "exit code 1"), ("exec_stop = '/no/such/program'", "no such file")] {
        let fire = Fire::start(&two_with(&format!("{hook}\nstop_timeout = 1000")));
        fire.settled("web", 2);
        fire.order("web", "stop");
        let stderr = fire.stderr();
        assert!(stderr.contains("exec_stop") && stderr.contains(says), "{stderr}");
    }
}

#[test]
fn an_exec_stop_that_hangs_is_killed_with_its_children() {
    let hang = "exec_stop = ['sh', '-c', 'sleep 1000 & echo $! > child; wait']\nstop_timeout = '300ms'";
    let fire = Fire::start(&two_with(hang));
    fire.settled("web", 2);
    fire.order("web", "stop");
    let child = || fire.folder.read("child").trim().parse().expect("the pid of its child");
    until("the hook's child gone", || !proc::alive(child()));
    fire.stop();
}

#[test]
fn a_group_that_hangs_in_its_exec_stop_holds_up_nobody() {
    let other = "[api]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";
    let fire = Fire::start(&format!("{}{other}", two_with("exec_stop = 'sleep 1000'\nstop_timeout = 1000")));
    fire.settled("web", 2);
    fire.settled("api", 1);
    let stop = fire.begin(&["ctrl", "web", "stop"]);
    until("the hook", || fire.group("web")["hook"] == "exec_stop");
    assert_eq!(fire.group("web")["state"], "stopping");
    fire.order("api", "upgrade");
    fire.order("api", "restart");
    // Killall waits for no hook.
    fire.order("web", "killall");
    assert_eq!(finish(stop).code, 0);
    fire.stop();
}

#[test]
fn a_hook_whose_program_does_not_begin_to_run_has_no_more_time_than_any_other() {
    let folder = Folder::new();
    std::fs::copy("/bin/true", folder.join("program")).expect("copy");
    // The kernel makes an exec of the program wait for as long as somebody holds this lease.
    let mut lease = folder.command(worker()).args(["lease", "program"]).spawn().expect("run");
    until("the lease", || folder.join("leased").exists());
    let hooks = "upgrader = '@DIR@/program'\nupgrader_timeout = '200ms'\n\
                 exec_stop = '@DIR@/program'\nstop_timeout = '200ms'";
    let fire = Fire::start_in(folder, &two_with(hooks));
    fire.settled("web", 2);
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert!(said.code == 1 && said.err.contains("0.2 s"), "{said:?}");
    fire.order("web", "stop");
    lease.kill().and_then(|()| lease.wait()).expect("kill");
    fire.stop();
}

#[test]
fn a_hook_survives_the_death_of_the_daemon_and_is_not_run_twice() {
    let hook =
        "exec_stop = ['sh', '-c', 'echo x >> runs; while [ ! -e go ]; do sleep 0.01; done; kill $FIRESTARTER_PIDS']";
    let fire = Fire::start(&two_with(&format!("{hook}\nstop_timeout = 1000")));
    fire.settled("web", 2);
    let stop = fire.begin(&["ctrl", "web", "stop"]);
    until("the hook", || lines(&fire, "runs") == 1);
    for _ in 0..3 {
        let daemon = fire.daemon();
        proc::signal(daemon, Sig::KILL);
        until("the next daemon", || fire.try_status().is_some_and(|status| status["daemon_pid"] != daemon));
    }
    fire.folder.write("go", "");
    assert_eq!(finish(stop).code, 0);
    assert_eq!(lines(&fire, "runs"), 1);
    fire.stop();
}

#[test]
fn an_upgrade_takes_place_only_if_the_upgrader_says_so() {
    let upgrader = "upgrader = ['sh', '-c', 'echo run >> runs; echo its words; exit $(cat verdict)']";
    let folder = Folder::new();
    folder.write("verdict", "3");
    let fire = Fire::start_in(folder, &two_with(upgrader));
    let workers = fire.settled("web", 2);
    assert_eq!(lines(&fire, "runs"), 0, "it runs only when it is asked");
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!((said.code, lines(&fire, "runs")), (1, 1), "{said:?}");
    assert!(said.err.contains("upgrader") && said.err.contains("exit code 3"), "{said:?}");
    assert_eq!(fire.settled("web", 2), workers, "nothing was touched");
    until("its output in the log", || (fire.stderr() + &fire.stdout()).contains("its words"));
    fire.folder.write("verdict", "0");
    fire.order("web", "upgrade");
    assert_ne!(fire.settled("web", 2), workers);
    assert_eq!((lines(&fire, "runs"), fire.group("web")["generation"].as_u64()), (2, Some(2)));
    fire.stop();
}

#[test]
fn an_upgrader_that_takes_too_long_is_killed() {
    let fire = Fire::start(&two_with("upgrader = 'sleep 1000'\nupgrader_timeout = '200ms'"));
    let workers = fire.settled("web", 2);
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert!(said.code == 1 && said.err.contains("0.2 s"), "{said:?}");
    assert_eq!(fire.settled("web", 2), workers);
    fire.stop();
}

#[test]
fn an_upgrader_runs_every_so_often_and_upgrades_when_it_succeeds() {
    let upgrader = "upgrader = ['sh', '-c', 'echo run >> runs; test -e new && rm new']\nupgrader_active_sec = '50ms'";
    let fire = Fire::start(&two_with(upgrader));
    let workers = fire.settled("web", 2);
    until("a few runs", || lines(&fire, "runs") >= 3);
    assert_eq!(fire.settled("web", 2), workers, "it has said no");
    // A command does not wait for it.
    fire.order("web", "upgrade");
    let second = fire.settled("web", 2);
    assert_ne!(second, workers);
    fire.folder.write("new", "");
    until("an upgrade by itself", || fire.group("web")["generation"] == 3);
    until("new workers", || fire.settled("web", 2) != second);
    fire.order("web", "stop");
    let runs = lines(&fire, "runs");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(lines(&fire, "runs") <= runs + 1, "not while the group is stopped");
    fire.stop();
}

#[test]
fn a_stop_does_not_wait_for_the_upgrader() {
    let fire = Fire::start(&two_with("upgrader = 'sleep 1000'"));
    fire.settled("web", 2);
    let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
    until("the upgrader", || fire.group("web")["hook"] == "upgrader");
    fire.order("web", "stop");
    let said = finish(upgrade);
    assert!(said.code == 1 && said.err.contains("stop"), "{said:?}");
    fire.stop();
}
