//! The demo's load: clients that ask without a pause, each request on a new TCP connection, and the count of what came of
//! it. Called by the demo's acts. It forgives nothing by itself: a request that gets no whole and right reply has failed,
//! but for the one that the demo's own `kill -9` may cut (`Load::forgive_cut`).

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// So many requests are under way at the same time.
pub(super) const CLIENTS: usize = 8;

/// A server that takes longer for anything has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many failures are told with their cause.
const TOLD: usize = 5;

/// After a failure a client waits a little, so that a server that is gone does not make a million of them.
const PAUSE: Duration = Duration::from_millis(20);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n";

/// A longer reply is none of the demo's workers.
const LONGEST: u64 = 4096;

/// The clients at work.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    over: AtomicBool,
    /// Grows with each `mark`.
    era: AtomicU64,
    tally: Mutex<Tally>,
}

/// What came of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Since the beginning.
    pub(super) whole: Counts,
    /// In this act.
    pub(super) act: Counts,
    /// The first failures in words.
    pub(super) faults: Vec<String>,
    /// How many of the requests begun since the last mark each release has answered.
    pub(super) releases: BTreeMap<u32, u64>,
    /// How many requests the demo's own `kill -9` may still cut.
    forgiven: u32,
}

/// Numbers of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Answered as they should be.
    pub(super) answered: u64,
    /// Not answered, or not as they should be.
    pub(super) failed: u64,
    /// Cut because the demo killed the worker that had it in hand.
    pub(super) cut: u64,
    /// From before the connection to the end of the reply.
    pub(super) slowest: Duration,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("send the request: {0}")]
    Send(io::Error),
    #[error("read the reply after {got} bytes: {source}")]
    Receive { got: usize, source: io::Error },
    #[error("closed without a reply")]
    NoReply,
    #[error("not the reply of a worker: {0:?}")]
    Garbled(String),
}

impl Fault {
    /// Whether a client sees just this when the worker that has its request in hand is killed. A connection that cannot be
    /// made is no such case: the queue belongs to all workers.
    fn may_be_a_cut(&self) -> bool {
        let reset = |error: &io::Error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        match self {
            Fault::Connect(_) | Fault::Garbled(_) => false,
            Fault::Send(source) | Fault::Receive { got: _, source } => reset(source),
            Fault::NoReply => true,
        }
    }
}

impl Load {
    /// Sets the clients to work.
    ///
    /// # Errors
    /// No threads.
    pub(super) fn start(target: SocketAddr) -> io::Result<Load> {
        let (over, era, tally) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { target, over, era, tally });
        let mut load = Load { shared, clients: Vec::new() };
        for _ in 0..CLIENTS {
            let shared = Arc::clone(&load.shared);
            load.clients.push(thread::Builder::new().name("client".to_owned()).spawn(move || shared.ask_on())?);
        }
        Ok(load)
    }

    /// What has come of the requests by now.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// A look at the count that does not need the load itself.
    pub(super) fn gauge(&self) -> impl Fn() -> Tally + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.tally().clone()
    }

    /// A new act begins: what may be cut in it is for the act to say.
    pub(super) fn begin_act(&self) {
        let mut tally = self.shared.tally();
        tally.act = Counts::default();
        tally.forgiven = 0;
    }

    /// From now on `Tally::releases` counts requests that begin later than this.
    pub(super) fn mark(&self) {
        let mut tally = self.shared.tally();
        self.shared.era.fetch_add(1, Ordering::SeqCst);
        tally.releases.clear();
    }

    /// A worker has one request in hand at most, so to kill one may cut one request, for the rest of the act.
    pub(super) fn forgive_cut(&self) {
        self.shared.tally().forgiven += 1;
    }

    /// Waits for the requests under way; the count is complete then.
    pub(super) fn stop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_on(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let era = self.era.load(Ordering::SeqCst);
            let began = Instant::now();
            let reply = ask(self.target);
            let failed = reply.is_err();
            {
                let mut tally = self.tally();
                let current = era == self.era.load(Ordering::SeqCst);
                tally.count(reply, began.elapsed(), current);
            }
            if failed {
                thread::sleep(PAUSE);
            }
        }
    }
}

