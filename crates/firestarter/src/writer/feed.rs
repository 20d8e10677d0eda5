//! A pipe, as the thread that reads sees it: how much room its stage has, how long its worker has been waiting, and what is
//! dropped when that is too long. Used by `reader`.
//!
//! A feed *flows* while its stage has room. Without room it is *held*: nothing is read, the pipe fills, the worker waits.
//! Should that take too long, it *drops*: from the end of the last whole line in the stage on everything is read and
//! thrown away, which is the gap. When all before the gap is written, so that the sink works again, the gap ends with the
//! next line, and the feed flows. How long is too long says `Overflow`; a sink that takes a whole stageful in that time is
//! slow, but works. A pipe that comes to its end meanwhile has *ended*.
//!
//! What comes into the gap is *aside*, in the dump of the stage, while there is something before it that is not written:
//! the ring has no room for that. When all before it is written, it comes into the ring, since what follows the gap stays
//! there.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{Source, Taken};
use crate::journal::{Area, Counted};
use crate::output::Overflow;

pub(super) struct Feed {
    pub(super) source: Arc<Source>,
    /// How much was taken from the pipe.
    pub(super) size: u64,
    pub(super) state: State,
    overflow: Overflow,
    /// So much may stand in the stage.
    most: u64,
    /// Where what comes next goes.
    area: Area,
    /// The stage has memory up to here.
    touched: u64,
    /// The pipe was made larger, or cannot be.
    wide: bool,
    /// How long its worker has been waiting since so much was consumed.
    waited: Duration,
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Flows,
    Held {
        since: Instant,
    },
    Drops(Dropping),
    /// It was dropped up to its end.
    Ended,
}

/// A gap that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropping {
    from: u64,
    /// What is dropped by now ends with a line.
    whole: bool,
    /// All before the gap is written.
    reached: bool,
}

/// What reading a feed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// There is more in the stage.
    More,
    /// Something was dropped, and the gap goes on.
    Dropped,
    /// Nothing has changed.
    Nothing,
    /// The stage is full.
    Full,
    /// The stage takes nothing, for now.
    Fails,
    /// Nobody can write to the pipe any more.
    End,
}

/// How long a worker waits, in all, for a sink that takes nothing.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// And how long where it is not to: a burst is longer than a stage, and no reason to drop while the sink takes it.
const BURST: Duration = Duration::from_millis(500);
/// A stage holds so much beyond the longest line.
const ROOM: u64 = 256 * 1024;
/// So much is read at a time.
const BITE: usize = 1024 * 1024;
/// So much is looked through at a time.
const LOOK: usize = 64 * 1024;
/// A stage that is consumed to its end begins anew where so much stands before that in the ring: few pages are used then,
/// again and again.
const LONG: u64 = 4 * 1024;
/// A stage that has more memory than this, and stands still, gives it back.
const FAT: u64 = 64 * 1024;

impl Feed {
    /// # Errors
    /// The kernel's.
    pub(super) fn new(source: Arc<Source>, overflow: Overflow, line_max: usize) -> io::Result<Feed> {
        let (size, area) = source.taken(line_max as u64 + ROOM)?;
        let mut feed = Feed {
            size,
            state: State::Flows,
            overflow,
            most: source.most(),
            area,
            // Another writer may have used all of it.
            touched: if size == 0 { 0 } else { source.row.ring() },
            wide: false,
            waited: Duration::ZERO,
            since: source.row.consumed(),
            source,
        };
        match (feed.source.row.growing_gap(), feed.area) {
            (Some(gap), Area::Ring | Area::Dump) => feed.go_on_dropping(gap.from),
            (None, Area::Dump) => feed.state = State::Ended,
            (None, Area::Ring) => {}
        }
        Ok(feed)
    }

    fn go_on_dropping(&mut self, from: u64) {
        let Counted { whole, .. } = self.source.row.counted(from);
        let mut dropping = Dropping { from, whole, reached: false };
        self.look_through(&mut dropping);
        self.state = State::Drops(dropping);
        self.turn_to(Area::Dump);
    }

    /// What comes next goes there. All that is dropped was looked through.
    fn turn_to(&mut self, area: Area) {
        self.source.seek(self.size, area);
        self.area = area;
    }

