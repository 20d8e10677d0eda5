//! Which outputs of workers and hooks go through a pipe to the writer, and the pipes. An output that never holds anybody up
//! is inherited, which costs nothing. Used by the threads that spawn for each spawn.
//!
//! The pipe of a process that has ended stays open until the writer has read it. Where the writer itself stands still (it
//! was stopped, or frozen), and workers end again and again, descriptors would run out, and no group could spawn. So there
//! is a bound: beyond it a new process writes to nowhere, which is said, or is not started if nothing may be lost.

mod left;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use firestarter_core::ids::WorkerId;
use left::Left;

use super::{limits, Shared};
use crate::config::{Output, Overflow};
use crate::journal::{Newborn, Opened, Origin, Pipes, Speaker, Stream};
use crate::say::say;

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

/// Where a process writes instead of what its configuration names.
pub(super) enum Pipe {
    /// There: it writes itself.
    None,
    /// To this pipe.
    Opened(Opened),
    /// Nowhere: too many pipes of its group wait for the writer.
    Nowhere,
}

/// So many pipes of ended processes of one group and stream stay open: more than the writer keeps where it works and a disk
/// does not.
const MANY: usize = 1100;
/// So many do in any case.
const FEW: usize = 4;
/// So many of all groups do in any case.
const LEAST: usize = 8;

/// Opens pipes, as long as there are not too many.
pub(super) struct Opener {
    shared: Shared,
    /// With so many pipes of ended processes, of all groups, descriptors become scarce.
    most: usize,
    left: Mutex<Left>,
    /// Whose pipes are too many, as was said.
    piled: Mutex<BTreeMap<(u32, usize), Piled>>,
}

struct Piled {
    /// There were so many when it was said.
    pipes: usize,
    /// The output of so many processes was thrown away since.
    lost: u64,
}

impl Opener {
    pub(super) fn new(shared: Shared) -> Opener {
        let setup = shared.setup;
        let needed = limits::open_files(&setup.config, &setup.outputs);
        // Half of what is to spare; a pipe and its stage are two files.
        let most = setup.open_files.1.saturating_sub(needed) / 4;
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(LEAST);
        let left = shared.pipes.map_or_else(Left::default, |pipes| Left::find(pipes, shared.table));
        Opener { shared, most, left: Mutex::new(left), piled: Mutex::default() }
    }

    /// Opens the pipe of a process that is going to be spawned, if it shall have one.
    ///
    /// # Errors
    /// No descriptor; `ENOBUFS`: too many pipes wait for the writer, and nothing may be lost.
    pub(super) fn open(&self, origin: Origin, newborn: &Newborn) -> io::Result<Pipe> {
        let Some(pipes) = self.shared.pipes.filter(|_| self.shared.setup.outputs.piped(origin)) else {
            return Ok(Pipe::None);
        };
        if self.too_many(pipes, origin) {
            return match self.loses_nothing(origin) {
                true => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                false => Ok(Pipe::Nowhere),
            };
        }
        let opened = pipes.open(origin, newborn)?;
        self.left().opened(newborn.worker, opened.standing);
        Ok(Pipe::Opened(opened))
    }

    /// A process has ended.
    pub(super) fn ended(&self, worker: WorkerId) {
        self.left().ended(worker);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another pipe would be one too many. Says so when that begins, and when it is over.
    fn too_many(&self, pipes: &Pipes, origin: Origin) -> bool {
        let key = (origin.group, origin.stream as usize);
        let mut piled = self.piled.lock().unwrap_or_else(PoisonError::into_inner);
        let [ended, of_all] = self.left().count(origin.group, origin.stream, FEW, |pipe| pipes.stands(pipe));
        let name = self.shared.setup.config.groups.get(origin.group as usize).map_or("", |group| &group.spec.name);
        let stream = if origin.stream == Stream::Stdout { "stdout" } else { "stderr" };
        let kept = self.loses_nothing(origin);
        if let Some(of_this) = piled.get_mut(&key) {
            of_this.lost += 1;
            // Not as soon as there is room for one, or it would be said again and again.
            if ended > of_this.pipes / 2 {
                return true;
            }
            let lost = of_this.lost - 1;
            piled.remove(&key);
            match kept {
                true => say(format_args!("{name}: {stream} is read again; nothing is lost")),
                false => say(format_args!("{name}: {stream} is read again; what {lost} processes wrote is lost")),
            }
            return false;
        }
        if !is_too_many(ended, of_all, self.most) {
            return false;
        }
        let then = if kept { "no other is started" } else { "what others write is thrown away" };
        say(format_args!(
            "{name}: {stream} is not read: {ended} processes have ended whose output waits for the process that writes logs \
             (firestarter-log); {then} until it goes on"
        ));
        piled.insert(key, Piled { pipes: ended, lost: 1 });
        true
    }

    fn loses_nothing(&self, origin: Origin) -> bool {
        let Speaker::Slot(_) = origin.speaker else { return false };
        let launch = self.shared.setup.config.groups.get(origin.group as usize).map(|group| &group.launch);
        let output = launch.map(|launch| [&launch.stdout, &launch.stderr][origin.stream as usize]);
        matches!(output, Some(Output::File(log)) if log.overflow == Overflow::Block)
    }
}

fn is_too_many(ended: usize, of_all: usize, most: usize) -> bool {
    ended >= MANY || (of_all >= most && ended > FEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_piles_up_is_bounded_and_nobody_else() {
        assert!(is_too_many(MANY, MANY, 100_000) && !is_too_many(MANY - 1, 50_000, 100_000));
        assert!(is_too_many(20, 20, 20) && !is_too_many(FEW, 1000, 20), "descriptors are scarce");
    }
}
