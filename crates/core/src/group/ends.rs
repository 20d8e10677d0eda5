//! The ends of workers, and of the group by itself: what follows when a worker dies, is silent, or fails too often in a
//! row. Called by `group` for each such fact; whom to start instead is `reconcile`'s.

use crate::action::{Action, Next, Notice};
use crate::backoff;
use crate::event::{Exit, Failure};
use crate::group::reconcile::{self, Place};
use crate::group::{rollout, Finish, Group, Intent};
use crate::ids::{Slot, WorkerId};
use crate::live::Sight;
use crate::spec::{Restart, Signal, Start};
use crate::time::{Duration, Instant};
use crate::view::GaveUp;
use crate::worker::{Crew, Farewell, State, Waits, Worker};

impl Group {
    /// A worker's sign of life was looked for.
    pub(crate) fn looked(&mut self, id: WorkerId, mark: u64, ago: Duration, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let serves = matches!(worker.state, State::Starting { .. } | State::Ready);
        let Some((live, timeout)) = worker.live.filter(|live| live.looking && serves).zip(self.spec.live_check) else {
            return;
        };
        match live.sight(mark, ago, timeout, now) {
            Sight::Alive(live) => crew.note_life(id, live),
            Sight::Silent(silence) => self.silent(id, silence, crew, now),
        }
    }

    /// A worker gives no sign of life: it is killed, and its place is free at once, as it may take long to die.
    fn silent(&mut self, id: WorkerId, silence: Duration, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id).cloned() else { return };
        let (slot, pid, failure) = (worker.slot, worker.pid, Failure::Silent(silence));
        crew.act(Action::Notice(Notice::Silent { group: self.id, slot, pid, silence }));
        let kill = Farewell::by(Signal::KILL, Duration::ZERO);
        if self.slots.get(slot.0 as usize).is_some_and(|place| place.candidate == Some(id)) {
            reconcile::retire(self, slot, Place::Candidate, kill, crew, now);
            self.note_failure(&worker, failure, Next::Abort, crew, now);
            rollout::candidate_died(self, slot, pid, failure, crew, now);
        } else if self.serves(id, slot) {
            reconcile::retire(self, slot, Place::Serving, kill, crew, now);
            self.plan_respawn(slot, &worker, failure, crew, now);
            reconcile::slot(self, slot, crew, now);
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
        let lived = now.since(worker.born) >= self.spec.backoff.reset && worker.pid.is_some();
        if lived {
            place.failures = 0;
        }
        if place.failures == 0 {
            place.failing_since = now;
        }
        let again = match (self.spec.restart, failure) {
            (Restart::None, _) => false,
            (Restart::Always, _) | (Restart::OnFailure, Failure::Spawn(_) | Failure::Silent(_)) => true,
            (Restart::OnFailure, Failure::Exit(exit)) => exit.is_failure(),
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
        if self.live > 0 || self.is_ending() {
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
        self.send_upgrades_home(crew);
        let finish = if self.slots.iter().any(|place| place.failed) { Finish::Failed } else { Finish::Done };
        self.finish = (!watched).then_some(finish);
        if watched {
            let failures = self.slots.iter().map(|p| p.failures).max().unwrap_or(0);
            let delay = backoff::delay(&self.spec.backoff, failures.saturating_sub(1), &mut crew.rng);
            self.wait_for_connection(delay, crew, now);
        }
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
