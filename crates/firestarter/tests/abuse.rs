//! What a system does to a supervisor: things that are no programs, missing rights, a full table of processes, a machine
//! that sleeps, files that vanish. It is said, with its cause; what can go on goes on. What other files of tests cover
//! (places and addresses that are taken, faulty configurations, floods of clients) is not here again.

mod harness;

use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, symlink, DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::proc::{self, Sig};
use harness::{group_of, number, pids, run_command, run_to_the_end, until, Fire, Folder, BIN};
use rustix::process::geteuid;
use serde_json::json;

/// A group that does nothing but live.
const GOOD: &str = "[good]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\n";

#[test]
fn what_is_no_program_is_said_and_others_work() {
    let folder = Folder::new();
    fs::create_dir(folder.join("folder")).expect("mkdir");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o755),
        0,
    )
    .expect("a fifo");
    symlink("loop", folder.join("loop")).expect("a link");
    symlink("nowhere", folder.join("dangling")).expect("a link");
    folder.script("empty", "");
    folder.script("strange", "#!/nowhere/interpreter\n");
    folder.script("garbage", "\u{1}\u{2}\u{3}");
    let cases = [
        ("folder", "permission denied"),
        ("fifo", "permission denied"),
        ("loop", "too many levels of symbolic links"),
        ("dangling", "no such file or directory"),
        ("empty", "exec format error"),
        ("strange", "no such file or directory"),
        ("garbage", "exec format error"),
        ("folder/below", "no such file or directory"),
        ("empty/below", "no such file or directory"),
    ];
    let group = |(index, (path, _)): (usize, &(&str, &str))| {
        format!("[g{index}]\nexec_start = ['@DIR@/{path}']\nack_timeout = '10ms'\n")
    };
    let toml: String = cases.iter().enumerate().map(group).chain([GOOD.to_owned()]).collect();
    let fire = Fire::start_in(folder, &toml);
    fire.settled("good", 1);
    for (index, (path, cause)) in cases.iter().enumerate() {
        let program = fire.folder.join(path);
        fire.hears(&format!("g{index}/0: not started: run its program {}: {cause}", program.display()));
        let said = fire.ctl(&["ctrl", &format!("g{index}"), "start"]);
        assert_eq!(said.code, 1, "{path}: {said:?}");
        assert!(said.err.contains(cause), "{path}: {said:?}");
    }
    fire.stop();
}

/// A user that nobody else is, so that its processes can be counted.
const NOBODY: u32 = 54_321;

fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped, only root can become another user");
    }
    root
}

/// A folder that belongs to a user without rights.
fn folder_of_nobody(uid: u32) -> Folder {
    let folder = Folder::new();
    chown(folder.path(), Some(uid), Some(uid)).expect("chown");
    folder
}

fn as_user(uid: u32) -> impl FnOnce(&mut Command) {
    move |command| {
        command.uid(uid).gid(uid);
    }
}

fn private_folder(path: &Path) {
    fs::DirBuilder::new().mode(0o700).create(path).expect("mkdir");
}

#[test]
fn missing_rights_are_said_with_what_they_are_missing_for() {
    if !is_root("missing_rights_are_said_with_what_they_are_missing_for") {
        return;
    }
    let folder = folder_of_nobody(NOBODY);
    private_folder(&folder.join("private"));
    let program = folder.script("theirs", "#!/bin/sh\nexec sleep 1000\n");
    fs::set_permissions(program, Permissions::from_mode(0o700)).expect("chmod");
    let toml = format!(
        "{GOOD}[program]\nexec_start = ['@DIR@/theirs']\n\
         [directory]\nexec_start = ['sleep', '1000']\nworking_directory = '@DIR@/private'\n"
    );
    let fire = Fire::start_with(folder, &toml, as_user(NOBODY));
    fire.settled("good", 1);
    let at = |name: &str| fire.folder.join(name).display().to_string();
    fire.hears(&format!("program/0: not started: run its program {}: permission denied", at("theirs")));
    fire.hears(&format!("directory/0: not started: enter its working directory {}: permission denied", at("private")));
    fire.stop();
}

