//! How far the writer is with each pipe, in shared memory, so that the next writer goes on at the same byte.
//!
//! What is read from a pipe is spliced to the end of its *stage*, a memfd of its own, and nowhere else: the length of the
//! stage is the record of what was taken, kept by the kernel itself. A row holds the rest: up to where the stage is
//! *consumed* (written, or dropped and counted), whose pipe it is, and *gaps*: ranges of the stage that are dropped
//! because the sink could not take them. There are two at most: one that ended and was not told of in the sink yet, and one
//! behind it that grows, should the sink fail over the telling. Positions in a stage only grow while there is something in it; one that is consumed
//! to its end may be made empty, and then begins at 0 again. A writer that dies between the two leaves a row that claims
//! more than there is: that is an empty stage.
//!
//! Rows are found by the number that the pipe has in the shared table of descriptors. The daemon writes a row before it
//! names the pipe in the ledger, from then on it is the writer's.

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

use std::io;

use super::memory::{Memory, Part};
use super::steps::put;
use crate::sys::maps::SharedWords;

pub(super) struct Stages(SharedWords);

/// As many as the ledger has.
const ROWS: usize = 1 << 18;
const WORDS: usize = 17;
const STAGE: usize = 0;
const PID: usize = 1;
const GENERATION: usize = 2;
const CONSUMED: usize = 3;
const PLACE: usize = 4;
/// Where the words of the gaps begin.
const GAPS: [usize; 2] = [5, 11];
const GAP_FROM: usize = 0;
const GAP_TO: usize = 1;
/// Two places for a number of lines, and behind each up to where they were counted. The place that was counted further is the
/// one that counts.
const LINES: [usize; 2] = [2, 4];
/// In place of the end of a gap: it is still growing.
const OPEN: u64 = u64::MAX;

/// The row of a pipe.
#[derive(Clone, Copy)]
pub(crate) struct StageRow<'a>(&'a [AtomicU64]);

/// A part of a stage that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    /// None: it still grows.
    pub(crate) to: Option<u64>,
}

impl Stages {
    pub(super) fn new(memory: Memory<'_>) -> io::Result<Stages> {
        memory.words(Part::Stages, ROWS * WORDS).map(Stages)
    }

    /// The row of the pipe of this number.
    ///
    /// # Errors
    /// `EMFILE`: the number is too high.
    pub(super) fn row(&self, pipe: RawFd) -> io::Result<StageRow<'_>> {
        let first = pipe as usize * WORDS;
        let row = self.0.get(first..first + WORDS);
        row.map(StageRow).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))
    }
}

