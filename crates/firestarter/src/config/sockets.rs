//! Reads `socket_address` and `control_socket`.
//!
//! Called by `keys`. Never opens a socket; what is configured twice is found by `twice`.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::address::{self, absolute, Address, LONGEST_PATH};
use super::draft::{Draft, Placed};
use super::fault::Ledger;
use super::identity::{self, Who};
use super::value::{self, quoted, Item};
use super::{octal, SocketSpec};
use crate::nearest::nearest;

/// So many sockets fit where a worker's descriptors are staged.
const MOST: usize = 48;

/// How many connections may wait at a shared socket unless the configuration says so.
pub(crate) const BACKLOG: u32 = 4096;

/// sd_listen_fds_with_names(3).
const LONGEST_NAME: usize = 255;

/// What a table for a socket may hold.
const KEYS: [&str; 6] = ["name", "address", "backlog", "mode", "user", "group"];

/// Reads `socket_address`: an array of addresses, or one address.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let before = ledger.count();
    let sockets = item.each();
    if sockets.len() > MOST {
        let message = format!("expected at most {MOST} sockets, found {}", sockets.len());
        item.note(&message, ledger).advise("divide them among several groups");
    }
    for socket in sockets.iter().take(MOST) {
        read_one(draft, socket, ledger);
    }
    draft.variables_unsure |= ledger.count() > before;
}

fn read_one(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let socket = match item.value {
        DeValue::Table(table) => read_table(draft, item, table, ledger),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => bare(item, draft.around.cwd, ledger),
    };
    draft.sockets.extend(socket.map(|socket| (socket, item.span.clone())));
}

/// An address alone: text, or a number for a port.
fn bare(item: &Item<'_>, cwd: &Path, ledger: &mut Ledger<'_>) -> Option<SocketSpec> {
    let written = match item.value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => value::text(item, "an address as a string", ledger)?.to_owned(),
    };
    match address::parse(&written, cwd) {
        Ok(address) => {
            let backlog = BACKLOG as i32;
            let (mode, uid, gid, nonblocking) = (None, None, None, false);
            Some(SocketSpec { written, name: None, address, backlog, mode, uid, gid, nonblocking })
        }
        Err(fault) => {
            let found = quoted(&written);
            item.note(&format!("{found}: {fault}"), ledger).advise(fault.advice());
            None
        }
    }
}

/// A table for a socket.
fn read_table(draft: &Draft<'_>, item: &Item<'_>, table: &DeTable<'_>, ledger: &mut Ledger<'_>) -> Option<SocketSpec> {
    let mut entries: Vec<Item<'_>> = Vec::new();
    for (name, value) in table.iter() {
        match KEYS.into_iter().find(|key| *key == name.get_ref()) {
            Some(key) => {
                entries.push(Item { key, key_span: name.span(), value: value.get_ref(), span: value.span() });
            }
            None => {
                let message = format!("{}: unknown key {} of a socket", item.key, quoted(name.get_ref()));
                let advice = match nearest(name.get_ref(), KEYS) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("a socket has {}", KEYS.join(", ")),
                };
                ledger.note(name.span(), message).advise(advice);
            }
        }
    }
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let Some(address) = of("address") else {
        item.note("a socket has no address", ledger).advise("write { address = \"IP:PORT\" }");
        return None;
    };
    let mut socket = bare(address, draft.around.cwd, ledger)?;
    socket.name = of("name").and_then(|entry| name(draft, entry, ledger));
    for entry in entries.iter().filter(|entry| !suits(entry.key, &socket.address)) {
        let (message, advice) = match entry.key {
            "backlog" => ("nobody waits at a socket for datagrams", "remove it"),
            _ => ("only a unix socket with a path has an owner and permissions", "remove it, or use a path with /"),
        };
        ledger.note(entry.key_span.clone(), format!("{}: {message}", entry.key)).advise(advice);
    }
    if let Some(backlog) = of("backlog").and_then(|entry| value::whole(entry, 1..=i32::MAX as u32, ledger)) {
        socket.backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    }
    socket.mode = of("mode").and_then(|entry| octal::read(entry, ledger));
    let who = |key: &str, ledger: &mut Ledger<'_>| -> Option<Placed<Who>> { identity::who(of(key)?, ledger) };
    let accounts = draft.around.accounts;
    socket.uid = who("user", ledger).and_then(|user| identity::uid(&user, accounts, ledger));
    socket.gid = who("group", ledger).and_then(|group| identity::gid(&group, accounts, ledger));
    Some(socket)
}

/// Whether a socket with that address can have that key.
fn suits(key: &str, address: &Address) -> bool {
    match (key, address) {
        ("mode" | "user" | "group", Address::Unix(_)) => true,
        ("mode" | "user" | "group", Address::Tcp(_) | Address::Udp(_) | Address::Abstract(_)) => false,
        ("backlog", Address::Udp(_)) => false,
        (_, Address::Tcp(_) | Address::Udp(_) | Address::Unix(_) | Address::Abstract(_)) => true,
    }
}

/// A socket's name, as `LISTEN_FDNAMES` can hold it.
fn name(draft: &Draft<'_>, entry: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<String> {
    let name = value::text(entry, "a name as a string", ledger)?;
    if name.len() > LONGEST_NAME || !name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b':') {
        let message = format!("{} cannot stand in LISTEN_FDNAMES", quoted(name));
        let advice = format!("use at most {LONGEST_NAME} ASCII characters, and no :");
        entry.note(&message, ledger).advise(advice);
        return None;
    }
    if let Some((_, place)) = draft.sockets.iter().find(|(socket, _)| socket.name.as_deref() == Some(name)) {
        let (line, column) = ledger.place(place.start);
        let message = format!("{} is already the name of the socket at {line}:{column}", quoted(name));
        entry.note(&message, ledger).advise("give each socket of a group a name of its own");
        return None;
    }
    Some(name.to_owned())
}

/// Reads `control_socket`.
pub(crate) fn control(cwd: &Path, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Placed<PathBuf>> {
    let written = value::text(item, "a path as a string", ledger)?;
    let path = absolute(written, cwd);
    let length = path.as_os_str().len();
    let (message, advice) = if written.starts_with('@') {
        ("expected a path, found an abstract name".to_owned(), "write a path with /")
    } else if written.ends_with('/') || path.file_name().is_none() {
        ("the path is that of a folder".to_owned(), "write the path of a socket in it")
    } else if length > LONGEST_PATH {
        let message = format!("the socket's path has {length} bytes, at most {LONGEST_PATH} are possible");
        (message, "choose a shorter path, or start the daemon in a folder nearer to /")
    } else {
        return Some((path, item.span.clone()));
    };
    item.note(&message, ledger).advise(advice);
    None
}
