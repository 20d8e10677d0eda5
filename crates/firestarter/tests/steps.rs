//! The daemon is killed at each step of what it does: before and after every system call that changes something, and
//! before every store to the journal. The next one goes on, and nobody notices: the order has one reply, which is true, the
//! right workers live, nobody else does, the listener answers, and nothing is left behind.
//!
//! The test command tries some steps of each story, from its seed. `STEPS=all cargo test -p firestarter --test steps` tries
//! all, one after the other until an act ends without a kill; it takes an hour. `FROM=n` begins at that step.
#![cfg(target_arch = "x86_64")]

mod harness;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::load::plain;
use harness::proc::{self, Sig};
use harness::tracer::{Traced, Tracer};
use harness::wire::Wire;
use harness::{number, pids, until, Fire, Folder};
use serde_json::{json, Value};

/// What is done, and what must be so afterwards.
struct Story {
    /// Who is killed: the daemon that lives, or, in its recovery, the next one.
    victim: Victim,
    /// Of the group, beside those that all have.
    keys: &'static str,
    /// How the group begins, each time.
    prepare: fn(&Fire),
    act: fn(&Fire, &[u32]) -> Value,
    /// What must be so: of the workers before, and what was said.
    check: fn(&Fire, &[u32], &Value),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Daemon,
    NextDaemon,
}

const COUNT: usize = 2;
/// So many steps of each story, unless all are wanted.
const FEW: u32 = 10;
/// So many daemons of one keeper are killed; the keeper waits after more that were short-lived.
const DEATHS: u32 = 12;

/// Which steps are tried.
struct Plan {
    all: bool,
    next: u32,
    stride: u32,
}

impl Plan {
    /// `steps`: how many there are, about.
    fn new(salt: u64, steps: u32) -> Plan {
        let all = std::env::var("STEPS").is_ok_and(|steps| steps == "all");
        let from = std::env::var("FROM").ok().and_then(|from| from.parse().ok());
        let stride = if all { 1 } else { (steps / FEW).max(1) };
        let first = if all { 0 } else { Dice::new(salt).roll(stride.into()) as u32 };
        Plan { all, next: from.unwrap_or(first), stride }
    }

    fn take(&mut self) -> u32 {
        let step = self.next;
        self.next += self.stride;
        step
    }
}

fn start(keys: &str) -> Fire {
    let fire = Fire::start_in(folder(), &toml(keys));
    fire.wait_for("a group", |_| true);
    fire
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.script("run", &release(""));
    folder.script("stopper", "#!/bin/sh\necho $FIRESTARTER_PIDS >> stopped\nkill -INT $FIRESTARTER_PIDS\n");
    folder.script("upgrader", "#!/bin/sh\necho upgraded >> releases\n");
    folder
}

fn toml(keys: &str) -> String {
    format!(
        "[web]\nexec_start = ['@DIR@/run']\nnumprocesses = {COUNT}\nsocket_address = ['127.0.0.1:0']\nrestart = 'always'\n\
         stop_timeout = 60\nbackoff_max = '20ms'\nbackoff_reset = '1ms'\n{keys}\n"
    )
}

fn release(first: &str) -> String {
    format!("#!/bin/sh\n{first}\nexec {} serve path\n", harness::worker())
}

/// Puts another program in the place of the group's.
fn released(fire: &Fire, first: &str) {
    fire.folder.script("fresh", &release(first));
    fs::rename(fire.folder.join("fresh"), fire.folder.join("run")).expect("rename");
}

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

