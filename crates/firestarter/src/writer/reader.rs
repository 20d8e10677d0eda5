//! The thread that reads: whatever comes out of a pipe goes to its stage, and the board hears of it. It never waits for a
//! disk, nor for whoever reads what is passed on. The writer's first thread.

mod ending;
mod fat;
mod pace;
mod surplus;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;

use super::board::{Board, Entry, Told};
use super::feed::{Fed, Feed};
use super::source::Source;
use super::{hand, Plan, Way};
use crate::journal::{Heard, Origin, Pipe, Pipes, SinkRow, Speaker};
use crate::output::{Form, LogFile, Overflow};
use crate::say::say;
use crate::sys::clone::exit_now;

use super::label::{Label, OwnStyle};
use ending::Ending;
use fat::Fat;
use pace::{Pace, REST};

pub(super) struct Reader {
    plan: &'static Plan,
    pipes: &'static Pipes,
    board: &'static Board,
    epoll: OwnedFd,
    /// By their numbers in the shared table.
    feeds: BTreeMap<RawFd, Feed>,
    /// Feeds that are held.
    held: BTreeSet<RawFd>,
    /// Feeds whose stages have more memory than they need at rest.
    fat: Fat,
    pace: Pace,
    /// Seats that wait for their next attempt.
    resting: BTreeSet<usize>,
    /// What the keeper could not be told: pipes at their end, files that were opened anew.
    untold: Vec<(RawFd, u32)>,
    /// All is over.
    ending: Option<Ending>,
}

/// So many descriptors are looked at in one turn.
const READY: usize = 64;
/// How descriptors are marked in the epoll set; pipes by their number, which is larger, sinks above that.
const DOOR: u64 = 0;
const BELL: u64 = 1;
const ROOM: u64 = 1 << 32;
/// When there is no other thread to be had, or a stage has no memory.
const LATER: Duration = Duration::from_millis(50);

impl Reader {
    pub(super) fn new(plan: &'static Plan, pipes: &'static Pipes, board: &'static Board) -> rustix::io::Result<Reader> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, pipes.door(), EventData::new_u64(DOOR), EventFlags::IN)?;
        epoll::add(&epoll, board.bell(), EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Reader {
            plan,
            pipes,
            board,
            epoll,
            feeds: BTreeMap::new(),
            held: BTreeSet::new(),
            fat: Fat::default(),
            pace: Pace::new(Instant::now()),
            resting: BTreeSet::new(),
            untold: Vec::new(),
            ending: None,
        })
    }

    /// What dead writers have begun comes first, before anything else is written there.
    pub(super) fn take_over(&mut self, found: Vec<Pipe>) -> std::io::Result<()> {
        self.take_in_all(found)?;
        self.board.lock().hands += 1;
        hand::hire(self.board)
    }

    fn take_in_all(&mut self, found: Vec<Pipe>) -> std::io::Result<()> {
        found.into_iter().try_for_each(|pipe| self.take_in(pipe))?;
        let mut state = self.board.lock();
        for seat in 0..state.seats.len() {
            let Some(name) = state.seats[seat].sink.as_ref().and_then(|sink| sink.pending()) else { continue };
            let there = state.entries.get(&(name.0 as RawFd)).is_some_and(|entry| entry.source.name() == name);
            if there {
                state.make_ready(name.0 as RawFd, true);
            } else if let Some(sink) = &mut state.seats[seat].sink {
                sink.forget_pending();
            }
        }
        let all: Vec<RawFd> = state.entries.keys().copied().collect();
        all.into_iter().for_each(|number| _ = state.make_ready(number, false));
        (0..state.seats.len()).for_each(|seat| self.board.queue(&mut state, seat));
        drop(state);
        // The last writer may have been told of that, or have done it and not said so.
        self.reopen();
        self.say_reopened();
        Ok(())
    }

    pub(super) fn run(&mut self) -> ! {
        loop {
            let wait = self.next_time().map(|at| at.saturating_duration_since(Instant::now()));
            self.wait(wait);
            self.mind_waits();
            self.mind_hands();
            self.mind_memory();
            let pipes = self.pipes;
            self.untold.retain(|(number, pipe)| !pipes.done(*number, *pipe));
            match self.ending {
                Some(_) => self.end_if_done(),
                None if self.pace.rests(Instant::now()) => std::thread::sleep(REST),
                None => {}
            }
        }
    }

    /// Waits for something to happen, and sees to it.
    fn wait(&mut self, most: Option<Duration>) {
        let mut ready = [const { MaybeUninit::uninit() }; READY];
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        let events: Vec<u64> = match epoll::wait(&self.epoll, &mut ready, most.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(_) => Vec::new(),
        };
        for key in events {
            match key {
                DOOR => self.hear(),
                BELL => self.answer_bell(),
                key if key >= ROOM => self.room((key - ROOM) as usize),
                key => self.read(key as RawFd),
            }
        }
    }

