//! What the daemon says of requests that the core does not answer, as outcomes. Called by the daemon.

use firestarter_core::ids::Slot;

use super::outputs::Lines;
use super::reply::{Answer, Done, Names, Outcome, Problem, Trouble, What};
use super::request::Order;
use super::status::Status;

impl Outcome {
    /// The answer to `list`.
    pub(crate) fn names(names: Vec<String>) -> Outcome {
        Outcome::Answer(Answer::Names(Names { names }))
    }

    /// The answer to `status`.
    pub(crate) fn status(status: Status) -> Outcome {
        Outcome::Answer(Answer::Status(status))
    }

    /// The answer to `logs`; none: nothing is kept of that group.
    pub(crate) fn lines(group: &str, lines: Option<Lines>) -> Outcome {
        match lines {
            Some(lines) => Outcome::Answer(Answer::Lines(lines)),
            None => Outcome::problem(Some(group), Trouble::NotKept),
        }
    }

    /// The early answer to an order whose end is not waited for.
    pub(crate) fn begun(order: &Order) -> Outcome {
        let (group, verb) = match order {
            Order::Group { group, verb, .. } => (Some(group.clone()), Some(*verb)),
            Order::Shutdown => (None, None),
        };
        Outcome::Answer(Answer::Done(Done { group, what: What::Begun { verb } }))
    }

    /// Another program is in the daemon's place.
    pub(crate) fn replaced(from: String, to: String, took_ms: u64) -> Outcome {
        Outcome::Answer(Answer::Done(Done { group: None, what: What::Replaced { from, to, took_ms } }))
    }

    /// No other program is.
    pub(crate) fn not_replaced(reason: String) -> Outcome {
        Outcome::problem(None, Trouble::NotReplaced { reason })
    }

    /// A question is about a worker that is not there.
    pub(crate) fn no_worker(group: &str, slot: Slot) -> Outcome {
        Outcome::problem(Some(group), Trouble::NoWorker { slot })
    }

    /// A request names a group that is not there; `groups` are those that are.
    pub(crate) fn unknown_group(group: &str, groups: Vec<String>) -> Outcome {
        Outcome::problem(Some(group), Trouble::UnknownGroup { groups })
    }

    /// With the last lines that the worker to blame wrote, if this tells of an abort.
    pub(crate) fn with_stderr(mut self, lines: &[String]) -> Outcome {
        if let Outcome::Problem(Problem { trouble: Trouble::Aborted { stderr, .. }, .. }) = &mut self {
            *stderr = lines.to_vec();
        }
        self
    }

    pub(super) fn problem(group: Option<&str>, trouble: Trouble) -> Outcome {
        Outcome::Problem(Problem { group: group.map(str::to_owned), trouble })
    }
}
