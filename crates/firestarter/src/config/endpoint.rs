//! Reads whom a probe asks, once its variables are in their places: `IP:PORT`, `[IPV6]:PORT`, `localhost:PORT`,
//! `unix:PATH`, and for HTTP `http://…` around it.
//!
//! Called by `health` when the configuration is read, and by whoever asks. Never connects and never looks a name up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::address::LONGEST_PATH;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Over TCP.
    Internet(SocketAddr),
    /// A unix socket. A relative path counts from where the daemon was started.
    Unix(PathBuf),
}

/// Who is asked over HTTP, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Who.
    pub(crate) endpoint: Endpoint,
    /// The `Host` of the request.
    pub(crate) host: String,
    /// The path, with its query. Begins with `/`; no blanks, no control characters.
    pub(crate) path: String,
}

/// Why nobody can be asked there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointFault {
    /// TLS.
    #[error("https is not spoken")]
    Https,
    /// None of the forms.
    #[error("expected http://IP:PORT/PATH or unix:SOCKET:/PATH")]
    NoUrl,
    /// None of the forms.
    #[error("expected IP:PORT, [IPV6]:PORT, localhost:PORT or unix:PATH")]
    NoAddress,
    /// A name that would have to be looked up.
    #[error("the name {0} is not looked up")]
    Name(String),
    /// No number from 1 to 65535 where a port belongs.
    #[error("port {0} is not from 1 to 65535")]
    Port(String),
    /// More than fits.
    #[error("the socket's path has {0} bytes, from 1 to {LONGEST_PATH} are possible")]
    Length(usize),
    /// Something that would end the request's first line.
    #[error("a blank or control character cannot stand in a URL")]
    Blank,
}

impl EndpointFault {
    /// What to write instead.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            EndpointFault::Https => "write http://, or ask by command, such as curl",
            EndpointFault::NoUrl => "write a URL such as http://127.0.0.1:800$FIRESTARTER_SLOT/health",
            EndpointFault::NoAddress => "write an address such as 127.0.0.1:800$FIRESTARTER_SLOT",
            EndpointFault::Name(_) => "write the address; localhost is 127.0.0.1",
            EndpointFault::Port(_) => "write another port, or use unix:PATH, which holds any number",
            EndpointFault::Length(_) => "choose a shorter path",
            EndpointFault::Blank => "write it percent-encoded, such as %20",
        }
    }
}

/// Reads a URL.
pub(crate) fn url(text: &str) -> Result<Resource, EndpointFault> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(EndpointFault::Blank);
    }
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with("https://") {
        return Err(EndpointFault::Https);
    }
    let rest = if lower.starts_with("http://") { &text[7..] } else { text };
    if let Some(socket) = rest.strip_prefix("unix:") {
        let (path, target) = socket.split_once(":/").unwrap_or((socket, ""));
        let path = unix(path)?;
        return Ok(Resource {
            endpoint: path,
            host: "localhost".to_owned(),
            path: format!("/{}", fragmentless(target)),
        });
    }
    if rest.len() == text.len() {
        return Err(EndpointFault::NoUrl);
    }
    let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(cut);
    let target = fragmentless(target);
    let path = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let no_url = |fault| if fault == EndpointFault::NoAddress { EndpointFault::NoUrl } else { fault };
    let endpoint = internet(host, Some(80)).map_err(no_url)?;
    Ok(Resource { endpoint, host: host.to_owned(), path })
}

/// Reads an address.
pub(crate) fn address(text: &str) -> Result<Endpoint, EndpointFault> {
    match text.strip_prefix("unix:") {
        Some(path) => unix(path),
        None => internet(text, None),
    }
}

fn fragmentless(target: &str) -> &str {
    target.split('#').next().unwrap_or_default()
}

fn unix(path: &str) -> Result<Endpoint, EndpointFault> {
    match path.len() {
        1..=LONGEST_PATH => Ok(Endpoint::Unix(PathBuf::from(path))),
        length => Err(EndpointFault::Length(length)),
    }
}

/// `HOST:PORT`; without a port the one that is usual, if any is.
fn internet(text: &str, usual: Option<u16>) -> Result<Endpoint, EndpointFault> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match in_brackets {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(EndpointFault::NoAddress)?)),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match (port, usual) {
        (Some(written), _) => match written.parse::<u16>() {
            Ok(port) if port > 0 && !written.starts_with('+') => port,
            Ok(_) | Err(_) => return Err(EndpointFault::Port(shown(written))),
        },
        (None, Some(usual)) => usual,
        (None, None) => return Err(EndpointFault::NoAddress),
    };
    let ip = match host {
        "" => return Err(EndpointFault::NoAddress),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv6() == in_brackets.is_some() => ip,
            Ok(_) => return Err(EndpointFault::NoAddress),
            Err(_) => return Err(EndpointFault::Name(shown(host))),
        },
    };
    Ok(Endpoint::Internet(SocketAddr::new(ip, port)))
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}
