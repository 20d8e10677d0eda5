//! Reads when a log's content moves to a backup: `size:…` or `time:…`, with or without the path behind it.
//!
//! Called by `output` for the whole text of a log, and by its table for `rotate`. Knows no file.

use super::super::size;
use super::super::{Rotation, Schedule, Unit};
use crate::nearest::nearest;

const SIZE: [&str; 2] = ["MAX_BYTES", "BACKUPS"];
const TIME: [&str; 4] = ["INTERVAL", "UNIT", "ZONE", "BACKUPS"];

const UNITS: [(&str, Unit); 5] =
    [("S", Unit::Seconds), ("M", Unit::Minutes), ("H", Unit::Hours), ("D", Unit::Days), ("MIDNIGHT", Unit::Midnight)];

/// Whether it is UTC.
const ZONES: [(&str, bool); 4] = [("U", true), ("UTC", true), ("L", false), ("LOCAL", false)];

/// Why something is no log, or no rotation of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogFault {
    /// Neither of the two kinds.
    #[error("it begins neither with size: nor with time:")]
    Kind,
    /// Fewer parts than there must be.
    #[error("{} missing", named(.0))]
    Missing(Vec<&'static str>),
    /// A number that is none, or too large.
    #[error("{0} is no whole number from {1} to {2}")]
    Number(&'static str, u32, u32),
    /// A size that is none, or 0.
    #[error("MAX_BYTES is no number of bytes above 0, and no size such as 10MiB")]
    Size,
    /// Not one of the letters.
    #[error("UNIT is not S, M, H, D or MIDNIGHT")]
    Unit,
    /// Not one of the letters.
    #[error("ZONE is not U, UTC, L or LOCAL")]
    Zone,
    /// Nothing after the last colon.
    #[error("PATH is empty")]
    NoPath,
    /// A path where none belongs.
    #[error("nothing may follow BACKUPS here")]
    Behind,
    /// What throws lines away, in other letters.
    #[error("it is neither \"null\" nor a path")]
    Null,
    /// A folder's path.
    #[error("the path is that of a folder")]
    Folder,
}

fn named(parts: &[&str]) -> String {
    format!("{} {}", parts.join(" and "), if parts.len() == 1 { "is" } else { "are" })
}

impl LogFault {
    /// What to write instead of `text`, which has a path behind the rotation or not.
    pub(super) fn advice(&self, text: &str, with_path: bool) -> &'static str {
        match self {
            LogFault::Folder => "write the path of a file",
            LogFault::Behind => "write the path as path = \"PATH\"",
            LogFault::Kind if with_path => "write size:MAX_BYTES:BACKUPS:PATH or time:INTERVAL:UNIT:ZONE:BACKUPS:PATH",
            LogFault::Kind => "write size:MAX_BYTES:BACKUPS or time:INTERVAL:UNIT:ZONE:BACKUPS",
            LogFault::Null => "write \"null\", or ./ before it if a file has this name",
            LogFault::Missing(_)
            | LogFault::Number(..)
            | LogFault::Size
            | LogFault::Unit
            | LogFault::Zone
            | LogFault::NoPath => match (is_kind(text, "size"), with_path) {
                (true, true) => "write size:MAX_BYTES:BACKUPS:PATH, such as size:10MiB:5:/var/log/web.log",
                (false, true) => "write time:INTERVAL:UNIT:ZONE:BACKUPS:PATH, such as time:1:D:U:7:/var/log/web.log",
                (true, false) => "write size:MAX_BYTES:BACKUPS, such as size:10MiB:5",
                (false, false) => "write time:INTERVAL:UNIT:ZONE:BACKUPS, such as time:1:D:U:7",
            },
        }
    }
}

/// Whether the text begins as a rotation does.
pub(super) fn begins(text: &str) -> bool {
    is_kind(text, "size") || is_kind(text, "time")
}

