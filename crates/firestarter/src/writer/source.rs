//! A pipe and its stage: bytes go from the one to the end of the other, inside the kernel, and are read there. Used by the
//! reading thread, which alone makes a stage longer, and by the threads that write, which read it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{fallocate, fstat, ftruncate, FallocateFlags};
use rustix::io::Errno;
use rustix::pipe::{fcntl_setpipe_size, splice, SpliceFlags};

use super::label::Label;
use crate::journal::{Pipe, Pipes, StageRow};
use crate::output::Form;

/// What writes, and what becomes of it.
pub(super) struct Source {
    pub(super) pipe: Pipe,
    pub(super) row: StageRow<'static>,
    pipes: &'static Pipes,
    pub(super) group: &'static str,
    pub(super) form: Form,
    pub(super) label: Label,
    /// The memory of the stage is given back up to here.
    given: AtomicU64,
}

/// What came of reading a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Nothing can be taken, whatever there is.
    Fails,
    /// Nobody is left who could write.
    End,
}

/// A pipe in which so much was found was full, unless it was made larger before.
const FULL: usize = 64 * 1024;
/// What a full pipe is enlarged to: no user may have more without privileges.
const LARGE: usize = 1024 * 1024;
/// So much of a stage is given back at once.
const WORTH: u64 = 256 * 1024;

impl Source {
    /// # Errors
    /// The pipe is none of the journal's.
    pub(super) fn new(
        pipe: Pipe,
        pipes: &'static Pipes,
        group: &'static str,
        form: Form,
        label: Label,
    ) -> io::Result<Source> {
        let row = pipes.stage(pipe.number)?;
        Ok(Source { pipe, row, pipes, group, form, label, given: AtomicU64::new(0) })
    }

    /// What names it in records: never 0, and no other open pipe's.
    pub(super) fn id(&self) -> u64 {
        let (number, pipe) = self.name();
        u64::from(number) << 32 | u64::from(pipe)
    }

    /// The number and the inode.
    pub(super) fn name(&self) -> (u32, u32) {
        (self.pipe.number as u32, self.pipe.pipe)
    }

    /// How long the stage is, for a writer that begins. What a dead one was in the middle of is put right.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn length(&self) -> io::Result<u64> {
        let length = fstat(&self.pipe.stage)?.st_size as u64;
        if self.row.consumed() > length {
            self.row.set_consumed(0);
        }
        Ok(length)
    }

    /// Moves up to so many bytes from the pipe to the end of the stage, which is here.
    pub(super) fn take(&self, end: u64, most: usize) -> Taken {
        let mut position = end;
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(&self.pipe.read, None, &self.pipe.stage, Some(&mut position), most, flags) {
            Ok(0) => Taken::End,
            Ok(taken) => Taken::Bytes(taken),
            Err(Errno::AGAIN | Errno::INTR) => Taken::Nothing,
            // No memory for the stage: later there may be.
            Err(_) => Taken::Fails,
        }
    }

    /// A pipe that is found full is made larger, once: its worker writes faster than it is read.
    pub(super) fn widen(&self, found: usize) -> bool {
        found >= FULL && fcntl_setpipe_size(&self.pipe.read, LARGE).is_ok()
    }

    /// Reads from the stage to the end of the buffer, or as much as there is.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn read<'b>(&self, from: u64, buffer: &'b mut [u8]) -> io::Result<&'b mut [u8]> {
        let mut read = 0;
        while read < buffer.len() {
            match rustix::io::pread(&self.pipe.stage, &mut buffer[read..], from + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(&mut buffer[..read])
    }

    /// The memory of this part of the stage is given back; nobody will read it.
    pub(super) fn give_back(&self, from: u64, to: u64) {
        if to > from {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Should that fail the memory is given back with the pipe.
            let _ = fallocate(&self.pipe.stage, flags, from, to - from);
        }
    }

    /// Gives back the memory of what is consumed, when it is worth a system call. Whoever calls this has claimed the pipe.
    pub(super) fn give_back_consumed(&self) {
        let (given, consumed) = (self.given.load(Relaxed), self.row.consumed());
        if consumed - given >= WORTH {
            self.give_back(given, consumed);
            self.given.store(consumed, Relaxed);
        }
    }

    /// Empties a stage that is consumed to its end. False: it stays as it is.
    pub(super) fn empty(&self) -> bool {
        let emptied = ftruncate(&self.pipe.stage, 0).is_ok();
        if emptied {
            self.row.set_consumed(0);
            self.given.store(0, Relaxed);
        }
        emptied
    }

    /// These bytes are written: all before this position is done with.
    pub(super) fn consumed(&self, bytes: &[u8], position: u64) {
        self.pipes.consumed(&self.pipe, bytes, position);
    }

    /// The process that writes and its generation; 0 if not known.
    pub(super) fn writer(&self) -> (u32, u32) {
        self.pipes.writer_of(&self.pipe)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.read.as_fd()
    }
}
