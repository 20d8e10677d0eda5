//! Reads the keys that are paths: `working_directory`, and the logs, as text or as a table.
//!
//! Called by `keys`. Looks at no file itself: what stands at a log's path is told by the `Surroundings`.

mod rotation;
mod standing;
mod table;

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::address::absolute;
use super::draft::Placed;
use super::fault::Ledger;
use super::value::{self, quoted, Item};
use super::{Form, LogFile, Output, Rotation, Surroundings};
use rotation::LogFault;

pub(crate) use table::owns;

/// Reads `stdout_log` or `stderr_log`. The place of a file is that of its path.
pub(crate) fn read(around: &Surroundings<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Placed<Output>> {
    if let DeValue::Table(entries) = item.value {
        return table::read(around, item, entries, ledger);
    }
    let text = value::text(item, "\"null\", a path as a string, or a table", ledger)?;
    if text == "null" {
        return Some((Output::Null, item.span.clone()));
    }
    match log(text, around.cwd) {
        Ok(log) if is_own(&log, item.key) => Some((Output::PassOn(Form::Plain), item.span.clone())),
        Ok(log) => {
            standing::check(&log.path, log.create_parents, item, around, ledger);
            Some((Output::File(log), item.span.clone()))
        }
        Err(fault) => {
            item.note(&format!("{}: {fault}", quoted(text)), ledger).advise(fault.advice(text, true));
            None
        }
    }
}

/// Whether a log is where the stream goes without one: Firestarter's own, which is opened nowhere else, since what is written
/// at two places of a file's end is lost.
fn is_own(log: &LogFile, key: &str) -> bool {
    let names = match key {
        "stdout_log" => ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"],
        _ => ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"],
    };
    log.rotation == Rotation::Never && names.iter().any(|name| log.path == Path::new(name))
}

/// Reads a log as text; a path alone never rotates.
pub(crate) fn log(text: &str, cwd: &Path) -> Result<LogFile, LogFault> {
    if rotation::nearly_begins(text) && !rotation::begins(text) {
        return Err(LogFault::Kind);
    }
    if text.eq_ignore_ascii_case("null") {
        return Err(LogFault::Null);
    }
    let (rotation, path) = match rotation::begins(text) {
        true => rotation::with_path(text)?,
        false => (Rotation::Never, text),
    };
    Ok(LogFile::new(file(path, cwd)?, rotation))
}

/// The path of a file; not empty.
fn file(path: &str, cwd: &Path) -> Result<PathBuf, LogFault> {
    let resolved = absolute(path, cwd);
    if path.ends_with('/') || path.ends_with("/.") || resolved.file_name().is_none() {
        return Err(LogFault::Folder);
    }
    Ok(resolved)
}

/// Reads `working_directory`.
pub(crate) fn folder(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<PathBuf> {
    value::text(item, "a folder's path as a string", ledger).map(|path| absolute(path, cwd))
}
