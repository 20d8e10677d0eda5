//! Finds what several groups, or one, claim for themselves at the same time: addresses, paths of sockets, logs.
//!
//! Called by the room's `parse` once all groups are read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::address::Address;
use super::draft::Draft;
use super::fault::Ledger;
use super::value::quoted;
use super::{Form, LogFile, Output, Rotation, Surroundings};

/// Notes each claim on what an earlier one has.
pub(crate) fn check(drafts: &[Draft<'_>], around: &Surroundings<'_>, ledger: &mut Ledger<'_>) {
    addresses(drafts, ledger);
    control_sockets(drafts, ledger);
    logs(drafts, around, ledger);
}

fn addresses(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    let mut seen: HashMap<&Address, (&str, usize)> = HashMap::new();
    for draft in drafts {
        for (socket, span) in &draft.sockets {
            let again = match &socket.address {
                // Each port 0 is another port.
                Address::Tcp(address) | Address::Udp(address) => address.port() == 0,
                // Several inherited sockets may have one name.
                Address::Inherited(_) => true,
                Address::Unix(_) | Address::Abstract(_) => false,
            };
            if again {
                continue;
            }
            match seen.get(&socket.address) {
                Some((group, offset)) => {
                    let (line, column) = ledger.place(*offset);
                    let address = quoted(&socket.written);
                    let message = format!("socket_address: {address} is already used by {group} at {line}:{column}");
                    ledger.note(span.clone(), message).advise("give each socket an address of its own");
                }
                None => {
                    seen.insert(&socket.address, (&draft.name, span.start));
                }
            }
        }
    }
}

fn control_sockets(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    let mut seen: HashMap<&Path, (&str, usize)> = HashMap::new();
    for draft in drafts {
        seen.extend(draft.sockets.iter().filter_map(|(socket, span)| match &socket.address {
            Address::Unix(path) => Some((path.as_path(), (draft.name.as_str(), span.start))),
            Address::Tcp(_) | Address::Udp(_) | Address::Abstract(_) | Address::Inherited(_) => None,
        }));
    }
    for draft in drafts {
        let Some((path, span)) = &draft.control_socket else { continue };
        match seen.get(path.as_path()) {
            Some((group, offset)) => {
                let (line, column) = ledger.place(*offset);
                let message = format!("control_socket: this path is already used by {group} at {line}:{column}");
                ledger.note(span.clone(), message).advise("give each socket a path of its own");
            }
            None => {
                seen.insert(path, (&draft.name, span.start));
            }
        }
    }
}

/// The logs, by where their paths lead.
type Seen<'a> = HashMap<PathBuf, (&'a LogFile, &'a str, usize)>;

/// One file cannot be written in two ways.
fn logs(drafts: &[Draft<'_>], around: &Surroundings<'_>, ledger: &mut Ledger<'_>) {
    let mut seen = Seen::new();
    for draft in drafts {
        for (key, (output, span)) in [("stdout_log", &draft.stdout), ("stderr_log", &draft.stderr)] {
            let Output::File(log) = output else { continue };
            let real = (around.real)(&log.path);
            match seen.get(&real) {
                Some((known, group, offset)) if known.path != log.path => {
                    let ((line, column), path) = (ledger.place(*offset), known.path.display());
                    let message = format!("{key}: {group} writes this file too, as {path}, at {line}:{column}");
                    ledger.note(span.clone(), message).advise("write the same path, or one that leads to another file");
                }
                Some((known, group, offset)) if *known != log => {
                    let (line, column) = ledger.place(*offset);
                    let differs = differences(known, log).join(" and ");
                    let message = format!("{key}: {group} writes this file with another {differs} at {line}:{column}");
                    ledger.note(span.clone(), message).advise(format!("write the same {differs}, or another path"));
                }
                Some(_) => {}
                None => {
                    seen.insert(real, (log, &draft.name, span.start));
                }
            }
        }
    }
    backups(drafts, around, &seen, ledger);
}

/// A rotation would move a backup over such a file, or remove it.
fn backups(drafts: &[Draft<'_>], around: &Surroundings<'_>, logs: &Seen<'_>, ledger: &mut Ledger<'_>) {
    for draft in drafts {
        for (key, (output, span)) in [("stdout_log", &draft.stdout), ("stderr_log", &draft.stderr)] {
            let Output::File(log) = output else { continue };
            let found = bases(&(around.real)(&log.path))
                .into_iter()
                .find_map(|base| logs.get(&base).filter(|(rotated, ..)| rotated.rotation != Rotation::Never));
            if let Some((rotated, group, offset)) = found {
                let (line, column) = ledger.place(*offset);
                let path = rotated.path.display();
                let message = format!("{key}: backups of {path} get this name, by {group} at {line}:{column}");
                ledger.note(span.clone(), message).advise("write another path");
            }
        }
    }
}

/// The logs that a file could be a backup of: `web.log` for `web.log.1`, `web.log.20260301.2` and `web.log.3.gz`.
fn bases(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return Vec::new();
    };
    let mut left = [".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let mut bases = Vec::new();
    while let Some((base, number)) = left.rsplit_once('.') {
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        bases.push(folder.join(base));
        left = base;
    }
    bases
}

/// What is said of one file in two ways, by the names that the configuration has for it.
fn differences(one: &LogFile, other: &LogFile) -> Vec<&'static str> {
    let LogFile { path: _, rotation, compress, max_total, form, overflow, line_max, create_parents } = one;
    let is_nested = |form: &Form| matches!(form, Form::Json { nested: true });
    let all = [
        ("rotation", *rotation != other.rotation),
        ("compress", *compress != other.compress),
        ("max_total", *max_total != other.max_total),
        ("form", std::mem::discriminant(form) != std::mem::discriminant(&other.form)),
        ("nested_json", is_nested(form) != is_nested(&other.form)),
        ("on_overflow", *overflow != other.overflow),
        ("line_max", *line_max != other.line_max),
        ("create_parents", *create_parents != other.create_parents),
    ];
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
