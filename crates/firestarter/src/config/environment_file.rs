//! Reads `environment_file`: files of lines `NAME=VALUE`. Blank lines and lines that begin with `#` are skipped, `export `
//! in front of a name is allowed, one pair of quotes around a value is removed, nothing is expanded.
//!
//! Called by `keys`. No fault tells what stands in a file: a line that was meant otherwise may be a secret.

use std::path::Path;

use super::address::absolute;
use super::draft::Draft;
use super::environment::{is_name, Variable};
use super::fault::Ledger;
use super::value::{self, Item};
use crate::say::plain;

/// Reads `environment_file`: a path, or an array of paths.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let before = ledger.count();
    for file in item.each() {
        read_one(draft, &file, ledger);
    }
    draft.variables_unsure |= ledger.count() > before;
}

fn read_one(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let Some(written) = value::text(item, "a file's path as a string", ledger) else { return };
    let path = absolute(written, draft.around.cwd);
    let bytes = match (draft.around.read)(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read {}: {}", path.display(), plain(&error));
            item.note(&message, ledger).advise("create it and let this user read it, or remove the key");
            return;
        }
    };
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        match variable(line) {
            Ok(None) => {}
            Ok(Some(variable)) => draft.from_files.push(variable),
            Err(fault) => note(item, &path, number, &fault, ledger),
        }
    }
}

fn note(item: &Item<'_>, path: &Path, line: usize, fault: &LineFault, ledger: &mut Ledger<'_>) {
    let advice = match fault {
        LineFault::NotUtf8 => "save the file as UTF-8",
        LineFault::Nul => "remove it",
        LineFault::NoAssignment => "put = between the name and the value, or # in front of the line",
        LineFault::Name => "use letters, digits and _, no digit in front, and no blank before the =",
        LineFault::OpenQuote => "close it on the same line, or leave the quotes away",
    };
    item.note(&format!("{}:{line}: {fault}", path.display()), ledger).advise(advice);
}

/// Why a line sets no variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    /// Bytes that are no text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// Neither variables nor arguments can hold one.
    #[error("a NUL byte cannot be passed on")]
    Nul,
    /// No `=`.
    #[error("expected NAME=VALUE")]
    NoAssignment,
    /// Something else before the `=`.
    #[error("what stands before the = cannot be a variable's name")]
    Name,
    /// A value that begins with a quote and has no other.
    #[error("the quote is not closed; a value cannot go over several lines")]
    OpenQuote,
}

/// The variable that a line sets, if any.
pub(crate) fn variable(line: &[u8]) -> Result<Option<Variable>, LineFault> {
    let line = std::str::from_utf8(line).map_err(|_| LineFault::NotUtf8)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains('\0') {
        return Err(LineFault::Nul);
    }
    let (name, value) = line.split_once('=').ok_or(LineFault::NoAssignment)?;
    let exported = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let name = exported.map_or(name, str::trim_start);
    if !is_name(name) {
        return Err(LineFault::Name);
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) if value.matches(quote).count() == 1 => return Err(LineFault::OpenQuote),
        Some(quote @ ('"' | '\'')) => value[1..].strip_suffix(quote).unwrap_or(value),
        Some(_) | None => value,
    };
    Ok(Some((name.to_owned(), value.to_owned())))
}
