//! The pipes that workers and hooks write to. Their read ends stay open in the table that keeper and daemon share, so
//! that no worker finds its pipe without a reader when the writer dies; the writer reads copies of them.
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

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use firestarter_core::ids::WorkerId;
use rustix::net::{
    recv, recvmsg, send, sendmsg, shutdown, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage,
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use rustix::pipe::{pipe_with, PipeFlags};

use super::tails::{Tail, Tails, BYTES};
use super::{Header, Ledger, Meaning, Origin, Stream};
use crate::sys::fds;

/// The socket and what it is about.
pub(crate) struct Pipes {
    header: &'static Header,
    ledger: &'static Ledger,
    /// The daemon tells of pipes here, and the keeper hears which are done.
    here: OwnedFd,
    /// The writer's end.
    there: OwnedFd,
    tails: Tails,
}

/// A pipe, as the writer has it.
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    /// Its number in the shared table.
    pub(crate) number: RawFd,
    /// Which it is.
    pub(crate) pipe: u32,
    pub(crate) origin: Origin,
    /// The process that writes.
    worker: WorkerId,
}

/// What the writer hears.
pub(crate) enum Heard {
    /// There is a new pipe.
    Pipe(Pipe),
    /// There is one that it will not hear of: it shall end, so that its successor finds that.
    Missed,
    /// All is over: no pipe will come.
    Over,
    /// Nothing for now.
    Nothing,
}

