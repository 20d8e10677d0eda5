//! What each descriptor number means, so that a new daemon finds what the last one opened and closes the rest. A row is
//! written after its descriptor is open and cleared before it is closed: whatever a crash leaves is either named and
//! open, or not named.

use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::memory::{Memory, Part};
use super::steps::{put, step};
use super::texts::Texts;
use crate::sys::fds;
use crate::sys::maps::SharedWords;

/// All rows, by descriptor number, of four words: the meaning, a value that belongs to it, a client's phase, and a mark:
/// what identifies a client's line, the worker that a connection is of, the inode of a listener's path, the turn of what was
/// stored, or of a slot's own socket that the service manager has heard of it.
pub(crate) struct Ledger {
    words: SharedWords,
    /// What workers called what they have stored, by descriptor number.
    names: Option<Texts>,
}

/// The mark of a slot's own socket of which the service manager has heard, if it is to.
pub(crate) const SHELVED: u64 = 1;

const CAPACITY: usize = 1 << 18;
const WORDS: usize = 4;
const LENGTH: usize = (CAPACITY + 1) * WORDS;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The keeper's own.
    Keeper,
    /// Where clients connect.
    Control,
    /// A shared socket: the group and its place there.
    Listener { group: u32, index: u32 },
    /// A slot's own socket at a shared address, of slots above 0: the group, the place there, the slot.
    SlotListener { group: u32, index: u32, slot: u32 },
    /// Where workers of a group connect.
    WorkerSocket { group: u32 },
    /// The daemon's end of a group's socketpair.
    PairHere { group: u32 },
    /// The workers' end of it.
    PairThere { group: u32 },
    /// A worker's connection to its group's socket.
    WorkerConnection { group: u32 },
    /// A client's connection, by its number.
    Client { client: u64 },
    /// Where workers of a group tell how they are.
    Notify { group: u32 },
    /// What a worker in this slot has stored for its successor; `polled`: it goes when its other end does.
    Stored { group: u32, slot: u32, polled: bool },
    /// Kept to have one when there is none left.
    Spare,
    /// The working directory of an edition of a group's program.
    PinnedFolder { group: u32, edition: u32 },
    /// The program of an edition, found at this place of those where it was looked for.
    PinnedProgram { group: u32, edition: u32, place: u32 },
    /// The read end of a pipe that a process writes to. The keeper closes it when the writer has read it to its end.
    Output {
        /// Which pipe: the low half of its inode number.
        pipe: u32,
        /// Who writes.
        origin: Origin,
    },
    /// What a program that takes this one's place finds by its number: a part of the journal's memory, or the socket to
    /// the writer.
    Kept { part: u32 },
    /// A listener that is gone, and that the service manager is to let go; the keeper closes it then.
    Gone,
    /// Where the writer puts what it reads from the pipe of this number. It is closed with the pipe.
    Stage { pipe: u32, number: u32 },
}

/// Who writes to a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// A process of this group,
    pub(crate) group: u32,
    /// this one,
    pub(crate) speaker: Speaker,
    /// on this stream.
    pub(crate) stream: Stream,
}

/// A process of a group that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The worker in this slot.
    Slot(u32),
    /// `exec_stop`.
    StopHook,
    /// `upgrader`.
    Upgrader,
}

/// Standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Speaker {
    pub(super) fn number(self) -> u32 {
        match self {
            Speaker::Slot(slot) => slot,
            Speaker::StopHook => u32::MAX,
            Speaker::Upgrader => u32::MAX - 1,
        }
    }

    pub(super) fn read(number: u32) -> Speaker {
        match number {
            u32::MAX => Speaker::StopHook,
            number if number == u32::MAX - 1 => Speaker::Upgrader,
            slot => Speaker::Slot(slot),
        }
    }
}

/// How far a client's current request is. The request's line stays in the client's socket until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None is being worked on.
    Idle,
    /// It is in the log and waits for its reply.
    Asked,
    /// A part of the reply was sent; a new daemon sends it again, on a new line.
    Answering,
    /// The reply was sent; the line is to be taken out of the socket.
    Answered,
}

