//! Log files that something else rotates: opened anew when somebody asks for it, with nothing lost; and how they are.

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use harness::proc::{self, Sig};
use harness::{finish, number, until, Fire, Folder};
use serde_json::json;

/// Two workers that write numbered lines, each with its pid, until they are stopped.
const COUNTING: &str =
    "[web]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $$ $i; i=$((i+1)); done']\nnumprocesses = 2\n\
                        ack_timeout = '10ms'\nstdout_log = '@DIR@/log'\n";

/// A worker that writes a line and then nothing.
const QUIET: &str = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nstdout_log = '@DIR@/log'\n";

fn up(toml: &str) -> Fire {
    let fire = Fire::start(toml);
    until("the first line", || fire.folder.read("log").contains('\n'));
    fire
}

fn length(fire: &Fire, name: &str) -> u64 {
    fs::metadata(fire.folder.join(name)).map_or(0, |file| file.len())
}

fn rename(fire: &Fire, to: &str) {
    fs::rename(fire.folder.join("log"), fire.folder.join(to)).expect("rename");
}

/// Whether a process has this file open, whatever its name is.
fn has_open(pid: u32, folder: &Folder, name: &str) -> bool {
    let inode = fs::metadata(folder.join(name)).expect("the file").ino();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|file| file.ino() == inode)
}

fn writer(fire: &Fire) -> u32 {
    until("a writer", || proc::writer(fire.keeper_pid).is_some());
    proc::writer(fire.keeper_pid).expect("a writer")
}

fn stopped_writer(fire: &Fire) -> u32 {
    let writer = writer(fire);
    proc::signal(writer, Sig::STOP);
    until("it stands still", || proc::status(writer, "State").starts_with('T'));
    writer
}

#[test]
fn what_is_moved_away_under_load_is_whole_when_the_answer_comes_and_nothing_is_lost() {
    const ROUNDS: usize = 20;
    let fire = up(COUNTING);
    let mut moved = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("log.{round}");
        rename(&fire, &name);
        let said = fire.ctl(&["ctrl", "web", "reopen"]);
        let want = format!("opened anew: {}\n", fire.folder.join("log").display());
        assert!(said.code == 0 && said.out.ends_with(&want), "{said:?}");
        assert!(fire.folder.join("log").exists(), "the answer comes before the file");
        assert!(!has_open(writer(&fire), &fire.folder, &name), "what was moved away may still be written to");
        moved.push((length(&fire, &name), name));
        until("lines in the new file", || length(&fire, "log") > 0);
    }
    assert_eq!(fire.order("web", "stop").split(' ').next(), Some("send"));
    let said = fire.ctl(&["stop"]);
    assert_eq!(said.code, 0, "{said:?}");
    until("the end", || fire.folder.processes().is_empty());
    for (before, name) in &moved {
        assert_eq!(length(&fire, name), *before, "{name} has grown after the answer");
    }
    let names = moved.into_iter().map(|(_, name)| name).chain(["log".to_owned()]);
    let text: String = names.map(|name| fire.folder.read(&name)).collect();
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    // A worker may be stopped in the middle of its last line.
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let (pid, line) = line.split_once(' ').unwrap_or_else(|| panic!("a torn line: {line:?}"));
        let next = next.entry(pid).or_insert(0);
        assert_eq!(line.parse(), Ok(*next), "of pid {pid}");
        *next += 1;
    }
    assert_eq!(next.len(), 2);
}

