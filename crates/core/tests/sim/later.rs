//! The laws of what was added to the bare life of a group: hooks, signs of life, giving up, beginnings and ends by
//! themselves. Watched from outside, as in `checks`.

use firestarter_core::action::{Action, Next, Notice};
use firestarter_core::event::{Event, Exit, HookKind};
use firestarter_core::ids::{GroupId, WorkerId};
use firestarter_core::spec::{ExitWhen, Restart};
use firestarter_core::time::Instant;
use firestarter_core::view::{GroupView, Phase};

use crate::checks::{Checks, SeenHook, Wish};

impl Checks {
    pub(crate) fn hooks_and_life(&mut self, now: Instant, event: &Event, action: &Action) {
        match action {
            Action::RunHook { hook, group, kind, pids } => self.run_hook(now, event, *hook, *group, *kind, pids.len()),
            Action::Notice(Notice::Silent { .. }) => {
                let Event::Looked { worker, .. } = event else { panic!("silent without a look") };
                let seen = self.seen.get_mut(worker).expect("a worker that never was is silent");
                assert!(!seen.ended, "silent, but dead");
                seen.silent = true;
            }
            Action::Notice(Notice::WorkerExited { group, next: Next::GiveUp { times, .. }, .. })
            | Action::Notice(Notice::NotSpawned { group, next: Next::GiveUp { times, .. }, .. }) => {
                let most = self.groups[group.0 as usize].spec.give_up.expect("gives up without being told to");
                assert!(*times >= most.get(), "gives up after {times} failures, not {most}");
            }
            Action::Notice(
                Notice::WorkerExited { group, next: next @ (Next::Respawn(_) | Next::Nothing), .. }
                | Notice::NotSpawned { group, next: next @ (Next::Respawn(_) | Next::Nothing), .. },
            ) => self.died(now, event, *group, *next),
            // What a batch has renewed begins anew, and an abort leads back to an older generation.
            Action::Notice(Notice::ProgramChanged { group } | Notice::RolloutAborted { group, .. }) => {
                self.groups[group.0 as usize].failures.clear();
            }
            Action::Notice(Notice::RolloutBegan { group, .. }) => self.rollout_may_begin(*group),
            Action::Notice(Notice::KillingAll { signal: Some(_), .. }) => {
                let (last, before) = self.stops_asked.split_last().expect("a signal that there was not");
                assert!(!before.contains(last), "the same signal told twice counts as impatience");
            }
            Action::Notice(Notice::LeftBehind { .. }) => self.left_behind = true,
            Action::Notice(Notice::ExitWhen { group }) => self.exits(now, *group),
            _ => {}
        }
    }

    /// A failure is followed by a respawn only as long as it is none too many.
    fn died(&mut self, now: Instant, event: &Event, group: GroupId, next: Next) {
        let (Event::Exited { worker, .. } | Event::SpawnFailed { worker, .. } | Event::Looked { worker, .. }) = event
        else {
            panic!("a respawn without a death")
        };
        let seen = &self.seen[worker];
        let wish = &mut self.groups[group.0 as usize];
        let lived = seen.spawned.is_some_and(|at| now.since(at) >= wish.spec.backoff.reset);
        let failures = wish.failures.entry((seen.slot, seen.generation)).or_default();
        *failures = if lived { 0 } else { *failures + 1 };
        let most = wish.spec.give_up.map_or(u32::MAX, |most| most.get());
        assert!(
            *failures < most || next == Next::Nothing,
            "a respawn after {failures} failures in a row, of at most {most}"
        );
    }

    /// Nothing starts before its time, or without being asked to.
    pub(crate) fn may_start(&mut self, now: Instant, group: GroupId) {
        let wish = &mut self.groups[group.0 as usize];
        let stopper = |seen: &SeenHook| seen.group == group && seen.kind == HookKind::Stop && seen.ended.is_none();
        assert!(!self.hooks.values().any(stopper), "a group starts while its stop hook runs");
        assert!(wish.started || wish.spec.autostart, "a group starts that waits for a command");
        assert!(wish.started || now >= wish.begun + wish.spec.warmup, "a group starts before it is warm");
        wish.started = true;
    }

    fn run_hook(
        &mut self,
        now: Instant,
        event: &Event,
        hook: WorkerId,
        group: GroupId,
        kind: HookKind,
        workers: usize,
    ) {
        let before = |seen: &&SeenHook| seen.group == group && seen.kind == kind && seen.ended.is_none();
        assert!(!self.hooks.values().any(|seen| before(&seen)), "two hooks of a kind at once");
        let spec = &self.groups[group.0 as usize].spec;
        match kind {
            HookKind::Stop => {
                assert!(spec.stop_hook && workers > 0, "a stop hook for nobody");
            }
            HookKind::Upgrader => {
                let upgrader = spec.upgrader.expect("an upgrader that is not configured");
                assert!(upgrader.every.is_none() || matches!(event, Event::Deadline), "an upgrader out of turn");
            }
        }
        self.hooks.insert(hook, SeenHook { group, kind, began: now, ended: None });
    }

    /// With an upgrader that is asked, no rollout begins but after its success.
    fn rollout_may_begin(&self, group: GroupId) {
        let spec = &self.groups[group.0 as usize].spec;
        if spec.upgrader.is_some_and(|upgrader| upgrader.every.is_none()) {
            let upgraders = self.hooks.values().filter(|seen| seen.group == group && seen.kind == HookKind::Upgrader);
            let last = upgraders.max_by_key(|seen| seen.began).and_then(|seen| seen.ended);
            assert_eq!(last, Some(Exit::Code(0)), "a rollout without the upgrader's consent");
        }
    }

    fn exits(&mut self, now: Instant, group: Option<GroupId>) {
        match self.policy.exit_when {
            ExitWhen::Never => panic!("exits without being told to"),
            ExitWhen::Failed => {
                self.failed = true;
                let spec = &self.groups[group.expect("a group has failed").0 as usize].spec;
                assert!(spec.give_up.is_some() || spec.restart != Restart::Always, "a group that cannot fail");
            }
            ExitWhen::Done => assert!(self.seen.values().all(|seen| seen.ended), "done while workers live"),
        }
        self.shut_down(now);
    }
}

/// A group at rest is as was wished, but for what the configuration lets it give up.
pub(crate) fn settled(wish: &Wish, view: &GroupView) {
    match view.phase {
        Phase::Running => {
            let may_lack = wish.spec.restart != Restart::Always || wish.spec.give_up.is_some();
            assert!(may_lack || view.ready == wish.count, "{view:?}");
        }
        Phase::GaveUp => assert!(view.workers.is_empty() && wish.spec.give_up.is_some(), "{view:?}"),
        Phase::Stopped | Phase::Waiting => assert!(view.workers.is_empty(), "{view:?}"),
        Phase::WarmingUp | Phase::Upgrading | Phase::Restarting | Phase::Stopping => {
            panic!("does not settle: {view:?}")
        }
    }
    if wish.spec.restart == Restart::Always && view.phase != Phase::GaveUp {
        assert_eq!(view.phase, wish.phase, "{view:?}");
    }
}
