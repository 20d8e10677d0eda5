//! A line for people, on the standard error stream. Called by the keeper and the daemon, which must not wait for whoever
//! reads it: what the stream does not take at once is counted, and told of with the next line.
//!
//! A terminal or a pipe is opened once more for that, since not to wait is a property of the open file, and the one that
//! was inherited is also the workers' and the shell's. A file is written to as it is: nobody holds it up but the disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use rustix::fs::{fstat, FileType};
use rustix::net::{send, SendFlags};

/// Where lines go once [`prepare`] was called.
static VOICE: OnceLock<Voice> = OnceLock::new();
/// Lines that were not taken, or not whole.
static UNSAID: AtomicU64 = AtomicU64::new(0);

enum Voice {
    Own(File),
    Socket,
    Inherited,
}

/// A terminal or a pipe takes so many bytes whole or not at all (POSIX: `PIPE_BUF`).
const LONGEST: usize = 4096;

/// Makes sure that no later line waits for its reader. Returns the descriptor that this opened, which must stay open.
pub(crate) fn prepare() -> Option<BorrowedFd<'static>> {
    let voice = VOICE.get_or_init(|| match fstat(io::stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Fifo | FileType::CharacterDevice) => {
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            let own = File::options().write(true).custom_flags(flags).open("/proc/self/fd/2");
            // A terminal that belongs to another user cannot be opened again.
            own.map_or(Voice::Inherited, Voice::Own)
        }
        Ok(FileType::Socket) => Voice::Socket,
        Ok(_) | Err(_) => Voice::Inherited,
    });
    match voice {
        Voice::Own(file) => Some(file.as_fd()),
        Voice::Socket | Voice::Inherited => None,
    }
}

/// The system's words for an error, which begin with a capital and end with the number, as a part of a sentence.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Says a line, in one write.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    let unsaid = UNSAID.swap(0, Ordering::Relaxed);
    let text = match unsaid {
        0 => format!("firestarter: {message}\n"),
        _ => format!("firestarter: ({unsaid} lines before this one found nobody who reads)\nfirestarter: {message}\n"),
    };
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = &text.as_bytes()[..end];
    let written = match VOICE.get() {
        Some(Voice::Own(file)) => rustix::io::write(file, bytes),
        Some(Voice::Socket) => send(io::stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        Some(Voice::Inherited) | None => rustix::io::write(io::stderr(), bytes),
    };
    if written != Ok(bytes.len()) {
        UNSAID.fetch_add(unsaid + 1, Ordering::Relaxed);
    }
}