#[test]
fn a_file_that_nothing_is_written_to_is_there_when_the_answer_comes() {
    let fire = up(QUIET);
    rename(&fire, "old");
    let said = fire.ctl(&["reopen"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((fire.folder.join("log").exists(), length(&fire, "log")), (true, 0));
    assert_eq!(fire.folder.read("old"), "up\n");
    let raw = fire.wire().ask("reopen", json!({ "group": "web" }));
    assert_eq!(raw["result"]["files"], json!([fire.folder.join("log")]), "{raw}");
    fire.stop();
}

#[test]
fn who_has_no_file_is_refused_and_an_unknown_group_is_named() {
    let fire = Fire::start(&format!("{QUIET}[api]\nexec_start = ['sleep', '1000']\n"));
    let said = fire.ctl(&["ctrl", "api", "reopen"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("api: reopen refused: nothing that workers write goes to a file"), "{said:?}");
    assert_eq!(fire.ctl(&["ctrl", "wed", "reopen"]).code, 4);
    assert_eq!(fire.ctl(&["ctrl", "web/0", "reopen"]).code, 2);
    assert_eq!(fire.ctl(&["reopen"]).code, 0);
    let none = Fire::start("[web]\nexec_start = ['sleep', '1000']\n");
    let said = none.ctl(&["reopen"]);
    assert!(said.code == 1 && said.err.contains("reopen refused"), "{said:?}");
    none.signal_keeper(Sig::USR1);
    none.hears("there is no log file to be opened anew");
    none.stop();
}

#[test]
fn a_signal_to_the_keeper_opens_files_anew_whether_a_daemon_lives_or_not() {
    let fire = up(QUIET);
    rename(&fire, "old");
    fire.signal_keeper(Sig::USR1);
    until("the new file", || fire.folder.join("log").exists());
    rename(&fire, "older");
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    fire.signal_keeper(Sig::USR1);
    until("the new file", || fire.folder.join("log").exists());
    proc::signal(daemon, Sig::CONT);
    fire.stop();
}

#[test]
fn a_writer_that_stands_still_is_an_error_that_names_the_file() {
    let fire = up(QUIET);
    rename(&fire, "old");
    let (writer, begun) = (stopped_writer(&fire), Instant::now());
    let said = fire.ctl(&["reopen"]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "after {:?}", begun.elapsed());
    assert_eq!(said.code, 1, "{said:?}");
    let want = format!("not opened anew within 2 s: {}", fire.folder.join("log").display());
    assert!(said.err.contains(&want), "{said:?}");
    assert!(said.err.contains("next: look whether that disk answers and has room; it is"), "{said:?}");
    assert!(fire.ctl(&["status"]).code == 0, "the daemon waits for nobody");
    proc::signal(writer, Sig::CONT);
    until("the new file", || fire.folder.join("log").exists());
    assert_eq!(fire.ctl(&["reopen"]).code, 0);
    fire.stop();
}

/// Asks for files to be opened anew, while the writer stands still; when the daemon has read that, does something, and
/// returns whether the answer was good. On a machine that is very busy the time may be over by then.
fn asked_while_it_stands(fire: &Fire, and: impl Fn(u32)) -> bool {
    let writer = stopped_writer(fire);
    let before = fire.stderr().matches("log files are opened anew").count();
    let client = fire.begin(&["reopen"]);
    fire.wait_for_lines("log files are opened anew", before + 1);
    and(writer);
    let said = finish(client);
    assert!(said.code == 0 || said.err.contains("within 2 s"), "{said:?}");
    said.code == 0
}

#[test]
fn whoever_is_killed_before_the_answer_it_comes() {
    let fire = up(QUIET);
    let kill = |pid: u32| {
        proc::signal(pid, Sig::KILL);
        until("its death", || !proc::alive(pid));
    };
    let daemon_dies = |writer| {
        kill(proc::daemon(fire.keeper_pid).expect("a daemon"));
        proc::signal(writer, Sig::CONT);
    };
    assert!((0..10).any(|_| asked_while_it_stands(&fire, daemon_dies)), "{}", fire.stderr());
    assert!((0..10).any(|_| asked_while_it_stands(&fire, kill)), "{}", fire.stderr());
    let both_die = |writer| {
        kill(writer);
        kill(proc::daemon(fire.keeper_pid).expect("a daemon"));
    };
    assert!((0..10).any(|_| asked_while_it_stands(&fire, both_die)), "{}", fire.stderr());
    fire.stop();
}

#[test]
fn what_is_wrong_with_a_file_is_in_the_status_until_it_is_mended() {
    let folder = Folder::new();
    fs::create_dir(folder.join("logs")).expect("a folder");
    let toml = "[web]\nexec_start = ['sh', '-c', 'while :; do echo line; sleep 0.01; done']\n\
                stdout_log = 'size:1000:2:@DIR@/logs/log'\nstderr_log = 'null'\n";
    let fire = Fire::start_in(folder, toml);
    let log = |status: &serde_json::Value| harness::group_of(status, "web")["logs"][0].clone();
    let status = fire.wait_for("a rotation", |status| log(status)["rotations"].as_u64() > Some(0));
    let (log_of, path) = (log(&status), fire.folder.join("logs/log"));
    assert_eq!((&log_of["stream"], &log_of["path"]), (&json!("stdout"), &json!(path)));
    assert!(number(&log_of["bytes"]) >= 990 && log_of["error"].is_null(), "{log_of}");
    assert_eq!((&log_of["dropped_bytes"], &log_of["dropped_lines"]), (&json!(0), &json!(0)));
    assert_eq!(fire.ctl(&["status"]).err, "", "nothing is wrong");
    let all = fire.ctl(&["status", "-v"]).out;
    assert!(
        all.contains(&format!("web: stdout_log {}: ", path.display())) && all.contains(" bytes written, "),
        "{all}"
    );
    fs::remove_dir_all(fire.folder.join("logs")).expect("remove");
    fire.wait_for("an error", |status| log(status)["error"] == "no such file or directory");
    let said = fire.ctl(&["status"]).err;
    assert_eq!(said, format!("firestarter: web: stdout_log {}: no such file or directory\n", path.display()));
    let said = fire.ctl(&["reopen"]);
    assert!(said.code == 1 && said.err.contains("log (no such file or directory)"), "{said:?}");
    assert!(said.err.contains("next: mend that; it is opened as soon as"), "{said:?}");
    fs::create_dir(fire.folder.join("logs")).expect("a folder");
    fire.wait_for("no error", |status| log(status)["error"].is_null());
    assert_eq!(fire.ctl(&["reopen"]).code, 0);
    fire.stop();
}

#[test]
fn a_worker_that_fails_is_told_of_with_its_last_lines() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'seq 1 9 >&2; printf boom >&2; exit 3']\nrestart = 'none'\nstderr_log = '@DIR@/log'\n",
    );
    fire.hears("web: its stderr | boom");
    let said: Vec<String> =
        fire.stderr().lines().filter_map(|line| Some(line.split_once("| ")?.1.to_owned())).collect();
    assert_eq!(said, ["8", "9", "boom"], "{}", fire.stderr());
    let last = fire.group("web")["last_failure"].clone();
    assert_eq!((&last["exit_code"], &last["stderr"]), (&json!(3), &json!(["8", "9", "boom"])));
    assert!(fire.ctl(&["status", "-v"]).out.contains("web: its stderr at the last failure | boom\n"));
    fire.stop();
}

