//! The daemon may die at any instruction of a rollout, whatever its pace, and nobody notices: no request fails, every
//! order has one reply, and nothing is left behind. As in `crash.rs`, every run prints its seed.

mod harness;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::load::{plain, Load};
use harness::proc;
use harness::wire::Wire;
use harness::{pids, until, Fire, Folder};
use serde_json::{json, Value};

const WORKERS: usize = 4;

/// Descriptors beside those that hold programs fast.
fn open(fire: &Fire) -> usize {
    proc::descriptors(fire.keeper_pid).len().saturating_sub(proc::standing_for_files(fire.keeper_pid))
}

/// What must be so at rest: no zombie, no worker that nobody knows of, no descriptor too many.
fn at_rest(fire: &Fire, descriptors: usize, after: &[u32]) {
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
    until("two generations are held fast at most", || proc::standing_for_files(fire.keeper_pid) <= 4);
    let begun = Instant::now();
    while open(fire) != descriptors {
        let now = proc::descriptors(fire.keeper_pid).split_off(64);
        assert!(begun.elapsed() < Duration::from_secs(30), "{descriptors} descriptors before, now {now:?}");
        harness::pause();
    }
    let serves = |pid: &u32| proc::arguments(*pid).get(1).is_some_and(|word| word == "serve");
    let of_all = || fire.folder.processes().into_iter().filter(serves).count();
    until("no worker that nobody knows of", || of_all() == after.len());
}

fn reply(wire: &mut Wire, fire: &Fire) -> Value {
    wire.one_reply().unwrap_or_else(|| panic!("closed without a reply: {}", fire.stderr()))
}

fn paced(salt: u64, keys: &str) {
    let toml = format!(
        "[web]\nexec_start = ['@WORKER@', 'serve', 'path']\nnumprocesses = {WORKERS}\nack = 'manual'\n\
         start_immediate = true\nrestart = 'always'\n{keys}\n"
    );
    let (fire, mut dice) = (Fire::start_in(Folder::new(), &toml), Dice::new(salt));
    let mut before = fire.settled("web", WORKERS);
    std::thread::sleep(Duration::from_millis(300));
    let descriptors = open(&fire);
    let address: SocketAddr =
        fire.group("web")["listeners"][0]["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
    let load = Load::start(address, 2, plain);
    for verb in ["upgrade", "rollback", "restart", "upgrade", "cancel"] {
        fire.good_life();
        let mut wire = Wire::connect(&fire.socket()).expect("connect");
        let asked = if verb == "cancel" { "upgrade" } else { verb };
        wire.send(asked, json!({ "group": "web" })).expect("send");
        for _ in 0..2 {
            dice.moment(150);
            fire.kill_daemon();
        }
        if verb == "cancel" {
            let mut other = Wire::connect(&fire.socket()).expect("connect");
            other.send("cancel", json!({ "group": "web" })).expect("send");
            dice.moment(5);
            fire.kill_daemon();
            reply(&mut other, &fire);
        }
        let said = reply(&mut wire, &fire);
        assert!(verb == "cancel" || said.get("result").is_some(), "{verb}: {said} {}", fire.stderr());
        drop(wire);
        let after = fire.settled("web", WORKERS);
        if verb != "cancel" {
            assert!(!after.iter().any(|pid| before.contains(pid)), "{verb}: {before:?} {after:?}");
        }
        at_rest(&fire, descriptors, &pids(&fire.group("web")));
        before = after;
    }
    load.stop();
    fire.stop();
}

const AT: &str = "socket_address = ['127.0.0.1:0']";

#[test]
fn one_more_at_a_time_with_a_soak() {
    paced(1, &format!("{AT}\nsurge = 1\nsoak = '60ms'"));
}

#[test]
fn one_less_at_a_time() {
    paced(2, &format!("{AT}\nsurge = 0\nmax_unavailable = 1"));
}

#[test]
fn half_more_and_one_less_with_a_delay_before_the_kill() {
    paced(3, &format!("{AT}\nsurge = '50%'\nmax_unavailable = 1\nkill_old_delay = '50ms'"));
}

#[test]
fn slots_with_sockets_of_their_own() {
    paced(4, "socket_address = [{ address = '127.0.0.1:0', reuseport = true }]\nsurge = 2\nsoak = '30ms'");
}
