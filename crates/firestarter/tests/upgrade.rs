//! Upgrades: how a new worker becomes ready in each kind of ack, who may say so, what becomes of the old ones, and that
//! not one request is lost.

mod harness;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{finish, group_of, number, until, Fire, Folder};

/// Workers that serve; how they ack is the script's word, when that counts is the configuration's.
fn serving(word: &str, keys: &str) -> Fire {
    let folder = Folder::new();
    let toml = format!(
        "[web]\nexec_start = ['@WORKER@', 'serve', '{word}']\nnumprocesses = 2\n\
         socket_address = ['127.0.0.1:0']\nstart_immediate = true\n{keys}\n"
    );
    Fire::start_in(folder, &toml)
}

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("web");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

/// Upgrades under load; every worker is another one then, and every request was served.
fn upgrade_under_load(fire: &Fire, times: usize) {
    let load = Load::start(address_of(fire), 4, plain);
    load.goes_on(20);
    for _ in 0..times {
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
fn by_timer_under_load() {
    upgrade_under_load(&serving("no", "ack_timeout = '500ms'"), 2);
}

#[test]
fn by_an_ack_over_the_socket_path_under_load() {
    upgrade_under_load(&serving("path", "ack = 'manual'"), 5);
}

#[test]
fn by_an_ack_over_the_inherited_socket_under_load() {
    upgrade_under_load(&serving("pair", "ack = 'manual'"), 5);
}

#[test]
fn without_ack_all_stop_before_all_start_and_the_queue_stays() {
    let fire = serving("no", "ack = 'none'");
    upgrade_under_load(&fire, 2);
}

#[test]
fn a_timer_counts_each_workers_life() {
    let fire = serving("no", "ack_timeout = '300ms'");
    let before = fire.settled("web", 2);
    let mut upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
    let status = fire.wait_for("a rollout", |status| !group_of(status, "web")["rollout"].is_null());
    assert_eq!(group_of(&status, "web")["rollout"]["generation"], 2);
    assert!(before.iter().all(|pid| proc::alive(*pid)), "the old serve until the new are ready");
    assert!(upgrade.wait().expect("wait").success());
    let after = fire.settled("web", 2);
    assert!(after.iter().all(|pid| !before.contains(pid)));
    assert_eq!(fire.group("web")["generation"], 2);
}

/// A group whose new generation does what `new` says; the first generation serves.
fn second_generation(new: &str, keys: &str) -> Fire {
    let folder = Folder::new();
    folder.write("first", "");
    let script = format!("if rm @DIR@/first 2>/dev/null; then exec sleep 1000; else {new}; fi");
    let toml = format!("[web]\nexec_start = ['sh', '-c', '{script}']\nrestart = 'always'\n{keys}\n");
    Fire::start_in(folder, &toml)
}

/// An upgrade that must be aborted; the old workers are as before.
fn aborts(fire: &Fire, because: &str) {
    until("the first generation", || {
        fire.group("web")["workers"][0]["pid"].is_u64() && !fire.folder.join("first").exists()
    });
    let before = harness::pids(&fire.group("web"));
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(because), "{said:?}");
    let status = fire.wait_for("the old alone", |status| harness::pids(&group_of(status, "web")) == before);
    let group = group_of(&status, "web");
    assert_eq!((&group["state"], &group["generation"]), (&"running".into(), &1.into()));
    assert!(group["rollout"].is_null() && proc::alive(before[0]));
}

#[test]
fn an_abort_by_exit_leaves_the_old_as_they_were() {
    aborts(&second_generation("exit 7", "ack_timeout = 60"), "exit code 7");
}

#[test]
fn an_abort_by_a_program_that_is_gone() {
    let folder = Folder::new();
    let program = folder.script("server", "#!/bin/sh\nexec sleep 1000\n");
    let fire = Fire::start_in(folder, "[web]\nexec_start = ['@DIR@/server']\nack_timeout = '10ms'\n");
    let before = fire.settled("web", 1);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let said = fire.ctl(&["ctrl", "web", "upgrade"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("could not be started: exec: permission denied"), "{said:?}");
    assert_eq!(fire.settled("web", 1), before);
}

#[test]
fn an_abort_by_start_timeout() {
    let fire = second_generation("exec sleep 1000", "ack = 'manual'\nstart_timeout = '300ms'");
    aborts(&fire, "had not acked when start_timeout was over");
    // The respawn of an old one is of the old generation, and there may be a next upgrade.
    aborts(&fire, "had not acked when start_timeout was over");
}

#[test]
fn acks_count_by_who_sends_them() {
    let folder = Folder::new();
    let worker = "trap \"\" USR1; while ! [ -e @DIR@/go.$1 ]; do sleep 0.02; done; \
                  @WORKER@ say $TO 0; exec sleep 1000";
    let group = |name: &str, to: &str| {
        format!(
            "[{name}]\nexec_start = ['sh', '-c', 'TO={to}; {worker}', 'sh', '{name}']\nack = 'manual'\nstart_timeout = 60\n"
        )
    };
    // The second group's workers ack to the first group's socket.
    let toml = group("first", "$FIRESTARTER_SOCK_PATH") + &group("second", "@DIR@/c.d/worker-0.sock");
    let fire = Fire::start_in(folder, &toml);
    fire.wait_for("both", |status| harness::pids(&group_of(status, "second")).len() == 1);
    let old = harness::pids(&fire.group("first"));
    let upgrade = fire.begin(&["ctrl", "first", "upgrade"]);
    let new = fire.wait_for("a new worker", |status| harness::pids(&group_of(status, "first")).len() == 2);
    let new = harness::pids(&group_of(&new, "first")).into_iter().find(|pid| !old.contains(pid)).expect("a pid");
    // A stranger that claims to be the new worker, then a worker of another group.
    let path = proc::variable(new, "FIRESTARTER_SOCK_PATH").expect("a path");
    let mut stranger = fire.folder.command(harness::worker());
    stranger.args(["say", &path, &new.to_string()]);
    assert!(stranger.status().expect("run").success());
    fire.folder.write("go.second", "");
    let second = harness::pids(&fire.group("second"))[0];
    until("the other group's ack", || proc::arguments(second) == ["sleep", "1000"]);
    let rollout = fire.group("first")["rollout"].clone();
    assert_eq!((&rollout["ready"], &rollout["wanted"]), (&0.into(), &1.into()), "{rollout}");
    let second = fire.group("second")["workers"][0]["state"].clone();
    assert_eq!(second, "starting", "an ack counts for nobody at another group's socket");
    assert_eq!(fire.stderr().matches("an ack counts for nobody").count(), 1, "which is said once: {}", fire.stderr());
    // The ack of a child of the new worker counts.
    fire.folder.write("go.first", "");
    let said = finish(upgrade);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("new [{new}] old {old:?}")), "{said:?}");
}

