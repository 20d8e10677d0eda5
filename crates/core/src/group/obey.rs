//! A command becomes a change of intent, or a refusal. No command is refused because something is under way: it joins
//! that, waits for it, or takes its place, and whoever is displaced is told by whom.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::action::Action;
use crate::command::{Done, Refusal, Reply, Verb};
use crate::group::abort;
use crate::group::reconcile::{self, Place};
use crate::group::rollout::{self, Queued};
use crate::group::waiting::{Awaits, Cycle, Purpose, Waiter};
use crate::group::{Group, Intent, SlotState};
use crate::ids::{Pid, RequestId, Slot, WorkerId};
use crate::spec::{Ack, Signal};
use crate::time::Instant;
use crate::worker::{Crew, Farewell, State};

/// The most workers a group can have.
pub const MAX_COUNT: u32 = 10_000;

impl Group {
    pub(crate) fn obey(
        &mut self,
        request: RequestId,
        verb: Verb,
        signal: Option<Signal>,
        slot: Option<Slot>,
        crew: &mut Crew,
        now: Instant,
    ) {
        if let Some(refusal) = self.refusal(verb, signal, slot, crew) {
            return crew.act(Action::Reply { request, reply: Reply::Refused(refusal) });
        }
        match verb {
            Verb::Start => self.start(request, crew, now),
            Verb::Stop => {
                let farewell = reconcile::group_farewell(self, signal, crew);
                let purpose = Purpose::Stop { signal: farewell.signal() };
                self.halt(request, verb, purpose, farewell, crew, now);
            }
            Verb::Killall => {
                let farewell = reconcile::stop_farewell(self, Some(Signal::KILL));
                self.halt(request, verb, Purpose::Killall, farewell, crew, now);
                if let Some(hook) = self.stopper {
                    crew.kill_hook(hook);
                }
            }
            Verb::Restart if self.restarts_in_steps(crew) => self.restart_in_steps(request, signal, crew, now),
            Verb::Restart => self.cycle(&[(request, verb)], verb, signal, crew, now),
            Verb::Upgrade if self.renews_at_once() && self.spec.upgrader.is_none() => {
                self.cycle(&[(request, verb)], verb, signal, crew, now);
            }
            Verb::Upgrade => self.upgrade(request, signal, crew, now),
            Verb::Rollback => self.roll_back(request, signal, crew, now),
            Verb::Cancel => self.cancel(request, crew, now),
            Verb::Inc => self.inc(request, crew, now),
            Verb::Dec => self.dec(request, signal, crew, now),
            Verb::Signal => self.tell(request, signal, slot, crew),
        }
        self.settle(crew, now);
    }

    fn refusal(&self, verb: Verb, signal: Option<Signal>, slot: Option<Slot>, crew: &Crew) -> Option<Refusal> {
        if signal.is_some() && !verb.takes_signal() {
            return Some(Refusal::NoSignal(verb));
        }
        if slot.is_some() && verb != Verb::Signal {
            return Some(Refusal::WholeGroup(verb));
        }
        let runs = matches!(self.intent, Intent::Running | Intent::Cycling(_));
        match verb {
            Verb::Upgrade | Verb::Rollback | Verb::Inc | Verb::Dec if !runs => Some(Refusal::NotRunning),
            Verb::Rollback if self.version_to_go_back_to().is_none() => Some(Refusal::NothingBefore),
            Verb::Cancel if !self.renews() => Some(Refusal::NothingToCancel),
            Verb::Inc if self.count >= MAX_COUNT => Some(Refusal::AtMost(MAX_COUNT)),
            Verb::Dec if self.count <= 1 => Some(Refusal::AtLeastOne),
            Verb::Signal if signal.is_none() => Some(Refusal::SignalMissing(verb)),
            Verb::Signal if self.addressed(slot, crew).next().is_none() => {
                Some(slot.map_or(Refusal::NotRunning, Refusal::NoWorker))
            }
            Verb::Start
            | Verb::Stop
            | Verb::Restart
            | Verb::Upgrade
            | Verb::Inc
            | Verb::Dec
            | Verb::Killall
            | Verb::Signal
            | Verb::Rollback
            | Verb::Cancel => None,
        }
    }

