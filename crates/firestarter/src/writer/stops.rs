//! Stops a test at any step, as a SIGKILL would: from the step at which it strikes nothing is done any more, so no
//! clearing up either. Each thread has its own count. Only in tests.

use std::cell::Cell;
use std::io;

thread_local! {
    /// So many steps are still done; none: all of them.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static STRUCK: Cell<bool> = const { Cell::new(false) };
}

/// Called before each step that changes something.
pub(super) fn step() -> io::Result<()> {
    match LEFT.get() {
        None => Ok(()),
        Some(0) => {
            STRUCK.set(true);
            Err(io::Error::other("killed"))
        }
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// Does something that is killed after so many steps. Says whether it came to its end before.
pub(super) fn after<T>(steps: u32, work: impl FnOnce() -> T) -> (bool, T) {
    LEFT.set(Some(steps));
    let done = work();
    LEFT.set(None);
    (!STRUCK.take(), done)
}
