//! Reads `--port` and `--path`: what is listened at, under which name workers are told of it, and as which number they
//! get it. Called by `server_starter`. It looks names of hosts up, which is why only a start may call it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::path::Path;

use super::options::Options;
use crate::config::{Address, SocketSpec};

/// The numbers that a worker can get a socket as: its standard input, or one of the first that are no stream.
const FIRST: RawFd = 3;
const LAST: RawFd = 57;
const BACKLOG: i32 = 4096;

/// The sockets, and the number of each.
///
/// # Errors
/// An address or a number that cannot be.
pub(super) fn read(options: &Options, cwd: &Path) -> Result<(Vec<SocketSpec>, Vec<RawFd>), String> {
    let backlog = options.backlog.unwrap_or(BACKLOG);
    let socket = |written: String, address, mode| SocketSpec { backlog, mode, ..SocketSpec::at(written, address) };
    let (mut sockets, mut wanted) = (Vec::new(), Vec::new());
    for port in &options.ports {
        let (written, address, number) = port_of(port)?;
        sockets.push(socket(written, address, None));
        wanted.push(number);
    }
    for path in &options.paths {
        let address = crate::config::parse_address(&format!("unix::{path}"), cwd);
        let address = address.map_err(|fault| format!("--path={path}: {fault}; {}", fault.advice()))?;
        // Everybody may connect: so it is there, where the umask is set aside.
        sockets.push(socket(path.clone(), address, Some(0o777)));
        wanted.push(None);
    }
    let twice = |at: usize| sockets[..at].iter().any(|before: &SocketSpec| before.address == sockets[at].address);
    if let Some(at) = (0..sockets.len()).find(|at| twice(*at)) {
        return Err(format!("{} is there twice: remove one of the two", sockets[at].written));
    }
    Ok((sockets, numbers(&wanted)?))
}

/// Each gets its number, or the lowest that is left.
fn numbers(wanted: &[Option<RawFd>]) -> Result<Vec<RawFd>, String> {
    let chosen: Vec<RawFd> = wanted.iter().copied().flatten().collect();
    if let Some(at) = (0..chosen.len()).find(|at| chosen[..*at].contains(&chosen[*at])) {
        return Err(format!("--port: two sockets cannot both have the number {}", chosen[at]));
    }
    let mut left = (FIRST..=LAST).filter(|number| !chosen.contains(number));
    let number = |wanted: &Option<RawFd>| wanted.or_else(|| left.next());
    let numbers: Option<Vec<RawFd>> = wanted.iter().map(number).collect();
    numbers.ok_or_else(|| format!("at most {} sockets are possible", LAST - FIRST + 1))
}

/// `[HOST:][u]PORT[=FD]`: as it is told to workers, where it is, and its number.
fn port_of(text: &str) -> Result<(String, Address, Option<RawFd>), String> {
    let wrong = |what: &str| format!("--port={text}: {what}; write 8080, 127.0.0.1:8080, [::1]:8080 or 8080=3");
    let (address, number) = match text.split_once('=') {
        Some((address, number)) => (address.trim(), Some(number.trim())),
        None => (text.trim(), None),
    };
    let number = match number.map(str::parse::<RawFd>) {
        None => None,
        Some(Ok(number)) if number == 0 || (FIRST..=LAST).contains(&number) => Some(number),
        Some(_) => return Err(wrong(&format!("a socket's number is 0, or from {FIRST} to {LAST}"))),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (Some(host.trim()), port.trim()),
        None => (None, address),
    };
    let (datagrams, digits) = port.strip_prefix('u').map_or((false, port), |digits| (true, digits));
    let port: u16 = digits.parse().map_err(|_| wrong("the port is no number from 0 to 65535"))?;
    let ip = match host {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(host) => ip_of(host).ok_or_else(|| wrong("there is no such host"))?,
    };
    let written = match (host, ip) {
        (None, _) => digits.to_owned(),
        (Some(_), IpAddr::V6(ip)) => format!("[{ip}]:{digits}"),
        (Some(host), IpAddr::V4(_)) => format!("{host}:{digits}"),
    };
    let address = SocketAddr::new(ip, port);
    Ok((written, if datagrams { Address::Udp(address) } else { Address::Tcp(address) }, number))
}

/// An address, in brackets or not, or what a name stands for.
fn ip_of(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().or_else(|| (bare, 0).to_socket_addrs().ok()?.map(|address| address.ip()).find(IpAddr::is_ipv4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_they_are_written() {
        let read = |text| port_of(text).map(|(written, address, number)| (written, format!("{address:?}"), number));
        for (text, written, address, number) in [
            ("8080", "8080", "Tcp(0.0.0.0:8080)", None),
            ("8080=3", "8080", "Tcp(0.0.0.0:8080)", Some(3)),
            ("127.0.0.1:80 = 57", "127.0.0.1:80", "Tcp(127.0.0.1:80)", Some(57)),
            ("[::1]:80=0", "[::1]:80", "Tcp([::1]:80)", Some(0)),
            ("localhost:1", "localhost:1", "Tcp(127.0.0.1:1)", None),
            ("u53", "53", "Udp(0.0.0.0:53)", None),
            ("127.0.0.1:u53", "127.0.0.1:53", "Udp(127.0.0.1:53)", None),
        ] {
            assert_eq!(read(text), Ok((written.to_owned(), address.to_owned(), number)), "{text}");
        }
        for text in ["", ":", "80=", "80=1", "80=2", "80=58", "80=-1", "65536", "x:y", "=3", "u", "80=3=4"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_chosen_are_the_lowest_that_are_left() {
        assert_eq!(numbers(&[None, Some(3), Some(0), None]), Ok(vec![4, 3, 0, 5]));
        assert!(numbers(&[Some(3), None, Some(3)]).is_err());
        assert_eq!(numbers(&[None; 55]).map(|numbers| numbers.len()), Ok(55));
        assert!(numbers(&[None; 58]).is_err());
    }
}
