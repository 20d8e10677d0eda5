//! Events and snapshots as bytes, with checksums that tell whether they are what was written. Called by whoever keeps a
//! journal, and by whoever reads one. An entry is read only by the build that wrote it; between builds a snapshot passes,
//! which begins with the number of its format: nothing else is looked at before that.
//!
//! A journal is a snapshot and the entries after it. Each part bears the checksum of all bytes up to its own end, so what
//! is altered is found where it stands, and so is an entry that was left out, or that was left behind by an older journal
//! in the same memory. What stands before the damage reads as it was written.

mod recording;

use alloc::vec::Vec;
use core::fmt;

use crc32fast::Hasher;

use crate::event::Event;
use crate::supervisor::Supervisor;
use crate::time::Instant;
pub use recording::{NoRecording, Recording};

/// The number of the snapshot format, raised whenever what is in a snapshot or an entry changes.
pub const FORMAT: u32 = 4;

/// The name of this build. Builds of the same name read each other's entries.
pub const BUILD: &str = env!("FIRESTARTER_BUILD");

/// No entry is longer than this many bytes.
pub const MAX_ENTRY: usize = 72;

/// Of a snapshot, before the state: the format, the state's length, the checksum; four bytes each.
const HEAD: usize = 12;
/// Of an entry, before the event: the event's length, one byte; the checksum, four.
const ENTRY_HEAD: usize = 5;

/// The checksum (CRC-32) of a journal's bytes up to the end of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub u32);

impl Checksum {
    /// Of what came before and these bytes.
    fn and(self, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        Checksum(hasher.finalize())
    }
}

/// Bytes that are no entry or snapshot of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A snapshot of another format.
    Format(u32),
    /// The part that begins at this byte is cut short, or not what was written.
    Damaged(usize),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Format(found) => write!(f, "format {found}, expected {FORMAT}"),
            Unreadable::Damaged(at) => write!(f, "damaged at byte {at}"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Writes an entry to the front of `space`; none if it does not fit. `after` is the checksum of the journal so far; returns
/// the entry's length and the checksum with it.
pub fn write_entry(after: Checksum, now: Instant, event: &Event, space: &mut [u8]) -> Option<(usize, Checksum)> {
    let (head, body) = space.split_at_mut_checked(ENTRY_HEAD)?;
    let length = postcard::to_slice(&(now, event), body).ok()?.len();
    head[0] = u8::try_from(length).ok()?;
    let checksum = after.and(&head[..1]).and(&body[..length]);
    head[1..].copy_from_slice(&checksum.0.to_le_bytes());
    Some((ENTRY_HEAD + length, checksum))
}

/// The whole state as bytes, and their checksum. Take it only when `poll_action` is drained: actions are not in it.
pub fn write_snapshot(supervisor: &Supervisor) -> (Vec<u8>, Checksum) {
    debug_assert!(supervisor.crew.actions.is_empty(), "a snapshot forgets actions");
    // Serialization into memory fails only for types that postcard cannot express, which the tests would show.
    let state = postcard::to_allocvec(supervisor).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEAD + state.len());
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((state.len() as u32).to_le_bytes());
    let checksum = Checksum(0).and(&bytes).and(&state);
    bytes.extend(checksum.0.to_le_bytes());
    bytes.extend(state);
    (bytes, checksum)
}

/// Reads a journal, entry by entry.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    checksum: Checksum,
}

impl<'a> Reader<'a> {
    /// The state that a journal begins with, and the reader of the entries that follow.
    ///
    /// # Errors
    /// `Format` for a snapshot of another format, `Damaged` for bytes that are none.
    pub fn open(bytes: &'a [u8]) -> Result<(Supervisor, Reader<'a>), Unreadable> {
        let damaged = Unreadable::Damaged(0);
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        match number(0).ok_or(damaged)? {
            FORMAT => {}
            other => return Err(Unreadable::Format(other)),
        }
        let (length, written) = number(4).zip(number(8)).ok_or(damaged)?;
        let end = HEAD.checked_add(length as usize).ok_or(damaged)?;
        let state = bytes.get(HEAD..end).ok_or(damaged)?;
        let checksum = Checksum(0).and(&bytes[..8]).and(state);
        if checksum != Checksum(written) {
            return Err(damaged);
        }
        let core = postcard::from_bytes(state).map_err(|_| damaged)?;
        Ok((core, Reader { bytes, at: end, checksum }))
    }

    /// Goes on where another reader of the same journal has come to: how many bytes it has read, and their checksum.
    pub fn resume(bytes: &'a [u8], (at, checksum): (usize, Checksum)) -> Reader<'a> {
        Reader { bytes, at: at.min(bytes.len()), checksum }
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// `Damaged`, from then on every time.
    pub fn entry(&mut self) -> Result<Option<(Instant, Event)>, Unreadable> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let (length, entry, checksum) = self.checked(rest).ok_or(Unreadable::Damaged(self.at))?;
        (self.at, self.checksum) = (self.at + length, checksum);
        Ok(Some(entry))
    }

    /// The entry at the front, its length, and the checksum with it; none if it is not what was written.
    fn checked(&self, rest: &[u8]) -> Option<(usize, (Instant, Event), Checksum)> {
        let (head, body) = rest.split_at_checked(ENTRY_HEAD)?;
        let (length, written) = head.split_first()?;
        let body = body.get(..usize::from(*length))?;
        let checksum = self.checksum.and(&head[..1]).and(body);
        if checksum.0.to_le_bytes() != *written {
            return None;
        }
        // Without the check for a rest an event of another build could pass for a shorter one.
        let (entry, rest) = postcard::take_from_bytes(body).ok()?;
        rest.is_empty().then_some((ENTRY_HEAD + body.len(), entry, checksum))
    }

    /// How many bytes have been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The checksum of what has been read.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

/// The state that a snapshot holds.
///
/// # Errors
/// `Format` for a snapshot of another format, `Damaged` for bytes that are none.
pub fn read_snapshot(bytes: &[u8]) -> Result<Supervisor, Unreadable> {
    Reader::open(bytes).map(|(core, _)| core)
}
