//! Orders whose end nobody waits for: answered once, when they have begun; what comes of them is told to nobody, least of
//! all to who waits for something else.

mod harness;

use harness::proc::{self, Sig};
use harness::wire::Wire;
use harness::{until, Fire};
use serde_json::{json, Value};

/// A worker that acks when there is a file `go`.
const ACKS_ON_GO: &str = "[web]\nexec_start = ['sh', '-c', 'while [ ! -e @DIR@/go ]; do sleep 0.02; done; \
    exec @WORKER@ serve path']\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\nack = 'manual'\n";

/// With a worker that serves, and the next one held back.
fn held() -> Fire {
    let fire = Fire::start(ACKS_ON_GO);
    fire.folder.write("go", "");
    fire.settled("web", 1);
    std::fs::remove_file(fire.folder.join("go")).expect("remove");
    fire
}

#[test]
fn who_does_not_wait_is_told_of_the_beginning_and_of_what_is_refused() {
    let mut fire = held();
    let before = fire.settled("web", 1);
    let hurried = |words: &[&str]| {
        let said = fire.ctl(&[words, &["--no-wait"]].concat());
        (said.code, said.out.lines().last().unwrap_or_default().to_owned(), said.err)
    };
    let begun = |what: &str| (0, format!("{what} begun; see: firestarter status"), String::new());
    assert_eq!(hurried(&["ctrl", "web", "upgrade"]), begun("upgrade"));
    let group = fire.group("web");
    assert_eq!((&group["state"], harness::pids(&group)[0]), (&"upgrading".into(), before[0]));
    let (code, _, err) = hurried(&["ctrl", "web", "dec"]);
    assert!(code == 1 && err.contains("web: dec refused: one worker is the least"), "{code} {err}");
    assert_eq!(hurried(&["ctrl", "nobody", "stop"]).0, 4);
    let nothing_to_do = (0, "start processes pid []".to_owned(), String::new());
    assert_eq!(hurried(&["ctrl", "web", "start"]), nothing_to_do, "what is done at once is told");
    fire.folder.write("go", "");
    assert_ne!(fire.settled("web", 1), before);
    assert_eq!(hurried(&["stop"]), begun("stop"));
    assert_eq!(fire.ended().code(), Some(0));
    fire.nothing_left();
}

#[test]
fn a_late_reply_is_not_taken_for_that_of_the_next_order() {
    let fire = held();
    let mut wire = fire.wire();
    let begun = wire.ask("upgrade", json!({ "group": "web", "wait": false }));
    assert_eq!(begun["result"], json!({ "group": "web", "done": "begun", "verb": "upgrade" }));
    // It waits for the first upgrade, whose reply nobody waits for, and then for its own.
    let id = wire.send("upgrade", json!({ "group": "web" })).expect("send");
    fire.status();
    fire.folder.write("go", "");
    let reply = wire.reply().expect("a reply");
    assert_eq!((&reply["id"], &reply["result"]["generation"]), (&id.into(), &3.into()), "{reply}");
    assert_eq!(wire.ask("list", json!({}))["result"]["names"][0], "web");
}

/// The reply to the request of that number. A daemon that is killed in the instant after it has sent one leaves the next
/// to send it again, as it was; and what it had sent in part becomes a line that is no reply.
fn reply_to(wire: &mut Wire, id: u64, before: &Value) -> Value {
    loop {
        let line = wire.line().expect("a reply");
        match serde_json::from_str::<Value>(&line) {
            Ok(reply) if reply["id"] == id => return reply,
            Ok(other) => assert_eq!(&other, before, "a second reply"),
            Err(_) => assert!(line.is_empty() || line.starts_with('{'), "{line:?}"),
        }
    }
}

#[test]
fn who_does_not_wait_is_answered_once_though_the_daemon_is_killed() {
    let fire = held();
    let hurry = json!({ "group": "web", "wait": false });
    // Killed before it has read the order.
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    let mut wire = fire.wire();
    wire.send("upgrade", hurry.clone()).expect("send");
    fire.kill_daemon();
    let begun = wire.reply().expect("a reply");
    assert_eq!(begun["result"]["done"], "begun");
    // Killed between the beginning and the end: the end is told to nobody, and the next order is told its own.
    fire.kill_daemon();
    let id = wire.send("upgrade", json!({ "group": "web" })).expect("send");
    fire.wait_for("a daemon", |_| true);
    fire.folder.write("go", "");
    let reply = reply_to(&mut wire, id, &begun);
    assert_eq!(reply["result"]["generation"], 3, "{reply}");
    // Killed at many moments while it reads, journals and answers.
    for round in 4..20 {
        fire.settled("web", 1);
        let id = wire.send("upgrade", hurry.clone()).expect("send");
        std::thread::sleep(std::time::Duration::from_micros((round - 4) * 100));
        fire.kill_daemon();
        let begun = reply_to(&mut wire, id, &reply);
        assert_eq!(begun.get("error"), None, "{begun}");
        let id = wire.send("list", json!({})).expect("send");
        assert_eq!(reply_to(&mut wire, id, &begun)["result"]["names"][0], "web");
        fire.wait_for("the upgrade, once", |status| status["groups"][0]["generation"] == round);
    }
    fire.stop();
}

#[test]
fn who_does_not_wait_and_does_not_read_either_is_answered_once() {
    for killed in [false, true] {
        let fire = held();
        let mut deaf = fire.wire();
        let hurry = |id| {
            let params = json!({ "group": "web", "wait": false });
            format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "upgrade", "params": params }))
        };
        let sent = deaf.send_deafly(hurry);
        // The last that was taken in has begun, and its client has not been told so: now it ends, or the daemon does.
        if killed {
            fire.kill_daemon();
        } else {
            fire.folder.write("go", "");
            fire.wait_for("both upgrades", |status| status["groups"][0]["generation"] == 3);
        }
        for id in 1..=sent {
            let reply = deaf.reply().expect("a reply");
            assert_eq!((&reply["id"], &reply["result"]["done"]), (&id.into(), &"begun".into()), "{reply}");
        }
        deaf.raw(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"list\"}\n").expect("send");
        assert_eq!(deaf.reply().expect("a reply")["id"], 0);
    }
}
