//! What outlives a daemon, in shared memory that the keeper makes once and every daemon inherits:
//!
//! - the [`Header`]: a few words between keeper and daemon;
//! - the [`Table`]: one row a living worker, where the kernel itself writes the pid;
//! - the [`Ledger`]: what each descriptor number means;
//! - the [`Log`]: the core's events since the last snapshot.
//!
//! Table and ledger hold facts that change in place: one store takes effect at once or not at all. The log holds what
//! must be replayed in order. None of them holds environments or other secrets.

mod header;
mod ledger;
mod log;
mod table;

use std::io;

pub(crate) use header::Header;
pub(crate) use ledger::{Ledger, Meaning, Phase};
pub(crate) use log::{Log, LogError};
pub(crate) use table::{Row, Table};

/// All of it.
pub(crate) struct Journal {
    pub(crate) header: Header,
    pub(crate) table: Table,
    pub(crate) ledger: Ledger,
    pub(crate) log: Log,
}

impl Journal {
    /// An empty journal.
    ///
    /// # Errors
    /// No descriptors or no memory.
    pub(crate) fn new() -> io::Result<Journal> {
        Ok(Journal { header: Header::new()?, table: Table::new()?, ledger: Ledger::new()?, log: Log::new()? })
    }
}
