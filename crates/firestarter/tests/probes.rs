//! Workers that are asked whether they serve: how they become ready by it, what an upgrade makes of bad answers, and who
//! is replaced because of them.

mod harness;

use std::net::SocketAddr;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{finish, group_of, number, until, Fire, Folder};

const HTTP: &str = "ack = 'http'\nhealth = { url = 'unix:@DIR@/h.$FIRESTARTER_WORKER_PID:/health', @MORE@ }";
const TCP: &str = "ack = 'tcp'\nhealth = { address = 'unix:@DIR@/h.$FIRESTARTER_WORKER_PID', @MORE@ }";
/// Asks the worker's own file: `mode` in its folder, by a command.
const EXEC: &str = "ack = 'exec'\nhealth = { command = ['sh', '-c', \
    'mode=$(cat @DIR@/mode.$FIRESTARTER_WORKER_PID 2>/dev/null || cat @DIR@/mode); test $mode = 200'], @MORE@ }";

fn start_of(health: &str, more: &str, keys: &str) -> Fire {
    let folder = Folder::new();
    let toml = format!(
        "[web]\nexec_start = ['{}', '@DIR@/mode', '@DIR@/h.']\nnumprocesses = 2\nsocket_address = ['127.0.0.1:0']\n\
         start_immediate = true\nrestart = 'always'\n{}\n{keys}\n",
        harness::asked(),
        health.replace("@MORE@", &format!("interval = '50ms'{more}"))
    );
    folder.write("mode", "200");
    Fire::start_in(folder, &toml)
}

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

