//! Ends what a test does at any step, as a SIGKILL would: between two stores to shared memory, or between two writes. What
//! is left then is what the next writer finds. Also a disk that is full. Only in tests; each thread has its own.

use std::cell::Cell;
use std::io;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

thread_local! {
    /// So many steps are still done; none: all of them.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    /// So much goes into one write.
    static PART: Cell<usize> = const { Cell::new(usize::MAX) };
    /// So much goes onto the disk.
    static ROOM: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Killed;

/// Called before each step that others see.
pub(crate) fn step() {
    match LEFT.get() {
        None => {}
        Some(0) => {
            LEFT.set(None);
            resume_unwind(Box::new(Killed))
        }
        Some(left) => LEFT.set(Some(left - 1)),
    }
}

/// What of these bytes goes into the next write.
pub(crate) fn part(bytes: &[u8]) -> io::Result<&[u8]> {
    step();
    let length = bytes.len().min(PART.get()).min(ROOM.get());
    if length == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    if ROOM.get() != usize::MAX {
        ROOM.set(ROOM.get() - length);
    }
    Ok(&bytes[..length])
}

pub(crate) fn set_part(bytes: usize) {
    PART.set(bytes);
}

pub(crate) fn set_room(bytes: usize) {
    ROOM.set(bytes);
}

/// Does something that is killed after so many steps. None: it was.
pub(crate) fn after<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(Some(steps));
    let done = catch_unwind(AssertUnwindSafe(work));
    LEFT.set(None);
    match done {
        Ok(done) => Some(done),
        Err(cause) if cause.is::<Killed>() => None,
        Err(cause) => resume_unwind(cause),
    }
}
