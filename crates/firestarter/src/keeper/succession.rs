//! Another program in place of this one: the keeper's part of a handover. It executes the program that the ledger names as the
//! next one, when a daemon has ended for that; as the new one it gives its first daemon some time to get to work, and if none
//! does the place goes back to the program before. See `journal::Handover` for the states.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::{wait, Keeper};
use crate::journal::{Handover, Part, Reason};
use crate::say::{plain, say};
use crate::sys::exec::own_program;

/// How a program is executed in place of this one; returns what went wrong.
pub(crate) trait Execute: Fn(std::os::fd::BorrowedFd<'_>) -> std::io::Error {}
impl<F: Fn(std::os::fd::BorrowedFd<'_>) -> std::io::Error> Execute for F {}

/// So long a daemon of the new program may take until it is at work.
const TRIAL: Duration = Duration::from_secs(10);
/// So many of its daemons may die before that.
const DEATHS: u32 = 3;

/// The new program on trial.
pub(super) struct Trial {
    until: Instant,
    deaths: u32,
}

impl Trial {
    /// If this is the new program.
    pub(super) fn begin(state: Handover) -> Option<Trial> {
        (state == Handover::Trial).then(|| Trial { until: Instant::now() + TRIAL, deaths: 0 })
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Keeper {
    /// No daemon lives: gives the place to the next program, if that was asked for.
    pub(super) fn hand_over(&mut self, execute: &impl Execute) {
        let (words, ledger) = (self.journal.header.handover(), self.journal.ledger);
        if words.state() != Handover::Asked {
            return;
        }
        let next = ledger.copy_kept(Part::Next).and_then(|next| {
            ledger.keep(Part::Before, own_program()?)?;
            Ok(next)
        });
        let error = match next {
            Ok(next) => {
                words.set(Handover::Trial);
                execute(next.as_fd())
            }
            Err(error) => error,
        };
        words.set(Handover::Failed(Reason::Execute(error.raw_os_error().unwrap_or(libc::EIO))));
        ledger.let_go(Part::Next);
        ledger.let_go(Part::Before);
    }

    /// Looks how the trial goes; gives the place back if it goes badly. `died`: a daemon has.
    pub(super) fn judge(&mut self, died: bool, execute: &impl Execute) {
        let Some(trial) = &mut self.trial else { return };
        let words = self.journal.header.handover();
        if words.state() != Handover::Trial {
            self.trial = None;
            self.journal.ledger.let_go(Part::Before);
            return;
        }
        trial.deaths += u32::from(died);
        let reason = match trial {
            Trial { deaths, .. } if *deaths >= DEATHS => Reason::Died,
            Trial { until, .. } if *until <= Instant::now() => Reason::Late,
            Trial { .. } => return,
        };
        if let Some(daemon) = self.daemon.take() {
            kill(daemon.pid);
            self.watch.ended();
            daemon.joint.close(self.journal.ledger);
        }
        self.journal.sweep();
        words.set(Handover::Failed(reason));
        let before = self.journal.ledger.copy_kept(Part::Before);
        let error = before.map_or_else(|error| error, |before| execute(before.as_fd()));
        say(format_args!("give the place back to the program before: {}; this one goes on", plain(&error)));
        self.trial = None;
    }
}

fn kill(pid: Pid) {
    // It may not have a process group of its own yet.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    let _ = wait::reap_blocking(pid);
}
