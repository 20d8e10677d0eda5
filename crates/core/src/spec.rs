//! What a group is meant to be: the part of its configuration that decides something. Valid by construction: every
//! value of these types is a configuration that can run, so nothing here is checked again later.

use alloc::string::String;
use core::fmt;
use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};

use crate::time::Duration;

/// The intent of one group as configured. `inc` and `dec` change the number of workers at run time; this stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Its name: the TOML table's.
    pub name: String,
    /// `numprocesses`.
    pub count: NonZeroU32,
    /// What follows the end of a worker that nobody asked to end.
    pub restart: Restart,
    /// How long to wait before a respawn.
    pub backoff: Backoff,
    /// So many failures in a row of one slot, and it is given up; none: never.
    pub give_up: Option<NonZeroU32>,
    /// When the group starts.
    pub start: Start,
    /// Whether it starts by itself at all, or waits for a command.
    pub autostart: bool,
    /// How long after the daemon's begin the group starts by itself, or begins to wait for a connection.
    pub warmup: Duration,
    /// How a new worker becomes ready.
    pub ack: Ack,
    /// A rollout whose new workers have not all acked after this long is aborted.
    pub start_timeout: Duration,
    /// Asks a worker to end.
    pub stop_signal: Signal,
    /// How long a worker may take to end after `stop_signal`, before SIGKILL.
    pub stop_timeout: Duration,
    /// A stop of the whole group runs a hook in place of `stop_signal`.
    pub stop_hook: bool,
    /// Tells an old worker that its successors serve.
    pub ack_signal: Signal,
    /// How long an old worker may take to end after `ack_signal`, before SIGKILL.
    pub drain_timeout: Duration,
    /// How many slots one batch of a rollout renews at a time.
    pub surge: Surge,
    /// A hook that decides whether there is an upgrade.
    pub upgrader: Option<Upgrader>,
    /// An upgrade follows a change of the program's file.
    pub auto_upgrade: bool,
    /// A worker that gives no sign of life for this long is killed.
    pub live_check: Option<Duration>,
}

/// `upgrader`: an upgrade takes place only if this hook ends with exit code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrader {
    /// How often it runs by itself; none: it runs when an upgrade is asked for.
    pub every: Option<Duration>,
    /// How long it may take before SIGKILL.
    pub timeout: Duration,
}

impl GroupSpec {
    /// A group with the defaults of the configuration.
    pub fn new(name: &str) -> GroupSpec {
        GroupSpec {
            name: name.into(),
            count: NonZeroU32::MIN,
            restart: Restart::None,
            backoff: Backoff { max: Duration::from_secs(10), reset: Duration::from_secs(10) },
            give_up: None,
            start: Start::AtOnce,
            autostart: true,
            warmup: Duration::ZERO,
            ack: Ack::Timer(Duration::from_secs(1)),
            start_timeout: Duration::from_secs(300),
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(10),
            stop_hook: false,
            ack_signal: Signal::USR2,
            drain_timeout: Duration::from_secs(30),
            surge: Surge::Whole,
            upgrader: None,
            auto_upgrade: false,
            live_check: None,
        }
    }
}

/// What holds for all groups together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How long the stop of everything may take, before SIGKILL to all that is left.
    pub stop_timeout: Duration,
    /// When the daemon ends without being asked to.
    pub exit_when: ExitWhen,
}

impl Default for Policy {
    /// Half a minute, and to end only when asked to.
    fn default() -> Policy {
        Policy { stop_timeout: Duration::from_secs(30), exit_when: ExitWhen::Never }
    }
}

/// `run --exit-when`: when the daemon ends without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitWhen {
    /// When every group has ended for good by itself.
    Done,
    /// When a group has failed: given up, or ended for good by a failure.
    Failed,
    /// Never.
    Never,
}

/// `restart`: which ends of a worker are followed by a respawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    None,
    /// When it ended by a signal or with an exit code that is not 0.
    OnFailure,
    /// Always.
    Always,
}

/// The delays between respawns of one slot: at once, then 0.1 s doubling to `max`, ± 25 %; forgotten after a worker that
/// lived `reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The longest delay.
    pub max: Duration,
    /// A worker that lived this long did not fail.
    pub reset: Duration,
}

/// When a group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the daemon.
    AtOnce,
    /// By the first connection to one of its listeners, and again so after all its workers have ended for good.
    OnConnection,
}

/// `ack`: how a new worker becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// It lived this long.
    Timer(Duration),
    /// It says so.
    Manual,
    /// Not asked: ready when spawned; an upgrade stops all workers and then starts all.
    None,
}

/// How many slots a batch of a rollout renews at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Surge {
    /// All of them.
    Whole,
    /// At most so many.
    AtMost(NonZeroU32),
}

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Signal(u8);

/// The names without `SIG`, by number from 1; Linux on x86-64, ARM and RISC-V agree on them.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    /// SIGHUP.
    pub const HUP: Signal = Signal(1);
    /// SIGINT.
    pub const INT: Signal = Signal(2);
    /// SIGQUIT.
    pub const QUIT: Signal = Signal(3);
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGUSR2.
    pub const USR2: Signal = Signal(12);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);

    /// The signal of that number; none outside 1 to 64.
    pub fn from_number(number: u8) -> Option<Signal> {
        (1..=64).contains(&number).then_some(Signal(number))
    }

    /// Reads `SIGTERM`, `TERM`, `term` or `15`.
    pub fn parse(text: &str) -> Option<Signal> {
        if let Ok(number) = text.parse::<u8>() {
            return Signal::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let index = NAMES.iter().position(|n| *n == name)?;
        Some(Signal(index as u8 + 1))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Signal {
    type Error = &'static str;
    fn try_from(number: u8) -> Result<Signal, Self::Error> {
        Signal::from_number(number).ok_or("a signal is a number from 1 to 64")
    }
}

impl From<Signal> for u8 {
    fn from(signal: Signal) -> u8 {
        signal.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}
