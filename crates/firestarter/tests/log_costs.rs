//! What logs cost: memory at full speed, and processor time for many workers that write little. Only a quiet machine and a
//! release build say something: `cargo test --release -p firestarter --test log_costs -- --ignored --nocapture`.
//! `SECONDS=60` looks for longer.

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use harness::{lines, proc, until, Fire};

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("SECONDS").map_or(20, |text| text.parse().expect("a number")))
}

/// Kibibytes of a process that are its own, and of the stages that it holds.
fn memory(pid: u32) -> (u64, u64) {
    let own = proc::status(pid, "RssAnon").trim_end_matches(" kB").trim().parse().unwrap_or(0);
    let stages = proc::descriptors(pid).into_iter().filter(|(_, what)| what.contains("firestarter-stage"));
    let blocks = stages.filter_map(|(number, _)| Some(fs::metadata(format!("/proc/{pid}/fd/{number}")).ok()?.blocks()));
    (own, blocks.sum::<u64>() / 2)
}

#[test]
#[ignore = "measures a release build on a quiet machine"]
fn at_full_speed_the_writer_does_not_grow() {
    let fire = Fire::start(
        "[web]\nexec_start = ['@WORKER@', 'lines', '0', '1000000000000']\nack_timeout = '10ms'\n\
         stdout_log = 'size:100000000:1:@DIR@/log'\n",
    );
    until("a writer", || proc::writer(fire.keeper_pid).is_some());
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    let idle = memory(writer);
    let (begun, mut most, mut threads) = (Instant::now(), (0, 0), 0);
    while begun.elapsed() < seconds() {
        let (own, stages) = memory(writer);
        most = (most.0.max(own), most.1.max(stages));
        threads = threads.max(proc::status(writer, "Threads").parse().unwrap_or(0));
        harness::pause();
    }
    let mebibytes = lines::all_taken(&fire.folder) >> 20;
    println!("{mebibytes} MiB; KiB own and in stages: {idle:?} at first, {most:?} at most; {threads} threads");
    assert!(most.0 + most.1 <= idle.0 + idle.1 + 4096);
    assert!(threads <= 4, "{threads}");
    fire.stop();
}

#[test]
#[ignore = "measures a release build on a quiet machine"]
fn a_thousand_workers_that_write_a_line_a_second_cost_little() {
    let fire = Fire::start(
        "[web]\nexec_start = ['@WORKER@', 'tick']\nnumprocesses = 1000\nack_timeout = '10ms'\n\
         stdout_log = 'size:100000000:1:@DIR@/log'\n",
    );
    fire.settled("web", 1000);
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    let length = || fs::metadata(fire.folder.join("log")).map_or(0, |log| log.len());
    let (before, written, begun) = (proc::ticks(writer), length(), Instant::now());
    std::thread::sleep(seconds());
    let (spent, took) = (proc::ticks(writer) - before, begun.elapsed());
    let lines = (length() - written) / 16;
    let share = spent as f64 / took.as_secs_f64();
    println!("{lines} lines in {took:?}: {share:.2} % of a core, {} threads", proc::status(writer, "Threads"));
    assert!(share <= 2.0, "{share} %");
    fire.stop();
}
