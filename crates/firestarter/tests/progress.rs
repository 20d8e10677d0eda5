//! How far an upgrade is: told to who asks for it, before the one reply, and to nobody else; over the death of the daemon;
//! and Ctrl-C ends the waiting alone.

mod harness;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use harness::proc::{self, Sig};
use harness::wire::Wire;
use harness::{finish, group_of, until, Fire};
use serde_json::{json, Value};

const QUIET: &str = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 3\nrestart = 'always'\n";

/// A group of three whose upgrade goes on for as long as it is let.
fn slow() -> Fire {
    let fire = Fire::start(&format!("{QUIET}ack = 'manual'\n"));
    fire.wait_for("three workers", |status| harness::pids(&group_of(status, "web")).len() == 3);
    fire
}

/// What comes before the reply, and the reply.
fn until_reply(wire: &mut Wire) -> (Vec<Value>, Value) {
    let mut told = Vec::new();
    loop {
        let line = wire.reply().expect("a line");
        if line.get("id").is_some() {
            return (told, line);
        }
        assert_eq!((&line["jsonrpc"], &line["method"]), (&"2.0".into(), &"progress".into()), "{line}");
        told.push(line["params"].clone());
    }
}

#[test]
fn who_asks_is_told_before_the_reply() {
    let fire = Fire::start(&format!("{QUIET}ack_timeout = '150ms'\nsurge = 1\nsoak = '150ms'\n"));
    fire.settled("web", 3);
    let mut wire = fire.wire();
    let id = wire.send("upgrade", json!({ "group": "web", "progress": true })).expect("send");
    let (told, reply) = until_reply(&mut wire);
    assert_eq!((&reply["id"], &reply["result"]["done"]), (&id.into(), &"upgraded".into()));
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_else(|| panic!("{key}: {value}"));
    for pair in told.windows(2) {
        assert!(number(&pair[0], "committed") <= number(&pair[1], "committed"), "{told:?}");
        assert_ne!(pair[0], pair[1], "nothing is told twice");
    }
    let whole = |value: &Value| (value["group"].clone(), value["verb"].clone(), value["generation"].clone());
    assert!(told.iter().all(|value| whole(value) == ("web".into(), "upgrade".into(), 2.into())), "{told:?}");
    assert!(told.iter().any(|value| value["awaits"] == "soak" && number(value, "left_ms") <= 150), "{told:?}");
    assert!(told.iter().any(|value| number(value, "committed") == 2 && number(value, "wanted") == 3), "{told:?}");
    let next = wire.ask("list", json!({}));
    assert_eq!(next["result"]["names"][0], "web", "nothing comes after the reply");
    assert!(wire.ask("upgrade", json!({ "group": "web" }))["result"].is_object(), "who does not ask is told nothing");
    fire.stop();
}

#[test]
fn another_daemon_tells_on() {
    let fire = slow();
    let mut wire = fire.wire();
    wire.send("upgrade", json!({ "group": "web", "progress": true })).expect("send");
    let told = |wire: &mut Wire| {
        let line = wire.reply().expect("a line");
        assert_eq!(line["method"], "progress", "{line}");
        line["params"]["spawned"].as_u64()
    };
    while told(&mut wire) != Some(3) {}
    proc::signal(fire.daemon(), Sig::KILL);
    assert_eq!(told(&mut wire), Some(3), "it does not know what was told");
    assert_eq!(fire.order("web", "cancel"), "cancelled; generation 1 serves on");
    let (_, reply) = until_reply(&mut wire);
    assert_eq!(reply["error"]["data"]["code"], "aborted", "{reply}");
    fire.stop();
}

#[test]
fn progress_without_waiting_is_refused() {
    let fire = slow();
    let reply = fire.wire().ask("upgrade", json!({ "group": "web", "progress": true, "wait": false }));
    assert_eq!(reply["error"]["data"]["code"], "invalid_params", "{reply}");
    fire.stop();
}

#[test]
fn the_client_tells_where_it_is_asked_to() {
    let fire = Fire::start(&format!("{QUIET}ack_timeout = '200ms'\n"));
    fire.settled("web", 3);
    let plain = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!((plain.code, plain.err.as_str()), (0, ""), "no terminal, and nobody asked");
    let told = fire.ctl(&["ctrl", "web", "rollback", "--progress"]);
    assert!(told
        .err
        .contains("firestarter: web: rollback to generation 1: 0 of 3 ready, 3 spawned, 0 retired; waits for new"));
    assert!(told.out.contains("rollback to generation 1 processes new ["), "{told:?}");
    let json = fire.ctl(&["ctrl", "web", "upgrade", "--progress", "--json"]);
    let lines: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (last, before) = lines.split_last().expect("lines");
    assert_eq!((&last["done"], json.err.as_str()), (&"upgraded".into(), ""));
    assert!(!before.is_empty() && before.iter().all(|line| line["method"] == "progress"), "{before:?}");
    fire.stop();
}