impl Ledger {
    /// An empty one, which names itself.
    pub(super) fn new() -> io::Result<Ledger> {
        let ledger = Ledger { words: SharedWords::new("firestarter-descriptors", LENGTH)?, names: None };
        let number = ledger.words.as_fd().as_raw_fd();
        ledger.name(&number, Meaning::Kept { part: Part::Descriptors as u32 })?;
        let names = Texts::new(Memory::Fresh(&ledger), Part::StoredNames, CAPACITY)?;
        Ok(Ledger { names: Some(names), ..ledger })
    }

    /// That of another program, in this memory, without the names of what workers have stored.
    pub(super) fn adopt(memory: OwnedFd) -> io::Result<Ledger> {
        Ok(Ledger { words: SharedWords::adopt(memory, LENGTH)?, names: None })
    }

    /// The same, with the names.
    pub(super) fn find_names(&mut self) -> io::Result<()> {
        self.names = Some(Texts::new(Memory::Kept(self), Part::StoredNames, CAPACITY)?);
        Ok(())
    }

    /// Says what an open descriptor means.
    ///
    /// # Errors
    /// `EMFILE`: its number is too high for the ledger.
    pub(crate) fn name(&self, fd: &impl AsRawFd, meaning: Meaning) -> io::Result<()> {
        let number = fd.as_raw_fd();
        if number as usize >= CAPACITY {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let (kind, group, value) = encode(meaning);
        put(self.word(number, 1), value);
        put(self.word(number, 2), 0);
        put(self.word(number, 3), 0);
        step();
        self.words[0].fetch_max(number as u64 + 1, AcqRel);
        put(self.word(number, 0), kind << 32 | u64::from(group));
        Ok(())
    }

    /// Says that an open descriptor is what a worker has stored, and how the worker called it. `turn` tells what was
    /// stored before what.
    ///
    /// # Errors
    /// As `name`.
    pub(crate) fn store(&self, fd: &impl AsRawFd, meaning: Meaning, called: &str, turn: u64) -> io::Result<()> {
        self.call(fd, called);
        self.name(fd, meaning)?;
        self.set_mark(fd, turn);
        Ok(())
    }

    /// Says how a descriptor is called.
    pub(crate) fn call(&self, fd: &impl AsRawFd, called: &str) {
        if (fd.as_raw_fd() as usize) < CAPACITY {
            self.names.iter().for_each(|names| names.set(fd.as_raw_fd() as usize, called));
        }
    }

    /// How a descriptor is called.
    pub(crate) fn called(&self, fd: &impl AsRawFd) -> String {
        self.names.as_ref().map_or_else(String::new, |names| names.get(fd.as_raw_fd() as usize))
    }

    /// A descriptor is about to be closed.
    pub(crate) fn forget(&self, fd: &impl AsRawFd) {
        if (fd.as_raw_fd() as usize) < CAPACITY {
            put(self.word(fd.as_raw_fd(), 0), 0);
        }
    }

    /// Closes a descriptor that nobody owns but the ledger.
    pub(crate) fn close(&self, number: RawFd) {
        self.forget(&number);
        drop(fds::adopt(number));
    }

    /// Names what a program that takes this one's place is to find; it is the ledger's from now on. What was named so
    /// before is closed.
    ///
    /// # Errors
    /// As `name`.
    pub(crate) fn keep(&self, part: Part, fd: OwnedFd) -> io::Result<RawFd> {
        self.let_go(part);
        self.name(&fd, Meaning::Kept { part: part as u32 })?;
        Ok(fd.into_raw_fd())
    }

    /// The number of what is kept.
    pub(crate) fn kept(&self, part: Part) -> Option<RawFd> {
        self.named().find(|(_, meaning)| *meaning == Meaning::Kept { part: part as u32 }).map(|(number, _)| number)
    }

    /// Another descriptor of what is kept.
    ///
    /// # Errors
    /// There is no such thing; no descriptor.
    pub(crate) fn copy_kept(&self, part: Part) -> io::Result<OwnedFd> {
        self.kept(part).ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(fds::copy)
    }

    /// Closes what is kept, if there is such a thing.
    pub(crate) fn let_go(&self, part: Part) {
        if let Some(number) = self.kept(part) {
            self.close(number);
        }
    }

    /// What a number means.
    pub(crate) fn meaning_of(&self, number: RawFd) -> Option<Meaning> {
        (0..CAPACITY as RawFd).contains(&number).then(|| self.meaning(number)).flatten()
    }

    /// Whether a number means something.
    pub(crate) fn names(&self, number: RawFd) -> bool {
        (number as usize) < CAPACITY && self.meaning(number).is_some()
    }

    /// All that means something, in ascending order of numbers.
    pub(crate) fn named(&self) -> impl Iterator<Item = (RawFd, Meaning)> + '_ {
        let end = self.words[0].load(Acquire) as RawFd;
        (0..end).filter_map(|number| Some((number, self.meaning(number)?)))
    }

