//! The output that Firestarter was started with, as workers' lines pass on to it. Who reads there may be slow or stand
//! still, and nobody waits for that: what is not taken at once is an error, `WouldBlock`. Used by `sink`.

use std::io;
use std::os::fd::BorrowedFd;

use crate::say::{Mouth, LONGEST};

pub(super) struct Own(Mouth);

impl Own {
    pub(super) fn new(stream: BorrowedFd<'static>) -> Own {
        Own(Mouth::new(stream))
    }

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is. Others as of write(2).
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(&bytes[..self.length_of_part(bytes)])?)
    }

    /// What goes out in one write. A pipe takes a short part whole or not at all, so lines of others do not get into
    /// ours; to a file all goes at once.
    fn length_of_part(&self, next: &[u8]) -> usize {
        if next.len() <= LONGEST || matches!(self.0, Mouth::File(_)) {
            return next.len();
        }
        next[..LONGEST].iter().rposition(|byte| *byte == b'\n').map_or(LONGEST, |newline| newline + 1)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}
