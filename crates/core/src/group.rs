//! One group: its slots, its intent, and what each fact means for it.
//!
//! The **intent** is what people asked for:
//! - *Stopped*: no worker, and none without a command. It may have *finished*: all its workers have ended by themselves.
//! - *WarmingUp*: no worker yet; the group runs at `run_at`.
//! - *Waiting*: no worker; the next connection to a listener starts the group. `watch_at` puts the watching off after
//!   workers that failed quickly, so that a connection which nobody accepts cannot spin.
//! - *Running*: a worker in each slot below `count`.
//! - *Cycling*: all workers end; when the last is gone the group is Running. It is restart, an upgrade with
//!   `ack = "none"`, and a start that came while workers were still ending.
//!
//! A **slot** has at most one serving worker and, during a rollout, at most one candidate for its place. A slot whose
//! worker ended for good is *ended*, because `restart` says so or because it failed too often in a row (the slot is given
//! up; the others go on); one whose worker will be respawned later has `respawn_at`. When every slot is ended the group
//! has: given up if a slot was, else it may wait for the next connection.

mod ends;
pub(crate) mod hooks;
pub(crate) mod obey;
pub(crate) mod reconcile;
pub(crate) mod rollout;
pub(crate) mod waiting;

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::event::{Exit, Failure, SpawnError};
use crate::ids::{Generation, GroupId, Pid, Slot, WorkerId};
use crate::live::Live;
use crate::spec::{Ack, GroupSpec, Signal, Start};
use crate::time::{Duration, Instant};
use crate::view::GaveUp;
use crate::worker::{Crew, Fate, State, Waits};
use hooks::Upgrading;
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
    /// How the group ended by itself.
    pub(crate) finish: Option<Finish>,
    /// The stop hook that runs.
    pub(crate) stopper: Option<WorkerId>,
    /// The upgrader that runs.
    pub(crate) upgrading: Option<Upgrading>,
    /// When the upgrader runs by itself.
    pub(crate) upgrader_at: Option<Instant>,
    /// How the upgrader failed last.
    pub(crate) upgrader_failed: Option<Failure>,
    /// What the program's file is known to be.
    pub(crate) program: Option<u64>,
}

/// How a group ended by itself, with nothing that would start it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Finish {
    Done,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    Stopped,
    WarmingUp { run_at: Instant },
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
    /// When the first of these failures was.
    pub(crate) failing_since: Instant,
    pub(crate) respawn_at: Option<Instant>,
    pub(crate) ended: bool,
    /// It ended by a failure.
    pub(crate) failed: bool,
    /// It ended because that was one too many.
    pub(crate) gave_up: Option<GaveUp>,
}

impl SlotState {
    fn new(generation: Generation) -> SlotState {
        let (serving, candidate, respawn_at, failing_since) = (None, None, None, Instant(0));
        let (failures, ended, failed, gave_up) = Default::default();
        SlotState { serving, candidate, generation, failures, failing_since, respawn_at, ended, failed, gave_up }
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
            finish: None,
            stopper: None,
            upgrading: None,
            upgrader_at: None,
            upgrader_failed: None,
            program: None,
        }
    }

    /// The daemon runs for the first time.
    pub(crate) fn begin(&mut self, crew: &mut Crew, now: Instant) {
        let warmup = self.spec.warmup;
        match self.spec.start {
            _ if !self.spec.autostart => {}
            Start::AtOnce if warmup.is_zero() => self.run(crew, now),
            Start::AtOnce => {
                self.intent = Intent::WarmingUp { run_at: now + warmup };
                crew.wait_until(now + warmup, Waits::Group(self.id));
            }
            Start::OnConnection => self.wait_for_connection(warmup, crew, now),
        }
    }

    /// Wants a worker in every slot from now on.
    pub(crate) fn run(&mut self, crew: &mut Crew, now: Instant) {
        self.intent = Intent::Running;
        self.since = now;
        self.restarts = 0;
        self.finish = None;
        self.watch_program(crew);
        self.plan_upgrader(crew, now);
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

    /// Leaves `Waiting` or `WarmingUp`, whatever comes next.
    pub(crate) fn stop_waiting(&mut self, crew: &mut Crew) {
        match self.intent {
            Intent::Waiting { watch_at: None } => crew.act(Action::Watch { group: self.id, on: false }),
            Intent::Waiting { watch_at: at @ Some(_) } => crew.no_longer(at, Waits::Group(self.id)),
            Intent::WarmingUp { run_at } => crew.no_longer(Some(run_at), Waits::Group(self.id)),
            Intent::Stopped | Intent::Running | Intent::Cycling(_) => return,
        }
        self.intent = Intent::Stopped;
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
            // The hook did not know of it.
            Fate::Leave(farewell) if farewell.by_hook() => {
                return crew.farewell(id, reconcile::stop_farewell(self, None), now);
            }
            Fate::Leave(farewell) => return crew.farewell(id, farewell, now),
            Fate::Die => return crew.kill(id),
        }
        if let Some(timeout) = self.spec.live_check {
            crew.note_life(id, Live::new(timeout, now));
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
        let (slot, pid) = (worker.slot, worker.pid);
        if let Some(live) = worker.live.filter(|live| live.deadline().is_some_and(|at| at <= now)) {
            crew.act(Action::Look { worker: id });
            crew.note_life(id, live.look());
        }
        match crew.workers.get(&id).map(|worker| worker.state) {
            Some(State::Starting { ready_at: Some(at) }) if at <= now => self.became_ready(id, crew, now),
            Some(State::Draining { kill_at, .. }) if kill_at <= now => {
                crew.act(Action::Notice(Notice::Overdue { group: self.id, slot, pid }));
                crew.kill(id);
            }
            // Nothing of it is due but the look: the index keeps what remains.
            Some(state) => crew.enter(id, state),
            None => {}
        }
    }

    /// The delay before a respawn is over.
    pub(crate) fn slot_deadline(&mut self, slot: Slot, crew: &mut Crew, now: Instant) {
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            place.respawn_at = None;
            reconcile::slot(self, slot, crew, now);
        }
    }

    /// The delay before watching for connections, or before the start, is over.
    pub(crate) fn group_deadline(&mut self, crew: &mut Crew, now: Instant) {
        match self.intent {
            Intent::Waiting { .. } => self.wait_for_connection(Duration::ZERO, crew, now),
            Intent::WarmingUp { .. } => self.run(crew, now),
            Intent::Stopped | Intent::Running | Intent::Cycling(_) => {}
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

    pub(crate) fn serves(&self, id: WorkerId, slot: Slot) -> bool {
        self.slots.get(slot.0 as usize).is_some_and(|place| place.serving == Some(id))
    }

    /// The number of the next generation.
    pub(crate) fn next_generation(&mut self) -> Generation {
        self.newest = Generation(self.newest.0.saturating_add(1));
        self.newest
    }
}
