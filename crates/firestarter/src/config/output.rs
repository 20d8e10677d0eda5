//! Reads the keys that are paths: `stdout_log`, `stderr_log`, `working_directory`.
//!
//! Called by `keys`. Never asks whether a path exists.

use std::path::{Path, PathBuf};

use super::address::absolute;
use super::fault::Ledger;
use super::value::{self, Item};
use super::{LogFile, Output, Rotation};

/// Reads `stdout_log` or `stderr_log`.
pub(crate) fn read(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Output> {
    let text = value::text(item, "\"null\" or a path as a string", ledger)?;
    let form = text.split_once(':').map(|(form, _)| form.to_ascii_lowercase());
    if let Some(form @ ("size" | "time")) = form.as_deref() {
        item.note(&format!("{form}: is not yet supported by this version"), ledger)
            .advise("write the path alone; the file then grows without limit");
        return None;
    }
    Some(match text {
        "null" => Output::Null,
        path => Output::File(LogFile { path: absolute(path, cwd), rotation: Rotation::Never }),
    })
}

/// Reads `working_directory`.
pub(crate) fn folder(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<PathBuf> {
    value::text(item, "a folder's path as a string", ledger).map(|path| absolute(path, cwd))
}
