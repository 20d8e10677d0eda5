//! What the thread that reads pipes and the threads that write sinks have in common: which pipe has something for which
//! sink, and who is at it. Used by `reader` and `hand`.
//!
//! A *seat* is a sink with the pipes that have something for it. It is in the queue when there is something to do and
//! nobody at it; a hand takes the sink out of its seat and puts it back after each turn. So a sink whose disk hangs keeps
//! one hand, and the others go on with the rest; if all hands hang while something waits, another one is hired.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{eventfd, EventfdFlags};

use super::sink::{now, Sink, Turn, Work};
use super::source::Source;
use super::times::Times;
use crate::journal::Gap;

pub(super) struct Board {
    state: Mutex<State>,
    /// There is something in the queue.
    work: Condvar,
    /// Wakes the thread that reads.
    bell: OwnedFd,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) seats: Vec<Seat>,
    pub(super) entries: BTreeMap<RawFd, Entry>,
    queue: VecDeque<usize>,
    /// What the thread that reads is to look at.
    pub(super) told: Vec<Told>,
    rung: bool,
    /// Hands, and those that wait for work.
    pub(super) hands: usize,
    idle: usize,
}

/// A sink and who wants something of it.
pub(super) struct Seat {
    /// None while somebody is at it.
    pub(super) sink: Option<Box<Sink>>,
    ready: VecDeque<RawFd>,
    queued: bool,
    /// Its file is to be opened anew.
    pub(super) reopen: bool,
    /// Since when somebody is at it.
    pub(super) since: Option<Instant>,
    /// It does not work: the next attempt, and how long after the last one.
    pub(super) retry_at: Option<Instant>,
    patience: Duration,
    /// Since when it takes nothing.
    pub(super) stuck_since: Option<Instant>,
    /// Whoever reads it is slow.
    pub(super) wants_room: bool,
    /// So many pipes go there.
    pub(super) pipes: usize,
}

/// A pipe.
pub(super) struct Entry {
    pub(super) source: Arc<Source>,
    pub(super) seat: usize,
    /// How much was taken from it.
    pub(super) size: u64,
    /// When it became so much.
    times: Times,
    /// Nothing more comes from the pipe.
    pub(super) ended: bool,
    ready: bool,
    /// Somebody writes what it has, up to here.
    pub(super) claimed: Option<u64>,
    /// Nothing is read from it, for lack of room.
    pub(super) held: bool,
}

impl Entry {
    pub(super) fn new(source: Arc<Source>, seat: usize, size: u64) -> Entry {
        let mut times = Times::default();
        times.reached(size, now());
        Entry { source, seat, size, times, ended: false, ready: false, claimed: None, held: false }
    }

    /// So much was taken from it now.
    pub(super) fn grows(&mut self, size: u64) {
        if size > self.size {
            self.times.reached(size, now());
        }
        self.size = size;
    }

    /// Its stage begins anew, at this position.
    pub(super) fn begin_anew(&mut self, at: u64) {
        self.times.clear();
        self.size = at;
    }

    /// Nobody is at it or about to be.
    pub(super) fn rests(&self) -> bool {
        !self.ready && self.claimed.is_none()
    }
}

/// A message to the thread that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// There is room in a stage that was full.
    Room(RawFd),
    /// All before the gap is written.
    GapReached(RawFd),
    /// All of an ended pipe is written.
    Done(RawFd),
    /// A sink needs to be waited for.
    Seat(usize),
    /// A file was opened anew.
    Reopened,
}

/// What a hand has taken on.
pub(super) struct Task {
    seat: usize,
    pub(super) sink: Box<Sink>,
    pub(super) job: Job,
}

/// What is to be done with a sink.
pub(super) enum Job {
    /// Its file is to be opened anew.
    Reopen,
    /// Something of this pipe is to be written.
    Write(RawFd, Work),
}

/// The first wait after a failure, and the longest.
const PATIENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// A hand that is at a sink for so long hangs.
const HANGS: Duration = Duration::from_millis(200);
/// There are never more.
const MOST_HANDS: usize = 32;

