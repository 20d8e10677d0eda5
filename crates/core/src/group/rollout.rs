//! One rollout: an upgrade, a rollback, or a restart in steps. Begin, advance, commit, abort.
//!
//! A rollout goes through the slots in batches. A batch is as large as `surge` and `max_unavailable` together; of its
//! slots the first `max_unavailable` are emptied before anything is started, the others serve on. Then each slot of the
//! batch gets a *candidate*. When every candidate is ready, and has been for `soak`, the batch is **committed**: the
//! candidates take the places and the old workers are told to drain. It stays so, whatever becomes of later batches.
//! When a candidate ends, cannot be started or turns unhealthy, or `abort_at` comes first, the rollout is **aborted**:
//! the candidates are stopped, the old workers never notice, and a slot that was emptied is filled as it was before.
//! When no slot is left the generation serves. A slot that `inc` adds meanwhile is picked up by the next batch.
//!
//! A batch is in one of these stages:
//! - **Measuring**: `surge = "auto"`, and the shell was asked how many workers the memory holds.
//! - **Emptying**: old workers were told to go, and the candidates are born when the last of them has ended. These slots
//!   are *held*: nobody else fills them.
//! - **Filling**: candidates become ready, until `abort_at`.
//! - **Soaking**: all are ready, and must stay so `until` then. The old workers serve beside them.
//!
//! Another upgrade that is asked for meanwhile waits, since the running one may have spawned the program as it was
//! before; all that wait share the next rollout. A rollback does not wait: it takes the place of what is under way.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::command::{Done, Reply, Verb};
use crate::group::abort;
use crate::group::reconcile::{self, Place};
use crate::group::{Group, Intent};
use crate::ids::{Pid, RequestId, Slot, Version, WorkerId};
use crate::spec::{Ack, Signal, Surge};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, Farewell, Waits};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    /// What it starts.
    pub(crate) version: Version,
    /// Upgrade, Rollback or Restart.
    pub(crate) verb: Verb,
    pub(crate) began: Instant,
    pub(crate) requests: Vec<(RequestId, Verb)>,
    /// Takes the place of the signal that the configuration has for the old workers.
    pub(crate) signal: Option<Signal>,
    /// The batch is the slots from `batch` up to `next`.
    pub(crate) batch: Slot,
    pub(crate) next: Slot,
    pub(crate) stage: Stage,
    /// Candidates of the batch that are not ready.
    pub(crate) unready: u32,
    /// So many new workers at a time, where the memory holds no more.
    pub(crate) at_a_time: Option<u32>,
    pub(crate) new: Vec<Pid>,
    pub(crate) old: Vec<Pid>,
    /// Old workers that were told to go and have not ended.
    pub(crate) retiring: BTreeSet<WorkerId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Measuring,
    Emptying { left: BTreeSet<WorkerId> },
    Filling { abort_at: Instant },
    Soaking { until: Instant },
}

/// Who wants an upgrade, or a restart in steps; nobody, if it is the group's own wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) requests: Vec<(RequestId, Verb)>,
    pub(crate) signal: Option<Signal>,
    /// Nobody wants more than a restart.
    pub(crate) restart: bool,
}

impl Rollout {
    /// Candidates of the batch that are ready and wait for the others, or for the end of the soak.
    pub(crate) fn ready_in_batch(&self) -> u32 {
        match self.stage {
            Stage::Measuring | Stage::Emptying { .. } => 0,
            Stage::Filling { .. } | Stage::Soaking { .. } => self.next.0 - self.batch.0 - self.unready,
        }
    }

    /// The deadline of its stage.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Measuring | Stage::Emptying { .. } => None,
            Stage::Filling { abort_at } => Some(abort_at),
            Stage::Soaking { until } => Some(until),
        }
    }
}

/// Begins a rollout of a version for those who asked for it.
pub(crate) fn begin(group: &mut Group, version: Version, verb: Verb, asked: Queued, crew: &mut Crew, now: Instant) {
    group.stop_replacing(crew, now);
    group.rollout = Some(Rollout {
        version,
        verb,
        began: now,
        requests: asked.requests,
        signal: asked.signal,
        batch: Slot(0),
        next: Slot(0),
        stage: Stage::Measuring,
        unready: 0,
        at_a_time: None,
        new: Vec::new(),
        old: Vec::new(),
        retiring: BTreeSet::new(),
    });
    group.watch_program(crew);
    let (generation, workers) = (version.generation, group.count);
    crew.act(Action::Notice(Notice::RolloutBegan { group: group.id, verb, generation, workers }));
    advance(group, crew, now);
}

