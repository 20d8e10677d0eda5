//! The group's two hooks: the one that stops it, and the upgrader. (Commands that ask workers are `caring`'s.)
//!
//! **The stop hook** runs in place of `stop_signal` when the whole group is asked to end. Its workers drain meanwhile,
//! and who remains at `kill_at` is killed, as is the hook. If it fails, the workers get `stop_signal` after all. The
//! group has not ended before its stop hook has: it might still be at work on whatever is started next.
//!
//! **The upgrader** decides whether there is an upgrade. Asked for by a command, it runs before the rollout and the
//! requests wait with it; who asks while it runs waits for its next run, since it may have looked already. Or it runs
//! every so often by itself, as long as the group runs. A command that ends rollouts ends it too.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::command::{Failed, Refusal, Reply, Verb};
use crate::event::{Failure, HookKind};
use crate::group::rollout::{self, Queued};
use crate::group::{reconcile, Group, Intent};
use crate::hook::Hook;
use crate::ids::{Pid, RequestId, WorkerId};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, State, Waits};

/// The upgrader that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upgrading {
    hook: WorkerId,
    /// Who waits for the upgrade that may follow; none if it is not wanted any more.
    asked: Option<Queued>,
}

impl Upgrading {
    /// Its process.
    #[cfg(debug_assertions)]
    pub(crate) fn hook(&self) -> WorkerId {
        self.hook
    }
}

impl Group {
    /// Runs the stop hook for these workers, unless it runs already.
    pub(crate) fn run_stop_hook(&mut self, pids: Vec<Pid>, timeout: Duration, crew: &mut Crew, now: Instant) {
        if self.stopper.is_none() {
            self.stopper = Some(crew.run_hook(self.id, HookKind::Stop, pids, None, timeout, now));
        }
    }

    /// Runs the upgrader for those who asked.
    pub(crate) fn run_upgrader(&mut self, asked: Queued, crew: &mut Crew, now: Instant) {
        let Some(upgrader) = self.spec.upgrader else { return };
        let hook = crew.run_hook(self.id, HookKind::Upgrader, Vec::new(), None, upgrader.timeout, now);
        self.upgrading = Some(Upgrading { hook, asked: Some(asked) });
    }

    /// The upgrader is not wanted any more; returns who waited for it.
    pub(crate) fn drop_upgrader(&mut self, crew: &mut Crew) -> Option<Queued> {
        let upgrading = self.upgrading.as_mut()?;
        crew.kill_hook(upgrading.hook);
        upgrading.asked.take()
    }

    /// The group has ended by itself: nobody gets an upgrade any more. An upgrader that runs may finish its work.
    pub(crate) fn send_upgrades_home(&mut self, crew: &mut Crew) {
        let asked = self.upgrading.as_mut().and_then(|upgrading| upgrading.asked.take());
        for (request, _) in asked.into_iter().chain(self.queued.take()).flat_map(|asked| asked.requests) {
            crew.act(Action::Reply { request, reply: Reply::Refused(Refusal::NotRunning) });
        }
    }

    pub(crate) fn hook_spawned(&mut self, id: WorkerId, pid: Pid, crew: &mut Crew) {
        if let Some(kind) = crew.hook_spawned(id).filter(|kind| self.tells_of_hook(*kind)) {
            crew.act(Action::Notice(Notice::HookBegan { group: self.id, kind, pid }));
        }
    }

    /// An upgrader that runs every so often is told of only when it leads to something, or begins to fail otherwise.
    fn tells_of_hook(&self, kind: HookKind) -> bool {
        match kind {
            HookKind::Stop => true,
            HookKind::Upgrader => self.asks_upgrader(),
            HookKind::Probe { .. } => false,
        }
    }

    pub(crate) fn hook_ended(&mut self, id: WorkerId, hook: &Hook, end: Failure, crew: &mut Crew, now: Instant) {
        let failure = hook.verdict(end);
        match hook.kind {
            HookKind::Stop => self.stop_hook_ended(failure, crew, now),
            HookKind::Upgrader => self.upgrader_ended(id, failure, crew, now),
            HookKind::Probe { .. } => self.probe_ended(id, hook, failure, crew, now),
        }
        self.settle(crew, now);
    }

