//! The pipes that workers and hooks write to. Their read ends stay open in the table that keeper and daemon share, so
//! that no worker finds its pipe without a reader when the writer dies; the writer reads copies of them. Beside each
//! stands its stage (`stages`), which holds what was read and not written yet.
//!
//! The writer has a table of descriptors of its own: it may hang in an open for as long as a disk does, and numbers that
//! come and go behind the back of the keeper's sweep would be closed in its hands, or worse, be another's by then. A new
//! writer finds the pipes in the copy of the table that it was forked with, and the ledger says which numbers they are.
//! What is opened later is sent to it through a socket that outlives daemon and writer. When it has read one to its end
//! it says so, and the keeper closes it.
//!
//! **Crashes.** A pipe is named, then sent; a word of the header says that this is under way. Where a daemon died in
//! between, or the socket is full, the writer is to end of its own accord: its successor finds everything. What a dead
//! writer left in the socket is read by the next one; a pipe that it knows already is known by its inode. That also tells
//! whether a row of the ledger, which is newer than the copied table, speaks of the same pipe.

mod dropped;
mod last_words;
mod there;

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use firestarter_core::ids::WorkerId;
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::net::{
    recv, send, sendmsg, shutdown, socketpair, AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType,
};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::Pid;

use super::memory::Memory;
use super::sinks::Sinks;
use super::stages::{StageRow, Stages};
use super::tails::Tails;
use super::{Header, Ledger, Meaning, Origin, Records, Row, Stream, Table};
use crate::sys::fds;

/// The socket and what it is about.
pub(crate) struct Pipes {
    header: &'static Header,
    ledger: &'static Ledger,
    table: &'static Table,
    /// The daemon tells of pipes here, and the keeper hears which are done.
    here: OwnedFd,
    /// The writer's end.
    there: OwnedFd,
    stages: Stages,
    sinks: Sinks,
    tails: Tails,
}

/// A pipe, as the writer has it.
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) stage: OwnedFd,
    /// Its number in the shared table.
    pub(crate) number: RawFd,
    /// Which it is.
    pub(crate) pipe: u32,
    pub(crate) origin: Origin,
    /// The process that writes.
    worker: WorkerId,
}

/// A pipe that was opened for a process.
pub(crate) struct Opened {
    /// The end that is written to.
    pub(crate) write: OwnedFd,
    /// The other end.
    pub(crate) standing: Standing,
}

/// A pipe that was opened and is not closed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its number in the shared table.
    pub(crate) number: RawFd,
    /// Which it is.
    pub(crate) pipe: u32,
    pub(crate) origin: Origin,
}

/// Who is going to write to a pipe.
pub(crate) struct Newborn {
    pub(crate) worker: WorkerId,
    /// Where the kernel writes its pid.
    pub(crate) row: Row,
    /// 0 for a hook.
    pub(crate) generation: u32,
}

/// What the writer hears.
pub(crate) enum Heard {
    /// There is a new pipe.
    Pipe(Pipe),
    /// There is one that it will not hear of: it shall end, so that its successor finds that.
    Missed,
    /// Somebody wants files to be opened anew.
    Reopen,
    /// All is over: no pipe will come.
    Over,
    /// Nothing for now.
    Nothing,
}

