//! The TOML as written becomes the configuration as resolved, or all its faults at once, each with its place.
//!
//! Called by `start` when the configuration is read. Touches no socket and no process; the environment, the lists of
//! users and the files that the configuration names come in as an argument (`Surroundings`).

mod address;
mod command;
pub(crate) mod contracts;
mod draft;
mod duration;
mod endpoint;
mod environment;
mod environment_file;
mod fault;
mod group;
mod health;
mod identity;
mod keys;
mod octal;
mod output;
mod pace;
pub(crate) mod page;
pub(crate) mod servers;
mod signals;
mod size;
mod sockets;
mod syntax;
mod twice;
mod value;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::GroupSpec;
use toml::de::{DeTable, DeValue};

pub(crate) use address::{parse as parse_address, Address};
pub(crate) use contracts::{Contract, Contracts};
// A `Fault` is met by iterating, mostly without naming it.
pub(crate) use endpoint::{address as read_endpoint, url as read_url, Endpoint, Resource};
pub(crate) use environment::{passed_on, WATCH_FILE};
#[allow(unused_imports)]
pub(crate) use fault::Fault;
pub(crate) use fault::{Faults, Warnings};
pub(crate) use health::variables as probe_variables;
pub(crate) use sockets::{Kind, SocketSpec};

pub(crate) use crate::output::{Compression, Form, LogFile, Output, Overflow, Rotation, Schedule, Unit};
use crate::say::plain;
use draft::Settings;
use fault::Ledger;

/// A configuration in which nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The file it was read from, as the user named it.
    pub(crate) path: PathBuf,
    /// What stands in it.
    pub(crate) text: String,
    /// What stood in the files that it names, each once.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// The groups, in the order of the file. At least one; no two of the same name.
    pub(crate) groups: Vec<Group>,
    /// `stop_timeout` of `[firestarter]`: how long the stop of everything may take. None: it was left out.
    pub(crate) stop_timeout: Option<Duration>,
    /// `kill_strangers` of `[firestarter]`: children that no group knows of are killed by a daemon that takes over.
    pub(crate) kill_strangers: bool,
}

/// A group as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// What decides something.
    pub(crate) spec: GroupSpec,
    /// How its workers are made.
    pub(crate) launch: Launch,
    /// What its listeners listen at, in the order in which workers get them. At most 48.
    pub(crate) sockets: Vec<SocketSpec>,
}

/// How a worker's process is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The program and its arguments; to be expanded with the worker's environment. At least one word.
    pub(crate) exec: Vec<words::Word>,
    /// Absolute.
    pub(crate) working_directory: PathBuf,
    /// Added to the daemon's own environment; no name twice, no NUL.
    pub(crate) environments: Vec<(String, String)>,
    /// Whether workers inherit the daemon's own environment.
    pub(crate) inherit_env: bool,
    /// The beginning of the names of the variables that the daemon sets.
    pub(crate) base_name: String,
    /// Whose conventions workers are spoken to in.
    pub(crate) contracts: Contracts,
    /// Whether a worker is told its pid as `LISTEN_PID`.
    pub(crate) listen_pid: bool,
    /// The numbers that workers get their sockets as, one each; none at all: from 3 on.
    pub(crate) numbers: Vec<i32>,
    /// A folder of files of which each is a variable, read for each worker anew; absolute.
    pub(crate) envdir: Option<PathBuf>,
    /// Only `READY=1` of sd_notify(3) counts as an ack.
    pub(crate) ack_by_notify: bool,
    /// So many descriptors may the workers of a slot leave for their successors.
    pub(crate) fd_store: u32,
    /// Where workers connect to ack, if not in the runtime folder. Absolute.
    pub(crate) control_socket: Option<PathBuf>,
    /// Who workers run as; none: as the daemon does.
    pub(crate) identity: Option<Identity>,
    /// The mask of a worker's new files; none: the daemon's own.
    pub(crate) umask: Option<u32>,
    /// `exec_stop`: the hook that stops the group.
    pub(crate) exec_stop: Option<Vec<words::Word>>,
    /// `upgrader`: the hook that decides whether there is an upgrade.
    pub(crate) upgrader: Option<Vec<words::Word>>,
    /// The place of the socket that workers also get as descriptor 0.
    pub(crate) stdin_socket: Option<usize>,
    /// `health`: how a worker is asked whether it serves.
    pub(crate) health: Option<Health>,
    /// Where a worker's output goes.
    pub(crate) stdout: Output,
    /// Where its errors go.
    pub(crate) stderr: Output,
    /// So many bytes of what is passed on to the daemon's own output are kept in memory; 0: none.
    pub(crate) log_ring: u32,
}

