//! Events and snapshots as bytes. An entry is read only by the build that wrote it; between builds a snapshot passes,
//! which begins with the number of its format.

use alloc::vec::Vec;
use core::fmt;

use crate::event::Event;
use crate::supervisor::Supervisor;
use crate::time::Instant;

/// The number of the snapshot format, raised whenever what is in a snapshot changes.
pub const FORMAT: u32 = 3;

/// No entry is longer than this many bytes.
pub const MAX_ENTRY: usize = 64;

/// Bytes that are no entry or snapshot of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A snapshot of another format.
    Format(u32),
    /// Too short, or not what was written.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Format(found) => write!(f, "journal format {found}, expected {FORMAT}"),
            Unreadable::Damaged => f.write_str("journal damaged"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Writes an entry to the front of `space` and returns its length; none if it does not fit.
pub fn write_entry(now: Instant, event: &Event, space: &mut [u8]) -> Option<usize> {
    postcard::to_slice(&(now, event), space).ok().map(|written| written.len())
}

/// Reads the entry at the front of `bytes`; returns it and what follows.
///
/// # Errors
/// `Damaged` if there is none.
pub fn read_entry(bytes: &[u8]) -> Result<(Instant, Event, &[u8]), Unreadable> {
    let ((now, event), rest) = postcard::take_from_bytes(bytes).map_err(|_| Unreadable::Damaged)?;
    Ok((now, event, rest))
}

/// The whole state as bytes. Take it only when `poll_action` is drained: actions are not in it.
pub fn write_snapshot(supervisor: &Supervisor) -> Vec<u8> {
    debug_assert!(supervisor.crew.actions.is_empty(), "a snapshot forgets actions");
    let mut bytes = FORMAT.to_le_bytes().to_vec();
    // Serialization into memory fails only for types that postcard cannot express, which the tests would show.
    if let Ok(state) = postcard::to_allocvec(supervisor) {
        bytes.extend(state);
    }
    bytes
}

/// The state that a snapshot holds.
///
/// # Errors
/// `Format` for a snapshot of another format, `Damaged` for bytes that are none.
pub fn read_snapshot(bytes: &[u8]) -> Result<Supervisor, Unreadable> {
    let (format, state) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
    match u32::from_le_bytes(*format) {
        FORMAT => postcard::from_bytes(state).map_err(|_| Unreadable::Damaged),
        other => Err(Unreadable::Format(other)),
    }
}
