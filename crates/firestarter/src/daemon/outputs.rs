//! Which outputs of workers and hooks go through a pipe to the writer, and the pipes. A log that never rotates is opened
//! by each worker itself, and an output that never holds anybody up is inherited: both cost nothing. Used by the spawn
//! thread for each spawn.

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use firestarter_core::ids::WorkerId;

use super::Shared;
use crate::journal::{Origin, Speaker, Stream};

/// Which outputs go through a pipe.
pub(crate) struct Outputs {
    /// Of workers, by group: standard output and standard error.
    pub(crate) workers: Vec<[bool; 2]>,
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

/// Opens the pipe that this process shall write to instead of what its configuration names; returns the end for it. None:
/// it writes there itself.
///
/// # Errors
/// No descriptor.
pub(super) fn pipe(
    shared: Shared,
    worker: WorkerId,
    group: u32,
    speaker: Speaker,
    stream: Stream,
) -> io::Result<Option<OwnedFd>> {
    let origin = Origin { group, speaker, stream };
    match shared.pipes.filter(|_| shared.setup.outputs.piped(origin)) {
        Some(pipes) => pipes.open(origin, worker).map(Some),
        None => Ok(None),
    }
}

/// Opens a log. A FIFO that nobody reads is an error, not something to wait for.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags.difference(rustix::fs::OFlags::NONBLOCK))?;
    Ok(file)
}