impl StageRow<'_> {
    /// The row of a new pipe with an empty stage.
    pub(super) fn begin(self, stage: RawFd, generation: u32) {
        GAPS.into_iter().for_each(|gap| self.set(gap + GAP_FROM, 0));
        self.set(PID, 0);
        self.set(CONSUMED, 0);
        self.set(GENERATION, generation.into());
        self.set(STAGE, stage as u64);
    }

    /// The number of the stage in the shared table.
    pub(super) fn stage(self) -> RawFd {
        self.word(STAGE) as RawFd
    }

    /// Where in the table of workers the kernel writes the pid.
    pub(super) fn set_place(self, row: u32) {
        self.set(PLACE, row.into());
    }

    pub(super) fn place(self) -> u32 {
        self.word(PLACE) as u32
    }

    /// Says which process writes.
    pub(super) fn set_pid(self, pid: u32) {
        self.set(PID, pid.into());
    }

    /// The process that writes; 0 if nobody has said yet.
    pub(super) fn pid(self) -> u32 {
        self.word(PID) as u32
    }

    /// Of which generation it is; 0 for a hook.
    pub(super) fn generation(self) -> u32 {
        self.word(GENERATION) as u32
    }

    /// All before this position is written, or dropped and counted.
    pub(crate) fn consumed(self) -> u64 {
        self.word(CONSUMED)
    }

    pub(crate) fn set_consumed(self, position: u64) {
        self.set(CONSUMED, position);
    }

    /// What is dropped next, unless that was told and is done with.
    pub(crate) fn gap(self) -> Option<Gap> {
        GAPS.into_iter().filter_map(|place| self.gap_at(place)).min_by_key(|gap| gap.from)
    }

    /// All gaps, the first first.
    pub(crate) fn gaps(self) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = GAPS.into_iter().filter_map(|place| self.gap_at(place)).collect();
        gaps.sort_unstable_by_key(|gap| gap.from);
        gaps
    }

    /// What is dropped now, and grows.
    pub(crate) fn growing_gap(self) -> Option<Gap> {
        GAPS.into_iter().filter_map(|place| self.gap_at(place)).find(|gap| gap.to.is_none())
    }

    fn gap_at(self, place: usize) -> Option<Gap> {
        let from = self.word(place + GAP_FROM).checked_sub(1)?;
        let to = Some(self.word(place + GAP_TO)).filter(|to| *to != OPEN);
        (to.is_none() || to > Some(self.consumed())).then_some(Gap { from, to })
    }

    /// All from this position on is dropped until further notice.
    pub(crate) fn open_gap(self, from: u64) {
        let place = GAPS.into_iter().find(|place| self.gap_at(*place).is_none()).unwrap_or(GAPS[1]);
        self.set(place + GAP_FROM, 0);
        for lines in LINES {
            self.set(place + lines, 0);
            self.set(place + lines + 1, from);
        }
        self.set(place + GAP_TO, OPEN);
        self.set(place + GAP_FROM, from + 1);
    }

    /// What comes from this position on is kept again.
    pub(crate) fn close_gap(self, from: u64, to: u64) {
        self.set(self.place_of(from) + GAP_TO, to);
    }

    /// So many more lines were found in the gap, which is looked through up to this position, further than before. The last
    /// store makes both count.
    pub(crate) fn count(self, from: u64, lines: u64, up_to: u64) {
        let [counts, other] = self.lines_of(from);
        let sum = self.word(counts) + lines;
        self.set(other, sum);
        self.set(other + 1, up_to);
    }

    /// How many lines the gap that begins here has, and up to where it was looked through.
    pub(crate) fn counted(self, from: u64) -> (u64, u64) {
        let [counts, _] = self.lines_of(from);
        (self.word(counts), self.word(counts + 1))
    }

    /// The place whose lines count, and the other one.
    fn lines_of(self, from: u64) -> [usize; 2] {
        let [one, other] = LINES.map(|lines| self.place_of(from) + lines);
        if self.word(one + 1) >= self.word(other + 1) {
            [one, other]
        } else {
            [other, one]
        }
    }

    /// The gap was told of. One that has ended already may be ended again: another one stays.
    pub(crate) fn end_gap(self, from: u64) {
        self.find(from).into_iter().for_each(|place| self.set(place + GAP_FROM, 0));
    }

    fn place_of(self, from: u64) -> usize {
        self.find(from).unwrap_or(GAPS[0])
    }

    fn find(self, from: u64) -> Option<usize> {
        GAPS.into_iter().find(|place| self.word(*place + GAP_FROM) == from + 1)
    }

    fn word(self, word: usize) -> u64 {
        self.0[word].load(Acquire)
    }

    fn set(self, word: usize, value: u64) {
        put(&self.0[word], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stands_until_it_was_told_of() {
        let stages = Stages::new(Memory::Loose).unwrap();
        let row = stages.row(70).unwrap();
        row.begin(71, 3);
        assert_eq!((row.stage(), row.generation(), row.gap()), (71, 3, None));
        row.set_consumed(10);
        row.open_gap(10);
        assert_eq!(row.gap(), Some(Gap { from: 10, to: None }));
        row.count(10, 2, 30);
        row.count(10, 1, 40);
        row.close_gap(10, 40);
        assert_eq!((row.gap(), row.counted(10)), (Some(Gap { from: 10, to: Some(40) }), (3, 40)));
        row.open_gap(50);
        row.count(50, 7, 60);
        assert_eq!(
            (row.gap(), row.counted(10)),
            (Some(Gap { from: 10, to: Some(40) }), (3, 40)),
            "one after the other"
        );
        assert_eq!(row.growing_gap(), Some(Gap { from: 50, to: None }));
        row.set_consumed(40);
        assert_eq!(row.gap(), row.growing_gap(), "a writer that died before `end_gap` must not tell it twice");
        row.end_gap(10);
        row.end_gap(10);
        row.close_gap(50, 60);
        assert_eq!((row.gap(), row.counted(50)), (Some(Gap { from: 50, to: Some(60) }), (7, 60)));
        row.set_consumed(60);
        row.end_gap(50);
        row.set_consumed(0);
        assert_eq!(row.gap(), None);
        assert!(stages.row(ROWS as RawFd).is_err());
    }
}
