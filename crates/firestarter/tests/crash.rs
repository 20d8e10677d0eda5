//! The daemon may die at any instruction, and nothing is lost. What is random here is when it is killed; every run prints
//! its seed, and `SEED=n` tries that one again as far as the machine's timing allows.

mod harness;

use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::wire::Wire;
use harness::{group_of, number, pids, until, Fire, Folder};
use serde_json::{json, Value};

/// What must be so whenever a Firestarter has come to rest: no zombie, and the keeper's descriptors as they were.
fn at_rest(fire: &Fire, descriptors: usize) {
    fire.wait_for("a daemon", |_| true);
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
    until("two generations are held fast at most", || proc::standing_for_files(fire.keeper_pid) <= 4);
    let count = || open_beside_pins(fire);
    let begun = Instant::now();
    while count() != descriptors {
        let now = proc::descriptors(fire.keeper_pid);
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{descriptors} descriptors before, {} now: {now:?}",
            now.len()
        );
        harness::pause();
    }
}

/// The keeper's descriptors but those that hold programs fast, of which a group that was upgraded has two more: for the
/// way back.
fn open_beside_pins(fire: &Fire) -> usize {
    proc::descriptors(fire.keeper_pid).len().saturating_sub(proc::standing_for_files(fire.keeper_pid))
}

fn descriptors_of(fire: &Fire) -> usize {
    fire.wait_for("a daemon", |_| true);
    // The connection that asked is closed by the daemon in its own time.
    let mut least = usize::MAX;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        least = least.min(open_beside_pins(fire));
        harness::pause();
    }
    least
}

fn quiet(count: usize) -> Fire {
    let fire = Fire::start(&format!(
        "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = {count}\nrestart = 'always'\nack_timeout = '20ms'\n\
         backoff_max = '20ms'\nbackoff_reset = '1ms'\nstop_timeout = 60\n"
    ));
    fire.settled("web", count);
    fire
}

#[test]
fn idle_workers_outlive_daemon_after_daemon() {
    let (fire, mut dice) = (quiet(5), Dice::new(1));
    let (workers, descriptors) = (fire.settled("web", 5), descriptors_of(&fire));
    for _ in 0..5 {
        fire.good_life();
        // The second and third hit the recovery itself.
        for _ in 0..3 {
            fire.kill_daemon();
            dice.moment(6);
        }
        assert_eq!(fire.settled("web", 5), workers, "{}", fire.stderr());
    }
    at_rest(&fire, descriptors);
    assert_eq!(number(&fire.status()["recoveries"]), 15, "no daemon died by itself: {}", fire.stderr());
    fire.stop();
}

/// Asks for something, kills the daemon at some moment, and returns the one reply.
fn ask_and_kill(fire: &Fire, dice: &mut Dice, method: &str, params: Value) -> Value {
    let mut wire = Wire::connect(&fire.socket()).expect("connect");
    let id = wire.send(method, params).expect("send");
    let kills = 1 + dice.roll(3);
    for _ in 0..kills {
        dice.moment(12);
        fire.kill_daemon();
    }
    let reply = wire.one_reply().unwrap_or_else(|| panic!("{method}: closed without a reply: {}", fire.stderr()));
    assert_eq!(reply["id"], id, "{method}: {reply}");
    reply
}

/// Each order in turn, the daemon killed one to three times while it is carried out.
fn orders(salt: u64, rounds: usize) {
    let (fire, mut dice) = (quiet(3), Dice::new(salt));
    let descriptors = descriptors_of(&fire);
    let verbs = ["upgrade", "inc", "restart", "dec", "stop", "start", "killall", "start"];
    for round in 0..rounds {
        for (index, verb) in verbs.iter().enumerate() {
            fire.good_life();
            let before = pids(&fire.group("web"));
            let reply = ask_and_kill(&fire, &mut dice, verb, json!({ "group": "web" }));
            assert!(reply.get("result").is_some(), "round {round} {verb}: {reply} {}", fire.stderr());
            let wanted = [3, 4, 4, 3, 0, 3, 0, 3][index];
            let after = if wanted == 0 { pids(&fire.in_state("web", "stopped")) } else { fire.settled("web", wanted) };
            check(verb, &before, &after, &reply, &fire);
            // The daemon has one for each worker.
            at_rest(&fire, descriptors + after.len() - 3);
        }
    }
    fire.stop();
}

