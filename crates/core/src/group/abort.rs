//! How a rollout ends before its time: by a fault of its own or by a command. The candidates are stopped, the old workers
//! never notice, and a slot that was emptied is filled as it was before. Called by `rollout`, `ends`, `caring` and `obey`.

use crate::action::{Action, Notice};
use crate::command::{AbortCause, Failed, Reply, Verb};
use crate::event::Failure;
use crate::group::reconcile::{self, Place};
use crate::group::{rollout, Group};
use crate::ids::{Pid, Slot};
use crate::time::Instant;
use crate::worker::{Crew, Farewell, State, Waits};

pub(crate) fn candidate_died(
    group: &mut Group,
    slot: Slot,
    pid: Option<Pid>,
    failure: Failure,
    crew: &mut Crew,
    now: Instant,
) {
    fail(group, AbortCause::Worker { slot, pid, failure }, crew, now);
}

/// The rollout ends by a fault of its own.
pub(crate) fn fail(group: &mut Group, cause: AbortCause, crew: &mut Crew, now: Instant) {
    let farewell = reconcile::stop_farewell(group, None);
    abort(group, cause, farewell, crew, now);
    reconcile::every_slot(group, crew, now);
    rollout::begin_queued(group, crew, now);
    group.replace_next(crew, now);
}

pub(crate) fn timed_out(group: &mut Group, crew: &mut Crew, now: Instant) {
    let Some(rollout) = &group.rollout else { return };
    let unready = rollout.unready;
    let late = (rollout.batch.0..rollout.next.0).map(Slot).find_map(|slot| {
        let id = group.slots.get(slot.0 as usize)?.candidate?;
        let worker = crew.workers.get(&id)?;
        (worker.state != State::Ready).then(|| (slot, worker.pid, worker.last_bad_answer()))
    });
    let (slot, pid, answer) = late.unwrap_or((rollout.batch, None, None));
    fail(group, AbortCause::Timeout { slot, pid, unready, answer }, crew, now);
}

/// Another command ends the rollout, and those that wait for one; its farewell is the candidates' too.
pub(crate) fn overruled(group: &mut Group, by: Option<Verb>, farewell: Farewell, crew: &mut Crew, now: Instant) {
    abort(group, AbortCause::Command { by }, farewell, crew, now);
    let waiting = group.drop_upgrader(crew).into_iter().chain(group.queued.take());
    for (request, _) in waiting.flat_map(|asked| asked.requests) {
        crew.act(Action::Reply { request, reply: Reply::Failed(Failed::Superseded { by }) });
    }
}

/// How many workers the rollout under way has committed.
pub(crate) fn committed(group: &Group) -> u32 {
    group.rollout.as_ref().map_or(0, |rollout| rollout.batch.0.min(group.count))
}

/// Stops the candidates; the old workers serve on. A respawn from now on starts the committed version.
fn abort(group: &mut Group, cause: AbortCause, farewell: Farewell, crew: &mut Crew, now: Instant) {
    let (committed, workers) = (committed(group), group.count);
    let Some(rollout) = group.rollout.take() else { return };
    crew.no_longer(rollout.deadline(), Waits::Rollout(group.id));
    for slot in (rollout.batch.0..rollout.next.0).map(Slot) {
        reconcile::retire(group, slot, Place::Candidate, farewell, crew, now);
    }
    let serving = group.version;
    group.mixed |= rollout.batch.0 > 0;
    group.slots.iter_mut().for_each(|place| (place.version, place.held) = (serving, false));
    let (generation, verb) = (rollout.version.generation, rollout.verb);
    let notice = Notice::RolloutAborted { group: group.id, verb, generation, committed, workers, cause: cause.clone() };
    crew.act(Action::Notice(notice));
    for (request, _) in rollout.requests {
        let failed = Failed::Aborted { generation, committed, workers, cause: cause.clone() };
        crew.act(Action::Reply { request, reply: Reply::Failed(failed) });
    }
}
