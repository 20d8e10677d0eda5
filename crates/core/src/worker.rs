//! One worker's life, and the crew of all workers with their deadlines.
//!
//! ```text
//!  birth            Spawned             ack               retire                  kill_at
//!    │   ┌──────────┐     ┌──────────┐      ┌───────┐        ┌──────────┐      ┌─────────┐
//!    └──▶│ Spawning │────▶│ Starting │─────▶│ Ready │───────▶│ Draining │─────▶│ Killing │
//!        └──────────┘     └──────────┘      └───────┘        └──────────┘      └─────────┘
//! ```
//! - **Spawning**: the shell was asked to start a process and has not answered. A program on a dead file server answers
//!   when it answers. What must happen to it meanwhile is remembered as its *fate* and done at the answer; one that is
//!   asked to end in this state is killed at `kill_at` as any other. Its ack may overtake the answer, so it is
//!   remembered too.
//! - **Starting**: the program runs and has not acked. With a timer, `ready_at` is when it counts as ready.
//! - **Ready**: it serves.
//! - **Parting**: its successor has taken its place, but it serves on and is told only at `tell_at`. It is not in the
//!   picture, as most groups have no `kill_old_delay`; from here it goes to Draining.
//! - **Draining**: it was asked to end and may finish what it has in hand until `kill_at`.
//! - **Killing**: it got SIGKILL. Only its exit follows; a process that the kernel cannot kill stays here, and nobody
//!   but its own group notices.
//!
//! A worker leaves from any state by its exit. A worker that is Parting, Draining or Killing (or is fated to) belongs to no slot
//! any more: it is *leaving*, and its exit calls for no respawn.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::backoff::Rng;
use crate::care::{Asks, Care, SaysOfItself};
use crate::event::Answer;
use crate::hook::Hook;
use crate::ids::{GroupId, Pid, Slot, Version, WorkerId};
use crate::spec::Signal;
use crate::time::{Duration, Instant};
use crate::view::{Condition, Stage};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) group: GroupId,
    pub(crate) slot: Slot,
    pub(crate) version: Version,
    pub(crate) pid: Option<Pid>,
    pub(crate) born: Instant,
    /// What its ack asked its predecessor to be told with.
    pub(crate) ack_signal: Option<Signal>,
    /// What is kept an eye on, if anything is.
    pub(crate) care: Option<Box<Care>>,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Spawning { acked: bool, fate: Fate },
    Starting { ready_at: Option<Instant> },
    Ready,
    Parting { tell_at: Instant, farewell: Farewell },
    Draining { kill_at: Instant, farewell: Farewell },
    Killing,
}

/// What was decided about a worker that is still being spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Live,
    Leave { kill_at: Instant, farewell: Farewell },
    Die,
}

/// How a worker is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Farewell {
    pub(crate) means: Means,
    pub(crate) timeout: Duration,
}

/// By what a worker is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Means {
    /// `uncaught` is sent instead if the process does not catch `signal`.
    Signal { signal: Signal, uncaught: Option<Signal> },
    /// By the group's hook, which is not the worker's own business: it is only waited for. `runs`: it is to be run for
    /// that, and has not been.
    Hook { runs: bool },
}

impl Farewell {
    /// By a signal.
    pub(crate) fn by(signal: Signal, timeout: Duration) -> Farewell {
        Farewell { means: Means::Signal { signal, uncaught: None }, timeout }
    }

    /// Whether the group's hook asks.
    pub(crate) fn by_hook(self) -> bool {
        matches!(self.means, Means::Hook { .. })
    }

    /// The signal that the worker gets first; none if a hook is run in its place.
    pub(crate) fn signal(self) -> Option<Signal> {
        match self.means {
            Means::Signal { signal, .. } => Some(signal),
            Means::Hook { .. } => None,
        }
    }
}

impl Worker {
    pub(crate) fn stage(&self) -> Stage {
        match self.state {
            State::Spawning { .. } => Stage::Spawning,
            State::Starting { .. } => Stage::Starting,
            State::Ready => Stage::Ready,
            State::Parting { .. } | State::Draining { .. } => Stage::Draining,
            State::Killing => Stage::Killing,
        }
    }

    /// What it answered when it was last asked whether it serves, if that was bad.
    pub(crate) fn last_bad_answer(&self) -> Option<Answer> {
        self.care.as_deref()?.probing?.last_bad
    }