/// Goes on to the next batch, or ends the rollout where no slot is left.
fn advance(group: &mut Group, crew: &mut Crew, now: Instant) {
    let unavailable = group.unavailable();
    let surge = group.surge();
    let Some(rollout) = &mut group.rollout else { return };
    rollout.batch = rollout.next;
    if rollout.next.0 >= group.count {
        return finish(group, crew, now);
    }
    match surge {
        Some(surge) => empty(group, surge, unavailable, crew, now),
        None => {
            rollout.stage = Stage::Measuring;
            crew.act(Action::Measure { group: group.id });
        }
    }
}

/// So many workers does the memory hold beside those that are there.
pub(crate) fn measured(group: &mut Group, fits: u32, crew: &mut Crew, now: Instant) {
    let unavailable = group.unavailable();
    let Some(rollout) = group.rollout.as_mut().filter(|rollout| rollout.stage == Stage::Measuring) else { return };
    let left = group.count - rollout.next.0.min(group.count);
    let surge = fits.max(u32::from(unavailable == 0));
    rollout.at_a_time = (surge < left).then_some(surge + unavailable);
    if let Some(at_a_time) = rollout.at_a_time.filter(|_| rollout.next.0 == 0) {
        crew.act(Action::Notice(Notice::Limited { group: group.id, at_a_time, workers: group.count }));
    }
    empty(group, surge, unavailable, crew, now);
}

/// Takes away the old workers that must go before their successors come.
fn empty(group: &mut Group, surge: u32, unavailable: u32, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    let first = rollout.next.0;
    let end = group.count.min(first.saturating_add(surge).saturating_add(unavailable).max(first + 1));
    rollout.next = Slot(end);
    let mut left = BTreeSet::new();
    for slot in (first..end.min(first + unavailable)).map(Slot) {
        group.slots[slot.0 as usize].held = true;
        crew.no_longer(group.slots[slot.0 as usize].respawn_at.take(), Waits::Slot(group.id, slot));
        let farewell = farewell(group, slot, crew);
        if let Some(old) = reconcile::retire(group, slot, Place::Serving, farewell, crew, now) {
            note_retired(group, old, crew);
            left.insert(old);
        }
    }
    match left.is_empty() {
        true => fill(group, crew, now),
        false => enter(group, Stage::Emptying { left }, crew),
    }
}

/// An old worker has ended that was told to go; maybe the last whose successor waits for that.
pub(crate) fn old_gone(group: &mut Group, id: WorkerId, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.retiring.remove(&id);
    if let Stage::Emptying { left } = &mut rollout.stage {
        if left.remove(&id) && left.is_empty() {
            fill(group, crew, now);
        }
    }
}

/// Gives the slots of the batch their candidates.
fn fill(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    let (first, end, version) = (rollout.batch.0, rollout.next.0, rollout.version);
    // `dec` may have taken away all that there was to fill.
    if first == end {
        return advance(group, crew, now);
    }
    rollout.unready = end - first;
    enter(group, Stage::Filling { abort_at: now + group.spec.start_timeout }, crew);
    for slot in first..end {
        reconcile::birth(group, Slot(slot), Place::Candidate, version, crew, now);
    }
}

/// Moves the rollout to another stage and keeps the index of deadlines right.
fn enter(group: &mut Group, stage: Stage, crew: &mut Crew) {
    let Some(rollout) = &mut group.rollout else { return };
    crew.no_longer(rollout.deadline(), Waits::Rollout(group.id));
    rollout.stage = stage;
    if let Some(at) = rollout.deadline() {
        crew.wait_until(at, Waits::Rollout(group.id));
    }
}

/// One more candidate is ready.
pub(crate) fn candidate_ready(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.unready -= 1;
    if rollout.unready > 0 {
        return;
    }
    match group.spec.soak {
        Duration::ZERO => commit_batch(group, crew, now),
        soak => enter(group, Stage::Soaking { until: now + soak }, crew),
    }
}

/// `dec` takes the highest slot out of the group, and with it out of the batch.
pub(crate) fn slot_removed(group: &mut Group, slot: Slot, was_unready: bool, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.next = rollout.next.min(slot);
    rollout.batch = rollout.batch.min(slot);
    if was_unready {
        candidate_ready(group, crew, now);
    }
}

/// A candidate needs this long from now to become ready.
pub(crate) fn extend(group: &mut Group, until: Instant, crew: &mut Crew) {
    let Some(rollout) = &group.rollout else { return };
    if let Stage::Filling { abort_at } = rollout.stage {
        enter(group, Stage::Filling { abort_at: abort_at.max(until) }, crew);
    }
}