    /// How much more the stage may hold.
    pub(super) fn room(&self) -> u64 {
        let consumed = self.source.row.consumed();
        // Of a gap nothing is there but its count.
        let gap = self.source.row.gap().and_then(|gap| Some(gap.to?.saturating_sub(gap.from.max(consumed))));
        self.most.saturating_sub(self.size - consumed - gap.unwrap_or(0))
    }

    /// How much is neither written nor dropped.
    pub(super) fn left(&self) -> u64 {
        let in_pipe = rustix::io::ioctl_fionread(self.source.fd()).unwrap_or(0);
        self.size - self.source.row.consumed() + in_pipe
    }

    /// There is enough room again to go on.
    pub(super) fn is_roomy(&self) -> bool {
        self.room() >= self.most / 2
    }

    /// The stage is consumed and could begin anew. The board must agree.
    pub(super) fn is_spent(&self) -> bool {
        let row = self.source.row;
        self.state == State::Flows && row.offset(self.size, Area::Ring) >= LONG && row.consumed() == self.size
    }

    pub(super) fn begin_anew(&mut self) {
        let front = self.source.begin_anew();
        // What was skipped was not consumed.
        self.since += front - self.size;
        self.size = front;
    }

    /// The stage has memory that it does not need when it stands still.
    pub(super) fn is_fat(&self) -> bool {
        self.touched > FAT
    }

    /// Gives that back.
    pub(super) fn give_back(&mut self) {
        self.source.give_back_all_but(self.source.row.consumed(), self.size);
        self.touched = 0;
    }

    /// Reads from the pipe once.
    pub(super) fn read(&mut self) -> Fed {
        match self.state {
            State::Held { .. } => Fed::Nothing,
            State::Ended => Fed::End,
            State::Flows => match self.room() {
                0 => Fed::Full,
                room => self.take(BITE.min(room as usize)),
            },
            State::Drops(dropping) => self.drop_more(dropping),
        }
    }

    fn drop_more(&mut self, mut dropping: Dropping) -> Fed {
        let fed = self.take(BITE.min(self.most as usize));
        let line = self.look_through(&mut dropping);
        self.state = State::Drops(dropping);
        let end = match fed {
            Fed::End => Some(self.size),
            Fed::More | Fed::Dropped | Fed::Nothing | Fed::Full | Fed::Fails => line.filter(|_| dropping.reached),
        };
        match (fed, end) {
            (Fed::End, Some(_)) => {
                self.end_gap();
                Fed::End
            }
            (_, Some(end)) => {
                self.close_gap(end);
                Fed::More
            }
            (Fed::More, None) => Fed::Dropped,
            (_, None) => Fed::Nothing,
        }
    }

    fn take(&mut self, most: usize) -> Fed {
        match self.source.take(self.size, most, self.area) {
            Taken::Nothing => Fed::Nothing,
            Taken::Fails => Fed::Fails,
            Taken::End => Fed::End,
            Taken::Bytes(length) => {
                self.size += length as u64;
                self.touched = self.touched.max(self.source.row.offset(self.size - 1, Area::Ring) + 1);
                self.wide = self.wide || self.source.widen(length);
                Fed::More
            }
        }
    }

    /// There is no room.
    pub(super) fn hold(&mut self) {
        self.state = State::Held { since: Instant::now() };
    }

    /// There is room again.
    pub(super) fn flow(&mut self) {
        let State::Held { since } = self.state else { return };
        let consumed = self.source.row.consumed();
        self.waited += since.elapsed();
        if consumed.saturating_sub(self.since) >= self.most {
            (self.waited, self.since) = (Duration::ZERO, consumed);
        }
        self.state = State::Flows;
    }

    /// When a feed that is held begins to drop.
    pub(super) fn drops_at(&self) -> Option<Instant> {
        let State::Held { since } = self.state else { return None };
        match self.overflow {
            Overflow::Block => None,
            Overflow::Drop => Some(since + BURST.saturating_sub(self.waited)),
            Overflow::Wait => Some(since + WAIT.saturating_sub(self.waited)),
        }
    }

    /// Whether it is worth while to begin to drop: nothing was consumed for so long that a slow sink would have.
    pub(super) fn is_stuck(&mut self) -> bool {
        let consumed = self.source.row.consumed();
        if consumed.saturating_sub(self.since) < self.most {
            return true;
        }
        (self.waited, self.since) = (Duration::ZERO, consumed);
        self.hold();
        false
    }

