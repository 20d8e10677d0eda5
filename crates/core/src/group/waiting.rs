//! Who waits for what in a group: each request that was begun and not yet answered stands here, or in the rollout, or in
//! the cycle, and is answered from there exactly once.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::command::{Done, Failed, Reply, Verb};
use crate::event::Failure;
use crate::group::{rollout, Group, Intent};
use crate::ids::{Pid, RequestId, Slot, Version, WorkerId};
use crate::spec::Signal;
use crate::time::Instant;
use crate::worker::Crew;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) purpose: Purpose,
    pub(crate) awaits: Awaits,
    /// Workers that the reply will name: those spawned so far, or those that were asked to end.
    pub(crate) pids: Vec<Pid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Start,
    Restart { old: Vec<Pid> },
    Renew { old: Vec<Pid> },
    GoBack { old: Vec<Pid> },
    Inc,
    Stop { signal: Option<Signal> },
    Dec,
    Killall,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Awaits {
    /// A serving worker of each of these slots runs.
    Spawned(BTreeSet<Slot>),
    /// None of these workers is left.
    Gone(BTreeSet<WorkerId>),
}

/// All workers end, then all start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cycle {
    pub(crate) asked: Vec<(RequestId, Verb)>,
    pub(crate) old: Vec<Pid>,
    /// What starts afterwards, and by which command, if it is not just a restart.
    pub(crate) version: Option<(Version, Verb)>,
}

impl Group {
    /// A request that waits; it is answered at once if there is nothing to wait for.
    pub(crate) fn wait_for(&mut self, waiter: Waiter, crew: &mut Crew) {
        if waiter.awaits.is_over() {
            self.answer(waiter, crew);
        } else {
            self.waiters.push(waiter);
        }
    }

    pub(crate) fn tell_waiters_spawned(&mut self, slot: Slot, pid: Pid, crew: &mut Crew) {
        self.tell_waiters(crew, |waiter| {
            if waiter.awaits.no_longer(slot) {
                waiter.pids.push(pid);
            }
        });
    }

    pub(crate) fn tell_waiters_gone(&mut self, worker: WorkerId, crew: &mut Crew) {
        self.tell_waiters(crew, |waiter| {
            if let Awaits::Gone(workers) = &mut waiter.awaits {
                workers.remove(&worker);
            }
        });
    }

    fn tell_waiters(&mut self, crew: &mut Crew, mut tell: impl FnMut(&mut Waiter)) {
        let mut index = 0;
        while let Some(waiter) = self.waiters.get_mut(index) {
            tell(waiter);
            if waiter.awaits.is_over() {
                let waiter = self.waiters.remove(index);
                self.answer(waiter, crew);
            } else {
                index += 1;
            }
        }
    }

    pub(crate) fn tell_waiters_not_started(&mut self, slot: Slot, failure: Failure, crew: &mut Crew) {
        self.fail_waiters(Failed::NotStarted { slot, failure }, crew, |w| w.awaits.wants(slot));
    }

    /// `dec` took the slot away: who waited for other slots too goes on waiting for those.
    pub(crate) fn tell_waiters_slot_removed(&mut self, slot: Slot, crew: &mut Crew) {
        let by = Some(Verb::Dec);
        let alone = |w: &Waiter| w.awaits.wants(slot) && w.awaits.len() == 1 && w.pids.is_empty();
        self.fail_waiters(Failed::Superseded { by }, crew, alone);
        self.tell_waiters(crew, |waiter| {
            waiter.awaits.no_longer(slot);
        });
    }

    /// A stop ends every wait for a start.
    pub(crate) fn supersede_starts(&mut self, by: Option<Verb>, crew: &mut Crew) {
        self.fail_waiters(Failed::Superseded { by }, crew, |w| matches!(w.awaits, Awaits::Spawned(_)));
        if let Intent::Cycling(cycle) = &mut self.intent {
            for (request, _) in core::mem::take(&mut cycle.asked) {
                crew.act(Action::Reply { request, reply: Reply::Failed(Failed::Superseded { by }) });
            }
        }
    }

