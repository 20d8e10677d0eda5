//! What workers write is passed on to Firestarter's own output: told apart where that matters, raw where it does not, and
//! never so that a worker is held up by who reads it.

mod harness;

use std::fs::{self, Metadata};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use harness::proc;
use harness::{until, Fire, Folder};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};

const TWO_GROUPS: &str =
    "[web]\nexec_start = ['sh', '-c', 'echo out; echo err >&2; exec sleep 1000']\nnumprocesses = 2\n\
    [other]\nexec_start = ['sh', '-c', 'printf begun; sleep 0.01; echo \" ended\"; exec sleep 1000']\n";

#[test]
fn lines_of_several_groups_are_marked() {
    let fire = Fire::start(TWO_GROUPS);
    until("all lines", || fire.stdout().lines().count() == 3);
    let mut lines: Vec<String> = fire.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["other/0 | begun ended", "web/0 | out", "web/1 | out"]);
    fire.hears("web/0 ! err\n");
    fire.hears("web/1 ! err\n");
    fire.stop();
}

#[test]
fn what_a_worker_leaves_open_does_not_begin_the_next_line_of_somebody_else() {
    let mut fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'printf open >&2; exit 3']\n\
         [other]\nexec_start = ['sleep', '1000']\n",
    );
    fire.hears("web/0 ! open");
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.ended();
    assert!(fire.stderr().lines().any(|line| line == "web/0 ! open"), "{}", fire.stderr());
}

#[test]
fn lines_of_one_group_are_raw_and_a_file_is_inherited() {
    const WEB: &str = "[web]\nexec_start = ['sh', '-c', 'echo out; exec sleep 1000']\nlog_ring = 0\n";
    let fire = Fire::start(WEB);
    until("a line", || fire.stdout() == "out\n");
    assert_eq!(proc::writer(fire.keeper_pid), None, "nothing needs a writer");
    let folder = Folder::new();
    let mut command = harness::run_command(&folder, WEB);
    let mut keeper = command.stdout(Stdio::piped()).spawn().expect("start");
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "out\n");
    let fire = Fire::watch(folder, keeper);
    let worker = fire.settled("web", 1)[0];
    let streams = proc::descriptors(worker);
    assert!(streams[1].1.starts_with("pipe:") && streams[2].1.ends_with("/stderr"), "{streams:?}");
}

#[test]
fn own_lines_bear_a_level_under_the_journal() {
    let toml = "[web]\nexec_start = ['/nowhere/server']\n";
    let said = |named: fn(&Metadata) -> String| {
        let folder = Folder::new();
        let mut command = harness::run_command(&folder, toml);
        let stderr = fs::metadata(folder.join("stderr")).expect("stderr");
        command.env("JOURNAL_STREAM", named(&stderr));
        let fire = Fire::watch(folder, command.spawn().expect("start"));
        fire.hears("firestarter: web/0: not started: ");
        let line = fire.stderr();
        fire.stop();
        line
    };
    let levelled = said(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    assert!(levelled.lines().all(|line| line.starts_with("<5>firestarter: ")), "{levelled}");
    let bare = said(|stderr| format!("{}:{}", stderr.dev(), stderr.ino() + 1));
    assert!(bare.starts_with("firestarter: "), "{bare}");
}

#[test]
fn dev_null_needs_no_writer() {
    let fire = Fire::start_with(Folder::new(), TWO_GROUPS, |command| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    });
    let worker = fire.settled("web", 2)[0];
    assert_eq!(proc::writer(fire.keeper_pid), None);
    assert_eq!(proc::descriptors(worker)[1].1, "/dev/null");
}

#[test]
fn a_reader_that_stops_holds_no_worker_up_and_is_told_what_it_missed() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sh', '-c', 'seq 1 900000; touch done; exec sleep 1000']\n";
    let mut command = harness::run_command(&folder, toml);
    let mut keeper = command.stdout(Stdio::piped()).spawn().expect("start");
    let stdout = keeper.stdout.take().expect("a pipe");
    let fire = Fire::watch(folder, keeper);
    until("a worker that has written all", || fire.folder.join("done").exists());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok()
    });
    let mut text = String::new();
    // Told as soon as there is room, not when there is more to say.
    loop {
        let line = lines.recv_timeout(std::time::Duration::from_secs(60)).expect("the number of what was dropped");
        text.push_str(&format!("{line}\n"));
        if line.starts_with("firestarter: ") {
            break;
        }
    }
    fire.stop();
    lines.iter().for_each(|line| text += &format!("{line}\n"));
    let lost: Vec<&str> = text.lines().filter(|line| line.starts_with("firestarter: ")).collect();
    assert!(
        !lost.is_empty() && lost.iter().all(|line| line.ends_with("bytes) of workers were not read in time")),
        "{lost:?}"
    );
    let lost: u64 = lost.iter().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("firestarter: ")).collect();
    assert!(lines.iter().all(|line| line.parse::<u32>().is_ok()), "a torn line");
    assert_eq!(lines.len() as u64 + lost, 900_000);
}

#[test]
fn a_slow_reader_holds_no_worker_up_and_gets_what_is_kept_for_it() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sh', '-c', 'seq 1 100000; touch done; exec sleep 1000']\n";
    let mut command = harness::run_command(&folder, toml);
    let mut keeper = command.stdout(Stdio::piped()).spawn().expect("start");
    let mut lines = BufReader::with_capacity(4096, keeper.stdout.take().expect("a pipe")).lines();
    let fire = Fire::watch(folder, keeper);
    // More than a pipe holds, less than is kept: the worker ends its work before anybody reads.
    until("a worker that has written all", || fire.folder.join("done").exists());
    for expected in 1..=100_000 {
        assert_eq!(lines.next().expect("a line").expect("text"), expected.to_string());
    }
    fire.stop();
}

#[test]
fn a_burst_reaches_whoever_reads() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['sh', '-c', 'seq 1 270000; exec sleep 1000']\n";
    let mut command = harness::run_command(&folder, toml);
    let mut keeper = command.stdout(Stdio::piped()).spawn().expect("start");
    let lines = BufReader::new(keeper.stdout.take().expect("a pipe")).lines();
    let fire = Fire::watch(folder, keeper);
    for (expected, line) in (1..=270_000).zip(lines) {
        assert_eq!(line.expect("text"), expected.to_string());
    }
    fire.stop();
}

#[test]
fn lines_on_a_terminal_are_marked() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let other = std::fs::File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("open");
    let folder = Folder::new();
    let mut command = harness::run_command(&folder, "[web]\nexec_start = ['sh', '-c', 'echo out; exec sleep 1000']\n");
    let fire = Fire::watch(folder, command.stdout(other).spawn().expect("start"));
    let mut line = String::new();
    BufReader::new(std::fs::File::from(terminal)).read_line(&mut line).expect("a line");
    assert_eq!(line, "\x1b[0;36mweb/0 |\x1b[0m out\r\n");
    fire.stop();
}
