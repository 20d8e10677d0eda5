//! The laws of rollouts, watched from outside, as in `checks`: who is told to go, when, and how many there are meanwhile.

use std::collections::BTreeMap;

use firestarter_core::action::{Action, Notice};
use firestarter_core::command::{AbortCause, Verb};
use firestarter_core::event::Event;
use firestarter_core::ids::{Generation, GroupId, WorkerId};
use firestarter_core::spec::{Ack, Surge};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::view::Stage;
use firestarter_core::Supervisor;

use crate::checks::{Checks, Seen, Wish};

/// The last rollout of a group.
#[derive(Clone, Copy, Default)]
pub struct Rolls {
    /// The youngest worker when it began.
    pub from: Option<WorkerId>,
    /// What it starts, while it is under way.
    pub generation: Option<Generation>,
    /// It starts what serves already, in the slots that an aborted one has left behind: who is a candidate in it cannot
    /// be told from outside.
    pub same_again: bool,
}

impl Checks {
    /// An abort for a worker's sake or for time signals nobody but the candidates.
    pub(crate) fn aborts(&mut self, actions: &[Action]) {
        for (index, action) in actions.iter().enumerate() {
            let Action::Notice(Notice::RolloutAborted { group, generation, cause, .. }) = action else { continue };
            let Rolls { from, same_again, .. } = self.groups[group.0 as usize].rolls;
            let candidate = |id: &WorkerId, seen: &Seen| {
                Some(*id) > from && seen.version.0 == *generation && !seen.committed && (!seen.respawn || same_again)
            };
            let by_command = matches!(cause, AbortCause::Command { .. });
            // What follows the notice belongs to what comes after the abort.
            for action in actions[..index].iter().filter(|_| !by_command) {
                let (Action::Signal { worker, .. } | Action::Kill { worker }) = action else { continue };
                let Some(seen) = self.seen.get(worker) else { continue };
                let fits = seen.group != *group || seen.leaving || candidate(worker, seen);
                assert!(fits, "an abort tells old worker {worker} to go");
            }
            let ours = self.seen.iter_mut().filter(|(id, seen)| seen.group == *group && candidate(id, seen));
            let ours = ours.filter(|_| !same_again);
            ours.for_each(|(_, seen)| seen.leaving = true);
        }
    }

    /// Old workers are told that their successors serve only when all candidates of the batch are ready, and have been for
    /// the soak. One that had no process yet is told when it gets one, which may be long after, as may one whose
    /// successor came before `kill_old_delay`. Only `max_unavailable` lets some go before there is anybody else.
    pub(crate) fn drains(&mut self, now: Instant, event: &Event, actions: &[Action], rolls: &[Rolls]) {
        let told = actions.iter().filter_map(|action| match action {
            Action::Signal { worker, uncaught: Some(_), .. } => Some(*worker),
            _ => None,
        });
        let told = told.filter(|id| !matches!(event, Event::Spawned { worker, .. } if worker == id));
        let mut emptied: BTreeMap<GroupId, u32> = BTreeMap::new();
        for old in told.collect::<Vec<_>>() {
            let Seen { group, slot, version, .. } = self.seen[&old].clone();
            let spec = self.groups[group.0 as usize].spec.clone();
            if !spec.kill_old_delay.is_zero() && matches!(event, Event::Deadline) {
                continue;
            }
            let fresh =
                |id: &WorkerId| actions.iter().any(|a| matches!(a, Action::Spawn { worker, .. } if worker == id));
            let Rolls { from, generation, same_again } = rolls[group.0 as usize];
            // The old worker may be the younger one, if it was respawned while its successor was starting.
            let younger = |id: &WorkerId, seen: &Seen| {
                let other = seen.version != version && Some(*id) > from || *id > old;
                other && seen.group == group && !seen.ended && !seen.leaving && !fresh(id)
            };
            for (id, seen) in self.seen.iter().filter(|(id, seen)| younger(id, seen)) {
                let candidate = Some(*id) > from && generation == Some(seen.version.0) && !seen.respawn && !same_again;
                assert!(!candidate || self.is_ready(now, seen), "{old} is told to drain while {id} is not ready");
            }
            let ready =
                |(id, seen): &(&WorkerId, &Seen)| younger(id, seen) && seen.slot == slot && self.is_ready(now, seen);
            let successor = self.seen.iter().filter(ready).map(|(id, _)| *id).next_back();
            match successor {
                Some(successor) => self.with(successor, |seen| seen.committed = true),
                // A respawn of the old worker cannot be told from its successor.
                None if same_again => {}
                None => *emptied.entry(group).or_default() += 1,
            }
        }
        for (group, count) in emptied {
            let wish = &self.groups[group.0 as usize];
            let needed = matches!(wish.spec.surge, Surge::Fixed(share) if share.is_none());
            let allowed = wish.spec.max_unavailable.of(wish.count).max(needed.into());
            let allowed = allowed.max(u32::from(!wish.spec.max_unavailable.is_none()));
            assert!(count <= allowed, "{count} workers are told to drain and have no successor, of {allowed}");
        }
    }

    fn is_ready(&self, now: Instant, seen: &Seen) -> bool {
        let spec = &self.groups[seen.group.0 as usize].spec;
        let Some(spawned) = seen.spawned else { return false };
        let since = match spec.ack {
            Ack::Timer(after) => Some(spawned + after),
            Ack::Manual | Ack::Probe => seen.acked.map(|at| at.max(spawned)),
            Ack::None => Some(spawned),
        };
        since.is_some_and(|since| since + self.soak(seen) <= now)
    }

    /// How long a candidate must stay ready. A spent worker's successor need not.
    fn soak(&self, seen: &Seen) -> Duration {
        let wish = &self.groups[seen.group.0 as usize];
        let version = |id: &WorkerId| self.seen.get(id).map(|seen| seen.version);
        let rollout = wish.rolls.from.is_some_and(|from| version(&from) != Some(seen.version));
        if rollout && !seen.respawn && !recycles(wish) {
            wish.spec.soak
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn surge(&mut self, now: Instant, core: &Supervisor) {
        for (wish, view) in self.groups.iter_mut().zip(core.view(now).groups) {
            wish.generation = view.generation;
            assert_eq!(wish.count, view.wanted, "the count of {}", view.name);
            let live = view.workers.iter().filter(|w| matches!(w.stage, Stage::Starting | Stage::Ready)).count();
            let surge = match (&view.rollout, wish.spec.surge) {
                (None, _) => recycles(wish).into(),
                (Some(rollout), _) if rollout.verb == Verb::Restart => 0,
                (Some(_), Surge::Auto) => wish.count,
                // A share of the workers that there were when the batch began.
                (Some(_), Surge::Fixed(share)) => share.of_rounded_up(wish.most),
            };
            assert!(live as u32 <= wish.count + surge, "{live} live workers of {}", view.name);
        }
    }
}

/// Whether workers of the group may be replaced for their own sake.
fn recycles(wish: &Wish) -> bool {
    let spec = &wish.spec;
    spec.max_age.is_some() || spec.max_memory.is_some() || spec.probe.is_some_and(|probe| probe.liveness)
}
