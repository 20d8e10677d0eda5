//! The keys of a group: the one table from which reading, suggestions and "not yet" come.
//!
//! Called by `group`. A key is added here and nowhere else; how a value is read stands in `value` and in the readers
//! named below.

use firestarter_core::spec::Restart;
use toml::de::DeValue;

use super::draft::{AckKind, Draft};
use super::fault::Ledger;
use super::value::{self, Item};
use super::{command, environment, output, sockets};

const NO_RESET: &str = "a worker that fails at once would be respawned without end and without a pause";
const NO_START: &str = "every upgrade would be aborted before it begins";

/// A key and what is done with it.
#[derive(Debug)]
pub(crate) struct Key {
    /// As documents spell it.
    pub(crate) name: &'static str,
    /// Other spellings that count as this one.
    pub(crate) aliases: &'static [&'static str],
    /// What its value is for.
    pub(crate) does: Does,
}

/// What happens with a key's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// It is read into the draft, or noted in the ledger.
    Read(fn(&mut Draft<'_>, &Item<'_>, &mut Ledger<'_>)),
    /// Not yet supported: refused, but for this value, which asks for nothing.
    Later(Default),
}

/// A documented default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// There is none; the key is left out instead.
    Nothing,
    /// A count, or seconds.
    Number(u32),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(&'static str),
}

impl Default {
    /// Whether a value is this default.
    pub(crate) fn is(self, value: &DeValue<'_>) -> bool {
        match self {
            Default::Nothing => false,
            Default::Number(number) => {
                value::duration_of(value).is_ok_and(|read| read.as_nanos() == u128::from(number) * 1_000_000_000)
            }
            Default::Flag(flag) => value.as_bool() == Some(flag),
            Default::Text(text) => value.as_str() == Some(text),
        }
    }

    /// As it is written in TOML.
    pub(crate) fn written(self) -> Option<String> {
        match self {
            Default::Nothing => None,
            Default::Number(number) => Some(number.to_string()),
            Default::Flag(flag) => Some(flag.to_string()),
            Default::Text(text) => Some(format!("\"{text}\"")),
        }
    }
}

/// The base of the names of a worker's variables, until it can be chosen.
pub(crate) const BASE_NAME: &str = "FIRESTARTER";

/// Every key that a group may have.
pub(crate) const KEYS: &[Key] = &[
    read("exec_start", command::read),
    later("exec_stop", Default::Nothing),
    read("stop_signal", |d, i, l| set(&mut d.stop_signal, command::stop_signal(i, l))),
    read("stop_timeout", |d, i, l| set(&mut d.stop_timeout, value::duration(i, l))),
    read("numprocesses", |d, i, l| {
        set(&mut d.count, value::whole(i, 1..=10_000, l).and_then(std::num::NonZeroU32::new));
    }),
    read("working_directory", |d, i, l| set(&mut d.working_directory, output::folder(d.cwd, i, l))),
    read("restart", |d, i, l| set(&mut d.restart, value::choice(i, RESTART, l))),
    read("backoff_max", |d, i, l| set(&mut d.backoff.max, value::duration(i, l))),
    read("backoff_reset", |d, i, l| set(&mut d.backoff.reset, value::some_time(i, NO_RESET, l))),
    later("giveup", Default::Number(0)),
    later("warmup_delay", Default::Number(0)),
    read("start_immediate", |d, i, l| set(&mut d.start_immediate, value::flag(i, l))),
    read("socket_address", sockets::read),
    read("environments", environment::read),
    later("environment_file", Default::Nothing),
    later("inherit_env", Default::Flag(true)),
    read("ack", |d, i, l| set(&mut d.ack, value::choice(i, ACK, l))),
    read("ack_timeout", |d, i, l| set(&mut d.ack_timeout, value::duration(i, l))),
    read("start_timeout", |d, i, l| set(&mut d.start_timeout, value::some_time(i, NO_START, l))),
    read("ack_signal", |d, i, l| set(&mut d.ack_signal, command::ack_signal(i, l))),
    read("drain_timeout", |d, i, l| set(&mut d.drain_timeout, value::duration(i, l))),
    later("uid", Default::Nothing),
    later("gid", Default::Nothing),
    later("user", Default::Nothing),
    later("group", Default::Nothing),
    later("umask", Default::Nothing),
    read("stdout_log", |d, i, l| set(&mut d.stdout, output::read(d.cwd, i, l))).or(&["stdoutlog"]),
    read("stderr_log", |d, i, l| set(&mut d.stderr, output::read(d.cwd, i, l))).or(&["stderrlog"]),
    later("live_check_timeout", Default::Number(0)).or(&["livechecktimeout"]),
    later("auto_upgrade", Default::Flag(false)),
    later("upgrader", Default::Nothing),
    later("upgrader_active_sec", Default::Nothing).or(&["upgraderactivesec"]),
    later("upgrader_timeout", Default::Number(300)),
    later("environment_base_name", Default::Text(BASE_NAME)),
    later("control_socket", Default::Nothing),
    later("listen_pid", Default::Flag(true)),
    later("autostart", Default::Flag(true)),
];

/// The keys of `[firestarter]` when it is no group.
pub(crate) const DAEMON_KEYS: &[Key] = &[later("stop_timeout", Default::Nothing)];

const RESTART: &[(&str, Restart)] =
    &[("none", Restart::None), ("on-failure", Restart::OnFailure), ("always", Restart::Always)];

const ACK: &[(&str, AckKind)] = &[("timer", AckKind::Timer), ("manual", AckKind::Manual), ("none", AckKind::None)];

/// The key of that name, or alias.
pub(crate) fn find(keys: &'static [Key], written: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == written || key.aliases.contains(&written))
}

const fn read(name: &'static str, reader: fn(&mut Draft<'_>, &Item<'_>, &mut Ledger<'_>)) -> Key {
    Key { name, aliases: &[], does: Does::Read(reader) }
}

const fn later(name: &'static str, default: Default) -> Key {
    Key { name, aliases: &[], does: Does::Later(default) }
}

impl Key {
    const fn or(self, aliases: &'static [&'static str]) -> Key {
        Key { name: self.name, aliases, does: self.does }
    }
}

fn set<T>(field: &mut T, read: Option<T>) {
    if let Some(value) = read {
        *field = value;
    }
}
