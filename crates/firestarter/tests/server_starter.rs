//! `firestarter start-server`, by what Server::Starter's users rely on: its options, its signals, its files.

mod harness;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::Child;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{said, until, Folder, Said, BIN};

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A start-server with these words after its files, its output in the folder's `log`.
fn start(folder: &Folder, words: &[&str]) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("log")).expect("a log");
    let mut command = folder.command(BIN);
    command.args(["start-server", "--pid-file=pid", "--status-file", "status", "--interval=0.3"]).args(words);
    command.stdout(log.try_clone().expect("a copy")).stderr(log).spawn().expect("start")
}

fn run(folder: &Folder, words: &[&str]) -> Said {
    let mut command = folder.command(BIN);
    command.arg("start-server").args(words);
    said(command)
}

/// The status file: generations and pids.
fn listed(folder: &Folder) -> Vec<(u32, u32)> {
    let pair =
        |line: &str| line.split_once(':').map(|(generation, pid)| Some((generation.parse().ok()?, pid.parse().ok()?)));
    folder.read("status").lines().filter_map(|line| pair(line)?).collect()
}

/// Waits until one worker is listed, of this generation; its pid.
fn serves(folder: &Folder, generation: u32) -> u32 {
    until(
        &format!("generation {generation} alone"),
        || matches!(listed(folder).as_slice(), [(only, _)] if *only == generation),
    );
    listed(folder)[0].1
}

fn hears(folder: &Folder, text: &str) {
    until(&format!("{text:?} in {}", folder.read("log")), || folder.read("log").contains(text));
}

/// The daemon of a keeper, as the control socket names it.
fn daemon(folder: &Folder) -> u32 {
    let log = folder.read("log");
    let place = log.split("control socket: ").nth(1).and_then(|rest| rest.lines().next()).expect("a control socket");
    let mut command = folder.command(BIN);
    command.args(["status", "--json", "-d", place]);
    let status: serde_json::Value = serde_json::from_str(&said(command).out).expect("json");
    let result = status.get("result").unwrap_or(&status);
    harness::number(&result["daemon_pid"])
}

#[test]
fn hup_replaces_the_worker_under_load_and_term_stops_all() {
    let (folder, address) = (Folder::new(), free_port());
    let port = format!("--port={address}");
    let mut keeper = start(&folder, &[&port, "--", harness::worker(), "speak", "server-starter"]);
    let first = serves(&folder, 1);
    assert_eq!(folder.read("pid"), format!("{}\n", keeper.id()));
    assert_eq!(proc::variable(first, "SERVER_STARTER_PORT"), Some(format!("{address}=3")));
    assert_eq!(proc::variable(first, "LISTEN_FDS"), None, "one contract is spoken");
    let load = Load::start(address, 4, plain);
    load.goes_on(20);
    for generation in 2..5 {
        proc::signal(keeper.id(), Sig::HUP);
        until("both generations", || listed(&folder).len() == 2);
        let worker = serves(&folder, generation);
        assert_eq!(proc::variable(worker, "SERVER_STARTER_GENERATION"), Some(generation.to_string()));
        load.goes_on(20);
    }
    // A signal that comes while no daemon lives is carried out by the next one, and none is carried out twice.
    for generation in 5..8 {
        proc::signal(daemon(&folder), Sig::KILL);
        proc::signal(keeper.id(), Sig::HUP);
        serves(&folder, generation);
        proc::signal(daemon(&folder), Sig::KILL);
        until("another daemon", || {
            folder.read("log").matches("a new daemon took over").count() == 2 * (generation as usize - 4)
        });
        assert_eq!(listed(&folder).first().map(|(generation, _)| *generation), Some(generation));
    }
    load.goes_on(20);
    load.stop();
    assert_eq!(folder.read("log").matches("upgrade, ordered by SIGHUP").count(), 6);
    proc::signal(keeper.id(), Sig::TERM);
    assert_eq!(keeper.wait().expect("wait").code(), Some(0), "{}", folder.read("log"));
    assert!(folder.processes().is_empty());
    for file in ["pid", "status"] {
        assert!(!folder.join(file).exists(), "{file} is left");
    }
}

