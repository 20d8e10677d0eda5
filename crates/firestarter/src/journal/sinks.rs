//! What the writer is in the middle of at each sink, in shared memory, so that the next writer finishes it: no byte is
//! written twice and none is left out, whoever is killed.
//!
//! A writer records a *batch* before it writes it: from where to where in which stage, and how long the file was. The
//! bytes of a batch follow from its record alone. So how much of it was written is seen from how long the file is now, and
//! the next writer goes on in the middle of it. Where there is no length to see, at a FIFO or a terminal, the writer
//! notes after each write how far it is: a kill in between repeats that write.
//!
//! The record has two places that take turns, and one store says which of them counts.
//!
//! With the record stand a few counts, for people: the store that ends a batch counts it too, so a kill counts none twice.
//! Beside it stands what was *given up*: what pipes of ended workers held, of which there were
//! too many to be kept until the sink works. It is told of in the sink as one sum.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::memory::{Memory, Part};
use super::steps::{put, step};
use crate::sys::maps::SharedWords;

pub(crate) struct Sinks {
    words: SharedWords,
    count: usize,
}

const WORDS: usize = 45;
const TURN: usize = 0;
const PLACES: [usize; 2] = [1, 15];
const KIND: usize = 0;
const PIPE: usize = 1;
const FROM: usize = 2;
const TO: usize = 3;
const TIME: usize = 4;
const INODE: usize = 5;
const BEFORE: usize = 6;
const OPEN_LINE: usize = 7;
const MISSING: usize = 8;
const COUNTS: usize = 10;
const WRITTEN: usize = 29;
const ERRNO: usize = 30;
const ASKED: usize = 31;
const REOPENED: usize = 32;
const BEGUN: usize = 33;
const BEGUN_INODE: usize = 34;
/// All bytes and lines that were ever given up.
const LOST: [usize; 2] = [35, 36];
/// Those of them that the sink tells of.
const TOLD: [usize; 2] = [37, 38];
/// The pipe that is being given up, and what was lost before it.
const GIVEN_UP: usize = 39;
const BEFORE_IT: [usize; 2] = [40, 41];
const ROTATIONS: usize = 42;
/// Whether it was said that the sink does not work (1, or `DROPS`), and how many bytes were dropped before.
const TROUBLE: usize = 43;
/// It was said, and that something is dropped.
const DROPS: u64 = 2;
const DROPPED_BEFORE: usize = 44;

/// The row of a sink.
#[derive(Clone, Copy)]
pub(crate) struct SinkRow<'a>(&'a [AtomicU64]);

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) kind: Kind,
    /// The number and the inode of the pipe that it comes from.
    pub(crate) pipe: (u32, u32),
    /// The part of the stage.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// When: nanoseconds since 1970.
    pub(crate) time: u64,
    /// The file, and its length before; none where there is no length.
    pub(crate) file: Option<(u64, u64)>,
    /// Whose line is unfinished at the end of the sink, before the batch.
    pub(crate) open_line: u64,
    /// What it tells of that is missing: bytes and lines.
    pub(crate) missing: [u64; 2],
}

/// What a batch makes of its part of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines, in the form of the sink.
    Lines = 1,
    /// A piece of a line that is too long: it becomes a line that says so.
    Split = 2,
    /// Nothing but the number of what is not there.
    Gap = 3,
    /// A newline behind a line that nobody goes on with.
    Close = 4,
    /// Nothing but the number of what was given up of other pipes: `to` is the sum of bytes and `from` the sum of lines that
    /// are told of then.
    Lost = 5,
}

/// What is counted at a sink since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Bytes dropped.
    pub(crate) dropped: u64,
    /// Lines dropped.
    pub(crate) dropped_lines: u64,
    /// Lines that a worker's end left without a newline.
    pub(crate) torn: u64,
}

impl Sinks {
    pub(super) fn new(memory: Memory<'_>, count: usize) -> io::Result<Sinks> {
        Ok(Sinks { words: memory.words(Part::Sinks, count.max(1) * WORDS)?, count })
    }

    pub(crate) fn row(&self, sink: usize) -> SinkRow<'_> {
        let sink = sink.min(self.count.saturating_sub(1));
        SinkRow(&self.words[sink * WORDS..(sink + 1) * WORDS])
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = SinkRow<'_>> {
        (0..self.count).map(|sink| self.row(sink))
    }
}

