//! Other programs' command lines, as front ends: each makes a configuration of its own words, and `start` runs it as any
//! other. Called by `main`. There is no second engine here: nothing in this room spawns, restarts or signals a worker.

pub(crate) mod einhorn;
pub(crate) mod server_starter;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use firestarter_core::spec::ExitWhen;

use crate::config::Config;
use crate::daemon::shelf::Shelf;
use crate::daemon::Signals;
use crate::place::Place;

/// What `main` does next.
pub(crate) enum Next {
    /// End with this code.
    Exit(u8),
    /// Run a daemon.
    Serve(Box<Served>),
}

/// What a front end wants served.
pub(crate) struct Served {
    pub(crate) config: Config,
    pub(crate) socket: Place,
    pub(crate) exit_when: Option<ExitWhen>,
    pub(crate) signals: Signals,
    /// Where the keeper's pid is written; locked as long as it runs.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where the living workers are listed.
    pub(crate) status_file: Option<PathBuf>,
    /// What the service manager has kept for us; none: it shall keep nothing.
    pub(crate) shelf: Option<Shelf>,
    /// Gets a byte when all is open and begins to run.
    pub(crate) ready: Option<OwnedFd>,
}
