//! The core's replies and failures as messages. Called by the daemon (`Outcome::from_reply`) and by `status.rs`; one
//! match a type, so a new variant in the core does not compile until the wire has a word for it.

use firestarter_core::command::{self, Refusal, Reply};
use firestarter_core::event::{self, SpawnStep};

use super::reply::{Answer, Cause, Done, Failure, Outcome, Probed, Step, Trouble, What};

impl Outcome {
    /// What the core replied to an order about `group`; none for `shutdown`.
    pub(crate) fn from_reply(group: Option<&str>, reply: &Reply) -> Outcome {
        match reply {
            Reply::Done(done) => {
                Outcome::Answer(Answer::Done(Done { group: group.map(str::to_owned), what: done.into() }))
            }
            Reply::Failed(failed) => Outcome::problem(group, failed.into()),
            Reply::Refused(refusal) => Outcome::problem(group, (*refusal).into()),
        }
    }
}

impl From<&command::Done> for What {
    fn from(done: &command::Done) -> What {
        match done.clone() {
            command::Done::Started { pids } => What::Started { pids },
            command::Done::Stopped { signal, pids } => What::Stopped { signal, pids },
            command::Done::Restarted { new, old } => What::Restarted { new, old },
            command::Done::Upgraded { generation, new, old } => What::Upgraded { generation, new, old },
            command::Done::RolledBack { generation, new, old } => What::RolledBack { generation, new, old },
            command::Done::Cancelled { generation, committed, workers } => {
                What::Cancelled { generation, committed, workers }
            }
            command::Done::Incremented { pid, count } => What::Incremented { pid, count },
            command::Done::Decremented { pid, count } => What::Decremented { pid, count },
            command::Done::Killed { pids } => What::Killed { pids },
            command::Done::Signalled { signal, pids } => What::Signalled { signal, pids },
            command::Done::ShutDown => What::ShutDown,
        }
    }
}

impl From<&command::Failed> for Trouble {
    fn from(failed: &command::Failed) -> Trouble {
        match failed {
            command::Failed::NotStarted { slot, failure } => {
                Trouble::NotStarted { slot: *slot, failure: (*failure).into() }
            }
            command::Failed::Aborted { generation, committed, workers, cause } => Trouble::Aborted {
                generation: *generation,
                committed: *committed,
                workers: *workers,
                cause: cause.into(),
                stderr: Vec::new(),
            },
            command::Failed::Upgrader { failure } => Trouble::Upgrader { failure: (*failure).into() },
            command::Failed::Superseded { by } => Trouble::Superseded { by: *by },
        }
    }
}

impl From<&command::AbortCause> for Cause {
    fn from(cause: &command::AbortCause) -> Cause {
        match *cause {
            command::AbortCause::Worker { slot, pid, failure } => Cause::Worker { slot, pid, failure: failure.into() },
            command::AbortCause::Timeout { slot, pid, unready, answer } => {
                Cause::Timeout { slot, pid, unready, answer: answer.map(Probed::from) }
            }
            command::AbortCause::Unhealthy { slot, pid, answer } => {
                Cause::Unhealthy { slot, pid, answer: answer.into() }
            }
            command::AbortCause::Command { by } => Cause::Command { by },
        }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        match refusal {
            Refusal::UnknownGroup => Trouble::UnknownGroup { groups: Vec::new() },
            Refusal::NotRunning => Trouble::NotRunning,
            Refusal::AtLeastOne => Trouble::AtLeastOne,
            Refusal::AtMost(limit) => Trouble::AtMost { limit },
            Refusal::NoSignal(verb) => Trouble::NoSignal { verb: Some(verb) },
            Refusal::SignalMissing(verb) => Trouble::SignalMissing { verb: Some(verb) },
            Refusal::WholeGroup(verb) => Trouble::WholeGroup { verb: Some(verb) },
            Refusal::NoWorker(slot) => Trouble::NoWorker { slot },
            Refusal::NothingBefore => Trouble::NothingBefore,
            Refusal::NothingToCancel => Trouble::NothingToCancel,
            Refusal::ShuttingDown => Trouble::ShuttingDown,
        }
    }
}

impl From<event::Failure> for Failure {
    fn from(failure: event::Failure) -> Failure {
        match failure {
            event::Failure::Exit(event::Exit::Code(exit_code)) => Failure::Exit { exit_code },
            event::Failure::Exit(event::Exit::Signal(signal, core_dumped)) => Failure::Signal { signal, core_dumped },
            event::Failure::Exit(event::Exit::Unknown) => Failure::Unknown,
            event::Failure::Silent(after) => Failure::Silent { after_ms: super::status::millis(after) },
            event::Failure::Watchdog(after) => Failure::Watchdog { after_ms: super::status::millis(after) },
            event::Failure::Unwell => Failure::Unwell,
            event::Failure::Spawn(error) => Failure::Spawn { step: error.step.into(), errno: error.errno },
        }
    }
}

impl From<event::Answer> for Probed {
    fn from(answer: event::Answer) -> Probed {
        match answer {
            event::Answer::Good => Probed::Good,
            event::Answer::Status(status) => Probed::Status { status },
            event::Answer::Unreachable(errno) => Probed::Unreachable { errno },
            event::Answer::Garbled => Probed::Garbled,
            event::Answer::Closed => Probed::Closed,
            event::Answer::Late => Probed::Late,
            event::Answer::Command(failure) => Probed::Command { failure: failure.into() },
        }
    }
}

impl From<SpawnStep> for Step {
    fn from(step: SpawnStep) -> Step {
        match step {
            SpawnStep::Prepare => Step::Prepare,
            SpawnStep::Clone => Step::Clone,
            SpawnStep::Directory => Step::Directory,
            SpawnStep::Setup => Step::Setup,
            SpawnStep::Exec => Step::Exec,
            SpawnStep::Watch => Step::Watch,
        }
    }
}