fn upgrades_under_load(fire: &Fire) {
    let load = Load::start(address_of(fire), 4, plain);
    load.goes_on(20);
    for _ in 0..3 {
        let before = fire.settled("web", 2);
        fire.order("web", "upgrade");
        let after = fire.settled("web", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
        load.goes_on(20);
    }
    load.stop();
    assert_eq!(number(&fire.group("web")["restarts"]), 0, "{}", fire.stderr());
}

#[test]
fn each_kind_makes_workers_ready_in_a_start_and_in_upgrades_under_load() {
    for kind in [HTTP, TCP, EXEC] {
        let fire = start_of(kind, "", "");
        upgrades_under_load(&fire);
        fire.stop();
    }
}

/// An upgrade to workers of this mode is aborted and says why; the old ones never notice.
fn is_refused(fire: &Fire, mode: &str, because: &str) {
    fire.folder.write("mode", "200");
    let before = fire.settled("web", 2);
    fire.folder.write("mode", mode);
    let load = Load::start(address_of(fire), 2, plain);
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!(said.code, 1, "{mode}: {said:?}");
    assert!(said.err.contains("had not acked when start_timeout was over"), "{mode}: {said:?}");
    fire.hears(because);
    assert_eq!(fire.settled("web", 2), before, "{mode}");
    load.goes_on(10);
    load.stop();
}

#[test]
fn a_bad_release_over_http_is_aborted_with_what_it_answered() {
    let fire = start_of(HTTP, ", timeout = '200ms'", "start_timeout = '600ms'");
    for (mode, because) in [
        ("500", "whose probe got HTTP status 500"),
        ("garbage", "whose probe got an answer that is no HTTP"),
        ("never", "whose probe got no answer in time"),
        ("drip", "whose probe got no answer in time"),
        ("closed", "whose probe got no answer before the connection was closed"),
        ("reset", "whose probe got no answer before the connection was closed"),
        ("deaf", "whose probe got: no such file or directory"),
    ] {
        is_refused(&fire, mode, because);
    }
    let before = fire.settled("web", 2);
    for good in ["huge", "interim"] {
        fire.folder.write("mode", good);
        fire.order("web", "upgrade");
    }
    assert!(!fire.settled("web", 2).iter().any(|pid| before.contains(pid)));
    fire.stop();
}

#[test]
fn a_bad_release_by_tcp_and_by_command_is_aborted() {
    let fire = start_of(TCP, "", "start_timeout = '400ms'");
    is_refused(&fire, "deaf", "whose probe got: no such file or directory");
    let fire = start_of(EXEC, "", "start_timeout = '1s'");
    is_refused(&fire, "500", "whose probe ended with exit code 1");
}

#[test]
fn a_command_that_hangs_is_killed_and_its_worker_is_not_ready() {
    let hang = "ack = 'exec'\nhealth = { command = ['sh', '-c', 'test -e @DIR@/good || exec sleep 1000'], @MORE@ }";
    let folder = Folder::new();
    folder.write("good", "");
    let health = hang.replace("@MORE@", "timeout = '200ms', interval = '50ms'");
    let fire = Fire::start_in(
        folder,
        &format!("[web]\nexec_start = ['sleep', '999']\nnumprocesses = 2\nstart_timeout = 1\n{health}\n"),
    );
    let before = fire.settled("web", 2);
    std::fs::remove_file(fire.folder.join("good")).expect("remove");
    assert_eq!(fire.ctl(&["ctrl", "web", "upgrade"]).code, 1);
    fire.hears("whose probe got no answer in time");
    assert_eq!(fire.settled("web", 2), before);
    fire.stop();
}

#[test]
fn a_probe_over_tcp_finds_each_worker_by_its_slot() {
    // Ports that end in 0 and 1 and that nobody has.
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let port = (1400..3000).map(|ten| ten * 10).find(|port| free(*port) && free(port + 1)).expect("two free ports");
    let tens = port / 10;
    let folder = Folder::new();
    folder.write("mode", "200");
    let fire = Fire::start_in(
        folder,
        &format!(
            "[web]\nexec_start = ['{}', '@DIR@/mode', '{tens}']\nnumprocesses = 2\nack = 'http'\nrestart = 'always'\n\
             health = {{ url = 'http://localhost:{tens}$FIRESTARTER_SLOT/', interval = '50ms', liveness = true }}\n",
            harness::asked()
        ),
    );
    let workers = fire.settled("web", 2);
    proc::signal(workers[1], Sig::KILL);
    until("a successor", || harness::pids(&fire.group("web")).iter().all(|pid| *pid != workers[1]));
    assert_eq!(fire.settled("web", 2)[0], workers[0]);
}

#[test]
fn the_command_runs_as_its_worker_would_and_without_its_sockets() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("inside")).expect("a folder");
    let ask = "pwd; id -u; env; for fd in /proc/self/fd/*; do echo $fd; done; echo loud >&2";
    let fire = Fire::start_in(
        folder,
        &format!(
            "[web]\nexec_start = ['sleep', '999']\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\nack = 'exec'\n\
             working_directory = '@DIR@/inside'\nenvironments = ['MINE=yes']\n\
             health = {{ command = ['sh', '-c', '({ask}) >@DIR@/told.new; mv @DIR@/told.new @DIR@/told'] }}\n"
        ),
    );
    let worker = fire.settled("web", 1)[0];
    let told = fire.folder.read("told");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].ends_with("/inside"), "{told}");
    for line in [
        "MINE=yes",
        "FIRESTARTER_SLOT=0",
        "LISTEN_FDNAMES=web",
        &format!("MAINPID={worker}"),
        &format!("FIRESTARTER_WORKER_PID={worker}"),
    ] {
        assert!(lines.contains(&line), "{line}: {told}");
    }
    for name in ["LISTEN_FDS=", "LISTEN_PID=", "FIRESTARTER_FD_0=", "FIRESTARTER_SOCK_FD="] {
        assert!(!lines.iter().any(|line| line.starts_with(name)), "{name}: {told}");
    }
    let numbers: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("/proc/self/fd/")).collect();
    assert!(numbers.iter().all(|fd| ["0", "1", "2", "3", "10"].contains(fd)), "{numbers:?}");
    assert_eq!(proc::variable(worker, "FIRESTARTER_SLOT").as_deref(), Some("0"));
    assert!(!(fire.stderr() + &fire.stdout()).contains("loud"), "what it writes is dropped");
    fire.stop();
}

#[test]
fn a_worker_that_turns_unhealthy_is_replaced_and_no_request_fails() {
    for kind in [HTTP, EXEC] {
        let fire = start_of(kind, ", liveness = true, timeout = '500ms'", "");
        let before = fire.settled("web", 2);
        let load = Load::start(address_of(&fire), 4, plain);
        load.goes_on(20);
        fire.folder.write(&format!("mode.{}", before[0]), "500");
        until("the successor", || !harness::pids(&fire.group("web")).contains(&before[0]));
        let after = fire.settled("web", 2);
        assert_eq!(after[1], before[1], "the other is well");
        load.goes_on(20);
        load.stop();
        let stderr = fire.stderr();
        assert!(stderr.contains("is unhealthy: its probe") && stderr.contains("starting its successor"), "{stderr}");
        assert_eq!(number(&fire.group("web")["restarts"]), 0);
        fire.stop();
    }
}

