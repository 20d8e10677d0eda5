//! Where lines go, and how far that is: takes what stands in a stage, cuts it, gives it its form, records it as a batch
//! and writes it. Used by the threads that write; one of them has a sink at a time.
//!
//! **A batch** is recorded before it is written (`journal::Sinks`), and its bytes follow from its record and the stage. So
//! whoever goes on with it, this thread after a full disk or another writer after a kill, makes the same bytes again and
//! leaves out those that the file has already. Only when all are written the part of the stage counts as consumed.
//!
//! **Lines** of several pipes do not mix: only whole ones are written, but for the last that a worker left unfinished, and
//! but for one so long that it is written in pieces. Then `open_line` says whose line it is; who is another begins with a
//! newline.

mod batch;
pub(super) mod trouble;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::file::{End, LogFile};
use super::lines::{cut, Cut, Rule};
use super::own::Own;
use super::source::Source;
use crate::journal::{Batch, Counts, Gap, Kind, SinkRow};
use crate::output::Form;

pub(super) struct Sink {
    row: SinkRow<'static>,
    place: Place,
    /// Whose line is unfinished at the end; `WHOLE`: nobody's.
    open_line: u64,
    /// Begun and not finished, and how much of it is written, if that is known.
    pending: Option<(Batch, Option<usize>)>,
    /// Up to which time the file was opened anew, as far as somebody was told.
    reopened: u64,
}

pub(super) enum Place {
    File(LogFile),
    Own(Own),
}

/// What a thread writes with: memory that it has for all sinks.
#[derive(Default)]
pub(super) struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    /// Gives memory back before a rest.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
    }
}

/// What there is to write.
pub(super) struct Work {
    pub(super) source: Arc<Source>,
    /// Up to here the stage may be looked at.
    pub(super) to: u64,
    /// Nothing will follow on what stands before that.
    pub(super) ended: bool,
    /// No other pipe goes here.
    pub(super) alone: bool,
    pub(super) gap: Option<Gap>,
    /// When that was read, in nanoseconds since 1970.
    pub(super) time: u64,
    /// Something is dropped of another pipe that goes here, and not told of yet.
    pub(super) others_miss: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was written, or there was nothing.
    On,
    /// There is no whole line.
    Waits,
    /// The reader of the sink is slow.
    NoRoom,
    /// The sink does not work.
    Fails,
}

const WHOLE: u64 = 0;
/// Of who has ended.
const NOBODY: u64 = u64::MAX;
/// So much is looked at in one turn, unless there is no line in it.
const CHUNK: usize = 256 * 1024;
/// So many files are begun in one turn: others wait for theirs.
const FILES: usize = 16;
/// A hand that rests keeps so much memory.
const KEPT: usize = 16 * 1024;
/// At the end of a piece of a line.
const SPLIT: &[u8] = b" [split]\n";

impl Sink {
    /// Goes on where the last writer was.
    pub(super) fn new(row: SinkRow<'static>, place: Place) -> Sink {
        let (pending, open_line) = row.read();
        let pending = pending.map(|batch| (batch, batch.file.is_none().then(|| row.written())));
        Sink { row, place, open_line, pending, reopened: row.reopen().1 }
    }

    /// The pipe whose batch is to be finished before anything else.
    pub(super) fn pending(&self) -> Option<(u32, u32)> {
        self.pending.map(|(batch, _)| batch.pipe)
    }

    /// Its pipe is not there: nothing can be finished.
    pub(super) fn forget_pending(&mut self) {
        self.pending = None;
        self.row.end(self.open_line, Counts::default());
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.place {
            Place::File(file) => file.fd(),
            Place::Own(own) => Some(own.fd()),
        }
    }

