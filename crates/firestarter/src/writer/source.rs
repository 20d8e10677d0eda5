//! A pipe and its stage: bytes go from the one into the other inside the kernel, and are read there (`journal::stages` says
//! how a stage is laid out). Used by the reading thread, which alone puts something into a stage, and by the threads that
//! write, which read it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::fs::{fallocate, seek, tell, FallocateFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::{fcntl_setpipe_size, splice, SpliceFlags};

use super::label::Label;
use crate::journal::{Area, Pipe, Pipes, StageRow};
use crate::output::Form;
use crate::sys::maps::Ring;

/// What writes, and what becomes of it.
pub(super) struct Source {
    pub(super) pipe: Pipe,
    pub(super) row: StageRow<'static>,
    pipes: &'static Pipes,
    pub(super) group: &'static str,
    pub(super) form: Form,
    pub(super) label: Label,
    /// The stage of one that writes much is mapped, if it can be.
    mapped: OnceLock<Option<Ring>>,
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

/// A pipe in which so much was found was as good as full, unless it was made larger before.
const FULL: usize = 60 * 1024;
/// What a full pipe is enlarged to: no user may have more without privileges.
const LARGE: usize = 1024 * 1024;
/// A ring is some of these long, and by one longer than what may stand in it: whole pages, whatever their size.
const GRAIN: u64 = 64 * 1024;
/// So much at once is worth a mapping.
const MUCH: usize = 64 * 1024;

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
        Ok(Source { pipe, row, pipes, group, form, label, mapped: OnceLock::new() })
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

    /// How much was taken from the pipe, and where the last of that stands, for a writer that begins. What a dead one was in
    /// the middle of is put right.
    /// `most`: so much should find room in the stage, if it has no length yet.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn taken(&self, most: u64) -> io::Result<(u64, Area)> {
        if self.row.ring() == 0 {
            self.row.set_ring(most.next_multiple_of(GRAIN) + GRAIN);
        }
        if self.row.is_beginning_anew() {
            self.seek(self.row.consumed(), Area::Ring);
            self.row.begun_anew();
        }
        let position = tell(&self.pipe.stage)?;
        Ok((self.row.taken(position), self.row.area(position)))
    }

    /// So much may stand in the stage. The ring is longer, so that one that is full is not taken for one that is empty.
    pub(super) fn most(&self) -> u64 {
        self.row.ring() - GRAIN
    }

    /// What comes from the pipe next, at this position, goes there.
    pub(super) fn seek(&self, position: u64, area: Area) {
        #[cfg(test)]
        crate::journal::deaths::step();
        // A file in memory goes to any position.
        let _ = seek(&self.pipe.stage, SeekFrom::Start(self.row.offset(position, area)));
    }

    /// Moves up to so many bytes from the pipe to the stage, the first to this position, which is the end of what was taken.
    pub(super) fn take(&self, end: u64, most: usize, area: Area) -> Taken {
        let offset = end % self.row.ring();
        if offset == 0 {
            self.seek(end, area);
        }
        let in_one = most.min((self.row.ring() - offset) as usize);
        // With no position given the kernel moves that of the file.
        match splice(&self.pipe.read, None, &self.pipe.stage, None, in_one, SpliceFlags::NONBLOCK) {
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
    pub(super) fn read<'b>(&self, from: u64, area: Area, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let mut read = 0;
        for part in self.row.parts(from, from + buffer.len() as u64, area) {
            let end = read + (part.end - part.start) as usize;
            while read < end {
                match rustix::io::pread(&self.pipe.stage, &mut buffer[read..end], part.end - (end - read) as u64)? {
                    0 => return Ok(&buffer[..read]),
                    more => read += more,
                }
            }
        }
        Ok(&buffer[..read])
    }

    /// These bytes of the stage, which are neither consumed nor dropped: where they stand, if there are many, else a copy in
    /// `memory`.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn view<'b>(&'b self, from: u64, length: usize, memory: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        let map = || Ring::new(self.pipe.stage.as_fd(), self.row.ring() as usize).ok();
        let mapped = match length < MUCH {
            true => self.mapped.get(),
            false => Some(self.mapped.get_or_init(map)),
        };
        if let Some(ring) = mapped.and_then(Option::as_ref) {
            return Ok(ring.part(self.row.offset(from, Area::Ring) as usize, length));
        }
        memory.resize(length, 0);
        self.read(from, Area::Ring, memory)
    }

    /// The memory of this part of the stage is given back; nobody will read it.
    pub(super) fn give_back(&self, from: u64, to: u64, area: Area) {
        for part in self.row.parts(from, to, area) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Should that fail the memory is given back with the pipe.
            let _ = fallocate(&self.pipe.stage, flags, part.start, part.end - part.start);
        }
    }

    /// The memory of the stage is given back, but for what is between these positions.
    pub(super) fn give_back_all_but(&self, from: u64, to: u64) {
        self.give_back(to, from + self.row.ring(), Area::Ring);
        self.give_back(to, to + self.row.ring(), Area::Dump);
    }

    /// All of the stage is consumed, and what comes next comes to its front. Says which position that is.
    pub(super) fn begin_anew(&self) -> u64 {
        let front = self.row.begins_anew();
        self.seek(front, Area::Ring);
        self.row.begun_anew();
        front
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
