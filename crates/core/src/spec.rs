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
    /// An old worker is told so only this long after its successor has taken its place.
    pub kill_old_delay: Duration,
    /// How many workers a rollout may have above the count at a time.
    pub surge: Surge,
    /// How many workers a rollout may take away before their successors are ready. If it allows any, `restart` and an
    /// upgrade with `ack = "none"` go through the group step by step too.
    pub max_unavailable: Share,
    /// How long the new workers of a batch must stay ready before the old ones are let go.
    pub soak: Duration,
    /// How a worker is asked whether it serves.
    pub probe: Option<Probe>,
    /// A ready worker that does not say for this long that it is well is aborted.
    pub watchdog: Option<Duration>,
    /// A worker that is older is replaced.
    pub max_age: Option<Duration>,
    /// A worker that has more bytes in memory is replaced.
    pub max_memory: Option<u64>,
    /// Workers may leave descriptors for their successors.
    pub fd_store: bool,
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
            kill_old_delay: Duration::ZERO,
            surge: Surge::Auto,
            max_unavailable: Share::Count(0),
            soak: Duration::ZERO,
            probe: None,
            watchdog: None,
            max_age: None,
            max_memory: None,
            fd_store: false,
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
    /// It answers its probe well so often in a row.
    Probe,
    /// Not asked: ready when spawned; an upgrade stops all workers and then starts all.
    None,
}

/// `surge`: how many workers a rollout may have above the count at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Surge {
    /// As many as the memory holds, at least one; at most the count.
    Auto,
    /// So many. With none, `max_unavailable` is at least one.
    Fixed(Share),
}

/// A part of a group's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Share {
    /// How many of `count` workers that is, rounded down.
    pub fn of(self, count: u32) -> u32 {
        match self {
            Share::Count(number) => number.min(count),
            Share::Percent(percent) => (u64::from(count) * u64::from(percent.min(100)) / 100) as u32,
        }
    }

    /// How many of `count` workers that is, rounded up.
    pub fn of_rounded_up(self, count: u32) -> u32 {
        count - Share::of(self.rest(count), count)
    }

    fn rest(self, count: u32) -> Share {
        match self {
            Share::Count(number) => Share::Count(count - number.min(count)),
            Share::Percent(percent) => Share::Percent(100 - percent.min(100)),
        }
    }

    /// Whether it is nobody, however many there are.
    pub fn is_none(self) -> bool {
        matches!(self, Share::Count(0) | Share::Percent(0))
    }
}

/// `health`: how a worker is asked whether it serves, and what its answers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// By what.
    pub by: ProbeBy,
    /// From one question to the next.
    pub interval: Duration,
    /// An answer that takes longer is a bad one.
    pub timeout: Duration,
    /// So many good answers in a row make a worker ready.
    pub healthy_after: NonZeroU32,
    /// So many bad answers in a row make a ready worker unhealthy.
    pub unhealthy_after: NonZeroU32,
    /// Ready workers are asked on, and one that is unhealthy is replaced.
    pub liveness: bool,
}

/// By what a worker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeBy {
    /// A connection of the daemon's, with or without an HTTP request.
    Connection,
    /// A command that is run for it.
    Command,
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
    /// SIGABRT.
    pub const ABRT: Signal = Signal(6);
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
