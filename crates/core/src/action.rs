//! What goes out: everything the shell is asked to do. The shell maps each to one effect and reports results as events.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::command::{AbortCause, Reply};
use crate::event::{Failure, HookKind};
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
    /// Start a hook: a process that is spawned, watched and killed as a worker's is, under a name of the same kind.
    RunHook {
        /// The process's name.
        hook: WorkerId,
        /// Whose.
        group: GroupId,
        /// Which command.
        kind: HookKind,
        /// The workers that it is about, by slot.
        pids: Vec<Pid>,
    },
    /// Send a worker a signal that somebody asked for. Never repeated.
    Tell {
        /// Which.
        worker: WorkerId,
        /// With this.
        signal: Signal,
    },
    /// Look for a worker's sign of life. Answered by `Looked`. May be repeated.
    Look {
        /// Which.
        worker: WorkerId,
    },
    /// Watch the file of a group's program. What differs from `known` is told as a change, once it has settled; without
    /// that, what is there now is told, not as a change, and counts as known. May be repeated.
    WatchProgram {
        /// Whose.
        group: GroupId,
        /// What is known.
        known: Option<u64>,
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
    /// SIGKILL to a worker's process group; to a hook also before its spawn is answered. May be repeated.
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
    Halt {
        /// Firestarter's exit code.
        code: u8,
    },
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
    /// A worker gave no sign of life for so long and was killed.
    Silent {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
        /// How long.
        silence: Duration,
    },
    /// The group was given up: none of its workers is left, and none will be started without a command.
    GaveUp {
        /// Which.
        group: GroupId,
    },
    /// The group's program has changed: an upgrade follows.
    ProgramChanged {
        /// Which.
        group: GroupId,
    },
    /// A hook has begun to run.
    HookBegan {
        /// Whose.
        group: GroupId,
        /// Which.
        kind: HookKind,
        /// Its pid.
        pid: Pid,
    },
    /// A hook has ended, or could not begin.
    HookEnded {
        /// Whose.
        group: GroupId,
        /// Which.
        kind: HookKind,
        /// How, if it failed.
        failure: Option<Failure>,
    },
    /// Somebody lost patience while everything was being stopped: what is left is killed.
    KillingAll {
        /// The signal that asked for it; none if the time was over.
        signal: Option<Signal>,
        /// How many workers are left.
        workers: u32,
    },
    /// The stop of everything ends although these could not be killed.
    LeftBehind {
        /// How many.
        processes: u32,
    },
    /// Firestarter ends as `exit_when` says.
    ExitWhen {
        /// The group that was the reason; none if all are done.
        group: Option<GroupId>,
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
    /// Nothing: its slot was given up after so many failures in a row within so long.
    GiveUp {
        /// How many.
        times: u32,
        /// From the first to the last.
        within: Duration,
    },
    /// The rollout that it belonged to is aborted.
    Abort,
}
