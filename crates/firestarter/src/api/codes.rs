//! What JSON-RPC wants of an error beside what it says: a number and a label. Called by `wire`; programs look at `data.code`.

use super::reply::{Problem, Trouble};

impl Problem {
    /// JSON-RPC's number for it, from the range left to the server.
    pub(super) fn number(&self) -> i64 {
        match self.trouble {
            Trouble::Aborted { .. } => -32000,
            Trouble::NotStarted { .. } => -32001,
            Trouble::Superseded { .. } => -32002,
            Trouble::UnknownGroup { .. } => -32003,
            Trouble::NotRunning => -32004,
            Trouble::AtLeastOne => -32005,
            Trouble::AtMost { .. } => -32006,
            Trouble::NoSignal { .. } => -32007,
            Trouble::ShuttingDown => -32008,
            Trouble::Upgrader { .. } => -32009,
            Trouble::SignalMissing { .. } => -32010,
            Trouble::WholeGroup { .. } => -32011,
            Trouble::NoWorker { .. } => -32012,
            Trouble::NothingBefore => -32013,
            Trouble::NothingToCancel => -32014,
            Trouble::NotReplaced { .. } => -32020,
            Trouble::NoLogFile => -32015,
            Trouble::NotReopened { .. } => -32016,
            Trouble::NotKept => -32017,
        }
    }

    /// JSON-RPC wants a sentence; this one says no more than the code.
    pub(crate) fn label(&self) -> &'static str {
        match self.trouble {
            Trouble::Aborted { .. } => "the rollout was aborted",
            Trouble::NotStarted { .. } => "a worker could not be started",
            Trouble::Superseded { .. } => "a later command took its place",
            Trouble::UnknownGroup { .. } => "no such group",
            Trouble::NotRunning => "the group is not running",
            Trouble::AtLeastOne => "a group keeps at least one worker",
            Trouble::AtMost { .. } => "the group has as many workers as it may",
            Trouble::NoSignal { .. } => "this command takes no signal",
            Trouble::ShuttingDown => "the daemon is being stopped",
            Trouble::Upgrader { .. } => "the upgrader did not end with exit code 0",
            Trouble::SignalMissing { .. } => "this command wants a signal",
            Trouble::WholeGroup { .. } => "this command is for a whole group",
            Trouble::NoWorker { .. } => "no worker runs in that slot",
            Trouble::NothingBefore => "there is no generation to go back to",
            Trouble::NothingToCancel => "no upgrade is under way",
            Trouble::NotReplaced { .. } => "firestarter was not replaced",
            Trouble::NoLogFile => "there is no log file",
            Trouble::NotReopened { .. } => "a log file was not opened anew",
            Trouble::NotKept => "what the group writes is not kept in memory",
        }
    }
}
