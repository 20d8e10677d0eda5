//! `firestarter einhorn`: workers that know Einhorn alone, and its command socket in the bytes of einhornsh.

mod harness;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use harness::einhornsh::{Answer, Shell};
use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{group_of, number, pids, until, Fire, Folder, BIN};

/// `firestarter einhorn` in a folder, not started yet. Its control socket is where the harness looks for it.
fn einhorn(folder: &Folder, words: &[&str]) -> Command {
    let output = |name: &str| {
        let file = std::fs::File::options().append(true).create(true).open(folder.join(name));
        Stdio::from(file.expect("a file"))
    };
    let mut command = folder.command(BIN);
    command.env("FIRESTARTER_SOCKET", folder.join("c")).arg("einhorn");
    command.arg("-d").arg(folder.join("e.sock")).arg("-e").arg(folder.join("e.pid")).args(words);
    command.stdout(output("stdout")).stderr(output("stderr"));
    command
}

fn start(words: &[&str]) -> Fire {
    start_in(Folder::new(), words)
}

fn start_in(folder: Folder, words: &[&str]) -> Fire {
    let child = einhorn(&folder, words).spawn().expect("start firestarter einhorn");
    Fire::watch(folder, child)
}

/// Two workers that serve by Einhorn's contract and ack as Ruby's client does; by any other they would not run.
fn serving(options: &[&str]) -> Fire {
    let words = ["-b", "127.0.0.1:0,r", "-n", "2", "-m", "manual"];
    start(&[&words, options, &[harness::worker(), "speak", "einhorn"]].concat())
}

/// A worker that says that it got USR2, and ends.
const GENTLE: &str = "trap 'echo USR2 >>got; exit' USR2; echo up >>up; while :; do sleep 0.02; done";