#[test]
fn a_place_without_rights_is_said_and_nothing_is_left() {
    if !is_root("a_place_without_rights_is_said_and_nothing_is_left") {
        return;
    }
    let sockets = format!("{GOOD}socket_address = ['@DIR@/private/s']\n");
    for (toml, place, said) in [(GOOD, "private/c", "private"), (sockets.as_str(), "c", "good: bind")] {
        let folder = folder_of_nobody(NOBODY + 1);
        private_folder(&folder.join("private"));
        let mut command = folder.command(BIN);
        command.arg("run").arg("-c").arg(folder.config(toml)).arg("-d").arg(folder.join(place));
        as_user(NOBODY + 1)(&mut command);
        let ended = harness::said(command);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(said) && ended.err.contains("ermission denied"), "{ended:?}");
        assert!(folder.processes().is_empty());
        for name in ["c", "c.d", "c.lock"] {
            assert!(!folder.join(name).exists(), "{name} is left");
        }
    }
}

#[test]
fn an_address_of_another_machine_is_said() {
    let folder = Folder::new();
    // Reserved for documents (RFC 5737): no machine has it.
    let said = run_to_the_end(&folder, &format!("{GOOD}socket_address = ['192.0.2.1:8080']\n"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no interface of this machine has that address"), "{said:?}");
    assert!(folder.processes().is_empty() && !folder.join("c").exists());
}

/// Sets the soft limit of a user's processes, as that user: root itself may lack the capability for it.
fn limit_processes(pid: u32, uid: u32, most: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--nproc={most}:")]).uid(uid).gid(uid);
    assert!(prlimit.status().expect("prlimit, of util-linux").success());
}

#[test]
fn when_the_table_of_processes_is_full_what_runs_runs_on_and_the_rest_comes_when_there_is_room() {
    if !is_root("when_the_table_of_processes_is_full") {
        return;
    }
    let uid = NOBODY + 2;
    let toml = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 20\nrestart = 'always'\nbackoff_max = '50ms'\n\
                ack_timeout = '10ms'\n";
    let fire = Fire::start_with(folder_of_nobody(uid), toml, as_user(uid));
    fire.settled("web", 20);
    // Keeper, daemon and its threads are among them.
    let (keeper, daemon) = (fire.keeper_pid, fire.daemon());
    [keeper, daemon].into_iter().for_each(|pid| limit_processes(pid, uid, 10));
    let before = pids(&fire.group("web"));
    before.iter().take(15).for_each(|pid| proc::signal(*pid, Sig::KILL));
    fire.hears("not started: create a process: resource temporarily unavailable");
    let status = fire.wait_for("as many as there is room for", |status| pids(&group_of(status, "web")).len() >= 5);
    assert!(before[15..].iter().all(|pid| pids(&group_of(&status, "web")).contains(pid)), "who ran runs on");
    assert_eq!(fire.daemon(), daemon, "{}", fire.stderr());
    [keeper, daemon].into_iter().for_each(|pid| limit_processes(pid, uid, 1000));
    fire.settled("web", 20);
    fire.stop();
}

#[test]
fn a_daemon_that_dies_while_the_table_of_processes_is_full_is_followed_when_there_is_room() {
    if !is_root("a_daemon_that_dies_while_the_table_of_processes_is_full") {
        return;
    }
    let uid = NOBODY + 3;
    let folder = folder_of_nobody(uid);
    let fire = Fire::start_with(folder, &format!("{GOOD}numprocesses = 5\n"), as_user(uid));
    let (before, daemon) = (fire.settled("good", 5), fire.daemon());
    limit_processes(fire.keeper_pid, uid, 1);
    proc::signal(daemon, Sig::KILL);
    until("the keeper's words", || fire.stderr().contains("resource temporarily unavailable"));
    assert!(before.iter().all(|pid| proc::alive(*pid)), "the workers need no daemon");
    limit_processes(fire.keeper_pid, uid, 1000);
    assert_eq!(fire.settled("good", 5), before);
    fire.stop();
}

#[test]
fn after_a_sleep_of_everything_all_goes_on() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 3\nrestart = 'always'\nack_timeout = '500ms'\n\
                [slow]\nexec_start = ['sh', '-c', 'trap \"\" TERM; echo up; while :; do sleep 1; done']\n\
                stop_timeout = '500ms'\nstdout_log = '@DIR@/slow'\n";
    let fire = Fire::start(toml);
    let before = fire.settled("web", 3);
    until("it is deaf", || fire.folder.read("slow").contains("up"));
    let (keeper, daemon) = (fire.keeper_pid, fire.daemon());
    // In the middle of an upgrade and of a stop.
    let upgrade = fire.begin(&["ctrl", "web", "upgrade"]);
    let stop = fire.begin(&["ctrl", "slow", "stop"]);
    fire.wait_for("both under way", |status| {
        !group_of(status, "web")["rollout"].is_null() && group_of(status, "slow")["state"] == "stopping"
    });
    for pid in [keeper, daemon] {
        proc::signal(pid, Sig::STOP);
        until("it stands still", || proc::status(pid, "State").starts_with('T'));
    }
    let mut wire = fire.wire();
    wire.send("inc", json!({ "group": "web" })).expect("send");
    proc::signal(before[0], Sig::KILL);
    // Every deadline passes meanwhile; that is what a sleep is.
    let begun = Instant::now();
    until("a while", || begun.elapsed() > Duration::from_secs(2));
    [daemon, keeper].into_iter().for_each(|pid| proc::signal(pid, Sig::CONT));
    assert_eq!(wire.reply().expect("a reply")["result"]["done"], "incremented");
    assert_eq!([upgrade, stop].map(|client| harness::finish(client).code), [0, 0], "{}", fire.stderr());
    let after = fire.settled("web", 4);
    assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
    assert_eq!(fire.group("slow")["state"], "stopped");
    assert_eq!(fire.daemon(), daemon, "nobody was taken for dead");
    fire.stop();
}

#[test]
fn a_worker_that_stands_still_is_stopped_all_the_same() {
    let fire = Fire::start(&format!("{GOOD}stop_timeout = '300ms'\n"));
    let worker = fire.settled("good", 1)[0];
    proc::signal(worker, Sig::STOP);
    until("it stands still", || proc::status(worker, "State").starts_with('T'));
    fire.order("good", "stop");
    assert!(!proc::alive(worker));
    fire.stop();
}

#[test]
fn files_that_vanish_from_under_it_harm_no_worker() {
    let mut fire = Fire::start(GOOD);
    let before = fire.settled("good", 1);
    for name in ["config.toml", "c.lock", "c.d/worker-0.sock"] {
        fs::remove_file(fire.folder.join(name)).expect("remove");
    }
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("another daemon", |status| number(&status["daemon_pid"]) != daemon);
    assert_eq!(fire.settled("good", 1), before);
    fs::remove_file(fire.socket()).expect("remove");
    assert_eq!(fire.ctl(&["status"]).code, 3, "nobody answers there");
    assert!(proc::alive(before[0]));
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0));
    fire.nothing_left();
}

#[test]
fn without_standard_streams_it_runs() {
    let folder = Folder::new();
    folder.config(GOOD);
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("exec {BIN} run -c config.toml -d c <&- >&- 2>&-")]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    let worker = fire.settled("good", 1)[0];
    let streams = proc::descriptors(worker).into_iter().filter(|(number, _)| *number < 3);
    let streams: Vec<String> = streams.map(|(_, what)| what).collect();
    assert_eq!(streams, ["/dev/null"; 3], "a worker has its streams in any case");
    fire.stop();
}

#[test]
fn when_nobody_reads_what_it_says_it_runs_on() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sh', '-c', 'exit 3']\nrestart = 'always'\nbackoff_max = '1ms'\n";
    let mut command = run_command(&folder, toml);
    let mut keeper = command.stderr(Stdio::piped()).spawn().expect("start");
    // One end of a pipe of which the other is closed.
    drop(keeper.stderr.take());
    let fire = Fire::watch(folder, keeper);
    fire.wait_for("many respawns, each with its line", |status| number(&group_of(status, "web")["restarts"]) > 50);
    fire.order("web", "stop");
    fire.stop();
}
