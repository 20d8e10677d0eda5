//! Finds what several groups, or one, claim for themselves at the same time: addresses, paths of sockets, logs.
//!
//! Called by the room's `parse` once all groups are read.

use std::ops::Range;
use std::path::Path;

use super::address::Address;
use super::draft::Draft;
use super::fault::Ledger;
use super::value::quoted;
use super::{LogFile, Output};

/// Notes each claim on what an earlier one has.
pub(crate) fn check(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    addresses(drafts, ledger);
    control_sockets(drafts, ledger);
    logs(drafts, ledger);
}

fn addresses(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    let mut seen: Vec<(&Address, &str, usize)> = Vec::new();
    for draft in drafts {
        for (socket, span) in &draft.sockets {
            // Each port 0 is another port.
            if matches!(socket.address, Address::Tcp(address) | Address::Udp(address) if address.port() == 0) {
                continue;
            }
            match seen.iter().find(|(address, ..)| **address == socket.address) {
                Some((_, group, offset)) => {
                    let (line, column) = ledger.place(*offset);
                    let address = quoted(&socket.written);
                    let message = format!("socket_address: {address} is already used by {group} at {line}:{column}");
                    ledger.note(span.clone(), message).advise("give each socket an address of its own");
                }
                None => seen.push((&socket.address, &draft.name, span.start)),
            }
        }
    }
}

fn control_sockets(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    let mut seen: Vec<(&Path, &str, &Range<usize>)> = Vec::new();
    for draft in drafts {
        seen.extend(draft.sockets.iter().filter_map(|(socket, span)| match &socket.address {
            Address::Unix(path) => Some((path.as_path(), draft.name.as_str(), span)),
            Address::Tcp(_) | Address::Udp(_) | Address::Abstract(_) => None,
        }));
    }
    for draft in drafts {
        let Some((path, span)) = &draft.control_socket else { continue };
        match seen.iter().find(|(known, ..)| known == path) {
            Some((_, group, place)) => {
                let (line, column) = ledger.place(place.start);
                let message = format!("control_socket: this path is already used by {group} at {line}:{column}");
                ledger.note(span.clone(), message).advise("give each socket a path of its own");
            }
            None => seen.push((path, &draft.name, span)),
        }
    }
}

/// One file cannot be rotated in two ways.
fn logs(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
    let mut seen: Vec<(&LogFile, &str, usize)> = Vec::new();
    for draft in drafts {
        for (key, (output, span)) in [("stdout_log", &draft.stdout), ("stderr_log", &draft.stderr)] {
            let Output::File(log) = output else { continue };
            match seen.iter().find(|(known, ..)| known.path == log.path) {
                Some((known, group, offset)) if known.rotation != log.rotation => {
                    let (line, column) = ledger.place(*offset);
                    let message = format!("{key}: {group} rotates this file in another way at {line}:{column}");
                    ledger.note(span.clone(), message).advise("write the same rotation, or another path");
                }
                Some(_) => {}
                None => seen.push((log, &draft.name, span.start)),
            }
        }
    }
}
