//! A load that asks workers, on new connections or on such that stay, every answer counted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What one request does: an address in, what was answered out.
pub(crate) type Ask = fn(SocketAddr) -> io::Result<String>;

/// Whoever waits so long for an answer has lost a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the tests' worker.
pub(crate) fn plain(address: SocketAddr) -> io::Result<String> {
    exchange(address, b"?")
}

/// Asks a web server; the status line must say 200, and the body is the answer.
pub(crate) fn http(address: SocketAddr) -> io::Result<String> {
    let answer = exchange(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    match body {
        Some(body) if answer.starts_with("HTTP/1.1 200") => Ok(body),
        Some(_) | None => Err(io::Error::other(format!("not what was asked for: {answer:?}"))),
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = connect(address)?;
    stream.write_all(request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("an empty answer"));
    }
    Ok(answer)
}

/// Asks `worker keep` over one connection until that says by a "." that it is the last time, as a worker does that was told
/// to end. So each request has an answer, and a connection that ends without a word has lost one.
pub(crate) struct Kept {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Kept {
    pub(crate) fn new(address: SocketAddr) -> Kept {
        Kept { address, stream: None }
    }

    pub(crate) fn ask(&mut self) -> io::Result<()> {
        let mut stream = self.stream.take().map_or_else(|| connect(self.address), Ok)?;
        stream.write_all(b"+")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                return Err(io::Error::other(format!("closed after {answer:?}")));
            }
            answer.extend(byte);
        }
        if !answer.ends_with(b".\n") {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

/// Requests from several threads, one after the other in each, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, threads: usize, ask: Ask) -> Load {
        Load::of((0..threads).map(|_| move || ask(address).map(drop)))
    }

    /// A thread for each of these, which asks once whenever it is called.
    pub(crate) fn of<A: FnMut() -> io::Result<()> + Send + 'static>(asking: impl IntoIterator<Item = A>) -> Load {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let one = |mut ask: A| {
            let (stop, served, failures) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failures));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match ask() {
                        Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.lock().expect("no panic").push(error.to_string()),
                    }
                }
            })
        };
        let threads = asking.into_iter().map(one).collect();
        Load { stop, served, failures, threads }
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// What became of the requests that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("no panic").clone()
    }

    /// Waits until so many more requests were served.
    pub(crate) fn goes_on(&self, more: u64) {
        let before = self.served();
        super::until("requests being served", || self.served() >= before + more);
    }

    /// Ends it; not one request may have failed.
    pub(crate) fn stop(self) -> u64 {
        let (served, failures) = self.end();
        assert!(failures.is_empty(), "{} of {served} requests failed: {:?}", failures.len(), failures.first());
        served
    }

    /// Ends it: how many requests were served, and what became of the others.
    pub(crate) fn end(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic in the load");
        }
        (self.served(), self.failures())
    }
}
