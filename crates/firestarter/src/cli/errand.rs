//! What is wanted of a daemon, as it was written on the command line and as it goes over the socket. Made by `args.rs`,
//! run by `cli::main`. It does nothing.

use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::command::Verb;
use firestarter_core::ids::Slot;
use firestarter_core::spec::Signal;

use crate::api::{Call, Order, Question};

/// Something for a daemon, and how to tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    /// What.
    pub(crate) wanted: Wanted,
    /// `-d`.
    pub(crate) socket: Option<PathBuf>,
    /// `--timeout`.
    pub(crate) timeout: Option<Duration>,
    /// Not `--no-wait`.
    pub(crate) wait: bool,
    /// `-q`.
    pub(crate) quiet: bool,
    /// `-v`.
    pub(crate) verbose: bool,
    /// `--json`.
    pub(crate) json: bool,
    /// `--progress`.
    pub(crate) progress: bool,
}

/// What is wanted of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `list`.
    List,
    /// `status`.
    Status,
    /// `stop`.
    Stop,
    /// `upgrade-daemon`.
    UpgradeDaemon {
        /// `--binary`.
        binary: Option<String>,
    },
    /// `reopen`, `ctrl NAME reopen`.
    Reopen {
        /// The group; none: all.
        group: Option<String>,
    },
    /// `ctrl NAME status`.
    GroupStatus {
        /// The group.
        group: String,
        /// One worker of it.
        slot: Option<Slot>,
    },
    /// `ctrl NAME VERB`.
    Ctrl {
        /// The group.
        group: String,
        /// One worker of it.
        slot: Option<Slot>,
        /// What.
        verb: Verb,
        /// `-s`, or what `signal` names.
        signal: Option<Signal>,
    },
}

impl Wanted {
    /// What an order says.
    pub(crate) fn of(order: &Order) -> Wanted {
        match order.clone() {
            Order::Group { group, verb, signal, slot } => Wanted::Ctrl { group, slot, verb, signal },
            Order::Shutdown => Wanted::Stop,
        }
    }
}

impl Errand {
    /// Whether it is told how far the order is; `terminal` says whether there is one to tell it on.
    pub(crate) fn shows_progress(&self, terminal: Option<usize>) -> bool {
        let rolls = matches!(&self.wanted, Wanted::Ctrl { verb, .. } if rolls(*verb));
        rolls && self.wait && (self.progress || terminal.is_some() && !self.quiet && !self.json)
    }

    /// What goes over the socket.
    pub(crate) fn call(&self) -> Call {
        let order = match &self.wanted {
            Wanted::List => return Call::Ask(Question::List),
            Wanted::Status => return Call::Ask(Question::Status),
            Wanted::GroupStatus { group, slot } => {
                return Call::Ask(Question::GroupStatus { group: group.clone(), slot: *slot })
            }
            Wanted::UpgradeDaemon { binary } => return Call::Ask(Question::Succeed { binary: binary.clone() }),
            Wanted::Reopen { group } => return Call::Reopen { group: group.clone() },
            Wanted::Stop => Order::Shutdown,
            Wanted::Ctrl { group, slot, verb, signal } => {
                Order::Group { group: group.clone(), verb: *verb, signal: *signal, slot: *slot }
            }
        };
        if self.wait {
            Call::Do(order)
        } else {
            Call::Begin(order)
        }
    }
}

/// Whether a verb may begin a rollout.
fn rolls(verb: Verb) -> bool {
    matches!(verb, Verb::Upgrade | Verb::Rollback | Verb::Restart)
}

/// A time above zero: seconds, or with a unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit).ok().filter(|duration| !duration.is_zero())
}
