//! What is true between any two events, checked by the simulation after each one. In builds with debug assertions only.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::command::Verb;
use crate::group::hooks::Upgrading;
use crate::group::recycle::Step;
use crate::group::rollout::Stage;
use crate::group::{Group, Intent};
use crate::hook::Hook;
use crate::ids::{Slot, WorkerId};
use crate::supervisor::Supervisor;
use crate::time::Instant;
use crate::worker::{Crew, Fate, State, Waits};

impl Supervisor {
    /// Names the first invariant that does not hold.
    ///
    /// # Errors
    /// The invariant in words, with what was found.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut deadlines: BTreeSet<(Instant, Waits)> = self.crew.worker_deadlines().collect();
        for group in &self.groups {
            group.check(&self.crew).map_err(|fault| format!("group {}: {fault}", group.spec.name))?;
            deadlines.extend(group.deadlines());
            group.check_hooks(&self.crew).map_err(|fault| format!("group {}: {fault}", group.spec.name))?;
        }
        deadlines.extend(self.crew.hooks.iter().filter_map(|(id, hook)| Some((hook.deadline()?, Waits::Hook(*id)))));
        deadlines.extend(self.shutdown_deadline_at().map(|at| (at, Waits::Shutdown)));
        if &deadlines != self.crew.deadlines() {
            return Err(format!("the index of deadlines {:?} is not {deadlines:?}", self.crew.deadlines()));
        }
        Ok(())
    }
}

impl Group {
    fn deadlines(&self) -> Vec<(Instant, Waits)> {
        let slots = (0..).zip(&self.slots).filter_map(|(i, p)| Some((p.respawn_at?, Waits::Slot(self.id, Slot(i)))));
        let rollout = self.rollout.iter().filter_map(|r| Some((r.deadline()?, Waits::Rollout(self.id))));
        let recycling = self.recycling.step.deadline().map(|at| (at, Waits::Recycling(self.id)));
        let weighing = self.recycling.weigh_at.map(|at| (at, Waits::Weighing(self.id)));
        let group = match self.intent {
            Intent::Waiting { watch_at } => watch_at,
            Intent::WarmingUp { run_at } => Some(run_at),
            Intent::Stopped | Intent::Running | Intent::Cycling(_) => None,
        };
        let group = group.map(|at| (at, Waits::Group(self.id)));
        let upgrader = self.upgrader_at.map(|at| (at, Waits::Upgrader(self.id)));
        slots.chain(rollout).chain(group).chain(upgrader).chain(recycling).chain(weighing).collect()
    }

    fn check(&self, crew: &Crew) -> Result<(), String> {
        let placed: Vec<WorkerId> = self.slots.iter().flat_map(|p| [p.serving, p.candidate]).flatten().collect();
        let ours = crew.workers.iter().filter(|(_, worker)| worker.group == self.id);
        let leaving = ours.clone().filter(|(id, _)| !placed.contains(id)).count();
        let ready = ours.clone().filter(|(id, w)| placed.contains(id) && w.state == State::Ready).count();
        expect("live", self.live, placed.len())?;
        expect("leaving", self.leaving, leaving)?;
        expect("ready", self.ready, ready)?;
        expect("ended", self.ended, self.slots.iter().filter(|p| p.ended).count())?;
        for (id, worker) in ours {
            let going = match worker.state {
                State::Parting { .. } | State::Draining { .. } | State::Killing => true,
                State::Spawning { fate, .. } => fate != Fate::Live,
                State::Starting { .. } | State::Ready => false,
            };
            if going == placed.contains(id) {
                return Err(format!("worker {id} is {:?} but its place says otherwise", worker.state));
            }
        }
        let surge = match &self.rollout {
            None => u32::from(matches!(self.recycling.step, Step::Replacing { .. })),
            Some(rollout) if rollout.verb == Verb::Restart => 0,
            Some(rollout) => rollout.next.0 - rollout.batch.0,
        };
        if self.live > self.count + surge {
            return Err(format!("{} live workers, more than {} and a surge of {surge}", self.live, self.count));
        }
        self.check_intent(crew)
    }

    /// The hooks that run are those that the group knows of.
    fn check_hooks(&self, crew: &Crew) -> Result<(), String> {
        let known = self.stopper.into_iter().chain(self.upgrading.as_ref().map(Upgrading::hook));
        let mut known: Vec<WorkerId> = known.collect();
        known.sort();
        let ours = |hook: &Hook| hook.group == self.id && hook.about.is_none();
        let there: Vec<WorkerId> = crew.hooks.iter().filter(|(_, hook)| ours(hook)).map(|(id, _)| *id).collect();
        if known != there {
            return Err(format!("hooks {there:?}, known {known:?}"));
        }
        if self.upgrader_at.is_some() && self.intent != Intent::Running {
            return Err(format!("an upgrader that will run while {:?}", self.intent));
        }
        Ok(())
    }

