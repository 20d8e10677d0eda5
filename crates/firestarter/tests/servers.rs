//! Real servers: each is upgraded ten times under load without losing a request, a slow one or one over a kept connection
//! included, and serves on while the daemon dies. `FIRESTARTER_SERVERS=VENV/bin cargo test --test servers -- --ignored`,
//! where gunicorn, uvicorn and hypercorn are in the venv and the others in `PATH`; what is not there is skipped, or with
//! `FIRESTARTER_ALL_SERVERS` fails.

mod harness;

#[path = "servers/clients.rs"]
mod clients;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use clients::{backend, kept, over_kept, slow};
use harness::load::{http, Load};
use harness::proc::{self, Sig};
use harness::{until, Fire, Folder};
use serde_json::json;

const ROUNDS: usize = 10;

/// How workers are told to finish, and that they serve when they have lived for two seconds.
const TIMER: &str = "ack_timeout = 2\nack_signal = 'SIGTERM'\n";

/// Where a server is, if it is installed.
fn installed(program: &str) -> Option<String> {
    let venv = std::env::var_os("FIRESTARTER_SERVERS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut folders = venv.into_iter().chain(std::env::split_paths(&path)).chain(system);
    let found = folders.find(|folder| folder.join(program).is_file());
    match found {
        Some(folder) => Some(folder.join(program).display().to_string()),
        None => missing(program, "it is not installed"),
    }
}

fn missing(program: &str, why: &str) -> Option<String> {
    assert!(std::env::var_os("FIRESTARTER_ALL_SERVERS").is_none(), "{program}: {why}");
    eprintln!("skipped: {program}: {why}");
    None
}

fn here(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "servers", file].iter().collect()
}

fn folder_with(files: &[&str]) -> Folder {
    let folder = Folder::new();
    for file in files {
        std::fs::copy(here(file), folder.join(file)).expect("copy the server's file");
    }
    folder
}

/// Puts a server's configuration in the folder.
fn configure(folder: &Folder, file: &str, address: &str) {
    let text = std::fs::read_to_string(here(file)).expect("the server's configuration");
    let text = text.replace("@DIR@", &folder.path().display().to_string());
    folder.write(file, &text.replace("@ADDRESS@", address).replace("@BACKEND@", &backend().to_string()));
}

/// An address that no other test has, for servers that must be told: loopback is a network of its own.
fn own_address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    format!("127.{}.{}.{}:8080", 1 + (pid >> 8) % 250, pid % 256, 1 + COUNT.fetch_add(1, Ordering::Relaxed))
}

fn serving(folder: Folder, command: &str, keys: &str) -> Fire {
    serving_at(folder, command, "127.0.0.1:0", keys)
}

fn serving_at(folder: Folder, command: &str, address: &str, keys: &str) -> Fire {
    let common = "numprocesses = 2\nstart_immediate = true\nrestart = 'always'\nstdout_log = '@DIR@/log'\n\
                  stderr_log = '@DIR@/log'\n";
    Fire::start_in(
        folder,
        &format!("[web]\nexec_start = \"{command}\"\nsocket_address = ['{address}']\n{common}{keys}"),
    )
}

/// All who ask at once.
struct Crowd {
    name: String,
    address: SocketAddr,
    loads: Vec<Load>,
}

impl Crowd {
    fn start(name: &str, address: SocketAddr) -> Crowd {
        until("the first answer", || http(address).is_ok());
        let loads = vec![Load::start(address, 2, http), Load::start(address, 1, kept), Load::start(address, 2, slow)];
        let crowd = Crowd { name: name.to_owned(), address, loads };
        crowd.goes_on();
        crowd
    }

    fn goes_on(&self) {
        self.loads[0].goes_on(20);
        self.loads[1].goes_on(10);
    }

    /// Not more than `own` requests may have failed, and these only by a connection that was closed before a byte of an
    /// answer: the fault of a server that closes what it has accepted and not read yet.
    fn ends(self, own: usize) {
        let name = self.name;
        let ended: Vec<(u64, Vec<String>)> = self.loads.into_iter().map(Load::end).collect();
        let served: Vec<u64> = ended.iter().map(|(served, _)| *served).collect();
        let failures: Vec<String> = ended.into_iter().flat_map(|(_, failures)| failures).collect();
        let unanswered = |failure: &String| failure == "an empty answer" || failure.contains("Connection reset");
        let so_many = format!("{name}: {} of {served:?} requests failed: {failures:?}", failures.len());
        assert!(failures.len() <= own && failures.iter().all(unanswered), "{so_many}");
        let [over, closed] = over_kept(self.address);
        println!(
            "{name}: {} requests, {} failed: {served:?} (new, kept, slow)",
            served.iter().sum::<u64>(),
            failures.len()
        );
        println!("{name}: {over} over a connection that was kept, {closed} asked again as it was closed while idle");
    }
}