    /// What there is to say beside its stage.
    pub(crate) fn condition(&self) -> Option<Condition> {
        match self.care.as_deref()?.said {
            SaysOfItself::Reloads => Some(Condition::Reloading),
            SaysOfItself::Stops => Some(Condition::Stopping),
            SaysOfItself::Nothing => self.last_bad_answer().map(Condition::Unhealthy),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let care = |ready| self.care.as_ref().and_then(|care| care.deadline(ready));
        match self.state {
            State::Starting { ready_at } => ready_at.into_iter().chain(care(false)).min(),
            State::Ready => care(true),
            State::Parting { tell_at, .. } => Some(tell_at),
            State::Draining { kill_at, .. } => Some(kill_at),
            State::Spawning { fate: Fate::Leave { kill_at, .. }, .. } => Some(kill_at),
            State::Spawning { fate: Fate::Live | Fate::Die, .. } | State::Killing => None,
        }
    }
}

/// Whose state a deadline is a field of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Waits {
    /// A worker: `ready_at`, `tell_at` or `kill_at`, and what its `Care` waits for.
    Worker(WorkerId),
    /// A slot: `respawn_at`.
    Slot(GroupId, Slot),
    /// A group's rollout: `abort_at`, `until`.
    Rollout(GroupId),
    /// The replacement of a group's spent workers: `abort_at`, `again_at`.
    Recycling(GroupId),
    /// A group whose workers are to be weighed: `weigh_at`.
    Weighing(GroupId),
    /// A group that will wait for a connection, or start: `watch_at`, `run_at`.
    Group(GroupId),
    /// A hook: `kill_at`.
    Hook(WorkerId),
    /// A group's upgrader that runs every so often: `upgrader_at`.
    Upgrader(GroupId),
    /// The stop of everything: `kill_at`, `leave_at`.
    Shutdown,
}

/// Workers by id, each found in one step however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workers {
    places: Vec<Option<(WorkerId, Worker)>>,
    free: Vec<u32>,
    born: u64,
}

impl Workers {
    fn insert(&mut self, worker: Worker) -> WorkerId {
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        self.born += 1;
        let id = WorkerId::new(self.born, place);
        match self.places.get_mut(place as usize) {
            Some(empty) => *empty = Some((id, worker)),
            None => self.places.push(Some((id, worker))),
        }
        id
    }

    /// An id that no worker has or will have, for a process that is none.
    pub(crate) fn next_id_without_place(&mut self) -> WorkerId {
        self.born += 1;
        WorkerId::without_place(self.born)
    }

    fn remove(&mut self, id: &WorkerId) -> Option<Worker> {
        let place = id.place();
        let (_, worker) = self.places.get_mut(place)?.take_if(|(there, _)| there == id)?;
        self.free.push(place as u32);
        Some(worker)
    }

    pub(crate) fn get(&self, id: &WorkerId) -> Option<&Worker> {
        let (there, worker) = self.places.get(id.place())?.as_ref()?;
        (there == id).then_some(worker)
    }

