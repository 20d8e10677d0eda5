//! What keeper and daemon are joined by: two pipes and a set of pidfds, made anew for each daemon, so that it hears
//! nothing that was meant for the last one. The daemon knows them as a [`Link`], by numbers in the table that both share.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::epoll;
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::Pid;

use crate::journal::{Ledger, Meaning, Row};
use crate::sys::wait::Ended;

/// The daemon's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// What the keeper tells is read here, as [`Told`].
    pub(crate) told: RawFd,
    /// Pids whose exit is journalled are written here, four bytes each.
    pub(crate) reap: RawFd,
    /// The set that a worker's pidfd is put into, one-shot, with [`exit_key`].
    pub(crate) exits: RawFd,
}

/// The keeper's side, and the only owner.
pub(super) struct Joint {
    told_read: OwnedFd,
    pub(super) told: OwnedFd,
    pub(super) reap: OwnedFd,
    reap_write: OwnedFd,
    pub(super) exits: OwnedFd,
}

impl Joint {
    /// New pipes and an empty set, named in the ledger.
    pub(super) fn new(ledger: &Ledger) -> io::Result<Joint> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (told_read, told) = pipe_with(flags)?;
        let (reap, reap_write) = pipe_with(flags)?;
        let exits = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let joint = Joint { told_read, told, reap, reap_write, exits };
        joint.all().into_iter().try_for_each(|fd| ledger.name(fd, Meaning::Keeper))?;
        Ok(joint)
    }

    pub(super) fn link(&self) -> Link {
        let Joint { told_read, reap_write, exits, .. } = self;
        Link { told: told_read.as_raw_fd(), reap: reap_write.as_raw_fd(), exits: exits.as_raw_fd() }
    }

    /// Closes all of it.
    pub(super) fn close(self, ledger: &Ledger) {
        self.all().into_iter().for_each(|fd| ledger.forget(fd));
    }

    /// Whether the daemon has been told something that it has not read.
    pub(super) fn unread(&self) -> bool {
        rustix::io::ioctl_fionread(&self.told_read).is_ok_and(|bytes| bytes > 0)
    }

    fn all(&self) -> [&OwnedFd; 5] {
        [&self.told_read, &self.told, &self.reap, &self.reap_write, &self.exits]
    }
}

/// What the keeper tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The process with this pid, of this row's worker, has ended. It may be told more than once.
    Exit(Row, Pid, Ended),
    /// A signal stands in the journal's header.
    Signal,
    /// A log file was opened anew.
    Reopened,
}

/// In place of a row, where there is no pid.
const REOPENED: u32 = 1;
/// The length of a [`Told`] in the pipe.
pub(crate) const TOLD: usize = 16;

impl Told {
    pub(super) fn write(self) -> [u8; TOLD] {
        let words = match self {
            Told::Exit(row, pid, ended) => {
                [row.0, pid.as_raw_nonzero().get() as u32, ended.code as u32, ended.status as u32]
            }
            Told::Signal => [0; 4],
            Told::Reopened => [REOPENED, 0, 0, 0],
        };
        let mut bytes = [0; TOLD];
        for (four, word) in bytes.chunks_exact_mut(4).zip(words) {
            four.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads what the keeper wrote.
    pub(crate) fn read(bytes: &[u8; TOLD]) -> Told {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match Pid::from_raw(word(4) as i32) {
            None if word(0) == REOPENED => Told::Reopened,
            None => Told::Signal,
            Some(pid) => Told::Exit(Row(word(0)), pid, Ended { code: word(8) as i32, status: word(12) as i32 }),
        }
    }
}

/// How a worker's pidfd is marked in the set of exits.
pub(crate) fn exit_key(row: Row, pid: Pid) -> u64 {
    u64::from(row.0) << 32 | pid.as_raw_nonzero().get() as u64
}

/// What a mark in the set of exits says.
pub(crate) fn read_exit_key(key: u64) -> Option<(Row, Pid)> {
    Some((Row((key >> 32) as u32), Pid::from_raw(key as u32 as i32)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_as_it_was_written() {
        let pid = Pid::from_raw(i32::MAX).unwrap();
        for told in
            [Told::Signal, Told::Reopened, Told::Exit(Row(77), pid, Ended { code: libc::CLD_KILLED, status: -9 })]
        {
            assert_eq!(Told::read(&told.write()), told);
        }
        assert_eq!(read_exit_key(exit_key(Row(70_000), pid)), Some((Row(70_000), pid)));
    }
}
