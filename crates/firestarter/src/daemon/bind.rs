//! Opens sockets: TCP, UDP, unix paths and names. Called by `open`, before the keeper, when there is one thread. Sockets
//! block, as workers of any family expect, unless the daemon alone uses them. What else there may be at a path is neither
//! followed nor harmed.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{fstat, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{self, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::umask;

use super::open::OpenError;
use crate::config::{Address, Kind, SocketSpec};
use crate::sys::{fds, sockets};

/// Who may connect to a path; where nothing is said, whom the umask leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// How many clients, or connections of workers, may wait to be taken in.
const CLIENT_BACKLOG: i32 = 512;

/// A group's shared socket. The inner error is one of its address.
pub(super) fn shared(spec: &SocketSpec) -> Result<io::Result<OwnedFd>, OpenError> {
    let SocketSpec { address, backlog, mode, uid, gid, kind, .. } = spec;
    if let Some(number) = spec.inherited {
        return Ok(fds::adopt(number).ok_or_else(|| Errno::BADF.into()));
    }
    let (backlog, rights) = (*backlog, Rights { mode: *mode, uid: *uid, gid: *gid });
    let socket = match address {
        Address::Tcp(address) | Address::Udp(address) if spec.reuseport => first_of_slots(spec, *address),
        Address::Tcp(address) | Address::Udp(address) => internet(spec, *address),
        Address::Abstract(name) => abstract_name(name, *kind, backlog),
        Address::Unix(path) => unix(path, SocketFlags::CLOEXEC, *kind, backlog, rights)?,
        Address::Inherited(_) => Err(Errno::BADF.into()),
    };
    Ok(socket.and_then(|socket| {
        rustix::io::ioctl_fionbio(&socket, spec.nonblocking)?;
        Ok(socket)
    }))
}

/// One more socket of TCP or UDP at the address of another: for a slot, where each has its own.
pub(super) fn beside(spec: &SocketSpec, first: impl AsFd) -> io::Result<OwnedFd> {
    internet(spec, SocketAddr::try_from(net::getsockname(first)?)?)
}

/// A socket of the daemon that only one user, and root, can connect to: its own, or the given one.
pub(super) fn private(path: &Path, owner: Option<(u32, u32)>) -> Result<io::Result<OwnedFd>, OpenError> {
    let rights = Rights { mode: Some(0o600), uid: owner.map(|(uid, _)| uid), gid: owner.map(|(_, gid)| gid) };
    unix(path, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Kind::Stream, CLIENT_BACKLOG, rights)
}

/// Where the workers of a group tell how they are: only their user, and root, can send to it. Each datagram says who sent
/// it.
pub(super) fn notify(path: &Path, owner: Option<(u32, u32)>) -> Result<io::Result<OwnedFd>, OpenError> {
    let rights = Rights { mode: Some(0o600), uid: owner.map(|(uid, _)| uid), gid: owner.map(|(_, gid)| gid) };
    let address = SocketAddrUnix::new(path).map_err(|_| OpenError::TooLong(path.to_owned()))?;
    make_way(path, &address)?;
    let bind = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        let own = umask(Mode::from_raw_mode(0o177));
        let bound = net::bind(&socket, &address);
        umask(own);
        bound?;
        give(path, rights, own).inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(socket)
    };
    Ok(bind())
}

/// Listens at a path. A socket that nobody listens at any more is replaced.
fn unix(
    path: &Path,
    flags: SocketFlags,
    kind: Kind,
    backlog: i32,
    rights: Rights,
) -> Result<io::Result<OwnedFd>, OpenError> {
    let address = SocketAddrUnix::new(path).map_err(|_| OpenError::TooLong(path.to_owned()))?;
    make_way(path, &address)?;
    let listen = || {
        let socket = net::socket_with(AddressFamily::UNIX, type_of(kind), flags, None)?;
        let own = umask(Mode::from_raw_mode(0o177));
        umask(if rights == Rights::default() { own } else { Mode::from_raw_mode(0o177) });
        let bound = net::bind(&socket, &address);
        umask(own);
        bound?;
        // Listening comes last: until the rights are as they should be, nobody connects. (A socket for datagrams takes
        // them from now on: the umask has kept others out since it was bound.)
        give(path, rights, own)
            .and_then(|()| listen_if_connected(&socket, kind, backlog))
            .inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(socket)
    };
    Ok(listen())
}