/// How a worker is asked whether it serves. Words are to be expanded with the worker's environment and
/// `probe_variables`; one that does not become an address then is a bad answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// By a request over HTTP.
    Http {
        /// For what; `read_url` reads it.
        url: words::Word,
        /// The first and the last status that is a good answer.
        good: (u16, u16),
    },
    /// By a connection; `read_endpoint` reads where.
    Tcp(words::Word),
    /// By a command. At least one word.
    Command(Vec<words::Word>),
}

/// A user and groups, looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
    /// The supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The user's name and home, for `USER`, `LOGNAME` and `HOME`; none if there is no such entry.
    pub(crate) account: Option<Account>,
}

/// What the system's list of users says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The name.
    pub(crate) name: String,
    /// The home directory.
    pub(crate) home: PathBuf,
}

/// What of the world around the file its meaning depends on.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Where the daemon was started: relative paths count from here. Absolute.
    pub(crate) cwd: &'a Path,
    /// The daemon's environment, from which workers inherit.
    pub(crate) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The content of a file that the configuration names; [`read`] is the real one.
    pub(crate) read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Whether what is at a path is a folder, or why nobody knows; [`is_folder`] is the real one.
    pub(crate) is_folder: &'a dyn Fn(&Path) -> io::Result<bool>,
    /// Where a path leads, by whichever links; [`real`] is the real one.
    pub(crate) real: &'a dyn Fn(&Path) -> PathBuf,
    /// The system's lists of users and groups.
    pub(crate) accounts: &'a dyn Accounts,
}

impl<'a> Surroundings<'a> {
    /// Those of this machine.
    pub(crate) fn here(
        cwd: &'a Path,
        env: &'a dyn Fn(&str) -> Option<OsString>,
        accounts: &'a dyn Accounts,
    ) -> Surroundings<'a> {
        Surroundings { cwd, env, read: &read, is_folder: &is_folder, real: &real, accounts }
    }
}

/// The system's lists of users and groups. An error is one of the look-up; who is not in a list is `None`.
pub(crate) trait Accounts {
    /// The user of that name.
    fn user(&self, name: &str) -> io::Result<Option<User>>;
    /// The user of that number.
    fn uid(&self, uid: u32) -> io::Result<Option<User>>;
    /// The number of the group of that name.
    fn group(&self, name: &str) -> io::Result<Option<u32>>;
    /// All groups of a user, among them `primary`.
    fn groups_of(&self, name: &str, primary: u32) -> io::Result<Vec<u32>>;
    /// Who the daemon itself runs as.
    fn own_uid(&self) -> u32;
}

/// An entry of the list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Its number.
    pub(crate) uid: u32,
    /// Its primary group.
    pub(crate) gid: u32,
    /// Its name and home.
    pub(crate) account: Account,
}

/// The largest file that is read: 1 MiB.
const LARGEST: u64 = 1 << 20;

/// Reads the file and parses it: the configuration, and what in it is no fault but will hardly be meant.
pub(crate) fn load(path: &Path, around: &Surroundings<'_>) -> Result<(Config, Warnings), Faults> {
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(path, &text, around),
        Err(error) => Err(not_utf8(path, &error)),
    }
}

