//! Who reads stands still: a reader of a FIFO while the writer is killed, and the writer itself while workers end again and
//! again. Nobody else is held up, descriptors do not run out, and what is lost is said.

mod harness;

use std::process::Child;

use harness::dice::Dice;
use harness::proc::{self, Sig};
use harness::{until, Fire, Folder, BIN};

/// A FIFO, and a program that copies it to the file `out`, stopped.
fn stopped_reader(folder: &Folder) -> Child {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    let reader = folder.command("sh").args(["-c", "exec cat <>fifo >out"]).spawn().expect("a reader");
    until("a reader", || proc::arguments(reader.id()).first().is_some_and(|word| word == "cat"));
    proc::signal(reader.id(), Sig::STOP);
    reader
}

fn kill_writer(fire: &Fire) {
    let writer = proc::writer(fire.keeper_pid);
    writer.into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
    until("another writer", || proc::writer(fire.keeper_pid).is_some_and(|pid| Some(pid) != writer));
}

/// How far numbers in a row go, and how often they begin again somewhere before that.
fn numbers(text: &str) -> (u32, u32) {
    let (mut last, mut repetitions) = (0, 0);
    let mut highest = 0;
    for line in text.lines() {
        let number: u32 = line.parse().unwrap_or_else(|_| panic!("{line:?} is no whole line"));
        if number != last + 1 {
            assert!(number <= highest, "{number} after {last}: lines are missing");
            repetitions += 1;
        }
        last = number;
        highest = highest.max(number);
    }
    (highest, repetitions)
}

#[test]
fn a_fifo_gets_whole_lines_and_one_write_twice_at_most_for_each_kill() {
    const KILLS: u32 = 6;
    let folder = Folder::new();
    let mut reader = stopped_reader(&folder);
    let toml = "[slow]\nexec_start = ['sh', '-c', 'seq 1 300000; exec sleep 1000']\nack_timeout = '10ms'\n\
                stdout_log = '@DIR@/fifo'\n\
                [quick]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done']\n\
                stdout_log = '@DIR@/log'\n";
    let fire = Fire::start_in(folder, toml);
    let quick = || fire.folder.read("log").lines().count();
    let mut dice = Dice::new(7);
    for nth in 0..KILLS {
        // Half of the kills while it stands still, half while it reads.
        proc::signal(reader.id(), if nth % 2 == 0 { Sig::STOP } else { Sig::CONT });
        dice.moment(30);
        kill_writer(&fire);
        let before = quick();
        until("lines of the other group", || quick() > before + 10);
    }
    proc::signal(reader.id(), Sig::CONT);
    until("the last line", || fire.folder.read("out").ends_with("\n300000\n"));
    let (highest, repetitions) = numbers(&fire.folder.read("out"));
    assert!(highest == 300_000 && repetitions <= KILLS, "{repetitions} repetitions");
    let quick: Vec<usize> = fire.folder.read("log").lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(quick, (0..quick.len()).collect::<Vec<_>>(), "the file has each line once");
    reader.kill().and_then(|()| reader.wait()).expect("the reader's end");
    fire.stop();
}

#[test]
fn lines_that_wait_for_a_reader_bear_the_time_at_which_they_came() {
    let folder = Folder::new();
    let mut reader = stopped_reader(&folder);
    // More than a FIFO holds, and then a line every 400 ms.
    let lines =
        "seq 1 30000; for i in 1 2 3 4 5 6 7 8 9 10; do date +at:%s%N; sleep 0.4; done; touch done; exec sleep 1000";
    let fire = Fire::start_in(
        folder,
        &format!(
            "[web]\nexec_start = ['sh', '-c', '{lines}']\nstdout_log = {{ path = '@DIR@/fifo', form = 'timed' }}\n"
        ),
    );
    until("the last line", || fire.folder.join("done").exists());
    proc::signal(reader.id(), Sig::CONT);
    until("all is there", || fire.folder.read("out").matches("at:").count() == 10);
    let out = fire.folder.read("out");
    let late = out.lines().filter_map(|line| line.split_once(" at:")).map(|(time, own)| {
        let time: jiff::Timestamp = time.parse().expect("a time");
        time.as_nanosecond() - own.parse::<i128>().expect("a number")
    });
    let late: Vec<i128> = late.collect();
    // A busy machine may read late, but none of them waited for the reader or for the next line.
    assert!(late.iter().all(|late| (0..2_000_000_000).contains(late)), "{late:?} ns");
    assert_eq!(out.lines().count(), 30_010);
    reader.kill().and_then(|()| reader.wait()).expect("the reader's end");
    fire.stop();
}

#[test]
fn a_writer_that_stands_still_uses_up_no_descriptors() {
    const LIMIT: usize = 260;
    let folder = Folder::new();
    let ends = "['sh', '-c', 'echo $$ >> @DIR@/@NAME@.born; echo $$']";
    let ends = |name: &str| ends.replace("@NAME@", name);
    folder.config(&format!(
        "[loose]\nexec_start = {}\nrestart = 'always'\nstdout_log = '@DIR@/loose.log'\nbackoff_max = '2ms'\nbackoff_reset = '1ms'\n\
         [strict]\nexec_start = {}\nrestart = 'always'\nbackoff_max = '2ms'\nbackoff_reset = '1ms'\n\
         stdout_log = {{ path = '@DIR@/strict.log', on_overflow = 'block' }}\n\
         [still]\nexec_start = ['sleep', '1000']\nack_timeout = '10ms'\nstdout_log = '@DIR@/still.log'\n",
        ends("loose"),
        ends("strict")
    ));
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("ulimit -n {LIMIT}; exec {BIN} run -c config.toml -d c 2>stderr")]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    let count = |name: &str| fire.folder.read(name).lines().count();
    until("lines", || count("loose.log") > 0 && count("strict.log") > 0);
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    proc::signal(writer, Sig::STOP);
    fire.hears("loose: stdout is not read: ");
    fire.hears("what others write is thrown away until it goes on");
    fire.hears("strict: stdout is not read: ");
    fire.hears("no other is started until it goes on");
    let (before, strict) = (count("loose.born"), count("strict.born"));
    until("many more", || count("loose.born") > before + 200);
    assert!(count("strict.born") <= strict + 1, "one was started whose output is lost");
    let open = proc::descriptors(fire.daemon()).len();
    assert!(open < LIMIT - 30, "{open} descriptors");
    fire.order("still", "upgrade");
    assert!(!fire.stderr().contains("too many open files"), "{}", fire.stderr());
    proc::signal(writer, Sig::CONT);
    fire.hears("strict: stdout is read again; nothing is lost");
    fire.hears("loose: stdout is read again; what ");
    fire.order("loose", "stop");
    fire.order("strict", "stop");
    until("all of the strict ones", || count("strict.log") == count("strict.born"));
    let told = fire.stderr();
    let lost = told.split("loose: stdout is read again; what ").nth(1).expect("that");
    let lost: usize = lost.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    until("all of the others but what was said", || count("loose.log") + lost == count("loose.born"));
    fire.stop();
}