    pub(crate) fn get_mut(&mut self, id: &WorkerId) -> Option<&mut Worker> {
        let (there, worker) = self.places.get_mut(id.place())?.as_mut()?;
        (there == id).then_some(worker)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> + Clone {
        self.places.iter().flatten().map(|(id, worker)| (id, worker))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All workers of all groups, what is to be done next, and an index over every deadline in any state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crew {
    pub(crate) workers: Workers,
    pub(crate) hooks: BTreeMap<WorkerId, Hook>,
    deadlines: BTreeSet<(Instant, Waits)>,
    pub(crate) rng: Rng,
    #[serde(skip)]
    pub(crate) actions: VecDeque<Action>,
}

impl Crew {
    pub(crate) fn new(seed: u64) -> Crew {
        let (workers, hooks, deadlines, actions) = Default::default();
        Crew { workers, hooks, deadlines, rng: Rng::new(seed), actions }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// A new worker, on its way.
    pub(crate) fn birth(&mut self, group: GroupId, slot: Slot, version: Version, now: Instant) -> WorkerId {
        let state = State::Spawning { acked: false, fate: Fate::Live };
        let worker = Worker { group, slot, version, pid: None, born: now, ack_signal: None, care: None, state };
        let id = self.workers.insert(worker);
        let Version { generation, edition } = version;
        self.act(Action::Spawn { worker: id, group, slot, generation, edition });
        id
    }

    /// Moves a worker to another state.
    pub(crate) fn enter(&mut self, id: WorkerId, state: State) {
        self.change(id, |worker| worker.state = state);
    }

    /// Notes what is known of a worker that is kept an eye on; it is from now on, if it was not.
    pub(crate) fn care(&mut self, id: WorkerId, note: impl FnOnce(&mut Care)) {
        self.change(id, |worker| note(worker.care.get_or_insert_default()));
    }

    /// Keeps no eye on a worker any more.
    fn care_no_more(&mut self, id: WorkerId) {
        let care = self.workers.get_mut(&id).and_then(|worker| worker.care.take());
        if let Some(Asks::Now(Some(hook))) = care.and_then(|care| care.probing).map(|probing| probing.asks) {
            self.kill_hook(hook);
        }
    }

    /// Changes a worker and keeps the index of deadlines right.
    fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(at) = worker.deadline() {
            self.deadlines.remove(&(at, Waits::Worker(id)));
        }
        change(worker);
        if let Some(at) = worker.deadline() {
            self.deadlines.insert((at, Waits::Worker(id)));
        }
    }

    /// A worker's end: it is known no more.
    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let at = self.workers.get(&id)?.deadline();
        self.no_longer(at, Waits::Worker(id));
        self.care_no_more(id);
        self.workers.remove(&id)
    }

    /// Asks a worker to end; says whether it has a process that could be told. One that is ending already is told again
    /// only with another signal, and gets no more time than it had.
    pub(crate) fn farewell(&mut self, id: WorkerId, farewell: Farewell, now: Instant) {
        let Some(worker) = self.workers.get(&id) else { return };
        let mut kill_at = now + farewell.timeout;
        let mut farewell = farewell;
        let mut tell = true;
        match worker.state {
            State::Spawning { .. } if farewell.signal() == Some(Signal::KILL) => return self.kill(id),
            State::Spawning { acked, fate: Fate::Live } => {
                return self.enter(id, State::Spawning { acked, fate: Fate::Leave { kill_at, farewell } });
            }
            State::Spawning { acked, fate: Fate::Leave { kill_at: before, .. } } => {
                let kill_at = kill_at.min(before);
                return self.enter(id, State::Spawning { acked, fate: Fate::Leave { kill_at, farewell } });
            }
            State::Spawning { fate: Fate::Die, .. } | State::Killing => return,
            State::Starting { .. } | State::Ready | State::Parting { .. } => {}
            State::Draining { kill_at: before, farewell: first } => {
                kill_at = kill_at.min(before);
                tell = !farewell.by_hook() && first.signal() != farewell.signal();
                // What it was asked by before still holds.
                if farewell.by_hook() {
                    farewell = first;
                }
            }
        }
        match farewell.means {
            Means::Signal { signal: Signal::KILL, .. } => return self.kill(id),
            Means::Signal { signal, uncaught } if tell => {
                self.act(Action::Signal { worker: id, signal, uncaught });
            }
            Means::Signal { .. } | Means::Hook { .. } => {}
        }
        self.leave(id, State::Draining { kill_at, farewell });
    }

    /// Lets a worker serve on, beside its successor, until it is asked to end.
    pub(crate) fn part(&mut self, id: WorkerId, tell_at: Instant, farewell: Farewell) {
        self.leave(id, State::Parting { tell_at, farewell });
    }

    /// Moves a worker to a state in which nobody cares any more whether it is well.
    fn leave(&mut self, id: WorkerId, state: State) {
        let at = self.workers.get(&id).and_then(Worker::deadline);
        self.no_longer(at, Waits::Worker(id));
        self.care_no_more(id);
        self.enter(id, state);
    }

    /// SIGKILL, now or as soon as there is a process.
    pub(crate) fn kill(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.state {
            State::Spawning { fate: Fate::Die, .. } | State::Killing => {}
            State::Spawning { acked, fate: Fate::Live | Fate::Leave { .. } } => {
                self.act(Action::Kill { worker: id });
                self.enter(id, State::Spawning { acked, fate: Fate::Die });
            }
            State::Starting { .. } | State::Ready | State::Parting { .. } | State::Draining { .. } => {
                self.act(Action::Kill { worker: id });
                self.leave(id, State::Killing);
            }
        }
    }

    pub(crate) fn wait_until(&mut self, at: Instant, who: Waits) {
        self.deadlines.insert((at, who));
    }

    pub(crate) fn no_longer(&mut self, at: Option<Instant>, who: Waits) {
        if let Some(at) = at {
            self.deadlines.remove(&(at, who));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes the first deadline that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Waits> {
        let &(at, who) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(who)
    }

    /// Every deadline that the workers' states hold, for the check of the index.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn worker_deadlines(&self) -> impl Iterator<Item = (Instant, Waits)> + '_ {
        self.workers.iter().filter_map(|(id, w)| Some((w.deadline()?, Waits::Worker(*id))))
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn deadlines(&self) -> &BTreeSet<(Instant, Waits)> {
        &self.deadlines
    }
}
