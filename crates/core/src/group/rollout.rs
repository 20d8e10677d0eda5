//! One upgrade: begin, advance, commit, abort.
//!
//! A rollout goes through the slots in batches of at most `surge` (all of them by default). Each slot of the batch gets
//! a *candidate* beside its serving worker, which serves on untouched. When every candidate is ready the batch is
//! **committed**: the candidates take the places and the old workers are told to drain. When a candidate ends, cannot be
//! started, or `abort_at` comes first, the rollout is **aborted**: the candidates are stopped and the old workers never
//! notice. A slot that `inc` adds meanwhile is picked up by the next batch. When no slot is left the generation serves.
//!
//! Another upgrade that is asked for meanwhile waits, since the running one may have spawned the program as it was
//! before; all that wait share the next rollout.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::command::{AbortCause, Done, Failed, Reply, Verb};
use crate::event::Failure;
use crate::group::reconcile::{self, Place};
use crate::group::{Group, Intent};
use crate::ids::{Generation, Pid, RequestId, Slot, WorkerId};
use crate::spec::{Signal, Surge};
use crate::time::Instant;
use crate::worker::{Crew, Farewell, Means, State, Waits};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) generation: Generation,
    pub(crate) began: Instant,
    pub(crate) requests: Vec<RequestId>,
    /// Takes the place of `ack_signal`.
    pub(crate) signal: Option<Signal>,
    pub(crate) abort_at: Instant,
    /// The batch is the slots from `batch` up to `next`.
    pub(crate) batch: Slot,
    pub(crate) next: Slot,
    /// Candidates of the batch that are not ready.
    pub(crate) unready: u32,
    pub(crate) new: Vec<Pid>,
    pub(crate) old: Vec<Pid>,
}

/// Who wants an upgrade; nobody, if it is the group's own wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) requests: Vec<RequestId>,
    pub(crate) signal: Option<Signal>,
}

impl Rollout {
    /// Candidates of the batch that are ready and wait for the others.
    pub(crate) fn ready_in_batch(&self) -> u32 {
        self.next.0 - self.batch.0 - self.unready
    }
}

/// Begins a rollout for those who asked for it.
pub(crate) fn begin(group: &mut Group, asked: Queued, crew: &mut Crew, now: Instant) {
    let generation = group.next_generation();
    group.rollout = Some(Rollout {
        generation,
        began: now,
        requests: asked.requests,
        signal: asked.signal,
        abort_at: now,
        batch: Slot(0),
        next: Slot(0),
        unready: 0,
        new: Vec::new(),
        old: Vec::new(),
    });
    group.watch_program(crew);
    let workers = group.count;
    crew.act(Action::Notice(Notice::RolloutBegan { group: group.id, generation, workers }));
    advance(group, crew, now);
}

/// Gives the next slots their candidates, or ends the rollout where none is left.
fn advance(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    let surge = match group.spec.surge {
        Surge::Whole => group.count,
        Surge::AtMost(most) => most.get(),
    };
    let first = rollout.next.0;
    let end = group.count.min(first.saturating_add(surge));
    if first >= end {
        return finish(group, crew, now);
    }
    let generation = rollout.generation;
    rollout.abort_at = now + group.spec.start_timeout;
    rollout.batch = Slot(first);
    rollout.next = Slot(end);
    rollout.unready = end - first;
    crew.wait_until(rollout.abort_at, Waits::Rollout(group.id));
    for slot in first..end {
        reconcile::birth(group, Slot(slot), Place::Candidate, generation, crew, now);
    }
}

/// One more candidate is ready.
pub(crate) fn candidate_ready(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.unready -= 1;
    if rollout.unready == 0 {
        commit_batch(group, crew, now);
    }
}

/// `dec` takes the highest slot out of the group, and with it out of the batch.
pub(crate) fn slot_removed(group: &mut Group, slot: Slot, was_unready: bool, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &mut group.rollout else { return };
    rollout.next = rollout.next.min(slot);
    if was_unready {
        candidate_ready(group, crew, now);
    }
}

/// The candidates take the places; the old workers are told to drain.
fn commit_batch(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &group.rollout else { return };
    let (first, end, generation) = (rollout.batch.0, rollout.next.0, rollout.generation);
    crew.no_longer(Some(rollout.abort_at), Waits::Rollout(group.id));
    for index in first..end {
        let slot = Slot(index);
        let farewell = ack_farewell(group, slot, crew);
        let old = reconcile::retire(group, slot, Place::Serving, farewell, crew, now);
        let place = &mut group.slots[index as usize];
        place.serving = place.candidate.take();
        place.generation = generation;
        place.failures = 0;
        crew.no_longer(place.respawn_at.take(), Waits::Slot(group.id, slot));
        (place.failed, place.gave_up) = (false, None);
        group.ended -= u32::from(core::mem::take(&mut place.ended));
        let new_pid = place.serving.and_then(|id| pid(id, crew));
        let old_pid = old.and_then(|id| pid(id, crew));
        // Who waited for the old worker's spawn has a running worker in the slot now.
        if let Some(pid) = new_pid {
            group.tell_waiters_spawned(slot, pid, crew);
        }
        if let Some(rollout) = &mut group.rollout {
            rollout.new.extend(new_pid);
            rollout.old.extend(old_pid);
        }
    }
    advance(group, crew, now);
}

