//! How far the writer is with each pipe, in shared memory, so that the next writer goes on at the same byte.
//!
//! What is read from a pipe is spliced into its *stage*, a memfd of its own, and nowhere else. Positions count the bytes
//! that came out of the pipe, and only grow. The stage is a *ring*: a byte stands in it at its position modulo the length
//! of the ring, so that memory is used again and not taken and given back for each byte.
//!
//! How much was taken is recorded by the kernel itself: a splice moves the *file position* of the stage, which belongs to
//! the open file and outlives whoever splices. It says how much was taken modulo the ring, and the row knows a position
//! that was reached less than a ring before (`taken`). Whoever moves the file position by hand keeps it the same modulo
//! the ring, so that it says the same before and after; but for `begins_anew`.
//!
//! A row holds the rest: up to where the stage is *consumed* (written, or dropped and counted), whose pipe it is, and
//! *gaps*: ranges that are dropped because the sink could not take them. There are two at most: one that ended and was not
//! told of in the sink yet, and one behind it that grows, should the sink fail over the telling. While there is still
//! something before a gap that grows, what is dropped must not come into the ring over it: then it goes to the *dump*, a
//! second ring behind the first, where it is looked at and given back.
//!
//! Rows are found by the number that the pipe has in the shared table of descriptors. The daemon writes a row before it
//! names the pipe in the ledger, from then on it is the writer's.

use std::ops::Range;
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
const WORDS: usize = 18;
const STAGE: usize = 0;
const PID: usize = 1;
const GENERATION: usize = 2;
const CONSUMED: usize = 3;
const PLACE: usize = 4;
const RING: usize = 5;
/// Where the words of the gaps begin.
const GAPS: [usize; 2] = [6, 12];
const GAP_FROM: usize = 0;
const GAP_TO: usize = 1;
/// Two places for a number of lines, and behind each up to where they were counted. The place that was counted further is the
/// one that counts.
const LINES: [usize; 2] = [2, 4];
/// Beside a number of lines: what was counted ends with one.
const WHOLE: u64 = 1 << 63;
/// Beside the position up to which a stage is consumed: that is all that was taken, whatever the file position says.
const ALL: u64 = 1 << 63;
/// The dump begins so many rings behind the begin of the ring: where the one ends the other cannot begin.
const DUMP: u64 = 2;
/// In place of the end of a gap: it is still growing.
const OPEN: u64 = u64::MAX;

/// The row of a pipe.
#[derive(Clone, Copy)]
pub(crate) struct StageRow<'a>(&'a [AtomicU64]);

/// Where in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// What is kept.
    Ring,
    /// What is dropped.
    Dump,
}

/// A part of a stage that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    /// None: it still grows.
    pub(crate) to: Option<u64>,
}

