//! The client's end of the control socket: connect, send one request, wait for its one reply. Called by `cli/` (and `http/`,
//! `tui/`). Blocking. It never asks twice: a daemon that dies and comes back keeps the connection and answers on it, so
//! waiting is enough, and a connection that closes before the reply is an error.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::api::{self, Call, Garbled, Id, Order, Outcome, Progress, Received, Request};

/// A reply longer than this is no reply of ours; the status of ten thousand workers is about 1 MB.
const MAX_REPLY: usize = 64 << 20;

/// How long to wait for the daemon's processes to end when it has said that everything is stopped.
const PARTING: Duration = Duration::from_secs(2);

/// A connection to a daemon, for one request.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    path: PathBuf,
    limit: Option<Limit>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens there, or there is no such socket.
    #[error("connect {}: {source}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The socket is somebody else's.
    #[error("connect {}: {source}", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Something else went wrong on the way.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The daemon and its keeper are gone, or it threw us out. Whether the request was carried out is not known.
    #[error("read {}: closed before the reply", path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// Who listens there does not speak our protocol.
    #[error("read {}: {source}", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: Garbled,
    },
    /// The user does not want to wait any longer; what was ordered goes on.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// By this signal.
        signal: i32,
    },
    /// The time is over; what was ordered goes on.
    #[error("no reply within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

/// Who looks on while a client waits for its reply.
pub(crate) trait Onlooker {
    /// How far the order is, and the line that says so.
    fn progress(&mut self, progress: Progress, line: &[u8]);

    /// Waits until there may be something to read, at most so long; says whether that is so.
    ///
    /// # Errors
    /// The wait is to end.
    fn wait(&mut self, stream: BorrowedFd<'_>, left: Option<Duration>) -> Result<bool, ClientError>;
}

/// Nobody looks on: reading waits.
struct Nobody;

impl Onlooker for Nobody {
    fn progress(&mut self, _: Progress, _: &[u8]) {}