/// Removes a socket that nobody listens at.
fn make_way(path: &Path, address: &SocketAddrUnix) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(there) if !there.file_type().is_socket() => return Err(OpenError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    let failed = |what| move |source: io::Error| OpenError::File { what, path: path.to_owned(), source };
    // Who listens there may have a full queue: that is not waited for.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| failed("connect to")(errno.into()))?;
    match net::connect(&socket, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("remove")),
        Err(Errno::NOENT) => Ok(()),
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => Err(failed("connect to")(errno.into())),
        Ok(()) | Err(_) => Err(OpenError::Live(path.to_owned())),
    }
}

/// Sets the rights of the path that was just bound. It is opened first, without following a link, and looked at: whoever
/// can write to its folder may have put something else there, which must not be given away.
fn give(path: &Path, rights: Rights, own_umask: Mode) -> io::Result<()> {
    if rights == Rights::default() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::open(path, flags, Mode::empty())?;
    let found = fstat(&there)?;
    let own = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_uid != own || found.st_nlink != 1 {
        return Err(io::Error::other("somebody else has put something in its place"));
    }
    // Before it is given away: afterwards that would take one more capability. There is no call that does this by such a
    // descriptor before Linux 6.6, but /proc has a name for it.
    let mode = rights.mode.unwrap_or(0o777 & !own_umask.as_raw_mode());
    fs::set_permissions(format!("/proc/self/fd/{}", there.as_raw_fd()), Permissions::from_mode(mode))?;
    if rights.uid.is_some() || rights.gid.is_some() {
        let (uid, gid) = (rights.uid.map(Uid::from_raw), rights.gid.map(Gid::from_raw));
        rustix::fs::chownat(&there, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// A name without a file. Anybody in the network namespace may connect: the kernel knows no rights of such names.
fn abstract_name(name: &str, kind: Kind, backlog: i32) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = net::socket_with(AddressFamily::UNIX, type_of(kind), SocketFlags::CLOEXEC, None)?;
    net::bind(&socket, &address)?;
    listen_if_connected(&socket, kind, backlog)?;
    Ok(socket)
}

/// The first of several sockets at one address. Sockets that share a port are no error to the kernel, also if they are
/// another program's (of the same user): so it is tried first whether the port could be had alone.
fn first_of_slots(spec: &SocketSpec, address: SocketAddr) -> io::Result<OwnedFd> {
    let alone = SocketSpec { reuseport: false, ..spec.clone() };
    drop(bound(&alone, address)?);
    let socket = internet(spec, address)?;
    // Whoever may not do this closes the socket of a slot all the same: see `slots`.
    let _ = sockets::hand_on_when_closed(socket.as_fd());
    Ok(socket)
}

fn internet(spec: &SocketSpec, address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bound(spec, address)?;
    listen_if_connected(&socket, spec.kind, spec.backlog)?;
    Ok(socket)
}

/// Without SO_REUSEADDR for UDP: a port of UDP is free as soon as it is closed, and with it two programs could share one
/// unawares. For TCP, connections of a Firestarter before this one may still be dying.
fn bound(spec: &SocketSpec, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, type_of(spec.kind), SocketFlags::CLOEXEC, None)?;
    if spec.kind == Kind::Stream {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if spec.reuseport {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if let Some(only) = spec.v6only {
        sockopt::set_ipv6_v6only(&socket, only)?;
    }
    if let Some(interface) = &spec.interface {
        sockets::bind_to_interface(socket.as_fd(), interface)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

fn listen_if_connected(socket: &OwnedFd, kind: Kind, backlog: i32) -> io::Result<()> {
    match kind {
        Kind::Stream | Kind::SeqPacket => Ok(net::listen(socket, backlog)?),
        Kind::Datagram => Ok(()),
    }
}

fn type_of(kind: Kind) -> SocketType {
    match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
        Kind::SeqPacket => SocketType::SEQPACKET,
    }
}
