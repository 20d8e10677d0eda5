//! What outlives a daemon, in shared memory that the keeper makes once and every daemon inherits:
//!
//! - the [`Header`]: a few words between keeper and daemon;
//! - the [`Table`]: one row a living worker, where the kernel itself writes the pid;
//! - the [`Ledger`]: what each descriptor number means;
//! - the [`Pipes`]: what processes write to, how the writer hears of them, and how far it is with each and at each sink;
//! - the [`Rings`]: the last of what is passed on, for who asks;
//! - the [`Log`]: the core's events since the last snapshot.
//!
//! Table and ledger hold facts that change in place: one store takes effect at once or not at all. The log holds what
//! must be replayed in order. None of them holds environments or other secrets.

#[cfg(test)]
pub(crate) mod deaths;
mod handover;
mod header;
mod ledger;
mod log;
mod memory;
mod pipes;
mod rings;
mod sinks;
mod stages;
mod steps;
mod table;
mod tails;
#[cfg(test)]
mod tests;
mod texts;

use std::io;
use std::os::fd::RawFd;

use crate::sys::fds;

pub(crate) use handover::{Handover, Reason};
pub(crate) use header::{Door, Header, Report};
pub(crate) use ledger::{Ledger, Meaning, Origin, Phase, Speaker, Stream, SHELVED};
pub(crate) use log::{Contents, Log, LogError};
use memory::Memory;
pub(crate) use memory::Part;
pub(crate) use pipes::{Heard, Newborn, Opened, Pipe, Pipes, Standing};
pub(crate) use rings::{Entry, Rings};
pub(crate) use sinks::{Batch, Counts, Kind, SinkRow};
pub(crate) use stages::{Area, Counted, Gap, StageRow};
pub(crate) use table::{Labels, Row, Table};

/// The parts that change in place, which the keeper and the daemon use at once.
#[derive(Clone, Copy)]
pub(crate) struct Records {
    pub(crate) header: &'static Header,
    pub(crate) table: &'static Table,
    pub(crate) ledger: &'static Ledger,
    /// None if nothing is written by way of the writer.
    pub(crate) pipes: Option<&'static Pipes>,
    /// None if nothing of what is passed on is kept.
    pub(crate) rings: Option<&'static Rings>,
}

impl Records {
    /// Closes what no ledger row names, when no daemon lives. A connection that the dead one had just accepted and not
    /// named yet is named now: its client has sent something.
    pub(crate) fn sweep(self) {
        if let Some(door) = self.header.door() {
            let end = self.ledger.named().map(|(number, _)| number).max().unwrap_or(0) + PROBED;
            let unnamed = (fds::STAGE_END..end).filter(|number| !self.ledger.names(*number));
            for number in unnamed.filter(|number| fds::is_unix_connection(*number)) {
                let meaning = match door {
                    Door::Control => Meaning::Client { client: self.header.next_client() },
                    Door::Workers(group) => Meaning::WorkerConnection { group },
                };
                // Should its number be too high for the ledger, it is closed below as it would have been.
                let _ = self.ledger.name(&number, meaning);
            }
            self.header.set_door(None);
        }
        fds::close_all_but(self.ledger.named().map(|(number, _)| number));
        if let Some(pipes) = self.pipes {
            pipes.after_a_daemon();
        }
    }

    /// Makes what pipes to a writer with so many sinks need, or finds it.
    ///
    /// # Errors
    /// No descriptors.
    pub(crate) fn with_pipes(self, sinks: usize) -> io::Result<Records> {
        let kept = self.ledger.kept(Part::Sinks).is_some();
        let memory = if kept { Memory::Kept(self.ledger) } else { Memory::Fresh(self.ledger) };
        let pipes = Pipes::new(self, memory, sinks)?;
        Ok(Records { pipes: Some(Box::leak(Box::new(pipes))), ..self })
    }

    /// Makes rings of so many bytes, by group; 0: none. `name` tells them from those of another start.
    ///
    /// # Errors
    /// No descriptors or no memory.
    pub(crate) fn with_rings(self, sizes: &[u32], name: u64) -> io::Result<Records> {
        let kept = self.ledger.kept(Part::Rings).is_some();
        let memory = if kept { Memory::Kept(self.ledger) } else { Memory::Fresh(self.ledger) };
        let rings = Rings::new(memory, sizes, name)?;
        Ok(Records { rings: Some(Box::leak(Box::new(rings))), ..self })
    }
}

/// What all this memory means, in one number: a program with another one cannot take it over.
pub(crate) const LAYOUT: u32 = 2;

/// So many numbers above the highest named one are looked at.
const PROBED: i32 = 1024;

/// An empty journal: the records, and the log, which is the daemon's alone. They live as long as the process, and so in
/// every process that it forks.
///
/// # Errors
/// No descriptors or no memory.
pub(crate) fn create() -> io::Result<(Records, &'static mut Log)> {
    let ledger: &'static Ledger = Box::leak(Box::new(Ledger::new()?));
    make(ledger, Memory::Fresh(ledger))
}

/// The ledger of the program in whose place this one is, from its number: with it alone the place can be given back.
///
/// # Errors
/// It is none, or one of another layout; no memory.
pub(crate) fn adopt(ledger: RawFd) -> io::Result<&'static mut Ledger> {
    let memory = fds::adopt(ledger).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    Ok(Box::leak(Box::new(Ledger::adopt(memory)?)))
}

/// The journal that a ledger names.
///
/// # Errors
/// It has another layout; no memory. The ledger is there nevertheless.
pub(crate) fn of(ledger: &'static mut Ledger) -> Result<(Records, &'static mut Log), (&'static Ledger, io::Error)> {
    let named = ledger.find_names();
    let ledger: &'static Ledger = ledger;
    named.and_then(|()| make(ledger, Memory::Kept(ledger))).map_err(|error| (ledger, error))
}

/// Its header alone, where the whole cannot be had.
///
/// # Errors
/// As `of`.
pub(crate) fn header_of(ledger: &Ledger) -> io::Result<Header> {
    Header::new(Memory::Kept(ledger))
}

fn make(ledger: &'static Ledger, memory: Memory<'_>) -> io::Result<(Records, &'static mut Log)> {
    let header = Box::leak(Box::new(Header::new(memory)?));
    let table = Box::leak(Box::new(Table::new(memory)?));
    Ok((Records { header, table, ledger, pipes: None, rings: None }, Box::leak(Box::new(Log::new(memory)?))))
}