impl SinkRow<'_> {
    /// A batch is going to be written.
    pub(crate) fn begin(self, batch: &Batch) {
        self.set(WRITTEN, 0);
        let (inode, before) = batch.file.unwrap_or((0, u64::MAX));
        let (number, pipe) = batch.pipe;
        let pipe = u64::from(number) << 32 | u64::from(pipe);
        let [bytes, lines] = batch.missing;
        let Batch { kind, from, to, time, open_line, .. } = *batch;
        let words = [kind as u64, pipe, from, to, time, inode, before, open_line, bytes, lines];
        self.publish(words, self.counts());
    }

    /// All of it is written. `open_line`: whose line is unfinished now; `more`: what it adds to the counts.
    pub(crate) fn end(self, open_line: u64, more: Counts) {
        let counts = self.counts();
        let sum = Counts {
            bytes: counts.bytes + more.bytes,
            dropped: counts.dropped + more.dropped,
            dropped_lines: counts.dropped_lines + more.dropped_lines,
            torn: counts.torn + more.torn,
        };
        self.publish([0, 0, 0, 0, 0, 0, 0, open_line, 0, 0], sum);
    }

    /// What was counted. Who is not the writer may see a count of the next batch already.
    pub(crate) fn counts(self) -> Counts {
        let place = &self.place()[COUNTS..];
        let [bytes, dropped, dropped_lines, torn] = [0, 1, 2, 3].map(|word: usize| place[word].load(Acquire));
        Counts { bytes, dropped, dropped_lines, torn }
    }

    fn place(&self) -> &[AtomicU64] {
        &self.0[PLACES[self.0[TURN].load(Acquire) as usize & 1]..]
    }

    /// What the last writer was in the middle of, and whose line is unfinished before it.
    pub(crate) fn read(self) -> (Option<Batch>, u64) {
        let place = self.place();
        let word = |word: usize| place[word].load(Acquire);
        let kind = match word(KIND) {
            1 => Kind::Lines,
            2 => Kind::Split,
            3 => Kind::Gap,
            4 => Kind::Close,
            5 => Kind::Lost,
            _ => return (None, word(OPEN_LINE)),
        };
        let (pipe, before) = (word(PIPE), word(BEFORE));
        let batch = Batch {
            kind,
            pipe: ((pipe >> 32) as u32, pipe as u32),
            from: word(FROM),
            to: word(TO),
            time: word(TIME),
            file: (before != u64::MAX).then(|| (word(INODE), before)),
            open_line: word(OPEN_LINE),
            missing: [word(MISSING), word(MISSING + 1)],
        };
        (Some(batch), batch.open_line)
    }

    fn set(self, word: usize, value: u64) {
        put(&self.0[word], value);
    }

    fn publish(self, words: [u64; 10], counts: Counts) {
        let turn = self.0[TURN].load(Acquire) + 1;
        let place = PLACES[turn as usize & 1];
        let Counts { bytes, dropped, dropped_lines, torn } = counts;
        for (at, word) in (place..).zip(words.into_iter().chain([bytes, dropped, dropped_lines, torn])) {
            self.set(at, word);
        }
        self.set(TURN, turn);
    }

    /// So much of the batch is written, where no length shows it.
    pub(crate) fn set_written(self, bytes: usize) {
        self.set(WRITTEN, bytes as u64);
    }

    pub(crate) fn written(self) -> usize {
        self.0[WRITTEN].load(Acquire) as usize
    }

    /// It was rotated once more.
    pub(crate) fn count_rotation(self) {
        self.0[ROTATIONS].fetch_add(1, AcqRel);
    }

    /// How often it was rotated.
    pub(crate) fn rotations(self) -> u64 {
        self.word(ROTATIONS)
    }

    /// It was said, or is going to be, that the sink does not work.
    pub(crate) fn begin_trouble(self) {
        self.set(DROPPED_BEFORE, self.counts().dropped);
        self.set(TROUBLE, 1);
    }

    /// How many bytes had been dropped before it was said that the sink does not work; none: nothing was said, or that it works
    /// again.
    pub(crate) fn trouble(self) -> Option<u64> {
        (self.word(TROUBLE) != 0).then(|| self.word(DROPPED_BEFORE))
    }

    /// Something that goes to the sink is dropped. Says whether that is to be said: it was not since it last worked.
    pub(crate) fn says_that_it_drops(self) -> bool {
        if self.trouble().is_none() {
            self.begin_trouble();
        }
        let said = self.word(TROUBLE) == DROPS;
        self.set(TROUBLE, DROPS);
        !said
    }

    pub(crate) fn end_trouble(self) {
        self.set(TROUBLE, 0);
    }

    /// What this pipe holds is given up, before that counts as consumed. To say it once more changes nothing.
    pub(crate) fn give_up(self, pipe: u64, bytes: u64, lines: u64) {
        if !self.gives_up(pipe) {
            BEFORE_IT.into_iter().zip(LOST).for_each(|(before, lost)| self.set(before, self.word(lost)));
            self.set(GIVEN_UP, pipe);
        }
        self.set(LOST[0], self.word(BEFORE_IT[0]) + bytes);
        self.set(LOST[1], self.word(BEFORE_IT[1]) + lines);
    }

    /// Whether a writer died over giving up this pipe.
    pub(crate) fn gives_up(self, pipe: u64) -> bool {
        self.word(GIVEN_UP) == pipe
    }

    pub(crate) fn gave_up(self) {
        self.set(GIVEN_UP, 0);
    }

    /// Bytes and lines: what was given up in all, and what of that the sink tells of.
    pub(crate) fn lost(self) -> ([u64; 2], [u64; 2]) {
        (LOST.map(|word| self.word(word)), TOLD.map(|word| self.word(word)))
    }

    /// The sink tells of so many bytes and lines.
    pub(crate) fn told(self, [bytes, lines]: [u64; 2]) {
        self.set(TOLD[1], lines);
        self.set(TOLD[0], bytes);
    }

    fn word(self, word: usize) -> u64 {
        self.0[word].load(Acquire)
    }

    /// Why the sink does not work; 0: it does.
    pub(crate) fn set_errno(self, errno: i32) {
        self.set(ERRNO, errno as u64);
    }

    pub(crate) fn errno(self) -> i32 {
        self.0[ERRNO].load(Acquire) as i32
    }

    /// When the content of the file with this inode began, in seconds since 1970, as far as a writer has said.
    pub(crate) fn begun(self, inode: u64) -> Option<i64> {
        let known = self.0[BEGUN_INODE].load(Acquire) == inode;
        known.then(|| self.0[BEGUN].load(Acquire) as i64)
    }

    pub(crate) fn set_begun(self, inode: u64, begun: i64) {
        self.set(BEGUN_INODE, 0);
        self.set(BEGUN, begun as u64);
        self.set(BEGUN_INODE, inode);
    }

    /// Somebody wants the file to be opened anew.
    pub(crate) fn ask_to_reopen(self) -> u64 {
        step();
        self.0[ASKED].fetch_add(1, AcqRel) + 1
    }

    /// How often that was asked, and up to which time it was done.
    pub(crate) fn reopen(self) -> (u64, u64) {
        (self.0[ASKED].load(Acquire), self.0[REOPENED].load(Acquire))
    }

    pub(crate) fn set_reopened(self, asked: u64) {
        self.set(REOPENED, asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_recorded_until_it_ends() {
        let sinks = Sinks::new(Memory::Loose, 2).unwrap();
        assert_eq!(sinks.row(1).read(), (None, 0));
        for (turn, kind) in [Kind::Lines, Kind::Split, Kind::Gap, Kind::Close, Kind::Lost].into_iter().enumerate() {
            let file = (turn != 1).then_some((turn as u64, 1 << 40));
            let batch = Batch {
                kind,
                pipe: (turn as u32 + 70, u32::MAX),
                from: 1,
                to: 2,
                time: u64::MAX,
                file,
                open_line: turn as u64,
                missing: [7, 1 << 40],
            };
            sinks.row(1).begin(&batch);
            assert_eq!(sinks.row(1).read(), (Some(batch), batch.open_line));
            sinks.row(1).set_written(5);
            assert_eq!(sinks.row(1).written(), 5);
            sinks.row(1).end(9, Counts { bytes: 2, torn: 1, ..Counts::default() });
            assert_eq!(sinks.row(1).read(), (None, 9));
        }
        assert_eq!(sinks.row(1).counts(), Counts { bytes: 10, torn: 5, ..Counts::default() });
        assert_eq!(sinks.row(0).read(), (None, 0), "rows are apart");
    }
}