/// Ten upgrades under load; during the last the daemon is killed. Not one request may fail.
fn upgraded_without_a_loss(name: &str, fire: &Fire) {
    upgraded(name, fire, 0);
}

/// As that, with as many failures as the server itself may cause.
fn upgraded(name: &str, fire: &Fire, own: usize) {
    let address = fire.group("web")["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok());
    let crowd = Crowd::start(name, address.expect("an address"));
    for round in 1..=ROUNDS {
        let before = fire.settled("web", 2);
        let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
        if round == ROUNDS {
            let next = 1 + ROUNDS;
            // One that acks at once is through before it is seen, and its predecessors drain.
            fire.wait_for("the rollout", |status| {
                let group = &status["groups"][0];
                group["rollout"].is_object() || group["generation"] == json!(next)
            });
            proc::signal(fire.daemon(), Sig::KILL);
        }
        let said = harness::finish(upgrade);
        assert_eq!(said.code, 0, "{said:?}\n{}\n{}", fire.stderr(), fire.folder.read("log"));
        let after = fire.settled("web", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
        crowd.goes_on();
    }
    crowd.ends(own);
    let status = fire.status();
    assert_eq!((&status["recoveries"], &status["groups"][0]["restarts"]), (&1.into(), &0.into()), "{}", fire.stderr());
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
}

#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_by_listen_pid() {
    let Some(gunicorn) = installed("gunicorn") else { return };
    let command = format!("{gunicorn} --workers 2 --no-control-socket app:wsgi");
    let keys = format!("stop_signal = 'SIGTERM'\n{TIMER}");
    let fire = serving(folder_with(&["app.py"]), &command, &keys);
    upgraded_without_a_loss("gunicorn", &fire);
    fire.stop();
}

/// gunicorn says `READY=1` by itself; with `--preload` it has loaded the application by then.
#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_by_notify() {
    let Some(gunicorn) = installed("gunicorn") else { return };
    let command = format!("{gunicorn} --workers 2 --preload --no-control-socket app:wsgi");
    let keys = "ack = 'notify'\nack_signal = 'SIGTERM'\nstop_signal = 'SIGTERM'\n";
    let fire = serving(folder_with(&["app.py"]), &command, keys);
    upgraded_without_a_loss("gunicorn, notify", &fire);
    let says = fire.group("web")["workers"][0]["status_text"].clone();
    assert!(says.as_str().is_some_and(|text| text.contains("Gunicorn arbiter booted")), "{says}");
    fire.stop();
}

/// The file that `init` writes, but for a port of the kernel's choice and two workers.
#[test]
#[ignore = "needs gunicorn: see the top of the file"]
fn gunicorn_as_init_writes_it() {
    let Some(gunicorn) = installed("gunicorn") else { return };
    let folder = folder_with(&["app.py"]);
    let mut init = folder.command(harness::BIN);
    init.args(["init", "-c", "-", "--", &gunicorn, "--bind", "127.0.0.1:8000", "--workers", "2", "app:wsgi"]);
    let written = harness::said(init);
    assert_eq!(written.code, 0, "{written:?}");
    let changes = [("127.0.0.1:8000", "127.0.0.1:0"), ("numprocesses = 1", "numprocesses = 2")];
    let toml = changes.iter().fold(written.out, |toml, (from, to)| {
        assert!(toml.contains(from), "{from} is not in it: {toml}");
        toml.replace(from, to)
    });
    let fire = Fire::start_in(folder, &toml);
    upgraded_without_a_loss("gunicorn as init writes it", &fire);
    fire.stop();
}

#[test]
#[ignore = "needs uvicorn: see the top of the file"]
fn uvicorn_by_descriptor() {
    let Some(uvicorn) = installed("uvicorn") else { return };
    let command = format!("{uvicorn} --fd $FIRESTARTER_FD_0 --http gentle:Protocol --no-access-log app:asgi");
    let fire = serving(folder_with(&["app.py", "gentle.py"]), &command, TIMER);
    upgraded_without_a_loss("uvicorn", &fire);
    fire.stop();
}

/// It closes new connections unread when it ends; one for each worker that was replaced is more than was ever seen.
#[test]
#[ignore = "needs hypercorn: see the top of the file"]
fn hypercorn_by_descriptor() {
    let Some(hypercorn) = installed("hypercorn") else { return };
    let fire = serving(folder_with(&["app.py"]), &format!("{hypercorn} -b fd://3 app:asgi"), TIMER);
    upgraded("hypercorn", &fire, 2 * ROUNDS);
    fire.stop();
}

#[test]
#[ignore = "needs node: see the top of the file"]
fn node_by_an_ack_of_its_own() {
    let Some(node) = installed("node") else { return };
    let fire = serving(folder_with(&["node.js"]), &format!("{node} node.js"), "ack = 'manual'\n");
    upgraded_without_a_loss("Node", &fire);
    fire.stop();
}

