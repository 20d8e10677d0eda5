//! Reads one address of `socket_address`: `IP:PORT`, `[::1]:PORT`, `PORT` on 127.0.0.1, a path with `/`, `@NAME` for an
//! abstract unix socket, or one of these behind `tcp::`, `udp::` or `unix::`; or `systemd::NAME` for one that is inherited.
//!
//! Called by `sockets`. Never binds anything and never looks a name up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What a listener listens at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// Port 0: the kernel chooses.
    Tcp(SocketAddr),
    /// Port 0: the kernel chooses. Datagrams.
    Udp(SocketAddr),
    /// Absolute.
    Unix(PathBuf),
    /// A name in the network namespace, without the `@`: unix(7).
    Abstract(String),
    /// A socket that Firestarter is given by whoever starts it, by its name in `LISTEN_FDNAMES`.
    Inherited(String),
}

/// `sun_path` has room for so many bytes and a NUL: unix(7).
pub(crate) const LONGEST_PATH: usize = 107;

/// sd_listen_fds_with_names(3).
pub(crate) const LONGEST_NAME: usize = 255;

/// Whether something can be one of the names in `LISTEN_FDNAMES`.
pub(crate) fn can_be_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b':')
}

/// Why something is no address that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressFault {
    /// Something else before `::`.
    #[error("unknown prefix {0}::")]
    Prefix(String),
    /// A number above 65535 where a port belongs.
    #[error("port {0} is not from 0 to 65535")]
    Port(String),
    /// None of the forms.
    #[error("expected IP:PORT, [IPV6]:PORT, PORT, @NAME or a path with /")]
    Form {
        /// What was probably meant.
        hint: String,
    },
    /// More than fits.
    #[error("the socket's path has {0} bytes, at most {LONGEST_PATH} are possible")]
    TooLong(usize),
    /// No name of an inherited socket.
    #[error("{0:?} cannot be a name in LISTEN_FDNAMES")]
    Inherited(String),
    /// `@` alone, or more than fits.
    #[error("the name after @ has {0} bytes, it can have from 1 to {LONGEST_PATH}")]
    Name(usize),
}

impl AddressFault {
    /// What to write instead.
    pub(crate) fn advice(&self) -> String {
        match self {
            AddressFault::Prefix(_) => "write tcp::, udp::, unix:: or systemd::, or no prefix".to_owned(),
            AddressFault::Name(_) => "write a name such as @web".to_owned(),
            AddressFault::Inherited(_) => {
                format!("write systemd:: and at most {LONGEST_NAME} ASCII characters without :, as FileDescriptorName= says")
            }
            AddressFault::Port(_) => "write a smaller port; 0 lets the kernel choose one".to_owned(),
            AddressFault::Form { hint } => hint.clone(),
            AddressFault::TooLong(_) => "choose a shorter path, or start the daemon in a folder nearer to /".to_owned(),
        }
    }
}

/// Reads an address. A path that is relative counts from `cwd`.
pub(crate) fn parse(written: &str, cwd: &Path) -> Result<Address, AddressFault> {
    match written.split_once("::") {
        Some((prefix, rest)) if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_alphabetic()) => {
            match prefix.to_ascii_lowercase().as_str() {
                "tcp" => internet(rest).map(Address::Tcp),
                "udp" => internet(rest).map(Address::Udp),
                "unix" => unix(rest, cwd),
                "systemd" if can_be_name(rest) => Ok(Address::Inherited(rest.to_owned())),
                "systemd" => Err(AddressFault::Inherited(rest.to_owned())),
                _ => Err(AddressFault::Prefix(prefix.to_owned())),
            }
        }
        Some(_) | None if written.starts_with('@') || written.contains('/') => unix(written, cwd),
        Some(_) | None => internet(written).map(Address::Tcp),
    }
}

/// The path, absolute and without needless dots and slashes; `..` stays, as it may go through a symlink.
pub(crate) fn absolute(path: &str, cwd: &Path) -> PathBuf {
    cwd.join(path).components().collect()
}

fn internet(written: &str) -> Result<SocketAddr, AddressFault> {
    if let Ok(address) = written.parse::<SocketAddr>() {
        return Ok(address);
    }
    let port = written.rsplit_once(':').map_or(written, |(_, port)| port);
    if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
        match port.parse::<u16>() {
            Ok(port) if port_alone(written) => return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            Ok(_) => {}
            Err(_) => return Err(AddressFault::Port(port.to_owned())),
        }
    }
    Err(AddressFault::Form { hint: hint(written) })
}

fn port_alone(written: &str) -> bool {
    written.bytes().all(|b| b.is_ascii_digit())
}

fn unix(written: &str, cwd: &Path) -> Result<Address, AddressFault> {
    if let Some(name) = written.strip_prefix('@') {
        return match name.len() {
            1..=LONGEST_PATH => Ok(Address::Abstract(name.to_owned())),
            length => Err(AddressFault::Name(length)),
        };
    }
    if written.is_empty() {
        return Err(AddressFault::Form { hint: "write a path after unix::".to_owned() });
    }
    let path = absolute(written, cwd);
    match path.as_os_str().len() {
        length if length > LONGEST_PATH => Err(AddressFault::TooLong(length)),
        _ => Ok(Address::Unix(path)),
    }
}

/// What somebody who wrote this probably wants to write.
fn hint(written: &str) -> String {
    if let Some(name) = written.strip_prefix("systemd:") {
        return format!("write systemd::{name}");
    }
    let (host, port) = written.rsplit_once(':').unwrap_or((written, ""));
    let port = if port.parse::<u16>().is_ok() { port } else { "8080" };
    match written.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => return format!("add a port: {written}:{port}"),
        Ok(IpAddr::V6(_)) => return "write brackets and a port, such as [::1]:8080".to_owned(),
        Err(_) => {}
    }
    let unbracketed = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match (host, unbracketed) {
        ("" | "*", _) => format!("for all addresses write 0.0.0.0:{port} or [::]:{port}"),
        ("localhost", _) => format!("names are not looked up: write 127.0.0.1:{port}"),
        (_, Ok(ip)) => format!("write {}", SocketAddr::new(ip, port.parse().unwrap_or(8080))),
        (_, Err(_)) if written.contains(':') => {
            format!("names are not looked up: write an address such as 127.0.0.1:{port}")
        }
        (_, Err(_)) => format!("for a unix socket write a path with /, such as ./{host}"),
    }
}
