//! What workers tell by sd_notify(3): who is heard, what it means, and what a flood or a death of the daemon does to it.
//! The descriptors that they store have a file of their own, `fd_store.rs`.

mod harness;

use std::os::unix::net::UnixDatagram;

use harness::proc::{self, Sig};
use harness::{finish, group_of, number, pids, until, Fire, Folder};
use serde_json::Value;

/// A group whose workers take these steps.
fn steps(name: &str, steps: &str, keys: &str) -> String {
    format!("[{name}]\nexec_start = \"@NOTIFIER@ {steps}\"\nstop_timeout = 60\n{keys}\n")
}

fn worker(fire: &Fire, group: &str) -> Value {
    fire.group(group)["workers"][0].clone()
}

#[test]
fn ready_is_an_ack_whoever_of_the_worker_sends_it() {
    let ways =
        ["say READY=1", "say 'X_A=1\\nREADY=1\\nSTATUS=up'", "child READY=1", "orphan READY=1", "session READY=1"];
    for said in ways {
        for ack in ["manual", "notify"] {
            let fire = Fire::start(&steps("web", said, &format!("ack = '{ack}'\nstart_timeout = 60")));
            let before = fire.settled("web", 1);
            assert!(!harness::listed(&fire.order("web", "upgrade")).is_empty(), "{said}");
            assert_ne!(fire.settled("web", 1), before, "{said}");
        }
    }
}

#[test]
fn where_notify_is_wanted_an_ack_over_the_worker_socket_is_none() {
    let folder = Folder::new();
    let script = "@WORKER@ say $FIRESTARTER_SOCK_PATH 0; : >@DIR@/acked; exec @NOTIFIER@ wait @DIR@/go say READY=1";
    let group = format!("[web]\nexec_start = ['sh', '-c', '{script}']\nack = 'notify'\n");
    let fire = Fire::start_in(folder, &group);
    until("the ack is taken", || fire.folder.join("acked").exists());
    fire.wait_for("a worker that runs", |status| pids(&group_of(status, "web")).len() == 1);
    assert_eq!(worker(&fire, "web")["state"], "starting");
    assert!(!fire.stderr().contains("counts for nobody"), "it is the worker's, and of no use: {}", fire.stderr());
    fire.folder.write("go", "");
    fire.settled("web", 1);
}