    fn hear(&mut self) {
        loop {
            match self.pipes.hear() {
                // Also if the word for that did not get through: there was one, then, that did.
                Heard::Nothing => return self.reopen(),
                Heard::Over => return self.begin_end(),
                // What is under way is in the records; the next writer finds what this one was not told.
                Heard::Missed => exit_now(0),
                Heard::Reopen => {}
                Heard::Pipe(pipe) => {
                    if self.take_in(pipe).is_err() {
                        exit_now(0);
                    }
                }
            }
        }
    }

    /// A pipe is read from now on.
    fn take_in(&mut self, pipe: Pipe) -> std::io::Result<()> {
        let number = pipe.number;
        if self.feeds.get(&number).is_some_and(|known| known.source.pipe.pipe == pipe.pipe) {
            return Ok(());
        }
        rustix::fs::fcntl_setfl(&pipe.read, rustix::fs::OFlags::NONBLOCK)?;
        self.pipes.begins(&pipe);
        let (seat, overflow, line_max, source) = self.source_of(pipe)?;
        let source = Arc::new(source);
        let feed = Feed::new(source.clone(), overflow, line_max)?;
        self.finish_giving_up(seat, &feed);
        epoll::add(&self.epoll, source.fd(), EventData::new_u64(number as u64), EventFlags::IN)?;
        let mut state = self.board.lock();
        state.entries.insert(number, Entry::new(source, seat, feed.size));
        state.seats[seat].pipes += 1;
        drop(state);
        self.feeds.insert(number, feed);
        Ok(())
    }

    fn source_of(&self, pipe: Pipe) -> std::io::Result<(usize, Overflow, usize, Source)> {
        let Origin { group, speaker, stream } = pipe.origin;
        let own = self.plan.logs.len() + stream as usize;
        let outlet = self.plan.groups.get(group as usize);
        let name = outlet.map_or("", |outlet| &outlet.name);
        let way = outlet.map_or(Way::Own(Form::Plain), |outlet| outlet.streams[stream as usize]);
        let way = match speaker {
            Speaker::Slot(_) => way,
            Speaker::StopHook | Speaker::Upgrader => Way::Own(Form::Plain),
        };
        let (seat, form, style) = match way {
            Way::Log(log) => (log, self.plan.logs[log].form, OwnStyle::default()),
            // What is an object says itself whose it is; before a level of the journal it would not stand alone.
            Way::Own(form @ Form::Json { .. }) => {
                (own, form, OwnStyle { marked: false, ..self.plan.own[stream as usize] })
            }
            Way::Own(form) => (own, form, self.plan.own[stream as usize]),
        };
        let label = Label::new(style, group, name, speaker, stream);
        let log = self.plan.logs.get(seat);
        let overflow = log.map_or(Overflow::Drop, |log| log.overflow);
        let line_max = log.map_or(LogFile::LINE_MAX, |log| log.line_max) as usize;
        let source = Source::new(pipe, self.pipes, name, form, label)?;
        Ok((seat, overflow, line_max, source))
    }

