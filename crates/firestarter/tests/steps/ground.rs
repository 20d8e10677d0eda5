//! How a story is told again and again, with a death at another step each time, and what must be so afterwards. Used by
//! `tests/steps.rs`.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::harness::dice::Dice;
use crate::harness::load::plain;
use crate::harness::proc;
use crate::harness::tracer::{Traced, Tracer};
use crate::harness::wire::Wire;
use crate::harness::{self, number, pids, until, Fire, Folder};

/// What is done, and what must be so afterwards.
pub(crate) struct Story {
    /// Who is killed: the daemon that lives, or, in its recovery, the next one.
    pub(crate) victim: Victim,
    /// Of the group, beside those that all have.
    pub(crate) keys: &'static str,
    /// How the group begins, each time.
    pub(crate) prepare: fn(&Fire),
    pub(crate) act: fn(&Fire, &[u32]) -> Value,
    /// What must be so: of the workers before, and what was said.
    pub(crate) check: fn(&Fire, &[u32], &Value),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Daemon,
    NextDaemon,
}

pub(crate) const COUNT: usize = 2;
/// So many steps of each story, unless all are wanted.
pub(crate) const FEW: u32 = 10;
/// So many daemons of one keeper are killed; the keeper waits after more that were short-lived.
pub(crate) const DEATHS: u32 = 12;

/// Which steps are tried.
pub(crate) struct Plan {
    all: bool,
    pub(crate) next: u32,
    stride: u32,
}

impl Story {
    /// One of the daemon that lives, with workers that are ready.
    pub(crate) fn of(keys: &'static str, act: fn(&Fire, &[u32]) -> Value, check: fn(&Fire, &[u32], &Value)) -> Story {
        Story { victim: Victim::Daemon, keys, prepare: ready, act, check }
    }
}

impl Plan {
    /// `steps`: how many there are, about.
    pub(crate) fn new(salt: u64, steps: u32) -> Plan {
        let all = std::env::var("STEPS").is_ok_and(|steps| steps == "all");
        let from = std::env::var("FROM").ok().and_then(|from| from.parse().ok());
        let stride = if all { 1 } else { (steps / FEW).max(1) };
        let first = if all { 0 } else { Dice::new(salt).roll(stride.into()) as u32 };
        Plan { all, next: from.unwrap_or(first), stride }
    }

    pub(crate) fn take(&mut self) -> u32 {
        let step = self.next;
        self.next += self.stride;
        step
    }
}

pub(crate) fn start(keys: &str) -> Fire {
    let fire = Fire::start_in(folder(), &toml(keys));
    fire.wait_for("a group", |_| true);
    fire
}

pub(crate) fn folder() -> Folder {
    let folder = Folder::new();
    folder.script("run", &release(""));
    folder.write("serve", "200");
    folder.write("one", "one");
    folder.script("stopper", "#!/bin/sh\necho $FIRESTARTER_PIDS >> stopped\nkill -INT $FIRESTARTER_PIDS\n");
    folder.script("upgrader", "#!/bin/sh\necho upgraded >> releases\n");
    folder
}

pub(crate) fn toml(keys: &str) -> String {
    format!(
        "[web]\nexec_start = ['@DIR@/run']\nnumprocesses = {COUNT}\nsocket_address = ['127.0.0.1:0']\nrestart = 'always'\n\
         stop_timeout = 60\nbackoff_max = '20ms'\nbackoff_reset = '1ms'\n{keys}\n"
    )
}

pub(crate) fn release(first: &str) -> String {
    format!("#!/bin/sh\n{first}\neval \"$BEFORE\"\nexec {} serve path\n", harness::worker())
}

/// Puts another program in the place of the group's.
pub(crate) fn released(fire: &Fire, first: &str) {
    fire.folder.script("fresh", &release(first));
    fs::rename(fire.folder.join("fresh"), fire.folder.join("run")).expect("rename");
}

pub(crate) fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

/// Every step of a story, with a new keeper now and then.
pub(crate) fn every_step(salt: u64, story: &Story) {
    let mut plan = {
        let fire = start(story.keys);
        let (_, traced) = step(&fire, story, u32::MAX);
        assert!(traced.killed.is_none() && traced.steps > 10, "{traced:?}");
        fire.stop();
        Plan::new(salt, traced.steps)
    };
    let begun = Instant::now();
    let mut killed = 0;
    loop {
        let fire = start(story.keys);
        (story.prepare)(&fire);
        let (address, descriptors) = (address_of(&fire), open(&fire));
        for _ in 0..DEATHS {
            let at = plan.take();
            let (after, traced) = step(&fire, story, at);
            println!("{} ms: {}", begun.elapsed().as_millis(), traced.killed.as_deref().unwrap_or("not killed"));
            at_rest(&fire, &after, descriptors);
            if !after.is_empty() {
                assert_eq!(fire.group("web")["listeners"][0]["address"], address.to_string());
                plain(address).expect("an answer");
            }
            if traced.killed.is_none() {
                assert!(!plan.all || killed > 10);
                println!("{killed} steps of about {}", traced.steps);
                return fire.stop();
            }
            killed += 1;
        }
        fire.stop();
    }
}

