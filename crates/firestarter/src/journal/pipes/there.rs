//! The writer's side of the pipes: how it takes them over, hears of new ones, and says which are done.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use firestarter_core::ids::WorkerId;
use rustix::net::{recvmsg, send, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::super::stages::StageRow;
use super::super::{Meaning, Origin};
use super::{which, Heard, Pipe, Pipes, LOOK, QUIET, REOPEN};
use crate::sys::fds;

impl Pipes {
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
                | Meaning::Kept { .. }
                | Meaning::Gone
                | Meaning::Stage { .. }
                | Meaning::Notify { .. }
                | Meaning::Stored { .. } => None,
            })
            .collect();
        let stage = |number: RawFd| self.stages.row(number).map(StageRow::stage);
        let mut kept: Vec<RawFd> = outputs.iter().map(|(number, ..)| *number).collect();
        kept.extend(outputs.iter().filter_map(|(number, ..)| stage(*number).ok()));
        kept.extend(voice);
        kept.push(self.there.as_raw_fd());
        kept.sort_unstable();
        fds::keep_only(kept.into_iter());
        let worker = |number| WorkerId(self.ledger.mark(&number));
        let own = |(number, pipe, origin)| {
            let (read, stage) = (fds::adopt(number)?, fds::adopt(stage(number).ok()?)?);
            Some(Pipe { read, stage, number, pipe, origin, worker: worker(number) })
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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(&self.there, &mut parts, &mut control, flags) {
            Ok(message) => message.bytes,
            Err(_) if self.header.take_missed() => return Some(Heard::Missed),
            Err(_) => return Some(Heard::Nothing),
        };
        let mut sent = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sent.extend(fds);
            }
        }
        let sent: Result<[OwnedFd; 2], _> = sent.try_into();
        let number = RawFd::from_le_bytes(bytes);
        match (length, sent) {
            // There is no socket any more to be told by: what was missed is not found but by a successor.
            (0, _) if self.header.take_missed() => Some(Heard::Missed),
            (0, _) => Some(Heard::Over),
            (_, Err(_)) if number == LOOK => None,
            (_, Err(_)) if number == REOPEN => Some(Heard::Reopen),
            // There was no descriptor left for it.
            (_, Err(_)) => Some(Heard::Missed),
            (_, Ok([read, stage])) => match (self.ledger.meaning_of(number), which(&read)) {
                (Some(Meaning::Output { pipe, origin }), Ok(is)) if is == pipe => {
                    let worker = WorkerId(self.ledger.mark(&number));
                    Some(Heard::Pipe(Pipe { read, stage, number, pipe, origin, worker }))
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