#[test]
fn a_worker_that_dies_is_replaced_and_one_that_never_lives_changes_nothing() {
    let folder = Folder::new();
    folder.script("server", "#!/bin/sh\nexec sleep 1000\n");
    let mut keeper = start(&folder, &["./server"]);
    let first = serves(&folder, 1);
    proc::signal(first, Sig::KILL);
    let second = serves(&folder, 2);
    let restart = ["--restart", "--pid-file=pid", "--status-file=status"];
    let done = run(&folder, &restart);
    assert_eq!(done.code, 0, "{done:?}\n{}", folder.read("log"));
    let third = serves(&folder, 3);
    assert!(!proc::alive(second));
    folder.script("server", "#!/bin/sh\nexit 7\n");
    let failed = run(&folder, &restart);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("the old worker serves on"), "{failed:?}");
    hears(&folder, "exit code 7");
    assert_eq!(serves(&folder, 3), third);
    let stop = ["--stop", "--pid-file=pid"];
    let stopped = run(&folder, &stop);
    assert_eq!((stopped.code, keeper.wait().expect("wait").code()), (0, Some(0)), "{stopped:?}");
    for words in [&stop[..], &restart[..]] {
        let nobody = run(&folder, words);
        assert_eq!(nobody.code, 3, "{nobody:?}");
    }
    // A pid that nobody vouches for is not signalled.
    folder.write("pid", &format!("{}\n", std::process::id()));
    assert_eq!(run(&folder, &stop).code, 3);
}

#[test]
fn the_signals_that_were_chosen() {
    let folder = Folder::new();
    let server = "#!/bin/sh\nfor s in TERM USR1 USR2; do trap \"echo $$ $s >>signals; exit 0\" $s; done\n\
        while :; do sleep 0.05; done\n";
    folder.script("server", server);
    let words = ["--signal-on-hup=usr1", "--signal-on-term", "SIGUSR2", "--", "./server"];
    let mut keeper = start(&folder, &words);
    let first = serves(&folder, 1);
    proc::signal(keeper.id(), Sig::HUP);
    let second = serves(&folder, 2);
    proc::signal(keeper.id(), Sig::TERM);
    assert_eq!(keeper.wait().expect("wait").code(), Some(0));
    assert_eq!(folder.read("signals"), format!("{first} USR1\n{second} USR2\n"));
    let mut keeper = start(&folder, &words);
    let third = serves(&folder, 1);
    proc::signal(keeper.id(), Sig::INT);
    assert_eq!(keeper.wait().expect("wait").code(), Some(0));
    assert!(folder.read("signals").ends_with(&format!("{third} TERM\n")), "{}", folder.read("signals"));
}

#[test]
fn the_folder_of_variables_is_read_for_each_worker() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("env")).expect("a folder");
    std::fs::create_dir(folder.join("sub")).expect("a folder");
    folder.write("env/GREETING", "one \nmore");
    folder.write("env/GONE", "");
    folder.write("env/.hidden", "x");
    let mut keeper = start(&folder, &["--envdir=env", "--dir=sub", "--", "sleep", "1000"]);
    let first = serves(&folder, 1);
    assert_eq!(proc::variable(first, "GREETING").as_deref(), Some("one"));
    assert_eq!(std::fs::read_link(format!("/proc/{first}/cwd")).expect("cwd"), folder.join("sub"));
    folder.write("env/GREETING", "two");
    folder.write("env/SERVER_STARTER_PORT", "nonsense");
    proc::signal(keeper.id(), Sig::HUP);
    let second = serves(&folder, 2);
    assert_eq!(proc::variable(second, "GREETING").as_deref(), Some("two"));
    assert_eq!(proc::variable(second, "SERVER_STARTER_PORT").as_deref(), Some(""));
    assert_eq!(proc::variable(second, ".hidden"), None);
    proc::signal(keeper.id(), Sig::TERM);
    keeper.wait().expect("wait");
}

