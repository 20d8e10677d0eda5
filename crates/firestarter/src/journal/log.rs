//! The core's events since its last snapshot. Two buffers take turns: a snapshot is written to the idle one, and one
//! store makes it the active one. An entry is bytes in the active buffer and then one store, of its new length and its
//! checksum at once: a daemon that dies in between leaves no trace of the entry, and a log whose last entries are gone or
//! altered is told from a whole one. What stood in the buffers before the last snapshot stays until the next one, for
//! people who want to know how it came to this.

use std::io;
use std::sync::atomic::Ordering::Acquire;

use firestarter_core::event::Event;
use firestarter_core::journal::{self, Checksum, Reader, Unreadable, MAX_ENTRY};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;

use super::memory::{Memory, Part};
use super::steps::put;
use crate::sys::maps::{SharedBytes, SharedWords};

/// The two buffers, and words that say which is active and how much of each counts.
pub(crate) struct Log {
    words: SharedWords,
    buffers: [SharedBytes; 2],
    /// A snapshot is due when the active buffer is longer than this.
    threshold: usize,
}

/// The number of the last snapshot, and above it the same inverted: the number's parity says which buffer is active, so a
/// single bit would lead to the other one.
const SERIAL: usize = 0;
/// From here on a word for each buffer: its length, and above it the checksum of so many bytes.
const EXTENT: usize = 1;
const CAPACITY: usize = 64 << 20;
/// At least so many bytes of entries come between two snapshots.
const STRIDE: usize = 64 << 10;
/// So many bytes more are long.
const LONG: usize = 1 << 20;

/// The log cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The state is larger than a buffer.
    #[error("write journal: a snapshot of {0} bytes is larger than {CAPACITY}")]
    TooLarge(usize),
    /// A part of it is not what was written.
    #[error("read journal: {0}")]
    Unreadable(#[from] Unreadable),
    /// It does not say where it is.
    #[error("read journal: the number of its last snapshot is damaged")]
    NoSerial,
    /// All entries are what was written, but not all that were written.
    #[error("read journal: it is not the one that was written last, of {0} bytes")]
    OtherEnd(usize),
}