#[test]
fn who_answered_badly_is_shown_as_unhealthy() {
    let fire = start_of(HTTP, ", liveness = true, unhealthy_after = 1000", "");
    let workers = fire.settled("web", 2);
    fire.folder.write(&format!("mode.{}", workers[1]), "500");
    let status = fire
        .wait_for("its condition", |status| group_of(status, "web")["workers"][1]["condition"]["kind"] == "unhealthy");
    let condition = &group_of(&status, "web")["workers"][1]["condition"];
    assert_eq!(condition, &serde_json::json!({ "kind": "unhealthy", "answer": "status", "status": 500 }));
    assert!(group_of(&status, "web")["workers"][0]["condition"].is_null(), "{status}");
    fire.stop();
}

#[test]
fn a_daemon_killed_while_workers_are_asked_asks_again() {
    for kind in [HTTP, EXEC] {
        let fire = start_of(kind, ", timeout = 30", "start_timeout = 25");
        let before = fire.settled("web", 2);
        // Whoever is asked now does not answer.
        fire.folder.write("mode", if kind == HTTP { "never" } else { "500" });
        let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
        let status = fire.wait_for("new workers", |status| harness::pids(&group_of(status, "web")).len() == 4);
        let new = harness::pids(&group_of(&status, "web")).into_iter().filter(|pid| !before.contains(pid));
        let new: Vec<u32> = new.collect();
        if kind == HTTP {
            until("a question in work", || new.iter().all(|pid| proc::descriptors(*pid).len() > 8));
        }
        let daemon = fire.daemon();
        new.iter().for_each(|pid| drop(fire.folder.write(&format!("mode.{pid}"), "200")));
        proc::signal(daemon, Sig::KILL);
        until("the next daemon", || fire.try_status().is_some_and(|status| status["daemon_pid"] != daemon));
        assert_eq!(finish(upgrade).code, 0);
        let mut after = fire.settled("web", 2);
        let mut new = new;
        after.sort_unstable();
        new.sort_unstable();
        assert_eq!(after, new);
        fire.stop();
    }
}

#[test]
fn two_hundred_workers_are_asked_at_once() {
    let folder = Folder::new();
    folder.write("mode", "200");
    let fire = Fire::start_in(
        folder,
        &format!(
            "[web]\nexec_start = ['{}', '@DIR@/mode', '@DIR@/h.']\nnumprocesses = 200\nack = 'http'\n\
             health = {{ url = 'unix:@DIR@/h.$MAINPID', interval = '200ms', timeout = 20, liveness = true }}\n",
            harness::asked()
        ),
    );
    let workers = fire.settled("web", 200);
    fire.folder.write(&format!("mode.{}", workers[150]), "500");
    until("one of them replaced", || !harness::pids(&fire.group("web")).contains(&workers[150]));
    let after = fire.settled("web", 200);
    assert_eq!(after.iter().zip(&workers).filter(|(new, old)| new != old).count(), 1);
    let open = proc::descriptors(fire.daemon()).len();
    fire.stop();
    assert!(open < 64 + 64 + 200 + 60, "{open} descriptors");
}

#[test]
fn where_descriptors_run_out_nobody_is_asked_and_it_is_said_once() {
    let folder = Folder::new();
    folder.write("mode", "200");
    folder.config(&format!(
        "[web]\nexec_start = ['{}', '@DIR@/mode', '@DIR@/h.']\nack = 'tcp'\n\
         health = {{ address = 'unix:@DIR@/h.$MAINPID', interval = '30ms', liveness = true, unhealthy_after = 1000 }}\n",
        harness::asked()
    ));
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("ulimit -n 120; exec {} run -c config.toml -d c 2>stderr", harness::BIN)]);
    let keeper = shell.spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    let worker = fire.settled("web", 1);
    let said = "web: health: no descriptor is left to ask with; raise the limit of open files";
    let flood: Vec<_> = (0..300).filter_map(|_| std::os::unix::net::UnixStream::connect(fire.socket()).ok()).collect();
    fire.hears(said);
    let bad = fire.stderr().matches(said).count();
    drop(flood);
    let well = |status: &serde_json::Value| group_of(status, "web")["workers"][0]["condition"].is_null();
    fire.wait_for("good answers", well);
    assert_eq!((bad, fire.settled("web", 1)), (1, worker));
}
