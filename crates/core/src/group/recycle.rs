//! Workers that are *spent*, because they are too old, too large or unhealthy, are replaced one after the other, without
//! a dip: a candidate starts beside the spent worker, which serves on until the candidate is ready.
//!
//! - **Idle**: nobody is spent, or a rollout is under way, which renews all.
//! - **Replacing**: a candidate is on its way. If the spent worker ends meanwhile, the candidate has its place at once. If
//!   the candidate ends, cannot be started, or is not ready by `abort_at`, the spent worker serves on.
//! - **Resting**: after such a failure nothing is tried until `again_at`.
//!
//! A rollout takes precedence: it ends a replacement, whose spent worker is then renewed with all the others, or, should
//! the rollout abort, tried again.

use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice, Spent};
use crate::command::AbortCause;
use crate::group::reconcile::{self, Place};
use crate::group::{Group, Intent};
use crate::ids::{Slot, WorkerId};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, State, Waits};

/// How often workers are weighed.
const WEIGH_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recycling {
    /// Who is to be replaced, in this order; some may have ended since.
    pub(crate) spent: VecDeque<(WorkerId, Spent)>,
    pub(crate) step: Step,
    /// When the workers are weighed next.
    pub(crate) weigh_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    #[default]
    Idle,
    Replacing {
        slot: Slot,
        old: WorkerId,
        why: Spent,
        abort_at: Instant,
    },
    Resting {
        again_at: Instant,
    },
}

impl Step {
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Step::Idle => None,
            Step::Replacing { abort_at, .. } => Some(abort_at),
            Step::Resting { again_at } => Some(again_at),
        }
    }
}

impl Group {
    /// A serving worker is to be replaced.
    pub(crate) fn spend(&mut self, id: WorkerId, why: Spent, crew: &mut Crew, now: Instant) {
        let spent = crew.workers.get(&id).and_then(|worker| worker.care.as_deref()).is_some_and(|care| care.spent);
        if !spent {
            crew.care(id, |care| care.spent = true);
            self.recycling.spent.push_back((id, why));
            self.replace_next(crew, now);
        }
    }

    /// Begins to replace the next spent worker that still serves.
    pub(crate) fn replace_next(&mut self, crew: &mut Crew, now: Instant) {
        if self.intent != Intent::Running || self.rollout.is_some() || self.recycling.step != Step::Idle {
            return;
        }
        while let Some((old, why)) = self.recycling.spent.pop_front() {
            let Some(worker) = crew.workers.get(&old) else { continue };
            let (slot, pid) = (worker.slot, worker.pid);
            if worker.state != State::Ready || !self.serves(old, slot) {
                continue;
            }
            crew.act(Action::Notice(Notice::Replacing { group: self.id, slot, pid, why }));
            let abort_at = now + self.spec.start_timeout;
            self.step(Step::Replacing { slot, old, why, abort_at }, crew);
            let version = self.slots[slot.0 as usize].version;
            return reconcile::birth(self, slot, Place::Candidate, version, crew, now);
        }
    }

    /// The candidate is ready: it takes the place.
    pub(crate) fn replacement_ready(&mut self, crew: &mut Crew, now: Instant) {
        let Step::Replacing { slot, .. } = self.recycling.step else { return };
        self.step(Step::Idle, crew);
        let farewell = reconcile::ack_farewell(self, slot, None, crew);
        reconcile::take_over(self, slot, farewell, crew, now);
        self.replace_next(crew, now);
    }

    /// The candidate is no more, or not wanted any more: the spent worker serves on for a while.
    pub(crate) fn replacement_failed(&mut self, cause: AbortCause, crew: &mut Crew, now: Instant) {
        let Step::Replacing { slot, old, why, .. } = self.recycling.step else { return };
        let farewell = reconcile::stop_farewell(self, None);
        reconcile::retire(self, slot, Place::Candidate, farewell, crew, now);
        self.recycling.spent.push_front((old, why));
        let again = self.spec.backoff.max;
        self.step(Step::Resting { again_at: now + again }, crew);
        crew.act(Action::Notice(Notice::NotReplaced { group: self.id, slot, cause, again }));
    }