fn pid(id: WorkerId, crew: &Crew) -> Option<Pid> {
    crew.workers.get(&id).and_then(|worker| worker.pid)
}

/// How the old worker of a slot is told: by the command's signal, its successor's, or the configuration's.
fn ack_farewell(group: &Group, slot: Slot, crew: &Crew) -> Farewell {
    let asked = group.rollout.as_ref().and_then(|r| r.signal);
    let successor = group.slots.get(slot.0 as usize).and_then(|p| p.candidate);
    let by_ack = successor.and_then(|id| crew.workers.get(&id)).and_then(|w| w.ack_signal);
    let signal = asked.or(by_ack).unwrap_or(group.spec.ack_signal);
    let means = Means::Signal { signal, uncaught: Some(group.spec.stop_signal) };
    Farewell { means, timeout: group.spec.drain_timeout }
}

/// Every slot has been renewed: the generation serves.
fn finish(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = group.rollout.take() else { return };
    let Rollout { generation, began, requests, new, old, .. } = rollout;
    group.generation = generation;
    let took = now.since(began);
    crew.act(Action::Notice(Notice::RolloutCommitted { group: group.id, generation, took }));
    for request in requests {
        let done = Done::Upgraded { generation, new: new.clone(), old: old.clone() };
        crew.act(Action::Reply { request, reply: Reply::Done(done) });
    }
    begin_queued(group, crew, now);
}

pub(crate) fn candidate_died(
    group: &mut Group,
    slot: Slot,
    pid: Option<Pid>,
    failure: Failure,
    crew: &mut Crew,
    now: Instant,
) {
    let farewell = reconcile::stop_farewell(group, None);
    abort(group, AbortCause::Worker { slot, pid, failure }, farewell, crew, now);
    begin_queued(group, crew, now);
}

/// `start_timeout` is over and not every candidate is ready.
pub(crate) fn timed_out(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &group.rollout else { return };
    let unready = rollout.unready;
    let late = (rollout.batch.0..rollout.next.0).map(Slot).find_map(|slot| {
        let id = group.slots.get(slot.0 as usize)?.candidate?;
        let worker = crew.workers.get(&id)?;
        (worker.state != State::Ready).then_some((slot, worker.pid))
    });
    let (slot, pid) = late.unwrap_or((rollout.batch, None));
    let farewell = reconcile::stop_farewell(group, None);
    abort(group, AbortCause::Timeout { slot, pid, unready }, farewell, crew, now);
    begin_queued(group, crew, now);
}

/// Another command ends the rollout, and those that wait for one; its farewell is the candidates' too.
pub(crate) fn overruled(group: &mut Group, by: Option<Verb>, farewell: Farewell, crew: &mut Crew, now: Instant) {
    abort(group, AbortCause::Command { by }, farewell, crew, now);
    let waiting = group.drop_upgrader(crew).into_iter().chain(group.queued.take());
    for request in waiting.flat_map(|asked| asked.requests) {
        crew.act(Action::Reply { request, reply: Reply::Failed(Failed::Superseded { by }) });
    }
}

/// Stops the candidates; the old workers serve on. A respawn from now on starts the committed generation.
fn abort(group: &mut Group, cause: AbortCause, farewell: Farewell, crew: &mut Crew, now: Instant) {
    let Some(rollout) = group.rollout.take() else { return };
    crew.no_longer(Some(rollout.abort_at), Waits::Rollout(group.id));
    for slot in (rollout.batch.0..rollout.next.0).map(Slot) {
        reconcile::retire(group, slot, Place::Candidate, farewell, crew, now);
    }
    let committed = group.generation;
    group.slots.iter_mut().for_each(|place| place.generation = committed);
    let generation = rollout.generation;
    crew.act(Action::Notice(Notice::RolloutAborted { group: group.id, generation, cause: cause.clone() }));
    for request in rollout.requests {
        let failed = Failed::Aborted { generation, cause: cause.clone() };
        crew.act(Action::Reply { request, reply: Reply::Failed(failed) });
    }
}

/// Those who waited get their upgrade now, or the upgrader that decides about it.
pub(crate) fn begin_queued(group: &mut Group, crew: &mut Crew, now: Instant) {
    if group.intent != Intent::Running || group.rollout.is_some() {
        return;
    }
    if group.asks_upgrader() && group.upgrading.is_some() {
        return;
    }
    match group.queued.take() {
        Some(queued) if group.asks_upgrader() => group.run_upgrader(queued, crew, now),
        Some(queued) => group.renew(queued, crew, now),
        None => {}
    }
}
