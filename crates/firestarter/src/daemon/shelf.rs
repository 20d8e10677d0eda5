//! Listeners that the service manager keeps for us (systemd's fd store), so that they outlive even the keeper: what waits
//! at them is served by the Firestarter that is started next. Called by `start`, before and after everything is opened.
//!
//! They come back as inherited sockets do, under names that only we give: group, slot, address, and a number that stands for
//! every property that a socket has from its making. So a name is found only if the very same socket is configured. That the
//! descriptor is one is looked at: its kind and address; of a path, that the file there is the one that it was bound to,
//! whose inode number cannot be another's while the socket lives. What is not configured any more is closed, and let go by
//! the service manager before anything is opened: it could hold an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, Shutdown};

use super::{inherit, paths, Setup};
use crate::config::{Address, Config, Group, Kind, SocketSpec};
use crate::journal::{Ledger, Meaning, SHELVED};
use crate::say::{plain, say};
use crate::service::Service;
use crate::sys::fds;

/// All our names begin so.
const PREFIX: &str = "firestarter/";
/// A longer name is cut, and a number that stands for the whole takes the place of the rest.
const LONGEST: usize = 230;
const CUT: usize = 210;

/// What has come back.
#[derive(Default)]
pub(crate) struct Shelf {
    returned: Vec<(String, OwnedFd)>,
    /// What is configured of it, by its name without the inode.
    found: BTreeMap<String, OwnedFd>,
    /// What the service manager has already.
    known: BTreeSet<String>,
}

impl Shelf {
    /// Takes what is ours out of what was inherited.
    pub(super) fn take(inherited: &mut Vec<(String, OwnedFd)>) -> Shelf {
        let (returned, rest) = std::mem::take(inherited).into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        *inherited = rest;
        Shelf { returned, ..Shelf::default() }
    }

    /// Keeps what is configured and closes the rest. Returns the names that the service manager shall let go.
    pub(crate) fn sort(&mut self, config: &Config) -> Vec<String> {
        let mut returned: BTreeMap<String, Vec<(String, OwnedFd)>> = BTreeMap::new();
        for (name, fd) in std::mem::take(&mut self.returned) {
            let base = name.split('#').next().unwrap_or_default().to_owned();
            returned.entry(base).or_default().push((name, fd));
        }
        let mut found = BTreeSet::new();
        for (base, slot, first, spec) in wanted(config) {
            let candidates = returned.get_mut(&base).into_iter().flatten();
            let beside =
                |fd: &OwnedFd| slot == 0 || self.found.get(&first).is_some_and(|first| same_address(first, fd));
            let Some(at) = candidates.into_iter().position(|(name, fd)| is_that(spec, name, fd) && beside(fd)) else {
                continue;
            };
            let Some((name, fd)) = returned.get_mut(&base).map(|all| all.remove(at)) else { continue };
            if made_anew(spec, &fd).is_ok() {
                self.known.insert(base.clone());
                self.found.insert(base, fd);
                found.insert(name);
            } else {
                returned.entry(base).or_default().push((name, fd));
            }
        }
        // A second one under the name of one that is taken would take that with it.
        let rest = returned.into_values().flatten().filter(|(name, _)| !found.contains(name));
        let rest = rest.map(|(name, fd)| {
            // The service manager has a copy: nobody shall connect there meanwhile.
            let _ = net::shutdown(&fd, Shutdown::Read);
            name
        });
        rest.collect()
    }

    /// A group's socket, if it has come back.
    pub(super) fn find(&mut self, group: &Group, slot: u32, spec: &SocketSpec) -> Option<OwnedFd> {
        if self.found.is_empty() {
            return None;
        }
        self.found.remove(&base(&group.spec.name, slot, spec))
    }

