//! Sockets that Firestarter is given by whoever starts it, as systemd does for a unit with a socket unit
//! (sd_listen_fds(3)). Called by `start`, before anything is opened. What the configuration asks for as `systemd::NAME`
//! becomes a listener like any other; what nobody asks for is closed, since who connects there would wait for ever.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::{self, sockopt, SocketAddrUnix, SocketType};

use super::open::OpenError;
use super::shelf::Shelf;
use crate::config::{Address, Config, Kind, SocketSpec};
use crate::journal::{Ledger, Meaning};
use crate::say::say;
use crate::sys::fds;

/// More than this nobody passes on.
const MOST: usize = 1024;

/// The name that sd_listen_fds_with_names(3) gives to what has none.
const UNNAMED: &str = "unknown";

/// What was inherited, by name.
#[derive(Default)]
pub(crate) struct Inherited(Vec<(String, OwnedFd)>);

/// Takes what was meant for this process, and closes everything else that it inherited beyond the standard streams.
pub(crate) fn take() -> Inherited {
    let names = names(|name| std::env::var_os(name).and_then(|value| value.into_string().ok()));
    let taken = fds::take_inherited(names.len());
    Inherited(names.into_iter().zip(taken).filter_map(|(name, fd)| Some((name, fd?))).collect())
}

/// The names of what was inherited, from number 3 on.
fn names(env: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let number = |name: &str| env(name).and_then(|text| text.trim().parse::<usize>().ok());
    if number("LISTEN_PID") != Some(std::process::id() as usize) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(MOST);
    let named = env("LISTEN_FDNAMES").unwrap_or_default();
    let mut named = named.split(':');
    (0..count).map(|_| named.next().filter(|name| !name.is_empty()).unwrap_or(UNNAMED).to_owned()).collect()
}

/// Gives each socket that the configuration asks for by a name of `systemd` its number and its address. Of several with
/// one name each is given once, in their order. Returns what was kept for us by the service manager.
///
/// # Errors
/// There is none of that name (any more), or it is not one at which connections or datagrams arrive.
pub(crate) fn resolve(config: &mut Config, Inherited(mut inherited): Inherited) -> Result<Shelf, OpenError> {
    let shelf = Shelf::take(&mut inherited);
    let there = inherited.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
    for group in &mut config.groups {
        for socket in &mut group.sockets {
            let Address::Inherited(name) = socket.address.clone() else { continue };
            let of = group.spec.name.clone();
            let Some(at) = inherited.iter().position(|(its, _)| *its == name) else {
                let there = if there.is_empty() { "none".to_owned() } else { there.clone() };
                return Err(OpenError::NotInherited { group: of, name, there });
            };
            let (name, fd) = inherited.remove(at);
            if !describe(socket, &fd) {
                return Err(OpenError::NoListener { group: of, name });
            }
            socket.name.get_or_insert(name);
            socket.inherited = Some(fd.into_raw_fd());
        }
    }
    for (name, fd) in inherited {
        let what = described(&fd).map_or_else(|| "no socket that listens".to_owned(), |(address, _)| shown(&address));
        drop(fd);
        say(format_args!("the inherited socket {name:?} ({what}) is closed: no socket_address names systemd::{name}"));
    }
    Ok(shelf)
}

/// Finds the inherited sockets again in the ledger, where they are listeners like any other.
///
/// # Errors
/// One is not there.
pub(crate) fn resume(config: &mut Config, ledger: &Ledger) -> Result<(), OpenError> {
    let listeners: Vec<(Meaning, RawFd)> = ledger.named().map(|(number, meaning)| (meaning, number)).collect();
    for (group, of) in config.groups.iter_mut().zip(0..) {
        for (socket, index) in group.sockets.iter_mut().zip(0..) {
            let Address::Inherited(name) = socket.address.clone() else { continue };
            let gone =
                || OpenError::NotInherited { group: group.spec.name.clone(), name: name.clone(), there: String::new() };
            let here = |(meaning, _): &&(Meaning, RawFd)| *meaning == Meaning::Listener { group: of, index };
            let number = listeners.iter().find(here).map(|(_, number)| *number).ok_or_else(gone)?;
            let copy = fds::copy(number).map_err(|_| gone())?;
            if !describe(socket, &copy) {
                return Err(gone());
            }
            socket.name.get_or_insert(name);
            socket.inherited = Some(number);
        }
    }
    Ok(())
}

/// Takes down what a socket is; false if nobody can reach it.
fn describe(spec: &mut SocketSpec, socket: &OwnedFd) -> bool {
    let Some((address, kind)) = described(socket) else { return false };
    (spec.written, spec.address, spec.kind) = (shown(&address), address, kind);
    true
}

/// An address as the configuration would spell it.
pub(super) fn shown(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Udp(address) => format!("udp::{address}"),
        Address::Unix(path) => path.display().to_string(),
        Address::Abstract(name) => format!("@{name}"),
        Address::Inherited(name) => format!("systemd::{name}"),
    }
}

/// Where a socket is reached, and what goes through it; none if nobody can reach it.
pub(super) fn described(socket: &OwnedFd) -> Option<(Address, Kind)> {
    let kind = match sockopt::socket_type(socket).ok()? {
        SocketType::STREAM => Kind::Stream,
        SocketType::SEQPACKET => Kind::SeqPacket,
        SocketType::DGRAM => Kind::Datagram,
        _ => return None,
    };
    if kind != Kind::Datagram && !sockopt::socket_acceptconn(socket).ok()? {
        return None;
    }
    let bound = net::getsockname(socket).ok()?;
    if let Ok(address) = SocketAddr::try_from(bound.clone()) {
        let address = if kind == Kind::Datagram { Address::Udp(address) } else { Address::Tcp(address) };
        return Some((address, kind));
    }
    let unix = SocketAddrUnix::try_from(bound).ok()?;
    let address = match (unix.path(), unix.abstract_name()) {
        (Some(path), _) => Address::Unix(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).to_owned()),
        (None, Some(name)) => Address::Abstract(String::from_utf8_lossy(name).into_owned()),
        (None, None) => return None,
    };
    Some((address, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(pid: &str, count: &str, named: Option<&str>) -> Vec<String> {
        names(|name| match name {
            "LISTEN_PID" => Some(pid.to_owned()),
            "LISTEN_FDS" => Some(count.to_owned()),
            _ => named.map(str::to_owned),
        })
    }

    #[test]
    fn names_go_with_numbers_and_are_made_up_where_there_are_none() {
        let pid = std::process::id().to_string();
        let none: [&str; 0] = [];
        assert_eq!(names_of(&pid, "2", Some("http:admin")), ["http", "admin"]);
        assert_eq!(names_of(&pid, "3", Some(":admin")), [UNNAMED, "admin", UNNAMED]);
        assert_eq!(names_of(&pid, "1", None), [UNNAMED]);
        assert_eq!(names_of("1", "2", Some("http:admin")), none, "they are somebody else's");
        for count in ["", "-1", "x", "0"] {
            assert_eq!(names_of(&pid, count, Some("http")), none, "{count:?}");
        }
        assert_eq!(names_of(&pid, "18446744073709551615", None).len(), MOST);
    }
}
