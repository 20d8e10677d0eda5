//! What workers write to files that rotate: whole lines, all of them, whoever dies.

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use harness::proc::{self, Sig};
use harness::{number, until, Fire, Folder};

/// A worker that writes so many numbered lines, each with its pid, and then stays.
fn counts(lines: u32) -> String {
    format!("['sh', '-c', 'i=0; while [ $i -lt {lines} ]; do echo $$ $i; i=$((i+1)); done; exec sleep 1000']")
}

/// The files of a log, oldest first: the highest number, or the lowest stamp, and the log itself at the end.
fn files(folder: &Folder, log: &str, by_stamp: bool) -> Vec<String> {
    let prefix = format!("{log}.");
    let names = fs::read_dir(folder.path()).expect("the folder").flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut backups: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
    backups.sort_by_key(|name| name[prefix.len()..].replace('.', "").parse::<u64>().unwrap_or(0));
    if !by_stamp {
        backups.reverse();
    }
    backups.push(log.to_owned());
    backups
}

/// All that is in a log and its backups, oldest first.
fn text(folder: &Folder, log: &str) -> String {
    files(folder, log, false).iter().map(|name| folder.read(name)).collect()
}

/// Of lines with a pid and a number: each is whole, and each pid's numbers go up without a gap. Returns how many each
/// pid has.
fn numbered(text: &str) -> BTreeMap<u32, u32> {
    let mut next = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap_or_else(|_| panic!("{line:?}"))).collect();
        let [pid, number] = words[..] else { panic!("a torn line: {line:?}") };
        let expected = next.entry(pid).or_insert(0);
        assert_eq!(number, *expected, "of pid {pid}");
        *expected += 1;
    }
    next
}

fn all_written(fire: &Fire, log: &str, workers: usize, lines: u32) {
    until("all lines", || text(&fire.folder, log).lines().count() as u32 == lines * workers as u32);
    let numbers = numbered(&text(&fire.folder, log));
    assert_eq!(numbers.values().copied().collect::<Vec<_>>(), vec![lines; workers]);
}

#[test]
fn by_size_with_two_workers_nothing_is_missing_and_no_line_is_torn() {
    let toml = format!(
        "[web]\nexec_start = {}\nnumprocesses = 2\nstdout_log = 'size:2000:100:@DIR@/log'\n\
         stderr_log = 'size:2000:100:@DIR@/log'\n",
        counts(2000)
    );
    let fire = Fire::start(&toml);
    all_written(&fire, "log", 2, 2000);
    let files = files(&fire.folder, "log", false);
    assert!(files.len() > 15, "{files:?}");
    for name in &files {
        let text = fire.folder.read(name);
        assert!(text.len() < 2000 && text.ends_with('\n'), "{name}: {}", text.len());
    }
    for name in &files[..files.len() - 1] {
        assert!(fire.folder.read(name).len() > 1950, "{name} could have held another line");
    }
    fire.stop();
}

#[test]
fn a_file_of_one_byte_holds_one_line() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'seq 1 5; exec sleep 1000']\nstdout_log = 'size:1:3:@DIR@/log'\n",
    );
    until("the last line", || fire.folder.read("log") == "5\n");
    let files = files(&fire.folder, "log", false);
    let texts: Vec<String> = files.iter().map(|name| fire.folder.read(name)).collect();
    assert_eq!(
        (files, texts.concat().as_str()),
        (["log.3", "log.2", "log.1", "log"].map(str::to_owned).into(), "2\n3\n4\n5\n")
    );
}

#[test]
fn by_time_files_bear_the_second_in_which_they_began() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'for i in 0 1 2 3 4 5 6 7; do echo $$ $i; sleep 0.4; done; exec sleep 1000']\n\
                stdout_log = 'time:1:S:UTC:20:@DIR@/log'\n";
    let fire = Fire::start(toml);
    let all = || files(&fire.folder, "log", true).iter().map(|name| fire.folder.read(name)).collect::<String>();
    until("all lines", || all().lines().count() == 8);
    assert_eq!(numbered(&all()).into_values().collect::<Vec<_>>(), [8]);
    let files = files(&fire.folder, "log", true);
    assert!((3..=5).contains(&files.len()), "{files:?}");
    for name in &files[..files.len() - 1] {
        let stamp = name.strip_prefix("log.").expect("a stamp");
        let written = harness::said({
            let mut date = std::process::Command::new("date");
            date.args(["-u", "+%Y%m%d%H%M%S", "-r"]).arg(fire.folder.join(name));
            date
        });
        let last: u64 = written.out.trim().parse().expect("a date");
        let begun: u64 = stamp.parse().expect("a stamp");
        assert!(begun <= last, "{name} was last written at {last}");
    }
    fire.stop();
}