/// In place of a number: there is something to be found.
const LOOK: RawFd = -1;
/// In place of a number: files are to be opened anew, or were.
const REOPEN: RawFd = -2;
const QUIET: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl Pipes {
    pub(super) fn new(records: Records, memory: Memory<'_>, sinks: usize) -> io::Result<Pipes> {
        let Records { header, table, ledger, .. } = records;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let make = || {
            let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            Ok([here, there])
        };
        let [here, there] = memory.pair(make)?;
        let (stages, sinks, tails) = (Stages::new(memory)?, Sinks::new(memory, sinks)?, Tails::new(memory)?);
        Ok(Pipes { header, ledger, table, here, there, stages, sinks, tails })
    }

    /// The daemon opens a pipe for a process that it is going to spawn.
    ///
    /// # Errors
    /// No descriptor.
    pub(crate) fn open(&self, origin: Origin, newborn: &Newborn) -> io::Result<Opened> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let stage = memfd_create("firestarter-stage", MemfdFlags::CLOEXEC)?;
        let (number, pipe) = (read.as_raw_fd(), which(&read)?);
        let row = self.stages.row(number)?;
        self.header.set_untold(true);
        row.begin(stage.as_raw_fd(), newborn.generation);
        row.set_place(newborn.row.0);
        let named = self
            .ledger
            .name(&stage, Meaning::Stage { pipe, number: number as u32 })
            .and_then(|()| self.ledger.name(&read, Meaning::Output { pipe, origin }));
        if named.is_ok() {
            self.ledger.set_mark(&read, newborn.worker.0);
        }
        if named.is_ok() && self.tell(&read, &stage).is_err() {
            self.header.miss_pipe();
            // A full socket wakes the writer just as well.
            let _ = send(&self.here, &LOOK.to_le_bytes(), QUIET);
        }
        self.header.set_untold(false);
        if let Err(error) = named {
            self.ledger.forget(&stage);
            return Err(error);
        }
        // They are the ledger's from now on.
        let _ = (read.into_raw_fd(), stage.into_raw_fd());
        Ok(Opened { write, standing: Standing { number, pipe, origin } })
    }

    /// All that stand open, each with the process that writes to it.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (WorkerId, Standing)> + '_ {
        self.ledger.named().filter_map(|(number, meaning)| {
            let Meaning::Output { pipe, origin } = meaning else { return None };
            Some((WorkerId(self.ledger.mark(&number)), Standing { number, pipe, origin }))
        })
    }

    /// Whether a pipe stands open still.
    pub(crate) fn stands(&self, standing: Standing) -> bool {
        let Standing { number, pipe, origin } = standing;
        self.ledger.meaning_of(number) == Some(Meaning::Output { pipe, origin })
    }

    /// This is the process that writes to a pipe.
    pub(crate) fn born(&self, pipe: RawFd, pid: Pid) {
        if let Ok(row) = self.stages.row(pipe) {
            row.set_pid(pid.as_raw_nonzero().get() as u32);
        }
    }

    /// In place of a pipe that is done: a file was opened anew.
    pub(crate) const REOPENED: (RawFd, u32) = (REOPEN, 0);

    /// Asks the writer to open the files of these sinks anew. Returns, for each, up to which time that is then asked for:
    /// it is done when the sink's row says so.
    pub(crate) fn reopen(&self, sinks: impl IntoIterator<Item = usize>) -> Vec<u64> {
        let asked = sinks.into_iter().map(|sink| self.sinks.row(sink).ask_to_reopen()).collect();
        // A full socket wakes the writer just as well, and it looks at the rows whenever it is woken.
        let _ = send(&self.here, &REOPEN.to_le_bytes(), QUIET);
        asked
    }

    /// The same for all sinks.
    pub(crate) fn reopen_all(&self) {
        self.reopen(0..self.sinks.rows().count());
    }

    /// How far the writer is at its sinks.
    pub(crate) fn sinks(&self) -> &Sinks {
        &self.sinks
    }

    /// The writer begins with a pipe.
    pub(crate) fn begins(&self, pipe: &Pipe) {
        if pipe.origin.stream == Stream::Stderr {
            self.tails.begin(pipe.worker);
        }
    }

    /// The writer is done with these bytes of a pipe, and with all before this position.
    pub(crate) fn consumed(&self, pipe: &Pipe, bytes: &[u8], position: u64) {
        let kept = pipe.origin.stream == Stream::Stderr;
        if kept {
            self.tails.add(pipe.worker, bytes);
        }
        if let Ok(row) = self.stages.row(pipe.number) {
            row.set_consumed(position);
        }
        if kept {
            self.tails.settle(pipe.worker);
        }
    }

    /// How far the writer is with a pipe.
    ///
    /// # Errors
    /// Its number is too high: it cannot have been opened here.
    pub(crate) fn stage(&self, number: RawFd) -> io::Result<StageRow<'_>> {
        self.stages.row(number)
    }

    /// The process that writes to a pipe and its generation; 0 where that is not known, or is a hook's.
    pub(crate) fn writer_of(&self, pipe: &Pipe) -> (u32, u32) {
        let Ok(row) = self.stages.row(pipe.number) else { return (0, 0) };
        let known = row.pid();
        if known > 0 {
            return (known, row.generation());
        }
        // The kernel knows it before the thread that spawns does.
        let place = Row(row.place());
        let pid = self.table.pid(place).filter(|_| self.table.worker(place) == Some(pipe.worker));
        (pid.map_or(0, |pid| pid.as_raw_nonzero().get() as u32), row.generation())
    }

    fn tell(&self, read: &OwnedFd, stage: &OwnedFd) -> rustix::io::Result<usize> {
        let number = read.as_raw_fd().to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [read.as_fd(), stage.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.here, &[IoSlice::new(&number)], &mut control, QUIET)
    }

    /// When no daemon lives: the last one may have named a pipe and not told of it.
    pub(super) fn after_a_daemon(&self) {
        if self.header.untold() {
            self.header.miss_pipe();
            let _ = send(&self.here, &LOOK.to_le_bytes(), QUIET);
            self.header.set_untold(false);
        }
        let orphan = |(number, meaning): &(RawFd, Meaning)| {
            let Meaning::Stage { pipe, number: of } = meaning else { return false };
            let named = self.ledger.meaning_of(*of as RawFd);
            let whole = matches!(named, Some(Meaning::Output { pipe: is, .. }) if is == *pipe);
            !(whole && self.stages.row(*of as RawFd).is_ok_and(|row| row.stage() == *number))
        };
        for (number, _) in self.ledger.named().filter(orphan) {
            self.close(number);
        }
    }

    fn close(&self, number: RawFd) {
        self.ledger.forget(&number);
        drop(fds::adopt(number));
    }

    /// The writer is one of the program before: it shall end, so that one of this program comes after it.
    pub(crate) fn succeed(&self) {
        self.header.miss_pipe();
        let _ = send(&self.here, &LOOK.to_le_bytes(), QUIET);
    }

    /// Where the keeper hears which pipes are done; without a keeper, the daemon.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Closes the pipes that the writer has read to their end. Says whether it has opened a file anew.
    pub(crate) fn close_done(&self) -> bool {
        let (mut message, mut reopened) = ([0; 8], false);
        while let Ok((8, _)) = recv(&self.here, &mut message, RecvFlags::DONTWAIT) {
            let [a, b, c, d, which @ ..] = message;
            let number = RawFd::from_le_bytes([a, b, c, d]);
            let done = u32::from_le_bytes(which);
            reopened |= (number, done) == Pipes::REOPENED;
            let same = |meaning| matches!(meaning, Meaning::Output { pipe, .. } if pipe == done);
            if self.ledger.meaning_of(number).is_some_and(same) {
                let stage = self.stages.row(number).map(StageRow::stage);
                // Without its pipe a stage is closed by the next sweep, should this one be killed here.
                self.close(number);
                let of_pipe = |stage: &RawFd| {
                    self.ledger.meaning_of(*stage) == Some(Meaning::Stage { pipe: done, number: number as u32 })
                };
                if let Some(stage) = stage.ok().filter(of_pipe) {
                    self.close(stage);
                }
            }
        }
        reopened
    }

    /// The keeper says that no pipe will come any more.
    pub(crate) fn end(&self) {
        let _ = shutdown(&self.here, Shutdown::Both);
    }

    /// After the end: whether a writer has read all pipes and written what they held.
    pub(crate) fn all_written(&self) -> bool {
        self.header.written()
    }
}

