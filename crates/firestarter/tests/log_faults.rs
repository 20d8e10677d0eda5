//! Logs on disks that are full, read-only, frozen or gone, and logs that others move away: what workers wrote is there
//! afterwards, or the log itself says how much is not, to the byte. Disks of a test's own need root; without it these
//! tests say that they are skipped.

mod harness;

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::time::{Duration, Instant};

use harness::disk::{run, Disk};
use harness::proc::{self, Sig};
use harness::{lines, until, Fire, Folder};

/// Where the log is, if it is on a disk of the test's own.
fn log(folder: &Folder) -> String {
    folder.read("disk/log")
}

fn start(folder: Folder, rest: u32, bytes: u64, log: &str) -> Fire {
    Fire::start_in(
        folder,
        &format!(
            "[web]\nexec_start = ['@WORKER@', 'lines', '{rest}', '{bytes}']\nstdout_log = '{log}'\n\
             stop_timeout = '1s'\nack_timeout = '10ms'\n"
        ),
    )
}

fn done(fire: &Fire) -> bool {
    lines::is_done(&fire.folder, fire.settled("web", 1)[0])
}

#[test]
fn a_full_disk_that_is_freed_in_time_costs_nothing() {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    disk.fill();
    let (fire, disk) = (start(folder, 500, 800_000, "@DIR@/disk/log"), disk);
    fire.hears("no space left on device; what is written to it waits 5 s at most");
    until("the worker has written all", || done(&fire));
    disk.free();
    fire.hears("works again; nothing is lost");
    until("all is there", || log(&fire.folder).len() as u64 >= lines::all_taken(&fire.folder));
    let found = lines::read(&fire.folder, &log(&fire.folder), false);
    lines::all_there(&fire.folder, &found);
    fire.stop();
}

/// A disk stays full while a worker writes, and is freed then; `kill`: the writer is killed meanwhile, again and again.
fn stays_full(kill: bool) {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    let (fire, disk) = (start(folder, 0, 12_000_000, "@DIR@/disk/log"), disk);
    let (last, longest) = (RefCell::new((0, Instant::now())), RefCell::new(Duration::ZERO));
    let mut killed = Instant::now();
    let begun = Instant::now();
    while !done(&fire) {
        assert!(begun.elapsed() < Duration::from_secs(40), "the worker stands still: {}", fire.stderr());
        let taken = lines::all_taken(&fire.folder);
        let mut last = last.borrow_mut();
        if taken != last.0 {
            *last = (taken, Instant::now());
        }
        let still = last.1.elapsed();
        longest.replace_with(|longest| (*longest).max(still));
        // More than pipe and stage hold: from now on lines are dropped.
        if kill && taken > 3_000_000 && killed.elapsed() > Duration::from_millis(150) {
            proc::writer(fire.keeper_pid).into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
            killed = Instant::now();
        }
        harness::pause();
    }
    println!("the worker stood still for {:?}", longest.borrow());
    assert!(*longest.borrow() < Duration::from_secs(9), "{:?}", longest.borrow());
    assert!(*longest.borrow() > Duration::from_secs(2), "it did not wait at all");
    disk.free();
    let whole = || {
        let text = log(&fire.folder);
        lines::missing(&text).1 > 0 && text.ends_with('\n')
    };
    until("the count", whole);
    let taken = lines::all_taken(&fire.folder);
    let sum = || {
        let text = log(&fire.folder);
        let found = lines::read(&fire.folder, &text, true);
        found.values().map(|found| found.bytes).sum::<u64>() + lines::missing(&text).1
    };
    until("what is kept and what is counted are all", || sum() >= taken);
    assert_eq!(sum(), taken);
    fire.hears("bytes are missing");
    fire.stop();
}

#[test]
fn a_disk_that_stays_full_costs_what_the_log_says() {
    stays_full(false);
}

#[test]
fn a_disk_that_stays_full_while_writers_are_killed_costs_what_the_log_says() {
    stays_full(true);
}