    fn start(&mut self, request: RequestId, crew: &mut Crew, now: Instant) {
        self.forget_failures(crew);
        self.stop_waiting(crew);
        let ending = self.is_ending();
        match &mut self.intent {
            Intent::Cycling(cycle) => return cycle.asked.push((request, Verb::Start)),
            Intent::Stopped | Intent::Waiting { .. } if ending => {
                let asked = Vec::from([(request, Verb::Start)]);
                self.intent = Intent::Cycling(Cycle { asked, old: Vec::new(), version: None });
                return;
            }
            Intent::Running | Intent::Stopped | Intent::WarmingUp { .. } | Intent::Waiting { .. } => {}
        }
        let missing = (0..self.count).map(Slot).filter(|slot| !self.runs_in(*slot, crew)).collect();
        let waiter = Waiter { request, purpose: Purpose::Start, awaits: Awaits::Spawned(missing), pids: Vec::new() };
        self.wait_for(waiter, crew);
        self.forget_ends();
        match self.intent {
            Intent::Running => reconcile::every_slot(self, crew, now),
            Intent::Stopped | Intent::WarmingUp { .. } | Intent::Waiting { .. } | Intent::Cycling(_) => {
                self.take_new_edition();
                self.run(crew, now);
            }
        }
    }

    /// Stop and killall: no worker is wanted; the reply waits until none is left.
    fn halt(
        &mut self,
        request: RequestId,
        verb: Verb,
        purpose: Purpose,
        farewell: Farewell,
        crew: &mut Crew,
        now: Instant,
    ) {
        let (workers, pids) = self.everybody(crew);
        self.stop(Some(verb), farewell, crew, now);
        self.wait_for(Waiter { request, purpose, awaits: Awaits::Gone(workers), pids }, crew);
    }

    /// Wants no worker any more. `by` is the command that says so; none if the daemon itself is stopped.
    pub(crate) fn stop(&mut self, by: Option<Verb>, farewell: Farewell, crew: &mut Crew, now: Instant) {
        abort::overruled(self, by, farewell, crew, now);
        self.supersede_starts(by, crew);
        self.stop_waiting(crew);
        self.intent = Intent::Stopped;
        self.unplan_upgrader(crew);
        self.forget_spent(crew);
        self.forget_failures(crew);
        self.finish = None;
        reconcile::retire_all(self, farewell, crew, now);
        self.slots.clear();
        self.ended = 0;
        self.discard_stores(crew);
    }

    /// Restart, and an upgrade or a rollback with `ack = "none"`: all end, then all start. `asked` are those that want it.
    fn cycle(
        &mut self,
        asked: &[(RequestId, Verb)],
        verb: Verb,
        signal: Option<Signal>,
        crew: &mut Crew,
        now: Instant,
    ) {
        self.forget_failures(crew);
        self.stop_waiting(crew);
        let before = self.version_to_go_back_to();
        let underway = match &mut self.intent {
            Intent::Cycling(cycle) => {
                cycle.asked.extend(asked);
                Some(cycle.version)
            }
            Intent::Running | Intent::Stopped | Intent::WarmingUp { .. } | Intent::Waiting { .. } => None,
        };
        let version = match (verb, underway.flatten()) {
            (Verb::Rollback, Some(_)) => Some((self.version, verb)),
            (Verb::Rollback, None) => before.map(|before| (before, verb)),
            (Verb::Upgrade, Some((version, Verb::Upgrade))) => Some((version, verb)),
            (Verb::Upgrade, _) => Some((self.next_version(), verb)),
            (_, underway) => underway,
        };
        if let Intent::Cycling(cycle) = &mut self.intent {
            cycle.version = version;
            return;
        }
        let farewell = reconcile::group_farewell(self, signal, crew);
        abort::overruled(self, Some(verb), farewell, crew, now);
        let (_, old) = self.everybody(crew);
        self.intent = Intent::Cycling(Cycle { asked: asked.to_vec(), old, version });
        self.unplan_upgrader(crew);
        self.forget_spent(crew);
        reconcile::retire_all(self, farewell, crew, now);
    }

