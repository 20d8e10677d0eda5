//! One group: its slots, its intent, and what each fact means for it.
//!
//! The **intent** is what people asked for:
//! - *Stopped*: no worker, and none without a command.
//! - *Waiting*: no worker; the next connection to a listener starts the group. `watch_at` puts the watching off after
//!   workers that failed quickly, so that a connection which nobody accepts cannot spin.
//! - *Running*: a worker in each slot below `count`.
//! - *Cycling*: all workers end; when the last is gone the group is Running. It is restart, an upgrade with
//!   `ack = "none"`, and a start that came while workers were still ending.
//!
//! A **slot** has at most one serving worker and, during a rollout, at most one candidate for its place. A slot whose
//! worker ended for good is *ended*; one whose worker will be respawned later has `respawn_at`.

pub(crate) mod obey;
pub(crate) mod reconcile;
pub(crate) mod rollout;
pub(crate) mod waiting;

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Next, Notice};
use crate::backoff;
use crate::event::{Exit, Failure, SpawnError};
use crate::ids::{Generation, GroupId, Pid, Slot, WorkerId};
use crate::spec::{Ack, GroupSpec, Restart, Signal, Start};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, Fate, State, Waits, Worker};
use rollout::{Queued, Rollout};
use waiting::{Cycle, Waiter};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) spec: GroupSpec,
    /// How many workers are wanted; the configuration's number until somebody says `inc` or `dec`.
    pub(crate) count: u32,
    pub(crate) intent: Intent,
    pub(crate) slots: Vec<SlotState>,
    /// The generation that serves: the last one committed.
    pub(crate) generation: Generation,
    /// The newest number given to a generation.
    pub(crate) newest: Generation,
    pub(crate) rollout: Option<Rollout>,
    pub(crate) queued: Option<Queued>,
    pub(crate) waiters: Vec<Waiter>,
    /// Workers that hold a place in a slot.
    pub(crate) live: u32,
    /// Those of them that are ready.
    pub(crate) ready: u32,
    /// Workers that hold no place any more and have not ended.
    pub(crate) leaving: u32,
    /// Slots whose worker has ended for good.
    pub(crate) ended: u32,
    pub(crate) restarts: u64,
    pub(crate) since: Instant,
    pub(crate) last_failure: Option<(Failure, Instant)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    Stopped,
    Waiting { watch_at: Option<Instant> },
    Running,
    Cycling(Cycle),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotState {
    pub(crate) serving: Option<WorkerId>,
    pub(crate) candidate: Option<WorkerId>,
    /// The generation that a respawn starts.
    pub(crate) generation: Generation,
    pub(crate) failures: u32,
    pub(crate) respawn_at: Option<Instant>,
    pub(crate) ended: bool,
}

impl SlotState {
    fn new(generation: Generation) -> SlotState {
        SlotState { serving: None, candidate: None, generation, failures: 0, respawn_at: None, ended: false }
    }
}

impl Group {
    pub(crate) fn new(id: GroupId, spec: GroupSpec, now: Instant) -> Group {
        Group {
            id,
            count: spec.count.get(),
            spec,
            intent: Intent::Stopped,
            slots: Vec::new(),
            generation: Generation(1),
            newest: Generation(1),
            rollout: None,
            queued: None,
            waiters: Vec::new(),
            live: 0,
            ready: 0,
            leaving: 0,
            ended: 0,
            restarts: 0,
            since: now,
            last_failure: None,
        }
    }

    /// The daemon runs for the first time.
    pub(crate) fn begin(&mut self, crew: &mut Crew, now: Instant) {
        match self.spec.start {
            Start::AtOnce => self.run(crew, now),
            Start::OnConnection => self.wait_for_connection(Duration::ZERO, crew, now),
        }
    }

    /// Wants a worker in every slot from now on.
    pub(crate) fn run(&mut self, crew: &mut Crew, now: Instant) {
        self.intent = Intent::Running;
        self.since = now;
        self.restarts = 0;
        let generation = self.generation;
        self.slots.resize_with(self.count as usize, || SlotState::new(generation));
        reconcile::every_slot(self, crew, now);
    }

    /// Wants nothing until a connection comes; `delay` puts the watching off.
    pub(crate) fn wait_for_connection(&mut self, delay: Duration, crew: &mut Crew, now: Instant) {
        if delay.is_zero() {
            self.intent = Intent::Waiting { watch_at: None };
            crew.act(Action::Watch { group: self.id, on: true });
        } else {
            let at = now + delay;
            self.intent = Intent::Waiting { watch_at: Some(at) };
            crew.wait_until(at, Waits::Group(self.id));
        }
    }