#[test]
fn a_line_that_an_earlier_writer_has_not_finished_is_not_gone_on_with() {
    let folder = Folder::new();
    folder.write("log", "torn");
    let toml =
        "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nstdout_log = 'size:1000000:1:@DIR@/log'\n";
    let fire = Fire::start_in(folder, toml);
    until("a line", || fire.folder.read("log") == "torn\nup\n");
}

#[test]
fn what_a_writer_that_stands_still_was_not_told_of_is_found() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo $$ 0; echo $$ 0 >&2; exec sleep 1000']\nnumprocesses = 200\n\
                ack_timeout = '10ms'\nstdout_log = 'size:1000000:1:@DIR@/log'\nstderr_log = 'size:1000000:1:@DIR@/err'\n";
    let fire = Fire::start(toml);
    fire.settled("web", 200);
    let lines = |log: &str| fire.folder.read(log).lines().count();
    until("the first lines", || (lines("log"), lines("err")) == (200, 200));
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    let before = descriptors(&fire);
    proc::signal(writer, Sig::STOP);
    until("it stands still", || proc::status(writer, "State").starts_with('T'));
    // More new pipes than a socket has room for.
    fire.order("web", "restart");
    proc::signal(writer, Sig::CONT);
    until("the next lines", || (lines("log"), lines("err")) == (400, 400));
    assert_eq!(numbered(&fire.folder.read("log")).len(), 400);
    assert_ne!(proc::writer(fire.keeper_pid), Some(writer), "there was room for all: this test shows nothing");
    until("descriptors as before", || descriptors(&fire) == before);
    fire.stop();
}

#[test]
fn an_old_file_is_rotated_by_its_own_time() {
    let folder = Folder::new();
    folder.write("log", "of yesterday\n");
    let touched = folder.command("touch").args(["-d", "2024-02-29 12:00:00Z", "log"]).status().expect("touch");
    assert!(touched.success());
    let fire = Fire::start_in(
        folder,
        "[web]\nexec_start = ['sh', '-c', 'echo of today; exec sleep 1000']\nstdout_log = 'time:1:MIDNIGHT:U:7:@DIR@/log'\n",
    );
    until("a line", || fire.folder.read("log") == "of today\n");
    assert_eq!(fire.folder.read("log.20240229"), "of yesterday\n");
}

#[test]
fn the_last_words_of_a_worker_are_in_the_file() {
    let mut fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'trap \"printf last; exit\" TERM; echo up; while :; do sleep 0.01; done']\n\
         stdout_log = 'size:100000:1:@DIR@/log'\n[dead]\nexec_start = ['sh', '-c', 'printf dying; exit 3']\n",
    );
    until("up", || fire.folder.read("log") == "up\n");
    until("its last word", || fire.stdout().contains("dead/0 | dying"));
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    proc::signal(writer, Sig::STOP);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    until("the daemon's end", || proc::daemon(fire.keeper_pid).is_none());
    // The keeper waits for the writer, so that who waits for the keeper finds all.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(proc::alive(fire.keeper_pid));
    proc::signal(writer, Sig::CONT);
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    // Not waited for: it stands there before the keeper ends.
    assert_eq!(fire.folder.read("log"), "up\nlast");
    fire.nothing_left();
}

#[test]
fn the_last_lines_are_written_even_if_the_writer_dies_over_them() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'trap \"echo $$ 1; exit\" TERM; echo $$ 0; touch up; while :; do sleep 0.01; done']\n\
                ack_timeout = '10ms'\nstdout_log = 'size:1000000:1:@DIR@/log'\n";
    let mut fire = Fire::start(toml);
    until("the worker", || fire.folder.join("up").exists());
    until("a writer", || proc::writer(fire.keeper_pid).is_some());
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    proc::signal(writer, Sig::STOP);
    fire.signal_keeper(Sig::TERM);
    until("the daemon's end", || proc::daemon(fire.keeper_pid).is_none());
    proc::signal(writer, Sig::KILL);
    assert_eq!(fire.ended().code(), Some(0));
    let text = fire.folder.read("log");
    assert_eq!(numbered(&text).into_values().collect::<Vec<_>>(), [2], "{text:?}");
}

