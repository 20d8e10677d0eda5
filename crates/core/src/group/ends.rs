//! The ends of workers, and of the group by itself: what follows when a worker dies, is silent, or fails too often in a
//! row. Called by `group` for each such fact; whom to start instead is `reconcile`'s.

use crate::action::{Action, Next, Notice};
use crate::backoff;
use crate::command::AbortCause;
use crate::event::{Exit, Failure};
use crate::group::reconcile::{self, Place};
use crate::group::{abort, rollout, Finish, Group, Intent};
use crate::ids::{Slot, WorkerId};
use crate::spec::{Restart, Start};
use crate::time::Instant;
use crate::view::GaveUp;
use crate::worker::{Crew, Farewell, State, Waits, Worker};

impl Group {
    /// A worker is not good any more: it gets this farewell, and its place is free at once, as it may take long to die.
    pub(crate) fn lose(&mut self, id: WorkerId, failure: Failure, farewell: Farewell, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id).cloned() else { return };
        let slot = worker.slot;
        if self.slots.get(slot.0 as usize).is_some_and(|place| place.candidate == Some(id)) {
            reconcile::retire(self, slot, Place::Candidate, farewell, crew, now);
            self.candidate_lost(&worker, failure, crew, now);
        } else if self.serves(id, slot) {
            reconcile::retire(self, slot, Place::Serving, farewell, crew, now);
            self.serving_lost(&worker, failure, crew, now);
        }
        self.settle(crew, now);
    }

    /// A worker is no more. What that means depends on the place that it held.
    pub(crate) fn gone(&mut self, id: WorkerId, worker: Worker, failure: Failure, crew: &mut Crew, now: Instant) {
        let slot = worker.slot;
        let place = self.slots.get(slot.0 as usize);
        if place.is_some_and(|p| p.candidate == Some(id)) {
            self.vacate(&worker);
            self.slots[slot.0 as usize].candidate = None;
            self.candidate_lost(&worker, failure, crew, now);
        } else if place.is_some_and(|p| p.serving == Some(id)) {
            self.vacate(&worker);
            self.slots[slot.0 as usize].serving = None;
            self.serving_lost(&worker, failure, crew, now);
        } else {
            self.leaving -= 1;
            rollout::old_gone(self, id, crew, now);
        }
        self.tell_waiters_gone(id, crew);
        self.settle(crew, now);
        if self.intent != Intent::Running || slot.0 >= self.count {
            self.discard_stores(crew);
        }
    }

    /// The worker that was to take a place will not.
    fn candidate_lost(&mut self, worker: &Worker, failure: Failure, crew: &mut Crew, now: Instant) {
        let (slot, pid) = (worker.slot, worker.pid);
        self.note_failure(worker, failure, Next::Abort, crew, now);
        match self.rollout {
            Some(_) => abort::candidate_died(self, slot, pid, failure, crew, now),
            None => self.replacement_failed(AbortCause::Worker { slot, pid, failure }, crew, now),
        }
    }

    /// The place of a serving worker is empty.
    fn serving_lost(&mut self, worker: &Worker, failure: Failure, crew: &mut Crew, now: Instant) {
        if self.replacement_takes_over(worker.slot, crew) {
            self.note_failure(worker, failure, Next::Replaced, crew, now);
            self.tell_waiters_not_started_if_unborn(worker, failure, crew);
            return self.replace_next(crew, now);
        }
        self.plan_respawn(worker.slot, worker, failure, crew, now);
        reconcile::slot(self, worker.slot, crew, now);
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
        let lived = now.since(worker.born) >= self.spec.backoff.reset && worker.pid.is_some();
        if lived {
            place.failures = 0;
        }
        if place.failures == 0 {
            place.failing_since = now;
        }
        let again = match (self.spec.restart, failure) {
            (Restart::None, _) => false,
            (Restart::Always, _) => true,
            (Restart::OnFailure, Failure::Exit(exit)) => exit.is_failure(),
            (Restart::OnFailure, Failure::Spawn(_) | Failure::Silent(_) | Failure::Watchdog(_) | Failure::Unwell) => {
                true
            }
        };
        let times = place.failures.saturating_add(u32::from(!lived));
        let gives_up = again && self.spec.give_up.is_some_and(|most| times >= most.get());
        let mut next = Next::Nothing;
        if again && !gives_up {
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
            place.failed = failure != Failure::Exit(Exit::Code(0)) || gives_up;
            self.ended += 1;
        }
        if gives_up {
            let within = now.since(place.failing_since);
            next = Next::GiveUp { times, within };
            place.gave_up = Some(GaveUp { times, within });
        }
        place.failures = times;
        self.note_failure(worker, failure, next, crew, now);
        self.tell_waiters_not_started_if_unborn(worker, failure, crew);
    }

    /// An exit may be all that a new daemon finds of a spawn; whoever waited for that must hear of it too.
    fn tell_waiters_not_started_if_unborn(&mut self, worker: &Worker, failure: Failure, crew: &mut Crew) {
        if worker.pid.is_none() {
            self.tell_waiters_not_started(worker.slot, failure, crew);
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
        // A rollout may be about to start workers where none is left.
        if self.live > 0 || self.is_ending() || self.rollout.is_some() {
            return;
        }
        match &self.intent {
            Intent::Cycling(_) => self.finish_cycle(crew, now),
            Intent::Running if self.ended == self.count => self.end(crew, now),
            Intent::Running | Intent::Stopped | Intent::WarmingUp { .. } | Intent::Waiting { .. } => {}
        }
    }

    /// Whether something of the group is still on its way out.
    pub(crate) fn is_ending(&self) -> bool {
        self.leaving > 0 || self.stopper.is_some()
    }

    /// All workers have ended for good: wait for the next connection, or stop.
    fn end(&mut self, crew: &mut Crew, now: Instant) {
        let watched = self.spec.start == Start::OnConnection && self.gave_up().is_none();
        let group = self.id;
        crew.act(Action::Notice(match self.gave_up() {
            Some(_) => Notice::GaveUp { group },
            None => Notice::GroupEnded { group, watched },
        }));
        self.intent = Intent::Stopped;
        self.unplan_upgrader(crew);
        self.forget_spent(crew);
        self.send_upgrades_home(crew);
        let finish = if self.slots.iter().any(|place| place.failed) { Finish::Failed } else { Finish::Done };
        self.finish = (!watched).then_some(finish);
        if watched {
            let failures = self.slots.iter().map(|p| p.failures).max().unwrap_or(0);
            let delay = backoff::delay(&self.spec.backoff, failures.saturating_sub(1), &mut crew.rng);
            self.wait_for_connection(delay, crew, now);
        }
    }

    /// Slots that are not wanted any more and from which everybody has gone keep nothing for a successor.
    pub(crate) fn discard_stores(&self, crew: &mut Crew) {
        if let Some(discard) = self.discard() {
            crew.act(discard);
        }
    }

    /// From which slot on nobody will need what workers stored.
    pub(crate) fn discard(&self) -> Option<Action> {
        let from = match self.intent {
            Intent::Stopped | Intent::Waiting { .. } if !self.is_ending() => Slot(0),
            Intent::Running => Slot(self.count),
            Intent::Stopped | Intent::Waiting { .. } | Intent::WarmingUp { .. } | Intent::Cycling(_) => return None,
        };
        self.spec.fd_store.then_some(Action::Discard { group: self.id, from })
    }

    /// How a slot was given up that has not been filled again.
    pub(crate) fn gave_up(&self) -> Option<GaveUp> {
        self.slots.iter().rev().find_map(|place| place.gave_up)
    }

    /// Ended slots may be filled again.
    pub(crate) fn forget_ends(&mut self) {
        self.slots.iter_mut().for_each(|place| (place.ended, place.failed, place.gave_up) = (false, false, None));
        self.ended = 0;
    }

    /// An operator's command wipes the memory of failures: what waits for a respawn gets it now.
    pub(crate) fn forget_failures(&mut self, crew: &mut Crew) {
        for (index, place) in self.slots.iter_mut().enumerate() {
            place.failures = 0;
            crew.no_longer(place.respawn_at.take(), Waits::Slot(self.id, Slot(index as u32)));
        }
    }
}
