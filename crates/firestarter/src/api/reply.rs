//! Replies: what came of a request, as types. The daemon makes them from the core's `Reply`; the client gets the same
//! types back; `wire.rs` makes lines of them. Prose is not made here: `message` is a label, and `cli/` words the fields for
//! people.

use firestarter_core::command::Verb;
use firestarter_core::ids::{Generation, Pid, Slot};
use firestarter_core::spec::Signal;
use serde::{Deserialize, Serialize};

use super::logs::Stuck;
use super::outputs::Lines;
use super::piece::Piece;
use super::status::Status;
use super::word;

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It went well.
    Answer(Answer),
    /// It did not.
    Problem(Problem),
    /// An error that this build has no type for: a fault of the request, or a word of a newer daemon.
    Other {
        /// JSON-RPC's number.
        code: i64,
        /// The daemon's label for it.
        message: String,
        /// The machine's word, empty if there was none.
        machine: String,
    },
}

/// The `result` of a reply; which of these it is shows in its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// To an order.
    Done(Done),
    /// To `list`.
    Names(Names),
    /// To `status`.
    Status(Status),
    /// To `logs`.
    Lines(Lines),
    /// To `journal`.
    Piece(Piece),
}

/// To `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// The groups, in the order of the configuration.
    pub(crate) names: Vec<String>,
}

/// An order that was carried out: `{"done":"upgraded","group":"web",...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Of which group; none for `shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What was done; the fields are those of the core's `Done`, which knows all of these but `Reopened` and `Begun`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum What {
    Started {
        pids: Vec<Pid>,
    },
    Stopped {
        #[serde(default, with = "word::maybe_signal")]
        signal: Option<Signal>,
        pids: Vec<Pid>,
    },
    Restarted {
        new: Vec<Pid>,
        old: Vec<Pid>,
    },
    Upgraded {
        generation: Generation,
        new: Vec<Pid>,
        old: Vec<Pid>,
    },
    RolledBack {
        generation: Generation,
        new: Vec<Pid>,
        old: Vec<Pid>,
    },
    Cancelled {
        generation: Generation,
        #[serde(default)]
        committed: u32,
        #[serde(default)]
        workers: u32,
    },
    Incremented {
        pid: Pid,
        count: u32,
    },
    Decremented {
        pid: Option<Pid>,
        count: u32,
    },
    Killed {
        pids: Vec<Pid>,
    },
    Signalled {
        #[serde(with = "word::signal")]
        signal: Signal,
        pids: Vec<Pid>,
    },
    ShutDown,
    /// Another program is in the daemon's place.
    Replaced {
        /// The version before.
        from: String,
        /// The version now.
        to: String,
        /// How long there was no daemon, in milliseconds.
        took_ms: u64,
    },
    /// Log files were opened anew.
    Reopened {
        files: Vec<String>,
    },
    /// Nobody waits for the end of this; no verb: the stop of everything.
    Begun {
        #[serde(default, with = "word::verb", skip_serializing_if = "Option::is_none")]
        verb: Option<Verb>,
    },
}

/// An order that failed or was refused: `data` of an error, `{"group":"web","code":"aborted",...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Of which group; none for `shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// What is wrong.
    #[serde(flatten)]
    pub(crate) trouble: Trouble,
}

