//! A line for people, on the standard error stream. Called by the keeper and the daemon, which must not wait for whoever
//! reads it: a line is written where the stream can take it at once, and counted and told of later where it cannot.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// Lines that found the stream full.
static UNSAID: AtomicU64 = AtomicU64::new(0);

/// A pipe that is ready takes so many bytes at once and whole (POSIX: `PIPE_BUF`).
const LONGEST: usize = 4096;

/// Says a line, in one write.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
    if !poll(&mut fds, Some(&no_wait)).is_ok_and(|ready| ready > 0) {
        UNSAID.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let text = match UNSAID.swap(0, Ordering::Relaxed) {
        0 => format!("firestarter: {message}\n"),
        unsaid => {
            format!("firestarter: ({unsaid} lines before this one found nobody who reads)\nfirestarter: {message}\n")
        }
    };
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let _ = rustix::io::write(&stderr, &text.as_bytes()[..end]);
}