/// The candidates take the places; the old workers are told to drain.
fn commit_batch(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &group.rollout else { return };
    let (first, end, version) = (rollout.batch.0, rollout.next.0, rollout.version);
    crew.no_longer(rollout.deadline(), Waits::Rollout(group.id));
    for slot in (first..end).map(Slot) {
        let farewell = farewell(group, slot, crew);
        let (old, new_pid) = reconcile::take_over(group, slot, farewell, crew, now);
        let place = &mut group.slots[slot.0 as usize];
        place.version = version;
        place.failures = 0;
        place.held = false;
        crew.no_longer(place.respawn_at.take(), Waits::Slot(group.id, slot));
        (place.failed, place.gave_up) = (false, None);
        group.ended -= u32::from(core::mem::take(&mut place.ended));
        if let Some(old) = old {
            note_retired(group, old, crew);
        }
        // Who waited for the old worker's spawn has a running worker in the slot now.
        if let Some(pid) = new_pid {
            group.tell_waiters_spawned(slot, pid, crew);
        }
        if let Some(rollout) = &mut group.rollout {
            rollout.new.extend(new_pid);
        }
    }
    if end < group.count {
        let (generation, done, workers) = (version.generation, end, group.count);
        crew.act(Action::Notice(Notice::BatchCommitted { group: group.id, generation, done, workers }));
    }
    advance(group, crew, now);
}

fn note_retired(group: &mut Group, old: WorkerId, crew: &Crew) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.old.extend(crew.workers.get(&old).and_then(|worker| worker.pid));
    rollout.retiring.insert(old);
}

/// How the old worker of a slot is told: by the command's signal, its successor's, or the configuration's.
fn farewell(group: &Group, slot: Slot, crew: &Crew) -> Farewell {
    let Some(rollout) = &group.rollout else { return reconcile::stop_farewell(group, None) };
    match rollout.verb == Verb::Restart {
        true => reconcile::stop_farewell(group, rollout.signal),
        false => reconcile::ack_farewell(group, slot, rollout.signal, crew),
    }
}

/// Every slot has been renewed: the generation serves.
fn finish(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = group.rollout.take() else { return };
    let Rollout { version, verb, began, requests, new, old, .. } = rollout;
    group.commit(version, verb);
    let (took, generation) = (now.since(began), version.generation);
    crew.act(Action::Notice(Notice::RolloutCommitted { group: group.id, verb, generation, took }));
    for (request, verb) in requests {
        let (new, old) = (new.clone(), old.clone());
        let done = if verb == Verb::Restart {
            Done::Restarted { new, old }
        } else if verb == Verb::Rollback {
            Done::RolledBack { generation, new, old }
        } else {
            Done::Upgraded { generation, new, old }
        };
        crew.act(Action::Reply { request, reply: Reply::Done(done) });
    }
    begin_queued(group, crew, now);
    group.replace_next(crew, now);
}

/// The time of its stage is over: for the soak, or for what is not ready by now.
pub(crate) fn deadline(group: &mut Group, crew: &mut Crew, now: Instant) {
    match group.rollout.as_ref().map(|rollout| &rollout.stage) {
        Some(Stage::Soaking { .. }) => commit_batch(group, crew, now),
        Some(Stage::Filling { .. }) => abort::timed_out(group, crew, now),
        Some(Stage::Measuring | Stage::Emptying { .. }) | None => {}
    }
}

/// Those who waited get their upgrade now, or the upgrader that decides about it.
pub(crate) fn begin_queued(group: &mut Group, crew: &mut Crew, now: Instant) {
    if group.intent != Intent::Running || group.rollout.is_some() {
        return;
    }
    let asks = group.asks_upgrader() && group.queued.as_ref().is_some_and(|queued| !queued.restart);
    if asks && group.upgrading.is_some() {
        return;
    }
    match group.queued.take() {
        Some(queued) if asks => group.run_upgrader(queued, crew, now),
        Some(queued) => group.renew(queued, crew, now),
        None => {}
    }
}

impl Group {
    /// How many workers a rollout takes away at a time.
    fn unavailable(&self) -> u32 {
        let share = self.spec.max_unavailable.of(self.count);
        let needed = match self.spec.surge {
            Surge::Auto if self.spec.ack == Ack::None => true,
            Surge::Auto => false,
            Surge::Fixed(surge) => surge.is_none(),
        };
        let restart = self.rollout.as_ref().is_some_and(|rollout| rollout.verb == Verb::Restart);
        share.max(u32::from(needed || restart))
    }

    /// How many workers a rollout has above the count; none if that has to be measured. A restart never has any, and
    /// neither has a group whose new workers are not asked whether they serve.
    fn surge(&self) -> Option<u32> {
        let restart = self.rollout.as_ref().is_some_and(|rollout| rollout.verb == Verb::Restart);
        match self.spec.surge {
            _ if restart || self.spec.ack == Ack::None => Some(0),
            Surge::Auto => None,
            Surge::Fixed(surge) => Some(surge.of_rounded_up(self.count)),
        }
    }
}