/// Descriptors of the keeper, without those that come and go with a client.
fn descriptors(fire: &Fire) -> usize {
    fire.wait_for("a daemon", |_| true);
    let counts = (0..40).map(|_| {
        harness::pause();
        proc::descriptors(fire.keeper_pid).len()
    });
    counts.min().unwrap_or(0)
}

#[test]
fn kills_of_daemon_and_writer_cost_no_worker_and_no_descriptor() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $$ $i; i=$((i+1)); sleep 0.002; done']\n\
                numprocesses = 3\nrestart = 'always'\nstdout_log = 'size:3000:1000:@DIR@/log'\nack_timeout = '10ms'\n\
                backoff_reset = '1ms'\n";
    let fire = Fire::start(toml);
    let workers = fire.settled("web", 3);
    let before = descriptors(&fire);
    let kill = |pid: Option<u32>| {
        let pid = pid.expect("a process to kill");
        proc::signal(pid, Sig::KILL);
        until("its death", || !proc::alive(pid));
    };
    let grows = || {
        let lines = text(&fire.folder, "log").lines().count();
        until("more lines", || text(&fire.folder, "log").lines().count() > lines + 20);
    };
    for round in 0..6 {
        grows();
        until("a writer", || proc::writer(fire.keeper_pid).is_some());
        match round % 3 {
            0 => kill(proc::writer(fire.keeper_pid)),
            1 => kill(proc::daemon(fire.keeper_pid)),
            _ => {
                kill(proc::daemon(fire.keeper_pid));
                kill(proc::writer(fire.keeper_pid));
            }
        }
        grows();
        assert_eq!(fire.settled("web", 3), workers, "{}", fire.stderr());
    }
    // Respawns while the writer is away: what it was not told of it finds.
    kill(proc::writer(fire.keeper_pid));
    proc::signal(workers[0], Sig::KILL);
    fire.wait_for("a respawn", |status| number(&status["groups"][0]["restarts"]) == 1);
    let successor = fire.settled("web", 3).into_iter().find(|pid| !workers.contains(pid)).expect("a successor");
    until("its lines", || text(&fire.folder, "log").contains(&format!("\n{successor} ")));
    until("descriptors as before", || descriptors(&fire) == before);
    let text = text(&fire.folder, "log");
    let torn = text.lines().filter(|line| line.split(' ').filter(|word| word.parse::<u32>().is_ok()).count() != 2);
    assert!(torn.count() <= 5, "more torn lines than deaths of writers");
    fire.stop();
}

#[test]
fn ends_of_many_workers_leave_no_pipe() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo one line']\nnumprocesses = 4\nrestart = 'always'\nbackoff_max = '10ms'\n\
         backoff_reset = '1000s'\nstdout_log = 'size:1000000:1:@DIR@/log'\nstderr_log = 'size:1000000:1:@DIR@/err'\n\
         [quiet]\nexec_start = ['sleep', '1000']\nstdout_log = 'null'\nstderr_log = 'null'\n",
    );
    until("many ends", || fire.folder.read("log").lines().count() > 200);
    assert_eq!(fire.ctl(&["ctrl", "web", "stop"]).code, 0);
    let pipes = |pid: u32| proc::descriptors(pid).iter().filter(|(_, what)| what.starts_with("pipe:")).count();
    // Those between keeper and daemon.
    until("no pipe of a worker", || pipes(fire.keeper_pid) == 4);
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    until("none in the writer", || pipes(writer) == 0);
    assert!(fire.folder.read("log").lines().all(|line| line == "one line"));
    fire.stop();
}

#[test]
fn a_folder_that_goes_is_told_of_once_and_one_that_comes_back_is_written_to() {
    let folder = Folder::new();
    fs::create_dir(folder.join("logs")).expect("a folder");
    let toml = "[web]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $$ $i; i=$((i+1)); sleep 0.01; done']\n\
                stdout_log = 'size:1000000:1:@DIR@/logs/log'\n";
    let fire = Fire::start_in(folder, toml);
    until("lines", || !fire.folder.read("logs/log").is_empty());
    fs::remove_dir_all(fire.folder.join("logs")).expect("remove");
    fire.hears("logs/log: no such file or directory; what is written to it waits 5 s at most");
    fs::create_dir(fire.folder.join("logs")).expect("a folder");
    until("lines", || !fire.folder.read("logs/log").is_empty());
    fire.hears("logs/log: works again; nothing is lost");
    assert_eq!(fire.stderr().matches("until that is mended").count(), 1, "{}", fire.stderr());
    assert_eq!(fire.settled("web", 1).len(), 1);
    fire.stop();
}