/// What was found in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) lines: u64,
    /// The last one is whole.
    pub(crate) whole: bool,
    /// It was looked through up to here.
    pub(crate) up_to: u64,
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
        self.set(RING, 0);
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
        self.word(CONSUMED) & !ALL
    }

    pub(crate) fn set_consumed(self, position: u64) {
        self.set(CONSUMED, position);
    }

    /// How long the ring is; 0 until the first writer has said so.
    pub(crate) fn ring(self) -> u64 {
        self.word(RING)
    }

    pub(crate) fn set_ring(self, length: u64) {
        self.set(RING, length);
    }

    /// How much was taken from the pipe, if this is the file position of its stage.
    pub(crate) fn taken(self, file_position: u64) -> u64 {
        let (consumed, ring) = (self.word(CONSUMED), self.ring());
        if ring == 0 || consumed & ALL != 0 {
            return consumed & !ALL;
        }
        let of_gap = |gap: Gap| gap.to.unwrap_or_else(|| self.counted(gap.from).up_to);
        let reached = GAPS.into_iter().filter_map(|place| self.gap_at(place)).map(of_gap).max();
        let reached = consumed.max(reached.unwrap_or(0));
        reached + (file_position % ring + ring - reached % ring) % ring
    }

    /// Where in the stage a position stands.
    pub(crate) fn offset(self, position: u64, area: Area) -> u64 {
        let ring = self.ring();
        match area {
            Area::Ring => position % ring,
            Area::Dump => DUMP * ring + position % ring,
        }
    }

    /// The parts of the stage in which the bytes between two positions stand, less than a ring apart; the first first.
    pub(crate) fn parts(self, from: u64, to: u64, area: Area) -> impl Iterator<Item = Range<u64>> {
        let length = to.saturating_sub(from);
        let in_one = length.min(self.ring() - if length > 0 { from % self.ring() } else { 0 });
        let part =
            move |from, length: u64| (length > 0).then(|| self.offset(from, area)..self.offset(from, area) + length);
        [part(from, in_one), part(from + in_one, length - in_one)].into_iter().flatten()
    }

    /// Which area this file position is in.
    pub(crate) fn area(self, file_position: u64) -> Area {
        match file_position < DUMP * self.ring() {
            true => Area::Ring,
            false => Area::Dump,
        }
    }

    /// All that was taken is consumed, and the next byte shall come to the front of the ring. Says which position that is;
    /// after this the file position is to be set, and then `begun_anew` said.
    pub(crate) fn begins_anew(self) -> u64 {
        let front = self.consumed().next_multiple_of(self.ring());
        self.set(CONSUMED, front | ALL);
        front
    }

    /// Whether that is under way.
    pub(crate) fn is_beginning_anew(self) -> bool {
        self.word(CONSUMED) & ALL != 0
    }

    pub(crate) fn begun_anew(self) {
        self.set(CONSUMED, self.consumed());
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

    /// All from this position on is dropped until further notice. `whole`: what is before it ends with a line.
    pub(crate) fn open_gap(self, from: u64, whole: bool) {
        let place = GAPS.into_iter().find(|place| self.gap_at(*place).is_none()).unwrap_or(GAPS[1]);
        self.set(place + GAP_FROM, 0);
        for lines in LINES {
            self.set(place + lines, if whole { WHOLE } else { 0 });
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
    /// store makes both count. `whole`: what was found ends with a line.
    pub(crate) fn count(self, from: u64, lines: u64, up_to: u64, whole: bool) {
        let [_, other] = self.lines_of(from);
        let sum = self.counted(from).lines + lines;
        self.set(other, sum | if whole { WHOLE } else { 0 });
        self.set(other + 1, up_to);
    }

    /// What was found in the gap that begins here.
    pub(crate) fn counted(self, from: u64) -> Counted {
        let [counts, _] = self.lines_of(from);
        let lines = self.word(counts);
        Counted { lines: lines & !WHOLE, whole: lines & WHOLE != 0, up_to: self.word(counts + 1) }
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

    fn lines_of(row: StageRow<'_>, from: u64) -> (u64, u64) {
        (row.counted(from).lines, row.counted(from).up_to)
    }

    #[test]
    fn a_gap_stands_until_it_was_told_of() {
        let stages = Stages::new(Memory::Loose).unwrap();
        let row = stages.row(70).unwrap();
        row.begin(71, 3);
        assert_eq!((row.stage(), row.generation(), row.gap()), (71, 3, None));
        row.set_consumed(10);
        row.open_gap(10, true);
        assert_eq!(row.gap(), Some(Gap { from: 10, to: None }));
        assert!(row.counted(10).whole);
        row.count(10, 2, 30, true);
        row.count(10, 1, 40, false);
        row.close_gap(10, 40);
        assert_eq!(row.gap(), Some(Gap { from: 10, to: Some(40) }));
        assert_eq!(row.counted(10), Counted { lines: 3, whole: false, up_to: 40 });
        row.open_gap(50, false);
        row.count(50, 7, 60, true);
        let first = (row.gap(), lines_of(row, 10));
        assert_eq!(first, (Some(Gap { from: 10, to: Some(40) }), (3, 40)), "one after the other");
        assert_eq!(row.growing_gap(), Some(Gap { from: 50, to: None }));
        row.set_consumed(40);
        assert_eq!(row.gap(), row.growing_gap(), "a writer that died before `end_gap` must not tell it twice");
        row.end_gap(10);
        row.end_gap(10);
        row.close_gap(50, 60);
        assert_eq!((row.gap(), lines_of(row, 50)), (Some(Gap { from: 50, to: Some(60) }), (7, 60)));
        row.set_consumed(60);
        row.end_gap(50);
        assert_eq!(row.gap(), None);
        assert!(stages.row(ROWS as RawFd).is_err());
    }

    #[test]
    fn the_file_position_says_how_much_was_taken() {
        const RING: u64 = 100;
        let stages = Stages::new(Memory::Loose).unwrap();
        let row = stages.row(70).unwrap();
        row.begin(71, 3);
        assert_eq!(row.taken(0), 0, "nobody has read anything yet");
        row.set_ring(RING);
        assert_eq!((row.taken(0), row.taken(99)), (0, 99));
        row.set_consumed(1_050);
        assert_eq!((row.taken(50), row.taken(70), row.taken(100), row.taken(49)), (1_050, 1_070, 1_100, 1_149));
        // From here on 1,090 bytes were taken.
        row.open_gap(1_080, true);
        assert_eq!(row.taken(90), 1_090);
        row.count(1_080, 1, 1_090, false);
        assert_eq!((row.taken(90), row.taken(290), row.taken(230)), (1_090, 1_090, 1_130));
        row.count(1_080, 9, 1_570, false);
        assert_eq!(row.taken(270), 1_570, "more is dropped than a ring is long");
        row.close_gap(1_080, 1_560);
        assert_eq!((row.taken(70), row.taken(59)), (1_570, 1_659));
        row.set_consumed(1_570);
        assert_eq!(row.begins_anew(), 1_600);
        assert_eq!((row.taken(70), row.taken(0), row.is_beginning_anew()), (1_600, 1_600, true));
        row.begun_anew();
        assert_eq!((row.taken(0), row.taken(3), row.is_beginning_anew()), (1_600, 1_603, false));
        assert_eq!((row.offset(1_603, Area::Ring), row.offset(1_603, Area::Dump)), (3, 203));
        for (from, to, area, expected) in [
            (5, 5, Area::Ring, ""),
            (120, 130, Area::Ring, "20..30 "),
            (120, 200, Area::Ring, "20..100 "),
            (120, 210, Area::Ring, "20..100 0..10 "),
            (100, 200, Area::Ring, "0..100 "),
            (190, 220, Area::Dump, "290..300 200..220 "),
        ] {
            let parts: String = row.parts(from, to, area).map(|part| format!("{part:?} ")).collect();
            assert_eq!(parts, expected, "{from} to {to}");
        }
        assert_eq!([row.area(100), row.area(200)], [Area::Ring, Area::Dump]);
    }
}