/// In place of a number: there is something to be found.
const LOOK: RawFd = -1;
const QUIET: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl Pipes {
    pub(super) fn new(header: &'static Header, ledger: &'static Ledger) -> io::Result<Pipes> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        ledger.name(&here, Meaning::Keeper)?;
        ledger.name(&there, Meaning::Keeper)?;
        Ok(Pipes { header, ledger, here, there, tails: Tails::new()? })
    }

    /// The daemon opens a pipe for a process that it is going to spawn under this id; returns the end that is written to.
    ///
    /// # Errors
    /// No descriptor.
    pub(crate) fn open(&self, origin: Origin, worker: WorkerId) -> io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let pipe = which(&read)?;
        self.header.set_untold(true);
        let named = self.ledger.name(&read, Meaning::Output { pipe, origin });
        if named.is_ok() {
            self.ledger.set_mark(&read, worker.0);
        }
        if named.is_ok() && self.tell(&read).is_err() {
            self.header.miss_pipe();
            // A full socket wakes the writer just as well.
            let _ = send(&self.here, &LOOK.to_le_bytes(), QUIET);
        }
        self.header.set_untold(false);
        named?;
        // It is the ledger's from now on.
        let _ = read.into_raw_fd();
        Ok(write)
    }

    /// The last that a process wrote to its standard error, what nobody has read yet included; empty if it does not write
    /// there by a pipe, or has not. Waits for nobody.
    pub(crate) fn last_words(&self, worker: WorkerId) -> Vec<u8> {
        const LOOKS: usize = 50;
        let mut words = Vec::new();
        for _ in 0..LOOKS {
            let before = self.tails.of(worker);
            let unread = self.unread(worker);
            let after = self.tails.of(worker);
            let still = before == after && !after.as_ref().is_some_and(|tail| tail.reading);
            words = after.map_or_else(Vec::new, |tail: Tail| tail.bytes);
            if still {
                words.extend(unread);
                break;
            }
            // The writer has some of it in hand.
            std::thread::yield_now();
        }
        words.drain(..words.len().saturating_sub(BYTES));
        words
    }

    /// What stands in a worker's pipe.
    fn unread(&self, worker: WorkerId) -> Vec<u8> {
        let of_worker = |(number, meaning): &(RawFd, Meaning)| {
            let stderr = matches!(meaning, Meaning::Output { origin: Origin { stream: Stream::Stderr, .. }, .. });
            stderr && self.ledger.mark(number) == worker.0
        };
        let Some(found) = self.ledger.named().find(of_worker) else { return Vec::new() };
        let unread = fds::peek_pipe(found.0).unwrap_or_default();
        // The keeper may have closed it meanwhile, and the number be another's.
        let same = self.ledger.meaning_of(found.0) == Some(found.1) && self.ledger.mark(&found.0) == worker.0;
        if same {
            unread
        } else {
            Vec::new()
        }
    }

    /// The writer begins to read a pipe.
    pub(crate) fn begins(&self, pipe: &Pipe) {
        if pipe.origin.stream == Stream::Stderr {
            self.tails.begin(pipe.worker);
        }
    }

    /// The writer reads a pipe once.
    pub(crate) fn read(&self, pipe: &Pipe, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        if pipe.origin.stream != Stream::Stderr {
            return rustix::io::read(&pipe.read, buffer);
        }
        self.tails.reads(pipe.worker);
        let read = rustix::io::read(&pipe.read, &mut *buffer);
        self.tails.add(pipe.worker, &buffer[..read.unwrap_or(0)]);
        read
    }

    fn tell(&self, read: &OwnedFd) -> rustix::io::Result<usize> {
        let number = read.as_raw_fd().to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [read.as_fd()];
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
    }

    /// Where the keeper hears which pipes are done; without a keeper, the daemon.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Closes the pipes that the writer has read to their end.
    pub(crate) fn close_done(&self) {
        let mut message = [0; 8];
        while let Ok((8, _)) = recv(&self.here, &mut message, RecvFlags::DONTWAIT) {
            let [a, b, c, d, which @ ..] = message;
            let number = RawFd::from_le_bytes([a, b, c, d]);
            let done = u32::from_le_bytes(which);
            let same = |meaning| matches!(meaning, Meaning::Output { pipe, .. } if pipe == done);
            if self.ledger.meaning_of(number).is_some_and(same) {
                self.ledger.forget(&number);
                drop(fds::adopt(number));
            }
        }
    }

    /// The keeper says that no pipe will come any more.
    pub(crate) fn end(&self) {
        let _ = shutdown(&self.here, Shutdown::Both);
    }

    /// After the end: whether a writer has read all pipes and written what they held.
    pub(crate) fn all_written(&self) -> bool {
        self.header.written()
    }

    /// A new writer takes over all pipes that there are, and closes everything else that it was forked with, but for the
    /// standard streams and `voice`.
    pub(crate) fn take_over(&self, voice: Option<RawFd>) -> Vec<Pipe> {
        let outputs: Vec<(RawFd, u32, Origin)> = self
            .ledger
            .named()
            .filter_map(|(number, meaning)| match meaning {
                Meaning::Output { pipe, origin } => Some((number, pipe, origin)),
                Meaning::Keeper
                | Meaning::Control
                | Meaning::Listener { .. }
                | Meaning::SlotListener { .. }
                | Meaning::WorkerSocket { .. }
                | Meaning::PairHere { .. }
                | Meaning::PairThere { .. }
                | Meaning::WorkerConnection { .. }
                | Meaning::Client { .. }
                | Meaning::PinnedFolder { .. }
                | Meaning::PinnedProgram { .. }
                | Meaning::Spare
                | Meaning::Notify { .. }
                | Meaning::Stored { .. } => None,
            })
            .collect();
        let mut kept: Vec<RawFd> = outputs.iter().map(|(number, ..)| *number).collect();
        kept.extend(voice);
        kept.push(self.there.as_raw_fd());
        kept.sort_unstable();
        fds::keep_only(kept.into_iter());
        let worker = |number| WorkerId(self.ledger.mark(&number));
        let own = |(number, pipe, origin)| {
            Some(Pipe { read: fds::adopt(number)?, number, pipe, origin, worker: worker(number) })
        };
        outputs.into_iter().filter_map(own).filter(|pipe| which(&pipe.read).is_ok_and(|is| is == pipe.pipe)).collect()
    }

    /// The writer's end of the socket.
    pub(crate) fn door(&self) -> BorrowedFd<'_> {
        self.there.as_fd()
    }

    /// What the writer is told next.
    pub(crate) fn hear(&self) -> Heard {
        loop {
            if let Some(heard) = self.hear_one() {
                return heard;
            }
        }
    }

    /// None if it was a message that says nothing new.
    fn hear_one(&self) -> Option<Heard> {
        let mut bytes = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(&self.there, &mut parts, &mut control, flags) {
            Ok(message) => message.bytes,
            Err(_) if self.header.take_missed() => return Some(Heard::Missed),
            Err(_) => return Some(Heard::Nothing),
        };
        let mut sent = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sent = fds.last();
            }
        }
        let number = RawFd::from_le_bytes(bytes);
        match (length, sent) {
            // There is no socket any more to be told by: what was missed is not found but by a successor.
            (0, _) if self.header.take_missed() => Some(Heard::Missed),
            (0, _) => Some(Heard::Over),
            (_, None) if number == LOOK => None,
            // There was no descriptor left for it.
            (_, None) => Some(Heard::Missed),
            (_, Some(read)) => match (self.ledger.meaning_of(number), which(&read)) {
                (Some(Meaning::Output { pipe, origin }), Ok(is)) if is == pipe => {
                    let worker = WorkerId(self.ledger.mark(&number));
                    Some(Heard::Pipe(Pipe { read, number, pipe, origin, worker }))
                }
                // Known to the last writer, and done.
                _ => None,
            },
        }
    }

    /// After the end: the writer has read all pipes and written what they held.
    pub(crate) fn set_all_written(&self) {
        self.header.set_written();
    }

    /// The writer has read a pipe to its end. Says whether that could be told.
    pub(crate) fn done(&self, number: RawFd, pipe: u32) -> bool {
        let mut message = [0; 8];
        message[..4].copy_from_slice(&number.to_le_bytes());
        message[4..].copy_from_slice(&pipe.to_le_bytes());
        send(&self.there, &message, QUIET) != Err(rustix::io::Errno::AGAIN)
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
        Pipes::new(records.header, records.ledger).unwrap()
    }

    fn origin(slot: u32) -> Origin {
        Origin { group: 3, speaker: Speaker::Slot(slot), stream: Stream::Stderr }
    }

    fn heard(pipes: &Pipes) -> Pipe {
        match pipes.hear() {
            Heard::Pipe(pipe) => pipe,
            Heard::Missed | Heard::Over | Heard::Nothing => panic!("no pipe was heard of"),
        }
    }

    #[test]
    fn a_pipe_is_told_of_read_and_closed_when_done() {
        let pipes = pipes();
        let write = pipes.open(origin(1), WorkerId(1)).unwrap();
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
        writes.push(pipes.open(origin(0), WorkerId(0)).unwrap());
        assert!(matches!(pipes.hear(), Heard::Missed));
        assert!(matches!(pipes.hear(), Heard::Nothing), "told once");
        writes.push(pipes.open(origin(1), WorkerId(1)).unwrap());
        assert_eq!(heard(&pipes).origin, origin(1));
        // A daemon that died between the naming and the telling.
        pipes.header.set_untold(true);
        pipes.after_a_daemon();
        assert!(matches!(pipes.hear(), Heard::Missed));
        pipes.after_a_daemon();
        assert!(matches!(pipes.hear(), Heard::Nothing));
    }

    #[test]
    fn a_pipe_that_is_done_is_not_heard_of_again_and_the_end_comes_last() {
        let pipes = pipes();
        let _first = pipes.open(origin(0), WorkerId(0)).unwrap();
        let pipe = heard(&pipes);
        let (again, _second) = (pipes.tell(&pipe.read), pipes.open(origin(1), WorkerId(1)).unwrap());
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