/// Every step of a story, with a new keeper now and then.
fn every_step(salt: u64, story: &Story) {
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
fn step(fire: &Fire, story: &Story, at: u32) -> (Vec<u32>, Traced) {
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
fn at_rest(fire: &Fire, workers: &[u32], descriptors: usize) {
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

fn nobody_else(fire: &Fire, workers: &[u32]) {
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
    let serves = |pid: &u32| proc::arguments(*pid).get(1).is_some_and(|word| word == "serve");
    let of_all = || fire.folder.processes().into_iter().filter(serves).count();
    until("no worker that nobody knows of", || of_all() == workers.len());
}

/// Descriptors beside those that hold programs fast, and beside this test's own connections.
fn open(fire: &Fire) -> usize {
    let mut least = usize::MAX;
    for _ in 0..3 {
        let all = proc::descriptors(fire.keeper_pid).len();
        least = least.min(all.saturating_sub(proc::standing_for_files(fire.keeper_pid)));
        harness::pause();
    }
    least
}

/// Sends an order, and waits for its one reply.
fn ask(fire: &Fire, method: &str) -> Value {
    let mut wire = Wire::connect(&fire.socket()).expect("connect");
    wire.send(method, json!({ "group": "web" })).expect("send");
    answer(&mut wire, fire)
}

/// The one reply to the first order that was sent; what was sent before a crash in part is none.
fn answer(wire: &mut Wire, fire: &Fire) -> Value {
    let next = |wire: &mut Wire| loop {
        let line = wire.line()?;
        match serde_json::from_str::<Value>(&line) {
            Ok(reply) if reply.get("id").is_some() => break Some(reply),
            Ok(_) => {}
            Err(_) => assert!(line.is_empty() || line.starts_with('{'), "{line:?}"),
        }
    };
    let reply = next(wire).unwrap_or_else(|| panic!("closed without a reply: {}", fire.stderr()));
    let Ok(other) = wire.send("list", json!({})) else { return reply };
    loop {
        let Some(next) = next(wire) else { return reply };
        if next["id"] == other {
            break reply;
        }
        // In the one instant after it was sent, where nobody can know that it was.
        assert_eq!(next, reply, "one reply, or an equal one");
    }
}

fn went_well(said: &Value, fire: &Fire) {
    assert!(said.get("result").is_some(), "{said} {}", fire.stderr());
}

fn ready(fire: &Fire) {
    fire.settled("web", COUNT);
}

fn all_new(fire: &Fire, before: &[u32], said: &Value) {
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

fn upgrade(fire: &Fire, _: &[u32]) -> Value {
    ask(fire, "upgrade")
}

#[test]
fn a_worker_that_dies() {
    let act = |_: &Fire, before: &[u32]| {
        proc::signal(before[0], Sig::KILL);
        until("its end", || !proc::alive(before[0]));
        Value::Null
    };
    let check = |fire: &Fire, before: &[u32], _: &Value| {
        until("a successor", || {
            let group = fire.try_status().map(|status| harness::group_of(&status, "web")).unwrap_or_default();
            let after = pids(&group);
            after.len() == COUNT && !after.contains(&before[0])
        });
        let after = fire.settled("web", COUNT);
        assert_eq!(after[1], before[1]);
    };
    every_step(
        1,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack_timeout = '10ms'",
            prepare: ready,
            act,
            check,
        },
    );
}

#[test]
fn an_upgrade_with_ack_manual() {
    every_step(
        2,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack = 'manual'",
            prepare: ready,
            act: upgrade,
            check: all_new,
        },
    );
}

#[test]
fn an_upgrade_with_ack_timer() {
    let keys = "start_immediate = true\nack = 'timer'\nack_timeout = '20ms'";
    every_step(3, &Story { victim: Victim::Daemon, keys, prepare: ready, act: upgrade, check: all_new });
}

#[test]
fn an_upgrade_with_ack_none() {
    every_step(
        4,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack = 'none'",
            prepare: ready,
            act: upgrade,
            check: all_new,
        },
    );
}

#[test]
fn an_upgrade_with_ack_exec() {
    let keys = "start_immediate = true\nack = 'exec'\nhealth = { command = ['true'], interval = '50ms' }";
    every_step(5, &Story { victim: Victim::Daemon, keys, prepare: ready, act: upgrade, check: all_new });
}

#[test]
fn an_upgrade_in_batches_with_a_soak() {
    let keys = "start_immediate = true\nack = 'manual'\nsurge = 1\nsoak = '20ms'";
    every_step(6, &Story { victim: Victim::Daemon, keys, prepare: ready, act: upgrade, check: all_new });
}

#[test]
fn an_upgrade_that_is_aborted() {
    let prepare = |fire: &Fire| {
        released(fire, "");
        ready(fire);
    };
    let act = |fire: &Fire, _: &[u32]| {
        released(fire, "exit 3");
        ask(fire, "upgrade")
    };
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        assert_eq!(said["error"]["data"]["code"], "aborted", "{said}");
        assert_eq!(fire.settled("web", COUNT), before);
        assert_eq!((&fire.group("web")["generation"], &fire.group("web")["restarts"]), (&1.into(), &0.into()));
    };
    every_step(
        7,
        &Story { victim: Victim::Daemon, keys: "start_immediate = true\nack = 'manual'", prepare, act, check },
    );
}