    fn wait(&mut self, _: BorrowedFd<'_>, _: Option<Duration>) -> Result<bool, ClientError> {
        Ok(true)
    }
}

/// How long to wait for everything together.
#[derive(Clone, Copy, Debug)]
struct Limit {
    until: Instant,
    whole: Duration,
}

impl Client {
    /// Connects to the socket at `path`. `timeout` counts from here and holds for the reply too; none waits for ever.
    pub(crate) fn connect(path: &Path, timeout: Option<Duration>) -> Result<Client, ClientError> {
        let io = |operation, errno: Errno| ClientError::Io { operation, path: path.to_owned(), source: errno.into() };
        // A time-out beyond what the clock can count is as good as none.
        let limit = timeout.and_then(|whole| Some(Limit { until: Instant::now().checked_add(whole)?, whole }));
        let address = SocketAddrUnix::new(path).map_err(|errno| io("connect", errno))?;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| io("socket", errno))?;
        loop {
            // A daemon that accepts nobody lets connect wait too, as long as it lets writes wait.
            let left = limit.map(Limit::left).transpose()?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, left)
                .map_err(|errno| io("setsockopt", errno))?;
            match net::connect(&socket, &address) {
                Ok(()) => break,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(refused(path, errno)),
            }
        }
        Ok(Client { stream: UnixStream::from(socket), path: path.to_owned(), limit })
    }

    /// Sends the request and waits for its reply.
    pub(crate) fn ask(self, call: &Call) -> Result<Received, ClientError> {
        self.follow(call, &mut Nobody)
    }

    /// The same, with somebody who looks on meanwhile.
    pub(crate) fn follow(mut self, call: &Call, onlooker: &mut dyn Onlooker) -> Result<Received, ClientError> {
        let id = Id::from(1);
        let request = Request { id: id.clone(), call: call.clone() };
        match self.stream.write_all(api::request_line(&request).as_bytes()) {
            Ok(()) => {}
            // It may have said why before it closed.
            Err(error) if closed(&error) => {}
            Err(error) if late(&error) => return Err(self.timed_out()),
            Err(source) => return Err(self.io("write", source)),
        }
        let mut waiting = Vec::new();
        loop {
            let line = self.line(&mut waiting, onlooker)?;
            if let Some(progress) = api::parse_progress(&line) {
                onlooker.progress(progress, &line);
                continue;
            }
            let received =
                api::parse_reply(&line).map_err(|source| ClientError::Protocol { path: self.path.clone(), source })?;
            // Null stands in the reply to what the daemon could not read, and we have sent nothing else. What bears another
            // id is the repetition of a reply that a recovered daemon could not know to have been read.
            if received.id == id || received.id == Id::Null {
                if *call == Call::Do(Order::Shutdown) && matches!(received.outcome, Outcome::Answer(_)) {
                    self.outlive();
                }
                return Ok(received);
            }
        }
    }

    /// The next line; `waiting` holds what was read beyond it.
    fn line(&mut self, waiting: &mut Vec<u8>, onlooker: &mut dyn Onlooker) -> Result<Vec<u8>, ClientError> {
        let mut seen = 0;
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(at) = waiting[seen..].iter().position(|byte| *byte == b'\n') {
                let rest = waiting.split_off(seen + at + 1);
                return Ok(std::mem::replace(waiting, rest));
            }
            seen = waiting.len();
            if seen > MAX_REPLY {
                return Err(ClientError::Protocol { path: self.path.clone(), source: Garbled::Shape });
            }
            let left = self.limit.map(Limit::left).transpose()?;
            if !onlooker.wait(self.stream.as_fd(), left)? {
                continue;
            }
            self.stream.set_read_timeout(left).map_err(|source| self.io("setsockopt", source))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed { path: self.path.clone() }),
                Ok(count) => waiting.extend_from_slice(&chunk[..count]),
                Err(error) if closed(&error) => return Err(ClientError::Closed { path: self.path.clone() }),
                // Whether the time is really over is found out above.
                Err(error) if late(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.io("read", source)),
            }
        }
    }

    /// After `shutdown` was answered: waits until the last of the daemon's processes has let go of the connection, so that
    /// `stop && run` finds the sockets free. Briefly; it has been answered, so nothing here is an error.
    fn outlive(mut self) {
        let whole = PARTING;
        self.limit = Instant::now().checked_add(whole).map(|until| Limit { until, whole });
        let mut waiting = Vec::new();
        while self.line(&mut waiting, &mut Nobody).is_ok() {}
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { after: self.limit.map_or(Duration::ZERO, |limit| limit.whole) }
    }

    fn io(&self, operation: &'static str, source: io::Error) -> ClientError {
        ClientError::Io { operation, path: self.path.clone(), source }
    }
}

impl Limit {
    /// What is left, never zero: the kernel reads zero as "for ever".
    fn left(self) -> Result<Duration, ClientError> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left.max(Duration::from_micros(1))),
            Some(_) | None => Err(ClientError::TimedOut { after: self.whole }),
        }
    }
}

fn refused(path: &Path, errno: Errno) -> ClientError {
    let (path, source) = (path.to_owned(), errno.into());
    match errno {
        Errno::NOENT | Errno::CONNREFUSED => ClientError::NoDaemon { path, source },
        Errno::ACCESS | Errno::PERM => ClientError::Denied { path, source },
        _ => ClientError::Io { operation: "connect", path, source },
    }
}

