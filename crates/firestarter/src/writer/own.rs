//! The output that Firestarter was started with, as workers' lines pass on to it. Who reads there may be slow or stand
//! still, and nobody waits for that: what is not taken at once is an error, `WouldBlock`. Used by `sink`.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use super::lines::part_for_pipe;
use crate::journal::{Origin, Rings};
use crate::say::Mouth;

pub(super) struct Own {
    mouth: Mouth,
    /// What is kept in memory of it.
    rings: &'static Mutex<Option<&'static Rings>>,
}

impl Own {
    pub(super) fn new(stream: BorrowedFd<'static>, rings: &'static Mutex<Option<&'static Rings>>) -> Own {
        Own { mouth: Mouth::new(stream), rings }
    }

    /// Keeps lines in memory too, for who asks for them.
    pub(super) fn keep(&self, origin: Origin, time: u64, lines: &[u8]) {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rings) = *rings {
            rings.push(origin.group as usize, time, origin.speaker, origin.stream, lines);
        }
    }

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is. Others as of write(2).
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let length = match self.mouth {
            // To a file all goes at once.
            Mouth::File(_) => bytes.len(),
            Mouth::Own(_) | Mouth::Inherited(_) | Mouth::Socket(_) => part_for_pipe(bytes),
        };
        Ok(self.mouth.write(&bytes[..length])?)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.mouth.fd()
    }
}
