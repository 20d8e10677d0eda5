//! What comes in: facts about the world and requests of people. An event changes what is known; what follows from it is
//! decided by `group::reconcile`.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::ids::{GroupId, Pid, RequestId, WorkerId};
use crate::spec::Signal;
use crate::time::Duration;

/// A fact or a request. Each is journalled before it is handled, so this type is also the journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The daemon runs for the first time: groups that start at once may start.
    Begin,
    /// A worker's program runs.
    Spawned {
        /// Which.
        worker: WorkerId,
        /// Its pid, for people.
        pid: Pid,
    },
    /// A worker could not be started.
    SpawnFailed {
        /// Which.
        worker: WorkerId,
        /// At which step, and why.
        error: SpawnError,
    },
    /// A worker has ended. Late ones fall on a missing id and mean nothing.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        exit: Exit,
    },
    /// A worker says that it serves.
    Acked {
        /// Which.
        worker: WorkerId,
        /// What the old worker shall get in place of `ack_signal`.
        signal: Option<Signal>,
    },
    /// A worker's sign of life was looked for: `mark` is another one after each sign, and the last came `ago`.
    Looked {
        /// Which.
        worker: WorkerId,
        /// What tells one sign from the next.
        mark: u64,
        /// How long ago the last sign came, by a clock that may have been set.
        ago: Duration,
    },
    /// What the file of a group's program is now: at the core's request, or because it has changed and settled.
    Program {
        /// Whose.
        group: GroupId,
        /// What tells one content of the file from another.
        print: u64,
        /// It has changed.
        changed: bool,
    },
    /// A listener of a group that is being watched has a connection.
    Connection {
        /// Which group.
        group: GroupId,
    },
    /// Somebody wants something. Exactly one reply will follow.
    Request {
        /// Its name.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// The keeper was asked by a signal to stop everything.
    StopSignal {
        /// Which signal.
        signal: Signal,
        /// How many such signals there have been, itself counted: one that is told twice has the same number.
        nth: u32,
        /// What workers get of it in place of `stop_signal`.
        with: Option<Signal>,
    },
    /// The keeper got a signal that stands for a command, as a front end's table has it. It is a request of nobody: its
    /// reply goes nowhere.
    Order {
        /// Which signal.
        signal: Signal,
        /// How many of it there have been, itself counted: one that is told twice has the same number and counts once.
        nth: u32,
        /// What it stands for.
        command: Command,
    },
    /// The time of `next_deadline` has come.
    Deadline,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With an exit code.
    Code(u8),
    /// By a signal; whether a core was dumped.
    Signal(Signal, bool),
    /// Nobody knows: the keeper is dead, and with it the right to ask.
    Unknown,
}

/// Why a worker's program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnError {
    /// At which step.
    pub step: SpawnStep,
    /// The kernel's error number.
    pub errno: i32,
}

/// The steps of a spawn that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpawnStep {
    /// Getting ready: expanding words, finding the program, opening output files, staging descriptors.
    Prepare,
    /// clone: no room for another process.
    Clone,
    /// Entering the working directory.
    Directory,
    /// Setting up descriptors, limits or identity in the new process.
    Setup,
    /// Running the program.
    Exec,
    /// Watching the new process: no descriptor left for it.
    Watch,
}

/// How a worker or a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It ended.
    Exit(Exit),
    /// It never began.
    Spawn(SpawnError),
    /// It was killed because it gave no sign of life for this long, or, if a hook, did not end within it.
    Silent(Duration),
}

/// A command of the configuration that runs once and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookKind {
    /// `exec_stop`: stops the group.
    Stop,
    /// `upgrader`: decides whether there is an upgrade.
    Upgrader,
}

impl Exit {
    /// Whether `restart = "on-failure"` counts this as one.
    pub fn is_failure(self) -> bool {
        match self {
            Exit::Code(code) => code != 0,
            Exit::Signal(..) | Exit::Unknown => true,
        }
    }
}
