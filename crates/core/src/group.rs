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
//! A **slot** has at most one serving worker and, in a rollout or a replacement, at most one candidate for its place. A slot whose
//! worker ended for good is *ended*, because `restart` says so or because it failed too often in a row (the slot is given
//! up; the others go on); one whose worker will be respawned later has `respawn_at`; one that a rollout
//! has emptied for its candidate is *held*. When every slot is ended the group
//! has: given up if a slot was, else it may wait for the next connection.

pub(crate) mod abort;
mod caring;
mod ends;
pub(crate) mod hooks;
pub(crate) mod obey;
pub(crate) mod reconcile;
pub(crate) mod recycle;
pub(crate) mod rollout;
pub(crate) mod waiting;

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::care::SaysOfItself;
use crate::command::Verb;
use crate::event::{Exit, Failure, SpawnError};
use crate::ids::{Edition, Generation, GroupId, Pid, Slot, Version, WorkerId};
use crate::spec::{Ack, GroupSpec, Signal, Start};
use crate::time::{Duration, Instant};
use crate::view::GaveUp;
use crate::worker::{Crew, Fate, State, Waits};
use hooks::Upgrading;
use recycle::Recycling;
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
    /// What serves: the version that was committed last.
    pub(crate) version: Version,
    /// What served before that.
    pub(crate) before: Option<Version>,
    /// The newest numbers given to a generation and to an edition.
    pub(crate) newest: Version,
    /// A rollback led to the version that serves: until the next upgrade a start runs just that, whatever is there now.
    pub(crate) rolled_back: bool,
    /// A rollout was aborted after a part of it had been committed.
    pub(crate) mixed: bool,
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
    /// Spent workers, and the one that is being replaced.
    pub(crate) recycling: Recycling,
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
    /// What a respawn starts.
    pub(crate) version: Version,
    /// A rollout has emptied it, and fills it.
    pub(crate) held: bool,
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
    fn new(version: Version) -> SlotState {
        let (serving, candidate, respawn_at, failing_since) = (None, None, None, Instant(0));
        let (failures, held, ended, failed, gave_up) = Default::default();
        SlotState { serving, candidate, version, held, failures, failing_since, respawn_at, ended, failed, gave_up }
    }
}

impl Group {
    pub(crate) fn new(id: GroupId, spec: GroupSpec, now: Instant) -> Group {
        let first = Version { generation: Generation(1), edition: Edition(1) };
        Group {
            id,
            count: spec.count.get(),
            spec,
            intent: Intent::Stopped,
            slots: Vec::new(),
            version: first,
            before: None,
            newest: first,
            rolled_back: false,
            mixed: false,
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
            recycling: Recycling::default(),
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
        self.plan_weighing(crew, now);
        let version = self.version;
        self.slots.iter_mut().for_each(|place| place.version = version);
        self.slots.resize_with(self.count as usize, || SlotState::new(version));
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
        self.take_new_edition();
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
            Ack::Manual | Ack::Probe | Ack::None => None,
        };
        crew.enter(id, State::Starting { ready_at });
        match fate {
            Fate::Live => {}
            // The hook did not know of it.
            Fate::Leave { farewell, .. } if farewell.by_hook() => {
                return crew.farewell(id, reconcile::stop_farewell(self, None), now);
            }
            Fate::Leave { farewell, .. } => return crew.farewell(id, farewell, now),
            Fate::Die => return crew.kill(id),
        }
        self.begin_care(id, crew, now);
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
        if let Some(care) = worker.care.as_mut().filter(|care| care.said == SaysOfItself::Reloads) {
            care.said = SaysOfItself::Nothing;
        }
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
            State::Ready | State::Parting { .. } | State::Draining { .. } | State::Killing => {}
        }
    }

    /// A worker's own deadline has come: its timer ack, what it is watched for, or the end of its patience.
    pub(crate) fn worker_deadline(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        self.care_deadline(id, crew, now);
        let Some(worker) = crew.workers.get(&id) else { return };
        let (slot, pid) = (worker.slot, worker.pid);
        match crew.workers.get(&id).map(|worker| worker.state) {
            Some(State::Starting { ready_at: Some(at) }) if at <= now => self.became_ready(id, crew, now),
            Some(State::Parting { tell_at, farewell }) if tell_at <= now => crew.farewell(id, farewell, now),
            Some(State::Draining { kill_at, .. } | State::Spawning { fate: Fate::Leave { kill_at, .. }, .. })
                if kill_at <= now =>
            {
                crew.act(Action::Notice(Notice::Overdue { group: self.id, slot, pid }));
                crew.kill(id);
            }
            // Nothing of this is due: the index keeps what remains.
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

    pub(crate) fn became_ready(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let slot = worker.slot;
        crew.enter(id, State::Ready);
        self.ready += 1;
        self.care_when_ready(id, crew, now);
        if self.slots.get(slot.0 as usize).is_some_and(|p| p.candidate == Some(id)) {
            match self.rollout {
                Some(_) => rollout::candidate_ready(self, crew, now),
                None => self.replacement_ready(crew, now),
            }
        }
    }

    pub(crate) fn serves(&self, id: WorkerId, slot: Slot) -> bool {
        self.slots.get(slot.0 as usize).is_some_and(|place| place.serving == Some(id))
    }

    /// A version that has not been there: a new generation, which runs what is there now.
    pub(crate) fn next_version(&mut self) -> Version {
        self.newest.generation = Generation(self.newest.generation.0.saturating_add(1));
        Version { generation: self.newest.generation, edition: self.next_edition() }
    }

    fn next_edition(&mut self) -> Edition {
        self.newest.edition = Edition(self.newest.edition.0.saturating_add(1));
        self.newest.edition
    }

    /// The version that a start runs: the same generation with what is there now, unless a rollback holds it fast.
    pub(crate) fn version_to_start(&mut self) -> Version {
        match self.rolled_back {
            true => self.version,
            false => Version { generation: self.version.generation, edition: self.next_edition() },
        }
    }

    /// The editions that may still be spawned.
    pub(crate) fn editions(&self) -> impl Iterator<Item = Edition> {
        let rollout = self.rollout.as_ref().map(|rollout| rollout.version);
        [Some(self.version), self.before, rollout].into_iter().flatten().map(|version| version.edition)
    }

    /// Nothing runs: what starts now is what is there now.
    pub(crate) fn take_new_edition(&mut self) {
        self.version = self.version_to_start();
    }

    /// A version serves in every slot.
    pub(crate) fn commit(&mut self, version: Version, verb: Verb) {
        if version.generation != self.version.generation {
            self.before = Some(self.version);
        }
        self.rolled_back = verb == Verb::Rollback || (self.rolled_back && verb != Verb::Upgrade);
        self.version = version;
        self.mixed = false;
    }

    /// Where a rollback leads: out of a rollout that is under way or was cut short, else to what served before.
    pub(crate) fn version_to_go_back_to(&self) -> Option<Version> {
        match self.rollout.is_some() || self.mixed {
            true => Some(self.version),
            false => self.before,
        }
    }
}
