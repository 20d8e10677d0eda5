//! Where the journal's shared memory comes from, and its socket: made anew at a start, or found in the ledger by a program
//! that is executed in place of the one that made it. Called by the parts of the journal when they are made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{Ledger, Meaning};
use crate::sys::fds;
use crate::sys::maps::{SharedBytes, SharedWords};

/// A piece of shared memory, or an end of a socket. The ledger names it by its number, which stays what it is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Header = 1,
    Workers = 2,
    Said = 3,
    Descriptors = 4,
    StoredNames = 5,
    Journal = 6,
    JournalA = 7,
    JournalB = 8,
    Stages = 9,
    Sinks = 10,
    Tails = 11,
    Rings = 12,
    Report = 13,
    PipesHere = 20,
    PipesThere = 21,
    /// What the start was like.
    Record = 22,
    /// The program that is to take this one's place.
    Next = 23,
    /// The program whose place this one has taken.
    Before = 24,
    /// Where lines for people go.
    Voice = 25,
    /// Where the keeper hears of signals.
    Signals = 26,
    /// By which the service manager is told.
    Service = 27,
}

/// Where memory comes from.
#[derive(Clone, Copy)]
pub(super) enum Memory<'a> {
    /// It is made, and named in the ledger.
    Fresh(&'a Ledger),
    /// The ledger names it.
    Kept(&'a Ledger),
    /// It is made, and nobody needs to find it.
    #[cfg(test)]
    Loose,
}

impl Memory<'_> {
    /// So many words; all zero, if they are new.
    ///
    /// # Errors
    /// No descriptor or no memory; or what is kept is not there, or of another length.
    pub(super) fn words(self, part: Part, words: usize) -> io::Result<SharedWords> {
        match self.kept() {
            Some(ledger) => SharedWords::adopt(kept(ledger, part)?, words).map_err(|error| of(part, &error)),
            None => self.name(part, SharedWords::new(name(part), words)?),
        }
    }

    /// So many bytes; all zero, if they are new.
    ///
    /// # Errors
    /// As `words`.
    pub(super) fn bytes(self, part: Part, len: usize) -> io::Result<SharedBytes> {
        match self.kept() {
            Some(ledger) => SharedBytes::adopt(kept(ledger, part)?, len).map_err(|error| of(part, &error)),
            None => self.name(part, SharedBytes::new(name(part), len)?),
        }
    }

    /// Both ends of a socket: a new one, if it is not kept.
    ///
    /// # Errors
    /// No descriptor; or what is kept is not there.
    pub(super) fn pair(self, make: impl FnOnce() -> io::Result<[OwnedFd; 2]>) -> io::Result<[OwnedFd; 2]> {
        let parts = [Part::PipesHere, Part::PipesThere];
        match self.kept() {
            Some(ledger) => Ok([kept(ledger, parts[0])?, kept(ledger, parts[1])?]),
            None => {
                let [here, there] = make()?;
                Ok([self.name(parts[0], here)?, self.name(parts[1], there)?])
            }
        }
    }

    /// The ledger that names what is there already.
    fn kept(&self) -> Option<&Ledger> {
        match self {
            Memory::Kept(ledger) => Some(ledger),
            Memory::Fresh(_) => None,
            #[cfg(test)]
            Memory::Loose => None,
        }
    }

    fn name<M: AsFd>(self, part: Part, memory: M) -> io::Result<M> {
        if let Memory::Fresh(ledger) = self {
            ledger.name(&memory.as_fd().as_raw_fd(), Meaning::Kept { part: part as u32 })?;
        }
        Ok(memory)
    }
}

fn kept(ledger: &Ledger, part: Part) -> io::Result<OwnedFd> {
    let found = ledger.kept(part).and_then(fds::adopt);
    found.ok_or_else(|| of(part, &io::ErrorKind::NotFound.into()))
}

fn of(part: Part, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", name(part)))
}

/// What lists of a process's memory show.
fn name(part: Part) -> &'static str {
    match part {
        Part::Header => "firestarter-header",
        Part::Workers => "firestarter-workers",
        Part::Said => "firestarter-said",
        Part::Descriptors => "firestarter-descriptors",
        Part::StoredNames => "firestarter-stored",
        Part::Journal => "firestarter-journal",
        Part::JournalA => "firestarter-journal-a",
        Part::JournalB => "firestarter-journal-b",
        Part::Stages => "firestarter-stages",
        Part::Sinks => "firestarter-sinks",
        Part::Tails => "firestarter-tails",
        Part::Rings => "firestarter-rings",
        Part::Report => "firestarter-report",
        Part::PipesHere | Part::PipesThere => "the socket to the writer",
        Part::Record => "the record of the start",
        Part::Next | Part::Before => "the other program",
        Part::Voice => "standard error",
        Part::Signals => "signals",
        Part::Service => "the socket to the service manager",
    }
}