    fn check_intent(&self, crew: &Crew) -> Result<(), String> {
        if self.intent != Intent::Running && self.live > 0 {
            return Err(format!("{} live workers while {:?}", self.live, self.intent));
        }
        if self.intent != Intent::Running && self.rollout.is_some() {
            return Err(format!("a rollout while {:?}", self.intent));
        }
        if self.intent == Intent::Running {
            expect("slots", self.count, self.slots.len())?;
            let idle =
                |p: &&crate::group::SlotState| p.serving.is_none() && !p.ended && !p.held && p.respawn_at.is_none();
            if let Some(place) = self.slots.iter().find(idle) {
                return Err(format!("an empty slot that nothing will fill: {place:?}"));
            }
        }
        if matches!(self.intent, Intent::Cycling(_)) && !self.is_ending() {
            return Err("a cycle that waits for nobody".into());
        }
        let waits_for = self.rollout.is_some() || self.upgrading.is_some() || matches!(self.intent, Intent::Cycling(_));
        if self.queued.is_some() && !waits_for {
            return Err("an upgrade that waits for nothing".into());
        }
        match &self.rollout {
            Some(rollout) => self.check_rollout(rollout, crew),
            None => self.check_replacement(),
        }
    }

    /// Without a rollout there is a candidate only where a spent worker is being replaced.
    fn check_replacement(&self) -> Result<(), String> {
        let replaced = match self.recycling.step {
            Step::Replacing { slot, old, .. } if self.serves(old, slot) => Some(slot.0 as usize),
            Step::Replacing { .. } => return Err("the replacement of a worker that does not serve".into()),
            Step::Idle | Step::Resting { .. } => None,
        };
        let candidates: Vec<usize> =
            (0..).zip(&self.slots).filter(|(_, p)| p.candidate.is_some()).map(|(i, _)| i).collect();
        if self.slots.iter().any(|place| place.held) {
            return Err("a slot is held without a rollout".into());
        }
        match candidates == replaced.into_iter().collect::<Vec<_>>() {
            true => Ok(()),
            false => Err(format!("candidates in {candidates:?} while {:?}", self.recycling)),
        }
    }

    fn check_rollout(&self, rollout: &crate::group::rollout::Rollout, crew: &Crew) -> Result<(), String> {
        let filled = matches!(rollout.stage, Stage::Filling { .. } | Stage::Soaking { .. });
        let batch = rollout.batch.0 as usize..if filled { rollout.next.0 } else { rollout.batch.0 } as usize;
        if self.recycling.step != Step::Idle {
            return Err(format!("a rollout beside {:?}", self.recycling));
        }
        if let Stage::Emptying { left } = &rollout.stage {
            if left.is_empty() || left.iter().any(|id| crew.workers.get(id).is_none()) {
                return Err(format!("waits for workers that have ended: {left:?}"));
            }
        }
        let of_batch = rollout.batch.0 as usize..rollout.next.0 as usize;
        if self.slots.iter().enumerate().any(|(index, place)| place.held && !of_batch.contains(&index)) {
            return Err(format!("a slot is held that is not in the batch {of_batch:?}"));
        }
        let mut unready = 0;
        for (index, place) in self.slots.iter().enumerate() {
            if place.candidate.is_some() != batch.contains(&index) {
                return Err(format!("slot {index} and the batch {batch:?} disagree: {place:?}"));
            }
            let state = place.candidate.and_then(|id| crew.workers.get(&id)).map(|w| w.state);
            unready += usize::from(state.is_some_and(|s| s != State::Ready));
        }
        match rollout.stage {
            Stage::Measuring | Stage::Emptying { .. } => Ok(()),
            Stage::Soaking { .. } => expect("unready in a soak", 0, unready),
            Stage::Filling { .. } if unready == 0 => Err("a batch that is ready and not committed".into()),
            Stage::Filling { .. } => expect("unready", rollout.unready, unready),
        }
    }
}

fn expect(what: &str, recorded: u32, found: usize) -> Result<(), String> {
    if recorded as usize == found {
        Ok(())
    } else {
        Err(format!("{what}: recorded {recorded}, found {found}"))
    }
}
