//! Real servers: each is upgraded under load without losing a request, and serves on while the daemon dies.
//! `FIRESTARTER_SERVERS=VENV/bin cargo test --test servers -- --ignored`, where gunicorn and uvicorn are installed.

mod harness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harness::load::{http, Load};
use harness::proc::{self, Sig};
use harness::{until, Fire, Folder};

/// Where gunicorn and uvicorn are.
fn programs() -> String {
    let folder = std::env::var("FIRESTARTER_SERVERS").expect("FIRESTARTER_SERVERS names the bin folder of a venv");
    assert!(Path::new(&folder).join("gunicorn").exists(), "there is no gunicorn in {folder}");
    folder
}

fn folder_with(files: &[&str]) -> Folder {
    let folder = Folder::new();
    for file in files {
        let here: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "servers", file].iter().collect();
        std::fs::copy(here, folder.join(file)).expect("copy the server's file");
    }
    folder
}

fn serving(folder: Folder, command: &str, keys: &str) -> Fire {
    let common = "numprocesses = 2\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\nrestart = 'always'\n\
                  stdout_log = '@DIR@/log'\nstderr_log = '@DIR@/log'\n";
    Fire::start_in(folder, &format!("[web]\nexec_start = \"{command}\"\n{common}{keys}"))
}

/// Three upgrades under load; during the last the daemon is killed. Not one request may fail.
fn upgraded_without_a_loss(fire: &Fire) {
    upgraded(fire, 3);
}

fn upgraded(fire: &Fire, times: usize) {
    let address: SocketAddr = fire.group("web")["listeners"][0]["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .expect("an address");
    until("the first answer", || http(address).is_ok());
    let load = Load::start(address, 4, http);
    load.goes_on(100);
    for round in 0..times {
        let before = fire.settled("web", 2);
        let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
        if round + 1 == times {
            fire.wait_for("the rollout", |status| status["groups"][0]["rollout"].is_object());
            proc::signal(fire.daemon(), Sig::KILL);
        }
        let said = harness::finish(upgrade);
        assert_eq!(said.code, 0, "{said:?}\n{}\n{}", fire.stderr(), fire.folder.read("log"));
        let after = fire.settled("web", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
        load.goes_on(100);
    }
    let served = load.stop();
    let status = fire.status();
    assert_eq!((&status["recoveries"], &status["groups"][0]["restarts"]), (&1.into(), &0.into()), "{}", fire.stderr());
    println!("{served} requests served");
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
}

#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_by_listen_pid() {
    let command = format!("{}/gunicorn --workers 2 --no-control-socket app:wsgi", programs());
    let keys = "ack_timeout = 3\nack_signal = 'SIGTERM'\nstop_signal = 'SIGTERM'\n";
    let fire = serving(folder_with(&["app.py"]), &command, keys);
    upgraded_without_a_loss(&fire);
    fire.stop();
}

/// gunicorn says `READY=1` by itself; with `--preload` it has loaded the application by then.
#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_by_notify() {
    let command = format!("{}/gunicorn --workers 2 --preload --no-control-socket app:wsgi", programs());
    let keys = "ack = 'notify'\nack_signal = 'SIGTERM'\nstop_signal = 'SIGTERM'\n";
    let fire = serving(folder_with(&["app.py"]), &command, keys);
    upgraded(&fire, 10);
    let says = fire.group("web")["workers"][0]["status_text"].clone();
    assert!(says.as_str().is_some_and(|text| text.contains("Gunicorn arbiter booted")), "{says}");
    fire.stop();
}

/// The file that `init` writes, but for a port of the kernel's choice and two workers.
#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_as_init_writes_it() {
    let folder = folder_with(&["app.py"]);
    let gunicorn = format!("{}/gunicorn", programs());
    let mut init = folder.command(harness::BIN);
    init.args(["init", "-c", "-", "--", &gunicorn, "--bind", "127.0.0.1:8000", "app:wsgi"]);
    let written = harness::said(init);
    assert_eq!(written.code, 0, "{written:?}");
    let changes = [
        ("127.0.0.1:8000", "127.0.0.1:0"),
        ("numprocesses = 1", "numprocesses = 2"),
        ("ack_timeout = 2", "ack_timeout = 3"),
    ];
    let toml = changes.iter().fold(written.out, |toml, (from, to)| {
        assert!(toml.contains(from), "{from} is not in it: {toml}");
        toml.replace(from, to)
    });
    let fire = Fire::start_in(folder, &toml);
    upgraded_without_a_loss(&fire);
    fire.stop();
}

#[test]
#[ignore = "needs uvicorn: see the top of the file"]
fn uvicorn_by_descriptor() {
    let command =
        format!("{}/uvicorn --fd $FIRESTARTER_FD_0 --http gentle:Protocol --no-access-log app:asgi", programs());
    let keys = "ack_timeout = 3\nack_signal = 'SIGTERM'\n";
    let fire = serving(folder_with(&["app.py", "gentle.py"]), &command, keys);
    upgraded_without_a_loss(&fire);
    fire.stop();
}

#[test]
#[ignore = "needs node: see the top of the file"]
fn node_by_an_ack_of_its_own() {
    let fire = serving(folder_with(&["node.js"]), "node node.js", "ack = 'manual'\n");
    upgraded_without_a_loss(&fire);
    fire.stop();
}