/// What a client shows on a terminal of its own, 80 columns wide.
fn on_a_terminal(fire: &Fire, words: &str) -> String {
    let line = format!("stty cols 80; {} {words} -d {}; echo exit $?", harness::BIN, fire.socket().display());
    let mut command = fire.folder.command("script");
    command.args(["-qec", &line, "/dev/null"]);
    let said = harness::said(command);
    assert_eq!(said.code, 0, "script(1) of util-linux: {said:?}");
    said.out
}

#[test]
fn a_terminal_sees_a_bar_that_is_gone_at_the_end() {
    let fire = Fire::start(&format!("{QUIET}ack_timeout = '150ms'\nsurge = 1\nsoak = '150ms'\n"));
    fire.settled("web", 3);
    let out = on_a_terminal(&fire, "ctrl web upgrade");
    let drawn: Vec<&str> = out.split('\r').filter(|part| part.starts_with("web: upgrade")).collect();
    for part in &drawn {
        let shown =
            part.strip_suffix("\x1b[K").unwrap_or_else(|| panic!("nothing is left of the line before: {part:?}"));
        assert!(shown.len() < 80 && (shown.ends_with("retired") || shown.ends_with(" s")), "whole words: {shown:?}");
    }
    for said in ["[=====...........] 1 of 3 ready, 1 spawned, 0 retired; soak 1 s", "[##########", "[#####====="] {
        assert!(drawn.iter().any(|part| part.contains(said)), "{said}: {out:?}");
    }
    let (_, end) = out.rsplit_once("\r\x1b[K").expect("the line is taken away");
    assert!(end.starts_with("upgrade processes new [") && end.ends_with("exit 0\r\n"), "{end:?}");
    fire.stop();
}

#[test]
fn an_interrupt_ends_the_waiting_and_nothing_else() {
    let fire = slow();
    let client = fire.begin(&["ctrl", "web", "upgrade", "--progress"]);
    fire.wait_for("the rollout", |status| group_of(status, "web")["rollout"]["spawned"] == 3);
    let blocked = || u64::from_str_radix(&proc::status(client.id(), "SigBlk"), 16).is_ok_and(|mask| mask & 2 != 0);
    until("the client waits", blocked);
    proc::signal(client.id(), Sig::INT);
    let output = client.wait_with_output().expect("wait");
    assert_eq!(output.status.signal(), Some(2), "as whoever started it expects");
    let err = String::from_utf8_lossy(&output.stderr);
    let want = "firestarter: web: the upgrade goes on\n  next: to end it: firestarter ctrl web cancel\n";
    assert!(err.ends_with(want), "{err}");
    assert_eq!(fire.group("web")["state"], "upgrading");
    let waiting = fire.begin(&["ctrl", "web", "upgrade"]);
    fire.hears("upgrade, ordered by");
    fire.wait_for_lines("upgrade, ordered by", 2);
    assert_eq!(fire.order("web", "cancel"), "cancelled; generation 1 serves on");
    let waited = finish(waiting);
    assert_eq!(waited.code, 1);
    assert!(waited.err.contains("cancel"), "{waited:?}");
    assert_eq!(fire.ctl(&["ctrl", "web", "cancel"]).code, 1, "there is nothing more to cancel");
    fire.stop();
}

#[test]
fn an_interrupt_that_is_ignored_ends_nothing() {
    let fire = slow();
    let mut shell = fire.folder.command("sh");
    shell.args(["-c", &format!("trap '' INT; exec {} ctrl web upgrade --progress -d c 2>told", harness::BIN)]);
    let client = shell.stdout(Stdio::piped()).spawn().expect("start");
    until("it is told of three", || fire.folder.read("told").contains(", 3 spawned"));
    proc::signal(client.id(), Sig::INT);
    assert_eq!(fire.order("web", "cancel"), "cancelled; generation 1 serves on");
    assert_eq!(finish(client).code, 1, "it waited for the end");
    fire.stop();
}
