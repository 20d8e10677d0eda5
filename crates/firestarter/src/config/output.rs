//! Reads the keys that are paths: `working_directory`, and the logs with their rotation.
//!
//! Called by `keys`. Never asks whether a path exists.

use std::path::{Path, PathBuf};

use super::address::absolute;
use super::draft::Placed;
use super::fault::Ledger;
use super::value::{self, quoted, Item};
use super::{LogFile, Output, Rotation, Schedule, Unit};

const SIZE: [&str; 3] = ["MAX_BYTES", "BACKUPS", "PATH"];
const TIME: [&str; 5] = ["INTERVAL", "UNIT", "ZONE", "BACKUPS", "PATH"];

const UNITS: [(&str, Unit); 5] =
    [("S", Unit::Seconds), ("M", Unit::Minutes), ("H", Unit::Hours), ("D", Unit::Days), ("MIDNIGHT", Unit::Midnight)];

/// Whether it is UTC.
const ZONES: [(&str, bool); 4] = [("U", true), ("UTC", true), ("L", false), ("LOCAL", false)];

/// Reads `stdout_log` or `stderr_log`.
pub(crate) fn read(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Placed<Output>> {
    let text = value::text(item, "\"null\" or a path as a string", ledger)?;
    if text == "null" {
        return Some((Output::Null, item.span.clone()));
    }
    match log(text, cwd) {
        Ok(log) => Some((Output::File(log), item.span.clone())),
        Err(fault) => {
            item.note(&format!("{}: {fault}", quoted(text)), ledger).advise(fault.advice(text));
            None
        }
    }
}

/// Why something is no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogFault {
    /// Fewer parts than there must be.
    #[error("{} missing", named(.0))]
    Missing(Vec<&'static str>),
    /// A number that is none, or too large.
    #[error("{0} is no whole number from {1} to {2}")]
    Number(&'static str, u64, u64),
    /// Not one of the letters.
    #[error("UNIT is not S, M, H, D or MIDNIGHT")]
    Unit,
    /// Not one of the letters.
    #[error("ZONE is not U, UTC, L or LOCAL")]
    Zone,
    /// Nothing after the last colon.
    #[error("PATH is empty")]
    NoPath,
    /// A folder's path.
    #[error("the path is that of a folder")]
    Folder,
}

fn named(parts: &[&str]) -> String {
    format!("{} {}", parts.join(" and "), if parts.len() == 1 { "is" } else { "are" })
}

impl LogFault {
    fn advice(&self, text: &str) -> String {
        match self {
            LogFault::Folder => "write the path of a file".to_owned(),
            LogFault::Missing(_) | LogFault::Number(..) | LogFault::Unit | LogFault::Zone | LogFault::NoPath => {
                let size = "write size:MAX_BYTES:BACKUPS:PATH, such as size:10485760:5:/var/log/web.log";
                let time = "write time:INTERVAL:UNIT:ZONE:BACKUPS:PATH, such as time:1:D:U:7:/var/log/web.log";
                (if is_form(text, "size") { size } else { time }).to_owned()
            }
        }
    }
}

/// Reads a log; a path alone never rotates.
pub(crate) fn log(text: &str, cwd: &Path) -> Result<LogFile, LogFault> {
    let (rotation, path) = if is_form(text, "size") {
        let [max_bytes, backups, path] = parts(text, SIZE)?;
        let max_bytes = number("MAX_BYTES", max_bytes, 1, u64::MAX)?;
        (Rotation::Size { max_bytes, backups: backups_of(backups)? }, path)
    } else if is_form(text, "time") {
        let [interval, unit, zone, backups, path] = parts(text, TIME)?;
        let interval = number("INTERVAL", interval, 1, u64::from(u32::MAX))? as u32;
        let unit = letters(unit, &UNITS).ok_or(LogFault::Unit)?;
        let utc = letters(zone, &ZONES).ok_or(LogFault::Zone)?;
        let interval = if unit == Unit::Midnight { 1 } else { interval };
        (Rotation::Time(Schedule { interval, unit, utc, backups: backups_of(backups)? }), path)
    } else {
        (Rotation::Never, text)
    };
    if path.is_empty() {
        return Err(LogFault::NoPath);
    }
    let resolved = absolute(path, cwd);
    if path.ends_with('/') || path.ends_with("/.") || resolved.file_name().is_none() {
        return Err(LogFault::Folder);
    }
    Ok(LogFile::new(resolved, rotation))
}

/// Whether the text begins with the name of a form and a colon, in letters of any case.
fn is_form(text: &str, form: &str) -> bool {
    text.split_once(':').is_some_and(|(begin, _)| begin.eq_ignore_ascii_case(form))
}

/// The parts after the form's name; the last one may have colons in it.
fn parts<'t, const N: usize>(text: &'t str, names: [&'static str; N]) -> Result<[&'t str; N], LogFault> {
    let mut given = text.splitn(N + 1, ':').skip(1);
    let mut parts = [""; N];
    for index in 0..N {
        match given.next() {
            Some(text) => parts[index] = text,
            None => return Err(LogFault::Missing(missing(&names, index, parts[index.saturating_sub(1)]))),
        }
    }
    Ok(parts)
}

/// Which parts are missing when there are only so many: if the last one looks like a path, those before the path.
fn missing(names: &[&'static str], given: usize, last: &str) -> Vec<&'static str> {
    if given > 0 && last.contains(['/', '.']) {
        names[given - 1..names.len() - 1].to_vec()
    } else {
        names[given..].to_vec()
    }
}

fn number(name: &'static str, text: &str, least: u64, most: u64) -> Result<u64, LogFault> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
    number.ok_or(LogFault::Number(name, least, most))
}

fn backups_of(text: &str) -> Result<u32, LogFault> {
    Ok(number("BACKUPS", text, 0, u64::from(u32::MAX))? as u32)
}

fn letters<T: Copy>(text: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(letters, _)| letters.eq_ignore_ascii_case(text)).map(|(_, meaning)| *meaning)
}

/// Reads `working_directory`.
pub(crate) fn folder(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<PathBuf> {
    value::text(item, "a folder's path as a string", ledger).map(|path| absolute(path, cwd))
}
