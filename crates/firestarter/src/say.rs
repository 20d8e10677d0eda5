//! A line for people, on the standard error stream. Called by the keeper, the daemon and the writer, which must not wait
//! for whoever reads it: what the stream does not take at once is counted, and told of with the next line. A [`Mouth`] is
//! such a stream.
//!
//! A terminal or a pipe is opened once more for that, since not to wait is a property of the open file, and the one that
//! was inherited is also the workers' and the shell's. A file is written to as it is: nobody holds it up but the disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fstat, FileType};
use rustix::io::Errno;
use rustix::net::{send, SendFlags};

/// Where lines go once [`prepare`] was called.
static VOICE: OnceLock<Mouth> = OnceLock::new();
/// What lines begin with.
static LEVEL: OnceLock<&'static str> = OnceLock::new();
/// Lines that were not taken, or not whole.
static UNSAID: AtomicU64 = AtomicU64::new(0);

/// A standard stream, written to without waiting for who reads it.
pub(crate) enum Mouth {
    /// A terminal or a pipe, opened once more.
    Own(File),
    /// One that could not be: a terminal that belongs to another user.
    Inherited(BorrowedFd<'static>),
    Socket(BorrowedFd<'static>),
    /// A file: nobody holds it up but the disk.
    File(BorrowedFd<'static>),
}

/// A terminal or a pipe takes so many bytes whole or not at all (POSIX: `PIPE_BUF`).
pub(crate) const LONGEST: usize = 4096;

impl Mouth {
    pub(crate) fn new(stream: BorrowedFd<'static>) -> Mouth {
        match fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
                let own = File::options().write(true).custom_flags(flags).open(path);
                own.map_or(Mouth::Inherited(stream), Mouth::Own)
            }
            Ok(FileType::Socket) => Mouth::Socket(stream),
            Ok(_) | Err(_) => Mouth::File(stream),
        }
    }

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// `EAGAIN`: nothing was. Others as of write(2).
    pub(crate) fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Mouth::Own(file) => rustix::io::write(file, bytes),
            Mouth::Socket(stream) => send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Mouth::File(stream) => rustix::io::write(stream, bytes),
            Mouth::Inherited(stream) => {
                let mut room = [PollFd::from_borrowed_fd(*stream, PollFlags::OUT)];
                let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut room, Some(&no_wait))? == 0 {
                    return Err(Errno::AGAIN);
                }
                rustix::io::write(stream, &bytes[..bytes.len().min(LONGEST)])
            }
        }
    }

    /// What becomes ready when there is room.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Mouth::Own(file) => file.as_fd(),
            Mouth::Inherited(stream) | Mouth::Socket(stream) | Mouth::File(stream) => *stream,
        }
    }
}

/// Makes sure that no later line waits for its reader. `levelled`: the reader is systemd's journal, and each line begins
/// with the level "notice" (sd-daemon(3)). Returns the descriptor that this opened, which must stay open.
pub(crate) fn prepare(levelled: bool) -> Option<BorrowedFd<'static>> {
    LEVEL.get_or_init(|| if levelled { "<5>" } else { "" });
    match VOICE.get_or_init(|| Mouth::new(rustix::stdio::stderr())) {
        Mouth::Own(file) => Some(file.as_fd()),
        Mouth::Inherited(_) | Mouth::Socket(_) | Mouth::File(_) => None,
    }
}

/// The system's words for an error, which begin with a capital and end with the number, as a part of a sentence.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// As [`plain`], of an error's number.
pub(crate) fn plain_errno(errno: i32) -> String {
    plain(&io::Error::from_raw_os_error(errno))
}

/// Says a line, in one write.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    let unsaid = UNSAID.swap(0, Ordering::Relaxed);
    let name = format!("{}firestarter", LEVEL.get().unwrap_or(&""));
    let text = match unsaid {
        0 => format!("{name}: {message}\n"),
        _ => format!("{name}: ({unsaid} lines before this one found nobody who reads)\n{name}: {message}\n"),
    };
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = &text.as_bytes()[..end];
    let written = match VOICE.get() {
        Some(mouth) => mouth.write(bytes),
        None => rustix::io::write(io::stderr(), bytes),
    };
    if written != Ok(bytes.len()) {
        UNSAID.fetch_add(unsaid + 1, Ordering::Relaxed);
    }
}