#[test]
fn a_rollback() {
    let prepare = |fire: &Fire| {
        ready(fire);
        went_well(&ask(fire, "upgrade"), fire);
        ready(fire);
    };
    let act = |fire: &Fire, _: &[u32]| ask(fire, "rollback");
    every_step(
        8,
        &Story { victim: Victim::Daemon, keys: "start_immediate = true\nack = 'manual'", prepare, act, check: all_new },
    );
}

#[test]
fn a_restart() {
    let act = |fire: &Fire, _: &[u32]| ask(fire, "restart");
    every_step(
        9,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack_timeout = '10ms'",
            prepare: ready,
            act,
            check: all_new,
        },
    );
}

#[test]
fn one_worker_more_and_one_less() {
    let act = |fire: &Fire, _: &[u32]| {
        went_well(&ask(fire, "inc"), fire);
        ask(fire, "dec")
    };
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        went_well(said, fire);
        assert_eq!(fire.settled("web", COUNT), before);
    };
    every_step(
        10,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack_timeout = '10ms'",
            prepare: ready,
            act,
            check,
        },
    );
}

#[test]
fn a_stop_by_a_hook() {
    let prepare = |fire: &Fire| {
        if fire.group("web")["state"] == "stopped" {
            went_well(&ask(fire, "start"), fire);
        }
        ready(fire);
        let _ = fs::remove_file(fire.folder.join("stopped"));
    };
    let act = |fire: &Fire, _: &[u32]| ask(fire, "stop");
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        went_well(said, fire);
        fire.in_state("web", "stopped");
        assert!(!before.iter().any(|pid| proc::alive(*pid)));
        let told = fire.folder.read("stopped");
        assert_eq!(told.lines().count(), 1, "once: {told} {}", fire.stderr());
    };
    let keys = "start_immediate = true\nack_timeout = '10ms'\nexec_stop = '@DIR@/stopper'";
    every_step(11, &Story { victim: Victim::Daemon, keys, prepare, act, check });
}

#[test]
fn a_stop_and_a_start() {
    let act = |fire: &Fire, _: &[u32]| {
        went_well(&ask(fire, "stop"), fire);
        fire.in_state("web", "stopped");
        ask(fire, "start")
    };
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        went_well(said, fire);
        let after = fire.settled("web", COUNT);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
    };
    every_step(
        12,
        &Story {
            victim: Victim::Daemon,
            keys: "start_immediate = true\nack_timeout = '10ms'",
            prepare: ready,
            act,
            check,
        },
    );
}

#[test]
fn an_upgrade_by_an_upgrader() {
    let prepare = |fire: &Fire| {
        ready(fire);
        let _ = fs::remove_file(fire.folder.join("releases"));
    };
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        all_new(fire, before, said);
        assert_eq!(fire.folder.read("releases").lines().count(), 1, "once: {}", fire.stderr());
    };
    let keys = "start_immediate = true\nack = 'manual'\nupgrader = '@DIR@/upgrader'";
    every_step(13, &Story { victim: Victim::Daemon, keys, prepare, act: upgrade, check });
}

fn kill_daemon(fire: &Fire) {
    let daemon = proc::daemon(fire.keeper_pid).expect("a daemon");
    proc::signal(daemon, Sig::KILL);
    until("its death", || !proc::alive(daemon));
}

