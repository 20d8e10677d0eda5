//! A group while its table is read: every value with its default, to be overwritten key by key.
//!
//! Made by `group`, filled by the readers that `keys` names, turned into a `Group` once the whole table is read. Never
//! notes a fault itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::spec::{Ack, Backoff, GroupSpec, Restart, Signal, Start, Upgrader};

use super::address::absolute;
use super::contracts::Contracts;
use super::environment::{Variable, BASE_NAME};
use super::health;
use super::identity::Parts;
use super::pace::Pace;
use super::words::{Mention, Word};
use super::{Form, Group, Identity, Launch, Output, SocketSpec, Surroundings};

/// So much of what a group passes on is kept: 64 KiB.
const LOG_RING: u32 = 64 << 10;

/// Something, and where in the file it is written.
pub(crate) type Placed<T> = (T, Range<usize>);

/// What is known of a group by now.
pub(crate) struct Draft<'a> {
    /// What is around the file.
    pub(crate) around: &'a Surroundings<'a>,
    /// The group's name.
    pub(crate) name: String,
    /// The keys that were met, also those with faults.
    pub(crate) places: BTreeMap<&'static str, Range<usize>>,
    /// `exec_start`, once there is one without fault.
    pub(crate) exec: Option<Vec<Word>>,
    /// `exec_stop`.
    pub(crate) exec_stop: Option<Vec<Word>>,
    /// `upgrader`.
    pub(crate) upgrader: Option<Vec<Word>>,
    /// `health`.
    pub(crate) health: Option<health::Written>,
    /// The variables that a command mentions, with its key and their places in the file.
    pub(crate) mentions: Vec<(&'static str, Placed<Mention>)>,
    /// The environment or the sockets have faults, so a variable may well be one that was meant.
    pub(crate) variables_unsure: bool,
    /// `working_directory`.
    pub(crate) working_directory: PathBuf,
    /// `environments`.
    pub(crate) environments: Vec<Placed<Variable>>,
    /// `environment_file`, in the order of the files, where a later one overwrites an earlier one.
    pub(crate) from_files: Vec<Variable>,
    /// `inherit_env`.
    pub(crate) inherit_env: bool,
    /// `environment_base_name`.
    pub(crate) base_name: String,
    /// `contracts`.
    pub(crate) contracts: Contracts,
    /// `listen_pid`.
    pub(crate) listen_pid: bool,
    /// `control_socket`.
    pub(crate) control_socket: Option<Placed<PathBuf>>,
    /// `uid`, `gid`, `user`, `group`.
    pub(crate) parts: Parts,
    /// What these come to.
    pub(crate) identity: Option<Identity>,
    /// `umask`.
    pub(crate) umask: Option<u32>,
    /// `stdout_log`.
    pub(crate) stdout: Placed<Output>,
    /// `stderr_log`.
    pub(crate) stderr: Placed<Output>,
    /// `log_ring`.
    pub(crate) log_ring: u32,
    /// `socket_address`.
    pub(crate) sockets: Vec<Placed<SocketSpec>>,
    /// `stdin_socket`: its place among the sockets.
    pub(crate) stdin_socket: Option<Placed<StdinSocket>>,
    /// `numprocesses`.
    pub(crate) count: NonZeroU32,
    /// `restart`.
    pub(crate) restart: Restart,
    /// `backoff_max`, `backoff_reset`.
    pub(crate) backoff: Backoff,
    /// `giveup`; 0: never.
    pub(crate) give_up: u32,
    /// `autostart`.
    pub(crate) autostart: bool,
    /// `warmup_delay`.
    pub(crate) warmup: Duration,
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
    /// `surge`, `max_unavailable`, `soak`, `kill_old_delay`, `max_age`, `max_memory`.
    pub(crate) pace: Pace,
    /// `stop_signal`.
    pub(crate) stop_signal: Signal,
    /// `stop_timeout`.
    pub(crate) stop_timeout: Duration,
    /// `auto_upgrade`.
    pub(crate) auto_upgrade: bool,
    /// `watchdog_timeout`; zero: off.
    pub(crate) watchdog: Duration,
    /// `fd_store`.
    pub(crate) fd_store: u32,
    /// `live_check_timeout`; zero: off.
    pub(crate) live_check: Duration,
    /// `upgrader_active_sec`.
    pub(crate) upgrader_every: Option<Duration>,
    /// `upgrader_timeout`.
    pub(crate) upgrader_timeout: Duration,
}

/// How `stdin_socket` names a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StdinSocket {
    /// By its place in `socket_address`, from 0.
    Place(usize),
    /// By its `name`.
    Name(String),
}

/// What `[firestarter]` says when it is no group.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// `stop_timeout`.
    pub(crate) stop_timeout: Option<Duration>,
    /// `kill_strangers`.
    pub(crate) kill_strangers: bool,
}

/// `ack` as written: only `timer` makes use of `ack_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// `"timer"`.
    Timer,
    /// `"manual"`.
    Manual,
    /// `"http"`.
    Http,
    /// `"tcp"`.
    Tcp,
    /// `"exec"`.
    Exec,
    /// `"notify"`.
    Notify,
    /// `"none"`.
    None,
}

