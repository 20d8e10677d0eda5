//! The four contracts: a worker that knows one of them alone runs unchanged, is upgraded, and acks as its contract says;
//! a group that does not speak it leaves the worker without what it needs.

mod harness;

use std::net::SocketAddr;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{number, until, Fire, Folder};

/// The contracts, and how workers of each become ready.
const CONTRACTS: [(&str, &str); 4] = [
    ("firestarter", "ack = 'manual'"),
    ("einhorn", "ack = 'manual'"),
    ("server-starter", "ack_timeout = '300ms'"),
    ("systemd", "ack_timeout = '300ms'"),
];

fn config(worker: &str, contracts: &[&str], keys: &str) -> String {
    format!(
        "[web]\nexec_start = ['@WORKER@', 'speak', '{worker}']\nnumprocesses = 2\nrestart = 'always'\n\
         socket_address = ['127.0.0.1:0']\nstart_immediate = true\ncontracts = {contracts:?}\n{keys}\n"
    )
}

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

#[test]
fn a_worker_of_each_contract_is_spoken_to_in_it_and_upgraded_under_load() {
    for (contract, keys) in CONTRACTS {
        let fire = Fire::start(&config(contract, &[contract], keys));
        let before = fire.settled("web", 2);
        let load = Load::start(address_of(&fire), 4, plain);
        load.goes_on(20);
        fire.order("web", "upgrade");
        let after = fire.settled("web", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{contract}: {before:?} {after:?}");
        load.goes_on(20);
        load.stop();
        assert_eq!(number(&fire.group("web")["restarts"]), 0, "{contract}: {}", fire.stderr());
        assert!(!fire.stderr().contains("counts for nobody"), "{contract}: {}", fire.stderr());
        fire.stop();
    }
}

#[test]
fn without_its_contract_a_worker_finds_nothing() {
    for (contract, _) in CONTRACTS {
        let others: Vec<&str> = CONTRACTS.iter().map(|(name, _)| *name).filter(|name| *name != contract).collect();
        let fire = Fire::start(&config(contract, &others, "giveup = 2"));
        fire.hears("exit code 10");
        // With another one beside it, it is spoken to by both.
        drop(fire);
        let fire = Fire::start(&config(contract, &[contract, others[0]], "giveup = 2"));
        fire.hears("exit code 11");
    }
}

#[test]
fn an_ack_counts_only_if_its_contract_is_spoken() {
    let yaml = "printf -- \"---%%0Acommand: worker:ack%%0A\\n\" >&$FIRESTARTER_SOCK_FD";
    for (contracts, counts) in [("['firestarter', 'einhorn']", true), ("['firestarter']", false)] {
        let script = format!("{yaml}; exec sleep 1000");
        let fire = Fire::start(&format!(
            "[web]\nexec_start = ['sh', '-c', '''{script}''']\nack = 'manual'\nstart_timeout = 1\ncontracts = {contracts}\n"
        ));
        until("a worker", || fire.group("web")["workers"][0]["pid"].is_u64());
        let said = fire.ctl(&["ctrl", "web", "upgrade"]);
        assert_eq!(said.code == 0, counts, "{contracts}: {said:?}");
    }
}

#[test]
fn without_a_contract_there_is_no_variable_and_no_descriptor() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sleep', '1000']\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\ncontracts = []\n",
    );
    let worker = fire.settled("web", 1)[0];
    let numbers: Vec<u32> = proc::descriptors(worker).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "streams and the listener");
    let environ = std::fs::read(format!("/proc/{worker}/environ")).expect("environ");
    for entry in environ.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let taboo = ["LISTEN_", "EINHORN_", "SERVER_STARTER_", "FIRESTARTER_"];
        assert!(!taboo.iter().any(|beginning| entry.starts_with(beginning)), "{entry}");
    }
}