fn which(fd: &OwnedFd) -> rustix::io::Result<u32> {
    rustix::fs::fstat(fd).map(|stat| stat.st_ino as u32)
}

#[cfg(test)]
mod tests {
    use super::super::{Speaker, Stream};
    use super::*;

    fn pipes() -> Pipes {
        let (records, _) = super::super::create().unwrap();
        Pipes::new(records, Memory::Fresh(records.ledger), 1).unwrap()
    }

    fn open(pipes: &Pipes, slot: u32) -> OwnedFd {
        let newborn = Newborn { worker: WorkerId(slot.into()), row: Row(slot), generation: 1 };
        pipes.open(origin(slot), &newborn).unwrap().write
    }

    fn origin(slot: u32) -> Origin {
        Origin { group: 3, speaker: Speaker::Slot(slot), stream: Stream::Stderr }
    }

    fn heard(pipes: &Pipes) -> Pipe {
        match pipes.hear() {
            Heard::Pipe(pipe) => pipe,
            Heard::Missed | Heard::Reopen | Heard::Over | Heard::Nothing => panic!("no pipe was heard of"),
        }
    }

    #[test]
    fn a_pipe_is_told_of_read_and_closed_when_done() {
        let pipes = pipes();
        let write = open(&pipes, 1);
        let pipe = heard(&pipes);
        assert_eq!(pipe.origin, origin(1));
        rustix::io::write(&write, b"hello").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(&pipe.read, &mut bytes), Ok(5));
        assert!(matches!(pipes.hear(), Heard::Nothing));
        assert!(pipes.done(pipe.number, pipe.pipe.wrapping_add(1)));
        pipes.close_done();
        assert!(pipes.ledger.names(pipe.number), "another pipe was done");
        assert!(pipes.done(pipe.number, pipe.pipe));
        pipes.close_done();
        assert!(!pipes.ledger.names(pipe.number));
        drop(pipe);
        assert_eq!(rustix::io::write(&write, b"x"), Err(rustix::io::Errno::PIPE), "a read end is left open");
    }

    #[test]
    fn what_does_not_go_through_the_socket_is_missed_and_nothing_else() {
        let pipes = pipes();
        let mut writes = Vec::new();
        let full = |pipes: &Pipes| send(&pipes.here, &LOOK.to_le_bytes(), QUIET).is_err();
        while !full(&pipes) {}
        writes.push(open(&pipes, 0));
        assert!(matches!(pipes.hear(), Heard::Missed));
        assert!(matches!(pipes.hear(), Heard::Nothing), "told once");
        writes.push(open(&pipes, 1));
        assert_eq!(heard(&pipes).origin, origin(1));
        // A daemon that died between the naming and the telling.
        pipes.header.set_untold(true);
        pipes.after_a_daemon();
        assert!(matches!(pipes.hear(), Heard::Missed));
        pipes.after_a_daemon();
        assert!(matches!(pipes.hear(), Heard::Nothing));
    }

    #[test]
    fn who_asks_for_files_to_be_opened_anew_hears_when_they_are() {
        let pipes = pipes();
        assert_eq!(pipes.reopen([0]), [1]);
        assert!(matches!(pipes.hear(), Heard::Reopen));
        assert_eq!(pipes.sinks().row(0).reopen(), (1, 0));
        assert!(!pipes.close_done(), "nobody has said so");
        pipes.sinks().row(0).set_reopened(1);
        let (number, pipe) = Pipes::REOPENED;
        assert!(pipes.done(number, pipe) && pipes.close_done());
        while send(&pipes.here, &LOOK.to_le_bytes(), QUIET).is_ok() {}
        assert_eq!(pipes.reopen([0]), [2]);
        assert_eq!(pipes.sinks().row(0).reopen(), (2, 1), "it stands in the row though the socket is full");
    }

    #[test]
    fn a_pipe_that_is_done_is_not_heard_of_again_and_the_end_comes_last() {
        let pipes = pipes();
        let _first = open(&pipes, 0);
        let pipe = heard(&pipes);
        let (again, _second) = (pipes.tell(&pipe.read, &pipe.stage), open(&pipes, 1));
        again.unwrap();
        pipes.ledger.forget(&pipe.number);
        pipes.end();
        assert_eq!(heard(&pipes).origin, origin(1));
        // The last one did not get through any more.
        pipes.header.miss_pipe();
        assert!(matches!(pipes.hear(), Heard::Missed));
        assert!(matches!(pipes.hear(), Heard::Over));
        assert!(pipes.done(1, 2), "nobody is left to be told");
    }
}