/// Whether the text was meant to begin as a rotation does: a slip of a kind's name stands before the first of several
/// colons.
pub(super) fn nearly_begins(text: &str) -> bool {
    text.matches(':').count() > 1
        && text.split_once(':').is_some_and(|(begin, _)| {
            begin.bytes().all(|byte| byte.is_ascii_alphabetic()) && nearest(begin, ["size", "time"]).is_some()
        })
}

/// Reads a rotation alone.
pub(super) fn alone(text: &str) -> Result<Rotation, LogFault> {
    match parse(text, false)? {
        (rotation, None) => Ok(rotation),
        (_, Some(_)) => Err(LogFault::Behind),
    }
}

/// Reads a rotation and the path behind it.
pub(super) fn with_path(text: &str) -> Result<(Rotation, &str), LogFault> {
    match parse(text, true)? {
        (_, None | Some("")) => Err(LogFault::NoPath),
        (rotation, Some(path)) => Ok((rotation, path)),
    }
}

fn parse(text: &str, with_path: bool) -> Result<(Rotation, Option<&str>), LogFault> {
    if is_kind(text, "size") {
        let ([max_bytes, backups], path) = parts(text, SIZE, with_path)?;
        let max_bytes = bytes(max_bytes).filter(|bytes| *bytes > 0).ok_or(LogFault::Size)?;
        Ok((Rotation::Size { max_bytes, backups: number("BACKUPS", backups, 0)? }, path))
    } else if is_kind(text, "time") {
        let ([interval, unit, zone, backups], path) = parts(text, TIME, with_path)?;
        let interval = number("INTERVAL", interval, 1)?;
        let unit = letters(unit, &UNITS).ok_or(LogFault::Unit)?;
        let utc = letters(zone, &ZONES).ok_or(LogFault::Zone)?;
        let interval = if unit == Unit::Midnight { 1 } else { interval };
        Ok((Rotation::Time(Schedule { interval, unit, utc, backups: number("BACKUPS", backups, 0)? }), path))
    } else {
        Err(LogFault::Kind)
    }
}

/// Whether the text begins with the name of a kind and a colon, in letters of any case.
fn is_kind(text: &str, kind: &str) -> bool {
    text.split_once(':').is_some_and(|(begin, _)| begin.eq_ignore_ascii_case(kind))
}

/// The parts after the kind's name, and what stands behind them, which may have colons in it.
fn parts<'t, const N: usize>(
    text: &'t str,
    names: [&'static str; N],
    with_path: bool,
) -> Result<([&'t str; N], Option<&'t str>), LogFault> {
    let mut given = text.splitn(N + 2, ':').skip(1);
    let mut parts = [""; N];
    for index in 0..N {
        match given.next() {
            Some(text) => parts[index] = text,
            None => return Err(missing(&names, index, parts[index.saturating_sub(1)], with_path)),
        }
    }
    match given.next() {
        None if with_path => Err(missing(&names, N, parts[N - 1], with_path)),
        path => Ok((parts, path)),
    }
}

/// Which parts are missing when there are only so many: if the last one looks like a path, those before the path.
fn missing(names: &[&'static str], given: usize, last: &str, with_path: bool) -> LogFault {
    let path_is_there = given > 0 && last.contains(['/', '.']);
    let mut missing = names[given - usize::from(with_path && path_is_there)..].to_vec();
    if with_path && !path_is_there {
        missing.push("PATH");
    }
    LogFault::Missing(missing)
}

/// Digits alone are bytes.
fn bytes(text: &str) -> Option<u64> {
    match is_digits(text) {
        true => text.parse().ok(),
        false => size::parse(text),
    }
}

fn number(name: &'static str, text: &str, least: u32) -> Result<u32, LogFault> {
    let number = text.parse().ok().filter(|number| is_digits(text) && *number >= least);
    number.ok_or(LogFault::Number(name, least, u32::MAX))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn letters<T: Copy>(text: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(letters, _)| letters.eq_ignore_ascii_case(text)).map(|(_, meaning)| *meaning)
}