#[test]
fn sockets_as_each_contract_tells_of_them() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sleep', '1000']\nstart_immediate = true\nenvironments = ['EINHORN_FD_COUNT=mine']\n\
         socket_address = ['0', '127.0.0.1:0', 'tcp::[::1]:0', 'unix::@DIR@/a.sock', 'udp::127.0.0.1:0', '@fs-@DIR@']\n\
         [bare]\nexec_start = ['sleep', '1000']\n",
    );
    let worker = fire.settled("web", 1)[0];
    let dir = fire.folder.path().display();
    let port = proc::variable(worker, "SERVER_STARTER_PORT");
    let want = format!("0=3;127.0.0.1:0=4;[::1]:0=5;{dir}/a.sock=6;127.0.0.1:0=7;@fs-{dir}=8");
    assert_eq!(port.as_deref(), Some(want.as_str()));
    let families = ["AF_INET", "AF_INET", "AF_INET6", "AF_UNIX", "AF_INET", "AF_UNIX"];
    for (at, family) in families.into_iter().enumerate() {
        assert_eq!(proc::variable(worker, &format!("EINHORN_FD_FAMILY_{at}")).as_deref(), Some(family), "{at}");
        assert_eq!(proc::variable(worker, &format!("EINHORN_FD_{at}")), Some((at + 3).to_string()), "{at}");
    }
    assert_eq!(proc::variable(worker, "EINHORN_SOCK_FD").as_deref(), Some("9"));
    assert_eq!(proc::variable(worker, "EINHORN_FD_COUNT").as_deref(), Some("mine"), "what is configured wins");
    let bare = fire.settled("bare", 1)[0];
    assert_eq!(proc::variable(bare, "SERVER_STARTER_PORT").as_deref(), Some(""));
    assert_eq!(proc::variable(bare, "EINHORN_FD_COUNT").as_deref(), Some("0"));
    assert_eq!(proc::variable(bare, "EINHORN_MASTER_PID"), Some(fire.keeper_pid.to_string()));
}

/// Index and attempt of each worker, in order.
fn labels(workers: &[u32]) -> Vec<(u32, u32)> {
    let number = |pid, name: &str| proc::variable(pid, name).and_then(|text| text.parse().ok()).expect("a number");
    let of = |pid: &u32| (number(*pid, "EINHORN_CHILD_INDEX"), number(*pid, "SERVER_STARTER_GENERATION"));
    let mut labels: Vec<_> = workers.iter().map(of).collect();
    labels.sort_unstable();
    labels
}

#[test]
fn the_index_is_the_smallest_that_is_free_and_each_attempt_counts_over_the_daemons_death() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'trap : USR2; while :; do sleep 0.1; done']\nnumprocesses = 2\n\
        restart = 'always'\nack_timeout = '300ms'\nbackoff_max = '100ms'\ndrain_timeout = 60\nstop_signal = 'KILL'\n";
    let fire = Fire::start_in(Folder::new(), toml);
    let first = fire.settled("web", 2);
    assert_eq!(labels(&first), [(0, 1), (1, 2)]);
    let zero = |workers: &[u32]| {
        let of_index = |pid: &&u32| proc::variable(**pid, "EINHORN_CHILD_INDEX").as_deref() == Some("0");
        *workers.iter().find(of_index).expect("a worker with index 0")
    };
    let replaced = |fire: &Fire, workers: &[u32], restarts: u32| {
        proc::signal(zero(workers), Sig::KILL);
        fire.wait_for("a respawn", |status| status["groups"][0]["restarts"] == restarts);
        fire.settled("web", 2)
    };
    let second = replaced(&fire, &first, 1);
    assert_eq!(labels(&second), [(0, 3), (1, 2)]);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("another daemon", |status| number(&status["daemon_pid"]) != daemon);
    let third = replaced(&fire, &second, 2);
    assert_eq!(labels(&third), [(0, 4), (1, 2)]);
    // The old ones catch the signal and drain on, so their indices are taken.
    fire.order("web", "upgrade");
    let draining = || -> Vec<u32> {
        let workers = fire.group("web")["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().filter(|worker| worker["state"] == "ready").map(|worker| number(&worker["pid"])).collect()
    };
    assert_eq!(labels(&draining()), [(2, 5), (3, 6)]);
    assert!(third.iter().all(|pid| proc::alive(*pid)));
}
