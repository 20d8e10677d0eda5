//! What a line becomes. Pure. Used by `sink`.

use crate::journal::{Speaker, Stream};
use crate::output::Form;

/// Whose lines they are.
pub(super) struct Voice<'a> {
    pub(super) group: &'a str,
    pub(super) speaker: Speaker,
    pub(super) stream: Stream,
    pub(super) pid: u32,
    pub(super) generation: u32,
}

/// Adds lines in their form.
pub(super) fn shape(_form: Form, _voice: &Voice<'_>, _time: u64, lines: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(lines);
}
