//! What the journal costs in a spawn: all that is stored for one, of a group of a thousand with two logs each, beside the
//! time that a process takes from clone to exec. Run by hand: a loaded machine proves nothing.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use firestarter_core::action::Action;
use firestarter_core::event::{Event, Exit};
use firestarter_core::ids::{Pid, Slot, WorkerId};
use firestarter_core::spec::{GroupSpec, Policy, Restart};
use firestarter_core::{time, Supervisor};

use super::super::memory::Memory;
use super::super::stages::Stages;
use super::super::{create, Labels, Log, Meaning, Origin, Records, Row, Speaker, Stream};

const COUNT: u32 = 1000;
/// Of a spawn.
const MOST: f64 = 0.03;

struct Costs {
    records: Records,
    log: &'static mut Log,
    stages: Stages,
    core: Supervisor,
    now: u64,
    spawns: VecDeque<(WorkerId, Slot)>,
    /// Spent on the journal.
    spent: Duration,
}

impl Costs {
    fn new() -> Costs {
        let (records, log) = create().unwrap();
        let spec =
            GroupSpec { count: NonZeroU32::new(COUNT).unwrap(), restart: Restart::Always, ..GroupSpec::new("web") };
        let core = Supervisor::new(vec![spec], Policy::default(), 1, time::Instant(1));
        log.snapshot(&core).unwrap();
        let stages = Stages::new(Memory::Loose).unwrap();
        Costs { records, log, stages, core, now: 1, spawns: VecDeque::new(), spent: Duration::ZERO }
    }

    fn event(&mut self, event: Event) {
        self.now += 1_000_000_000;
        let begun = Instant::now();
        if self.log.snapshot_is_due() {
            self.log.snapshot(&self.core).unwrap();
        }
        self.log.append(time::Instant(self.now), &event, &self.core).unwrap();
        self.spent += begun.elapsed();
        self.core.handle(time::Instant(self.now), event);
        while let Some(action) = self.core.poll_action() {
            if let Action::Spawn { worker, slot, .. } = action {
                self.spawns.push_back((worker, slot));
            }
        }
    }

    /// What `daemon` stores for a spawn, in its order, with the pipes of standard output and standard error.
    fn spawn(&mut self, worker: WorkerId, slot: Slot) {
        let begun = Instant::now();
        let Records { header, table, ledger, .. } = self.records;
        let row = Row(slot.0);
        let group = firestarter_core::ids::GroupId(0);
        table.claim(row, worker, group, Some(slot), Labels { index: slot.0, attempt: 1 });
        table.count_attempt(group, 1);
        for (nth, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let read = 100 + slot.0 as i32 * 4 + nth as i32 * 2;
            let (write, pipe) = (read + 1, read as u32);
            let stage = self.stages.row(read).unwrap();
            header.set_untold(true);
            stage.begin(write, 1);
            stage.set_place(row.0);
            ledger.name(&write, Meaning::Stage { pipe, number: pipe }).unwrap();
            let origin = Origin { group: 0, speaker: Speaker::Slot(slot.0), stream };
            ledger.name(&read, Meaning::Output { pipe, origin }).unwrap();
            ledger.set_mark(&read, worker.0);
            header.set_untold(false);
            stage.set_pid(1);
        }
        self.spent += begun.elapsed();
        self.event(Event::Spawned { worker, pid: Pid(1) });
        self.event(Event::Deadline);
    }

    fn spawn_all(&mut self) -> u32 {
        let mut spawned = 0;
        while let Some((worker, slot)) = self.spawns.pop_front() {
            self.spawn(worker, slot);
            spawned += 1;
        }
        spawned
    }
}

/// From clone to exec, as the C library does it; the shortest of many.
fn spawn_of_a_process() -> Duration {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let spawn = || -> (Duration, Child) {
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        (begun.elapsed(), child)
    };
    let spawns = std::iter::repeat_with(spawn).take(500).map(|(took, mut child)| {
        child.wait().unwrap();
        took
    });
    spawns.min().unwrap()
}

/// `cargo test --release -p firestarter --bin firestarter costs -- --ignored --nocapture`
#[test]
#[ignore = "measures a release build on a quiet machine"]
fn a_spawn_costs_the_journal_little() {
    let process = spawn_of_a_process();
    let of_one = |what: &str, spent: Duration, spawned: u32| {
        let each = spent / spawned;
        let share = each.as_secs_f64() / (process + each).as_secs_f64();
        println!("{what}: {each:?} for the journal beside {process:?} for the process: {:.2} %", share * 100.0);
        assert!(share <= MOST, "{what}: {share}");
    };
    let mut costs = Costs::new();
    costs.event(Event::Begin);
    let spawned = costs.spawn_all();
    assert_eq!(spawned, COUNT);
    of_one("start, in memory that is new", costs.spent, spawned);
    costs.spent = Duration::ZERO;
    let mut spawned = 0;
    for _ in 0..10 {
        let workers: Vec<WorkerId> = costs.core.workers().map(|(worker, _)| worker).collect();
        for worker in workers {
            costs.event(Event::Exited { worker, exit: Exit::Code(0) });
            spawned += costs.spawn_all();
        }
    }
    assert!(spawned >= COUNT, "{spawned}");
    of_one("respawn", costs.spent, spawned);
}