/// What a log holds, for people: also one that cannot be replayed.
pub(crate) struct Contents<'a> {
    /// The number of its last snapshot; as long as it is the same, nothing here changes but that entries are added.
    pub(crate) serial: u32,
    /// The snapshot before the last one and the entries up to that, if they are still there.
    pub(crate) older: &'a [u8],
    /// The last snapshot and the entries since.
    pub(crate) newer: &'a [u8],
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
        let active = self.active();
        let (length, checksum) = self.extent(active);
        let space = self.buffers[active].get_mut(length..).unwrap_or_default();
        let (written, checksum) =
            journal::write_entry(checksum, now, event, space).ok_or(LogError::TooLarge(MAX_ENTRY))?;
        self.set_extent(active, length + written, checksum);
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
        let (bytes, checksum) = journal::write_snapshot(core);
        let length = bytes.len();
        if length + MAX_ENTRY > CAPACITY {
            return Err(LogError::TooLarge(length));
        }
        let (serial, idle) = ((self.words[SERIAL].load(Acquire) as u32).wrapping_add(1), 1 - self.active());
        // Nobody shall take what stands there for the log before last while it is being overwritten.
        self.set_extent(idle, 0, Checksum(0));
        // Its memory is given back, so that one long log does not take it for ever; should the kernel keep it, nothing is
        // lost.
        let _ = self.buffers[idle].clear();
        self.buffers[idle][..length].copy_from_slice(&bytes);
        self.set_extent(idle, length, checksum);
        put(&self.words[SERIAL], u64::from(!serial) << 32 | u64::from(serial));
        self.threshold = length + STRIDE.max(length);
        Ok(())
    }

    /// The state that the log leads to. `each` sees every event and what it led to, in order.
    ///
    /// # Errors
    /// The log is not, to its last byte, the one that was written.
    pub(crate) fn replay(&mut self, mut each: impl FnMut(&Event, &mut Supervisor)) -> Result<Supervisor, LogError> {
        let serial = self.words[SERIAL].load(Acquire);
        if (serial >> 32) as u32 != !(serial as u32) {
            return Err(LogError::NoSerial);
        }
        let (length, checksum) = self.extent(self.active());
        let all = self.buffers[self.active()].get(..length).ok_or(LogError::OtherEnd(length))?;
        let (mut core, mut reader) = Reader::open(all)?;
        let snapshot = reader.at();
        while let Some((now, event)) = reader.entry()? {
            core.handle(now, event);
            each(&event, &mut core);
            while core.poll_action().is_some() {}
        }
        if reader.checksum() != checksum {
            return Err(LogError::OtherEnd(length));
        }
        self.threshold = snapshot + STRIDE.max(snapshot);
        Ok(core)
    }

    /// What it holds, as far as there is anything, for people.
    pub(crate) fn contents(&self) -> Contents<'_> {
        let bytes = |buffer: usize| {
            let (length, _) = self.extent(buffer);
            &self.buffers[buffer][..length.min(CAPACITY)]
        };
        let active = self.active();
        Contents { serial: self.words[SERIAL].load(Acquire) as u32, older: bytes(1 - active), newer: bytes(active) }
    }

    fn active(&self) -> usize {
        (self.words[SERIAL].load(Acquire) & 1) as usize
    }

    /// How many bytes of a buffer count, and their checksum.
    fn extent(&self, buffer: usize) -> (usize, Checksum) {
        let word = self.words[EXTENT + buffer].load(Acquire);
        (word as u32 as usize, Checksum((word >> 32) as u32))
    }

    fn set_extent(&self, buffer: usize, length: usize, checksum: Checksum) {
        put(&self.words[EXTENT + buffer], u64::from(checksum.0) << 32 | length as u64);
    }

    fn length(&self) -> usize {
        self.extent(self.active()).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firestarter_core::spec::{GroupSpec, Policy};
    use std::sync::atomic::Ordering::AcqRel;

    fn core() -> Supervisor {
        Supervisor::new(vec![GroupSpec::new("web")], Policy::default(), 1, Instant(0))
    }

    /// A log with a snapshot before the last one, and some entries after each.
    fn log() -> Log {
        let (mut core, mut log) = (core(), Log::new(Memory::Loose).unwrap());
        for turn in 0..20 {
            if turn % 10 == 0 {
                log.snapshot(&core).unwrap();
            }
            let event = if turn == 0 { Event::Begin } else { Event::Deadline };
            log.append(Instant(turn), &event, &core).unwrap();
            core.handle(Instant(turn), event);
            while core.poll_action().is_some() {}
        }
        log
    }

    #[test]
    fn a_replay_leads_to_the_same_state_with_and_without_snapshots_between() {
        let mut core = core();
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
        let Contents { older, newer, .. } = log.contents();
        assert!(older.len() > STRIDE, "what was before the last snapshot is gone");
        assert_eq!(newer.len(), log.length());
    }

    #[test]
    fn a_log_without_a_snapshot_is_no_log() {
        assert!(Log::new(Memory::Loose).unwrap().replay(|_, _| ()).is_err());
    }

    #[test]
    fn what_was_before_the_last_snapshot_leads_to_it() {
        let log = log();
        let Contents { older, newer, .. } = log.contents();
        let (mut core, mut reader) = Reader::open(older).unwrap();
        while let Some((now, event)) = reader.entry().unwrap() {
            core.handle(now, event);
            while core.poll_action().is_some() {}
        }
        assert_eq!(core, Reader::open(newer).unwrap().0);
    }

    #[test]
    fn a_log_with_any_byte_altered_is_refused() {
        let mut log = log();
        let active = log.active();
        for at in 0..log.length() {
            log.buffers[active][at] ^= 0x55;
            assert!(log.replay(|_, _| ()).is_err(), "byte {at}");
            log.buffers[active][at] ^= 0x55;
        }
        log.replay(|_, _| ()).unwrap();
    }

    #[test]
    fn a_log_of_any_other_length_or_with_any_bit_of_a_word_altered_is_refused() {
        let mut log = log();
        let active = log.active();
        let (length, checksum) = log.extent(active);
        for other in (0..length).chain(length + 1..length + 200).chain([CAPACITY, CAPACITY + 1, u32::MAX as usize]) {
            log.set_extent(active, other, checksum);
            assert!(log.replay(|_, _| ()).is_err(), "{other} bytes");
            assert!(log.contents().newer.len() <= CAPACITY);
        }
        log.set_extent(active, length, checksum);
        for (word, bit) in [SERIAL, EXTENT + active].into_iter().flat_map(|word| (0..64).map(move |bit| (word, bit))) {
            log.words[word].fetch_xor(1 << bit, AcqRel);
            assert!(log.replay(|_, _| ()).is_err(), "bit {bit} of word {word}");
            log.words[word].fetch_xor(1 << bit, AcqRel);
        }
        log.replay(|_, _| ()).unwrap();
    }
}
