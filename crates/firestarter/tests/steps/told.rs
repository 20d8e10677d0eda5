//! Stories of what workers tell and are asked while the daemon dies: notifications, stored descriptors, signs of life,
//! probes. What a worker does before it serves stands in `BEFORE`, in words of a shell.

use serde_json::Value;

use super::ground::{all_new, every_step, ready, upgrade, Story, Victim, COUNT};
use super::harness::proc::{self, Sig};
use super::harness::{group_of, pids, until, Fire};

/// What stands there in the status of each worker that is ready.
fn shown(fire: &Fire, place: &str) -> Vec<String> {
    let group = fire.try_status().map(|status| group_of(&status, "web")).unwrap_or_default();
    let workers = group["workers"].as_array().into_iter().flatten().filter(|worker| worker["state"] == "ready");
    workers.filter_map(|worker| Some(worker.pointer(place)?.as_str()?.to_owned())).collect()
}

fn all_show(fire: &Fire, place: &str, value: &str) {
    until(&format!("{place}: {value}"), || shown(fire, place) == [value; COUNT]);
}

#[test]
fn notifications() {
    let prepare = |fire: &Fire| {
        let _ = std::fs::remove_file(fire.folder.join("go"));
        ready(fire);
        all_show(fire, "/status_text", "up");
    };
    let act = |fire: &Fire, before: &[u32]| {
        fire.folder.write("go", "");
        all_show(fire, "/status_text", "going");
        all_show(fire, "/condition/kind", "stopping");
        std::fs::remove_file(fire.folder.join("go")).expect("remove");
        upgrade(fire, before)
    };
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        all_new(fire, before, said);
        all_show(fire, "/status_text", "up");
        assert_eq!(shown(fire, "/condition/kind"), [] as [String; 0]);
        assert!(!fire.stderr().contains("counts for nobody"), "{}", fire.stderr());
    };
    let keys = r"start_immediate = true
ack = 'notify'
environments = ['''BEFORE=@NOTIFIER@ say STATUS=loading barrier /dev/null say 'READY=1\nSTATUS=up' say MAINPID=$$ barrier /dev/null exit 0
@NOTIFIER@ wait @DIR@/go say 'STOPPING=1\nSTATUS=going' barrier /dev/null exit 0 &''']";
    every_step(23, &Story { victim: Victim::Daemon, keys, prepare, act, check });
}

/// How many descriptors of a process are the file that workers store.
fn held(pid: u32, fire: &Fire) -> usize {
    let path = fire.folder.join("one").display().to_string();
    proc::descriptors(pid).iter().filter(|(_, what)| *what == path).count()
}

#[test]
fn stored_descriptors() {
    let check = |fire: &Fire, before: &[u32], said: &Value| {
        all_new(fire, before, said);
        for worker in fire.settled("web", COUNT) {
            assert_eq!(held(worker, fire), 1, "what the one before it has stored: {}", fire.stderr());
        }
        until("one is held for each", || held(fire.keeper_pid, fire) == COUNT);
        assert!(!fire.stderr().contains("stored more than"), "{}", fire.stderr());
    };
    let keys = r"start_immediate = true
ack = 'notify'
fd_store = 1
environments = ['''BEFORE=@NOTIFIER@ say 'FDSTOREREMOVE=1\nFDNAME=a' send 'FDSTORE=1\nFDNAME=a' @DIR@/one \
    barrier /dev/null say READY=1 barrier /dev/null exit 0''']";
    every_step(24, &Story::of(keys, upgrade, check));
}

/// Ends the process that gives signs of life for the first worker, and waits for what comes of it. A worker may be
/// ready before it has one, and has had others.
fn silenced(fire: &Fire, before: &[u32]) -> Value {
    let signs = || fire.folder.read(&format!("signs.{}", before[0])).strip_suffix('\n')?.parse().ok();
    until("signs of life", || signs().is_some());
    proc::signal(signs().expect("seen just now"), Sig::KILL);
    until("its end", || !proc::alive(before[0]));
    Value::Null
}

/// The first worker has a successor, the other is the same.
fn first_new(fire: &Fire, before: &[u32], _: &Value) {
    until("a successor", || {
        let group = fire.try_status().map(|status| group_of(&status, "web")).unwrap_or_default();
        let after = pids(&group);
        after.len() == COUNT && !after.contains(&before[0])
    });
    assert_eq!(fire.settled("web", COUNT)[1], before[1], "{}", fire.stderr());
}

#[test]
fn a_watchdog_that_runs_out() {
    let keys = r"start_immediate = true
ack = 'notify'
watchdog_timeout = '600ms'
environments = ['''BEFORE=ulimit -c 0
@NOTIFIER@ say READY=1 barrier /dev/null exit 0
@NOTIFIER@ every 150 WATCHDOG=1 & echo $! > @DIR@/signs.$$''']";
    every_step(25, &Story::of(keys, silenced, first_new));
}

#[test]
fn a_watch_file_that_nobody_touches() {
    let keys = r#"start_immediate = true
ack_timeout = '10ms'
live_check_timeout = '600ms'
environments = ['''BEFORE=(while :; do : > "$FIRESTARTER_WATCH_FILE"; sleep 0.15; done) & echo $! > @DIR@/signs.$$''']"#;
    every_step(26, &Story::of(keys, silenced, first_new));
}

#[test]
fn an_upgrade_with_ack_http() {
    let keys = "start_immediate = true\nack = 'http'\nenvironments = ['BEFORE=exec @ASKED@ serve @DIR@/h.']\n\
                health = { url = 'unix:@DIR@/h.$FIRESTARTER_WORKER_PID:/', interval = '20ms' }";
    every_step(27, &Story::of(keys, upgrade, all_new));
}

#[test]
fn a_worker_that_turns_unhealthy() {
    let act = |fire: &Fire, before: &[u32]| {
        fire.folder.write(&format!("serve.{}", before[0]), "500");
        until("its end", || !proc::alive(before[0]));
        Value::Null
    };
    let keys = "start_immediate = true\nack = 'http'\nenvironments = ['BEFORE=exec @ASKED@ serve @DIR@/h.']\n\
                health = { url = 'unix:@DIR@/h.$FIRESTARTER_WORKER_PID:/', interval = '20ms', timeout = 20, liveness = true }";
    every_step(28, &Story::of(keys, act, first_new));
}