#[test]
fn where_no_log_can_be_is_a_fault_with_its_place() {
    let folder = Folder::new();
    fs::create_dir(folder.join("logs")).expect("a folder");
    let toml = "[web]\nexec_start = ['true']\nstdout_log = '@DIR@/logs'\n\
                stderr_log = { path = '@DIR@/config.toml/log', create_parents = true }\n\
                [api]\nexec_start = ['true']\nstdout_log = 'size:9:1:@DIR@/none/log'\n";
    let ended = harness::run_to_the_end(&folder, toml);
    assert_eq!(ended.code, 2, "{ended:?}");
    for said in [
        "config.toml:3:14: stdout_log: @DIR@/logs is a folder",
        "config.toml:4:23: path: @DIR@/config.toml is no folder",
        "config.toml:7:14: stdout_log: the folder @DIR@/none does not exist",
        "3 faults in ",
    ] {
        let said = said.replace("@DIR@", &folder.path().display().to_string());
        assert!(ended.err.contains(&said), "{said}: {ended:?}");
    }
    assert!(!folder.join("c.lock").exists());
}

#[test]
fn where_its_user_may_not_write_is_an_error_of_the_start() {
    if !proc::may_change_user() {
        return;
    }
    const NOBODY: u32 = 65_534;
    for log in ["'@DIR@/roots/log'", "'@DIR@/roots/old'", "{ path = '@DIR@/roots/a/b', create_parents = true }"] {
        let folder = Folder::new();
        fs::create_dir(folder.join("roots")).expect("a folder");
        folder.write("roots/old", "");
        let program = folder.join("firestarter");
        fs::copy(harness::BIN, &program).expect("copy a program");
        folder.config(&format!("[web]\nexec_start = ['true']\nstdout_log = {log}\n"));
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
        let mut command = folder.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&program);
        command.args(["run", "-c", "config.toml", "-d", "c"]);
        command.stderr(fs::File::create(folder.join("stderr")).expect("a file"));
        let ended = harness::to_the_end(&folder, command);
        assert_eq!(ended.code, 1, "{log}: {ended:?}");
        assert!(ended.err.contains("firestarter: web: stdout_log "), "{log}: {ended:?}");
        assert!(ended.err.contains(": permission denied; let this user write there"), "{log}: {ended:?}");
        assert!(!folder.join("roots/a").exists() && !folder.join("c.lock").exists(), "{log}: something was made");
    }
}

#[test]
fn a_log_that_is_a_fifo_holds_nobody_up() {
    let folder = Folder::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    let toml = "[web]\nexec_start = ['sh', '-c', 'seq 1 50000 >&2; seq 1 50000; touch done; exec sleep 1000']\n\
                stdout_log = 'size:1000000:1:@DIR@/log'\nstderr_log = 'size:1000000:1:@DIR@/fifo'\n";
    let fire = Fire::start_in(folder, toml);
    until("a worker that goes on", || fire.folder.join("done").exists());
    until("its other log", || fire.folder.read("log").ends_with("\n50000\n"));
    fire.hears("fifo: ");
    fire.stop();
}

/// Whether a process has a file open.
fn has_open(pid: u32, path: &Path) -> bool {
    proc::descriptors(pid).iter().any(|(_, what)| Path::new(what) == path)
}

#[test]
fn only_the_writer_has_the_file_and_it_has_nothing_of_the_workers() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nsocket_address = ['127.0.0.1:0']\n\
         start_immediate = true\nstdout_log = 'size:1000000:1:@DIR@/log'\n",
    );
    until("a line", || fire.folder.read("log") == "up\n");
    let (writer, log) = (proc::writer(fire.keeper_pid).expect("a writer"), fire.folder.join("log"));
    assert!(has_open(writer, &log) && !has_open(fire.keeper_pid, &log) && !has_open(fire.daemon(), &log));
    let sockets = proc::descriptors(writer).iter().filter(|(_, what)| what.starts_with("socket:")).count();
    assert_eq!(sockets, 1, "it holds a socket that is not its own: {:?}", proc::descriptors(writer));
    let mode = fs::metadata(&log).expect("the log");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o137, 0);
}