/// What is wrong; the variants are those of the core's `Failed` and `Refusal`, and the last two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// A rollout was aborted; what it had not committed is as before.
    Aborted {
        /// The generation that did not make it.
        generation: Generation,
        /// How many of its workers were committed before, and stay.
        #[serde(default)]
        committed: u32,
        /// Of so many.
        #[serde(default)]
        workers: u32,
        /// Why.
        #[serde(flatten)]
        cause: Cause,
        /// The last lines that the worker to blame wrote to its standard error, if they are to be had.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stderr: Vec<String>,
    },
    /// A worker could not be started.
    NotStarted {
        /// Its slot.
        slot: Slot,
        /// What went wrong.
        #[serde(flatten)]
        failure: Failure,
    },
    /// A later command took its place.
    Superseded {
        /// The command; none if the daemon was stopped.
        #[serde(default, with = "word::verb")]
        by: Option<Verb>,
    },
    /// The upgrader did not end with exit code 0.
    Upgrader {
        /// How it went.
        #[serde(flatten)]
        failure: Failure,
    },
    /// This verb wants a signal.
    SignalMissing {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// This verb is for the whole group.
    WholeGroup {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// No worker runs in that slot.
    NoWorker {
        /// The slot.
        slot: Slot,
    },
    /// No such group.
    UnknownGroup {
        /// Those that exist.
        #[serde(default)]
        groups: Vec<String>,
    },
    /// Upgrade, inc and dec want a group that runs.
    NotRunning,
    /// `dec` does not go below 1.
    AtLeastOne,
    /// `inc` does not go above this.
    AtMost {
        /// The limit.
        limit: u32,
    },
    /// This verb takes no signal.
    NoSignal {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// There is no generation to go back to.
    NothingBefore,
    /// No rollout is under way.
    NothingToCancel,
    /// What the group writes is not kept in memory.
    NotKept,
    /// The daemon is being stopped.
    ShuttingDown,
    /// Another program did not come into the daemon's place.
    NotReplaced {
        /// Why, in a sentence.
        #[serde(default)]
        reason: String,
    },
    /// Nothing that a group writes goes to a file.
    NoLogFile,
    /// Log files could not be opened anew in time.
    NotReopened {
        /// Which.
        files: Vec<Stuck>,
    },
}

/// Why a rollout was aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub(crate) enum Cause {
    /// A new worker ended or could not be started.
    Worker {
        /// Its slot.
        slot: Slot,
        /// Its pid, if it got one.
        pid: Option<Pid>,
        /// How it ended.
        #[serde(flatten)]
        failure: Failure,
    },
    /// Not all new workers acked within `start_timeout`.
    Timeout {
        /// The first slot whose new worker had not.
        slot: Slot,
        /// Its pid, if it had one.
        pid: Option<Pid>,
        /// How many had not.
        unready: u32,
        /// What it answered last when it was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Probed>,
    },
    /// A new worker that was ready answered badly too often in a row.
    Unhealthy {
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
        /// What it answered last.
        answer: Probed,
    },
    /// Another command ended it.
    Command {
        /// The command; none if the daemon was stopped.
        #[serde(default, with = "word::verb")]
        by: Option<Verb>,
    },
}

/// What a worker answered when it was asked whether it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Probed {
    /// It serves.
    Good,
    /// It answered with this HTTP status.
    Status {
        /// The status.
        status: u16,
    },
    /// It could not be reached.
    Unreachable {
        /// The kernel's error number.
        errno: i32,
    },
    /// What it answered is no HTTP.
    Garbled,
    /// It closed the connection without an answer.
    Closed,
    /// It did not answer in time.
    Late,
    /// The command that asks said no.
    Command {
        /// How it ended.
        failure: Failure,
    },
}

/// How a worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Failure {
    /// It ended with an exit code.
    Exit {
        /// The code.
        exit_code: u8,
    },
    /// It was ended by a signal.
    Signal {
        /// The signal.
        #[serde(with = "word::signal")]
        signal: Signal,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// It ended, and nobody can tell how: the keeper is dead.
    Unknown,
    /// It gave no sign of life, or, as a hook, did not end in time.
    Silent {
        /// For how long.
        after_ms: u64,
    },
    /// It did not say that it is well.
    Watchdog {
        /// For how long.
        after_ms: u64,
    },
    /// It said itself that it is not well.
    Unwell,
    /// It never began.
    Spawn {
        /// At which step.
        step: Step,
        /// The kernel's error number.
        errno: i32,
    },
}

/// The steps of a spawn, as in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Step {
    Prepare,
    Clone,
    Directory,
    Setup,
    Exec,
    Watch,
}
