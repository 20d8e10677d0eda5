//! The last that processes wrote to their standard error by way of the writer: a little of each, in shared memory, written by
//! the writer as it reads and read by the daemon when somebody is to be told why a worker failed. What the writer has not
//! read yet stands in the pipe.
//!
//! A row is found by the number of its pipe and names the worker, whose last words stay there after the pipe is closed,
//! until another pipe of that number, or of one so far away that it has the same row, is written to. So the memory is
//! bounded whatever the number of workers is, and with very many of them a tail may be missing.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sys::maps::SharedWords;

/// All rows: the worker, how many bytes it has written, whether more are on their way here, and the last bytes.
pub(super) struct Tails(SharedWords);

const ROWS: usize = 4096;
/// So much of a tail is kept.
pub(crate) const BYTES: usize = 2048;
const WORKER: usize = 0;
const WRITTEN: usize = 1;
const READING: usize = 2;
const HEAD: usize = 3;
const WORDS: usize = HEAD + BYTES / 8;

/// What a worker wrote last, as far as the writer has read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
    /// Of how many.
    pub(super) written: u64,
    /// The writer has more in hand.
    pub(super) reading: bool,
}

impl Tails {
    pub(super) fn new() -> io::Result<Tails> {
        SharedWords::new("firestarter-tails", ROWS * WORDS).map(Tails)
    }

    /// A pipe of this number is a worker's.
    pub(super) fn begin(&self, number: RawFd, worker: u64) {
        let row = self.row(number);
        if row[WORKER].load(Acquire) != worker {
            row[WORKER].store(0, Release);
            row[WRITTEN].store(0, Release);
            row[WORKER].store(worker, Release);
        }
        row[READING].store(0, Release);
    }

    /// The writer is going to read from the pipe.
    pub(super) fn reads(&self, number: RawFd) {
        self.row(number)[READING].store(1, Release);
    }

    /// This is what it read; nothing, if there was nothing.
    pub(super) fn add(&self, number: RawFd, bytes: &[u8]) {
        let row = self.row(number);
        let written = row[WRITTEN].load(Acquire);
        let (skipped, last) = bytes.split_at(bytes.len().saturating_sub(BYTES));
        for (at, byte) in (written + skipped.len() as u64..).zip(last) {
            let at = at as usize % BYTES;
            let (word, shift) = (&row[HEAD + at / 8], at % 8 * 8);
            word.store(word.load(Relaxed) & !(0xff << shift) | u64::from(*byte) << shift, Relaxed);
        }
        row[WRITTEN].store(written + bytes.len() as u64, Release);
        row[READING].store(0, Release);
    }

    /// What a worker wrote last.
    pub(super) fn of(&self, worker: u64) -> Option<Tail> {
        let rows = (0..ROWS as RawFd).map(|number| self.row(number));
        let row = { rows }.find(|row| row[WORKER].load(Acquire) == worker)?;
        let (reading, written) = (row[READING].load(Acquire) != 0, row[WRITTEN].load(Acquire));
        let byte = |at: u64| {
            let at = at as usize % BYTES;
            (row[HEAD + at / 8].load(Relaxed) >> (at % 8 * 8)) as u8
        };
        let bytes = (written.saturating_sub(BYTES as u64)..written).map(byte).collect();
        Some(Tail { bytes, written, reading })
    }

    fn row(&self, number: RawFd) -> &[AtomicU64] {
        let first = number as usize % ROWS * WORDS;
        &self.0[first..first + WORDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_those_that_were_written_last() {
        let tails = Tails::new().unwrap();
        let mut all: Vec<u8> = Vec::new();
        tails.begin(70, 5);
        for length in [0, 1, 7, 8, 100, 2000, 2048, 5000, 3] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            all.extend(&bytes);
            tails.reads(70);
            assert!(tails.of(5).unwrap().reading);
            tails.add(70, &bytes);
            let tail = tails.of(5).unwrap();
            assert_eq!(tail.bytes, all[all.len().saturating_sub(BYTES)..], "{length}");
            assert_eq!((tail.written, tail.reading), (all.len() as u64, false));
        }
        tails.begin(70, 5);
        assert_eq!(tails.of(5).unwrap().written, all.len() as u64, "another writer goes on");
        tails.begin(70, 6);
        assert_eq!((tails.of(5), tails.of(6).unwrap().written), (None, 0));
    }
}
