//! Clients of every kind at the control socket, above all bad ones: nobody is waited for, and everybody else is served.

mod harness;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use harness::proc::Sig;
use harness::wire::Wire;
use harness::{proc, said, until, Fire, Folder, BIN};
use serde_json::{json, Value};

const ONE: &str = "[web]\nexec_start = ['sleep', '1000']\n";

/// The code that machines read.
fn machine_code(reply: &Value) -> &str {
    reply["error"]["data"]["code"].as_str().unwrap_or_default()
}

#[test]
fn silence_halves_and_garbage_hold_up_nobody() {
    let fire = Fire::start(ONE);
    let silent = fire.wire();
    let mut half = fire.wire();
    half.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,").expect("send");
    let mut gone = fire.wire();
    gone.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stop\",\"params\":{\"group\":\"web\"}}").expect("send");
    drop(gone);
    let mut garbage = fire.wire();
    garbage.raw(b"\x00\xff\xfe GET / HTTP/1.1\r\n").expect("send");
    assert_eq!(machine_code(&garbage.reply().expect("a reply")), "parse_error");
    assert!(garbage.ask("list", json!({})).get("result").is_some(), "the next line is a request like any other");
    assert_eq!(fire.status()["groups"][0]["state"], "running", "half a request is none");
    half.raw(b"\"method\":\"list\"}\n").expect("send");
    assert_eq!(half.reply().expect("a reply")["result"]["names"][0], "web");
    drop(silent);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let fire = Fire::start(ONE);
    let mut wire = fire.wire();
    for byte in b"{\"jsonrpc\":\"2.0\",\"id\":\"slow\",\"method\":\"list\"}\n" {
        wire.raw(&[*byte]).expect("send");
        std::thread::yield_now();
    }
    assert_eq!(wire.reply().expect("a reply"), json!({"jsonrpc":"2.0","id":"slow","result":{"names":["web"]}}));
}

#[test]
fn pipelined_requests_are_answered_in_order_each_once() {
    let fire = Fire::start(ONE);
    let mut wire = fire.wire();
    let methods = ["list", "inc", "status", "dec", "nothing", "list"];
    let mut lines = String::new();
    for id in 0..300 {
        let method = methods[id % methods.len()];
        let params = if method == "inc" || method == "dec" { json!({"group": "web"}) } else { json!({}) };
        lines += &format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }
    let mut writer = wire.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, lines.as_bytes()));
    for id in 0..300 {
        let reply = wire.reply().expect("a reply");
        assert_eq!(reply["id"], id, "{reply}");
        assert_eq!(reply.get("error").is_some(), methods[id % methods.len()] == "nothing", "{reply}");
    }
    sender.join().expect("no panic").expect("all sent");
    assert_eq!(fire.settled("web", 1).len(), 1);
}

#[test]
fn a_line_that_never_ends_is_refused_and_closed() {
    let fire = Fire::start(ONE);
    let mut wire = fire.wire();
    let mut writer = wire.stream.try_clone().expect("a second handle");
    // It closes before all of this is written.
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![b'x'; 1 << 20]));
    assert_eq!(wire.reply().map(|reply| machine_code(&reply).to_owned()).as_deref(), Some("too_long"));
    assert!(wire.closed());
    let _ = sender.join();
    assert_eq!(fire.status()["groups"][0]["state"], "running");
}

#[test]
fn what_is_no_request_of_ours_is_answered_with_its_code() {
    let fire = Fire::start(ONE);
    let mut wire = fire.wire();
    let cases = [
        (r#"{"jsonrpc":"2.0","method":"list"}"#, "invalid_request"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"list"}]"#, "invalid_request"),
        (r#"{"id":1,"method":"list"}"#, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"list","params":{"x":1}}"#, "invalid_params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stop"}"#, "invalid_params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":"nobody"}}"#, "unknown_group"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"inc","params":{"group":"web","signal":"TERM"}}"#, "no_signal"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"explode"}"#, "unknown_method"),
        ("", "parse_error"),
        ("null", "invalid_request"),
    ];
    for (line, code) in cases {
        wire.raw(format!("{line}\n").as_bytes()).expect("send");
        let reply = wire.reply().expect("a reply");
        assert_eq!(machine_code(&reply), code, "{line}: {reply}");
    }
    assert_eq!(fire.settled("web", 1).len(), 1);
}

#[test]
fn a_client_that_does_not_read_holds_up_itself_alone() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 40\n");
    let mut deaf = fire.wire();
    let sent = deaf.send_deafly(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"status\"}}\n"));
    fire.settled("web", 40);
    fire.order("web", "dec");
    // Then it reads: every reply is there.
    for _ in 0..sent {
        assert!(deaf.reply().expect("a reply").get("result").is_some());
    }
}