    /// The sockets that a slot has of its own: their places, and their numbers.
    pub(crate) fn of_slot(&self, group: u32, slot: u32) -> impl Iterator<Item = (u32, RawFd)> + '_ {
        self.named().filter_map(move |(number, meaning)| {
            let Meaning::SlotListener { group: of, index, slot: its } = meaning else { return None };
            ((of, its) == (group, slot)).then_some((index, number))
        })
    }

    /// Where a client's current request is: its number on the connection, and the phase.
    pub(crate) fn request(&self, fd: &impl AsRawFd) -> (u32, Phase) {
        let word = self.word(fd.as_raw_fd(), 2).load(Acquire);
        let phase = match word & 3 {
            0 => Phase::Idle,
            1 => Phase::Asked,
            2 => Phase::Answering,
            _ => Phase::Answered,
        };
        ((word >> 32) as u32, phase)
    }

    /// Moves a client's request on.
    pub(crate) fn set_request(&self, fd: &impl AsRawFd, seq: u32, phase: Phase) {
        let phase = match phase {
            Phase::Idle => 0,
            Phase::Asked => 1,
            Phase::Answering => 2,
            Phase::Answered => 3,
        };
        put(self.word(fd.as_raw_fd(), 2), u64::from(seq) << 32 | phase);
    }

    /// The mark of a client's line, of a worker's connection or of a listener.
    pub(crate) fn mark(&self, fd: &impl AsRawFd) -> u64 {
        self.word(fd.as_raw_fd(), 3).load(Acquire)
    }

    /// Sets the mark.
    pub(crate) fn set_mark(&self, fd: &impl AsRawFd, mark: u64) {
        put(self.word(fd.as_raw_fd(), 3), mark);
    }

    /// What a number below the ledger's end means.
    fn meaning(&self, number: RawFd) -> Option<Meaning> {
        let word = self.word(number, 0).load(Acquire);
        let value = self.word(number, 1).load(Acquire);
        let group = word as u32;
        Some(match word >> 32 {
            1 => Meaning::Keeper,
            2 => Meaning::Control,
            3 => Meaning::Listener { group, index: value as u32 },
            4 => Meaning::WorkerSocket { group },
            5 => Meaning::PairHere { group },
            6 => Meaning::PairThere { group },
            7 => Meaning::WorkerConnection { group },
            8 => Meaning::Client { client: value },
            9 => Meaning::Spare,
            10 => output(group, Stream::Stdout, value),
            11 => output(group, Stream::Stderr, value),
            12 => Meaning::SlotListener { group, index: (value >> 32) as u32, slot: value as u32 },
            13 => Meaning::Stage { pipe: (value >> 32) as u32, number: value as u32 },
            14 => Meaning::Kept { part: value as u32 },
            15 => Meaning::Gone,
            20 => Meaning::PinnedFolder { group, edition: value as u32 },
            21 => Meaning::PinnedProgram { group, edition: value as u32, place: (value >> 32) as u32 },
            30 => Meaning::Notify { group },
            31 => Meaning::Stored { group, slot: value as u32, polled: value >> 32 != 0 },
            _ => return None,
        })
    }

    fn word(&self, number: RawFd, word: usize) -> &AtomicU64 {
        &self.words[(number as usize + 1) * WORDS + word]
    }
}

fn output(group: u32, stream: Stream, value: u64) -> Meaning {
    let origin = Origin { group, speaker: Speaker::read(value as u32), stream };
    Meaning::Output { pipe: (value >> 32) as u32, origin }
}

