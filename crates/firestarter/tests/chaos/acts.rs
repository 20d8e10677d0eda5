//! The acts, and which of them may play together. Each does its worst and looks at what it alone can know; what must be so
//! afterwards is the matter of `laws.rs`.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::disks;
use crate::harness::dice::Dice;
use crate::harness::proc::{self, Sig};
use crate::harness::{until, Fire};
use crate::orders::{self, Verb};
use crate::stage::{Stage, STEADY};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// An order to a group, of which a group of web workers gets one at a time.
    Order(&'static str, Verb),
    /// One worker more or fewer.
    Scale(&'static str),
    /// A worker that serves nobody is killed.
    KillWorker(&'static str),
    /// One to three daemons in a row.
    KillDaemon,
    /// A daemon that stands still, and then goes on or dies.
    StopDaemon,
    KillWriter,
    /// Firestarter replaced by another copy of itself.
    SelfUpgrade,
    /// The same with a program that is none of it.
    BadSelfUpgrade,
    /// A disk that is full for a while, under a log that drops.
    FullDisk,
    /// A disk that stands still for a while, under a log that waits.
    SlowDisk,
    /// A client that is stopped while its order is under way, and then goes on or dies.
    StopClient,
    /// A client that asks and asks, and reads no answer.
    DeafClient,
    Reopen,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Order(group, verb) => write!(f, "{} {group}", verb.word()),
            Act::Scale(group) => write!(f, "scale {group}"),
            Act::KillWorker(group) => write!(f, "kill a worker of {group}"),
            Act::KillDaemon => f.write_str("kill the daemon"),
            Act::StopDaemon => f.write_str("stop the daemon"),
            Act::KillWriter => f.write_str("kill the writer"),
            Act::SelfUpgrade => f.write_str("upgrade-daemon"),
            Act::BadSelfUpgrade => f.write_str("upgrade-daemon to another program"),
            Act::FullDisk => f.write_str("a full disk"),
            Act::SlowDisk => f.write_str("a slow disk"),
            Act::StopClient => f.write_str("stop a client"),
            Act::DeafClient => f.write_str("a deaf client"),
            Act::Reopen => f.write_str("reopen"),
        }
    }
}

/// As often as each stands here, so often it comes.
const COMMON: [Act; 14] = [
    Act::KillDaemon,
    Act::KillDaemon,
    Act::KillDaemon,
    Act::StopDaemon,
    Act::KillWriter,
    Act::KillWriter,
    Act::SelfUpgrade,
    Act::SelfUpgrade,
    Act::BadSelfUpgrade,
    Act::FullDisk,
    Act::SlowDisk,
    Act::StopClient,
    Act::DeafClient,
    Act::Reopen,
];

/// Acts for a round: two to eight that go together.
pub(crate) fn cast(stage: &Stage, dice: &mut Dice) -> Vec<Act> {
    let wanted = 2 + dice.roll(7) as usize;
    let mut cast: Vec<Act> = Vec::new();
    while cast.len() < wanted {
        let group = dice.among(&STEADY).0;
        let act = match dice.roll(8) {
            0 | 1 => Act::Order(group, dice.among(orders::of(group))),
            2 => Act::Scale(group),
            3 => Act::KillWorker(dice.among(&["talk", "idle"])),
            _ => dice.among(&COMMON),
        };
        if possible(stage, act) && cast.iter().all(|other| go_together(*other, act)) {
            cast.push(act);
        }
    }
    cast
}

/// Whether there is what it needs.
fn possible(stage: &Stage, act: Act) -> bool {
    (act != Act::FullDisk || stage.full.is_some()) && (act != Act::SlowDisk || stage.slow.is_some())
}

/// Two that would spoil each other's question do not: what an order to `web` leads to depends on the release that is there.
fn go_together(one: Act, other: Act) -> bool {
    let of_web = |act| matches!(act, Act::Order("web", _));
    let of_daemon = |act| matches!(act, Act::KillDaemon | Act::StopDaemon);
    let of_program = |act| matches!(act, Act::SelfUpgrade | Act::BadSelfUpgrade);
    one != other
        && !(of_web(one) && of_web(other))
        && !(of_daemon(one) && of_daemon(other))
        && !(of_program(one) && of_program(other))
}

impl Act {
    pub(crate) fn takes_long(&self) -> bool {
        matches!(self, Act::FullDisk | Act::SlowDisk)
    }