/// Parses what stands in the file at `path`, which is not read.
pub(crate) fn parse(path: &Path, text: &str, around: &Surroundings<'_>) -> Result<(Config, Warnings), Faults> {
    // A byte order mark is not seen in an editor, so it counts as no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut ledger = Ledger::new(text);
    let files = RefCell::new(Vec::<(PathBuf, String)>::new());
    let read = |path: &Path| {
        let bytes = (around.read)(path)?;
        let mut files = files.borrow_mut();
        if files.iter().all(|(read, _)| read != path) {
            files.push((path.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(bytes)
    };
    let around = &Surroundings { read: &read, ..*around };
    let (root, errors) = DeTable::parse_recoverable(text);
    syntax::note(&errors, root.get_ref(), &mut ledger);
    let mut entries: Vec<_> = root.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut drafts = Vec::new();
    let mut settings = Settings::default();
    for (name, value) in entries {
        match value.get_ref() {
            DeValue::Table(table) if is_daemon(name.get_ref(), table) => {
                group::read_daemon(table, &mut settings, &mut ledger);
            }
            DeValue::Table(table) => drafts.push(group::read(name, table, around, &mut ledger)),
            DeValue::Array(array) if array.first().is_some_and(|first| first.get_ref().is_table()) => {
                let name_shown = name.get_ref().escape_debug();
                ledger
                    .note(name.span(), format!("{name_shown}: expected one table, found an array of tables"))
                    .advise(format!("write [{name_shown}] once, with single brackets"));
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                ledger
                    .note(name.span(), format!("{} is in no group", value::quoted(name.get_ref())))
                    .advise("a top-level key belongs in a group's table, such as [web]");
            }
        }
    }
    twice::check(&drafts, around, &mut ledger);
    let warnings = ledger.finish(path)?;
    let groups: Vec<Group> = drafts.into_iter().filter_map(draft::Draft::finish).collect();
    if groups.is_empty() {
        let message = format!("no group is configured in {}", path.display());
        return Err(Faults::whole(path, message, "write a table such as [web], with exec_start = \"COMMAND\" in it"));
    }
    let Settings { stop_timeout, kill_strangers } = settings;
    let (path, text, files) = (path.to_owned(), text.to_owned(), files.into_inner());
    Ok((Config { path, text, files, groups, stop_timeout, kill_strangers }, warnings))
}

/// `[firestarter]` is a group like any other if it has a command.
fn is_daemon(name: &str, table: &DeTable<'_>) -> bool {
    name == "firestarter" && !table.contains_key("exec_start")
}

/// A file's content, if it is not larger than 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Whether what is at a path is a folder; links are followed.
pub(crate) fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.is_dir())
}

/// Where a path leads, by whichever links: the same for all paths of one file. Where there is no such folder, it is the path.
pub(crate) fn real(path: &Path) -> PathBuf {
    let in_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Faults {
    const ADVICE: [(io::ErrorKind, &str); 4] = [
        (io::ErrorKind::FileTooLarge, "name a configuration file"),
        (io::ErrorKind::NotFound, "create it, or name another file with -c FILE"),
        (io::ErrorKind::PermissionDenied, "let this user read it, or name another file with -c FILE"),
        (io::ErrorKind::IsADirectory, "name a file in it"),
    ];
    let advice = ADVICE.iter().find(|(kind, _)| *kind == error.kind());
    let advice = advice.map_or("name another file with -c FILE", |(_, advice)| advice);
    Faults::whole(path, format!("cannot read {}: {}", path.display(), plain(error)), advice)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Faults {
    let at = error.utf8_error().valid_up_to();
    let message = format!("the byte 0x{:02x} is not UTF-8", error.as_bytes()[at]);
    let text = String::from_utf8_lossy(error.as_bytes());
    let mut ledger = Ledger::new(&text);
    ledger.note(at..at + 1, message.clone()).advise("save the file as UTF-8");
    match ledger.finish(path) {
        Err(faults) => faults,
        Ok(_) => Faults::whole(path, message, "save the file as UTF-8"),
    }
}
