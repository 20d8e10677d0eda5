//! Children of Firestarter that no group knows of: when a new daemon takes over they are told of and left alone, or killed;
//! and their zombies do not stay.

mod harness;

use harness::proc::{self, Sig};
use harness::{until, Fire};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{waitpid, WaitPidFlag};
use nix::unistd::Pid;

/// A worker that leaves a process to itself, which has a child.
const LEAVES_ONE: &str =
    "[web]\nexec_start = ['sh', '-c', '(setsid @DIR@/left &); exec sleep 1000']\nnumprocesses = 1\n\
    ack_timeout = '10ms'\nstdout_log = '@DIR@/log'\n";

struct Left {
    fire: Fire,
    worker: u32,
    stranger: u32,
    child: u32,
}

/// A worker and a process that it has left.
fn start(more: &str) -> Left {
    let folder = harness::Folder::new();
    folder.script("left", "#!/bin/sh\nsleep 1000 &\necho $! > child\necho $$ > stranger\nwait\n");
    let fire = Fire::start_in(folder, &format!("{LEAVES_ONE}{more}"));
    let worker = fire.settled("web", 1)[0];
    let read = |name: &str| fire.folder.read(name).trim().parse().ok();
    until("a process that is left", || read("stranger").is_some_and(|pid| proc::parent(pid) == fire.keeper_pid));
    let (stranger, child) = (read("stranger").expect("a pid"), read("child").expect("a pid"));
    Left { fire, worker, stranger, child }
}

/// The same, with another daemon.
fn left(more: &str) -> Left {
    let left = start(more);
    // A stranger is older than who takes it for one.
    left.fire.good_life();
    left.fire.kill_daemon();
    left.fire.wait_for("another daemon", |_| true);
    left
}

fn only_that_is_told(Left { fire, worker, stranger, .. }: &Left, what: &str) {
    fire.hears(&format!("children that no group knows of are {what}: pid {stranger} (left)\n"));
    assert_eq!(fire.stderr().matches("no group knows of").count(), 1, "{}", fire.stderr());
    assert_eq!(fire.settled("web", 1), [*worker]);
    assert!(proc::writer(fire.keeper_pid).is_some(), "the writer is nobody's stranger");
}

#[test]
fn a_child_that_no_group_knows_of_is_told_of_and_left_alone() {
    let left = left("");
    only_that_is_told(&left, "left alone");
    assert!(proc::alive(left.stranger) && proc::alive(left.child));
    [left.stranger, left.child].into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
    left.fire.stop();
}

#[test]
fn a_child_that_no_group_knows_of_is_killed_if_that_is_configured() {
    let left = left("[firestarter]\nkill_strangers = true\n");
    only_that_is_told(&left, "killed");
    until("their ends", || !proc::alive(left.stranger) && !proc::alive(left.child));
    left.fire.stop();
}

#[test]
fn a_zombie_behind_one_that_stands_is_reaped_after_it() {
    let Left { fire, worker, stranger, child } = start("");
    let keeper = fire.keeper_pid;
    // A debugger's stop: of one by a signal, and of its end, the keeper would hear.
    let daemon = Pid::from_raw(fire.daemon() as i32);
    ptrace::seize(daemon, Options::empty()).and_then(|()| ptrace::interrupt(daemon)).expect("ptrace");
    waitpid(daemon, Some(WaitPidFlag::__WALL)).expect("its stop");
    proc::signal(keeper, Sig::STOP);
    until("it stands still", || proc::status(keeper, "State").starts_with('T'));
    // One signal stands for all three: the worker's, whose zombie stands until the daemon has journalled its end.
    for pid in [worker, stranger, child] {
        proc::signal(pid, Sig::KILL);
        until("its end", || !proc::alive(pid));
    }
    proc::signal(keeper, Sig::CONT);
    // The keeper looks a tenth of a second later. Were it later still, it would find all there is to find.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(proc::zombies(keeper).len(), 3, "one stands and hides the others");
    ptrace::detach(daemon, None).expect("go on");
    until("no zombie", || proc::zombies(keeper).is_empty());
    fire.stop();
}
