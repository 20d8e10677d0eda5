//! The command socket's server: takes in clients and reads their lines, a thread each. Called by the room's `socket`, in a
//! process of its own that blocks as it likes. The listener was opened by Firestarter and outlives this process.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::build::Briefing;
use super::record;
use super::talk::{Next, Talk};
use crate::say::plain;
use crate::sys::credentials::peer_uid;
use crate::sys::fds;

/// So many clients at once.
const MOST: usize = 64;
/// A record is at most this long, its newline counted, in bytes.
const LONGEST: u64 = 16 * 1024;
/// A client that takes no answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no descriptor or thread is to be had.
const PAUSE: Duration = Duration::from_millis(100);
/// The first descriptor of a worker: sd_listen_fds(3).
const LISTENER: i32 = 3;

/// Why the command socket is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("this is run by firestarter einhorn, and by nobody else")]
    Stranger,
    #[error("accept: {}", plain(.0))]
    Accept(io::Error),
}

/// Serves until it is killed.
pub(super) fn serve(args: &[OsString]) -> Result<(), ServeError> {
    let briefing = args.first().and_then(|word| serde_json::from_str(word.to_str()?).ok());
    let briefing: Arc<Briefing> = Arc::new(briefing.ok_or(ServeError::Stranger)?);
    let own = std::process::id().to_string();
    let told = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == own);
    let listener = told.then(|| fds::adopt(LISTENER)).flatten().ok_or(ServeError::Stranger)?;
    let (listener, clients) = (UnixListener::from(listener), Arc::new(AtomicUsize::new(0)));
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, &briefing, &clients),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ECONNABORTED) => {}
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => thread::sleep(PAUSE),
                Some(_) | None => return Err(ServeError::Accept(error)),
            },
        }
    }
}

/// Lets in root and the owner.
fn admit(mut stream: UnixStream, briefing: &Arc<Briefing>, clients: &Arc<AtomicUsize>) {
    let own = rustix::process::geteuid().as_raw();
    if !peer_uid(stream.as_fd()).is_ok_and(|uid| uid == own || uid == 0) {
        return;
    }
    let _ = stream.set_write_timeout(Some(PATIENCE));
    if clients.fetch_add(1, Ordering::Relaxed) >= MOST {
        clients.fetch_sub(1, Ordering::Relaxed);
        let fault = format!("There are {MOST} clients already; end one of them");
        let _ = stream.write_all(record::write(&[("message", fault.into())]).as_bytes());
        return;
    }
    let (briefing, left) = (Arc::clone(briefing), Arc::clone(clients));
    let begun = thread::Builder::new().spawn(move || {
        let _ = converse(&stream, &briefing);
        left.fetch_sub(1, Ordering::Relaxed);
    });
    if begun.is_err() {
        clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one client until it goes.
fn converse(stream: &UnixStream, briefing: &Briefing) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let talk = Talk::new(stream, briefing);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && read as u64 == LONGEST {
            return talk.say(&format!("Could not parse command: it is longer than {LONGEST} bytes"), None, true);
        }
        match record::read(&line) {
            Ok(request) => match talk.answer(&request)? {
                Next::Stay => {}
                Next::Close => return Ok(()),
            },
            Err(fault) => talk.say(&format!("Could not parse command: {fault}"), None, true)?,
        }
    }
}
