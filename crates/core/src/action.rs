//! What goes out: everything the shell is asked to do. The shell maps each to one effect and reports results as events.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::command::{AbortCause, Reply, Verb};
use crate::event::{Answer, Failure, HookKind};
use crate::ids::{Edition, Generation, GroupId, Pid, RequestId, Slot, WorkerId};
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
        /// What it runs: the program as it was when this edition was first spawned.
        edition: Edition,
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
    /// Ask a worker whether it serves. Answered by `Probed`. May be repeated.
    Probe {
        /// Which.
        worker: WorkerId,
    },
    /// Look how many more workers of this group the memory holds. Answered by `Measured`. May be repeated.
    Measure {
        /// Which.
        group: GroupId,
    },
    /// Look which workers of this group have more in memory. Answered by `Heavy` for each of them. May be repeated.
    Weigh {
        /// Which.
        group: GroupId,
        /// How many bytes.
        limit: u64,
    },
    /// Forget the descriptors that workers have stored for their successors in these slots. May be repeated.
    Discard {
        /// Whose.
        group: GroupId,
        /// Of this slot and all above it.
        from: Slot,
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
    /// A worker did not say in time that it is well, or said that it is not: it is aborted.
    Unwell {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
        /// How it failed.
        failure: Failure,
    },
    /// A worker is being replaced by a new one that starts beside it.
    Replacing {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
        /// Why.
        why: Spent,
    },
    /// A worker could not be replaced: it serves on, and another try follows.
    NotReplaced {
        /// Its group.
        group: GroupId,
        /// Its slot.
        slot: Slot,
        /// What became of the new one.
        cause: AbortCause,
        /// When the next try is.
        again: Duration,
    },
    /// A rollout goes on in smaller steps, as the memory holds no more.
    Limited {
        /// Its group.
        group: GroupId,
        /// So many new workers at a time.
        at_a_time: u32,
        /// Of so many.
        workers: u32,
    },
    /// A part of a rollout's new workers serve; the old ones were told to go.
    BatchCommitted {
        /// Its group.
        group: GroupId,
        /// The generation.
        generation: Generation,
        /// How many of its workers serve now.
        done: u32,
        /// How many there will be.
        workers: u32,
    },
    /// A rollout has begun.
    RolloutBegan {
        /// Its group.
        group: GroupId,
        /// What was asked for: an upgrade, a rollback or a restart.
        verb: Verb,
        /// The generation that it starts.
        generation: Generation,
        /// How many workers it will replace.
        workers: u32,
    },
    /// The new workers serve; the old ones were told to go.
    RolloutCommitted {
        /// Its group.
        group: GroupId,
        /// What was asked for.
        verb: Verb,
        /// The generation that serves.
        generation: Generation,
        /// How long it took.
        took: Duration,
    },
    /// The rollout was given up; what it had not committed is as before.
    RolloutAborted {
        /// Its group.
        group: GroupId,
        /// What was asked for.
        verb: Verb,
        /// The generation that did not make it.
        generation: Generation,
        /// How many of its workers were committed before, and stay.
        committed: u32,
        /// Of so many.
        workers: u32,
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

/// Why a worker is replaced although it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spent {
    /// It is older than `max_age`.
    Age(Duration),
    /// It has so many bytes in memory, more than `max_memory`.
    Memory(u64),
    /// It answered badly too often in a row, last with this.
    Unhealthy(Answer),
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
    /// Nothing: the worker that was to replace it has its place.
    Replaced,
    /// The rollout or the replacement that it belonged to is aborted.
    Abort,
}
