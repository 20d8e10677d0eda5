//! Events a second in steady state: workers crash and are respawned, one after the other. The cost of an event must not
//! grow with the number of workers. `cargo bench -p firestarter-core`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant as RealInstant;

use firestarter_core::action::Action;
use firestarter_core::event::{Event, Exit};
use firestarter_core::ids::{Pid, WorkerId};
use firestarter_core::journal::{write_entry, Checksum, MAX_ENTRY};
use firestarter_core::spec::{Ack, Backoff, GroupSpec, Policy, Restart, Share, Signal, Start, Surge};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::Supervisor;

const EVENTS: u32 = 3_000_000;

fn main() {
    println!("{:>8} {:>14} {:>10} {:>8}", "workers", "events/s", "ns/event", "x");
    let mut first = None;
    for workers in [1, 100, 10_000] {
        let best = (0..3).map(|_| nanos_per_event(workers)).fold(f64::INFINITY, f64::min);
        let times = best / *first.get_or_insert(best);
        println!("{workers:>8} {:>14.0} {best:>10.1} {times:>8.2}", 1e9 / best);
    }
}

fn spec(count: u32) -> GroupSpec {
    GroupSpec {
        count: NonZeroU32::new(count).unwrap(),
        restart: Restart::Always,
        backoff: Backoff { max: Duration::from_secs(10), reset: Duration::from_nanos(1) },
        start: Start::AtOnce,
        ack: Ack::Timer(Duration::from_secs(1)),
        start_timeout: Duration::from_secs(30),
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(5),
        ack_signal: Signal::QUIT,
        drain_timeout: Duration::from_secs(60),
        surge: Surge::Fixed(Share::Percent(100)),
        ..GroupSpec::new("web")
    }
}

/// A worker ends, the next one is spawned: two events, each journalled, handled and drained. The oldest worker is the
/// next to end, so every worker has its turn.
fn nanos_per_event(workers: u32) -> f64 {
    let mut now = 1;
    let mut core = Supervisor::new(vec![spec(workers)], Policy::default(), 1, Instant(now));
    let (mut journal, mut checksum) = ([0; MAX_ENTRY], Checksum(0));
    let mut crew = VecDeque::new();
    let mut feed = |core: &mut Supervisor, crew: &mut VecDeque<WorkerId>, now: u64, event: Event| {
        (_, checksum) = black_box(write_entry(checksum, Instant(now), &event, &mut journal)).expect("an entry fits");
        core.handle(Instant(now), event);
        while let Some(action) = core.poll_action() {
            if let Action::Spawn { worker, .. } = black_box(action) {
                crew.push_back(worker);
            }
        }
    };
    feed(&mut core, &mut crew, now, Event::Begin);
    for worker in crew.clone() {
        feed(&mut core, &mut crew, now, Event::Spawned { worker, pid: Pid(1) });
    }
    let begin = RealInstant::now();
    for _ in 0..EVENTS / 2 {
        now += 1000;
        let oldest = crew.pop_front().unwrap();
        feed(&mut core, &mut crew, now, Event::Exited { worker: oldest, exit: Exit::Code(1) });
        let worker = *crew.back().unwrap();
        feed(&mut core, &mut crew, now, Event::Spawned { worker, pid: Pid(1) });
    }
    let took = begin.elapsed();
    assert_eq!(core.workers().count(), workers as usize);
    took.as_nanos() as f64 / f64::from(EVENTS)
}