impl Tally {
    /// Counts a request; `current` if it began after the last mark.
    fn count(&mut self, reply: Result<u32, Fault>, took: Duration, current: bool) {
        let cut = reply.as_ref().is_err_and(|fault| self.forgiven > 0 && fault.may_be_a_cut());
        self.forgiven -= u32::from(cut);
        for counts in [&mut self.whole, &mut self.act] {
            counts.slowest = counts.slowest.max(took);
            match reply {
                Ok(_) => counts.answered += 1,
                Err(_) if cut => counts.cut += 1,
                Err(_) => counts.failed += 1,
            }
        }
        match reply {
            Ok(release) if current => *self.releases.entry(release).or_default() += 1,
            Err(fault) if !cut && self.faults.len() < TOLD => {
                self.faults.push(format!("{fault} ({} ms after it began)", took.as_millis()));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// One request; the release that answered.
fn ask(target: SocketAddr) -> Result<u32, Fault> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(Fault::Connect)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Fault::Connect)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(Fault::Connect)?;
    stream.write_all(REQUEST).map_err(Fault::Send)?;
    let mut reply = Vec::with_capacity(256);
    let read = stream.take(LONGEST).read_to_end(&mut reply);
    // To the end of the stream, so that the worker closes first and no port of a client's waits for its time to pass.
    read.map_err(|source| Fault::Receive { got: reply.len(), source })?;
    match reply.as_slice() {
        [] => Err(Fault::NoReply),
        bytes => release(bytes).ok_or_else(|| Fault::Garbled(String::from_utf8_lossy(bytes).into_owned())),
    }
}

/// The release that a whole reply names in its body, `PID RELEASE`.
fn release(reply: &[u8]) -> Option<u32> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(reply).ok()? else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = std::str::from_utf8(length.value).ok()?.parse().ok()?;
    let body = reply.get(head..).filter(|body| response.code == Some(200) && body.len() == length)?;
    let (pid, release) = std::str::from_utf8(body).ok()?.trim_end().split_once(' ')?;
    pid.parse::<u32>().ok().and(release.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn reset() -> Fault {
        Fault::Receive { got: 0, source: ErrorKind::ConnectionReset.into() }
    }

    #[test]
    fn the_release_of_a_whole_reply_and_of_no_other() {
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n4711 2\n";
        assert_eq!(release(reply), Some(2));
        for end in 0..reply.len() {
            assert_eq!(release(&reply[..end]), None, "{end}");
        }
        assert_eq!(release(b"HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\n4711 2\n"), None);
        assert_eq!(release(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"), None);
    }

    #[test]
    fn a_cut_is_forgiven_once_and_only_what_a_killed_worker_explains() {
        let mut tally = Tally::default();
        tally.count(Err(reset()), MS, true);
        tally.forgiven = 1;
        tally.count(Err(Fault::Connect(ErrorKind::ConnectionRefused.into())), MS, true);
        tally.count(Err(Fault::NoReply), MS, true);
        tally.count(Err(reset()), MS, true);
        assert_eq!((tally.whole.failed, tally.whole.cut, tally.forgiven), (3, 1, 0));
        assert_eq!(tally.faults.len(), 3);
        assert_eq!(tally.faults[1], "connect: connection refused (1 ms after it began)");
    }

    #[test]
    fn counts_by_act_and_by_release() {
        let mut tally = Tally::default();
        tally.count(Ok(1), 7 * MS, true);
        tally.act = Counts::default();
        tally.count(Ok(1), 3 * MS, false);
        tally.count(Ok(2), 2 * MS, true);
        assert_eq!((tally.whole.answered, tally.whole.slowest), (3, 7 * MS));
        assert_eq!((tally.act.answered, tally.act.slowest), (2, 3 * MS));
        assert_eq!(tally.releases, BTreeMap::from([(1, 1), (2, 1)]));
    }

    #[test]
    fn only_the_first_failures_are_told() {
        let mut tally = Tally::default();
        (0..TOLD + 3).for_each(|_| tally.count(Err(Fault::NoReply), MS, true));
        assert_eq!((tally.faults.len(), tally.whole.failed), (TOLD, TOLD as u64 + 3));
    }
}