    fn stop_hook_ended(&mut self, failure: Option<Failure>, crew: &mut Crew, now: Instant) {
        self.stopper = None;
        crew.act(Action::Notice(Notice::HookEnded { group: self.id, kind: HookKind::Stop, failure }));
        if failure.is_none() {
            return;
        }
        let (everybody, _) = self.everybody(crew);
        let unasked = |id: &WorkerId| match crew.workers.get(id).map(|worker| worker.state) {
            Some(State::Draining { farewell, .. }) => farewell.by_hook(),
            _ => false,
        };
        let farewell = reconcile::stop_farewell(self, None);
        for id in everybody.into_iter().filter(unasked).collect::<Vec<_>>() {
            crew.farewell(id, farewell, now);
        }
    }

    fn upgrader_ended(&mut self, id: WorkerId, failure: Option<Failure>, crew: &mut Crew, now: Instant) {
        let Some(Upgrading { asked, .. }) = self.upgrading.take_if(|upgrading| upgrading.hook == id) else { return };
        let Some(asked) = asked else { return rollout::begin_queued(self, crew, now) };
        let news = failure.is_none() || self.tells_of_hook(HookKind::Upgrader) || failure != self.upgrader_failed;
        self.upgrader_failed = failure;
        if news {
            crew.act(Action::Notice(Notice::HookEnded { group: self.id, kind: HookKind::Upgrader, failure }));
        }
        match failure {
            Some(failure) => {
                let is_restart = |(_, verb): &(RequestId, Verb)| *verb == Verb::Restart;
                let (restarts, upgrades): (Vec<_>, Vec<_>) = asked.requests.into_iter().partition(is_restart);
                for (request, _) in upgrades {
                    crew.act(Action::Reply { request, reply: Reply::Failed(Failed::Upgrader { failure }) });
                }
                // A restart that would have been part of the upgrade does not need the upgrader's consent.
                if !restarts.is_empty() {
                    self.queue(Queued { requests: restarts, signal: asked.signal, restart: true });
                }
                // It was asked about what is there now, and what it has changed itself was not good enough.
                if self.asks_upgrader() {
                    self.watch_program(crew);
                }
            }
            None if self.rollout.is_some() => self.queue(asked),
            None => self.renew(asked, crew, now),
        }
        rollout::begin_queued(self, crew, now);
    }

    /// It is time for the upgrader that runs every so often.
    pub(crate) fn upgrader_deadline(&mut self, crew: &mut Crew, now: Instant) {
        self.upgrader_at = None;
        if self.intent != Intent::Running {
            return;
        }
        self.plan_upgrader(crew, now);
        if self.upgrading.is_none() {
            self.run_upgrader(Queued::default(), crew, now);
        }
    }

    /// Plans the next run of an upgrader that runs every so often.
    pub(crate) fn plan_upgrader(&mut self, crew: &mut Crew, now: Instant) {
        self.unplan_upgrader(crew);
        if let Some(every) = self.spec.upgrader.and_then(|upgrader| upgrader.every) {
            self.upgrader_at = Some(now + every);
            crew.wait_until(now + every, Waits::Upgrader(self.id));
        }
    }

    pub(crate) fn unplan_upgrader(&mut self, crew: &mut Crew) {
        crew.no_longer(self.upgrader_at.take(), Waits::Upgrader(self.id));
    }

    /// Whether a change of the program's file is to be told.
    pub(crate) fn watches_program(&self) -> bool {
        self.spec.auto_upgrade && matches!(self.intent, Intent::Running | Intent::Cycling(_))
    }

    /// From now on the program's file counts as known as it is.
    pub(crate) fn watch_program(&mut self, crew: &mut Crew) {
        if self.spec.auto_upgrade {
            self.program = None;
            crew.act(Action::WatchProgram { group: self.id, known: None });
        }
    }

    /// Whether an upgrade that is asked for waits for the upgrader's consent.
    pub(crate) fn asks_upgrader(&self) -> bool {
        self.spec.upgrader.is_some_and(|upgrader| upgrader.every.is_none())
    }

    /// What the program's file is now. An upgrader that is being asked is taken to be the one who changes it.
    pub(crate) fn program(&mut self, print: u64, changed: bool, crew: &mut Crew, now: Instant) {
        let news = changed && self.program != Some(print);
        self.program = Some(print);
        let asked = self.asks_upgrader() && self.upgrading.is_some();
        if !news || !self.spec.auto_upgrade || self.intent != Intent::Running || asked {
            return;
        }
        crew.act(Action::Notice(Notice::ProgramChanged { group: self.id }));
        self.forget_failures(crew);
        self.queue(Queued::default());
        rollout::begin_queued(self, crew, now);
        if self.intent == Intent::Running {
            reconcile::every_slot(self, crew, now);
        }
        self.settle(crew, now);
    }
}