#[test]
fn who_is_no_worker_of_the_group_is_nobody() {
    let folder = Folder::new();
    let other = "wait @DIR@/go say 'READY=1\\nSTATUS=false' barrier @DIR@/said";
    let toml = steps("web", "wait @DIR@/never", "ack = 'notify'")
        + &format!(
            "[other]\nexec_start = ['sh', '-c', 'NOTIFY_SOCKET=@DIR@/c.d/notify-0.sock exec @NOTIFIER@ {}']\nack = 'notify'\n",
            other.replace('\'', "\"").replace('\\', "\\\\").replace("\\\\n", "\\n")
        );
    let fire = Fire::start_in(folder, &toml);
    fire.wait_for("both", |status| ["web", "other"].iter().all(|name| pids(&group_of(status, name)).len() == 1));
    // A stranger, who claims to be the worker; two times, and it is said once.
    let path = proc::variable(pids(&fire.group("web"))[0], "NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = UnixDatagram::unbound().expect("a socket");
    for _ in 0..2 {
        let claim = format!("READY=1\nSTATUS=false\nMAINPID={}", pids(&fire.group("web"))[0]);
        socket.send_to(claim.as_bytes(), &path).expect("send");
    }
    fire.folder.write("go", "");
    until("the barrier of another group's worker", || fire.folder.join("said").exists());
    for name in ["web", "other"] {
        let worker = worker(&fire, name);
        assert_eq!((&worker["state"], worker.get("status_text")), (&"starting".into(), None), "{name}");
    }
    fire.wait_for_lines("web: a notification counts for nobody", 1);
    assert_eq!(fire.stderr().matches("counts for nobody").count(), 1, "{}", fire.stderr());
}

#[test]
fn the_socket_is_the_groups_users_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    let notifier = folder.join("notifier");
    std::fs::copy(harness::notifier(), &notifier).expect("copy");
    std::fs::set_permissions(&notifier, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let group = |name: &str, uid: u32| {
        format!("[{name}]\nexec_start = '@DIR@/notifier say READY=1'\nack = 'notify'\nuid = {uid}\ngid = {uid}\n")
    };
    let fire = Fire::start_in(folder, &(group("one", 61_234) + &group("two", 61_235)));
    fire.settled("one", 1);
    fire.settled("two", 1);
    for (index, uid) in [(0, 61_234), (1, 61_235)] {
        let there = std::fs::metadata(fire.folder.join(&format!("c.d/notify-{index}.sock"))).expect("the socket");
        assert_eq!((there.uid(), there.mode() & 0o7777), (uid, 0o600));
    }
    let mut other = fire.folder.command("setpriv");
    other.args(["--reuid", "61235", "--regid", "61235", "--clear-groups", "--"]).arg(&notifier);
    other.args(["say", "READY=1"]).env("NOTIFY_SOCKET", fire.folder.join("c.d/notify-0.sock"));
    let said = harness::said(other);
    assert!(said.code == 70 && said.err.contains("ermission denied"), "{said:?}");
    fire.stop();
}

#[test]
fn what_a_worker_says_of_itself_is_shown_and_outlives_the_daemon() {
    let toml = steps(
        "web",
        "say 'STATUS=Serving \\u001b[31m3 clients\\nERRNO=13\\nREADY=1' wait @DIR@/go say STATUS=",
        "ack = 'notify'",
    );
    let fire = Fire::start(&toml);
    fire.settled("web", 1);
    let shown = |fire: &Fire| {
        let worker = worker(fire, "web");
        (worker["status_text"].clone(), worker["status_errno"].clone())
    };
    assert_eq!(shown(&fire), ("Serving  [31m3 clients".into(), 13.into()));
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    assert_eq!(shown(&fire), ("Serving  [31m3 clients".into(), 13.into()));
    fire.folder.write("go", "");
    fire.wait_for("no status", |status| group_of(status, "web")["workers"][0].get("status_text").is_none());
}

#[test]
fn a_barrier_is_lifted_when_all_before_it_is_handled_also_for_strangers_and_beside_a_dead_daemon() {
    let fire = Fire::start(&steps("web", "wait @DIR@/go say STATUS=before barrier @DIR@/lifted", ""));
    fire.settled("web", 1);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    fire.folder.write("go", "");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!fire.folder.join("lifted").exists(), "nobody has handled what came before");
    proc::signal(daemon, Sig::KILL);
    until("the barrier is lifted", || fire.folder.join("lifted").exists());
    assert_eq!(worker(&fire, "web")["status_text"], "before");
    let mut stranger = fire.folder.command(harness::notifier());
    stranger.args(["barrier", "strange", "exit", "0"]).env("NOTIFY_SOCKET", fire.folder.join("c.d/notify-0.sock"));
    assert!(stranger.status().expect("run").success());
    fire.stop();
}

#[test]
fn a_word_said_in_the_moment_of_the_end_is_heard() {
    let fire = Fire::start(&steps(
        "web",
        "wait @DIR@/go say RELOADING=1 say STATUS=a say STATUS=b say 'STOPPING=1\\nSTATUS=bye' exit 3",
        "restart = 'always'",
    ));
    let worker = fire.settled("web", 1)[0];
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    fire.folder.write("go", "");
    until("its zombie", || proc::zombies(fire.keeper_pid).contains(&worker));
    proc::signal(daemon, Sig::CONT);
    fire.hears("ended with exit code 3");
    assert!(!fire.stderr().contains("counts for nobody"), "{}", fire.stderr());
}

