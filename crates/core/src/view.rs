//! What people see: a picture of the whole, made on request and never kept.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::command::Verb;
use crate::event::{Answer, Failure, HookKind};
use crate::group::rollout::{self, Rollout};
use crate::group::{Group, Intent};
use crate::ids::{Generation, Pid, Slot, WorkerId};
use crate::time::{Duration, Instant};
use crate::worker::Crew;

/// All groups, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The groups.
    pub groups: Vec<GroupView>,
    /// Whether everything is being stopped.
    pub shutting_down: bool,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub phase: Phase,
    /// How many workers are wanted.
    pub wanted: u32,
    /// How many serve and are ready; those that a rollout has not committed yet do not count.
    pub ready: u32,
    /// The generation that serves.
    pub generation: Generation,
    /// The generation that a rollback goes to.
    pub before: Option<Generation>,
    /// How many workers have been respawned since the group was last started by somebody.
    pub restarts: u64,
    /// How long it has been running.
    pub uptime: Option<Duration>,
    /// The last failure of a worker, and how long ago.
    pub last_failure: Option<(Failure, Duration)>,
    /// That failure was one of so many in a row, after which its slot was given up.
    pub gave_up: Option<GaveUp>,
    /// The hook that runs.
    pub hook: Option<HookKind>,
    /// The rollout under way.
    pub rollout: Option<RolloutView>,
    /// Its workers, by slot and age.
    pub workers: Vec<WorkerView>,
}

/// The little of a group that says whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// What it is doing.
    pub phase: Phase,
    /// How many workers are wanted.
    pub wanted: u32,
    /// How many serve and are ready.
    pub ready: u32,
}

/// A slot was given up after so many failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaveUp {
    /// How many.
    pub times: u32,
    /// From the first to the last.
    pub within: Duration,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing runs, and nothing will without a command.
    Stopped,
    /// Nothing runs, and nothing will without a command: its workers failed too often in a row.
    GaveUp,
    /// Nothing runs yet: `warmup_delay` is not over.
    WarmingUp,
    /// Nothing runs; the next connection starts it.
    Waiting,
    /// It runs.
    Running,
    /// Its workers are being replaced.
    Upgrading,
    /// All workers end, then all start.
    Restarting,
    /// Its workers are ending.
    Stopping,
}

/// A rollout under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// The generation that it starts.
    pub generation: Generation,
    /// What was asked for: an upgrade, a rollback or a restart.
    pub verb: Verb,
    /// How many new workers have a process.
    pub spawned: u32,
    /// How many new workers are ready.
    pub ready: u32,
    /// How many new workers have taken their places.
    pub committed: u32,
    /// How many old workers have ended, of those that were told to go.
    pub retired: u32,
    /// How many new workers there will be.
    pub wanted: u32,
    /// How many are started at a time, if the memory holds no more.
    pub at_a_time: Option<u32>,
    /// What it waits for.
    pub awaits: RolloutAwaits,
}

/// What a rollout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutAwaits {
    /// How much memory there is.
    Memory,
    /// Old workers that must end before their successors start.
    Room,
    /// New workers that are not ready.
    Ready,
    /// That the new workers stay ready; for how long yet.
    Soak(Duration),
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its slot.
    pub slot: Slot,
    /// Its pid, once it has one.
    pub pid: Option<Pid>,
    /// Its generation.
    pub generation: Generation,
    /// Where in its life it is.
    pub stage: Stage,
    /// How long it has been alive.
    pub uptime: Duration,
    /// What it says of itself, or its probe.
    pub condition: Option<Condition>,
}

/// More about a worker that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It says that it reloads its configuration.
    Reloading,
    /// It says that it is stopping.
    Stopping,
    /// It answered badly when it was last asked whether it serves.
    Unhealthy(Answer),
}

/// Where in its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Being started.
    Spawning,
    /// Runs, but has not acked.
    Starting,
    /// Serves.
    Ready,
    /// Asked to end, still finishing.
    Draining,
    /// Got SIGKILL.
    Killing,
}

impl Group {
    pub(crate) fn view(&self, crew: &Crew, now: Instant) -> GroupView {
        let mut ours: Vec<_> = crew.workers.iter().filter(|(_, worker)| worker.group == self.id).collect();
        ours.sort_by_key(|(id, worker)| (worker.slot, **id));
        let workers = ours
            .into_iter()
            .map(|(_, worker)| WorkerView {
                slot: worker.slot,
                pid: worker.pid,
                generation: worker.version.generation,
                stage: worker.stage(),
                uptime: now.since(worker.born),
                condition: worker.condition(),
            })
            .collect();
        GroupView {
            name: self.spec.name.clone(),
            phase: self.phase(),
            wanted: self.count,
            ready: self.ready_and_committed(),
            generation: self.version.generation,
            before: self.version_to_go_back_to().map(|version| version.generation),
            restarts: self.restarts,
            uptime: (self.intent == Intent::Running).then(|| now.since(self.since)),
            last_failure: self.last_failure.map(|(failure, at)| (failure, now.since(at))),
            gave_up: self.gave_up(),
            hook: self.hook(),
            rollout: self.rollout_view(crew, now),
            workers,
        }
    }

    pub(crate) fn glance(&self) -> Glance {
        Glance { phase: self.phase(), wanted: self.count, ready: self.ready_and_committed() }
    }

    fn ready_and_committed(&self) -> u32 {
        self.ready - self.rollout.as_ref().map_or(0, Rollout::ready_in_batch)
    }

    pub(crate) fn rollout_view(&self, crew: &Crew, now: Instant) -> Option<RolloutView> {
        let rollout = self.rollout.as_ref()?;
        let batch = self.slots.get(rollout.batch.0 as usize..rollout.next.0 as usize).unwrap_or_default();
        let runs = |id: WorkerId| crew.workers.get(&id).is_some_and(|worker| worker.pid.is_some());
        let spawned = batch.iter().filter(|place| place.candidate.is_some_and(runs)).count() as u32;
        Some(RolloutView {
            generation: rollout.version.generation,
            verb: rollout.verb,
            spawned: rollout.batch.0 + spawned,
            ready: rollout.batch.0 + rollout.ready_in_batch(),
            committed: rollout.batch.0,
            retired: rollout.old.len().saturating_sub(rollout.retiring.len()) as u32,
            wanted: self.count,
            at_a_time: rollout.at_a_time,
            awaits: match rollout.stage {
                rollout::Stage::Measuring => RolloutAwaits::Memory,
                rollout::Stage::Emptying { .. } => RolloutAwaits::Room,
                rollout::Stage::Filling { .. } => RolloutAwaits::Ready,
                rollout::Stage::Soaking { until } => RolloutAwaits::Soak(until.since(now)),
            },
        })
    }

    fn hook(&self) -> Option<HookKind> {
        let upgrader = self.upgrading.as_ref().map(|_| HookKind::Upgrader);
        self.stopper.map(|_| HookKind::Stop).or(upgrader)
    }

    fn phase(&self) -> Phase {
        match &self.intent {
            Intent::Running if self.rollout.is_some() => Phase::Upgrading,
            Intent::Running => Phase::Running,
            Intent::Cycling(_) => Phase::Restarting,
            Intent::Waiting { .. } => Phase::Waiting,
            Intent::WarmingUp { .. } => Phase::WarmingUp,
            Intent::Stopped if self.is_ending() => Phase::Stopping,
            Intent::Stopped if self.gave_up().is_some() => Phase::GaveUp,
            Intent::Stopped => Phase::Stopped,
        }
    }
}