    /// Leaves `Waiting`, whatever comes next.
    pub(crate) fn stop_waiting(&mut self, crew: &mut Crew) {
        if let Intent::Waiting { watch_at } = self.intent {
            crew.no_longer(watch_at, Waits::Group(self.id));
            if watch_at.is_none() {
                crew.act(Action::Watch { group: self.id, on: false });
            }
            self.intent = Intent::Stopped;
        }
    }

    pub(crate) fn connection(&mut self, crew: &mut Crew, now: Instant) {
        if self.intent != (Intent::Waiting { watch_at: None }) {
            return;
        }
        self.stop_waiting(crew);
        crew.act(Action::Notice(Notice::GroupActivated { group: self.id }));
        self.forget_ends();
        self.run(crew, now);
    }

    pub(crate) fn spawned(&mut self, id: WorkerId, pid: Pid, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get_mut(&id) else { return };
        let State::Spawning { acked, fate } = worker.state else { return };
        worker.pid = Some(pid);
        worker.born = now;
        let slot = worker.slot;
        let ready_at = match self.spec.ack {
            Ack::Timer(after) => Some(now + after),
            Ack::Manual | Ack::None => None,
        };
        crew.enter(id, State::Starting { ready_at });
        match fate {
            Fate::Live => {}
            Fate::Leave(farewell) => return crew.farewell(id, farewell, now),
            Fate::Die => return crew.kill(id),
        }
        if self.serves(id, slot) {
            self.tell_waiters_spawned(slot, pid, crew);
        }
        if acked || self.spec.ack == Ack::None {
            self.became_ready(id, crew, now);
        }
    }

    pub(crate) fn spawn_failed(&mut self, id: WorkerId, error: SpawnError, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.remove(id) else { return };
        self.gone(id, worker, Failure::Spawn(error), crew, now);
    }

    pub(crate) fn exited(&mut self, id: WorkerId, exit: Exit, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.remove(id) else { return };
        self.gone(id, worker, Failure::Exit(exit), crew, now);
    }

    /// A worker says that it serves. Only `ack = "manual"` asks for that; a second ack says nothing new.
    pub(crate) fn acked(&mut self, id: WorkerId, signal: Option<Signal>, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get_mut(&id) else { return };
        if self.spec.ack != Ack::Manual {
            return;
        }
        match worker.state {
            State::Spawning { fate, .. } => {
                worker.ack_signal = signal;
                worker.state = State::Spawning { acked: true, fate };
            }
            State::Starting { .. } => {
                worker.ack_signal = signal;
                self.became_ready(id, crew, now);
            }
            State::Ready | State::Draining { .. } | State::Killing => {}
        }
    }

    /// A worker's own deadline has come: its timer ack, or the end of its patience.
    pub(crate) fn worker_deadline(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        match worker.state {
            State::Starting { .. } => self.became_ready(id, crew, now),
            State::Draining { .. } => {
                let (slot, pid) = (worker.slot, worker.pid);
                crew.act(Action::Notice(Notice::Overdue { group: self.id, slot, pid }));
                crew.kill(id);
            }
            State::Spawning { .. } | State::Ready | State::Killing => {}
        }
    }

