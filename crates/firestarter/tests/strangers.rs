//! Children of Firestarter that no group knows of, when a new daemon takes over: told of and left alone, or killed.

mod harness;

use harness::proc::{self, Sig};
use harness::{until, Fire};

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

fn left(more: &str) -> Left {
    let folder = harness::Folder::new();
    folder.script("left", "#!/bin/sh\nsleep 1000 &\necho $! > child\necho $$ > stranger\nwait\n");
    let fire = Fire::start_in(folder, &format!("{LEAVES_ONE}{more}"));
    let worker = fire.settled("web", 1)[0];
    let read = |name: &str| fire.folder.read(name).trim().parse().ok();
    until("a process that is left", || read("stranger").is_some_and(|pid| proc::parent(pid) == fire.keeper_pid));
    let (stranger, child) = (read("stranger").expect("a pid"), read("child").expect("a pid"));
    // A stranger is older than who takes it for one.
    fire.good_life();
    fire.kill_daemon();
    fire.wait_for("another daemon", |_| true);
    Left { fire, worker, stranger, child }
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
