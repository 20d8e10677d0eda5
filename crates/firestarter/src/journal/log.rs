//! The core's events since its last snapshot. Two buffers take turns: a snapshot is written to the idle one, and one
//! store makes it the active one. An entry is bytes in the active buffer and then one store of its new length: a daemon
//! that dies in between leaves no trace of the entry.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Release};

use firestarter_core::event::Event;
use firestarter_core::journal::{self, Unreadable, MAX_ENTRY};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;

use super::memory::{Memory, Part};
use crate::sys::maps::{SharedBytes, SharedWords};

/// The two buffers, and words that say which is active and how much of each counts.
pub(crate) struct Log {
    words: SharedWords,
    buffers: [SharedBytes; 2],
    /// A snapshot is due when the active buffer is longer than this.
    threshold: usize,
}

const ACTIVE: usize = 0;
const LENGTH: usize = 1;
const CAPACITY: usize = 64 << 20;
/// At least so many bytes of entries come between two snapshots.
const STRIDE: usize = 64 << 10;
/// So many bytes more are long.
const LONG: usize = 1 << 20;
/// The snapshot's own length stands before it.
const PREFIX: usize = size_of::<u64>();

/// The log cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The state is larger than a buffer.
    #[error("write journal: a snapshot of {0} bytes is larger than {CAPACITY}")]
    TooLarge(usize),
    /// What stands in it is not what was written.
    #[error("read journal: {0}")]
    Unreadable(#[from] Unreadable),
}

impl Log {
    pub(super) fn new(memory: Memory<'_>) -> io::Result<Log> {
        let buffers = [memory.bytes(Part::JournalA, CAPACITY)?, memory.bytes(Part::JournalB, CAPACITY)?];
        Ok(Log { words: memory.words(Part::Journal, 4)?, buffers, threshold: STRIDE })
    }

    /// Appends an event before it is handled. `core` is the state before it, for a snapshot if there is no room left.
    ///
    /// # Errors
    /// Not even a snapshot fits.
    pub(crate) fn append(&mut self, now: Instant, event: &Event, core: &Supervisor) -> Result<(), LogError> {
        if self.length() + MAX_ENTRY > CAPACITY {
            self.snapshot(core)?;
        }
        let (active, length) = (self.active(), self.length());
        let space = &mut self.buffers[active][length..];
        let written = journal::write_entry(now, event, space).ok_or(LogError::TooLarge(MAX_ENTRY))?;
        self.words[LENGTH + active].store((length + written) as u64, Release);
        Ok(())
    }

    /// Whether the entries have grown long enough for a snapshot.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        self.length() > self.threshold
    }

    /// Whether a snapshot has been due for so long that replaying the entries would take a noticeable time.
    pub(crate) fn is_long(&self) -> bool {
        self.length() > self.threshold + LONG
    }

    /// Puts a snapshot in place of all entries. Only when the core's actions are drained and performed.
    ///
    /// # Errors
    /// The state is larger than a buffer.
    pub(crate) fn snapshot(&mut self, core: &Supervisor) -> Result<(), LogError> {
        let bytes = journal::write_snapshot(core);
        let length = PREFIX + bytes.len();
        if length + MAX_ENTRY > CAPACITY {
            return Err(LogError::TooLarge(bytes.len()));
        }
        let idle = 1 - self.active();
        self.buffers[idle][..PREFIX].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.buffers[idle][PREFIX..length].copy_from_slice(&bytes);
        self.words[LENGTH + idle].store(length as u64, Release);
        self.words[ACTIVE].store(idle as u64, Release);
        // What the other buffer holds is of no use any more; should the kernel keep the memory, nothing is lost.
        let _ = self.buffers[1 - idle].clear();
        self.threshold = length + STRIDE.max(bytes.len());
        Ok(())
    }

    /// The state that the log leads to. `each` sees every event and what it led to, in order.
    ///
    /// # Errors
    /// The log is not readable.
    pub(crate) fn replay(&mut self, mut each: impl FnMut(&Event, &mut Supervisor)) -> Result<Supervisor, LogError> {
        let all = &self.buffers[self.active()][..self.length()];
        let (prefix, rest) = all.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let length = u64::from_le_bytes(*prefix) as usize;
        let (snapshot, mut entries) = rest.split_at_checked(length).ok_or(Unreadable::Damaged)?;
        let mut core = journal::read_snapshot(snapshot)?;
        while !entries.is_empty() {
            let (now, event, rest) = journal::read_entry(entries)?;
            core.handle(now, event);
            each(&event, &mut core);
            while core.poll_action().is_some() {}
            entries = rest;
        }
        self.threshold = PREFIX + length + STRIDE.max(length);
        Ok(core)
    }

    fn active(&self) -> usize {
        (self.words[ACTIVE].load(Acquire) & 1) as usize
    }

    fn length(&self) -> usize {
        (self.words[LENGTH + self.active()].load(Acquire) as usize).min(CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firestarter_core::spec::Policy;

    #[test]
    fn a_replay_leads_to_the_same_state_with_and_without_snapshots_between() {
        let mut core = Supervisor::new(Vec::new(), Policy::default(), 1, Instant(0));
        let mut log = Log::new(Memory::Loose).unwrap();
        log.snapshot(&core).unwrap();
        for turn in 0..40_000 {
            let event = Event::Deadline;
            log.append(Instant(turn), &event, &core).unwrap();
            core.handle(Instant(turn), event);
            if log.snapshot_is_due() {
                log.snapshot(&core).unwrap();
            }
            assert!(log.length() < 2 * STRIDE, "the log grows without bound");
        }
        let mut seen = 0;
        assert_eq!(log.replay(|_, _| seen += 1).unwrap(), core);
        assert!(seen > 0 && seen < 40_000);
    }

    #[test]
    fn a_log_without_a_snapshot_is_no_log() {
        assert!(Log::new(Memory::Loose).unwrap().replay(|_, _| ()).is_err());
    }
}
