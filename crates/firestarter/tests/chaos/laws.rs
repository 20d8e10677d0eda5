//! What must be so whenever a round is over, and once at the end. A law that is broken fails the test, so the table at the
//! end has zeros where it should.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{group_of, lines, pids, proc, until, Fire};
use crate::sizes::Sizes;
use crate::stage::{Stage, STEADY};

/// On a machine where much else is built at the same time, too.
const IN_TIME: Duration = Duration::from_secs(5);

/// Looks at everything that is still when nothing happens.
pub(crate) fn look(stage: &Stage) {
    let fire = &stage.fire;
    let mut workers = BTreeSet::new();
    for (name, _) in STEADY {
        workers.extend(fire.settled(name, stage.count(name)));
        assert_eq!(fire.group(name)["wanted"], stage.count(name), "{name} has forgotten a scaling");
    }
    for name in ["full", "slow"] {
        assert!(pids(&fire.in_state(name, "stopped")).is_empty());
    }
    let begun = Instant::now();
    let status = fire.status();
    let took = begun.elapsed();
    assert!(took < IN_TIME, "status took {took:?}");
    assert_eq!(pids(&group_of(&status, "web")).len(), stage.count("web"));
    let mut slowest = stage.slowest.lock().expect("no panic");
    slowest.0 = slowest.0.max(took);
    drop(slowest);
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
    nobody_else(fire, &workers);
    no_stray_descriptor(fire, workers.len());
    let failures = stage.load().failures();
    assert!(failures.is_empty(), "{} requests failed: {failures:?}", failures.len());
    stage.load().goes_on(6);
}

/// Every process that bears the mark is a part of Firestarter or a worker that it knows of, and the keeper is its parent.
fn nobody_else(fire: &Fire, workers: &BTreeSet<u32>) {
    let others = || {
        let keeper = fire.keeper_pid;
        let own: Vec<u32> = [Some(keeper), proc::daemon(keeper), proc::writer(keeper)].into_iter().flatten().collect();
        let known = |pid: &u32| own.contains(pid) || workers.contains(pid) && proc::parent(*pid) == keeper;
        let mut others = fire.folder.processes();
        others.retain(|pid| !known(pid));
        others
    };
    let begun = Instant::now();
    while !others().is_empty() {
        let tell = |pid: u32| format!("{pid} of {}: {:?}", proc::parent(pid), proc::arguments(pid));
        let left: Vec<String> = others().into_iter().map(tell).collect();
        assert!(begun.elapsed() < Duration::from_secs(30), "processes that nobody knows of: {left:?}");
        crate::harness::pause();
    }
}

/// What each descriptor is that the ledger names, as the head of a journal tells it.
fn named(fire: &Fire) -> BTreeMap<u32, String> {
    let file = fire.folder.join("journal");
    let said = fire.ctl(&["debug", "journal", "-o", file.to_str().expect("UTF-8")]);
    assert_eq!(said.code, 0, "{said:?}");
    let bytes = fs::read(&file).expect("a journal");
    fs::remove_file(&file).expect("remove");
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let lines = head.lines().filter_map(|line| line.strip_prefix("note descriptor ")?.split_once(": "));
    lines.map(|(number, what)| (number.parse().expect("a number"), what.to_owned())).collect()
}

/// What is open in the table of keeper and daemon and has no reason to be.
fn strays(fire: &Fire, workers: usize) -> Vec<String> {
    let open = proc::descriptors(fire.keeper_pid);
    let named = named(fire);
    let mut strays = Vec::new();
    // Those of the daemon that lives have no names: where it waits and is woken, and a pidfd for each process.
    let (mut pidfds, mut waits) = (0, 0);
    for (number, what) in open.iter().filter(|(number, _)| *number >= 64 && !named.contains_key(number)) {
        match what.as_str() {
            "anon_inode:[pidfd]" => pidfds += 1,
            "anon_inode:[eventpoll]" | "anon_inode:[eventfd]" => waits += 1,
            _ => strays.push(format!("{number}: {what}")),
        }
    }
    // One pidfd is that of the keeper.
    if pidfds > workers + 1 || waits > 2 {
        strays.push(format!("{pidfds} pidfds of {workers} workers, {waits} to wait"));
    }
    let of = |word: &str| named.values().filter(|what| what.starts_with(word)).count();
    for (word, most) in [("Output", 2 * workers), ("Stage", 2 * workers), ("WorkerConnection", 0), ("Client", 1)] {
        if of(word) > most {
            strays.push(format!("{} of {word}, not {most}", of(word)));
        }
    }
    // Two editions of each of five groups: a program and a folder.
    if of("Pinned") > 20 {
        strays.push(format!("{} pins", of("Pinned")));
    }
    strays
}

fn no_stray_descriptor(fire: &Fire, workers: usize) {
    let begun = Instant::now();
    loop {
        let strays = strays(fire, workers);
        if strays.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "stray descriptors: {strays:#?}");
        crate::harness::pause();
    }
}

/// The account of the whole, as a table. The load ends here, and the log with it.
pub(crate) fn last_look(stage: &Stage, first: &Sizes, last: &Sizes) {
    let (lines, bytes) = all_lines(stage);
    let slowest = *stage.slowest.lock().expect("no panic");
    let failures = stage.load().failures();
    println!("requests                          {}", stage.load().served());
    println!("requests that failed              {}", failures.len());
    println!("log lines                         {lines} ({bytes} bytes)");
    println!("log lines missing or double       0");
    println!("orphans, zombies, stray descriptors   0");
    println!("slowest status at rest            {:?}", slowest.0);
    println!("slowest status after a kill       {:?}", slowest.1);
    println!("                                  after the warm-up, at the end");
    first.rows(last).iter().for_each(|row| println!("{row}"));
    assert!(failures.is_empty(), "{failures:?}");
    first.flat(last);
}

/// Every line that a worker of `talk` wrote is in its log, once and whole. How many, and how many bytes.
fn all_lines(stage: &Stage) -> (u64, u64) {
    let fire = &stage.fire;
    let place = fire.folder.join("talk");
    fs::write(place.join("enough"), "").expect("write");
    let workers = fire.settled("talk", stage.count("talk"));
    let done = || fs::read_dir(&place).expect("the folder").flatten();
    let done = || done().filter(|entry| entry.file_name().to_string_lossy().starts_with("done.")).count();
    until("the last workers have written all", || done() >= workers.len());
    let begun = Instant::now();
    // Of a worker that was killed in its write more may be there than it noted, and never less.
    let all = || lines::of_log(&place, "log", false).len() as u64 >= lines::all_taken(&place);
    while !all() && begun.elapsed() < Duration::from_secs(30) {
        crate::harness::pause();
    }
    // If not all is there, this tells what is not.
    let found = lines::read(&place, &lines::of_log(&place, "log", false), false);
    let bytes = lines::all_there(&place, &found);
    (found.values().map(|found| u64::from(found.lines)).sum(), bytes)
}