    /// An upgrade that nothing has to be asked for any more.
    pub(crate) fn renew(&mut self, asked: Queued, crew: &mut Crew, now: Instant) {
        if asked.restart {
            let version = self.version_to_start();
            return rollout::begin(self, version, Verb::Restart, asked, crew, now);
        }
        if self.renews_at_once() {
            return self.cycle(&asked.requests, Verb::Upgrade, asked.signal, crew, now);
        }
        let version = self.next_version();
        rollout::begin(self, version, Verb::Upgrade, asked, crew, now);
    }

    /// Whether an upgrade stops all workers and then starts all.
    fn renews_at_once(&self) -> bool {
        self.spec.ack == Ack::None && self.spec.max_unavailable.is_none()
    }

    /// Whether something is under way that `cancel` ends.
    fn renews(&self) -> bool {
        self.rollout.is_some() || self.queued.is_some() || self.asks_upgrader() && self.upgrading.is_some()
    }

    /// Whether a restart goes through the group step by step. Where a hook stops the group, it stops all of it.
    fn restarts_in_steps(&self, crew: &Crew) -> bool {
        let hook = reconcile::group_farewell(self, None, crew).by_hook();
        self.intent == Intent::Running && !self.spec.max_unavailable.is_none() && !hook
    }

    /// Joins or follows the rollout under way.
    fn restart_in_steps(&mut self, request: RequestId, signal: Option<Signal>, crew: &mut Crew, now: Instant) {
        self.forget_failures(crew);
        self.queue(Queued { requests: Vec::from([(request, Verb::Restart)]), signal, restart: true });
        rollout::begin_queued(self, crew, now);
        reconcile::every_slot(self, crew, now);
    }

    /// What is under way makes room for the way back.
    fn roll_back(&mut self, request: RequestId, signal: Option<Signal>, crew: &mut Crew, now: Instant) {
        let verb = Verb::Rollback;
        if self.renews_at_once() || matches!(self.intent, Intent::Cycling(_)) {
            return self.cycle(&[(request, verb)], verb, signal, crew, now);
        }
        let Some(version) = self.version_to_go_back_to() else { return };
        self.forget_failures(crew);
        let farewell = reconcile::stop_farewell(self, None);
        abort::overruled(self, Some(verb), farewell, crew, now);
        let requests = Vec::from([(request, verb)]);
        if version == self.version && !self.mixed {
            // Nothing of what was under way serves.
            let done = Done::RolledBack { generation: version.generation, new: Vec::new(), old: Vec::new() };
            crew.act(Action::Reply { request, reply: Reply::Done(done) });
        } else {
            rollout::begin(self, version, verb, Queued { requests, signal, restart: false }, crew, now);
        }
        reconcile::every_slot(self, crew, now);
        self.replace_next(crew, now);
    }

    /// What is under way, and what waits for it, is not wanted any more.
    fn cancel(&mut self, request: RequestId, crew: &mut Crew, now: Instant) {
        let farewell = reconcile::stop_farewell(self, None);
        let (generation, committed, workers) = (self.version.generation, abort::committed(self), self.count);
        abort::overruled(self, Some(Verb::Cancel), farewell, crew, now);
        let done = Done::Cancelled { generation, committed, workers };
        crew.act(Action::Reply { request, reply: Reply::Done(done) });
        if self.intent == Intent::Running {
            reconcile::every_slot(self, crew, now);
        }
        self.replace_next(crew, now);
    }

    /// Waits for the next upgrade, together with all who do.
    pub(crate) fn queue(&mut self, asked: Queued) {
        let restart = asked.restart && self.queued.as_ref().is_none_or(|queued| queued.restart);
        let queued = self.queued.get_or_insert_default();
        queued.requests.extend(asked.requests);
        queued.signal = asked.signal.or(queued.signal);
        queued.restart = restart;
    }

    fn upgrade(&mut self, request: RequestId, signal: Option<Signal>, crew: &mut Crew, now: Instant) {
        self.forget_failures(crew);
        self.queue(Queued { requests: Vec::from([(request, Verb::Upgrade)]), signal, restart: false });
        rollout::begin_queued(self, crew, now);
        if self.intent == Intent::Running {
            reconcile::every_slot(self, crew, now);
        }
    }