#[test]
fn who_does_not_catch_the_ack_signal_gets_the_stop_signal() {
    let fire = Fire::start("[web]\nexec_start = ['sh', '-c', \
        'trap \"echo TERM $$ >>@DIR@/got; exit\" TERM; echo up >>@DIR@/up; while :; do sleep 0.02; done']\nack_timeout = '300ms'\n");
    until("it is up", || fire.folder.read("up").lines().count() == 1);
    let before = fire.settled("web", 1);
    fire.order("web", "upgrade");
    fire.hears("does not catch SIGUSR2, which would end it at once: it got SIGTERM");
    fire.settled("web", 1);
    assert_eq!(fire.folder.read("got"), format!("TERM {}\n", before[0]));
}

#[test]
fn that_workers_do_not_catch_the_ack_signal_is_said_once() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nack_timeout = '10ms'\n");
    fire.settled("web", 2);
    for _ in 0..2 {
        fire.order("web", "upgrade");
        fire.settled("web", 2);
    }
    assert_eq!(fire.stderr().matches("does not catch SIGUSR2").count(), 1, "{}", fire.stderr());
}

#[test]
fn who_catches_the_ack_signal_gets_that_or_the_one_of_the_command() {
    let script = "for s in USR1 USR2 TERM; do trap \"echo $s >>@DIR@/got; exit\" $s; done; \
                  echo up >>@DIR@/up; while :; do sleep 0.02; done";
    let fire = Fire::start(&format!("[web]\nexec_start = ['sh', '-c', '{script}']\nack_timeout = '300ms'\n"));
    let up = |count| until("it is up", || fire.folder.read("up").lines().count() == count);
    up(1);
    fire.order("web", "upgrade");
    fire.settled("web", 1);
    up(2);
    assert_eq!(fire.ctl(&["ctrl", "web", "upgrade", "-s", "USR1"]).code, 0);
    fire.settled("web", 1);
    assert_eq!(fire.folder.read("got"), "USR2\nUSR1\n");
}

#[test]
fn an_old_worker_that_does_not_drain_in_time_is_killed() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', \
        'trap \"\" USR2; trap \"echo $$ >>@DIR@/deaf\" USR2; echo up >>@DIR@/up; while :; do sleep 0.02; done']\n\
        ack_timeout = '300ms'\ndrain_timeout = '200ms'\n",
    );
    until("it is up", || fire.folder.read("up").lines().count() == 1);
    let before = fire.settled("web", 1);
    fire.order("web", "upgrade");
    fire.hears(&format!("pid {} did not end in time and gets SIGKILL", before[0]));
    assert_ne!(fire.settled("web", 1), before);
}

#[test]
fn upgrades_at_once_are_all_answered_and_stop_ends_them() {
    let fire = serving("pair", "ack = 'manual'\nstart_timeout = 60");
    fire.settled("web", 2);
    let upgrades: Vec<_> = (0..5).map(|_| fire.begin(&["ctrl", "web", "upgrade"])).collect();
    for upgrade in upgrades {
        assert_eq!(finish(upgrade).code, 0, "{}", fire.stderr());
    }
    assert!(fire.settled("web", 2).into_iter().all(proc::alive));
    let stuck = serving("no", "ack = 'manual'\nstart_timeout = 60");
    until("two workers", || harness::pids(&stuck.group("web")).len() == 2);
    let upgrade = stuck.begin(&["ctrl", "web", "upgrade"]);
    stuck.wait_for("a rollout", |status| harness::pids(&group_of(status, "web")).len() == 4);
    stuck.order("web", "stop");
    let said = finish(upgrade);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("stop came in between"), "{said:?}");
    assert_eq!(stuck.group("web")["state"], "stopped");
}

#[test]
fn an_old_worker_that_dies_during_a_rollout_aborts_nothing() {
    let fire = serving("no", "ack_timeout = '500ms'\nrestart = 'always'");
    let before = fire.settled("web", 2);
    let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
    fire.wait_for("a rollout", |status| harness::pids(&group_of(status, "web")).len() == 4);
    proc::signal(before[0], Sig::KILL);
    assert_eq!(finish(upgrade).code, 0, "{}", fire.stderr());
    let after = fire.settled("web", 2);
    assert!(after.iter().all(|pid| !before.contains(pid)));
}
