//! A group while its table is read: every value with its default, to be overwritten key by key.
//!
//! Made by `group`, filled by the readers that `keys` names, turned into a `Group` once the whole table is read. Never
//! notes a fault itself.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::{Ack, Backoff, GroupSpec, Restart, Signal, Start, Surge};

use super::address::absolute;
use super::keys::BASE_NAME;
use super::words::{Mention, Word};
use super::{Group, Launch, Output, SocketSpec};

/// What is known of a group by now.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// Relative paths count from here.
    pub(crate) cwd: &'a Path,
    /// The group's name.
    pub(crate) name: String,
    /// `exec_start`, once there is one without fault.
    pub(crate) exec: Option<Vec<Word>>,
    /// The variables that `exec_start` mentions, with their places in the file.
    pub(crate) mentions: Vec<(Mention, Range<usize>)>,
    /// The environment or the sockets have faults, so a variable may well be one that was meant.
    pub(crate) variables_unsure: bool,
    /// `working_directory`.
    pub(crate) working_directory: PathBuf,
    /// `environments`.
    pub(crate) environments: Vec<(String, String)>,
    /// `stdout_log`.
    pub(crate) stdout: Output,
    /// `stderr_log`.
    pub(crate) stderr: Output,
    /// `socket_address`, with their places in the file.
    pub(crate) sockets: Vec<(SocketSpec, Range<usize>)>,
    /// `numprocesses`.
    pub(crate) count: NonZeroU32,
    /// `restart`.
    pub(crate) restart: Restart,
    /// `backoff_max`, `backoff_reset`.
    pub(crate) backoff: Backoff,
    /// `start_immediate`.
    pub(crate) start_immediate: bool,
    /// `ack`.
    pub(crate) ack: AckKind,
    /// `ack_timeout`.
    pub(crate) ack_timeout: Duration,
    /// `start_timeout`.
    pub(crate) start_timeout: Duration,
    /// `ack_signal`.
    pub(crate) ack_signal: Signal,
    /// `drain_timeout`.
    pub(crate) drain_timeout: Duration,
    /// `stop_signal`.
    pub(crate) stop_signal: Signal,
    /// `stop_timeout`.
    pub(crate) stop_timeout: Duration,
}

/// `ack` as written: only `timer` makes use of `ack_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// `"timer"`.
    Timer,
    /// `"manual"`.
    Manual,
    /// `"none"`.
    None,
}

impl<'a> Draft<'a> {
    /// A group of which only the name is known.
    pub(crate) fn new(name: &str, cwd: &'a Path) -> Draft<'a> {
        Draft {
            cwd,
            name: name.to_owned(),
            exec: None,
            mentions: Vec::new(),
            variables_unsure: false,
            working_directory: absolute("./", cwd),
            environments: Vec::new(),
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            sockets: Vec::new(),
            count: NonZeroU32::MIN,
            restart: Restart::None,
            backoff: Backoff { max: Duration::from_secs(10), reset: Duration::from_secs(10) },
            start_immediate: false,
            ack: AckKind::Timer,
            ack_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(300),
            ack_signal: Signal::USR2,
            drain_timeout: Duration::from_secs(30),
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// The group; none without a command.
    pub(crate) fn finish(self) -> Option<Group> {
        let at_once = self.start_immediate || self.sockets.is_empty();
        let spec = GroupSpec {
            name: self.name,
            count: self.count,
            restart: self.restart,
            backoff: self.backoff,
            start: if at_once { Start::AtOnce } else { Start::OnConnection },
            ack: match self.ack {
                AckKind::Timer => Ack::Timer(self.ack_timeout),
                AckKind::Manual => Ack::Manual,
                AckKind::None => Ack::None,
            },
            start_timeout: self.start_timeout,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            ack_signal: self.ack_signal,
            drain_timeout: self.drain_timeout,
            surge: Surge::Whole,
            give_up: None,
            autostart: true,
            warmup: Duration::ZERO,
            stop_hook: false,
            upgrader: None,
            auto_upgrade: false,
            live_check: None,
        };
        let launch = Launch {
            exec: self.exec?,
            working_directory: self.working_directory,
            environments: self.environments,
            inherit_env: true,
            base_name: BASE_NAME.to_owned(),
            listen_pid: true,
            control_socket: None,
            identity: None,
            umask: None,
            exec_stop: None,
            upgrader: None,
            stdout: self.stdout,
            stderr: self.stderr,
        };
        let sockets = self.sockets.into_iter().map(|(socket, _)| socket).collect();
        Some(Group { spec, launch, sockets })
    }
}
