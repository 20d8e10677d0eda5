//! What a worker says of itself and what is asked of it while it serves: signs of life, watchdog, probe, age. See
//! `care.rs` for what is kept; what follows for its place is `ends`' and `recycle`'s.

use alloc::vec::Vec;

use crate::action::{Action, Notice, Spent};
use crate::care::{Asks, Probing, SaysOfItself, Verdict, Watchdog};
use crate::command::AbortCause;
use crate::event::{Answer, Exit, Failure, HookKind, Said};
use crate::group::{abort, recycle, rollout, Group};
use crate::hook::Hook;
use crate::ids::WorkerId;
use crate::live::{Live, Sight};
use crate::spec::{Ack, ProbeBy, Signal};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, Farewell, State};

impl Group {
    /// A worker's program runs.
    pub(crate) fn begin_care(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        if let Some(timeout) = self.spec.live_check {
            crew.care(id, |care| care.live = Some(Live::new(timeout, now)));
        }
        if self.spec.ack == Ack::Probe {
            crew.care(id, |care| care.probing = Some(Probing::new(now)));
        }
        if let Some(age) = self.spec.max_age {
            // Up to a tenth less, so that workers of one age are not replaced in one row.
            let at = now + (age - crew.rng.up_to(age / 10));
            crew.care(id, |care| care.spent_at = Some(at));
        }
    }

    /// A worker is ready: from now on it must show that it is well, where the group wants that.
    pub(crate) fn care_when_ready(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        if let Some(timeout) = self.spec.watchdog {
            crew.care(id, |care| care.watchdog = Some(Watchdog::new(timeout, now)));
        }
        if let Some(probe) = self.spec.probe.filter(|probe| probe.liveness) {
            crew.care(id, |care| {
                care.probing.get_or_insert_with(|| Probing::new(now + probe.interval));
            });
        }
    }

    /// What is due of what is kept an eye on.
    pub(crate) fn care_deadline(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let Some(care) = worker.care.as_deref().cloned() else { return };
        let (ready, age) = (worker.state == State::Ready, now.since(worker.born));
        if let Some(live) = care.live.filter(|live| live.deadline().is_some_and(|at| at <= now)) {
            crew.act(Action::Look { worker: id });
            crew.care(id, |care| care.live = Some(live.look()));
        }
        if care.probing.is_some_and(|probing| matches!(probing.asks, Asks::At(at) if at <= now)) {
            self.ask(id, crew, now);
        }
        if ready && care.spent_at.is_some_and(|at| at <= now) {
            crew.care(id, |care| care.spent_at = None);
            self.spend(id, Spent::Age(age), crew, now);
        }
        if let Some(watchdog) = care.watchdog.filter(|watchdog| watchdog.miss_at <= now) {
            match watchdog.missed(now) {
                Some(silence) => self.unwell(id, Failure::Watchdog(silence), crew, now),
                None => self.armed(id, watchdog.timeout, crew, now),
            }
        }
    }

    /// The watchdog counts from now.
    fn armed(&mut self, id: WorkerId, timeout: Duration, crew: &mut Crew, now: Instant) {
        let armed = crew.workers.get(&id).and_then(|worker| worker.care.as_deref()?.watchdog).is_some();
        if armed {
            crew.care(id, |care| care.watchdog = (!timeout.is_zero()).then(|| Watchdog::new(timeout, now)));
        }
    }

    /// A worker's sign of life was looked for.
    pub(crate) fn looked(&mut self, id: WorkerId, mark: u64, ago: Duration, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let live = worker.care.as_deref().and_then(|care| care.live).filter(|live| live.looking);
        let Some((live, timeout)) = live.zip(self.spec.live_check) else { return };
        match live.sight(mark, ago, timeout, now) {
            Sight::Alive(live) => crew.care(id, |care| care.live = Some(live)),
            Sight::Silent(silence) => {
                let (group, slot, pid) = (self.id, worker.slot, worker.pid);
                crew.act(Action::Notice(Notice::Silent { group, slot, pid, silence }));
                let kill = Farewell::by(Signal::KILL, Duration::ZERO);
                self.lose(id, Failure::Silent(silence), kill, crew, now);
            }
        }
    }

    /// A worker is not well: it is aborted, so that what it did can be looked at afterwards.
    fn unwell(&mut self, id: WorkerId, failure: Failure, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let (group, slot, pid) = (self.id, worker.slot, worker.pid);
        crew.act(Action::Notice(Notice::Unwell { group, slot, pid, failure }));
        self.lose(id, failure, Farewell::by(Signal::ABRT, self.spec.stop_timeout), crew, now);
    }

    /// A worker tells what it does.
    pub(crate) fn notified(&mut self, id: WorkerId, said: Said, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let serves = matches!(worker.state, State::Starting { .. } | State::Ready);
        let watchdog = worker.care.as_deref().and_then(|care| care.watchdog);
        match said {
            Said::Extend(by) => self.extend(id, now + by, crew),
            _ if !serves => {}
            Said::Reloading => crew.care(id, |care| care.said = SaysOfItself::Reloads),
            Said::Stopping => crew.care(id, |care| {
                care.said = SaysOfItself::Stops;
                care.watchdog = None;
            }),
            Said::Well => self.armed(id, watchdog.map_or(Duration::ZERO, |watchdog| watchdog.timeout), crew, now),
            Said::Within(timeout) => self.armed(id, timeout, crew, now),
            Said::Unwell if watchdog.is_some() => self.unwell(id, Failure::Unwell, crew, now),
            Said::Unwell => {}
        }
    }