/// Kills the daemon at one step of the story's act. The workers afterwards, and how it went.
pub(crate) fn step(fire: &Fire, story: &Story, at: u32) -> (Vec<u32>, Traced) {
    (story.prepare)(fire);
    let before = pids(&fire.group("web"));
    let tracer = match story.victim {
        Victim::Daemon => Tracer::of(fire.daemon(), at),
        Victim::NextDaemon => Tracer::of_next(fire.keeper_pid, at),
    };
    let said = (story.act)(fire, &before);
    (story.check)(fire, &before, &said);
    let traced = tracer.end();
    let after = pids(&fire.group("web"));
    (after, traced)
}

/// What must be so at rest: no zombie, no process that nobody knows of, no descriptor too many.
pub(crate) fn at_rest(fire: &Fire, workers: &[u32], descriptors: usize) {
    nobody_else(fire, workers);
    // One for each worker, beside those of the start.
    let wanted = || descriptors + workers.len();
    let begun = Instant::now();
    while open(fire) + COUNT != wanted() {
        let now = proc::descriptors(fire.keeper_pid).split_off(64);
        assert!(begun.elapsed() < Duration::from_secs(20), "{descriptors} before, now {now:?} {}", fire.stderr());
        harness::pause();
    }
}

pub(crate) fn nobody_else(fire: &Fire, workers: &[u32]) {
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
    let serves = |pid: &u32| proc::arguments(*pid).get(1).is_some_and(|word| word == "serve");
    let of_all = || fire.folder.processes().into_iter().filter(serves).count();
    until("no worker that nobody knows of", || of_all() == workers.len());
}

/// Descriptors beside those that hold programs fast, and beside this test's own connections.
pub(crate) fn open(fire: &Fire) -> usize {
    let mut least = usize::MAX;
    for _ in 0..3 {
        let all = proc::descriptors(fire.keeper_pid).len();
        least = least.min(all.saturating_sub(proc::standing_for_files(fire.keeper_pid)));
        harness::pause();
    }
    least
}

/// Sends an order, and waits for its one reply.
pub(crate) fn ask(fire: &Fire, method: &str) -> Value {
    let mut wire = Wire::connect(&fire.socket()).expect("connect");
    wire.send(method, json!({ "group": "web" })).expect("send");
    answer(&mut wire, fire)
}

pub(crate) fn answer(wire: &mut Wire, fire: &Fire) -> Value {
    wire.one_reply().unwrap_or_else(|| panic!("closed without a reply: {}", fire.stderr()))
}

pub(crate) fn went_well(said: &Value, fire: &Fire) {
    assert!(said.get("result").is_some(), "{said} {}", fire.stderr());
}

/// As `every_step`, with a keeper for each step.
pub(crate) fn every_life(salt: u64, life: impl Fn(u32) -> Traced) {
    let counted = life(u32::MAX);
    assert!(counted.killed.is_none() && counted.steps > 10, "{counted:?}");
    let mut plan = Plan::new(salt, counted.steps);
    for killed in 0.. {
        let traced = life(plan.take());
        println!("{}", traced.killed.as_deref().unwrap_or("not killed"));
        if traced.killed.is_none() {
            return println!("{killed} steps of about {}", traced.steps);
        }
    }
}

pub(crate) fn ready(fire: &Fire) {
    fire.settled("web", COUNT);
}

pub(crate) fn all_new(fire: &Fire, before: &[u32], said: &Value) {
    went_well(said, fire);
    let after = fire.settled("web", COUNT);
    assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?} {}", fire.stderr());
    let sorted = |key: &str| {
        let mut pids: Vec<u32> = said["result"][key].as_array().into_iter().flatten().map(number).collect();
        pids.sort_unstable();
        pids
    };
    let mut both = [after, before.to_vec()];
    both.iter_mut().for_each(|pids| pids.sort_unstable());
    assert_eq!([sorted("new"), sorted("old")], both, "{said}");
}

pub(crate) fn upgrade(fire: &Fire, _: &[u32]) -> Value {
    ask(fire, "upgrade")
}