#[test]
#[ignore = "needs nginx: see the top of the file"]
fn nginx_by_its_own_inheritance() {
    let Some(nginx) = installed("nginx") else { return };
    let (folder, address) = (Folder::new(), own_address());
    configure(&folder, "nginx.conf", &address);
    let command = format!("{nginx} -p @DIR@ -c @DIR@/nginx.conf -g 'daemon off;'");
    let keys = "ack_timeout = 2\nack_signal = 'SIGQUIT'\nstop_signal = 'SIGQUIT'\nenvironments = ['NGINX=3;']\n";
    let fire = serving_at(folder, &command, &address, keys);
    upgraded_without_a_loss("nginx", &fire);
    fire.stop();
}

/// With a master of its own, which says READY when its worker serves.
#[test]
#[ignore = "needs haproxy: see the top of the file"]
fn haproxy_by_descriptor_and_ready() {
    let Some(haproxy) = installed("haproxy") else { return };
    let folder = Folder::new();
    configure(&folder, "haproxy.cfg", "");
    let keys = "ack = 'notify'\nack_signal = 'SIGUSR1'\nstop_signal = 'SIGUSR1'\n";
    let fire = serving(folder, &format!("{haproxy} -Ws -f @DIR@/haproxy.cfg"), keys);
    upgraded_without_a_loss("HAProxy", &fire);
    fire.stop();
}

#[test]
#[ignore = "needs puma: see the top of the file"]
fn puma_by_listen_pid() {
    let Some(puma) = installed("puma") else { return };
    let address = own_address();
    let command = format!("{puma} -C - -e production -t 4:8 -b tcp://{address} config.ru");
    let fire = serving_at(folder_with(&["config.ru"]), &command, &address, TIMER);
    upgraded_without_a_loss("Puma", &fire);
    fire.stop();
}

/// Its command, if there is all that it needs.
fn starlet() -> Option<String> {
    let plackup = installed("plackup")?;
    let known = Command::new("perl").args(["-MPlack::Handler::Starlet", "-e1"]).output();
    match known.is_ok_and(|output| output.status.success()) {
        true => Some(format!("{plackup} -s Starlet --max-workers 4 --max-keepalive-reqs 20 -E production app.psgi")),
        false => missing("Starlet", "perl knows no Plack::Handler::Starlet"),
    }
}

#[test]
#[ignore = "needs Starlet: see the top of the file"]
fn starlet_by_the_port_of_server_starter() {
    let Some(command) = starlet() else { return };
    let fire = serving(folder_with(&["app.psgi"]), &command, TIMER);
    upgraded_without_a_loss("Starlet", &fire);
    fire.stop();
}

#[test]
#[ignore = "needs Starlet: see the top of the file"]
fn starlet_by_start_server() {
    let Some(command) = starlet() else { return };
    let (folder, address) = (folder_with(&["app.psgi"]), own_address());
    let mut start = folder.command(harness::BIN);
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    start.args(["start-server", "--port", &address, "--interval=1", "--status-file=status", "--"]);
    start.args(command.split(' ')).stdout(log.try_clone().expect("a copy")).stderr(log);
    let mut keeper = start.spawn().expect("start");
    let crowd = Crowd::start("Starlet by start-server", address.parse().expect("an address"));
    for generation in 2..=1 + ROUNDS {
        proc::signal(keeper.id(), Sig::HUP);
        let alone = || matches!(folder.read("status").split_once(':'), Some((first, rest)) if first == generation.to_string() && rest.lines().count() == 1);
        until(&format!("generation {generation} alone: {}", folder.read("log")), alone);
        crowd.goes_on();
    }
    crowd.ends(0);
    proc::signal(keeper.id(), Sig::TERM);
    assert!(keeper.wait().expect("wait").success(), "{}", folder.read("log"));
}

/// One of the two programs in `servers/rust`, built when a test first wants it; the second waits for the first.
fn of_rust(program: &str) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "--locked", "--manifest-path"]).arg(here("rust/Cargo.toml"));
    let built = cargo.arg("--target-dir").arg(&target).env_remove("CARGO_TARGET_DIR").status().expect("run cargo");
    assert!(built.success(), "cargo build {program}");
    target.join("debug").join(program).display().to_string()
}

#[test]
#[ignore = "takes its crates from the registry"]
fn rust_by_listenfd() {
    let fire = serving(Folder::new(), &of_rust("by-listenfd"), TIMER);
    upgraded_without_a_loss("Rust, listenfd", &fire);
    fire.stop();
}

#[test]
#[ignore = "takes its crates from the registry"]
fn rust_by_sd_notify() {
    let fire = serving(Folder::new(), &of_rust("by-sd-notify"), "ack = 'notify'\nack_signal = 'SIGTERM'\n");
    upgraded_without_a_loss("Rust, sd-notify", &fire);
    fire.stop();
}