impl<'a> Draft<'a> {
    /// A group of which only the name is known.
    pub(crate) fn new(name: &str, around: &'a Surroundings<'a>) -> Draft<'a> {
        Draft {
            around,
            name: name.to_owned(),
            places: BTreeMap::new(),
            exec: None,
            exec_stop: None,
            upgrader: None,
            health: None,
            mentions: Vec::new(),
            variables_unsure: false,
            working_directory: absolute("./", around.cwd),
            environments: Vec::new(),
            from_files: Vec::new(),
            inherit_env: true,
            base_name: BASE_NAME.to_owned(),
            contracts: Contracts::ALL,
            listen_pid: true,
            control_socket: None,
            parts: Parts::default(),
            identity: None,
            umask: None,
            stdout: (Output::PassOn(Form::Plain), 0..0),
            stderr: (Output::PassOn(Form::Plain), 0..0),
            log_ring: LOG_RING,
            sockets: Vec::new(),
            stdin_socket: None,
            count: NonZeroU32::MIN,
            restart: Restart::None,
            backoff: Backoff { max: Duration::from_secs(10), reset: Duration::from_secs(10) },
            give_up: 0,
            autostart: true,
            warmup: Duration::ZERO,
            start_immediate: false,
            ack: AckKind::Timer,
            ack_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(300),
            ack_signal: Signal::USR2,
            drain_timeout: Duration::from_secs(30),
            pace: Pace::default(),
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(10),
            auto_upgrade: false,
            watchdog: Duration::ZERO,
            fd_store: 0,
            live_check: Duration::ZERO,
            upgrader_every: None,
            upgrader_timeout: Duration::from_secs(300),
        }
    }

    /// The group; none without a command.
    pub(crate) fn finish(self) -> Option<Group> {
        let spec = self.spec();
        let environments = self.environment();
        let stdin_socket = self.stdin_place();
        let launch = Launch {
            stdin_socket,
            exec: self.exec?,
            working_directory: self.working_directory,
            environments,
            inherit_env: self.inherit_env,
            base_name: self.base_name,
            contracts: self.contracts,
            listen_pid: self.listen_pid,
            numbers: Vec::new(),
            envdir: None,
            ack_by_notify: self.ack == AckKind::Notify,
            fd_store: self.fd_store,
            control_socket: self.control_socket.map(|(path, _)| path),
            identity: self.identity,
            umask: self.umask,
            exec_stop: self.exec_stop,
            upgrader: self.upgrader,
            health: self.health.and_then(|written| written.health),
            stdout: self.stdout.0,
            stderr: self.stderr.0,
            log_ring: self.log_ring,
        };
        let sockets = self.sockets.into_iter().map(|(socket, _)| socket).collect();
        Some(Group { spec, launch, sockets })
    }

    /// The place of the socket that `stdin_socket` means, if there is one.
    pub(crate) fn stdin_place(&self) -> Option<usize> {
        match &self.stdin_socket.as_ref()?.0 {
            StdinSocket::Place(place) => Some(*place).filter(|place| *place < self.sockets.len()),
            StdinSocket::Name(name) => self.sockets.iter().position(|(socket, _)| socket.name.as_ref() == Some(name)),
        }
    }

    fn spec(&self) -> GroupSpec {
        let at_once = self.start_immediate || self.sockets.is_empty();
        let upgrader = Upgrader { every: self.upgrader_every, timeout: self.upgrader_timeout };
        GroupSpec {
            count: self.count,
            restart: self.restart,
            backoff: self.backoff,
            give_up: NonZeroU32::new(self.give_up),
            start: if at_once { Start::AtOnce } else { Start::OnConnection },
            autostart: self.autostart,
            warmup: self.warmup,
            ack: match self.ack {
                AckKind::Timer => Ack::Timer(self.ack_timeout),
                AckKind::Manual | AckKind::Notify => Ack::Manual,
                AckKind::Http | AckKind::Tcp | AckKind::Exec => Ack::Probe,
                AckKind::None => Ack::None,
            },
            start_timeout: self.start_timeout,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            stop_hook: self.exec_stop.is_some(),
            ack_signal: self.ack_signal,
            drain_timeout: self.drain_timeout,
            surge: self.pace.surge,
            max_unavailable: self.pace.max_unavailable,
            soak: self.pace.soak,
            kill_old_delay: self.pace.kill_old_delay,
            max_age: Some(self.pace.max_age).filter(|age| !age.is_zero()),
            max_memory: Some(self.pace.max_memory).filter(|bytes| *bytes > 0),
            probe: self.health.as_ref().map(|written| written.probe),
            upgrader: self.upgrader.is_some().then_some(upgrader),
            auto_upgrade: self.auto_upgrade,
            watchdog: Some(self.watchdog).filter(|timeout| !timeout.is_zero()),
            fd_store: self.fd_store > 0,
            live_check: Some(self.live_check).filter(|timeout| !timeout.is_zero()),
            ..GroupSpec::new(&self.name)
        }
    }

    /// What the files say, then what `environments` says; the last word on a name counts.
    fn environment(&self) -> Vec<Variable> {
        let mut all: Vec<Variable> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, value) in self.from_files.iter().chain(self.environments.iter().map(|(variable, _)| variable)) {
            match places.entry(name) {
                Entry::Occupied(place) => value.clone_into(&mut all[*place.get()].1),
                Entry::Vacant(place) => {
                    place.insert(all.len());
                    all.push((name.clone(), value.clone()));
                }
            }
        }
        all
    }
}
