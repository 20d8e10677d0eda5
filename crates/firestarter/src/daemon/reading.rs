//! Where what groups write is to be found, and what is kept of it in memory: for clients that read logs. Asked by `perform`,
//! and by `start` for who reads while no daemon runs. It reads no log: that is the client's.

use std::os::fd::{AsRawFd, BorrowedFd};

use firestarter_core::ids::GroupId;

use super::Shared;
use crate::api::{Cursor, Entry, Form, Hook, Lines, Output, Rotation, Stream, To, Unit};
use crate::config::{self, Group};
use crate::journal::{self, Rings, Speaker};

/// A reply has about so many bytes of lines: the daemon does nothing else while it makes one.
const MOST: usize = 64 << 10;

/// What a daemon keeps in memory, and which streams, by group, come by there.
pub(crate) struct Kept<'a> {
    pub(crate) rings: Option<&'a Rings>,
    pub(crate) piped: &'a [[bool; 2]],
}

/// Where what each group's workers write goes. Without a daemon nothing is kept, and nobody knows what its own output was.
pub(crate) fn outputs(groups: &[Group], daemon: Option<&Kept<'_>>) -> Vec<Vec<Output>> {
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()].map(|own| daemon.and_then(|_| path_of(own)));
    let of_group = |(index, group): (usize, &Group)| {
        let kept = |stream: Stream| {
            daemon.is_some_and(|Kept { rings, piped }| {
                let ring = rings.is_some_and(|rings| rings.has(index));
                ring && piped.get(index).is_some_and(|piped| piped[stream as usize])
            })
        };
        let streams = [(Stream::Stdout, &group.launch.stdout), (Stream::Stderr, &group.launch.stderr)];
        let to = |stream, output| to(output, kept(stream), own[stream as usize].as_deref());
        streams.map(|(stream, output)| Output { stream, to: to(stream, output) }).into()
    };
    groups.iter().enumerate().map(of_group).collect()
}

/// The path of what Firestarter was started with, if it has one and was not removed. The file itself is not looked at: that
/// may hang.
fn path_of(own: BorrowedFd<'_>) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd())).ok()?;
    let path = path.to_string_lossy().into_owned();
    (path.starts_with('/') && !path.ends_with(" (deleted)")).then_some(path)
}

fn to(output: &config::Output, kept: bool, own: Option<&str>) -> To {
    match output {
        config::Output::Null => To::Null,
        config::Output::PassOn(form) => {
            To::Own { form: form_of(*form), kept, path: own.filter(|_| !kept).map(str::to_owned) }
        }
        config::Output::File(log) => To::File {
            path: log.path.to_string_lossy().into_owned(),
            form: form_of(log.form),
            rotation: rotation(log.rotation),
        },
    }
}

fn form_of(form: config::Form) -> Form {
    match form {
        config::Form::Plain => Form::Plain,
        config::Form::Timed => Form::Timed,
        config::Form::Json { .. } => Form::Json,
    }
}

fn rotation(rotation: config::Rotation) -> Option<Rotation> {
    match rotation {
        config::Rotation::Never => None,
        config::Rotation::Size { max_bytes, backups } => Some(Rotation::Size { max_bytes, backups }),
        config::Rotation::Time(config::Schedule { interval, unit, utc, backups }) => {
            let unit = match unit {
                config::Unit::Seconds => Unit::Seconds,
                config::Unit::Minutes => Unit::Minutes,
                config::Unit::Hours => Unit::Hours,
                config::Unit::Days => Unit::Days,
                config::Unit::Midnight => Unit::Midnight,
            };
            Some(Rotation::Time { interval, unit, utc, backups })
        }
    }
}

/// What is kept of a group's lines from a place on. None: nothing is.
pub(super) fn lines(shared: Shared, group: GroupId, name: &str, from: Option<Cursor>) -> Option<Lines> {
    let rings = shared.rings?;
    let ring = rings.name();
    // A place in the rings of another start is no place here: all of it is new to whoever asks, and something may be missing.
    let after = from.filter(|from| from.ring == ring).map(|from| from.after);
    let elsewhere = from.is_some() && after.is_none();
    let reading = rings.read(group.0 as usize, after, MOST)?;
    let entries = reading.entries.iter().flat_map(entries).collect();
    Some(Lines { group: name.to_owned(), ring, entries, next: reading.next, lost: reading.lost || elsewhere })
}

/// An entry of a ring as lines.
fn entries(entry: &journal::Entry) -> impl Iterator<Item = Entry> + '_ {
    let time = jiff::Timestamp::from_nanosecond(entry.time.into()).unwrap_or_default().to_string();
    let (slot, hook) = match entry.speaker {
        Speaker::Slot(slot) => (Some(slot), None),
        Speaker::StopHook => (None, Some(Hook::ExecStop)),
        Speaker::Upgrader => (None, Some(Hook::Upgrader)),
    };
    let stream = match entry.stream {
        journal::Stream::Stdout => Stream::Stdout,
        journal::Stream::Stderr => Stream::Stderr,
    };
    let lines = entry.lines.strip_suffix(b"\n").unwrap_or(&entry.lines);
    lines.split(|byte| *byte == b'\n').map(move |line| {
        let text = String::from_utf8_lossy(line).into_owned();
        Entry { time: time.clone(), slot, hook, stream, text }
    })
}
