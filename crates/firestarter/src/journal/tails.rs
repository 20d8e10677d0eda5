//! The last that processes wrote to their standard error by way of the writer: a little of each, in shared memory, written by
//! the writer as it consumes and read by the daemon when somebody is to be told why a worker failed. What the writer has
//! not consumed yet stands in the stage and in the pipe.
//!
//! A row is found by the worker's ordinal: its last words stay there after its pipe is closed, until so many others were
//! born that one of them has the same row. So the memory is bounded whatever the number of workers is.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use firestarter_core::ids::WorkerId;

use super::memory::{Memory, Part};
use crate::sys::maps::SharedWords;

/// All rows: the worker, how many bytes it has written, whether some are on their way here, and the last bytes.
pub(super) struct Tails(SharedWords);

const ROWS: usize = 4096;
/// So much of a tail is kept.
pub(crate) const BYTES: usize = 2048;
const WORKER: usize = 0;
const WRITTEN: usize = 1;
const MOVING: usize = 2;
const HEAD: usize = 3;
const WORDS: usize = HEAD + BYTES / 8;

/// What a worker wrote last, as far as the writer has read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
    /// Of how many.
    pub(super) written: u64,
    /// The last of them may stand in the stage too.
    pub(super) moving: bool,
}

impl Tails {
    pub(super) fn new(memory: Memory<'_>) -> io::Result<Tails> {
        memory.words(Part::Tails, ROWS * WORDS).map(Tails)
    }

    /// A worker's pipe is read from now on, or by another writer.
    pub(super) fn begin(&self, worker: WorkerId) {
        let row = self.row(worker);
        if row[WORKER].load(Acquire) != worker.0 {
            row[WORKER].store(0, Release);
            row[WRITTEN].store(0, Release);
            row[WORKER].store(worker.0, Release);
        }
        row[MOVING].store(0, Release);
    }

    /// These bytes are consumed; until `settle` they may be found in the stage as well.
    pub(super) fn add(&self, worker: WorkerId, bytes: &[u8]) {
        let Some(row) = self.own_row(worker) else { return };
        row[MOVING].store(1, Release);
        let written = row[WRITTEN].load(Acquire);
        let (skipped, last) = bytes.split_at(bytes.len().saturating_sub(BYTES));
        for (at, byte) in (written + skipped.len() as u64..).zip(last) {
            let at = at as usize % BYTES;
            let (word, shift) = (&row[HEAD + at / 8], at % 8 * 8);
            word.store(word.load(Relaxed) & !(0xff << shift) | u64::from(*byte) << shift, Relaxed);
        }
        row[WRITTEN].store(written + bytes.len() as u64, Release);
    }

    /// They are no longer in the stage.
    pub(super) fn settle(&self, worker: WorkerId) {
        if let Some(row) = self.own_row(worker) {
            row[MOVING].store(0, Release);
        }
    }

    /// What a worker wrote last.
    pub(super) fn of(&self, worker: WorkerId) -> Option<Tail> {
        let row = self.own_row(worker)?;
        let (moving, written) = (row[MOVING].load(Acquire) != 0, row[WRITTEN].load(Acquire));
        let byte = |at: u64| {
            let at = at as usize % BYTES;
            (row[HEAD + at / 8].load(Relaxed) >> (at % 8 * 8)) as u8
        };
        let bytes = (written.saturating_sub(BYTES as u64)..written).map(byte).collect();
        Some(Tail { bytes, written, moving })
    }

    /// None if it is another's: of one who was born long before it, or after.
    fn own_row(&self, worker: WorkerId) -> Option<&[AtomicU64]> {
        Some(self.row(worker)).filter(|row| row[WORKER].load(Acquire) == worker.0)
    }

    fn row(&self, worker: WorkerId) -> &[AtomicU64] {
        let first = worker.ordinal() as usize % ROWS * WORDS;
        &self.0[first..first + WORDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_those_that_were_written_last() {
        let tails = Tails::new(Memory::Loose).unwrap();
        let mut all: Vec<u8> = Vec::new();
        let (five, far) = (WorkerId::new(5, 0), WorkerId::new(5 + ROWS as u64, 0));
        tails.begin(five);
        for length in [0, 1, 7, 8, 100, 2000, 2048, 5000, 3] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            all.extend(&bytes);
            tails.add(five, &bytes);
            assert!(tails.of(five).unwrap().moving);
            tails.settle(five);
            let tail = tails.of(five).unwrap();
            assert_eq!(tail.bytes, all[all.len().saturating_sub(BYTES)..], "{length}");
            assert_eq!((tail.written, tail.moving), (all.len() as u64, false));
        }
        tails.begin(WorkerId::new(6, 0));
        tails.begin(five);
        assert_eq!(tails.of(five).unwrap().written, all.len() as u64, "another writer goes on");
        tails.begin(far);
        tails.add(five, b"lost");
        assert_eq!((tails.of(five), tails.of(far).unwrap().written), (None, 0));
    }
}