    /// The spent worker of a slot has ended: its replacement, if there is one, has the place at once.
    pub(crate) fn replacement_takes_over(&mut self, slot: Slot, crew: &mut Crew) -> bool {
        let replaces = matches!(self.recycling.step, Step::Replacing { slot: there, .. } if there == slot);
        if replaces {
            self.step(Step::Idle, crew);
            let place = &mut self.slots[slot.0 as usize];
            place.serving = place.candidate.take();
        }
        replaces
    }

    /// Ends a replacement; its spent worker is the next to be replaced.
    pub(crate) fn stop_replacing(&mut self, crew: &mut Crew, now: Instant) {
        if let Step::Replacing { slot, old, why, .. } = self.recycling.step {
            let farewell = reconcile::stop_farewell(self, None);
            reconcile::retire(self, slot, Place::Candidate, farewell, crew, now);
            self.recycling.spent.push_front((old, why));
        }
        self.step(Step::Idle, crew);
    }

    /// Replaces nobody any more: no worker is wanted.
    pub(crate) fn forget_spent(&mut self, crew: &mut Crew) {
        self.step(Step::Idle, crew);
        self.recycling.spent.clear();
        crew.no_longer(self.recycling.weigh_at.take(), Waits::Weighing(self.id));
    }

    /// `dec` takes a slot away, and its candidate with it.
    pub(crate) fn replacement_removed(&mut self, slot: Slot, crew: &mut Crew, now: Instant) {
        if matches!(self.recycling.step, Step::Replacing { slot: there, .. } if there == slot) {
            self.step(Step::Idle, crew);
            self.replace_next(crew, now);
        }
    }

    pub(crate) fn recycling_deadline(&mut self, crew: &mut Crew, now: Instant) {
        match self.recycling.step {
            Step::Idle => {}
            Step::Replacing { slot, .. } => {
                let candidate = self.slots.get(slot.0 as usize).and_then(|place| place.candidate);
                let worker = candidate.and_then(|id| crew.workers.get(&id));
                let (pid, answer) = worker.map_or((None, None), |worker| (worker.pid, worker.last_bad_answer()));
                self.replacement_failed(AbortCause::Timeout { slot, pid, unready: 1, answer }, crew, now);
            }
            Step::Resting { .. } => {
                self.step(Step::Idle, crew);
                self.replace_next(crew, now);
            }
        }
    }

    /// Weighs the workers every so often while the group runs.
    pub(crate) fn plan_weighing(&mut self, crew: &mut Crew, now: Instant) {
        if self.spec.max_memory.is_some() && self.recycling.weigh_at.is_none() {
            let at = now + WEIGH_EVERY;
            self.recycling.weigh_at = Some(at);
            crew.wait_until(at, Waits::Weighing(self.id));
        }
    }

    pub(crate) fn weighing_deadline(&mut self, crew: &mut Crew, now: Instant) {
        self.recycling.weigh_at = None;
        if let Some(limit) = self.spec.max_memory {
            crew.act(Action::Weigh { group: self.id, limit });
            self.plan_weighing(crew, now);
        }
    }

    /// A worker has so much in memory.
    pub(crate) fn heavy(&mut self, id: WorkerId, bytes: u64, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let too_heavy = self.spec.max_memory.is_some_and(|limit| bytes > limit);
        if too_heavy && worker.state == State::Ready && self.serves(id, worker.slot) {
            self.spend(id, Spent::Memory(bytes), crew, now);
        }
    }

    /// Moves on and keeps the index of deadlines right.
    fn step(&mut self, step: Step, crew: &mut Crew) {
        crew.no_longer(self.recycling.step.deadline(), Waits::Recycling(self.id));
        self.recycling.step = step;
        if let Some(at) = step.deadline() {
            crew.wait_until(at, Waits::Recycling(self.id));
        }
    }
}

/// The candidate needs until then to become ready.
pub(crate) fn extend(group: &mut Group, until: Instant, crew: &mut Crew) {
    if let Step::Replacing { slot, old, why, abort_at } = group.recycling.step {
        group.step(Step::Replacing { slot, old, why, abort_at: abort_at.max(until) }, crew);
    }
}
