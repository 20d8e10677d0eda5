//! The demo's worker, `firestarter demo-worker RELEASE_FILE`: a small HTTP server, written as any server could be that
//! wants to be started by Firestarter. It boots, acks, serves one request at a time from the shared socket, and when
//! asked to stop it finishes the request in hand and ends. Called by `main`. It never binds an address itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{getpid, Signal};

use crate::sys::fds;
use crate::sys::signals::{self, SignalFd};

/// As long as a real server may need to be ready.
const BOOT: Duration = Duration::from_millis(300);

/// How long a client may take for its request; a worker has but one in hand.
const PATIENCE: Duration = Duration::from_secs(2);

/// A longer head is no request of the demo's.
const LONGEST: usize = 4096;

/// Systemd's `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

/// With this exit code a broken release ends.
pub(super) const BROKEN: u8 = 3;

/// Boots and serves; the exit code.
pub(crate) fn main(args: &[OsString]) -> u8 {
    // First of all: a stop that comes while it boots waits until it is read.
    signals::block_and_reset();
    match work(args) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "demo-worker: {error}");
            error.code()
        }
    }
}

/// Why a worker ends by itself.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("demo-worker is started by `firestarter demo`: it wants one word, the file with its release")]
    Usage,
    #[error("LISTEN_PID and LISTEN_FDS name no socket for this process")]
    NoListener,
    #[error("read the release {}: {source}", path.display())]
    Release { path: PathBuf, source: io::Error },
    #[error("release {0} is broken on purpose: exit code {BROKEN} before the ack")]
    Broken(u32),
    #[error("{operation}: {source}")]
    Io { operation: &'static str, source: io::Error },
}

impl WorkerError {
    fn code(&self) -> u8 {
        match self {
            WorkerError::Usage => 2,
            WorkerError::Broken(_) => BROKEN,
            WorkerError::NoListener | WorkerError::Release { .. } | WorkerError::Io { .. } => 1,
        }
    }
}

/// Turns the kernel's word into an error of ours.
fn io_error<E: Into<io::Error>>(operation: &'static str) -> impl Fn(E) -> WorkerError {
    move |source| WorkerError::Io { operation, source: source.into() }
}

fn work(args: &[OsString]) -> Result<(), WorkerError> {
    let [file] = args else { return Err(WorkerError::Usage) };
    let stops = [Signal::TERM, Signal::USR2].map(Signal::as_raw);
    let stop = SignalFd::new(&stops).map_err(io_error("signalfd"))?;
    let listener = inherited()?;
    let release = Release::read(Path::new(file))?;
    if asked_to_stop(&stop, BOOT)? {
        return Ok(());
    }
    if release.broken {
        return Err(WorkerError::Broken(release.number));
    }
    ack()?;
    serve(&listener, &stop, release.number)
}

/// What a worker is an instance of, as its file says: `2`, or `3 broken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Release {
    number: u32,
    /// Such a release ends with [`BROKEN`] before it acks.
    broken: bool,
}

impl Release {
    fn read(path: &Path) -> Result<Release, WorkerError> {
        let wrong = |source| WorkerError::Release { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(wrong)?;
        Release::parse(&text).ok_or_else(|| wrong(io::Error::other(format!("{text:?} is none"))))
    }

    fn parse(text: &str) -> Option<Release> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (number, broken) = match words.as_slice() {
            [number] => (number, false),
            [number, "broken"] => (number, true),
            _ => return None,
        };
        Some(Release { number: number.parse().ok()?, broken })
    }
}

/// The shared socket.
fn inherited() -> Result<TcpListener, WorkerError> {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<i32>().ok());
    let ours = number("LISTEN_PID") == Some(getpid().as_raw_nonzero().get());
    if !ours || number("LISTEN_FDS") != Some(1) {
        return Err(WorkerError::NoListener);
    }
    let listener = TcpListener::from(fds::adopt(FIRST).ok_or(WorkerError::NoListener)?);
    // All workers wake up for each connection and one gets it: the others must not wait in accept for the next.
    listener.set_nonblocking(true).map_err(io_error("make the socket non-blocking"))?;
    Ok(listener)
}

/// Whether a stop comes within this time.
fn asked_to_stop(stop: &SignalFd, within: Duration) -> Result<bool, WorkerError> {
    let limit = Timespec::try_from(within).map_err(|error| io_error("poll")(io::Error::other(error)))?;
    let mut fds = [PollFd::new(stop.fd(), PollFlags::IN)];
    poll(&mut fds, Some(&limit)).map(|ready| ready > 0).map_err(io_error("poll"))
}

/// Says that it serves from now on.
fn ack() -> Result<(), WorkerError> {
    let path = env::var_os("FIRESTARTER_SOCK_PATH").unwrap_or_default();
    let mut socket = UnixStream::connect(OsStr::new(&path)).map_err(io_error("connect to FIRESTARTER_SOCK_PATH"))?;
    socket.write_all(b"{\"command\":\"worker:ack\",\"pid\":0,\"signal\":null}\n").map_err(io_error("ack"))
}

/// Answers each request with its pid and release, until it is asked to stop. What waits in the shared queue by then is
/// for the other workers.
fn serve(listener: &TcpListener, stop: &SignalFd, release: u32) -> Result<(), WorkerError> {
    let body = format!("{} {release}\n", getpid());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ";
    let reply = format!("{head}{}\r\n\r\n{body}", body.len());
    loop {
        let mut fds = [PollFd::new(stop.fd(), PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        poll(&mut fds, None).map_err(io_error("poll"))?;
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        match listener.accept() {
            // A client that goes away or talks nonsense harms itself alone.
            Ok((client, _)) => drop(answer(client, reply.as_bytes())),
            Err(error) if not_this_time(&error) => {}
            Err(error) => return Err(io_error("accept")(error)),
        }
    }
}

/// Another worker was faster, or the client did not wait.
fn not_this_time(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

fn answer(mut client: TcpStream, reply: &[u8]) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; LONGEST];
    let mut filled = 0;
    while !whole(&buffer[..filled])? {
        match client.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    client.write_all(reply)
}

/// Whether this is a whole request and not just its beginning.
fn whole(request: &[u8]) -> io::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    match httparse::Request::new(&mut headers).parse(request) {
        Ok(status) => Ok(status.is_complete()),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_number_and_may_be_broken() {
        let release = |number, broken| Some(Release { number, broken });
        assert_eq!(Release::parse("2\n"), release(2, false));
        assert_eq!(Release::parse("3 broken\n"), release(3, true));
        for other in ["", "broken", "3 whole", "-1", "3 broken 4"] {
            assert_eq!(Release::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_request_is_whole_with_its_empty_line() {
        let request = b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n";
        for end in 0..request.len() {
            assert!(!whole(&request[..end]).expect("the beginning of a request"), "{end}");
        }
        assert!(whole(request).expect("a request"));
        assert!(whole(b"\0").is_err());
    }

    #[test]
    fn answers_a_request_that_comes_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("a client");
        let worker = std::thread::spawn(move || answer(accepted, b"HTTP/1.1 200 OK\r\n\r\n"));
        for byte in b"GET / HTTP/1.1\r\n\r\n" {
            client.write_all(&[*byte]).expect("it reads");
        }
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("a reply");
        assert_eq!(reply, "HTTP/1.1 200 OK\r\n\r\n");
        worker.join().expect("no panic").expect("no error");
    }
}