fn address_of(fire: &Fire) -> SocketAddr {
    let group = fire.group("einhorn");
    group["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

#[test]
fn workers_that_know_einhorn_alone_are_upgraded_under_load_by_its_shell() {
    for options in [&[][..], &["--max-upgrade-additional", "1"]] {
        let fire = serving(options);
        let load = Load::start(address_of(&fire), 4, plain);
        load.goes_on(20);
        let mut shell = Shell::connect(&fire);
        for command in ["upgrade", "upgrade_fleet"] {
            let before = fire.settled("einhorn", 2);
            let said = shell.ask_all(command);
            let begun = match (command, options.is_empty()) {
                ("upgrade", _) => "Upgrading smoothly, as commanded",
                (_, true) => "Upgrading fleet, as commanded",
                (_, false) => "Upgrading 1 at a time, as --max-unacked and --max-upgrade-additional say",
            };
            assert_eq!(said, [begun, "Upgrade done: 2 new, 2 old workers"]);
            let after = fire.settled("einhorn", 2);
            assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
            load.goes_on(20);
        }
        load.stop();
        assert_eq!(number(&fire.group("einhorn")["restarts"]), 0, "{}", fire.stderr());
        fire.stop();
    }
}

#[test]
fn the_shell_counts_workers_signals_them_and_shows_the_state() {
    let fire = start(&["-n", "2", "-m", "0.05", "-c", "web", "sh", "-c", GENTLE]);
    let ours = fire.settled("web", 2);
    let mut shell = Shell::connect(&fire);
    assert_eq!(shell.ask("inc"), "Incrementing number of workers from 2 -> 3");
    let three = fire.settled("web", 3);
    assert_eq!(shell.ask("dec"), "Decrementing number of workers from 3 -> 2");
    assert_eq!(fire.settled("web", 2), ours);
    assert_eq!(fire.folder.read("got"), "USR2\n", "who is one too many is asked gently: {three:?}");
    let said = shell.ask("set_workers 4");
    assert_eq!(said, "Altering worker count, 2 -> 4. Will spin up additional workers.");
    fire.settled("web", 4);
    let said = shell.ask("set_workers 1");
    assert_eq!(said, "Altering worker count, 4 -> 1. Will gracefully terminate workers.");
    let one = fire.settled("web", 1)[0];
    assert_eq!(shell.ask("set_workers 1"), "");
    assert!(shell.ask("set_workers x").starts_with("Invalid count: 'x'."));
    let keeper = fire.keeper_pid;
    let least = format!(
        "Can't decrease number of workers (already at 1).  Run kill {keeper} if you really want to kill einhorn."
    );
    assert_eq!(shell.ask("dec"), least);
    let sent = |name: &str| format!("Successfully sent {name}s to 1 processes: [{one}]");
    assert_eq!(shell.ask("signal sigcont WINCH"), format!("{}\n{}", sent("CONT"), sent("WINCH")));
    assert_eq!(shell.ask("signal HUP NOPE"), "Invalid signal: \"NOPE\"");
    assert!(proc::alive(one), "no signal is sent if one of them is wrong");
    let state = shell.ask("state");
    for line in [
        format!("  :children:\n    {one}:\n      :type: :worker\n"),
        "  :config:\n    :number: 1\n    :backlog: 100\n".to_owned(),
        "  :cmd_name: \"web\"\n".to_owned(),
        "  :ack_mode:\n    :type: :timer\n    :timeout: 0.05\n".to_owned(),
        format!("  :pidfile: \"{}\"\n", fire.folder.join("e.pid").display()),
    ] {
        assert!(state.contains(&line), "{line:?} is not in {state}");
    }
    shell.raw(b"---%0Acommand: ehlo%0Auser: gdb%0A\n");
    let welcome = format!("Welcome, gdb! You are speaking to Einhorn Master Process {keeper} (web).\n");
    assert!(shell.answer().expect("an answer").message.starts_with(&welcome));
    assert!(shell.ask("help").contains("\nset_workers: "));
    assert!(shell.ask("nonsense").starts_with("Unrecognized command: \"nonsense\"\n\n"));
}

#[test]
fn who_gives_no_id_is_told_that_an_upgrade_has_begun_and_no_more() {
    let fire = start(&["-m", "0.05", "sh", "-c", GENTLE]);
    let before = fire.settled("einhorn", 1);
    let mut shell = Shell::connect(&fire);
    shell.raw(b"{\"command\":\"upgrade\"}\n{\"command\":\"help\"}\n");
    let first = shell.answer().expect("an answer");
    let begun = Answer { message: "Upgrading smoothly, as commanded".to_owned(), id: None, waits: false };
    assert_eq!(first, begun);
    assert!(shell.answer().expect("an answer").message.starts_with("You are speaking to the Einhorn command socket."));
    assert_ne!(fire.settled("einhorn", 1), before);
}

#[test]
fn an_upgrade_that_fails_is_told_with_its_reason() {
    let folder = Folder::new();
    folder.write("first", "");
    let script = "if rm first 2>/dev/null; then exec sleep 1000; else exit 7; fi";
    let fire = start_in(folder, &["-m", "0.5", "sh", "-c", script]);
    let before = fire.settled("einhorn", 1);
    let said = Shell::connect(&fire).ask_all("upgrade");
    assert!(said[1].starts_with("Upgrade failed: ") && said[1].contains("exit code 7"), "{said:?}");
    assert_eq!(fire.settled("einhorn", 1), before);
}

#[test]
fn what_is_no_command_is_answered_and_harms_nobody() {
    let fire = start(&["sleep", "1000"]);
    let mut shell = Shell::connect(&fire);
    for line in [&b"hello\n"[..], b"\xff\xfe\n", b"\n", b"{\"a\":[[[[\n", b"---%0Aa: !ruby/object:Object {}%0A\n"] {
        shell.raw(line);
        let said = shell.answer().expect("an answer").message;
        assert!(said.starts_with("Could not parse command: "), "{said}");
    }
    shell.raw(b"{\"id\":9}\n");
    assert!(shell.answer().expect("an answer").message.starts_with("No \"command\" parameter provided"));
    for (line, want) in [
        ("{\"id\":9,\"command\":\"signal\"}\n", "No args provided"),
        ("{\"id\":9,\"command\":\"signal\",\"args\":1}\n", "Args must be an array"),
        ("{\"id\":9,\"command\":\"die\",\"args\":[1]}\n", "Argument is not a string: 1"),
        ("{\"id\":9,\"command\":\"reload\"}\n", "Firestarter does not run itself anew"),
        ("{\"id\":9,\"command\":\"config\",\"args\":[\"{}\"]}\n", "Options are those of the command line"),
    ] {
        shell.raw(line.as_bytes());
        let answer = shell.answer().expect("an answer");
        assert!(answer.message.starts_with(want) && answer.id == Some(9), "{answer:?}");
    }
    let mut endless = Shell::connect(&fire);
    endless.raw(&[b'x'; 16 * 1024]);
    assert!(endless.answer().expect("an answer").message.contains("longer than 16384 bytes"));
    assert!(endless.answer().is_none(), "who sends that is not listened to any more");
    shell.raw(b"{\"command\":\"worker:ack\",\"pid\":1}\n");
    assert!(shell.answer().expect("an answer").message.contains("EINHORN_SOCK_PATH"));
    assert!(shell.answer().is_none());
    fire.settled("einhorn", 1);
}

#[test]
fn nobody_else_is_let_in() {
    let fire = start(&["sleep", "1000"]);
    let socket = fire.folder.join("e.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ask = |command: &mut Command| command.arg("ask").arg(&socket).output().expect("run");
    let own = ask(&mut fire.folder.command(harness::worker()));
    assert!(String::from_utf8_lossy(&own.stdout).contains("You are speaking to"), "{own:?}");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: to be somebody else needs root");
        return;
    }
    // Even if the file's mode is opened.
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).expect("chmod");
    let worker = fire.folder.join("worker");
    std::fs::copy(harness::worker(), &worker).expect("copy");
    let other = ask(fire.folder.command(&worker).uid(65534).gid(65534));
    assert_eq!((other.status.code(), other.stdout.len()), (Some(3), 0), "{other:?}");
}

#[test]
fn the_command_socket_outlives_who_serves_it_and_an_upgrade_outlives_the_daemon() {
    let folder = Folder::new();
    let script = format!(
        "until [ -e go ]; do sleep 0.02; done; {} say \"$EINHORN_SOCK_PATH\" 0; exec sleep 1000",
        harness::worker()
    );
    let fire = start_in(folder, &["-m", "manual", "sh", "-c", &script]);
    assert_eq!(fire.in_state("einhornsh", "waiting")["workers"], serde_json::json!([]), "nobody has asked yet");
    let mut shell = Shell::connect(&fire);
    shell.ask("help");
    let server = pids(&fire.group("einhornsh"))[0];
    proc::signal(server, Sig::KILL);
    assert!(shell.answer().is_none());
    let mut shell = Shell::connect(&fire);
    shell.ask("help");
    let before = pids(&fire.group("einhorn"));
    shell.send("upgrade");
    assert!(shell.answer().expect("an answer").waits);
    fire.wait_for("a rollout", |status| pids(&group_of(status, "einhorn")).len() == 2);
    proc::signal(fire.daemon(), Sig::KILL);
    fire.hears("a new daemon took over");
    fire.folder.write("go", "");
    assert_eq!(shell.answer().expect("an answer").message, "Upgrade done: 1 new, 1 old workers");
    assert!(!fire.settled("einhorn", 1).contains(&before[0]));
}

#[test]
fn die_asks_the_workers_gently_once_and_ends_when_they_have() {
    let script = "trap 'echo USR2 >>got' USR2; echo up >>up; until [ -e go ]; do sleep 0.02; done";
    let mut fire = start(&["-n", "2", "-m", "0.05", "sh", "-c", script]);
    let two = fire.settled("einhorn", 2);
    until("both hear signals", || fire.folder.read("up").lines().count() == 2);
    assert_eq!(fire.folder.read("e.pid"), format!("{}\n", fire.keeper_pid));
    let mut shell = Shell::connect(&fire);
    let want = format!("Einhorn is going down! Successfully sent USR2s to 2 processes: [{}, {}]", two[0], two[1]);
    assert_eq!(shell.ask("die"), want);
    until("both are asked", || fire.folder.read("got").lines().count() == 2);
    assert!(shell.ask("state").contains("  :respawn: false\n"), "the command socket is served until the end");
    fire.folder.write("go", "");
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    assert_eq!(fire.folder.read("got"), "USR2\nUSR2\n");
    assert_eq!(fire.stderr().matches("einhorn: stop").count(), 1, "a second stop would ask again: {}", fire.stderr());
    assert_eq!(shell.answer(), None);
    fire.nothing_left();
    assert!(!fire.folder.join("e.pid").exists() && !fire.folder.join("e.sock").exists());
}

#[test]
fn die_is_answered_also_when_the_workers_end_at_once() {
    for _ in 0..5 {
        let mut fire = start(&["-m", "0", "sleep", "1000"]);
        let one = fire.settled("einhorn", 1)[0];
        let want = format!("Einhorn is going down! Successfully sent TERMs to 1 processes: [{one}]");
        assert_eq!(Shell::connect(&fire).ask("die TERM"), want);
        assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    }
}

#[test]
fn who_does_not_end_within_the_signal_timeout_is_killed() {
    let script = "trap '' USR2; echo up >>up; while :; do sleep 0.02; done";
    let mut fire = start(&["-t", "0.3", "-m", "0", "sh", "-c", script]);
    until("it is deaf", || !fire.folder.read("up").is_empty());
    let one = fire.settled("einhorn", 1)[0];
    Shell::connect(&fire).ask("die");
    fire.hears(&format!("pid {one} did not end in time and gets SIGKILL"));
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
}

#[test]
fn srv_words_become_descriptors_and_flags_become_theirs() {
    let script =
        "for fd; do grep flags /proc/self/fdinfo/$fd; done >flags; echo \"$EINHORN_FD_COUNT\" >count; exec sleep 1000";
    let words = ["-b", "127.0.0.1:0", "sh", "-c", script, "sh", "3", "srv:127.0.0.1:0,n"];
    let fire = start(&words);
    until("the script has looked", || !fire.folder.read("count").is_empty());
    let flags = fire.folder.read("flags");
    let nonblocking = |line: &str| {
        let flags = line.rsplit(['\t', ' ']).next().map(|flags| i32::from_str_radix(flags, 8));
        flags.expect("flags").expect("octal") & 0o4000 != 0
    };
    assert_eq!(flags.lines().map(nonblocking).collect::<Vec<_>>(), [false, true], "{flags}");
    assert_eq!(fire.folder.read("count"), "2\n");
}

#[test]
fn a_variable_is_dropped_a_niceness_taken_on_and_a_line_is_the_workers_own() {
    let folder = Folder::new();
    let own: i32 = rustix::process::getpriority_process(None).expect("a niceness");
    if own > 15 {
        eprintln!("skipped: there is no room for another niceness above {own}");
        return;
    }
    let nice = format!("{}:{}", own + 1, own + 3);
    let script = "echo \"[$SECRET] [$KEPT] $(nice)\"; exec sleep 1000";
    let mut command = einhorn(&folder, &["--drop-env-var", "SECRET", "--nice", &nice, "-q", "sh", "-c", script]);
    let child = command.env("SECRET", "s").env("KEPT", "k").spawn().expect("start");
    let fire = Fire::watch(folder, child);
    until("the worker's line", || !fire.stdout().is_empty());
    assert_eq!(fire.stdout(), format!("[] [k] {}\n", own + 3), "without a mark: it is the only one who writes");
    assert_eq!(proc::stat(fire.keeper_pid, 19), i64::from(own + 1));
    assert!(fire.stderr().contains("einhorn: of no effect here: --quiet\n"), "{}", fire.stderr());
}

#[test]
fn what_cannot_be_started_is_said_and_leaves_nothing() {
    let folder = Folder::new();
    let said = harness::to_the_end(&folder, einhorn(&folder, &["no-such-program-anywhere"]));
    assert_eq!(said.code, 1);
    assert!(said.err.contains("no-such-program-anywhere: no such program in PATH; write its path"), "{said:?}");
    let said = harness::to_the_end(&folder, einhorn(&folder, &["-p", "app.rb", "true"]));
    assert!(said.code == 2 && said.err.contains("-p: a Ruby program cannot be loaded before the fork"), "{said:?}");
    assert!(!folder.join("e.pid").exists() && !folder.join("e.sock").exists());
    let fire = start_in(folder, &["sleep", "1000"]);
    let mut second = einhorn(&fire.folder, &["sleep", "1000"]);
    let said = harness::to_the_end(&fire.folder, {
        second.env("FIRESTARTER_SOCKET", fire.folder.join("c2"));
        second
    });
    assert_eq!(said.code, 1);
    assert!(said.err.contains("e.sock: another program listens there"), "{said:?}");
    assert_eq!(fire.folder.read("e.pid"), format!("{}\n", fire.keeper_pid), "the first one's pid file stays");
}

#[test]
fn hup_and_alrm_upgrade() {
    for signal in [Sig::HUP, Sig::ALARM] {
        let fire = serving(&[]);
        let load = Load::start(address_of(&fire), 4, plain);
        load.goes_on(20);
        let before = fire.settled("einhorn", 2);
        fire.signal_keeper(signal);
        fire.hears("generation 2 serves");
        let after = fire.settled("einhorn", 2);
        assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
        load.goes_on(20);
        load.stop();
    }
}

#[test]
fn stop_signals_reach_the_workers_as_einhorn_sends_them() {
    let script = "for s in USR2 TERM QUIT INT; do trap \"echo $s >>got; exit\" $s; done; \
                  echo up >>up; while :; do sleep 0.02; done";
    for (signal, want) in [(Sig::INT, "USR2"), (Sig::USR2, "USR2"), (Sig::TERM, "TERM"), (Sig::QUIT, "QUIT")] {
        let mut fire = start(&["-n", "2", "sh", "-c", script]);
        until("both hear signals", || fire.folder.read("up").lines().count() == 2);
        fire.signal_keeper(signal);
        assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
        assert_eq!(fire.folder.read("got"), format!("{want}\n").repeat(2));
        fire.nothing_left();
        assert!(!fire.folder.join("e.pid").exists());
    }
}
