//! A journal as a file for people: a head of text lines, an empty line, and the bytes of two journals, the last but one,
//! if it is still there, and the last. Written by the client that takes a journal, read by `replay` and by tests. It knows
//! no file: text and bytes only.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::{Checksum, BUILD, FORMAT};
use crate::time::Instant;

/// The head of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The build that wrote the journal.
    pub build: String,
    /// The format of its snapshots.
    pub format: u32,
    /// When it was taken.
    pub taken: Instant,
    /// The same by the clock on the wall, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// So many bytes are the last but one.
    pub older: u64,
    /// So many bytes are the last.
    pub newer: u64,
    /// What else was the case, a line each.
    pub notes: Vec<String>,
}

/// The first words of the file; the number is that of the head's form.
const MARK: &str = "firestarter journal 2\n";
/// Those of a head without a checksum.
const MARK_UNCHECKED: &str = "firestarter journal 1\n";
/// Begins the last line of a head that has one.
const CHECKSUM: &str = "checksum ";

/// Bytes that do not begin with such a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecording {
    /// Not such a file at all, or of another form.
    Mark,
    /// The head has no end.
    Cut,
    /// The head is not what was written, or lacks its checksum.
    Damaged,
    /// This line of the head is missing or means nothing.
    Line(&'static str),
}

impl fmt::Display for NoRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRecording::Mark => write!(f, "does not begin with {:?}", MARK.trim_end()),
            NoRecording::Cut => f.write_str("ends within its head"),
            NoRecording::Damaged => f.write_str("its head is not what was written: the checksum at its end is another"),
            NoRecording::Line(name) => write!(f, "the line {name:?} of its head is missing or means nothing"),
        }
    }
}

impl core::error::Error for NoRecording {}

impl Recording {
    /// Of this build.
    pub fn new(taken: Instant, unix_ns: u64, older: u64, newer: u64) -> Recording {
        Recording { build: BUILD.to_owned(), format: FORMAT, taken, unix_ns, older, newer, notes: Vec::new() }
    }

    /// The head as text, with its checksum and the empty line at its end.
    pub fn write(&self) -> String {
        let Recording { build, format, taken, unix_ns, older, newer, notes } = self;
        let mut text = format!("{MARK}build {build}\nformat {format}\ntaken {} {unix_ns}\n", taken.0);
        text.push_str(&format!("older {older}\nnewer {newer}\n"));
        for note in notes {
            text.push_str(&format!("note {}\n", note.replace('\n', " ")));
        }
        let checksum = checksum_line(text.as_bytes());
        text + &checksum + "\n\n"
    }

    /// Reads the head; returns it and what follows. Lines of other names are passed over.
    ///
    /// # Errors
    /// There is none.
    pub fn read(bytes: &[u8]) -> Result<(Recording, &[u8]), NoRecording> {
        let mark = [MARK, MARK_UNCHECKED].into_iter().find(|mark| bytes.starts_with(mark.as_bytes()));
        let mark = mark.ok_or(NoRecording::Mark)?;
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(NoRecording::Cut)?;
        let last = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // With this line it is one that has a checksum, whatever has become of the number at its front.
        let checked = mark == MARK || bytes[last..end].starts_with(CHECKSUM.as_bytes());
        if checked && bytes[last..end] != *checksum_line(&bytes[..last]).as_bytes() {
            return Err(NoRecording::Damaged);
        }
        let text = String::from_utf8_lossy(&bytes[..end]);
        let lines = || text.lines().filter_map(|line| line.split_once(' '));
        let value = |name| lines().find(|(key, _)| *key == name).map(|(_, value)| value).ok_or(NoRecording::Line(name));
        let (taken, unix_ns) = value("taken")?.split_once(' ').ok_or(NoRecording::Line("taken"))?;
        let head = Recording {
            build: value("build")?.to_owned(),
            format: number("format", value("format")?)?,
            taken: Instant(number("taken", taken)?),
            unix_ns: number("taken", unix_ns)?,
            older: number("older", value("older")?)?,
            newer: number("newer", value("newer")?)?,
            notes: lines().filter(|(key, _)| *key == "note").map(|(_, note)| note.to_owned()).collect(),
        };
        Ok((head, &bytes[end + 2..]))
    }

    /// The bytes of the two journals, of what follows the head. Where the file is cut short, so are they.
    pub fn parts<'a>(&self, rest: &'a [u8]) -> [&'a [u8]; 2] {
        let most = |length: u64, of: &[u8]| usize::try_from(length).unwrap_or(usize::MAX).min(of.len());
        let (older, rest) = rest.split_at(most(self.older, rest));
        [older, &rest[..most(self.newer, rest)]]
    }

    /// How many bytes are missing at the end.
    pub fn missing(&self, rest: &[u8]) -> u64 {
        self.length().saturating_sub(rest.len() as u64)
    }

    /// How many bytes stand behind the last journal. Nobody has written them there.
    pub fn surplus(&self, rest: &[u8]) -> u64 {
        (rest.len() as u64).saturating_sub(self.length())
    }

    /// How many bytes the two journals have.
    fn length(&self) -> u64 {
        self.older.saturating_add(self.newer)
    }
}

/// The last line of a head of which these are the lines before.
fn checksum_line(lines: &[u8]) -> String {
    format!("{CHECKSUM}{:08x}", Checksum(0).and(lines).0)
}

fn number<T: FromStr>(name: &'static str, text: &str) -> Result<T, NoRecording> {
    text.parse().map_err(|_| NoRecording::Line(name))
}
