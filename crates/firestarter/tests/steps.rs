//! The daemon is killed at each step of what it does: before and after every system call that changes something, and
//! before every store to the journal. The next one goes on, and nobody notices: the order has one reply, which is true, the
//! right workers live, nobody else does, the listener answers, and nothing is left behind. So for the writer: no byte of a
//! log is missing or there twice.
//!
//! The test command tries some steps of each story, from its seed. `STEPS=all cargo test -p firestarter --test steps` tries
//! all, one after the other until an act ends without a kill, in some minutes. `FROM=n` begins at that step.
#![cfg(target_arch = "x86_64")]

#[path = "steps/ground.rs"]
mod ground;
mod harness;
#[path = "steps/told.rs"]
mod told;

use std::fs;

use ground::{
    address_of, all_new, answer, ask, every_life, every_step, folder, nobody_else, ready, released, start, toml,
    upgrade, went_well, Plan, Story, Victim, COUNT, DEATHS,
};
use harness::load::plain;
use harness::proc::{self, Sig};
use harness::tracer::Tracer;
use harness::wire::Wire;
use harness::{lines, pids, until, Fire};
use rustix::fs::{mknodat, FileType, Mode, CWD};
use serde_json::{json, Value};

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
    every_step(1, &Story::of("start_immediate = true\nack_timeout = '10ms'", act, check));
}

#[test]
fn an_upgrade_with_ack_manual() {
    every_step(2, &Story::of("start_immediate = true\nack = 'manual'", upgrade, all_new));
}

#[test]
fn an_upgrade_with_ack_timer() {
    let keys = "start_immediate = true\nack = 'timer'\nack_timeout = '20ms'";
    every_step(3, &Story::of(keys, upgrade, all_new));
}

#[test]
fn an_upgrade_with_ack_none() {
    every_step(4, &Story::of("start_immediate = true\nack = 'none'", upgrade, all_new));
}

#[test]
fn an_upgrade_with_ack_exec() {
    let keys = "start_immediate = true\nack = 'exec'\nhealth = { command = ['true'], interval = '50ms' }";
    every_step(5, &Story::of(keys, upgrade, all_new));
}

#[test]
fn an_upgrade_in_batches_with_a_soak() {
    let keys = "start_immediate = true\nack = 'manual'\nsurge = 1\nsoak = '20ms'";
    every_step(6, &Story::of(keys, upgrade, all_new));
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
    every_step(9, &Story::of("start_immediate = true\nack_timeout = '10ms'", act, all_new));
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
    every_step(10, &Story::of("start_immediate = true\nack_timeout = '10ms'", act, check));
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
    every_step(12, &Story::of("start_immediate = true\nack_timeout = '10ms'", act, check));
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

#[test]
fn a_recovery_at_rest() {
    let act = |fire: &Fire, _: &[u32]| {
        fire.kill_daemon();
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
        fire.kill_daemon();
        answer(&mut wire, fire)
    };
    let keys = "start_immediate = true\nack = 'timer'\nack_timeout = '200ms'";
    every_step(15, &Story { victim: Victim::NextDaemon, keys, prepare: ready, act, check: all_new });
}

#[test]
fn a_start() {
    every_life(16, |at| {
        let folder = folder();
        // Nothing may be forked before the tracer is there: it begins when somebody opens this for reading.
        let gate = folder.join("gate");
        mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
        let toml = toml("start_immediate = true\nack = 'manual'");
        let keeper = harness::run_command_behind(&gate, &folder, &toml).spawn().expect("start");
        let tracer = Tracer::of_next(keeper.id(), at);
        fs::read(&gate).expect("open the gate");
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
        let program = fire.program();
        assert_eq!(said.code == 0, program == other, "{said:?} {}", fire.stderr());
        nobody_else(&fire, &workers);
        fire.stop();
        traced
    });
}

/// So many steps of a writer that is at work: some batches and some rotations.
const WRITTEN: u32 = 400;

/// A writer dies at each of its steps, so many, while two workers write to one file, so many microseconds apart.
fn every_step_of_a_writer(salt: u64, steps: u32, rest: u32, log: &str, by_stamp: bool) {
    let mut plan = Plan::new(salt, steps);
    let mut rotated = false;
    while plan.next < steps {
        let fire = Fire::start(&format!(
            "[web]\nexec_start = ['@WORKER@', 'lines', '{rest}', '100000000']\nnumprocesses = 2\nack_timeout = '10ms'\n\
             stdout_log = {log}\n"
        ));
        until("bytes", || lines::all_taken(fire.folder.path()) > 0);
        for _ in 0..DEATHS {
            until("a writer", || proc::writer(fire.keeper_pid).is_some());
            let traced = Tracer::of(proc::writer(fire.keeper_pid).expect("a writer"), plan.take()).killed();
            println!("{}", traced.killed.expect("a writer at work takes so many steps"));
        }
        fire.folder.write("enough", "");
        let workers = fire.settled("web", 2);
        until("both have written all", || workers.iter().all(|pid| lines::is_done(&fire.folder, *pid)));
        let text = || lines::of_log(fire.folder.path(), "log", by_stamp);
        until("all is written", || text().len() as u64 >= lines::all_taken(fire.folder.path()));
        lines::all_there(fire.folder.path(), &lines::read(fire.folder.path(), &text(), false));
        let names = fs::read_dir(fire.folder.path()).expect("the folder").flatten();
        rotated |= names.filter(|entry| entry.file_name().to_string_lossy().starts_with("log.")).count() > 0;
        fire.stop();
    }
    assert_eq!(rotated, log.contains(':'), "a log that rotates does so meanwhile");
}

#[test]
fn a_writer_that_rotates_by_size() {
    every_step_of_a_writer(20, WRITTEN, 2000, "'size:10240:100000:@DIR@/log'", false);
}

#[test]
fn a_writer_that_never_rotates() {
    every_step_of_a_writer(21, WRITTEN, 2000, "'@DIR@/log'", false);
}

/// Between two rotations lie so many steps, about.
const IN_A_SECOND: u32 = 120;

#[test]
fn a_writer_that_rotates_by_time() {
    every_step_of_a_writer(22, IN_A_SECOND, 200_000, "'time:1:S:U:100000:@DIR@/log'", true);
}