#[test]
fn a_child_that_is_gone_before_anybody_could_look_is_nobody() {
    let fire = Fire::start(&steps("web", "wait @DIR@/go gone READY=1 make @DIR@/gone", "ack = 'notify'"));
    fire.wait_for("a worker", |status| pids(&group_of(status, "web")).len() == 1);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    fire.folder.write("go", "");
    until("the child is reaped", || fire.folder.join("gone").exists());
    proc::signal(daemon, Sig::CONT);
    fire.hears("web: a notification counts for nobody");
    assert_eq!(worker(&fire, "web")["state"], "starting");
}

#[test]
fn who_does_not_say_that_it_is_well_is_aborted_and_respawned() {
    let steps = |how: &str| {
        format!(
            "[web]\nexec_start = \"@NOTIFIER@ env @DIR@/env WATCHDOG_USEC env @DIR@/env WATCHDOG_PID say READY=1 {how}\"\n\
             ack = 'notify'\nrestart = 'always'\nwatchdog_timeout = '400ms'\nstop_timeout = '300ms'\n"
        )
    };
    let well = Fire::start(&steps("every 100 WATCHDOG=1"));
    let pid = well.settled("web", 1);
    assert_eq!(well.folder.read("env"), format!("400000\n{}\n", pid[0]));
    // Caught: SIGKILL follows after stop_timeout.
    let deaf = Fire::start(&steps("trap @DIR@/aborted"));
    deaf.wait_for("three respawns", |status| number(&group_of(status, "web")["restarts"]) >= 3);
    assert!(deaf.stderr().contains("did not say for"), "{}", deaf.stderr());
    assert!(deaf.folder.read("aborted").lines().count() >= 3, "{}", deaf.stderr());
    assert!(deaf.stderr().contains("gets SIGKILL"), "{}", deaf.stderr());
    let trigger = Fire::start(&steps("every 100 WATCHDOG=trigger"));
    trigger.hears("said that it is not well");
    let stops = Fire::start(&steps("say STOPPING=1"));
    let stopping = stops.settled("web", 1);
    // Meanwhile three respawns have shown how long a miss takes.
    assert_eq!(well.settled("web", 1), pid);
    assert_eq!(stops.settled("web", 1), stopping, "who is stopping need not say that it is well");
}

#[test]
fn a_worker_that_needs_longer_says_so() {
    let toml = "[web]\nexec_start = \"@NOTIFIER@ say EXTEND_TIMEOUT_USEC=60000000 wait @DIR@/ready say READY=1\"\n\
                ack = 'notify'\nstart_timeout = '1500ms'\n";
    let fire = Fire::start(toml);
    fire.folder.write("ready", "");
    let before = fire.settled("web", 1);
    std::fs::remove_file(fire.folder.join("ready")).expect("remove");
    let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
    fire.wait_for("a new worker", |status| pids(&group_of(status, "web")).len() == 2);
    std::thread::sleep(std::time::Duration::from_millis(2000));
    fire.folder.write("ready", "");
    assert_eq!(finish(upgrade).code, 0, "{}", fire.stderr());
    assert_ne!(fire.settled("web", 1), before);
}

#[test]
fn a_main_pid_that_is_another_and_a_message_that_is_too_long_are_told_once() {
    let long = "x".repeat(4090);
    let fire = Fire::start(&format!(
        "[web]\nexec_start = ['@NOTIFIER@', 'say', 'MAINPID=1', 'say', 'MAINPID=1', 'say', 'STATUS={long}', \
         'say', 'READY=1\\nSTATUS={long}', 'say', 'STATUS=short', 'barrier', '@DIR@/said']\nack = 'notify'\n"
    ));
    until("all is handled", || fire.folder.join("said").exists());
    let worker = worker(&fire, "web");
    assert_eq!((&worker["state"], &worker["status_text"]), (&"starting".into(), &"short".into()));
    let stderr = fire.stderr();
    assert_eq!(stderr.matches("names another MAINPID").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("more than 4096 bytes").count(), 1, "{stderr}");
}

