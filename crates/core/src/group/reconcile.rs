//! Desired against actual: births a worker where one is wanted and missing, retires one that is not wanted. No other
//! module does either, so no crossing of commands, crashes and upgrades needs a case of its own.

use crate::group::{Group, Intent};
use crate::ids::{Pid, Slot, Version, WorkerId};
use crate::spec::Signal;
use crate::time::Instant;
use crate::worker::{Crew, Farewell, Means, State, Waits};

/// A worker's place in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Serving,
    Candidate,
}

/// Brings every slot to what is wanted, and lets go of slots above the count.
pub(crate) fn every_slot(group: &mut Group, crew: &mut Crew, now: Instant) {
    for index in 0..group.slots.len() as u32 {
        slot(group, Slot(index), crew, now);
    }
    drop_slots_above_count(group);
}

/// Brings one slot to what is wanted.
pub(crate) fn slot(group: &mut Group, slot: Slot, crew: &mut Crew, now: Instant) {
    let wanted = group.intent == Intent::Running && slot.0 < group.count;
    let Some(place) = group.slots.get_mut(slot.0 as usize) else { return };
    if wanted {
        if place.serving.is_none() && !place.held && !place.ended && place.respawn_at.is_none() {
            let version = place.version;
            birth(group, slot, Place::Serving, version, crew, now);
        }
        return;
    }
    crew.no_longer(place.respawn_at.take(), Waits::Slot(group.id, slot));
    let farewell = stop_farewell(group, None);
    retire(group, slot, Place::Candidate, farewell, crew, now);
    retire(group, slot, Place::Serving, farewell, crew, now);
}

/// A new worker for a place that is empty.
pub(crate) fn birth(group: &mut Group, slot: Slot, place: Place, version: Version, crew: &mut Crew, now: Instant) {
    let id = crew.birth(group.id, slot, version, now);
    let state = &mut group.slots[slot.0 as usize];
    match place {
        Place::Serving => state.serving = Some(id),
        Place::Candidate => state.candidate = Some(id),
    }
    group.live += 1;
}

/// Takes the worker of a place out of it and asks it to end.
pub(crate) fn retire(
    group: &mut Group,
    slot: Slot,
    place: Place,
    farewell: Farewell,
    crew: &mut Crew,
    now: Instant,
) -> Option<WorkerId> {
    let state = group.slots.get_mut(slot.0 as usize)?;
    let id = match place {
        Place::Serving => state.serving.take(),
        Place::Candidate => state.candidate.take(),
    }?;
    release(group, id, crew);
    crew.farewell(id, farewell, now);
    Some(id)
}

/// The candidate of a slot takes the place; the worker that held it is let go, and told so when `kill_old_delay` is over.
/// Returns that worker and the pid of the new one.
pub(crate) fn take_over(
    group: &mut Group,
    slot: Slot,
    farewell: Farewell,
    crew: &mut Crew,
    now: Instant,
) -> (Option<WorkerId>, Option<Pid>) {
    let delay = group.spec.kill_old_delay;
    let Some(place) = group.slots.get_mut(slot.0 as usize) else { return (None, None) };
    let old = core::mem::replace(&mut place.serving, place.candidate.take());
    let new_pid = place.serving.and_then(|id| crew.workers.get(&id)?.pid);
    if let Some(id) = old {
        release(group, id, crew);
        let runs = crew.workers.get(&id).is_some_and(|worker| worker.pid.is_some());
        match runs && !delay.is_zero() {
            true => crew.part(id, now + delay, farewell),
            false => crew.farewell(id, farewell, now),
        }
    }
    (old, new_pid)
}

/// Takes every worker out of its place and asks it to end; those that are ending already are asked again. Where the
/// group's hook is what asks, it is run.
pub(crate) fn retire_all(group: &mut Group, farewell: Farewell, crew: &mut Crew, now: Instant) {
    for index in 0..group.slots.len() {
        let place = &mut group.slots[index];
        for id in [place.candidate.take(), place.serving.take()].into_iter().flatten() {
            release(group, id, crew);
        }
    }
    let (everybody, pids) = group.everybody(crew);
    for id in everybody {
        crew.farewell(id, farewell, now);
    }
    if farewell.means == (Means::Hook { runs: true }) {
        group.run_stop_hook(pids, farewell.timeout, crew, now);
    }
}

/// A worker that was taken out of its place is leaving.
fn release(group: &mut Group, id: WorkerId, crew: &Crew) {
    group.live -= 1;
    group.leaving += 1;
    if crew.workers.get(&id).is_some_and(|w| w.state == State::Ready) {
        group.ready -= 1;
    }
}

/// How a worker is stopped; `signal` takes the place of `stop_signal`.
pub(crate) fn stop_farewell(group: &Group, signal: Option<Signal>) -> Farewell {
    Farewell::by(signal.unwrap_or(group.spec.stop_signal), group.spec.stop_timeout)
}

/// How the old worker of a slot is told that its successor serves: by the signal that was asked for, that its successor
/// named, or that the configuration has.
pub(crate) fn ack_farewell(group: &Group, slot: Slot, asked: Option<Signal>, crew: &Crew) -> Farewell {
    let successor = group.slots.get(slot.0 as usize).and_then(|p| p.candidate);
    let by_ack = successor.and_then(|id| crew.workers.get(&id)).and_then(|w| w.ack_signal);
    let signal = asked.or(by_ack).unwrap_or(group.spec.ack_signal);
    let means = Means::Signal { signal, uncaught: Some(group.spec.stop_signal) };
    Farewell { means, timeout: group.spec.drain_timeout }
}

/// How the whole group is stopped: by its hook, if it has one and nobody named a signal. It is run once for a stop: for
/// workers that were asked by it already it is not run again.
pub(crate) fn group_farewell(group: &Group, signal: Option<Signal>, crew: &Crew) -> Farewell {
    let by_signal = stop_farewell(group, signal);
    if !group.spec.stop_hook || signal.is_some() {
        return by_signal;
    }
    let ours = || crew.workers.iter().map(|(_, worker)| worker).filter(|worker| worker.group == group.id);
    let unasked =
        ours().any(|worker| matches!(worker.state, State::Starting { .. } | State::Ready | State::Parting { .. }));
    let asked = ours().any(|worker| matches!(worker.state, State::Draining { farewell, .. } if farewell.by_hook()));
    match unasked || asked {
        true => Farewell { means: Means::Hook { runs: unasked }, ..by_signal },
        false => by_signal,
    }
}

/// Slots above the count have no worker any more and are forgotten.
pub(crate) fn drop_slots_above_count(group: &mut Group) {
    let count = group.count as usize;
    if group.slots.len() > count {
        group.ended -= group.slots[count..].iter().filter(|place| place.ended).count() as u32;
        group.slots.truncate(count);
    }
}