    /// Has the service manager keep what it does not keep yet.
    pub(crate) fn fill(&self, service: &Service, setup: &Setup, ledger: &Ledger) {
        let mut left = service.room.saturating_sub(self.known.len());
        let (mut told, mut untold, mut without, mut failed) = (0usize, 0usize, 0usize, None);
        for (number, meaning) in ledger.named() {
            let Some(place) = place(meaning) else { continue };
            let named = name(setup, place, ledger.mark(&number)).filter(|(base, _)| !self.known.contains(base));
            if place.2 > 0 {
                ledger.set_mark(&number, SHELVED);
            }
            let Some((_, name)) = named else { continue };
            if left == 0 {
                without += 1;
                continue;
            }
            let Some(fd) = fds::adopt(number) else { continue };
            match service.keep(fd.as_fd(), &name, true) {
                Ok(()) => told += 1,
                Err(errno) => (untold, failed) = (untold + 1, failed.or(Some(errno))),
            }
            // It belongs to whoever reads the ledger.
            let _ = fd.into_raw_fd();
            left -= 1;
        }
        let kept = self.known.len() + told;
        let needed = kept + untold + without;
        if let Some(errno) = failed {
            let cause = if errno == Errno::AGAIN { "it does not read".to_owned() } else { plain(&errno.into()) };
            say(format_args!(
                "have listeners kept by the service manager: {cause}; at least {untold} of {needed} are not kept: what waits at \
                 these is lost when Firestarter ends"
            ));
        }
        if without > 0 {
            say(format_args!(
                "the service manager keeps {kept} of {needed} listeners: for all set FileDescriptorStoreMax={needed}"
            ));
        }
    }
}

/// A listener's group, its place there, and its slot.
fn place(meaning: Meaning) -> Option<(u32, u32, u32)> {
    if let Meaning::Listener { group, index } = meaning {
        return Some((group, index, 0));
    }
    let Meaning::SlotListener { group, index, slot } = meaning else { return None };
    Some((group, index, slot))
}

/// The name of a listener, without and with the inode of its path; none for one that was inherited by its own name.
pub(super) fn name(setup: &Setup, (group, index, slot): (u32, u32, u32), inode: u64) -> Option<(String, String)> {
    let group = setup.config.groups.get(group as usize)?;
    let spec = group.sockets.get(index as usize).filter(|spec| spec.inherited.is_none())?;
    let base = base(&group.spec.name, slot, spec);
    let whole = if inode == 0 { base.clone() } else { format!("{base}#{inode}") };
    Some((base, whole))
}

/// Everything that could come back: its name, its slot, the name of the first slot's, and what it is; first slots first.
fn wanted(config: &Config) -> impl Iterator<Item = (String, u32, String, &SocketSpec)> {
    config.groups.iter().flat_map(|group| {
        let ours = group.sockets.iter().filter(|spec| spec.inherited.is_none());
        ours.flat_map(|spec| {
            let slots = if spec.reuseport { group.spec.count.get() } else { 1 };
            let name = &group.spec.name;
            (0..slots).map(move |slot| (base(name, slot, spec), slot, base(name, 0, spec), spec))
        })
    })
}

fn base(group: &str, slot: u32, spec: &SocketSpec) -> String {
    let SocketSpec { address, kind, mode, uid, gid, reuseport, v6only, interface, .. } = spec;
    let made = hash(&format!("{:?}", (group, address, kind, mode, uid, gid, reuseport, v6only, interface)));
    let mut name = format!("{PREFIX}{}/{slot}/", escaped(group.as_bytes()));
    name.push_str(&escaped(inherit::shown(address).as_bytes()));
    let _ = write!(name, "/{made:016x}");
    if name.len() > LONGEST {
        let whole = hash(&name);
        name.truncate(CUT);
        let _ = write!(name, "~{whole:016x}");
    }
    name
}

/// Without what a name in LISTEN_FDNAMES, or ours, cannot hold.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'#' | b'%' | b':' | b'/' | b'~' | ..=b' ' | 0x7f.. => drop(write!(text, "%{byte:02X}")),
            _ => text.push(char::from(*byte)),
        }
        text
    })
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Whether a descriptor is the socket that is configured.
fn is_that(spec: &SocketSpec, name: &str, fd: &OwnedFd) -> bool {
    let Some((address, _)) = inherit::described(fd).filter(|(_, kind)| *kind == spec.kind) else { return false };
    let chosen = |configured: &SocketAddr, found: &SocketAddr| {
        configured.ip() == found.ip() && [0, found.port()].contains(&configured.port())
    };
    match (&spec.address, &address) {
        (Address::Tcp(configured), Address::Tcp(found)) | (Address::Udp(configured), Address::Udp(found)) => {
            chosen(configured, found)
        }
        (Address::Unix(configured), Address::Unix(found)) => {
            let bound_to = name.split_once('#').and_then(|(_, inode)| inode.parse::<u64>().ok());
            configured == found && bound_to.is_some() && bound_to == paths::inode_of_socket(found)
        }
        (configured, found) => configured == found,
    }
}

