//! What outlives a daemon, in shared memory that the keeper makes once and every daemon inherits:
//!
//! - the [`Header`]: a few words between keeper and daemon;
//! - the [`Table`]: one row a living worker, where the kernel itself writes the pid;
//! - the [`Ledger`]: what each descriptor number means;
//! - the [`Pipes`]: what processes write to, how the writer hears of them, and how far it is with each and at each sink;
//! - the [`Log`]: the core's events since the last snapshot.
//!
//! Table and ledger hold facts that change in place: one store takes effect at once or not at all. The log holds what
//! must be replayed in order. None of them holds environments or other secrets.

mod header;
mod ledger;
mod log;
mod pipes;
mod sinks;
mod stages;
mod table;
mod tails;
mod texts;

use std::io;

use crate::sys::fds;

pub(crate) use header::{Door, Header, Report};
pub(crate) use ledger::{Ledger, Meaning, Origin, Phase, Speaker, Stream};
pub(crate) use log::{Log, LogError};
pub(crate) use pipes::{Heard, Newborn, Opened, Pipe, Pipes};
pub(crate) use sinks::{Batch, Count, Kind, SinkRow};
pub(crate) use stages::{Gap, StageRow};
pub(crate) use table::{Labels, Row, Table};

/// The parts that change in place, which the keeper and the daemon use at once.
#[derive(Clone, Copy)]
pub(crate) struct Records {
    pub(crate) header: &'static Header,
    pub(crate) table: &'static Table,
    pub(crate) ledger: &'static Ledger,
    /// None if nothing is written by way of the writer.
    pub(crate) pipes: Option<&'static Pipes>,
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

    /// Makes what pipes to a writer with so many sinks need.
    ///
    /// # Errors
    /// No descriptors.
    pub(crate) fn with_pipes(self, sinks: usize) -> io::Result<Records> {
        let pipes = Pipes::new(self, sinks)?;
        Ok(Records { pipes: Some(Box::leak(Box::new(pipes))), ..self })
    }
}

/// So many numbers above the highest named one are looked at.
const PROBED: i32 = 1024;

/// An empty journal: the records, and the log, which is the daemon's alone. They live as long as the process, and so in
/// every process that it forks.
///
/// # Errors
/// No descriptors or no memory.
pub(crate) fn create() -> io::Result<(Records, &'static mut Log)> {
    let header = Box::leak(Box::new(Header::new()?));
    let table = Box::leak(Box::new(Table::new()?));
    let ledger = Box::leak(Box::new(Ledger::new()?));
    Ok((Records { header, table, ledger, pipes: None }, Box::leak(Box::new(Log::new()?))))
}
