//! Reads `socket_address`, `stdin_socket` and `control_socket`.
//!
//! Called by `keys`. Never opens a socket; what is configured twice is found by `twice`.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::address::{self, absolute, can_be_name, Address, LONGEST_NAME, LONGEST_PATH};
use super::draft::{Draft, Placed, StdinSocket};
use super::fault::Ledger;
use super::identity::{self, Who};
use super::octal;
use super::value::{self, quoted, Item};
use crate::nearest::nearest;

/// So many sockets fit where a worker's descriptors are staged.
const MOST: usize = 48;

/// How many connections may wait at a shared socket unless the configuration says so.
pub(crate) const BACKLOG: u32 = 4096;

/// What a table for a socket may hold.
const KEYS: [&str; 10] =
    ["name", "address", "backlog", "mode", "user", "group", "type", "reuseport", "v6only", "interface"];

/// The kernel's IFNAMSIZ, without the NUL.
const LONGEST_INTERFACE: usize = 15;

/// A socket as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketSpec {
    /// The address as the configuration spells it.
    pub(crate) written: String,
    /// What workers find in `LISTEN_FDNAMES`; none: the group's name.
    pub(crate) name: Option<String>,
    /// The address.
    pub(crate) address: Address,
    /// How many connections may wait; the kernel's `somaxconn` may be lower.
    pub(crate) backlog: i32,
    /// Of a unix socket's path; none: what the umask leaves.
    pub(crate) mode: Option<u32>,
    /// The owner of a unix socket's path.
    pub(crate) uid: Option<u32>,
    /// The group of a unix socket's path.
    pub(crate) gid: Option<u32>,
    /// Whether accept does not wait in workers, which is a property of the open socket and so of all of them.
    pub(crate) nonblocking: bool,
    /// What goes through it.
    pub(crate) kind: Kind,
    /// Each slot has a socket of its own at this address, and the kernel divides what comes.
    pub(crate) reuseport: bool,
    /// Whether a socket of IPv6 leaves IPv4 alone; none: what the system says.
    pub(crate) v6only: Option<bool>,
    /// The network interface that it is bound to.
    pub(crate) interface: Option<String>,
    /// The number under which Firestarter was given the socket by whoever started it; none: it opens the socket itself.
    pub(crate) inherited: Option<i32>,
}

impl SocketSpec {
    /// A socket with nothing said but its address.
    pub(crate) fn at(written: String, address: Address) -> SocketSpec {
        let kind = if matches!(address, Address::Udp(_)) { Kind::Datagram } else { Kind::Stream };
        SocketSpec {
            written,
            name: None,
            address,
            backlog: BACKLOG as i32,
            mode: None,
            uid: None,
            gid: None,
            nonblocking: false,
            kind,
            reuseport: false,
            v6only: None,
            interface: None,
            inherited: None,
        }
    }
}

/// What goes through a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Connections of bytes.
    Stream,
    /// Datagrams, without connections.
    Datagram,
    /// Connections of messages.
    SeqPacket,
}

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
        Ok(address) => Some(SocketSpec::at(written, address)),
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
    socket.kind = of("type").and_then(|entry| kind(entry, &socket.address, ledger)).unwrap_or(socket.kind);
    for entry in &entries {
        if let Some((message, advice)) = unsuitable(entry.key, &socket) {
            ledger.note(entry.key_span.clone(), format!("{}: {message}", entry.key)).advise(advice);
        }
    }
    if let Some(backlog) = of("backlog").and_then(|entry| value::whole(entry, 1..=i32::MAX as u32, ledger)) {
        socket.backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    }
    socket.mode = of("mode").and_then(|entry| octal::read(entry, ledger));
    let who = |key: &str, ledger: &mut Ledger<'_>| -> Option<Placed<Who>> { identity::who(of(key)?, ledger) };
    let accounts = draft.around.accounts;
    socket.uid = who("user", ledger).and_then(|user| identity::uid(&user, accounts, ledger));
    socket.gid = who("group", ledger).and_then(|group| identity::gid(&group, accounts, ledger));
    socket.reuseport = of("reuseport").and_then(|entry| value::flag(entry, ledger)).unwrap_or(false);
    socket.v6only = of("v6only").and_then(|entry| value::flag(entry, ledger));
    socket.interface = of("interface").and_then(|entry| interface(entry, ledger));
    Some(socket)
}