#[test]
fn six_hundred_clients_at_once() {
    let fire = Fire::start(ONE);
    let mut idle: Vec<Wire> = (0..600).map(|_| fire.wire()).collect();
    assert_eq!(fire.ctl(&["ctrl", "web", "status"]).code, 0);
    // The longest idle ones had to go; the newest stay and are served.
    let last = idle.last_mut().expect("a client");
    assert!(last.ask("list", json!({})).get("result").is_some());
    let open = || proc::descriptors(fire.keeper_pid).len();
    until("the daemon to keep to its limit", || open() < 64 + 512 + 40);
    drop(idle);
    until("all of them gone", || open() < 120);
    assert_eq!(fire.ctl(&["ctrl", "web", "status"]).code, 0);
}

#[test]
fn orders_of_clients_that_leave_are_carried_out() {
    let fire = Fire::start(ONE);
    fire.settled("web", 1);
    let mut wire = fire.wire();
    wire.send("inc", json!({ "group": "web" })).expect("send");
    fire.settled("web", 2);
    drop(wire);
    assert_eq!(fire.settled("web", 2).len(), 2);
}

#[test]
fn the_socket_is_its_owners_alone() {
    let fire = Fire::start(ONE);
    let mode = |name: &str| std::fs::metadata(fire.folder.join(name)).expect("stat").permissions().mode() & 0o777;
    assert_eq!((mode("c"), mode("c.d"), mode("c.d/worker-0.sock")), (0o600, 0o711, 0o600));
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: another user's refusal is not tried");
        return;
    }
    let stranger = |program: &str, words: &[&str]| {
        let mut command = fire.folder.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]).args(words);
        command
    };
    // The build may be where others cannot go.
    let copy = fire.folder.join("firestarter");
    std::fs::copy(BIN, &copy).expect("copy");
    let path = fire.socket();
    let refused =
        said(stranger(&copy.display().to_string(), &["ctrl", "web", "stop", "-d", &path.display().to_string()]));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains("permission denied"), "{refused:?}");
    // Should the socket's mode be lost, the daemon itself still looks who asks.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    let refused =
        said(stranger(&copy.display().to_string(), &["ctrl", "web", "stop", "-d", &path.display().to_string()]));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!(fire.group("web")["state"], "running");
}

#[test]
fn folders_are_made_for_the_socket_and_for_it_alone() {
    let folder = Folder::new();
    let mut command = folder.command(BIN);
    command.args(["run", "-c", "config.toml", "-d", "new/c"]);
    folder.config(ONE);
    let keeper = command.spawn().expect("start");
    until("the socket", || folder.join("new/c").exists());
    let mode = std::fs::metadata(folder.join("new")).expect("stat").permissions().mode() & 0o777;
    assert_eq!(mode, 0o711);
    let mut stop = folder.command(BIN);
    stop.args(["stop", "-d", "new/c"]);
    assert_eq!(said(stop).code, 0);
    assert_eq!(harness::finish(keeper).code, 0);
}

#[test]
fn a_stop_is_answered_to_all_who_ask_and_new_orders_are_refused_meanwhile() {
    let mut fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'trap \"while [ -e @DIR@/hold ]; do sleep 0.02; done; exit\" TERM; \
         >@DIR@/hold; >@DIR@/up; while :; do sleep 0.02; done']\n",
    );
    until("it is up", || fire.folder.join("up").exists());
    let mut stops: Vec<Wire> = (0..3).map(|_| fire.wire()).collect();
    for wire in &mut stops {
        wire.send("shutdown", json!({})).expect("send");
    }
    fire.wait_for("the shutdown", |status| status["shutting_down"] == true);
    let refused = fire.wire().ask("inc", json!({ "group": "web" }));
    assert_eq!(machine_code(&refused), "shutting_down", "{refused}");
    std::fs::remove_file(fire.folder.join("hold")).expect("remove");
    for wire in &mut stops {
        assert_eq!(wire.reply().expect("a reply")["result"]["done"], "shut_down");
        let mut rest = Vec::new();
        assert_eq!(wire.stream.read_to_end(&mut rest).expect("read"), 0, "one reply only");
    }
    assert_eq!(fire.ended().code(), Some(0));
    fire.nothing_left();
}

