//! What goes out: everything the shell is asked to do. The shell maps each to one effect and reports results as events.

use serde::{Deserialize, Serialize};

use crate::command::{AbortCause, Reply};
use crate::event::Failure;
use crate::ids::{Generation, GroupId, Pid, RequestId, Slot, WorkerId};
use crate::spec::Signal;
use crate::time::Duration;

/// One thing for the shell to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Start a process for this worker. Answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// The worker's name.
        worker: WorkerId,
        /// Whose program.
        group: GroupId,
        /// In which slot.
        slot: Slot,
        /// Of which generation.
        generation: Generation,
    },
    /// Ask a worker's process to end.
    Signal {
        /// Which.
        worker: WorkerId,
        /// With this.
        signal: Signal,
        /// With this instead, if the process does not catch `signal` and would die of it in the middle of a request.
        uncaught: Option<Signal>,
    },
    /// SIGKILL to a worker's process group. May be repeated.
    Kill {
        /// Which.
        worker: WorkerId,
    },
    /// Report the next connection to a listener of this group, or no longer.
    Watch {
        /// Which.
        group: GroupId,
        /// Report it, or no longer.
        on: bool,
    },
    /// Answer a request: the one final reply.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Tell people.
    Notice(Notice),
    /// Everything has ended: the daemon may go.
    Halt,
}

/// Something that people want to know: a line in the daemon's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// A worker ended that nobody had asked to, or that had failed.
    WorkerExited {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Pid,
        /// How it ended.
        failure: Failure,
        /// What follows.
        next: Next,
    },
    /// A worker could not be started.
    NotSpawned {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Why.
        failure: Failure,
        /// What follows.
        next: Next,
    },
    /// A worker did not end in time and was killed.
    Overdue {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
    },
    /// A rollout has begun.
    RolloutBegan {
        /// Its group.
        group: GroupId,
        /// The generation that it starts.
        generation: Generation,
        /// How many workers it will replace.
        workers: u32,
    },
    /// The new workers serve; the old ones were told to go.
    RolloutCommitted {
        /// Its group.
        group: GroupId,
        /// The generation that serves.
        generation: Generation,
        /// How long it took.
        took: Duration,
    },
    /// The rollout was given up; the old generation serves as before.
    RolloutAborted {
        /// Its group.
        group: GroupId,
        /// The generation that did not make it.
        generation: Generation,
        /// Why.
        cause: AbortCause,
    },
    /// The group's workers have all ended for good.
    GroupEnded {
        /// Which.
        group: GroupId,
        /// Whether the next connection starts it again.
        watched: bool,
    },
    /// A connection has started the group.
    GroupActivated {
        /// Which.
        group: GroupId,
    },
    /// Everything is being stopped.
    ShuttingDown {
        /// The signal that asked for it; none if a command did.
        signal: Option<Signal>,
        /// How many workers have to end.
        workers: u32,
    },
}

/// What follows the end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// A respawn after this long.
    Respawn(Duration),
    /// Nothing: `restart` says so.
    Nothing,
    /// The rollout that it belonged to is aborted.
    Abort,
}
