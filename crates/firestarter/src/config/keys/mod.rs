//! The keys of the configuration: the one table from which reading, suggestions and the reference (`page`) come.
//!
//! Called by `group` and `page`. A key is added here and nowhere else; how a value is read stands in `value` and in the
//! readers that the rows name. The rows stand in the files below, by what they are about.

mod life;
mod logs;
mod making;
mod pace;
mod renewal;
mod shares;

use super::draft::{Draft, Settings};
use super::fault::Ledger;
use super::value::{self, Item};

/// A key and what is done with it.
#[derive(Debug)]
pub(crate) struct Key {
    /// As documents spell it.
    pub(crate) name: &'static str,
    /// Other spellings that count as this one.
    pub(crate) aliases: &'static [&'static str],
    /// What holds without it.
    pub(crate) default: Default,
    /// What may be written.
    pub(crate) form: &'static str,
    /// A value in TOML that is not the default.
    pub(crate) example: &'static str,
    /// What it means, its unit, its limits: sentences.
    pub(crate) about: &'static str,
    /// What reads it.
    pub(crate) read: Reader,
}

/// Takes a value into the draft, or notes in the ledger why not.
pub(crate) type ReadGroup = fn(&mut Draft<'_>, &Item<'_>, &mut Ledger<'_>);

/// Where a key belongs, and what reads it there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    /// In a group's table.
    Group(ReadGroup),
    /// In `[firestarter]` without a command.
    Daemon(fn(&mut Settings, &Item<'_>, &mut Ledger<'_>)),
}

/// What holds without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// The key must be there.
    Required,
    /// The same as if this had been written.
    Value(&'static str),
    /// Something that cannot be written; said in a few words.
    Else(&'static str),
}

/// A key of a table that is itself a value.
#[derive(Debug)]
pub(crate) struct Part {
    /// As it is written in the table.
    pub(crate) name: &'static str,
    /// What may be written.
    pub(crate) form: &'static str,
    /// What holds without it.
    pub(crate) default: &'static str,
    /// What it means, its unit, its limits: sentences.
    pub(crate) about: &'static str,
}

/// What the table of a log may hold.
pub(crate) use logs::TABLE as LOG_TABLE;

/// What the table may hold that a key takes as its value.
pub(crate) fn parts(key: &Key) -> &'static [Part] {
    match key.name {
        "stdout_log" => LOG_TABLE,
        _ => &[],
    }
}

/// Keys that are about one thing.
#[derive(Debug)]
pub(crate) struct Topic {
    /// A heading.
    pub(crate) title: &'static str,
    /// The keys, in the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// The keys of a group.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { title: "What runs", keys: making::KEYS },
    Topic { title: "Logs", keys: logs::KEYS },
    Topic { title: "Sockets and environment", keys: shares::KEYS },
    Topic { title: "Start, restart and stop", keys: life::KEYS },
    Topic { title: "Upgrades", keys: renewal::KEYS },
    Topic { title: "The pace of upgrades, and workers that are spent", keys: pace::KEYS },
];

/// The keys of `[firestarter]` when it is no group.
pub(crate) const DAEMON_KEYS: &[Key] = &[
    Key {
        name: "stop_timeout",
        aliases: &[],
        default: Default::Value("30"),
        form: DURATION,
        example: "\"1m\"",
        about: "How long the stop of everything may take. Who is still there after it gets SIGKILL, whatever the groups' own \
            time-outs say. As PID 1 the default is 8, since `docker stop` waits for 10 s.",
        read: Reader::Daemon(|settings, item, ledger| settings.stop_timeout = value::duration(item, ledger)),
    },
    Key {
        name: "kill_strangers",
        aliases: &[],
        default: Default::Value("false"),
        form: FLAG,
        example: "true",
        about: "A daemon that takes over, after a crash or an upgrade of Firestarter, tells of each child of Firestarter that no \
            group knows of: what a worker has started and left behind, or what was there before Firestarter, as in a script \
            that ends with `exec firestarter run`. `false`: they are left alone. `true`: they get SIGKILL, and what they have \
            started too; so no worker may need a process that it has left to itself.",
        read: Reader::Daemon(|settings, item, ledger| set(&mut settings.kill_strangers, value::flag(item, ledger))),
    },
];

/// Which of the tables a key belongs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A group's.
    Group,
    /// The daemon's.
    Daemon,
}

impl Scope {
    /// Every key that may stand there.
    pub(crate) fn keys(self) -> Vec<&'static Key> {
        match self {
            Scope::Group => TOPICS.iter().flat_map(|topic| topic.keys).collect(),
            Scope::Daemon => DAEMON_KEYS.iter().collect(),
        }
    }

    /// The key of that name, or alias.
    pub(crate) fn find(self, written: &str) -> Option<&'static Key> {
        self.keys().into_iter().find(|key| key.name == written || key.aliases.contains(&written))
    }
}

const COMMAND: &str = "a command (see Words), or an array taken word for word";
const DURATION: &str = "a duration";
const FLAG: &str = "`true` or `false`";
const SIZE: &str = "a size";
const SIGNAL: &str = "a signal's name, with or without `SIG`, or its number";

fn set<T>(field: &mut T, read: Option<T>) {
    if let Some(value) = read {
        *field = value;
    }
}