fn closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Answer, Done, Question, What};
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("firestarter-client-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).expect("a new folder");
            Folder(folder)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A daemon for one connection: reads the request, does `then`, closes.
    fn daemon(folder: &Folder, then: impl FnOnce(&mut UnixStream) + Send + 'static) -> JoinHandle<String> {
        let listener = UnixListener::bind(folder.socket()).expect("bind");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).expect("a request");
            then(&mut stream);
            request
        })
    }

    fn list(folder: &Folder, timeout: Option<Duration>) -> Result<Received, ClientError> {
        Client::connect(&folder.socket(), timeout)?.ask(&Call::Ask(Question::List))
    }

    fn names(id: u64, name: &str) -> String {
        api::reply_line(&id.into(), &Outcome::names(vec![name.into()]))
    }

    #[test]
    fn gets_its_reply_in_pieces_and_late() {
        let folder = Folder::new();
        let daemon = daemon(&folder, |stream| {
            for byte in names(1, "web").bytes() {
                thread::sleep(Duration::from_millis(1));
                stream.write_all(&[byte]).expect("write");
            }
        });
        assert_eq!(list(&folder, None).expect("a reply").outcome, Outcome::names(vec!["web".into()]));
        let request = daemon.join().expect("no panic");
        assert_eq!(api::parse(request.as_bytes()).expect("a request").call, Call::Ask(Question::List));
    }

    #[test]
    fn passes_over_replies_to_others_and_repetitions() {
        let folder = Folder::new();
        let daemon = daemon(&folder, |stream| {
            let lines = [names(7, "no"), names(1, "web"), names(1, "again")].concat();
            stream.write_all(lines.as_bytes()).expect("write");
        });
        assert_eq!(list(&folder, None).expect("a reply").outcome, Outcome::names(vec!["web".into()]));
        daemon.join().expect("no panic");
    }

    #[test]
    fn a_shutdown_waits_until_the_daemon_has_gone() {
        let folder = Folder::new();
        let gone = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&gone);
        let daemon = daemon(&folder, move |stream| {
            let done = Outcome::Answer(Answer::Done(Done { group: None, what: What::ShutDown }));
            stream.write_all(api::reply_line(&1.into(), &done).as_bytes()).expect("write");
            thread::sleep(Duration::from_millis(20));
            leaving.store(true, Ordering::SeqCst);
        });
        let client = Client::connect(&folder.socket(), None).expect("it listens");
        client.ask(&Call::Do(Order::Shutdown)).expect("a reply");
        assert!(gone.load(Ordering::SeqCst));
        daemon.join().expect("no panic");
    }

    #[test]
    fn a_fault_without_id_is_its_reply() {
        let folder = Folder::new();
        let daemon = daemon(&folder, |stream| {
            stream.write_all(api::fault_line(&api::Fault::too_long(10)).as_bytes()).expect("write");
        });
        let outcome = list(&folder, None).expect("a reply").outcome;
        assert!(matches!(outcome, Outcome::Other { code: -32600, .. }), "{outcome:?}");
        daemon.join().expect("no panic");
    }

    #[test]
    fn a_connection_closed_too_early_is_said_to_be() {
        for said in ["", "{\"jsonrpc\":"] {
            let folder = Folder::new();
            let daemon = daemon(&folder, move |stream| stream.write_all(said.as_bytes()).expect("write"));
            let error = list(&folder, None).expect_err("closed");
            assert!(matches!(error, ClientError::Closed { .. }), "{error}");
            daemon.join().expect("no panic");
        }
    }

    #[test]
    fn garbage_is_a_protocol_error() {
        let folder = Folder::new();
        let daemon = daemon(&folder, |stream| stream.write_all(b"HTTP/1.1 400\r\n\r\n").expect("write"));
        let error = list(&folder, None).expect_err("garbage");
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
        daemon.join().expect("no panic");
    }

    #[test]
    fn silence_and_endless_chatter_time_out() {
        for chatter in ["", "x"] {
            let folder = Folder::new();
            let daemon = daemon(&folder, move |stream| {
                // Until the client has gone.
                while stream.write_all(chatter.as_bytes()).is_ok() && !chatter.is_empty() {
                    thread::sleep(Duration::from_millis(1));
                }
                let _ = stream.read(&mut [0]);
            });
            let error = list(&folder, Some(Duration::from_millis(30))).expect_err("silence");
            assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
            daemon.join().expect("no panic");
        }
    }

    #[test]
    fn a_full_queue_times_out_too() {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.socket()).expect("bind");
        net::listen(&listener, 0).expect("listen");
        let mut held = Vec::new();
        let error = loop {
            match Client::connect(&folder.socket(), Some(Duration::from_millis(30))) {
                Ok(client) => held.push(client),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn nobody_there() {
        let folder = Folder::new();
        let error = list(&folder, None).expect_err("no socket");
        assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
        drop(UnixListener::bind(folder.socket()).expect("bind"));
        let error = list(&folder, None).expect_err("nobody listens");
        assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
        assert!(error.to_string().contains(&folder.socket().display().to_string()));
    }

    #[test]
    fn a_path_too_long_is_an_error_and_no_panic() {
        let path = PathBuf::from(format!("/{}", "x".repeat(200)));
        let error = Client::connect(&path, None).expect_err("too long");
        assert!(matches!(error, ClientError::Io { .. }), "{error}");
    }
}
