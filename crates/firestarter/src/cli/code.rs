//! The exit codes.

use crate::api::{Outcome, Trouble};
use crate::client::ClientError;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Failed, aborted or refused.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no daemon.
pub(crate) const NO_DAEMON: u8 = 3;
/// There is no such group.
pub(crate) const UNKNOWN_GROUP: u8 = 4;
/// No reply in time; the work goes on.
pub(crate) const TIMED_OUT: u8 = 5;

/// Of what came of a request.
pub(super) fn of_outcome(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Answer(_) => DONE,
        Outcome::Problem(problem) => match problem.trouble {
            Trouble::UnknownGroup { .. } => UNKNOWN_GROUP,
            Trouble::Aborted { .. }
            | Trouble::NotStarted { .. }
            | Trouble::Superseded { .. }
            | Trouble::NotRunning
            | Trouble::AtLeastOne
            | Trouble::AtMost { .. }
            | Trouble::NoSignal { .. }
            | Trouble::SignalMissing { .. }
            | Trouble::WholeGroup { .. }
            | Trouble::NoWorker { .. }
            | Trouble::NothingBefore
            | Trouble::NothingToCancel
            | Trouble::NotReplaced { .. }
            | Trouble::NotKept
            | Trouble::Upgrader { .. }
            | Trouble::NoLogFile
            | Trouble::NotReopened { .. }
            | Trouble::ShuttingDown => FAILED,
        },
        Outcome::Other { .. } => FAILED,
    }
}

/// Of why there was no reply.
pub(super) fn of_error(error: &ClientError) -> u8 {
    match error {
        ClientError::NoDaemon { .. } => NO_DAEMON,
        ClientError::TimedOut { .. } | ClientError::Interrupted { .. } => TIMED_OUT,
        ClientError::Denied { .. }
        | ClientError::Io { .. }
        | ClientError::Closed { .. }
        | ClientError::Protocol { .. } => FAILED,
    }
}