#[test]
fn a_recovery_at_rest() {
    let act = |fire: &Fire, _: &[u32]| {
        kill_daemon(fire);
        Value::Null
    };
    let check = |fire: &Fire, before: &[u32], _: &Value| assert_eq!(fire.settled("web", COUNT), before);
    let keys = "start_immediate = true\nack = 'manual'";
    every_step(14, &Story { victim: Victim::NextDaemon, keys, prepare: ready, act, check });
}

#[test]
fn a_recovery_in_an_upgrade() {
    let act = |fire: &Fire, _: &[u32]| {
        let mut wire = Wire::connect(&fire.socket()).expect("connect");
        wire.send("upgrade", json!({ "group": "web" })).expect("send");
        until("two generations", || fire.folder.processes().len() >= 2 + 2 * COUNT);
        kill_daemon(fire);
        answer(&mut wire, fire)
    };
    let keys = "start_immediate = true\nack = 'timer'\nack_timeout = '60ms'";
    every_step(15, &Story { victim: Victim::NextDaemon, keys, prepare: ready, act, check: all_new });
}

/// As `every_step`, with a keeper for each step.
fn every_life(salt: u64, life: impl Fn(u32) -> Traced) {
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

#[test]
fn a_start() {
    every_life(16, |at| {
        let folder = folder();
        let keeper =
            harness::run_command(&folder, &toml("start_immediate = true\nack = 'manual'")).spawn().expect("start");
        let tracer = Tracer::of_next(keeper.id(), at);
        // To wait for the keeper would take its stops from who traces it.
        until("an answer", || {
            let wire = Wire::connect(&folder.join("c")).ok();
            wire.is_some_and(|mut wire| wire.send("list", json!({})).is_ok() && wire.reply().is_some())
        });
        let fire = Fire::watch(folder, keeper);
        let workers = fire.settled("web", COUNT);
        plain(address_of(&fire)).expect("an answer");
        let traced = tracer.end();
        nobody_else(&fire, &workers);
        assert_eq!(fire.group("web")["restarts"], 0, "{}", fire.stderr());
        fire.stop();
        traced
    });
}

#[test]
fn the_stop_of_everything() {
    every_life(17, |at| {
        let fire = start("start_immediate = true\nack_timeout = '10ms'\nexec_stop = '@DIR@/stopper'");
        ready(&fire);
        let tracer = Tracer::of(fire.daemon(), at);
        let mut wire = fire.wire();
        wire.send("shutdown", json!({})).expect("send");
        let said = answer(&mut wire, &fire);
        went_well(&said, &fire);
        let mut fire = fire;
        assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
        fire.nothing_left();
        assert_eq!(fire.folder.read("stopped").lines().count(), 1, "once: {}", fire.stderr());
        tracer.end()
    });
}

#[test]
fn a_group_that_is_started_by_its_first_connection() {
    every_life(18, |at| {
        let fire = start("start_immediate = false\nack = 'manual'");
        let address = address_of(&fire);
        let tracer = Tracer::of(fire.daemon(), at);
        plain(address).expect("an answer");
        let workers = fire.settled("web", COUNT);
        let traced = tracer.end();
        nobody_else(&fire, &workers);
        fire.stop();
        traced
    });
}

#[test]
fn a_firestarter_that_is_replaced() {
    every_life(19, |at| {
        let fire = start("start_immediate = true\nack = 'manual'");
        let workers = fire.settled("web", COUNT);
        let other = fire.folder.join("other");
        fs::copy(harness::BIN, &other).expect("a copy of the program");
        let tracer = Tracer::of(fire.daemon(), at);
        let said = fire.ctl(&["upgrade-daemon", "--binary", &other.display().to_string()]);
        assert_eq!(fire.settled("web", COUNT), workers, "{said:?} {}", fire.stderr());
        plain(address_of(&fire)).expect("an answer");
        let traced = tracer.end();
        let program = fs::read_link(format!("/proc/{}/exe", fire.keeper_pid)).expect("a program");
        assert_eq!(said.code == 0, program == other, "{said:?} {}", fire.stderr());
        nobody_else(&fire, &workers);
        fire.stop();
        traced
    });
}