    /// Reads once from a pipe.
    fn read(&mut self, number: RawFd) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        if feed.is_spent() {
            let mut state = self.board.lock();
            if let Some(entry) = state.entries.get_mut(&number).filter(|entry| entry.rests()) {
                feed.begin_anew();
                entry.begin_anew(feed.size);
            }
        }
        let before = feed.size;
        let fed = feed.read();
        self.pace.took(feed.size - before);
        if feed.is_fat() {
            self.fat.insert(number);
        }
        match fed {
            Fed::More => self.pass_on(number, false),
            Fed::End => self.pass_on(number, true),
            Fed::Full => self.hold(number),
            // There is no event for memory that has become free.
            Fed::Fails => std::thread::sleep(LATER),
            // Of one that is held nobody knows yet.
            Fed::Nothing if self.ending.is_some() && !self.held.contains(&number) => {
                feed.end_gap();
                self.pass_on(number, true);
            }
            Fed::Dropped | Fed::Nothing => {}
        }
    }

    /// The board hears how long a stage is now. `ended`: nothing more will come.
    fn pass_on(&mut self, number: RawFd, ended: bool) {
        let Some(feed) = self.feeds.get(&number) else { return };
        if ended {
            // It leaves the epoll set with its last descriptor only, which the shared table has.
            let _ = epoll::delete(&self.epoll, feed.source.fd());
        }
        let mut state = self.board.lock();
        let Some(entry) = state.entries.get_mut(&number) else { return };
        entry.grows(feed.size);
        entry.ended |= ended;
        if entry.ended && entry.rests() && feed.source.row.consumed() == feed.size {
            drop(state);
            return self.finish(number);
        }
        let seat = state.make_ready(number, false);
        seat.into_iter().for_each(|seat| self.board.queue(&mut state, seat));
        drop(state);
        if let Some(seat) = seat.filter(|_| ended) {
            self.give_up_surplus(seat);
        }
    }

    /// All of a pipe that is at its end is written.
    fn finish(&mut self, number: RawFd) {
        let Some(feed) = self.feeds.remove(&number) else { return };
        self.held.remove(&number);
        self.fat.remove(number);
        self.board.lock().remove(number);
        let pipe = feed.source.pipe.pipe;
        drop(feed);
        if !self.pipes.done(number, pipe) {
            self.untold.push((number, pipe));
        }
    }

    /// There is no room in a stage: its worker waits.
    fn hold(&mut self, number: RawFd) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        let mut state = self.board.lock();
        let Some(entry) = state.entries.get_mut(&number) else { return };
        // The board may have made room just now, and nobody will tell of that again.
        if feed.is_roomy() {
            return;
        }
        entry.held = true;
        drop(state);
        feed.hold();
        self.held.insert(number);
        let _ = epoll::modify(&self.epoll, feed.source.fd(), EventData::new_u64(number as u64), EventFlags::empty());
    }

    /// A pipe is read again.
    fn let_go(&mut self, number: RawFd) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        self.held.remove(&number);
        feed.flow();
        let _ = epoll::modify(&self.epoll, feed.source.fd(), EventData::new_u64(number as u64), EventFlags::IN);
        if let Some(entry) = self.board.lock().entries.get_mut(&number) {
            entry.held = false;
        }
    }

    fn answer_bell(&mut self) {
        let mut bell = [0; 8];
        let _ = rustix::io::read(self.board.bell(), &mut bell);
        let told = self.board.lock().hear();
        for told in told {
            match told {
                Told::Done(number) => self.finish(number),
                Told::Room(number) => {
                    if self.feeds.get(&number).is_some_and(|feed| self.held.contains(&number) && feed.is_roomy()) {
                        self.let_go(number);
                    }
                }
                Told::GapReached(number) => {
                    if self.feeds.get_mut(&number).is_some_and(Feed::reach_gap) {
                        self.pass_on(number, false);
                    }
                }
                Told::Seat(seat) => self.wait_for(seat),
                Told::Reopened => self.say_reopened(),
            }
        }
    }

    /// A sink takes nothing: waits for room, or for the next attempt.
    fn wait_for(&mut self, seat: usize) {
        let mut state = self.board.lock();
        let waiting = &mut state.seats[seat];
        if waiting.wants_room {
            let fd = waiting.sink.as_ref().and_then(|sink| sink.fd());
            let key = EventData::new_u64(ROOM + seat as u64);
            let added = fd.map(|fd| {
                let _ = epoll::delete(&self.epoll, fd);
                epoll::add(&self.epoll, fd, key, EventFlags::OUT | EventFlags::ONESHOT)
            });
            if !matches!(added, Some(Ok(()))) {
                waiting.wants_room = false;
                waiting.retry_at = Some(Instant::now() + LATER);
            }
        }
        if waiting.retry_at.is_some() {
            self.resting.insert(seat);
        }
    }

    /// There is room in a sink.
    fn room(&mut self, seat: usize) {
        let mut state = self.board.lock();
        let waiting = &mut state.seats[seat];
        waiting.wants_room = false;
        if let Some(fd) = waiting.sink.as_ref().and_then(|sink| sink.fd()) {
            let _ = epoll::delete(&self.epoll, fd.as_fd());
        }
        self.board.queue(&mut state, seat);
    }

    /// Files that were asked to be opened anew are, also where nothing is to be written.
    fn reopen(&mut self) {
        let outstanding = |(seat, row): (usize, SinkRow<'_>)| {
            let (asked, done) = row.reopen();
            (asked != done).then_some(seat)
        };
        let seats: Vec<usize> = self.pipes.sinks().rows().enumerate().filter_map(outstanding).collect();
        for seat in seats {
            let mut state = self.board.lock();
            let waiting = &mut state.seats[seat];
            (waiting.retry_at, waiting.reopen) = (None, true);
            if std::mem::take(&mut waiting.wants_room) {
                if let Some(fd) = waiting.sink.as_ref().and_then(|sink| sink.fd()) {
                    let _ = epoll::delete(&self.epoll, fd);
                }
            }
            self.board.queue(&mut state, seat);
        }
    }

    fn say_reopened(&mut self) {
        let (number, pipe) = Pipes::REOPENED;
        if !self.pipes.done(number, pipe) {
            self.untold.push((number, pipe));
        }
    }
}

#[cfg(test)]
mod tests;