    fn inc(&mut self, request: RequestId, crew: &mut Crew, now: Instant) {
        let slot = Slot(self.count);
        self.count += 1;
        let awaits = Awaits::Spawned(BTreeSet::from([slot]));
        self.wait_for(Waiter { request, purpose: Purpose::Inc, awaits, pids: Vec::new() }, crew);
        if self.intent == Intent::Running {
            self.forget_failures(crew);
            self.slots.push(SlotState::new(self.version));
            reconcile::every_slot(self, crew, now);
        }
    }

    fn dec(&mut self, request: RequestId, signal: Option<Signal>, crew: &mut Crew, now: Instant) {
        self.count -= 1;
        let slot = Slot(self.count);
        let farewell = reconcile::stop_farewell(self, signal);
        let unready = self.has_unready_candidate(slot, crew);
        reconcile::retire(self, slot, Place::Candidate, farewell, crew, now);
        let serving = reconcile::retire(self, slot, Place::Serving, farewell, crew, now);
        reconcile::slot(self, slot, crew, now);
        reconcile::drop_slots_above_count(self);
        self.tell_waiters_slot_removed(slot, crew);
        let pids = serving.and_then(|id| crew.workers.get(&id)?.pid).into_iter().collect();
        let awaits = Awaits::Gone(serving.into_iter().collect());
        self.wait_for(Waiter { request, purpose: Purpose::Dec, awaits, pids }, crew);
        rollout::slot_removed(self, slot, unready, crew, now);
        self.replacement_removed(slot, crew, now);
        self.discard_stores(crew);
    }

    /// A signal that changes nothing but what the workers make of it.
    fn tell(&mut self, request: RequestId, signal: Option<Signal>, slot: Option<Slot>, crew: &mut Crew) {
        let Some(signal) = signal else { return };
        let told: Vec<_> = self.addressed(slot, crew).collect();
        for (worker, _) in &told {
            crew.act(Action::Tell { worker: *worker, signal });
        }
        let pids = told.into_iter().map(|(_, pid)| pid).collect();
        crew.act(Action::Reply { request, reply: Reply::Done(Done::Signalled { signal, pids }) });
    }

    /// The processes of the group's workers, or of those in one slot, by slot and age.
    fn addressed<'a>(&self, slot: Option<Slot>, crew: &'a Crew) -> impl Iterator<Item = (WorkerId, Pid)> + use<'a> {
        let (everybody, _) = self.everybody_by_slot(crew);
        let process = move |id: WorkerId| {
            let worker = crew.workers.get(&id).filter(|worker| slot.is_none_or(|slot| worker.slot == slot))?;
            Some((id, worker.pid?))
        };
        everybody.into_iter().filter_map(process)
    }

    /// Whether the slot's serving worker has a process: one that is still being spawned may fail to.
    fn runs_in(&self, slot: Slot, crew: &Crew) -> bool {
        let serving = self.slots.get(slot.0 as usize).and_then(|place| place.serving);
        serving.and_then(|id| crew.workers.get(&id)).is_some_and(|worker| worker.pid.is_some())
    }

    fn has_unready_candidate(&self, slot: Slot, crew: &Crew) -> bool {
        let candidate = self.slots.get(slot.0 as usize).and_then(|place| place.candidate);
        candidate.and_then(|id| crew.workers.get(&id)).is_some_and(|worker| worker.state != State::Ready)
    }

    /// Every worker of the group that has not ended, and the pids of those that have one, by slot and age.
    pub(crate) fn everybody(&self, crew: &Crew) -> (BTreeSet<WorkerId>, Vec<Pid>) {
        let (ids, pids) = self.everybody_by_slot(crew);
        (ids.into_iter().collect(), pids)
    }

    fn everybody_by_slot(&self, crew: &Crew) -> (Vec<WorkerId>, Vec<Pid>) {
        let mut ours: Vec<_> = crew.workers.iter().filter(|(_, worker)| worker.group == self.id).collect();
        ours.sort_by_key(|(id, worker)| (worker.slot, **id));
        (ours.iter().map(|(id, _)| **id).collect(), ours.iter().filter_map(|(_, worker)| worker.pid).collect())
    }
}
