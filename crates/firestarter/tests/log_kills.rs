//! Writer, daemon and workers are killed at any moment while lines go through: what the kernel took of a worker is in the log
//! and its backups, byte for byte, once, each line whole but for the last one of a worker that was killed over it.
//!
//! `KILLS=1000 cargo test --release -p firestarter --test log_kills` is the nightly run: about a kill a second, as the
//! keeper waits between short lives.

mod harness;

use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::proc::{self, Sig};
use harness::{lines, until, Fire};

/// How many, unless the environment says so.
const FEW: u32 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Writer,
    Daemon,
    Both,
    Worker,
    Upgrade,
}

fn kill(pid: Option<u32>) {
    if let Some(pid) = pid {
        proc::signal(pid, Sig::KILL);
        until("its death", || !proc::alive(pid));
    }
}

/// The worker that is killed next.
fn worker(fire: &Fire, dice: &mut Dice) -> Option<u32> {
    let is_worker = |pid: &u32| proc::arguments(*pid).get(1).is_some_and(|word| word == "lines");
    let workers: Vec<u32> = fire.folder.processes().into_iter().filter(is_worker).collect();
    workers.get(dice.roll(workers.len().max(1) as u64) as usize).copied()
}

fn strike(fire: &Fire, what: Kill, dice: &mut Dice) {
    match what {
        Kill::Writer => kill(proc::writer(fire.keeper_pid)),
        Kill::Daemon => kill(proc::daemon(fire.keeper_pid)),
        Kill::Both => {
            kill(proc::daemon(fire.keeper_pid));
            kill(proc::writer(fire.keeper_pid));
        }
        Kill::Worker => kill(worker(fire, dice)),
        Kill::Upgrade => {
            fire.order("web", "upgrade");
        }
    }
}

/// Kills while two workers write, `rest` microseconds apart and `bytes` at most, and looks at the log then.
fn kills(salt: u64, log: &str, worker: (u32, u64), among: &[Kill]) {
    let count = std::env::var("KILLS").map_or(FEW, |text| text.parse().expect("a number"));
    let long = count > FEW;
    let (rest, bytes) = worker;
    // A long run must not fill the disk, and goes on to its end.
    // Where each line is a file, a rotation renames all of them: more lines than that are never caught up with.
    let least = if log.starts_with("size:1:") { 2_000_000 } else { 100_000 };
    let (rest, bytes) = if long { (rest.max(least), u64::MAX) } else { (rest, bytes) };
    let fire = Fire::start(&format!(
        "[web]\nexec_start = ['@WORKER@', 'lines', '{rest}', '{bytes}']\nnumprocesses = 2\nrestart = 'always'\n\
         ack_timeout = '10ms'\nbackoff_reset = '1ms'\nbackoff_max = '10ms'\nstdout_log = '{log}'\n"
    ));
    let mut dice = Dice::new(salt);
    until("bytes", || lines::all_taken(&fire.folder) > 0);
    let begun = Instant::now();
    for nth in 0..count {
        until("a writer", || proc::writer(fire.keeper_pid).is_some());
        std::thread::sleep(Duration::from_micros(dice.roll(15_000)));
        let what = among[dice.roll(among.len() as u64) as usize];
        strike(&fire, what, &mut dice);
        if !long && begun.elapsed() > Duration::from_secs(8) {
            println!("{nth} kills are enough on a machine that is so slow");
            break;
        }
    }
    fire.folder.write("enough", "");
    let workers = fire.settled("web", 2);
    until("both have written all", || workers.iter().all(|pid| lines::is_done(&fire.folder, *pid)));
    let by_stamp = log.starts_with("time:");
    let folder = &fire.folder;
    // With thousands of backups a rotation takes its time, and what is read meanwhile is not to be trusted.
    let (mut last, mut waits) = (0, Instant::now());
    loop {
        let there = lines::of_log(folder, "log", by_stamp).len() as u64;
        if there >= lines::all_taken(folder) {
            break;
        }
        if there != last {
            (last, waits) = (there, Instant::now());
        }
        if waits.elapsed() > Duration::from_secs(20) {
            println!("not all is there");
            break;
        }
        harness::pause();
    }
    let found = lines::read(folder, &lines::of_log(folder, "log", by_stamp), false);
    let all = lines::all_there(folder, &found);
    assert!(found.len() >= 2);
    println!("{} workers, {all} bytes", found.len());
    fire.stop();
}

const ALL: [Kill; 3] = [Kill::Writer, Kill::Daemon, Kill::Both];

#[test]
fn a_log_at_full_speed() {
    kills(1, "size:1000000000:1:@DIR@/log", (0, 40_000_000), &ALL);
}

#[test]
fn a_log_that_never_rotates_and_workers_that_die() {
    kills(2, "@DIR@/log", (2000, 4_000_000), &[Kill::Writer, Kill::Worker, Kill::Both]);
}

#[test]
fn one_line_in_a_file() {
    kills(3, "size:1:100000:@DIR@/log", (20_000, 6000), &ALL);
}

#[test]
fn small_files_and_upgrades() {
    kills(4, "size:10240:100000:@DIR@/log", (10_000, 1_000_000), &[Kill::Writer, Kill::Worker, Kill::Upgrade]);
}

#[test]
fn a_file_a_second() {
    kills(5, "time:1:S:UTC:100000:@DIR@/log", (2000, 4_000_000), &ALL);
}

#[test]
fn a_stop_while_workers_wait_for_a_slow_reader_costs_nothing() {
    let folder = harness::Folder::new();
    let fifo = folder.join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    let mut reader = folder.command("sh").args(["-c", "exec cat <>fifo >out"]).spawn().expect("a reader");
    until("a reader", || proc::arguments(reader.id()).first().is_some_and(|word| word == "cat"));
    proc::signal(reader.id(), Sig::STOP);
    let mut fire = Fire::start_in(
        folder,
        "[web]\nexec_start = ['@WORKER@', 'lines', '0', '100000000']\nstdout_log = '@DIR@/fifo'\nack_timeout = '10ms'\n",
    );
    // The FIFO, the stage and the pipe are full, and the worker waits.
    let (mut last, mut since) = (0, Instant::now());
    while last < 1_200_000 || since.elapsed() < Duration::from_millis(500) {
        let taken = lines::all_taken(&fire.folder);
        if taken != last {
            (last, since) = (taken, Instant::now());
        }
        harness::pause();
    }
    fire.signal_keeper(Sig::TERM);
    until("the daemon's end", || proc::daemon(fire.keeper_pid).is_none());
    proc::signal(reader.id(), Sig::CONT);
    assert_eq!(fire.ended().code(), Some(0));
    let out = || fire.folder.read("out").len() as u64;
    until("all is there", || {
        out() >= lines::all_taken(&fire.folder) || !fire.stderr().is_empty() && reader_waits(&reader)
    });
    lines::all_there(&fire.folder, &lines::read(&fire.folder, &fire.folder.read("out"), false));
    reader.kill().and_then(|()| reader.wait()).expect("the reader's end");
}

/// It has read all there is.
fn reader_waits(reader: &std::process::Child) -> bool {
    std::thread::sleep(Duration::from_millis(300));
    proc::status(reader.id(), "State").starts_with('S')
}
