//! Which outputs of workers and hooks go through a pipe to the writer, and the pipes. An output that never holds anybody up
//! is inherited, which costs nothing. Used by the spawn thread for each spawn.

use std::io;
use std::os::fd::RawFd;

use super::Shared;
use crate::journal::{Newborn, Opened, Origin, Speaker, Stream};

/// Which outputs go through a pipe.
pub(crate) struct Outputs {
    /// Of workers, by group: standard output and standard error.
    pub(crate) workers: Vec<[bool; 2]>,
    /// Of workers, by group: which of the writer's sinks a stream goes to, if that is a file.
    pub(crate) files: Vec<[Option<usize>; 2]>,
    /// Of what is passed on to the daemon's own output, as that of hooks always is.
    pub(crate) own: [bool; 2],
}

/// Standard output and standard error, with their numbers.
pub(super) const STREAMS: [(RawFd, Stream); 2] = [(1, Stream::Stdout), (2, Stream::Stderr)];

impl Outputs {
    /// How many pipes the workers of a group have.
    pub(crate) fn of_group(&self, group: usize) -> usize {
        self.workers.get(group).into_iter().flatten().filter(|piped| **piped).count()
    }

    fn piped(&self, Origin { group, speaker, stream }: Origin) -> bool {
        let streams = match speaker {
            Speaker::Slot(_) => self.workers.get(group as usize).copied().unwrap_or_default(),
            Speaker::StopHook | Speaker::Upgrader => self.own,
        };
        streams[stream as usize]
    }
}

/// Opens the pipe that this process shall write to instead of what its configuration names. None: it writes there itself.
///
/// # Errors
/// No descriptor.
pub(super) fn pipe(shared: Shared, origin: Origin, newborn: &Newborn) -> io::Result<Option<Opened>> {
    match shared.pipes.filter(|_| shared.setup.outputs.piped(origin)) {
        Some(pipes) => pipes.open(origin, newborn).map(Some),
        None => Ok(None),
    }
}