    /// Writes one batch, or a few of one chunk.
    pub(super) fn turn(&mut self, work: &Work, scratch: &mut Scratch) -> Turn {
        match self.write_some(work, scratch) {
            Ok(turn) => {
                self.row.set_errno(0);
                // How much is missing is known when it is told of in the sink.
                let (lost, told) = self.row.lost();
                if work.source.row.gap().is_none() && !work.others_miss && lost == told {
                    self.works();
                }
                self.reopen();
                turn
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::NoRoom,
            Err(error) => {
                self.fails(&error);
                Turn::Fails
            }
        }
    }

    /// Opens the file anew, if that was asked for; but not before what was begun in the old one is finished there.
    pub(super) fn reopen(&mut self) -> Turn {
        let (asked, done) = self.row.reopen();
        if asked == done || matches!(self.pending, Some((Batch { file: Some(_), .. }, _))) {
            return Turn::On;
        }
        match &mut self.place {
            Place::Own(_) => self.row.set_reopened(asked),
            Place::File(file) => match file.reopen() {
                Ok(end) => {
                    self.found(end);
                    if end.torn.is_some() {
                        self.works();
                    }
                }
                Err(error) => self.fails(&error),
            },
        }
        Turn::On
    }

    /// Whether the file was opened anew since this was asked last.
    pub(super) fn has_reopened(&mut self) -> bool {
        let done = self.row.reopen().1;
        std::mem::replace(&mut self.reopened, done) != done
    }

    fn write_some(&mut self, work: &Work, scratch: &mut Scratch) -> io::Result<Turn> {
        let source = &*work.source;
        if let Some((batch, written)) = self.pending {
            self.resume(batch, written, work, scratch)?;
        }
        let (lost, told) = self.row.lost();
        if lost != told {
            self.write_lost(source, lost, scratch)?;
            return Ok(Turn::On);
        }
        let from = source.row.consumed();
        if let Some(Gap { from: begin, to: Some(to) }) = work.gap {
            if begin == from {
                self.write_gap(source, from..to, scratch)?;
                return Ok(Turn::On);
            }
        }
        let rule = self.rule(work);
        let there = work.to.saturating_sub(from) as usize;
        let Scratch { input, output } = scratch;
        let bytes = source.view(from, there.min(rule.sight().max(CHUNK)), input)?;
        let ends = |seen: &[u8]| work.ended && seen.len() == there;
        let near = &bytes[..bytes.len().min(CHUNK)];
        let mut found = cut(near, ends(near), rule);
        if found == Cut::Wait && near.len() < bytes.len() {
            found = cut(bytes, ends(bytes), rule);
        }
        let (kind, length) = match found {
            Cut::Wait => return Ok(Turn::Waits),
            Cut::Lines(length) | Cut::Piece(length) => (Kind::Lines, length),
            Cut::Split(length) => (Kind::Split, length),
        };
        let (time, bytes) = (work.time, &bytes[..length]);
        let shaped = self.shape(kind, source, time, bytes, output);
        self.put(kind, work, time, from, bytes, if shaped { output } else { bytes })?;
        Ok(Turn::On)
    }

    fn rule(&self, work: &Work) -> Rule {
        let untouched = work.source.form == Form::Plain && work.source.label.is_empty();
        if work.alone && untouched {
            return Rule::Free;
        }
        // A pipe that an earlier configuration began may hold less.
        Rule::Whole(self.line_max().min(work.source.most() as usize - 1))
    }

    pub(super) fn line_max(&self) -> usize {
        match &self.place {
            Place::File(file) => file.log().line_max as usize,
            Place::Own(_) => crate::output::LogFile::LINE_MAX as usize,
        }
    }

    /// Writes what a part of a stage has become, or the begin of that, with a rotation wherever one is due. Each line of the
    /// one is a line of the other.
    fn put(
        &mut self,
        kind: Kind,
        work: &Work,
        time: u64,
        mut from: u64,
        input: &[u8],
        output: &[u8],
    ) -> io::Result<()> {
        let (mut input, mut output) = (input, output);
        let untouched = std::ptr::eq(input, output);
        let mut files = 0;
        while !output.is_empty() && files < FILES {
            let file = self.look()?;
            let goes_on = self.open_line == work.source.id();
            let fits = match &mut self.place {
                Place::File(file) => file.room(output, goes_on),
                Place::Own(_) => output.len(),
            };
            if fits == 0 {
                self.rotate();
                files += 1;
                continue;
            }
            if self.open_line != WHOLE && !goes_on {
                self.close_line(&work.source, from)?;
                continue;
            }
            let taken = match fits == output.len() {
                true => input.len(),
                false if untouched => fits,
                false => length_of_lines(input, count_lines(&output[..fits])),
            };
            let to = from + taken as u64;
            let pipe = work.source.name();
            let batch = Batch { kind, pipe, from, to, time, file, open_line: self.open_line, missing: [0; 2] };
            self.begin(batch);
            self.append(&output[..fits], 0)?;
            let last = work.ended && to == work.to;
            self.finish(&work.source, &input[..taken], output[..fits].last() == Some(&b'\n'), last);
            (from, input, output) = (to, &input[taken..], &output[fits..]);
        }
        Ok(())
    }

    fn close_line(&mut self, source: &Source, at: u64) -> io::Result<()> {
        let (file, pipe) = (self.look()?, source.name());
        let (kind, open_line) = (Kind::Close, self.open_line);
        let batch = Batch { kind, pipe, from: at, to: at, time: 0, file, open_line, missing: [0; 2] };
        self.begin(batch);
        self.append(b"\n", 0)?;
        self.finish(source, b"", true, false);
        Ok(())
    }

    fn write_gap(&mut self, source: &Source, gap: Range<u64>, scratch: &mut Scratch) -> io::Result<()> {
        let missing = [gap.end - gap.start, source.row.counted(gap.start).lines];
        self.write_count(Kind::Gap, source, gap, missing, scratch)
    }

    /// Tells of what was given up of other pipes.
    fn write_lost(&mut self, source: &Source, [bytes, lines]: [u64; 2], scratch: &mut Scratch) -> io::Result<()> {
        let (_, told) = self.row.lost();
        self.write_count(Kind::Lost, source, lines..bytes, [bytes - told[0], lines - told[1]], scratch)
    }

    fn write_count(
        &mut self,
        kind: Kind,
        source: &Source,
        of: Range<u64>,
        missing: [u64; 2],
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        while self.open_line != WHOLE {
            self.look()?;
            if self.open_line != WHOLE {
                self.close_line(source, source.row.consumed())?;
            }
        }
        let (time, file) = (now(), self.look()?);
        let Range { start: from, end: to } = of;
        let batch = Batch { kind, pipe: source.name(), from, to, time, file, open_line: WHOLE, missing };
        let text = self.compose(&batch, source, scratch)?;
        self.begin(batch);
        self.append(text, 0)?;
        self.finish(source, b"", true, false);
        Ok(())
    }

    /// The sink is open now. Returns where its end is.
    fn look(&mut self) -> io::Result<Option<(u64, u64)>> {
        match &mut self.place {
            Place::Own(_) => Ok(None),
            Place::File(file) => {
                let end = file.look()?;
                self.found(end);
                Ok(end.file)
            }
        }
    }

    /// A file that was opened just now tells whether its last line is whole.
    fn found(&mut self, end: End) {
        match end.torn {
            Some(true) if self.open_line == WHOLE => self.open_line = NOBODY,
            Some(false) => self.open_line = WHOLE,
            Some(true) | None => {}
        }
    }

    fn rotate(&mut self) {
        if let Place::File(file) = &mut self.place {
            file.rotate();
        }
    }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// How long so many lines are.
fn length_of_lines(bytes: &[u8], lines: usize) -> usize {
    bytes.split_inclusive(|byte| *byte == b'\n').take(lines).map(<[u8]>::len).sum()
}