    /// A worker needs until then for what it is doing: to become ready, or to end.
    fn extend(&mut self, id: WorkerId, until: Instant, crew: &mut Crew) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let is_candidate = self.slots.get(worker.slot.0 as usize).is_some_and(|place| place.candidate == Some(id));
        match worker.state {
            State::Draining { kill_at, farewell } => {
                crew.enter(id, State::Draining { kill_at: kill_at.max(until), farewell });
            }
            State::Starting { .. } if is_candidate => {
                rollout::extend(self, until, crew);
                recycle::extend(self, until, crew);
            }
            State::Spawning { .. } | State::Starting { .. } | State::Ready | State::Parting { .. } | State::Killing => {
            }
        }
    }

    /// Asks a worker whether it serves, if that is still wanted.
    fn ask(&mut self, id: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let is_candidate = self.slots.get(worker.slot.0 as usize).is_some_and(|place| place.candidate == Some(id));
        let wanted = |liveness| liveness || is_candidate || worker.state != State::Ready;
        let Some(probe) = self.spec.probe.filter(|probe| wanted(probe.liveness)) else {
            return crew.care(id, |care| care.probing = None);
        };
        let (slot, pids) = (worker.slot, worker.pid.into_iter().collect::<Vec<_>>());
        let asks = match probe.by {
            ProbeBy::Connection => {
                crew.act(Action::Probe { worker: id });
                Asks::Now(None)
            }
            ProbeBy::Command => {
                let kind = HookKind::Probe { slot };
                Asks::Now(Some(crew.run_hook(self.id, kind, pids, Some(id), probe.timeout, now)))
            }
        };
        crew.care(id, |care| care.probing = care.probing.map(|probing| probing.asking(asks)));
    }

    /// The command that asked a worker has ended.
    pub(crate) fn probe_ended(
        &mut self,
        id: WorkerId,
        hook: &Hook,
        failure: Option<Failure>,
        crew: &mut Crew,
        now: Instant,
    ) {
        let Some(worker) = hook.about else { return };
        let answer = match failure {
            None => Answer::Good,
            // Nobody knows what it said, as the keeper or the daemon was dead at the time.
            Some(Failure::Exit(Exit::Unknown)) => return self.ask_again(worker, id, crew, now),
            Some(Failure::Silent(_)) => Answer::Late,
            Some(failure) => Answer::Command(failure),
        };
        self.answered(worker, Asks::Now(Some(id)), answer, crew, now);
    }

    /// What was asked got no answer through no fault of the worker's.
    fn ask_again(&mut self, id: WorkerId, hook: WorkerId, crew: &mut Crew, now: Instant) {
        let Some(probe) = self.spec.probe else { return };
        let asked = |probing: &Probing| probing.asks == Asks::Now(Some(hook));
        if crew.workers.get(&id).and_then(|worker| worker.care.as_deref()?.probing).is_some_and(|p| asked(&p)) {
            let asks = Asks::At(now + probe.interval);
            crew.care(id, |care| care.probing = care.probing.map(|probing| probing.asking(asks)));
        }
    }

    /// A worker has answered over a connection.
    pub(crate) fn probed(&mut self, id: WorkerId, answer: Answer, crew: &mut Crew, now: Instant) {
        self.answered(id, Asks::Now(None), answer, crew, now);
    }

    fn answered(&mut self, id: WorkerId, asked: Asks, answer: Answer, crew: &mut Crew, now: Instant) {
        let Some(worker) = crew.workers.get(&id) else { return };
        let probing = worker.care.as_deref().and_then(|care| care.probing).filter(|probing| probing.asks == asked);
        let Some((probing, probe)) = probing.zip(self.spec.probe) else { return };
        let (state, slot, pid) = (worker.state, worker.slot, worker.pid);
        let (probing, verdict) = probing.answered(answer, &probe, now);
        crew.care(id, |care| care.probing = Some(probing));
        match (state, verdict) {
            (State::Starting { .. }, Verdict::Healthy) if self.spec.ack == Ack::Probe => {
                self.became_ready(id, crew, now);
            }
            (State::Ready, Verdict::Unhealthy(answer)) if self.serves(id, slot) && probe.liveness => {
                self.spend(id, Spent::Unhealthy(answer), crew, now);
            }
            // It was asked in the soak, which is over.
            (State::Ready, Verdict::Unhealthy(_)) if self.serves(id, slot) => {
                crew.care(id, |care| care.probing = None);
            }
            (State::Ready, Verdict::Unhealthy(answer)) => {
                abort::fail(self, AbortCause::Unhealthy { slot, pid, answer }, crew, now);
            }
            _ => {}
        }
    }
}