fn same_address(one: &OwnedFd, other: &OwnedFd) -> bool {
    let address = |fd: &OwnedFd| net::getsockname(fd).ok().and_then(|address| SocketAddr::try_from(address).ok());
    address(one).is_some() && address(one) == address(other)
}

/// What may have been configured otherwise since it was made, and can be set anew.
fn made_anew(spec: &SocketSpec, fd: &OwnedFd) -> rustix::io::Result<()> {
    rustix::io::ioctl_fionbio(fd, spec.nonblocking)?;
    match spec.kind {
        Kind::Stream | Kind::SeqPacket => net::listen(fd, spec.backlog),
        Kind::Datagram => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn at(address: Address) -> SocketSpec {
        SocketSpec::at("as written".to_owned(), address)
    }

    #[test]
    fn a_name_is_one_that_can_be_passed_on_and_stands_for_one_socket_alone() {
        let tcp = at(Address::Tcp("[::1]:80".parse().unwrap()));
        let long = at(Address::Unix(PathBuf::from(format!("/{}", "#~/:".repeat(26)))));
        let also_long = at(Address::Unix(PathBuf::from(format!("/{}:", "#~/:".repeat(25)))));
        let specs = [
            tcp.clone(),
            SocketSpec { reuseport: true, ..tcp.clone() },
            SocketSpec { v6only: Some(true), ..tcp.clone() },
            SocketSpec { interface: Some("lo".to_owned()), ..tcp.clone() },
            at(Address::Udp("[::1]:80".parse().unwrap())),
            at(Address::Unix(PathBuf::from("/a"))),
            SocketSpec { mode: Some(0o600), ..at(Address::Unix(PathBuf::from("/a"))) },
            SocketSpec { kind: Kind::SeqPacket, ..at(Address::Unix(PathBuf::from("/a"))) },
            at(Address::Abstract("a".to_owned())),
            long,
            also_long,
        ];
        let mut names = BTreeSet::new();
        for group in ["a", "b", "a/0", "ä:\n"] {
            for (slot, spec) in [0, 1].into_iter().flat_map(|slot| specs.iter().map(move |spec| (slot, spec))) {
                let name = base(group, slot, spec);
                let longest = format!("{name}#{}", u64::MAX);
                let fits = longest.len() <= 255 && longest.bytes().all(|b| b.is_ascii_graphic() && b != b':');
                assert!(name.starts_with(PREFIX) && fits, "{longest:?}");
                assert!(names.insert(name.clone()), "{name:?} stands for two");
            }
        }
        let anew = SocketSpec { backlog: 7, nonblocking: true, written: "otherwise".to_owned(), ..tcp.clone() };
        assert_eq!(base("a", 0, &anew), base("a", 0, &tcp), "what can be set anew is the same socket");
    }

    #[test]
    fn a_descriptor_is_what_its_name_says_or_not_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = OwnedFd::from(listener);
        let spec = |address: &str| at(Address::Tcp(address.parse().unwrap()));
        assert!(is_that(&spec("127.0.0.1:0"), "", &tcp) && is_that(&spec(&format!("127.0.0.1:{port}")), "", &tcp));
        for other in ["127.0.0.2:0", "127.0.0.1:1", "[::1]:0"] {
            assert!(!is_that(&spec(other), "", &tcp), "{other}");
        }
        let path = std::env::temp_dir().join(format!("firestarter-shelf-{}", std::process::id()));
        let unix = OwnedFd::from(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let inode = paths::inode_of_socket(&path).unwrap();
        let bound = at(Address::Unix(path.clone()));
        assert!(is_that(&bound, &format!("x#{inode}"), &unix));
        for name in ["x".to_owned(), "x#".to_owned(), format!("x#{}", inode + 1)] {
            assert!(!is_that(&bound, &name, &unix), "{name}");
        }
        assert!(!is_that(&SocketSpec { kind: Kind::SeqPacket, ..bound.clone() }, &format!("x#{inode}"), &unix));
        std::fs::remove_file(path).unwrap();
        assert!(!is_that(&bound, &format!("x#{inode}"), &unix), "nobody reaches it any more");
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(!is_that(&spec("127.0.0.1:0"), "", &file));
    }
}