    /// The delay before a respawn is over.
    pub(crate) fn slot_deadline(&mut self, slot: Slot, crew: &mut Crew, now: Instant) {
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            place.respawn_at = None;
            reconcile::slot(self, slot, crew, now);
        }
    }

    /// The delay before watching for connections is over.
    pub(crate) fn watch_deadline(&mut self, crew: &mut Crew, now: Instant) {
        if let Intent::Waiting { .. } = self.intent {
            self.wait_for_connection(Duration::ZERO, crew, now);
        }
    }

    fn became_ready(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let slot = worker.slot;
        crew.enter(id, State::Ready);
        self.ready += 1;
        if self.slots.get(slot.0 as usize).is_some_and(|p| p.candidate == Some(id)) {
            rollout::candidate_ready(self, crew, now);
        }
    }

    fn serves(&self, id: WorkerId, slot: Slot) -> bool {
        self.slots.get(slot.0 as usize).is_some_and(|place| place.serving == Some(id))
    }

    /// A worker is no more. What that means depends on the place that it held.
    fn gone(&mut self, id: WorkerId, worker: Worker, failure: Failure, crew: &mut Crew, now: Instant) {
        let slot = worker.slot;
        let place = self.slots.get(slot.0 as usize);
        if place.is_some_and(|p| p.candidate == Some(id)) {
            self.vacate(&worker);
            self.slots[slot.0 as usize].candidate = None;
            self.note_failure(&worker, failure, Next::Abort, crew, now);
            rollout::candidate_died(self, slot, worker.pid, failure, crew, now);
        } else if place.is_some_and(|p| p.serving == Some(id)) {
            self.vacate(&worker);
            self.slots[slot.0 as usize].serving = None;
            self.plan_respawn(slot, &worker, failure, crew, now);
            reconcile::slot(self, slot, crew, now);
        } else {
            self.leaving -= 1;
        }
        self.tell_waiters_gone(id, crew);
        self.settle(crew, now);
    }

    /// A worker that held a place holds it no more.
    pub(crate) fn vacate(&mut self, worker: &Worker) {
        self.live -= 1;
        if worker.state == State::Ready {
            self.ready -= 1;
        }
    }

    /// The serving worker of a slot has ended unasked: a respawn at once, later, or never.
    fn plan_respawn(&mut self, slot: Slot, worker: &Worker, failure: Failure, crew: &mut Crew, now: Instant) {
        let place = &mut self.slots[slot.0 as usize];
        if now.since(worker.born) >= self.spec.backoff.reset && worker.pid.is_some() {
            place.failures = 0;
        }
        let again = match (self.spec.restart, failure) {
            (Restart::None, _) => false,
            (Restart::Always, _) | (Restart::OnFailure, Failure::Spawn(_)) => true,
            (Restart::OnFailure, Failure::Exit(exit)) => exit.is_failure(),
        };
        let mut next = Next::Nothing;
        if again {
            let delay = backoff::delay(&self.spec.backoff, place.failures, &mut crew.rng);
            next = Next::Respawn(delay);
            self.restarts += 1;
            if !delay.is_zero() {
                let at = now + delay;
                place.respawn_at = Some(at);
                crew.wait_until(at, Waits::Slot(self.id, slot));
            }
        } else {
            place.ended = true;
            self.ended += 1;
        }
        place.failures = place.failures.saturating_add(1);
        self.note_failure(worker, failure, next, crew, now);
        // An exit may be all that a new daemon finds of a spawn; whoever waited for that must hear of it too.
        if worker.pid.is_none() {
            self.tell_waiters_not_started(slot, failure, crew);
        }
    }

    fn note_failure(&mut self, worker: &Worker, failure: Failure, next: Next, crew: &mut Crew, now: Instant) {
        if failure != Failure::Exit(Exit::Code(0)) {
            self.last_failure = Some((failure, now));
        }
        let (group, slot) = (self.id, worker.slot);
        crew.act(Action::Notice(match worker.pid {
            Some(pid) => Notice::WorkerExited { group, slot, pid, failure, next },
            None => Notice::NotSpawned { group, slot, failure, next },
        }));
    }

    /// Looks whether the last worker has gone, and goes on from there.
    pub(crate) fn settle(&mut self, crew: &mut Crew, now: Instant) {
        if self.live + self.leaving > 0 {
            return;
        }
        match &self.intent {
            Intent::Cycling(_) => self.finish_cycle(crew, now),
            Intent::Running if self.ended == self.count => self.end(crew, now),
            Intent::Running | Intent::Stopped | Intent::Waiting { .. } => {}
        }
    }

    /// All workers have ended for good: wait for the next connection, or stop.
    fn end(&mut self, crew: &mut Crew, now: Instant) {
        let watched = self.spec.start == Start::OnConnection;
        crew.act(Action::Notice(Notice::GroupEnded { group: self.id, watched }));
        self.intent = Intent::Stopped;
        if watched {
            let failures = self.slots.iter().map(|p| p.failures).max().unwrap_or(0);
            let delay = backoff::delay(&self.spec.backoff, failures.saturating_sub(1), &mut crew.rng);
            self.wait_for_connection(delay, crew, now);
        }
    }

    /// Ended slots may be filled again.
    pub(crate) fn forget_ends(&mut self) {
        self.slots.iter_mut().for_each(|place| place.ended = false);
        self.ended = 0;
    }

    /// An operator's command wipes the memory of failures: what waits for a respawn gets it now.
    pub(crate) fn forget_failures(&mut self, crew: &mut Crew) {
        for (index, place) in self.slots.iter_mut().enumerate() {
            place.failures = 0;
            crew.no_longer(place.respawn_at.take(), Waits::Slot(self.id, Slot(index as u32)));
        }
    }

    /// The number of the next generation.
    pub(crate) fn next_generation(&mut self) -> Generation {
        self.newest = Generation(self.newest.0.saturating_add(1));
        self.newest
    }
}