#[test]
fn a_flood_of_one_group_keeps_no_other_waiting() {
    let toml = steps("flood", "every 0 READY=1", "numprocesses = 3")
        + &steps("empty", "every 0 X=1", "numprocesses = 2")
        + &steps("web", "say READY=1", "ack = 'notify'\nrestart = 'always'");
    let fire = Fire::start(&toml);
    let before = fire.settled("web", 1);
    for _ in 0..3 {
        fire.order("web", "upgrade");
    }
    let after = fire.settled("web", 1);
    assert_ne!(after, before);
    let flooding = pids(&fire.group("flood"))[0];
    proc::signal(flooding, Sig::KILL);
    fire.wait_for("the end of one that floods", |status| !pids(&group_of(status, "flood")).contains(&flooding));
    fire.stop();
}

#[test]
fn no_ready_is_lost_when_the_daemon_dies() {
    let seed = u64::from(std::process::id());
    println!("SEED={seed}");
    let mut dice = seed;
    let fire = Fire::start(&steps(
        "web",
        "say STATUS=1 say STATUS=2 say EXTEND_TIMEOUT_USEC=60000000 say 'READY=1\\nSTATUS=3' say STATUS=4",
        "ack = 'notify'\nnumprocesses = 4\nstart_timeout = 50",
    ));
    fire.settled("web", 4);
    // From the first upgrade on the generation before is held too.
    let mut wire = fire.wire();
    wire.send("upgrade", serde_json::json!({ "group": "web" })).expect("send");
    assert_eq!(wire.reply().expect("a reply")["result"]["done"], "upgraded");
    fire.settled("web", 4);
    let descriptors = at_rest(&fire);
    for round in 0..8 {
        let before = fire.settled("web", 4);
        let mut wire = fire.wire();
        wire.send("upgrade", serde_json::json!({ "group": "web" })).expect("send");
        for _ in 0..2 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(std::time::Duration::from_micros((dice >> 33) % 20_000));
            if let Some(daemon) = proc::daemon(fire.keeper_pid) {
                proc::signal(daemon, Sig::KILL);
                until("its death", || !proc::alive(daemon));
            }
        }
        let reply = wire.reply().expect("a reply");
        assert_eq!(reply["result"]["done"], "upgraded", "round {round}: {reply} {}", fire.stderr());
        let after = fire.settled("web", 4);
        assert!(!after.iter().any(|pid| before.contains(pid)), "round {round}");
        fire.wait_for("the last status of each", |status| {
            let group = group_of(status, "web");
            group["workers"].as_array().into_iter().flatten().all(|worker| worker["status_text"] == "4")
        });
    }
    until("no descriptor leaked", || at_rest(&fire) == descriptors);
    fire.stop();
}

/// How many descriptors are open when nothing is going on.
fn at_rest(fire: &Fire) -> usize {
    fire.wait_for("a daemon", |_| true);
    let counts = (0..40).map(|_| {
        harness::pause();
        proc::descriptors(fire.keeper_pid).len()
    });
    counts.min().unwrap_or_default()
}

/// Who speaks here is systemd's own library: `--ready` waits until it is handled.
#[test]
fn systemd_notify_is_understood() {
    if std::process::Command::new("systemd-notify").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-notify");
        return;
    }
    let script = r#"systemd-notify --ready --status="by the library" && : >@DIR@/handled; exec sleep 1000"#;
    let fire = Fire::start(&format!("[web]\nexec_start = ['sh', '-c', '{script}']\nack = 'notify'\n"));
    let before = fire.settled("web", 1);
    until("its barrier is lifted", || fire.folder.join("handled").exists());
    assert_eq!(worker(&fire, "web")["status_text"], "by the library");
    fire.order("web", "upgrade");
    assert_ne!(fire.settled("web", 1), before);
    fire.stop();
}