    /// Plays it to its end; what came of it, for people. `all`: what plays beside it.
    pub(crate) fn play(self, stage: &Stage, dice: &mut Dice, all: &[Act]) -> String {
        let fire = &stage.fire;
        let beside = |what: &[Act]| all.iter().any(|act| what.contains(act));
        match self {
            Act::Order(group, verb) => orders::order(stage, group, verb, &excuses(group, all), dice),
            Act::Scale(group) => orders::scale(stage, group, dice),
            Act::KillWorker(group) => kill_worker(fire, group, dice),
            Act::KillDaemon => kill_daemons(stage, dice),
            Act::StopDaemon => stop_daemon(stage, dice),
            Act::KillWriter => kill_writer(fire),
            Act::SelfUpgrade => orders::upgrade_daemon(fire, beside(&[Act::KillDaemon, Act::StopDaemon]), dice),
            Act::BadSelfUpgrade => orders::upgrade_to_another_program(fire),
            Act::FullDisk => disks::full(stage, dice),
            Act::SlowDisk => disks::slow(stage, dice),
            Act::StopClient => stop_client(fire, &excuses("idle", all), dice),
            Act::DeafClient => deaf_client(fire),
            Act::Reopen => orders::reopen(fire, beside(&[Act::FullDisk, Act::SlowDisk, Act::KillWriter])),
        }
    }
}

/// Why an upgrade of a group may fail in this company: a new worker is killed, or another order takes its place.
fn excuses(group: &'static str, all: &[Act]) -> Vec<&'static str> {
    let killed = all.contains(&Act::KillWorker(group)).then_some("was ended by SIGKILL");
    let restarts = all.contains(&Act::Order(group, Verb::Restart));
    let restarted = restarts.then_some(["restart came in between", "a later restart took its place"]);
    killed.into_iter().chain(restarted.into_iter().flatten()).collect()
}

fn kill_worker(fire: &Fire, group: &str, dice: &mut Dice) -> String {
    let word = if group == "talk" { "20000" } else { "1000000" };
    let is_one = |pid: &u32| proc::arguments(*pid).iter().any(|argument| argument == word);
    let workers: Vec<u32> = proc::children(fire.keeper_pid).into_iter().filter(is_one).collect();
    if workers.is_empty() {
        return "there was none".to_owned();
    }
    let pid = dice.among(&workers);
    proc::signal(pid, Sig::KILL);
    until("a worker's death", || !proc::alive(pid));
    format!("pid {pid}")
}

fn kill_daemons(stage: &Stage, dice: &mut Dice) -> String {
    let count = 1 + dice.roll(3);
    let mut pids = Vec::new();
    for _ in 0..count {
        // The next one is hit at its work, or at its recovery.
        let within = dice.among(&[3, 60]);
        dice.moment(within);
        until("a daemon", || proc::daemon(stage.fire.keeper_pid).is_some());
        let Some(pid) = proc::daemon(stage.fire.keeper_pid) else { continue };
        proc::signal(pid, Sig::KILL);
        until("a daemon's death", || !proc::alive(pid));
        pids.push(pid);
    }
    format!("pids {pids:?}, status after {:?}", answers(stage))
}

/// How long it takes until the next daemon answers.
fn answers(stage: &Stage) -> Duration {
    let begun = Instant::now();
    until("an answer of the next daemon", || stage.fire.try_status().is_some());
    let took = begun.elapsed();
    let mut slowest = stage.slowest.lock().expect("no panic");
    slowest.1 = slowest.1.max(took);
    took
}

fn stop_daemon(stage: &Stage, dice: &mut Dice) -> String {
    let Some(pid) = proc::daemon(stage.fire.keeper_pid) else { return "there was none".to_owned() };
    proc::signal(pid, Sig::STOP);
    dice.moment(800);
    let (word, signal) = dice.among(&[("went on", Sig::CONT), ("was killed", Sig::KILL)]);
    proc::signal(pid, signal);
    format!("pid {pid} {word}, status after {:?}", answers(stage))
}

fn kill_writer(fire: &Fire) -> String {
    until("a writer", || proc::writer(fire.keeper_pid).is_some());
    let Some(pid) = proc::writer(fire.keeper_pid) else { return "there was none".to_owned() };
    proc::signal(pid, Sig::KILL);
    until("the writer's death", || !proc::alive(pid));
    format!("pid {pid}")
}

fn stop_client(fire: &Fire, excuses: &[&str], dice: &mut Dice) -> String {
    let mut client = fire.begin(&["ctrl", "idle", "upgrade"]);
    dice.moment(40);
    proc::signal(client.id(), Sig::STOP);
    dice.moment(1000);
    if dice.roll(2) == 0 {
        client.kill().expect("kill a client");
        let ended = client.wait().expect("wait for a client");
        return if ended.signal().is_some() { "was killed" } else { "had ended" }.to_owned();
    }
    proc::signal(client.id(), Sig::CONT);
    let said = crate::harness::finish(client);
    assert!(orders::is_fine(&said, excuses), "a client that had been stopped: {said:?}");
    format!("went on, {}", said.out.lines().last().unwrap_or_default())
}

fn deaf_client(fire: &Fire) -> String {
    let mut wire = fire.wire();
    let request = |id| format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "status", "params": {} }));
    wire.stream.set_nonblocking(true).expect("set");
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(600) {
        match std::io::Write::write(&mut wire.stream, request(sent).as_bytes()) {
            Ok(_) => sent += 1,
            Err(_) => crate::harness::pause(),
        }
    }
    format!("asked {sent} times")
}
