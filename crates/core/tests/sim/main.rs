//! Ten thousand small worlds, each from a seed: whatever happens in them, the laws hold.
//!
//! `SEED=n cargo test -p firestarter-core --test sim` replays one world with its full log;
//! `SIM_SECONDS=600 cargo test -p firestarter-core --test sim` tries new ones for as long (`SIM_FROM=n` begins there).
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, unreachable_pub)]

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod later;
mod plan;
mod processes;
mod replies;
mod rng;
mod world;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration as RealDuration, Instant as RealInstant};

use firestarter_core::command::Command;
use firestarter_core::event::Event;
use firestarter_core::spec::Signal;
use firestarter_core::time::Duration;
use world::{Line, World};

const SEEDS: u64 = 10_000;

/// A world that has not come to rest after so many turns never will.
const TURNS: u32 = 200_000;

thread_local! {
    static FAULT: RefCell<String> = const { RefCell::new(String::new()) };
}

#[test]
fn laws_hold_in_every_world() {
    std::panic::set_hook(Box::new(|fault| FAULT.with(|slot| *slot.borrow_mut() = fault.to_string())));
    if let Some(seed) = number("SEED") {
        let outcome = live(seed, usize::MAX);
        let text = match &outcome {
            Ok((world, _)) => log_text(world, usize::MAX),
            Err(text) => text.clone(),
        };
        println!("{text}");
        assert!(outcome.is_ok());
        return;
    }
    let from = number("SIM_FROM").unwrap_or(0);
    let until = number("SIM_SECONDS").map(|s| RealInstant::now() + RealDuration::from_secs(s));
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let (worlds, turns) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let over = until.map_or(seed >= from + SEEDS, |until| RealInstant::now() >= until);
            if over {
                break;
            }
            match live(seed, 60) {
                Ok((_, lived)) => {
                    worlds.fetch_add(1, Ordering::Relaxed);
                    turns.fetch_add(lived, Ordering::Relaxed);
                }
                Err(text) if !failed.swap(true, Ordering::Relaxed) => println!("{text}"),
                Err(_) => {}
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    println!("{} worlds, {} turns", worlds.into_inner(), turns.into_inner());
    assert!(!failed.into_inner(), "a world broke a law: see above");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Lives through the world of a seed; the error is its log up to the fault.
fn live(seed: u64, lines: usize) -> Result<(World, u64), String> {
    let mut world = World::new(seed);
    match catch_unwind(AssertUnwindSafe(|| history(&mut world))) {
        Ok(turns) => Ok((world, turns)),
        Err(_) => {
            let fault = FAULT.with(|slot| slot.borrow().clone());
            Err(format!("{}SEED={seed}: {fault}", log_text(&world, lines)))
        }
    }
}

/// Storms, each with a calm behind it or not, and the end, which may come in the middle of a storm.
fn history(world: &mut World) -> u64 {
    let mut turns = 0;
    if world.rng.chance(10) {
        world.feed(Event::StopSignal { signal: Signal::INT, nth: 1, with: None });
    }
    world.feed(Event::Begin);
    for _ in 0..=world.rng.below(6) {
        let storm = Duration::from_secs(world.rng.pick(&[2, 20, 120]));
        world.plan_storm(storm);
        let over = world.now + storm;
        while world.next_time().is_some_and(|at| at <= over) {
            turn(world, &mut turns);
        }
        if world.rng.chance(700) {
            world.calm();
            while !world.rests() {
                turn(world, &mut turns);
            }
            world.checks.converged(&world.daemon.core, world.now);
            world.wild();
        }
    }
    world.plan_storm(Duration::from_millis(100));
    end(world, &mut turns);
    u64::from(turns)
}

fn end(world: &mut World, turns: &mut u32) {
    let after = world.rng.within(200);
    if world.rng.chance(500) {
        let signal = world.rng.pick(&[Signal::TERM, Signal::INT]);
        world.plan(after, Event::StopSignal { signal, nth: 2, with: None });
        // Told again, as by a daemon that finds it where the last one has not taken it away; and another one.
        let again = after + world.rng.within(300);
        world.plan(again, Event::StopSignal { signal, nth: 2, with: None });
        if world.rng.chance(300) {
            world.plan(again, Event::StopSignal { signal: Signal::INT, nth: 3, with: None });
        }
    }
    for _ in 0..=world.rng.below(2) {
        let after = after + world.rng.within(300);
        world.plan_request(after, Command::Shutdown);
    }
    while world.next_time().is_some() {
        turn(world, turns);
    }
    assert!(world.halted && world.checks.halts() == 1, "{} halts", world.checks.halts());
    assert!(world.checks.left_behind || world.processes() == 0, "processes left");
    assert!(world.checks.open.is_empty(), "never answered: {:?}", world.checks.open);
    let (asked, answered) = world.answered();
    assert_eq!(asked, answered, "answers that arrived");
}

fn turn(world: &mut World, turns: &mut u32) {
    *turns += 1;
    assert!(*turns < TURNS, "does not come to rest");
    world.step();
}

fn log_text(world: &World, lines: usize) -> String {
    let names = world.names();
    let skipped = world.log.len().saturating_sub(lines);
    let start = world.log.first().map_or(world.now, |(at, _)| *at);
    let mut text = String::new();
    for (at, line) in &world.log[skipped..] {
        let at = at.since(start).as_micros();
        let line = match line {
            Line::Event(event) => format!("<- {}", names.event(event)),
            Line::Action(action) => format!("   -> {}", names.action(action)),
            Line::Note(note) => format!("!! {note}"),
        };
        text.push_str(&format!("{:>12.6} {line}\n", at as f64 / 1e6));
    }
    text
}