/// What goes through the socket, where its address leaves that open.
fn kind(entry: &Item<'_>, address: &Address, ledger: &mut Ledger<'_>) -> Option<Kind> {
    const KINDS: [(&str, Kind); 3] =
        [("stream", Kind::Stream), ("datagram", Kind::Datagram), ("seqpacket", Kind::SeqPacket)];
    let kind = value::choice(entry, &KINDS, ledger)?;
    let (only, advice) = match address {
        Address::Unix(_) | Address::Abstract(_) => return Some(kind),
        Address::Tcp(_) => (Kind::Stream, "an address of IP is TCP; UDP is written udp::IP:PORT"),
        Address::Udp(_) => (Kind::Datagram, "udp:: is datagrams: remove the type, or write tcp::"),
        // What it is, whoever opened it has decided.
        Address::Inherited(_) => return None,
    };
    if kind != only {
        let written = KINDS.iter().find(|(_, of)| *of == kind).map_or("", |(word, _)| word);
        entry.note(&format!("a socket with this address cannot be {written}"), ledger).advise(advice);
    }
    Some(only)
}

/// Why a socket with that address cannot have that key, and what to do.
fn unsuitable(key: &str, socket: &SocketSpec) -> Option<(&'static str, &'static str)> {
    let address = &socket.address;
    if matches!(address, Address::Inherited(_)) && !matches!(key, "name" | "address") {
        return Some((
            "an inherited socket is as whoever opened it made it",
            "remove it, or set it in the socket unit",
        ));
    }
    let of_ip = matches!(address, Address::Tcp(_) | Address::Udp(_));
    match key {
        "mode" | "user" | "group" if !matches!(address, Address::Unix(_)) => {
            Some(("only a unix socket with a path has an owner and permissions", "remove it, or use a path with /"))
        }
        "backlog" if socket.kind == Kind::Datagram => Some(("nobody waits at a socket for datagrams", "remove it")),
        "reuseport" | "interface" if !of_ip => Some(("only a socket of TCP or UDP can have that", "remove it")),
        "v6only" if !matches!(address, Address::Tcp(at) | Address::Udp(at) if at.is_ipv6()) => {
            Some(("only a socket of IPv6 can have that", "remove it, or use an address such as [::]:80"))
        }
        _ => None,
    }
}

/// The name of a network interface. Whether there is one is found out at the start.
fn interface(entry: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<String> {
    let name = value::text(entry, "the name of a network interface as a string", ledger)?;
    let plain = name.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'/' && b != b':');
    if name.len() > LONGEST_INTERFACE || !plain || matches!(name, "." | "..") {
        let message = format!("{} cannot be the name of a network interface", quoted(name));
        entry.note(&message, ledger).advise("`ip link` shows the names, such as eth0");
        return None;
    }
    Some(name.to_owned())
}

/// A socket's name, as `LISTEN_FDNAMES` can hold it.
fn name(draft: &Draft<'_>, entry: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<String> {
    let name = value::text(entry, "a name as a string", ledger)?;
    if !can_be_name(name) {
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

/// Reads `stdin_socket`. Which socket it means is known once the whole table is read.
pub(crate) fn stdin(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let meant = match item.value {
        DeValue::Integer(_) => {
            value::whole(item, 0..=MOST as u32 - 1, ledger).map(|place| StdinSocket::Place(place as usize))
        }
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => value::text(item, "a socket's name, or its place as a number", ledger)
            .map(|n| StdinSocket::Name(n.to_owned())),
    };
    draft.stdin_socket = meant.map(|meant| (meant, item.span.clone()));
}

/// Notes if there is no such socket. If some have faults, it may be one of those.
pub(crate) fn check_stdin(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let Some((meant, place)) = &draft.stdin_socket else { return };
    if draft.stdin_place().is_some() || draft.variables_unsure {
        return;
    }
    let names: Vec<&str> = draft.sockets.iter().filter_map(|(socket, _)| socket.name.as_deref()).collect();
    let message = match meant {
        StdinSocket::Place(place) => format!("there is no socket {place}: the group has {}", draft.sockets.len()),
        StdinSocket::Name(name) => format!("no socket of this group has the name {}", quoted(name)),
    };
    let advice = match (draft.sockets.len(), names.is_empty()) {
        (0, _) => "write socket_address too, or remove this key".to_owned(),
        (_, false) => format!("the names are {}", names.join(", ")),
        (count, true) => format!("write a place from 0 to {}, or give a socket a name", count - 1),
    };
    ledger.note(place.clone(), format!("stdin_socket: {message}")).advise(advice);
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