#[test]
fn in_the_background_with_a_log_and_sockets_under_chosen_numbers() {
    let (folder, address) = (Folder::new(), free_port());
    let (port, other) = (format!("--port={address}=0"), format!("--port=127.0.0.1:{}=9", free_port().port()));
    let words = [
        "--daemonize",
        "--log-file=| cat >>log",
        "--pid-file=pid",
        "--status-file=status",
        &port,
        &other,
        "--path=s.sock",
    ];
    let begun = run(&folder, &[&words[..], &["--", "sh", "-c", "echo out; echo err >&2; exec sleep 1000"]].concat());
    assert_eq!(begun.code, 0, "{begun:?} {}", folder.read("log"));
    let worker = serves(&folder, 1);
    let names = format!("{address}=0;{}=9;s.sock=3", other.trim_start_matches("--port=").trim_end_matches("=9"));
    assert_eq!(proc::variable(worker, "SERVER_STARTER_PORT"), Some(names));
    let open = proc::descriptors(worker);
    let sockets = open.iter().filter(|(_, what)| what.starts_with("socket:")).map(|(number, _)| *number);
    assert_eq!(sockets.collect::<Vec<_>>(), [0, 3, 9], "{open:?}");
    UnixStream::connect(folder.join("s.sock")).expect("connect");
    ["starting now", "out\n", "err\n"].into_iter().for_each(|text| hears(&folder, text));
    let keeper: u32 = folder.read("pid").trim().parse().expect("a pid");
    assert_eq!(proc::stat(keeper, 6), i64::from(keeper), "a session of its own");
    // Another one with the same pid file does not begin, and says so to whoever started it.
    let second = run(&folder, &["--daemonize", "--log-file=log2", "--pid-file=pid", "--", "sleep", "1000"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(folder.read("log2").contains("has it locked"), "{}", folder.read("log2"));
    assert_eq!(folder.read("pid"), format!("{keeper}\n"));
    assert_eq!(run(&folder, &["--stop", "--pid-file=pid"]).code, 0);
    until("no process left", || folder.processes().is_empty());
    assert!(!folder.join("s.sock").exists() && !folder.join("pid").exists());
}

#[test]
fn it_is_replaced_every_so_often_if_that_is_wanted() {
    let folder = Folder::new();
    let words = ["--enable-auto-restart", "--auto-restart-interval=1", "--kill-old-delay=0", "--", "sleep", "1000"];
    let mut keeper = start(&folder, &words);
    serves(&folder, 1);
    serves(&folder, 2);
    serves(&folder, 3);
    proc::signal(keeper.id(), Sig::TERM);
    keeper.wait().expect("wait");
}

#[test]
fn what_is_wrong_is_said_and_nothing_begins() {
    let folder = Folder::new();
    for (words, message) in [
        (&[][..], "COMMAND is missing"),
        (&["--port=80x", "--", "true"], "--port=80x: the port is no number"),
        (&["--prot=80", "--", "true"], "unknown option --prot; did you mean --port?"),
        (&["--signal=HUP", "--", "true"], "--signal: which of --signal-on-hup, --signal-on-term?"),
        (&["--signal-on-hup=NO", "true"], "--signal-on-hup: unknown signal \"NO\""),
        (&["--interval=-1", "true"], "--interval: \"-1\" is no number of seconds"),
        (&["--daemonize", "true"], "--daemonize needs --log-file"),
        (&["--restart", "--pid-file=p"], "--restart needs --pid-file and --status-file"),
        (&["--stop"], "--stop needs --pid-file"),
        (&["--port"], "--port: the value is missing"),
        (&["--port=1=3", "--port=2=3", "true"], "two sockets cannot both have the number 3"),
        (&["--port=1", "--port=1", "true"], "1 is there twice"),
        (&["-x", "true"], "unknown option -x"),
    ] {
        let said = run(&folder, words);
        assert_eq!(said.code, 2, "{words:?}: {said:?}");
        assert!(said.err.contains(message), "{words:?}: {said:?}");
    }
    assert!(run(&folder, &["--he"]).out.contains("--signal-on-hup"));
    assert!(run(&folder, &["--version"]).out.starts_with("firestarter "));
}
