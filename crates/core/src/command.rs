//! What people ask for, and why it may be refused. A command changes intent; `group::reconcile` does the rest.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::event::{Answer, Failure};
use crate::ids::{Generation, GroupId, Pid, Slot};
use crate::spec::Signal;

/// A request that wants something changed. Questions (status, list) are answered from the view and never come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Something about one group.
    Group {
        /// Which.
        group: GroupId,
        /// What.
        verb: Verb,
        /// Takes the place of `stop_signal` in stop, restart and dec, of `ack_signal` in upgrade and rollback; what `signal` sends.
        signal: Option<Signal>,
        /// One worker of it, for `signal`; none: all.
        slot: Option<Slot>,
    },
    /// Stop all groups, then the daemon.
    Shutdown,
}

/// What can be asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Start what does not run.
    Start,
    /// Stop all workers.
    Stop,
    /// Stop all, then start all; listeners stay.
    Restart,
    /// Replace all workers by new ones without a gap.
    Upgrade,
    /// One worker more.
    Inc,
    /// One worker fewer.
    Dec,
    /// SIGKILL to all; the group is then stopped.
    Killall,
    /// A signal to all workers or to one; nothing else is changed.
    Signal,
    /// Back to the generation before, with its program.
    Rollback,
    /// End the rollout under way, as if it had failed.
    Cancel,
}

/// The one final reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done(Done),
    /// Begun and failed.
    Failed(Failed),
    /// Valid, but not now; nothing was changed.
    Refused(Refusal),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// These were started; none if all ran already.
    Started {
        /// The new workers.
        pids: Vec<Pid>,
    },
    /// These were asked to end, and have.
    Stopped {
        /// The signal that they got first; none if `exec_stop` ran in its place.
        signal: Option<Signal>,
        /// The workers.
        pids: Vec<Pid>,
    },
    /// All were stopped, then all started.
    Restarted {
        /// The workers now.
        new: Vec<Pid>,
        /// The workers before.
        old: Vec<Pid>,
    },
    /// The new generation serves; the old one is draining.
    Upgraded {
        /// The generation that serves.
        generation: Generation,
        /// The workers now.
        new: Vec<Pid>,
        /// The workers that were told to go.
        old: Vec<Pid>,
    },
    /// The generation before serves again; the one that served is draining.
    RolledBack {
        /// The generation that serves.
        generation: Generation,
        /// The workers now.
        new: Vec<Pid>,
        /// The workers that were told to go.
        old: Vec<Pid>,
    },
    /// The rollout under way was ended.
    Cancelled {
        /// The generation that serves.
        generation: Generation,
        /// How many workers were committed to the one that was to come, and stay.
        committed: u32,
        /// Of so many.
        workers: u32,
    },
    /// One worker more.
    Incremented {
        /// The new worker.
        pid: Pid,
        /// How many are wanted now.
        count: u32,
    },
    /// One worker fewer.
    Decremented {
        /// The worker that has ended; none if its slot was empty at the time.
        pid: Option<Pid>,
        /// How many are wanted now.
        count: u32,
    },
    /// These were killed.
    Killed {
        /// The workers.
        pids: Vec<Pid>,
    },
    /// These were sent a signal.
    Signalled {
        /// The signal.
        signal: Signal,
        /// The workers.
        pids: Vec<Pid>,
    },
    /// All groups have stopped.
    ShutDown,
}

/// Why something that was begun did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failed {
    /// A worker could not be started.
    NotStarted {
        /// Its slot.
        slot: Slot,
        /// What went wrong.
        failure: Failure,
    },
    /// The rollout was aborted; what it had not committed is as before.
    Aborted {
        /// The generation that did not make it.
        generation: Generation,
        /// How many of its workers were committed before, and stay.
        committed: u32,
        /// Of so many.
        workers: u32,
        /// Why.
        cause: AbortCause,
    },
    /// A later command of this kind took its place.
    Superseded {
        /// The later command; none if the daemon itself was stopped.
        by: Option<Verb>,
    },
    /// The upgrader did not end with exit code 0, so there was no upgrade.
    Upgrader {
        /// How it went.
        failure: Failure,
    },
}

/// Why a rollout was aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortCause {
    /// A new worker ended or could not be started.
    Worker {
        /// Its slot.
        slot: Slot,
        /// Its pid, if it got one.
        pid: Option<Pid>,
        /// How it ended.
        failure: Failure,
    },
    /// Not all new workers had acked when `start_timeout` was over.
    Timeout {
        /// The first slot whose new worker had not.
        slot: Slot,
        /// Its pid, if it had one.
        pid: Option<Pid>,
        /// How many had not.
        unready: u32,
        /// What it answered last when it was asked.
        answer: Option<Answer>,
    },
    /// A new worker that was ready answered badly too often in a row.
    Unhealthy {
        /// Its slot.
        slot: Slot,
        /// Its pid.
        pid: Option<Pid>,
        /// What it answered last.
        answer: Answer,
    },
    /// Another command ended it.
    Command {
        /// The command; none if the daemon itself was stopped.
        by: Option<Verb>,
    },
}

/// Why a valid request is not carried out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such group.
    UnknownGroup,
    /// Upgrade, inc and dec want a group that runs.
    NotRunning,
    /// `dec` does not go below 1.
    AtLeastOne,
    /// `inc` does not go above the limit.
    AtMost(u32),
    /// This verb takes no signal.
    NoSignal(Verb),
    /// This verb wants a signal.
    SignalMissing(Verb),
    /// This verb is for the whole group, not for one worker of it.
    WholeGroup(Verb),
    /// No worker runs in that slot.
    NoWorker(Slot),
    /// There is no generation to go back to.
    NothingBefore,
    /// No rollout is under way.
    NothingToCancel,
    /// The daemon is being stopped.
    ShuttingDown,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 10] = [
        Verb::Start,
        Verb::Stop,
        Verb::Restart,
        Verb::Upgrade,
        Verb::Rollback,
        Verb::Cancel,
        Verb::Inc,
        Verb::Dec,
        Verb::Killall,
        Verb::Signal,
    ];

    /// The word for it on the command line and in messages.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Upgrade => "upgrade",
            Verb::Inc => "inc",
            Verb::Dec => "dec",
            Verb::Killall => "killall",
            Verb::Signal => "signal",
            Verb::Rollback => "rollback",
            Verb::Cancel => "cancel",
        }
    }

    /// Whether a request may name a signal of its own for this verb.
    pub fn takes_signal(self) -> bool {
        match self {
            Verb::Stop | Verb::Restart | Verb::Upgrade | Verb::Rollback | Verb::Dec | Verb::Signal => true,
            Verb::Start | Verb::Inc | Verb::Killall | Verb::Cancel => false,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
