//! Reads `socket_address`, and finds addresses that are configured twice.
//!
//! Called by `keys`, and by the room itself once all groups are read. Never opens a socket.

use toml::de::DeValue;

use super::address::{self, Address};
use super::draft::Draft;
use super::fault::Ledger;
use super::value::{self, quoted, Item};
use super::SocketSpec;

/// So many sockets fit where a worker's descriptors are staged.
const MOST: usize = 48;

/// How many connections may wait at a shared socket unless the configuration says so.
const BACKLOG: i32 = 4096;

/// Reads `socket_address`: an array of addresses, or one address.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let before = ledger.count();
    match item.value {
        DeValue::Array(array) => {
            if array.len() > MOST {
                let message = format!("expected at most {MOST} sockets, found {}", array.len());
                item.note(&message, ledger).advise("divide them among several groups");
            }
            for element in array.iter() {
                read_one(draft, &item.element(element), ledger);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => read_one(draft, item, ledger),
    }
    draft.variables_unsure |= ledger.count() > before;
}

fn read_one(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let port;
    let written = match item.value {
        DeValue::Integer(number) => {
            port = number.to_string();
            port.as_str()
        }
        DeValue::Table(_) => {
            item.note("a table for a socket is not yet supported by this version", ledger)
                .advise("write its address as a string");
            return;
        }
        DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
            match value::text(item, "an address as a string", ledger) {
                Some(text) => text,
                None => return,
            }
        }
    };
    match address::parse(written, draft.cwd) {
        Ok(address) => {
            let socket = SocketSpec {
                written: written.to_owned(),
                name: None,
                address,
                backlog: BACKLOG,
                mode: None,
                uid: None,
                gid: None,
            };
            draft.sockets.push((socket, item.span.clone()));
        }
        Err(fault) => {
            let found = quoted(written);
            item.note(&format!("{found}: {fault}"), ledger).advise(fault.advice());
        }
    }
}

/// Notes each address that stands in the file a second time.
pub(crate) fn check_twice(drafts: &[Draft<'_>], ledger: &mut Ledger<'_>) {
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
