//! Reads the keys that are paths: `stdout_log`, `stderr_log`, `working_directory`.
//!
//! Called by `keys`. Never asks whether a path exists.

use std::path::{Path, PathBuf};

use super::address::absolute;
use super::fault::Ledger;
use super::value::{self, Item};
use super::{LogFile, Output, Rotation, RotationUnit};

/// Reads `stdout_log` or `stderr_log`.
pub(crate) fn read(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Output> {
    let text = value::text(item, "\"null\" or a path as a string", ledger)?;
    let form = text.split_once(':').map(|(form, _)| form.to_ascii_lowercase());
    if let Some("size" | "time") = form.as_deref() {
        let log = rotated(text, cwd);
        if log.is_none() {
            item.note("expected a rotation and a path", ledger)
                .advise("write size:MAX_BYTES:BACKUPS:PATH or time:INTERVAL:S|M|H|D|MIDNIGHT:U|L:BACKUPS:PATH");
        }
        return log.map(Output::File);
    }
    Some(match text {
        "null" => Output::Null,
        path => Output::File(LogFile { path: absolute(path, cwd), rotation: Rotation::Never }),
    })
}

fn rotated(text: &str, cwd: &Path) -> Option<LogFile> {
    let lower = text.to_ascii_lowercase();
    let time = lower.starts_with("time:");
    let words: Vec<&str> = lower.splitn(if time { 6 } else { 4 }, ':').collect();
    let path = text.splitn(words.len(), ':').last().filter(|path| !path.is_empty())?;
    let rotation = match words[..] {
        ["size", max_bytes, backups, _] => {
            Rotation::Size { max_bytes: max_bytes.parse().ok().filter(|max| *max > 0)?, backups: backups.parse().ok()? }
        }
        ["time", interval, unit, zone, backups, _] => Rotation::Time {
            interval: interval.parse().ok().filter(|interval| *interval > 0)?,
            unit: match unit {
                "s" => RotationUnit::Seconds,
                "m" => RotationUnit::Minutes,
                "h" => RotationUnit::Hours,
                "d" => RotationUnit::Days,
                "midnight" => RotationUnit::Midnight,
                _ => return None,
            },
            utc: match zone {
                "u" | "utc" => true,
                "l" => false,
                _ => return None,
            },
            backups: backups.parse().ok()?,
        },
        _ => return None,
    };
    Some(LogFile { path: absolute(path, cwd), rotation })
}

/// Reads `working_directory`.
pub(crate) fn folder(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<PathBuf> {
    value::text(item, "a folder's path as a string", ledger).map(|path| absolute(path, cwd))
}