/// A disk stays full while a worker writes that shall wait for as long as it takes. `kill`: writer and daemon are killed
/// meanwhile.
fn blocks(kill: bool) {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    let toml = "[web]\nexec_start = ['@WORKER@', 'lines', '0', '6000000']\nack_timeout = '10ms'\n\
                stdout_log = { path = '@DIR@/disk/log', on_overflow = 'block' }\n";
    let (fire, disk) = (Fire::start_in(folder, toml), disk);
    let stands_still = |least: Duration| {
        let begun = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while last < 1_000_000 || since.elapsed() < least {
            assert!(begun.elapsed() < Duration::from_secs(60), "{last} bytes after a minute");
            let taken = lines::all_taken(&fire.folder);
            if taken != last {
                (last, since) = (taken, Instant::now());
            }
            harness::pause();
        }
        last
    };
    if kill {
        let mut last = stands_still(Duration::from_millis(300));
        for _ in 0..3 {
            for pid in [proc::writer(fire.keeper_pid), proc::daemon(fire.keeper_pid)].into_iter().flatten() {
                proc::signal(pid, Sig::KILL);
                until("its death", || !proc::alive(pid));
                until("another writer", || proc::writer(fire.keeper_pid).is_some());
                last = stands_still(Duration::from_millis(300)).max(last);
            }
        }
        assert!(last < 4_000_000, "{last} bytes are more than a pipe and its stage hold");
    } else {
        // Longer than workers wait where that is not for ever.
        let last = stands_still(Duration::from_millis(6500));
        let status = fire.group("web");
        assert_eq!(status["logs"][0]["dropped_bytes"], 0, "{status}");
        assert!(last < 4_000_000 && !done(&fire), "{last} bytes are more than a pipe and its stage hold");
    }
    disk.free();
    fire.hears("works again; nothing is lost");
    until("the worker has written all", || done(&fire));
    until("all is there", || log(&fire.folder).len() as u64 >= lines::all_taken(&fire.folder));
    lines::all_there(&fire.folder, &lines::read(&fire.folder, &log(&fire.folder), false));
    fire.stop();
}

#[test]
fn who_shall_wait_for_a_full_disk_waits_and_loses_nothing() {
    blocks(false);
}

#[test]
fn who_waits_for_a_full_disk_loses_nothing_whoever_is_killed() {
    blocks(true);
}

