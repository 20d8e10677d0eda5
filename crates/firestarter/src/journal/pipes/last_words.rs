//! What a process wrote last to its standard error: what the writer has consumed of it, what stands in the stage, and what
//! stands in the pipe. For whoever tells why a worker failed.

use std::os::fd::RawFd;

use firestarter_core::ids::WorkerId;

use super::super::stages::Area;
use super::super::tails::{Tail, BYTES};
use super::super::{Meaning, Origin, Stream};
use super::Pipes;
use crate::sys::fds;

impl Pipes {
    /// The last that a process wrote to its standard error, what nobody has read yet included; empty if it does not write
    /// there by a pipe, or has not. Waits for nobody.
    pub(crate) fn last_words(&self, worker: WorkerId) -> Vec<u8> {
        const LOOKS: usize = 50;
        let mut words = Vec::new();
        for _ in 0..LOOKS {
            let before = self.tails.of(worker);
            let unread = self.unread(worker);
            let after = self.tails.of(worker);
            let still = before == after && !after.as_ref().is_some_and(|tail| tail.moving);
            words = after.map_or_else(Vec::new, |tail: Tail| tail.bytes);
            if let Some(unread) = unread.filter(|_| still) {
                words.extend(unread);
                break;
            }
            // The writer has some of it in hand.
            std::thread::yield_now();
        }
        words.drain(..words.len().saturating_sub(BYTES));
        words
    }

    /// What the writer has not consumed yet of a worker's standard error: what stands in the stage, and in the pipe.
    fn unread(&self, worker: WorkerId) -> Option<Vec<u8>> {
        let of_worker = |(number, meaning): &(RawFd, Meaning)| {
            let stderr = matches!(meaning, Meaning::Output { origin: Origin { stream: Stream::Stderr, .. }, .. });
            stderr && self.ledger.mark(number) == worker.0
        };
        let Some((number, meaning)) = self.ledger.named().find(of_worker) else { return Some(Vec::new()) };
        let row = self.stages.row(number).ok()?;
        let consumed = row.consumed();
        let before = fds::position(row.stage()).ok()?;
        let in_pipe = fds::peek_pipe(number).unwrap_or_default();
        // What is dropped is not kept.
        let to = row.growing_gap().map_or_else(|| row.taken(before), |gap| gap.from);
        let from = consumed.max(to.saturating_sub(BYTES as u64));
        let mut unread = Vec::new();
        for part in row.parts(from, to, Area::Ring) {
            unread.extend(fds::read_at(row.stage(), part.start, (part.end - part.start) as usize).ok()?);
        }
        // The writer may have moved some of it meanwhile, or the keeper closed it and the number be another's.
        let still = fds::position(row.stage()).ok()? == before && row.consumed() == consumed;
        let same = self.ledger.meaning_of(number) == Some(meaning) && self.ledger.mark(&number) == worker.0;
        unread.extend(in_pipe);
        (still && same).then_some(unread)
    }
}