    /// Begins to drop. The board is locked, so that nobody begins a batch meanwhile; one that has begun ends at a line, or
    /// at `claimed`.
    ///
    /// # Errors
    /// The stage cannot be read: it is held on.
    pub(super) fn begin_gap(&mut self, claimed: Option<u64>, in_pieces: bool) -> io::Result<()> {
        let told = self.source.row.gap().and_then(|gap| gap.to);
        let begin = told.unwrap_or_else(|| self.source.row.consumed());
        let line = self.end_of_last_line(begin)?.or(told.filter(|told| *told == self.size));
        let from = match line {
            Some(line) if !(in_pieces && claimed.is_some()) => line,
            Some(_) | None => self.size,
        };
        self.source.row.open_gap(from, line == Some(from));
        (self.waited, self.since) = (Duration::ZERO, self.size);
        self.go_on_dropping(from);
        Ok(())
    }

    fn end_of_last_line(&self, begin: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; LOOK];
        let mut end = self.size;
        while end > begin {
            let from = end.saturating_sub(LOOK as u64).max(begin);
            let bytes = self.source.read(from, Area::Ring, &mut buffer[..(end - from) as usize])?;
            if let Some(newline) = bytes.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(from + newline as u64 + 1));
            }
            end = from;
        }
        Ok(None)
    }

    /// All before the gap is written. Says whether the gap could be closed at once: where it ends with a line.
    pub(super) fn reach_gap(&mut self) -> bool {
        let State::Drops(dropping) = &mut self.state else { return false };
        // It may have been told of another gap.
        if self.source.row.consumed() < dropping.from {
            return false;
        }
        dropping.reached = true;
        let whole = dropping.whole;
        // Before the gap is closed: a writer that begins where none grows goes on where this one was.
        self.turn_to(Area::Ring);
        if whole {
            self.close_gap(self.size);
        }
        whole
    }

    /// How many lines are neither written nor told of; what cannot be read has none.
    pub(super) fn lines_left(&self) -> u64 {
        let row = self.source.row;
        let (mut at, mut lines) = (row.consumed(), 0);
        for gap in row.gaps() {
            lines += self.lines_in(at, gap.from).unwrap_or(0) + row.counted(gap.from).lines;
            at = gap.to.unwrap_or(self.size);
        }
        lines + self.lines_in(at, self.size).unwrap_or(0)
    }

    fn lines_in(&self, mut from: u64, to: u64) -> io::Result<u64> {
        let (mut buffer, mut lines) = (vec![0; LOOK], 0);
        while from < to {
            let most = LOOK.min((to - from) as usize);
            let bytes = self.source.read(from, Area::Ring, &mut buffer[..most])?;
            if bytes.is_empty() {
                break;
            }
            lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            from += bytes.len() as u64;
        }
        Ok(lines)
    }

    /// Nothing more will come.
    pub(super) fn end_gap(&mut self) {
        if let State::Drops(_) = self.state {
            self.close_gap(self.size);
            self.state = State::Ended;
        }
    }

    fn close_gap(&mut self, to: u64) {
        let State::Drops(Dropping { from, .. }) = self.state else { return };
        self.source.row.close_gap(from, to);
        self.state = State::Flows;
    }

    /// Counts the lines of what has come into the gap, and gives its memory back; returns the end of the last of them. If
    /// the gap ends with it, what stands behind it is kept. What cannot be looked at is dropped all the same, uncounted.
    fn look_through(&mut self, dropping: &mut Dropping) -> Option<u64> {
        let mut buffer = vec![0; LOOK];
        let row = self.source.row;
        let Counted { up_to: begin, .. } = row.counted(dropping.from);
        let (mut at, mut last) = (begin, None);
        while at < self.size {
            let most = LOOK.min((self.size - at) as usize);
            let bytes = self.source.read(at, self.area, &mut buffer[..most]).unwrap_or(&[]);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            let line = bytes.iter().rposition(|byte| *byte == b'\n').map(|newline| at + newline as u64 + 1);
            at += if bytes.is_empty() { most } else { bytes.len() } as u64;
            dropping.whole = line == Some(at);
            last = line.or(last);
            row.count(dropping.from, lines, at, dropping.whole);
        }
        if self.area == Area::Dump {
            self.source.give_back(begin, at, Area::Dump);
        }
        last
    }
}