#[test]
fn a_disk_that_may_not_be_written_to_is_waited_for() {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    let place = disk.0.to_str().expect("a path").to_owned();
    let toml =
        "[web]\nexec_start = ['sh', '-c', 'while [ ! -e go ]; do sleep 0.01; done; exec @WORKER@ lines 0 30000']\n\
                stdout_log = '@DIR@/disk/log'\n";
    let (fire, _disk) = (Fire::start_in(folder, toml), disk);
    assert!(run("mount", &["-o", "remount,ro", &place]));
    fire.folder.write("go", "");
    fire.hears("read-only file system; what is written to it waits 5 s at most");
    assert!(run("mount", &["-o", "remount,rw", &place]));
    until("the worker has written all", || done(&fire));
    until("all is there", || log(&fire.folder).len() as u64 == lines::all_taken(&fire.folder));
    lines::all_there(&fire.folder, &lines::read(&fire.folder, &log(&fire.folder), false));
    fire.stop();
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_but_who_writes_to_it() {
    let folder = Folder::new();
    let image = folder.join("image");
    let made = File::create(&image).and_then(|file| file.set_len(16 << 20)).is_ok();
    let path = image.to_str().expect("a path");
    if !made || !run("mkfs.ext4", &["-q", "-F", path]) {
        eprintln!("skipped: no mkfs.ext4");
        return;
    }
    let Some(disk) = Disk::mount(&folder.join("disk"), &["-o", "loop", path]) else { return };
    let counts = "['sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done']";
    let fire = Fire::start_in(
        folder,
        &format!(
            "[slow]\nexec_start = {counts}\nstdout_log = '@DIR@/disk/log'\n\
             [quick]\nexec_start = {counts}\nstdout_log = '@DIR@/log'\n"
        ),
    );
    let disk = disk;
    until("lines of both", || !fire.folder.read("disk/log").is_empty() && !fire.folder.read("log").is_empty());
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    let threads = || proc::status(writer, "Threads").parse::<u32>().unwrap_or(0);
    until("a hand that rests", || threads() == 2);
    if !disk.freeze("-f") {
        eprintln!("skipped: no fsfreeze");
        return;
    }
    let grows = |name: &str| {
        let before = fire.folder.read(name).len();
        until("more lines", || fire.folder.read(name).len() > before + 300);
    };
    grows("log");
    until("another hand", || threads() == 3);
    grows("log");
    let stood = fire.folder.read("disk/log");
    grows("log");
    assert_eq!(fire.folder.read("disk/log"), stood, "it is not frozen: this test shows nothing");
    assert!(disk.freeze("-u"));
    grows("disk/log");
    until("one hand less", || threads() == 2);
    for name in ["log", "disk/log"] {
        let text = fire.folder.read(name);
        let numbers = text[..text.rfind('\n').unwrap_or(0)].lines().map(|line| line.parse::<usize>());
        assert!(numbers.enumerate().all(|(at, number)| number == Ok(at)), "{name}");
    }
    fire.stop();
}

#[test]
fn a_fifo_whose_reader_stands_still_gets_all_when_it_goes_on() {
    let folder = Folder::new();
    assert!(run("mkfifo", &[folder.join("fifo").to_str().expect("a path")]));
    let mut reader = folder.command("sh").args(["-c", "exec cat <>fifo >out"]).spawn().expect("a reader");
    until("a reader", || proc::arguments(reader.id()).first().is_some_and(|word| word == "cat"));
    proc::signal(reader.id(), Sig::STOP);
    let fire = start(folder, 500, 800_000, "@DIR@/fifo");
    until("the worker has written all", || done(&fire));
    proc::signal(reader.id(), Sig::CONT);
    until("all is there", || fire.folder.read("out").len() as u64 >= lines::all_taken(&fire.folder));
    lines::all_there(&fire.folder, &lines::read(&fire.folder, &fire.folder.read("out"), false));
    reader.kill().and_then(|()| reader.wait()).expect("the reader's end");
    fire.stop();
}

#[test]
fn a_log_that_another_program_moves_or_empties_goes_on() {
    let fire = start(Folder::new(), 2000, u64::MAX, "@DIR@/log");
    let path = fire.folder.join("log");
    let grows = |than: u64| until("lines", || fs::metadata(&path).is_ok_and(|log| log.len() > than));
    grows(20_000);
    // Renamed: what follows goes to the same file until that is removed.
    fs::rename(&path, fire.folder.join("old")).expect("rename");
    let moved = fs::metadata(fire.folder.join("old")).expect("the old log").len();
    until("more lines", || fire.folder.read("old").len() as u64 > moved + 20_000);
    let mut old = File::open(fire.folder.join("old")).expect("the old log");
    fs::remove_file(fire.folder.join("old")).expect("remove");
    grows(20_000);
    let mut text = String::new();
    old.read_to_string(&mut text).expect("read");
    // Copied and emptied: no more is lost than came in between.
    let mut lost = 0;
    for _ in 0..5 {
        grows(20_000);
        let mut copy = String::new();
        let mut log = File::options().read(true).write(true).open(&path).expect("the log");
        log.read_to_string(&mut copy).expect("read");
        lost += log.metadata().expect("the log").len() - copy.len() as u64;
        log.set_len(0).expect("empty");
        text.push_str(&copy);
    }
    fire.folder.write("enough", "");
    until("the worker has written all", || done(&fire));
    let taken = lines::all_taken(&fire.folder);
    let all = || (text.clone() + &fire.folder.read("log")).len() as u64;
    until("all but what was emptied away", || all() + lost + 100_000 >= taken);
    assert!(!fire.folder.read("log").contains('\0'), "it was written to behind its end");
    fire.stop();
}