    /// Firestarter ends although not all have: nobody waits any longer.
    pub(crate) fn send_waiters_home(&mut self, crew: &mut Crew) {
        self.fail_waiters(Failed::Superseded { by: None }, crew, |_| true);
    }

    fn fail_waiters(&mut self, failed: Failed, crew: &mut Crew, which: impl Fn(&Waiter) -> bool) {
        self.waiters.retain(|waiter| {
            let fails = which(waiter);
            if fails {
                crew.act(Action::Reply { request: waiter.request, reply: Reply::Failed(failed.clone()) });
            }
            !fails
        });
    }

    fn answer(&mut self, waiter: Waiter, crew: &mut Crew) {
        let Waiter { request, purpose, pids, .. } = waiter;
        let count = self.count;
        let done = match purpose {
            Purpose::Start => Done::Started { pids },
            Purpose::Restart { old } => Done::Restarted { new: pids, old },
            Purpose::Renew { old } => Done::Upgraded { generation: self.version.generation, new: pids, old },
            Purpose::GoBack { old } => Done::RolledBack { generation: self.version.generation, new: pids, old },
            Purpose::Inc => match pids.first() {
                Some(&pid) => Done::Incremented { pid, count },
                None => Done::Started { pids },
            },
            Purpose::Stop { signal } => Done::Stopped { signal, pids },
            Purpose::Dec => Done::Decremented { pid: pids.first().copied(), count },
            Purpose::Killall => Done::Killed { pids },
        };
        crew.act(Action::Reply { request, reply: Reply::Done(done) });
    }

    /// The last worker of a cycle has gone: start all, and let those who asked wait for that.
    pub(crate) fn finish_cycle(&mut self, crew: &mut Crew, now: Instant) {
        let Intent::Cycling(cycle) = core::mem::replace(&mut self.intent, Intent::Stopped) else { return };
        let Cycle { asked, old, version } = cycle;
        self.slots.clear();
        self.ended = 0;
        match version {
            Some((version, verb)) => self.commit(version, verb),
            None => self.take_new_edition(),
        }
        let slots: BTreeSet<Slot> = (0..self.count).map(Slot).collect();
        // Who still waits for an earlier start gets the workers of this one: those it has been told of have ended.
        for waiter in &mut self.waiters {
            match (&waiter.purpose, &waiter.awaits) {
                (Purpose::Inc, _) | (_, Awaits::Gone(_)) => {}
                (_, Awaits::Spawned(_)) => {
                    waiter.awaits = Awaits::Spawned(slots.clone());
                    waiter.pids.clear();
                }
            }
        }
        for (request, verb) in asked {
            let purpose = match verb {
                Verb::Restart => Purpose::Restart { old: old.clone() },
                Verb::Upgrade => Purpose::Renew { old: old.clone() },
                Verb::Rollback => Purpose::GoBack { old: old.clone() },
                Verb::Start | Verb::Stop | Verb::Inc | Verb::Dec | Verb::Killall | Verb::Signal | Verb::Cancel => {
                    Purpose::Start
                }
            };
            let awaits = Awaits::Spawned(slots.clone());
            self.waiters.push(Waiter { request, purpose, awaits, pids: Vec::new() });
        }
        self.run(crew, now);
        rollout::begin_queued(self, crew, now);
    }
}

impl Awaits {
    fn is_over(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        match self {
            Awaits::Spawned(slots) => slots.len(),
            Awaits::Gone(workers) => workers.len(),
        }
    }

    /// Takes the slot out of those that are awaited; says whether it was one.
    fn no_longer(&mut self, slot: Slot) -> bool {
        match self {
            Awaits::Spawned(slots) => slots.remove(&slot),
            Awaits::Gone(_) => false,
        }
    }

    fn wants(&self, slot: Slot) -> bool {
        match self {
            Awaits::Spawned(slots) => slots.contains(&slot),
            Awaits::Gone(_) => false,
        }
    }
}