impl Board {
    pub(super) fn new(sinks: impl Iterator<Item = Sink>) -> rustix::io::Result<Board> {
        let seats = sinks.map(Seat::new).collect();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Board { state: Mutex::new(State { seats, ..State::default() }), work: Condvar::new(), bell })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// A seat may have become ready.
    pub(super) fn queue(&self, state: &mut State, seat: usize) {
        if state.queue_seat(seat) && state.idle > 0 {
            self.work.notify_one();
        }
    }

    /// Waits for something to do. None: there are others who wait, too many.
    pub(super) fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.take() {
                return Some(task);
            }
            if state.idle > 0 {
                state.hands -= 1;
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Puts a sink back after a turn, and takes the next thing, if there is one.
    pub(super) fn put_back(&self, mut task: Task, turn: Turn) -> Option<Task> {
        let mut state = self.lock();
        let seat = task.seat;
        if task.sink.has_reopened() {
            state.told.push(Told::Reopened);
        }
        state.put_back(task, turn);
        state.queue_seat(seat);
        if !state.told.is_empty() && !state.rung {
            state.rung = true;
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
        let next = state.take();
        if !state.queue.is_empty() && state.idle > 0 {
            self.work.notify_one();
        }
        next
    }
}

impl State {
    /// A pipe has more, or has ended.
    pub(super) fn make_ready(&mut self, number: RawFd, first: bool) -> Option<usize> {
        let entry = self.entries.get_mut(&number)?;
        let seat = &mut self.seats[entry.seat];
        if !std::mem::replace(&mut entry.ready, true) {
            match first {
                true => seat.ready.push_front(number),
                false => seat.ready.push_back(number),
            }
        }
        Some(entry.seat)
    }

    /// Pipes that have ended and wait for a sink that took nothing for so long, but for the first few, and but for one that
    /// the sink is in the middle of.
    pub(super) fn surplus(&self, index: usize, patience: Duration, few: usize) -> Vec<RawFd> {
        let seat = &self.seats[index];
        let stuck = [seat.stuck_since, seat.since].into_iter().flatten().min();
        if stuck.is_none_or(|since| since.elapsed() < patience) {
            return Vec::new();
        }
        let begun = seat.sink.as_ref().and_then(|sink| sink.pending()).map(|(number, _)| number as RawFd);
        let ended =
            |number: &RawFd| self.entries.get(number).is_some_and(|entry| entry.ended && entry.claimed.is_none());
        let waiting = seat.ready.iter().copied().filter(|number| ended(number) && Some(*number) != begun);
        waiting.skip(few).collect()
    }

    /// A pipe is done with. Its number may be another's soon, so it stands nowhere any more.
    pub(super) fn remove(&mut self, number: RawFd) {
        if let Some(entry) = self.entries.remove(&number) {
            let seat = &mut self.seats[entry.seat];
            seat.pipes -= 1;
            seat.ready.retain(|ready| *ready != number);
        }
    }

    /// Queues a seat, if there is something to do at it. Says whether that is new.
    fn queue_seat(&mut self, index: usize) -> bool {
        let seat = &mut self.seats[index];
        let waits = seat.retry_at.is_some() || seat.wants_room;
        if seat.queued || waits || seat.sink.is_none() || (seat.ready.is_empty() && !seat.reopen) {
            return false;
        }
        seat.queued = true;
        self.queue.push_back(index);
        true
    }

    /// The first thing in the queue.
    fn take(&mut self) -> Option<Task> {
        loop {
            let index = self.queue.pop_front()?;
            let seat = &mut self.seats[index];
            seat.queued = false;
            if std::mem::take(&mut seat.reopen) {
                let Some(sink) = seat.sink.take() else { continue };
                seat.since = Some(Instant::now());
                return Some(Task { seat: index, sink, job: Job::Reopen });
            }
            let Some(number) = seat.next() else { continue };
            let others_miss = seat.sink.as_ref().is_some_and(|sink| sink.is_in_trouble()) && self.miss(index, number);
            let seat = &mut self.seats[index];
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.ready = false;
            let Some(sink) = seat.sink.take() else { continue };
            seat.since = Some(Instant::now());
            let gap = entry.source.row.gap();
            let consumed = entry.source.row.consumed();
            let (read, time) = entry.times.next(consumed).unwrap_or((entry.size, now()));
            let read = read.min(entry.size);
            let to = gap.map_or(read, |gap| read.min(gap.from.max(consumed)));
            entry.claimed = Some(to);
            let (source, alone) = (entry.source.clone(), seat.pipes == 1);
            // What stands before a gap has no end but that.
            let ended = gap.map_or(entry.ended && to == entry.size, |gap| to == gap.from.max(consumed));
            let work = Work { source, to, ended, alone, gap, time, others_miss };
            return Some(Task { seat: index, sink, job: Job::Write(number, work) });
        }
    }

    /// Something is dropped of another pipe than this one that goes to this sink.
    fn miss(&self, seat: usize, but: RawFd) -> bool {
        let others = self.entries.iter().filter(|(number, entry)| **number != but && entry.seat == seat);
        others.map(|(_, entry)| entry.source.row.gap()).any(|gap| gap.is_some())
    }

    fn put_back(&mut self, task: Task, turn: Turn) {
        let Task { seat: index, sink, job } = task;
        let seat = &mut self.seats[index];
        seat.sink = Some(sink);
        seat.since = None;
        let Job::Write(number, work) = job else { return };
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.claimed = None;
        match turn {
            Turn::On => (seat.patience, seat.stuck_since) = (PATIENCE[0], None),
            Turn::Waits => seat.patience = PATIENCE[0],
            Turn::NoRoom | Turn::Fails => _ = seat.stuck_since.get_or_insert_with(Instant::now),
        }
        match turn {
            Turn::Fails => {
                seat.retry_at = Some(Instant::now() + seat.patience);
                seat.patience = (seat.patience * 2).min(PATIENCE[1]);
                self.told.push(Told::Seat(index));
                self.make_ready(number, true);
                return;
            }
            Turn::NoRoom => {
                seat.wants_room = true;
                self.told.push(Told::Seat(index));
                self.make_ready(number, true);
                return;
            }
            Turn::On | Turn::Waits => {}
        }
        if turn == Turn::Waits {
            entry.times.skip(work.to);
        }
        let consumed = work.source.row.consumed();
        if entry.held {
            self.told.push(Told::Room(number));
        }
        match work.source.row.gap() {
            Some(Gap { from, to: None }) if from == consumed => self.told.push(Told::GapReached(number)),
            Some(_) => _ = self.make_ready(number, false),
            None if entry.ended && !work.ended && consumed < entry.size => _ = self.make_ready(number, false),
            None if entry.ended && consumed == entry.size => self.told.push(Told::Done(number)),
            // What is left, or has come meanwhile.
            None if consumed < entry.size && (turn == Turn::On || entry.size > work.to || work.gap.is_some()) => {
                self.make_ready(number, false);
            }
            None => {}
        }
    }

    /// The messages that have come.
    pub(super) fn hear(&mut self) -> Vec<Told> {
        self.rung = false;
        std::mem::take(&mut self.told)
    }

    /// Whether another hand is wanted: all are at sinks that hang, and something waits. None: nothing waits; else when
    /// it would be wanted.
    pub(super) fn wants_hand(&self) -> Option<Instant> {
        if self.queue.is_empty() || self.idle > 0 || self.hands >= MOST_HANDS {
            return None;
        }
        let oldest = self.seats.iter().filter_map(|seat| seat.since).max();
        Some(oldest.map_or_else(Instant::now, |since| since + HANGS))
    }
}

impl Seat {
    /// The pipe that comes next. One whose batch was begun comes before all others: what follows in the sink must stand
    /// behind it, and nobody else has its bytes.
    fn next(&mut self) -> Option<RawFd> {
        let Some((begun, _)) = self.sink.as_ref().and_then(|sink| sink.pending()) else {
            return self.ready.pop_front();
        };
        self.ready.retain(|number| *number != begun as RawFd);
        Some(begun as RawFd)
    }

    fn new(sink: Sink) -> Seat {
        Seat {
            sink: Some(Box::new(sink)),
            ready: VecDeque::new(),
            queued: false,
            reopen: false,
            since: None,
            retry_at: None,
            patience: PATIENCE[0],
            stuck_since: None,
            wants_room: false,
            pipes: 0,
        }
    }
}
