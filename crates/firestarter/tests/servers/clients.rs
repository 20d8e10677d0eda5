//! Who asks a real server while it is upgraded: slow requests, connections that are kept, and the backend of proxies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use crate::harness::load::exchange;

/// A request that the server takes two seconds for, so that at each switch one is under way.
pub(crate) fn slow(address: SocketAddr) -> io::Result<String> {
    let answer = exchange(address, b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    match answer.contains(" 200 ") && !answer.ends_with("\r\n\r\n") {
        true => Ok(answer),
        false => Err(io::Error::other(format!("a slow request: {answer:?}"))),
    }
}

/// For each address, how many requests went over a kept connection, and how many found it closed.
static KEPT_ONES: Mutex<BTreeMap<SocketAddr, [u64; 2]>> = Mutex::new(BTreeMap::new());

/// How many requests to this address went over a kept connection, and how many found it closed while it was idle.
pub(crate) fn over_kept(address: SocketAddr) -> [u64; 2] {
    KEPT_ONES.lock().expect("no panic").get(&address).copied().unwrap_or_default()
}

fn count(address: SocketAddr, place: usize) {
    KEPT_ONES.lock().expect("no panic").entry(address).or_default()[place] += 1;
}

thread_local!(static KEPT: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) });

/// A request over the connection of the one before. A server may close an idle connection just when the request is on
/// its way (RFC 9112, 9.3.1), and then every client asks again: that is counted apart. A broken answer is a failure.
pub(crate) fn kept(address: SocketAddr) -> io::Result<String> {
    let before = KEPT.with(RefCell::take);
    if let Some(stream) = before {
        match over(stream) {
            Err(error) if error.kind() == ErrorKind::NotConnected => count(address, 1),
            Ok(body) => {
                count(address, 0);
                return Ok(body);
            }
            Err(error) => return Err(error),
        };
    }
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(30))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    over(BufReader::new(stream))
}

/// One request and its answer. `NotConnected`: the connection was closed, and not a byte was answered.
fn over(mut stream: BufReader<TcpStream>) -> io::Result<String> {
    let closed = |cause: &str| io::Error::new(ErrorKind::NotConnected, format!("a kept connection: {cause}"));
    let asked = stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
    asked.map_err(|error| closed(&error.to_string()))?;
    let (mut length, mut close, mut first) = (None, false, String::new());
    match stream.read_line(&mut first) {
        Ok(0) => return Err(closed("no answer")),
        Err(error) if first.is_empty() && error.kind() == ErrorKind::ConnectionReset => return Err(closed("a reset")),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    if !first.contains(" 200 ") {
        return Err(io::Error::other(format!("a kept connection: {first:?}")));
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a kept connection: cut within the head"));
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("content-length", value)) => length = value.parse().ok(),
            Some(("connection", value)) => close = value == "close",
            Some(_) | None if line.is_empty() => break,
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length.ok_or_else(|| io::Error::other("a kept connection: an answer without length"))?];
    stream.read_exact(&mut body)?;
    if !close && !first.starts_with("HTTP/1.0") {
        KEPT.with(|kept| kept.replace(Some(stream)));
    }
    String::from_utf8(body).map_err(io::Error::other)
}

/// What a proxy stands before: answers a little late, or two seconds late at /slow, as long as the test lives.
pub(crate) fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a backend");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    address
}

fn answer(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    std::thread::sleep(Duration::from_millis(if request.starts_with("GET /slow ") { 2000 } else { 5 }));
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nbackend")
}
