//! What people see: a picture of the whole, made on request and never kept.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::event::{Failure, HookKind};
use crate::group::rollout::Rollout;
use crate::group::{Group, Intent};
use crate::ids::{Generation, Pid, Slot};
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
    /// How many new workers are ready.
    pub ready: u32,
    /// How many there will be.
    pub wanted: u32,
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
                generation: worker.generation,
                stage: worker.stage(),
                uptime: now.since(worker.born),
            })
            .collect();
        GroupView {
            name: self.spec.name.clone(),
            phase: self.phase(),
            wanted: self.count,
            ready: self.ready - self.rollout.as_ref().map_or(0, Rollout::ready_in_batch),
            generation: self.generation,
            restarts: self.restarts,
            uptime: (self.intent == Intent::Running).then(|| now.since(self.since)),
            last_failure: self.last_failure.map(|(failure, at)| (failure, now.since(at))),
            gave_up: self.gave_up(),
            hook: self.hook(),
            rollout: self.rollout.as_ref().map(|rollout| RolloutView {
                generation: rollout.generation,
                ready: rollout.batch.0 + rollout.ready_in_batch(),
                wanted: self.count,
            }),
            workers,
        }
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