#[test]
fn the_status_of_one_worker() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nack_timeout = '10ms'\n");
    let workers = fire.settled("web", 2);
    let said = fire.ctl(&["ctrl", "web/1", "status"]);
    let lines: Vec<&str> = said.out.lines().collect();
    let processes = format!("processes [{}]", workers[1]);
    assert_eq!(lines[..3], ["send ctrl command [status] to [web/1] worker", "[web/1] active", processes.as_str()]);
    let json = fire.ctl(&["ctrl", "web/1", "status", "--json"]).out;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(harness::pids(&json["groups"][0]), workers[1..]);
    let beyond = fire.ctl(&["ctrl", "web/2", "status", "-q"]);
    assert_eq!((beyond.code, beyond.out.as_str()), (1, ""), "{beyond:?}");
    assert!(beyond.err.contains("web: status refused: no worker runs in slot 2"), "{beyond:?}");
    assert_eq!(fire.ctl(&["ctrl", "web/1", "stop"]).code, 2);
    assert_eq!(fire.ctl(&["ctrl", "nobody/1", "status"]).code, 4);
    assert_eq!(fire.settled("web", 2), workers);
}

/// Notes each signal that a worker gets, with its pid, and lives on.
const NOTING: &str =
    "[web]\nexec_start = ['sh', '-c', 'for s in HUP USR1; do trap \"echo $$ $s >>@DIR@/got\" $s; done; \
    echo up >>@DIR@/up; while :; do sleep 0.02; done']\nnumprocesses = 2\nack_timeout = '10ms'\n";

#[test]
fn a_signal_goes_to_all_workers_or_to_one_and_nothing_else_happens() {
    let fire = Fire::start(NOTING);
    until("both are up", || fire.folder.read("up").lines().count() == 2);
    let workers = fire.settled("web", 2);
    let (first, second) = (workers[0], workers[1]);
    let signal = |words: &[&str]| {
        let said = fire.ctl(&[&["ctrl"], words].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        said.out
    };
    let got = |count: usize| {
        until("the signals", || fire.folder.read("got").lines().count() >= count);
        let got = fire.folder.read("got");
        let mut got: Vec<String> = got.lines().map(str::to_owned).collect();
        got.sort();
        got
    };
    let all = "send ctrl command [signal] to [web] worker\nsend signal SIGHUP pid";
    assert_eq!(signal(&["web", "signal", "HUP"]), format!("{all} [{first}, {second}]\n"));
    let mut want = vec![format!("{first} HUP"), format!("{second} HUP")];
    want.sort();
    assert_eq!(got(2), want);
    let one = "send ctrl command [signal] to [web/1] worker\nsend signal SIGUSR1 pid";
    assert_eq!(signal(&["web/1", "signal", "-s", "usr1", "--no-wait"]), format!("{one} [{second}]\n"));
    want.push(format!("{second} USR1"));
    want.sort();
    assert_eq!(got(3), want);
    // The next daemon sends none again.
    proc::signal(fire.daemon(), Sig::KILL);
    fire.wait_for("the next daemon", |status| status["recoveries"] == 1);
    signal(&["web/0", "signal", "USR1"]);
    want.push(format!("{first} USR1"));
    want.sort();
    assert_eq!(got(4), want);
    assert_eq!(fire.settled("web", 2), workers);
    assert_eq!(fire.group("web")["restarts"], 0);
}

#[test]
fn signals_that_cannot_be_sent_are_refused() {
    let fire = Fire::start(ONE);
    fire.settled("web", 1);
    let beyond = fire.ctl(&["ctrl", "web/7", "signal", "HUP"]);
    assert_eq!(beyond.code, 1);
    assert!(beyond.err.contains("web: signal refused: no worker runs in slot 7"), "{beyond:?}");
    let mut wire = fire.wire();
    for (method, params, code) in [
        ("signal", json!({ "group": "web" }), "signal_missing"),
        ("signal", json!({ "group": "web", "slot": 7, "signal": "HUP", "wait": false }), "no_worker"),
        ("stop", json!({ "group": "web", "slot": 0 }), "whole_group"),
        ("signal", json!({ "group": "nobody", "signal": 1 }), "unknown_group"),
    ] {
        let reply = wire.ask(method, params);
        assert_eq!(machine_code(&reply), code, "{reply}");
    }
    assert_eq!(fire.settled("web", 1).len(), 1);
}