/// The reply tells the truth, and nobody was started or ended beyond what was asked for.
fn check(verb: &str, before: &[u32], after: &[u32], reply: &Value, fire: &Fire) {
    let listed =
        |key: &str| -> Vec<u32> { reply["result"][key].as_array().into_iter().flatten().map(number).collect() };
    let context = format!("{verb}: {before:?} -> {after:?}: {reply} {}", fire.stderr());
    // Which worker comes first in a list is not agreed upon.
    let sorted = |mut pids: Vec<u32>| {
        pids.sort_unstable();
        pids
    };
    match verb {
        "upgrade" | "restart" => {
            assert!(!after.iter().any(|pid| before.contains(pid)), "{context}");
            let said = (sorted(listed("new")), sorted(listed("old")));
            assert_eq!(said, (sorted(after.to_vec()), sorted(before.to_vec())), "{context}");
        }
        "inc" => assert_eq!(&after[..before.len()], before, "{context}"),
        "dec" => assert_eq!(after, &before[..after.len()], "{context}"),
        "start" => assert_eq!(sorted(listed("pids")), sorted(after.to_vec()), "{context}"),
        _ => assert_eq!(sorted(listed("pids")), sorted(before.to_vec()), "{context}"),
    }
    let workers =
        fire.folder.processes().into_iter().filter(|pid| proc::arguments(*pid).first().is_some_and(|a| a == "sleep"));
    assert_eq!(workers.count(), after.len(), "a worker nobody knows of: {context}");
    assert_eq!(fire.group("web")["restarts"], 0, "{context}");
}

#[test]
fn orders_are_carried_out_once_and_answered_once_a() {
    orders(2, 1);
}

#[test]
fn orders_are_carried_out_once_and_answered_once_b() {
    orders(3, 1);
}

#[test]
fn orders_are_carried_out_once_and_answered_once_c() {
    orders(4, 1);
}

#[test]
fn deaths_of_workers_and_of_the_daemon_at_once() {
    let (fire, mut dice) = (quiet(4), Dice::new(5));
    let descriptors = descriptors_of(&fire);
    for _ in 0..8 {
        fire.good_life();
        let before = fire.settled("web", 4);
        let (killed, first) = (before[dice.roll(4) as usize], dice.roll(2) == 0);
        if first {
            fire.kill_daemon();
        }
        proc::signal(killed, Sig::KILL);
        if !first {
            dice.moment(3);
            fire.kill_daemon();
        }
        until("its end", || !proc::alive(killed));
        fire.wait_for("a successor", |status| {
            let now = pids(&group_of(status, "web"));
            now.len() == 4 && !now.contains(&killed)
        });
        let after = fire.settled("web", 4);
        assert_eq!(after.iter().filter(|pid| before.contains(pid)).count(), 3, "{}", fire.stderr());
        at_rest(&fire, descriptors);
    }
    fire.stop();
}

#[test]
fn a_daemon_killed_while_it_starts() {
    let mut dice = Dice::new(6);
    for _ in 0..12 {
        let folder = Folder::new();
        let toml = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 4\nack_timeout = '1ms'\n";
        let keeper = harness::run_command(&folder, toml).spawn().expect("start");
        until("a daemon", || proc::daemon(keeper.id()).is_some());
        dice.moment(8);
        if let Some(daemon) = proc::daemon(keeper.id()) {
            proc::signal(daemon, Sig::KILL);
        }
        let fire = Fire::watch(folder, keeper);
        let workers = fire.settled("web", 4);
        let sleepers = fire.folder.processes().into_iter().filter(|pid| proc::parent(*pid) == fire.keeper_pid);
        let mut sleepers: Vec<u32> = sleepers.filter(|pid| *pid != fire.daemon()).collect();
        sleepers.sort_unstable();
        let mut known = workers.clone();
        known.sort_unstable();
        assert_eq!(sleepers, known, "{}", fire.stderr());
        fire.stop();
    }
}

#[test]
fn a_daemon_killed_while_all_is_being_stopped() {
    let mut dice = Dice::new(7);
    for by_signal in [true, false, true, false] {
        let mut fire = Fire::start(
            "[web]\nexec_start = ['sh', '-c', 'trap \"sleep 0.1; exit\" TERM; echo >>@DIR@/up; \
             while :; do sleep 0.02; done']\nnumprocesses = 3\n",
        );
        until("all are up", || fire.folder.read("up").lines().count() == 3);
        if by_signal {
            fire.signal_keeper(Sig::TERM);
            dice.moment(30);
            proc::daemon(fire.keeper_pid).into_iter().for_each(|daemon| proc::signal(daemon, Sig::KILL));
        } else {
            let mut wire = fire.wire();
            wire.send("shutdown", json!({})).expect("send");
            dice.moment(30);
            proc::daemon(fire.keeper_pid).into_iter().for_each(|daemon| proc::signal(daemon, Sig::KILL));
            assert_eq!(wire.reply().map(|reply| reply["result"]["done"].clone()), Some("shut_down".into()));
        }
        assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
        fire.nothing_left();
    }
}

