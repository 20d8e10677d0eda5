//! A load that asks workers: a new connection for each request, every answer counted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What one request does: an address in, what was answered out.
pub(crate) type Ask = fn(SocketAddr) -> io::Result<String>;

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

pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(30))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("an empty answer"));
    }
    Ok(answer)
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
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let one = |_| {
            let (stop, served, failures) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&failures));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match ask(address) {
                        Ok(_) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.lock().expect("no panic").push(error.to_string()),
                    }
                }
            })
        };
        let threads = (0..threads).map(one).collect();
        Load { stop, served, failures, threads }
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
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
    pub(crate) fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic in the load");
        }
        let failures = self.failures.lock().expect("no panic").clone();
        (self.served.load(Ordering::Relaxed), failures)
    }
}
