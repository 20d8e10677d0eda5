//! The laws of what was added to the bare life of a group: hooks, signs of life, giving up, beginnings and ends by
//! themselves. Watched from outside, as in `checks`.

use firestarter_core::action::{Action, Next, Notice, Spent};
use firestarter_core::command::Verb;
use firestarter_core::event::{Event, Exit, HookKind};
use firestarter_core::ids::{GroupId, Pid, Slot, WorkerId};
use firestarter_core::spec::{ExitWhen, ProbeBy, Restart};
use firestarter_core::time::Instant;
use firestarter_core::view::{GroupView, Phase};

use crate::checks::{Checks, Seen, SeenHook, Wish};
use crate::rollouts::Rolls;

impl Checks {
    pub(crate) fn hooks_and_life(&mut self, now: Instant, event: &Event, action: &Action) {
        match action {
            Action::RunHook { hook, group, kind, pids } => self.run_hook(now, event, *hook, *group, *kind, pids),
            Action::Notice(Notice::Unwell { pid: Some(pid), .. }) => self.of_pid(*pid, |seen| seen.silent = true),
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
            Action::Notice(Notice::WorkerExited {
                group,
                pid,
                next: next @ (Next::Respawn(_) | Next::Nothing),
                ..
            }) => {
                let worker = self.seen.keys().find(|id| id.ordinal() == u64::from(pid.0) - 1000).copied();
                self.died(now, worker.expect("a worker's pid"), *group, *next);
            }
            Action::Notice(Notice::NotSpawned { group, next: next @ (Next::Respawn(_) | Next::Nothing), .. }) => {
                let (Event::Exited { worker, .. } | Event::SpawnFailed { worker, .. }) = event else {
                    panic!("a respawn without a death")
                };
                self.died(now, *worker, *group, *next);
            }
            // What a batch has renewed begins anew, and an abort leads back to an older generation.
            Action::Notice(Notice::ProgramChanged { group }) => self.groups[group.0 as usize].failures.clear(),
            Action::Notice(Notice::RolloutAborted { group, .. }) => {
                self.groups[group.0 as usize].failures.clear();
                self.groups[group.0 as usize].rolls.generation = None;
            }
            Action::Notice(Notice::RolloutCommitted { group, generation, .. }) => {
                let wish = &mut self.groups[group.0 as usize];
                wish.rolls.generation = None;
                wish.generation = *generation;
            }
            Action::Notice(Notice::RolloutBegan { group, verb, generation, .. }) => {
                let wish = &mut self.groups[group.0 as usize];
                let from = self.seen.keys().next_back().copied();
                let same_again = *generation == wish.generation;
                wish.rolls = Rolls { from, generation: Some(*generation), same_again };
                if *verb == Verb::Upgrade {
                    self.rollout_may_begin(*group);
                }
            }
            Action::Notice(Notice::BatchCommitted { group, generation, done, .. }) => {
                let from = self.groups[group.0 as usize].rolls.from;
                let of_batch = |id: &WorkerId, seen: &Seen| {
                    Some(*id) > from && seen.group == *group && seen.version.0 == *generation && seen.slot.0 < *done
                };
                let committed = self.seen.iter_mut().filter(|(id, seen)| of_batch(id, seen));
                committed.for_each(|(_, seen)| seen.committed = true);
            }
            Action::Notice(Notice::Replacing { group, slot, pid, why }) => self.may_replace(*group, *slot, *pid, why),
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
    fn died(&mut self, now: Instant, worker: WorkerId, group: GroupId, next: Next) {
        let seen = &self.seen[&worker];
        let wish = &mut self.groups[group.0 as usize];
        let lived = seen.spawned.is_some_and(|at| now.since(at) >= wish.spec.backoff.reset);
        let failures = wish.failures.entry((seen.slot, seen.version)).or_default();
        *failures = if lived { 0 } else { *failures + 1 };
        let most = wish.spec.give_up.map_or(u32::MAX, |most| most.get());
        assert!(
            *failures < most || next == Next::Nothing,
            "a respawn after {failures} failures in a row, of at most {most}"
        );
    }

    /// Only a ready worker of a group that wants it is replaced for its own sake, and no other meanwhile.
    fn may_replace(&self, group: GroupId, slot: Slot, pid: Option<Pid>, why: &Spent) {
        let spec = &self.groups[group.0 as usize].spec;
        let wanted = match why {
            Spent::Age(age) => spec.max_age.is_some_and(|most| *age >= most - most / 10),
            Spent::Memory(bytes) => spec.max_memory.is_some_and(|most| *bytes > most),
            Spent::Unhealthy(_) => spec.probe.is_some_and(|probe| probe.liveness),
        };
        assert!(wanted, "{group}/{slot} is replaced without a reason: {why:?}");
        let worker = |seen: &Seen| seen.group == group && seen.slot == slot && !seen.ended && !seen.leaving;
        let there = pid.is_some() && self.seen.values().any(worker);
        assert!(there, "nobody is replaced in {group}/{slot}");
    }

    fn of_pid(&mut self, pid: Pid, note: impl Fn(&mut Seen)) {
        let ours = self.seen.iter_mut().filter(|(id, _)| id.ordinal() == u64::from(pid.0) - 1000);
        ours.for_each(|(_, seen)| note(seen));
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

    fn run_hook(&mut self, now: Instant, event: &Event, hook: WorkerId, group: GroupId, kind: HookKind, pids: &[Pid]) {
        let about = match kind {
            HookKind::Probe { .. } => pids.first().map(|pid| u64::from(pid.0) - 1000),
            HookKind::Stop | HookKind::Upgrader => None,
        };
        let about = about.and_then(|ordinal| self.seen.keys().find(|id| id.ordinal() == ordinal).copied());
        let before =
            |seen: &&SeenHook| seen.group == group && seen.kind == kind && seen.about == about && seen.ended.is_none();
        assert!(!self.hooks.values().any(|seen| before(&seen)), "two hooks of a kind at once");
        let spec = &self.groups[group.0 as usize].spec;
        match kind {
            HookKind::Stop => {
                assert!(spec.stop_hook && !pids.is_empty(), "a stop hook for nobody");
            }
            HookKind::Upgrader => {
                let upgrader = spec.upgrader.expect("an upgrader that is not configured");
                assert!(upgrader.every.is_none() || matches!(event, Event::Deadline), "an upgrader out of turn");
            }
            HookKind::Probe { slot } => {
                assert!(spec.probe.is_some_and(|probe| probe.by == ProbeBy::Command), "a command that is none asks");
                let asked = about.and_then(|id| self.seen.get(&id)).expect("asks nobody");
                assert!(asked.slot == slot && !asked.ended, "asks one that has ended");
            }
        }
        self.hooks.insert(hook, SeenHook { group, kind, about, began: now, ended: None });
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