fn serving() -> Fire {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['@WORKER@', 'serve', 'path']\nnumprocesses = 2\nack = 'manual'\n\
                socket_address = ['127.0.0.1:0']\nstart_immediate = true\nrestart = 'always'\n";
    Fire::start_in(folder, toml)
}

#[test]
fn no_request_is_lost_while_daemons_die_during_upgrades() {
    let (fire, mut dice) = (serving(), Dice::new(8));
    fire.settled("web", 2);
    let descriptors = descriptors_of(&fire);
    let address =
        fire.group("web")["listeners"][0]["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
    let load = Load::start(address, 3, plain);
    for _ in 0..6 {
        load.goes_on(20);
        fire.good_life();
        let before = fire.settled("web", 2);
        let mut wire = fire.wire();
        wire.send("upgrade", json!({ "group": "web" })).expect("send");
        for _ in 0..2 {
            dice.moment(60);
            fire.kill_daemon();
        }
        let reply = wire.reply().expect("a reply");
        assert_eq!(reply["result"]["done"], "upgraded", "{reply} {}", fire.stderr());
        let after = fire.settled("web", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)));
    }
    load.stop();
    at_rest(&fire, descriptors);
    fire.stop();
}

#[test]
fn a_daemon_stopped_and_then_killed_has_missed_nothing() {
    let fire = quiet(3);
    let before = fire.settled("web", 3);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    proc::signal(before[1], Sig::KILL);
    let mut wire = fire.wire();
    wire.send("inc", json!({ "group": "web" })).expect("send");
    until("the worker's zombie", || proc::zombies(fire.keeper_pid).contains(&before[1]));
    proc::signal(daemon, Sig::KILL);
    let reply = wire.reply().expect("a reply");
    assert_eq!(reply["result"]["done"], "incremented", "{reply}");
    let after = fire.settled("web", 4);
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert_ne!(after[1], before[1]);
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
}

#[test]
fn a_daemon_that_dies_at_once_again_and_again_makes_no_busy_loop() {
    let fire = quiet(1);
    let worker = fire.settled("web", 1);
    let begun = Instant::now();
    let mut deaths = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        if let Some(daemon) = proc::daemon(fire.keeper_pid) {
            proc::signal(daemon, Sig::KILL);
            until("its death", || !proc::alive(daemon));
            deaths += 1;
        }
        harness::pause();
    }
    // At once, as long as it may be an accident; then with pauses.
    assert!((4..=60).contains(&deaths), "{deaths} daemons in three seconds");
    assert_eq!(fire.settled("web", 1), worker);
    fire.stop();
}

#[test]
fn without_a_keeper_the_daemon_says_so_and_works_on() {
    let fire = quiet(2);
    let before = fire.settled("web", 2);
    fire.signal_keeper(Sig::KILL);
    let status = fire.wait_for("the bad news", |status| status["keeper_alive"] == false);
    assert_eq!(pids(&group_of(&status, "web")), before, "the workers run on");
    assert!(fire.ctl(&["status"]).err.contains("the keeper"), "the client warns");
    proc::signal(before[0], Sig::KILL);
    fire.wait_for("a respawn", |status| number(&group_of(status, "web")["restarts"]) == 1);
    let after = fire.settled("web", 2);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    let new = harness::listed(&fire.order("web", "upgrade"));
    assert_eq!(fire.settled("web", 2), new);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.nothing_left();
}

#[test]
fn an_idle_firestarter_uses_no_processor() {
    let fire = quiet(5);
    let (keeper, daemon) = (fire.keeper_pid, fire.daemon());
    let switches = |pid| proc::status(pid, "voluntary_ctxt_switches").parse::<u64>().unwrap_or(0);
    let quiet_now = || {
        let before = (switches(keeper), switches(daemon));
        std::thread::sleep(Duration::from_millis(500));
        before == (switches(keeper), switches(daemon))
    };
    until("half a second without a wakeup", quiet_now);
}