fn encode(meaning: Meaning) -> (u64, u32, u64) {
    match meaning {
        Meaning::Keeper => (1, 0, 0),
        Meaning::Control => (2, 0, 0),
        Meaning::Listener { group, index } => (3, group, index.into()),
        Meaning::WorkerSocket { group } => (4, group, 0),
        Meaning::PairHere { group } => (5, group, 0),
        Meaning::PairThere { group } => (6, group, 0),
        Meaning::WorkerConnection { group } => (7, group, 0),
        Meaning::Client { client } => (8, 0, client),
        Meaning::Spare => (9, 0, 0),
        Meaning::SlotListener { group, index, slot } => (12, group, u64::from(index) << 32 | u64::from(slot)),
        Meaning::Kept { part } => (14, 0, part.into()),
        Meaning::Gone => (15, 0, 0),
        Meaning::Stage { pipe, number } => (13, 0, u64::from(pipe) << 32 | u64::from(number)),
        Meaning::PinnedFolder { group, edition } => (20, group, edition.into()),
        Meaning::PinnedProgram { group, edition, place } => (21, group, u64::from(place) << 32 | u64::from(edition)),
        Meaning::Notify { group } => (30, group, 0),
        Meaning::Stored { group, slot, polled } => (31, group, u64::from(polled) << 32 | u64::from(slot)),
        Meaning::Output { pipe, origin: Origin { group, speaker, stream } } => {
            let kind = if stream == Stream::Stdout { 10 } else { 11 };
            (kind, group, u64::from(pipe) << 32 | u64::from(speaker.number()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output_of(speaker: Speaker, stream: Stream) -> Meaning {
        Meaning::Output { pipe: u32::MAX, origin: Origin { group: 5, speaker, stream } }
    }

    #[test]
    fn every_meaning_is_read_as_it_was_written() {
        let ledger = Ledger::new().unwrap();
        let meanings = [
            Meaning::Keeper,
            Meaning::Control,
            Meaning::Listener { group: 3, index: 47 },
            Meaning::SlotListener { group: 3, index: 47, slot: u32::MAX },
            Meaning::WorkerSocket { group: u32::MAX },
            Meaning::PairHere { group: 1 },
            Meaning::PairThere { group: 1 },
            Meaning::WorkerConnection { group: 2 },
            Meaning::Client { client: u64::MAX },
            Meaning::Spare,
            Meaning::Gone,
            Meaning::Notify { group: 4 },
            Meaning::Stored { group: 4, slot: u32::MAX, polled: true },
            Meaning::Stored { group: 4, slot: 0, polled: false },
            output_of(Speaker::Slot(7), Stream::Stdout),
            output_of(Speaker::StopHook, Stream::Stderr),
            output_of(Speaker::Upgrader, Stream::Stdout),
            Meaning::Stage { pipe: u32::MAX, number: 88 },
            Meaning::Kept { part: 3 },
            Meaning::PinnedFolder { group: 6, edition: u32::MAX },
            Meaning::PinnedProgram { group: 6, edition: u32::MAX, place: 9 },
        ];
        for (number, meaning) in (1070..).zip(meanings) {
            ledger.name(&number, meaning).unwrap();
        }
        let read: Vec<_> = ledger.named().filter(|(number, _)| *number >= 1070).collect();
        assert_eq!(read, (1070..).zip(meanings).collect::<Vec<_>>());
        assert_eq!(ledger.of_slot(3, u32::MAX).collect::<Vec<_>>(), [(47, 1073)]);
        assert_eq!(ledger.of_slot(3, 47).count() + ledger.of_slot(2, u32::MAX).count(), 0);
        ledger.forget(&1071);
        assert!(!ledger.named().any(|(number, _)| number == 1071));
        assert!(ledger.name(&(CAPACITY as RawFd), Meaning::Keeper).is_err());
    }

    #[test]
    fn a_request_moves_through_its_phases() {
        let ledger = Ledger::new().unwrap();
        ledger.name(&80, Meaning::Client { client: 1 }).unwrap();
        for phase in [Phase::Idle, Phase::Asked, Phase::Answering, Phase::Answered] {
            ledger.set_request(&80, u32::MAX, phase);
            assert_eq!(ledger.request(&80), (u32::MAX, phase));
        }
    }
}