#[test]
fn one_that_somebody_kills_is_told_of_and_one_that_is_stopped_is_not() {
    let fire = up(
        "[web]\nexec_start = ['sh', '-c', 'echo at work >&2; exec sleep 1000']\nnumprocesses = 2\nack_timeout = '10ms'\n\
         restart = 'always'\nstderr_log = '@DIR@/log'\n",
    );
    let workers = fire.settled("web", 2);
    until("their lines", || fire.folder.read("log").lines().count() == 2);
    fire.order("web", "dec");
    fire.settled("web", 1);
    assert!(!fire.stderr().contains("its stderr"), "{}", fire.stderr());
    proc::signal(workers[0], Sig::KILL);
    fire.hears("web: its stderr | at work");
    fire.stop();
}

#[test]
fn a_group_that_fails_in_a_loop_does_not_flood() {
    let begun = Instant::now();
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo boom >&2; exit 3']\nnumprocesses = 4\nrestart = 'always'\n\
         backoff_max = '10ms'\nstderr_log = '@DIR@/log'\n\
         [loud]\nexec_start = ['sh', '-c', 'echo loud >&2; exit 3']\nrestart = 'none'\n",
    );
    fire.wait_for_lines("ended with exit code 3; respawning", 100);
    let (stderr, seconds) = (fire.stderr(), begun.elapsed().as_secs() as usize);
    let told = stderr.matches("web: its stderr | boom").count();
    assert!((1..=seconds + 1).contains(&told), "{told} times in {seconds} s");
    assert!(!stderr.contains("loud: its stderr"), "it stands in the same log already");
}
