//! Stops a test at any step, as a SIGKILL would: from the step at which it strikes nothing is done any more, so no
//! clearing up either. Each thread has its own count. Only in tests.

use std::cell::{Cell, RefCell};
use std::io;

thread_local! {
    /// So many steps are still done; none: all of them.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    /// So many bytes can still be written; none: as many as there are.
    static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
    /// What is looked at before each step, and what was seen.
    static WATCH: RefCell<Option<Box<dyn Fn() -> bool>>> = const { RefCell::new(None) };
    static SEEN: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    static STRUCK: Cell<bool> = const { Cell::new(false) };
}

/// Called before each step that changes something.
pub(super) fn step() -> io::Result<()> {
    if let Some(seen) = WATCH.with_borrow(|watch| watch.as_ref().map(|look| look())) {
        SEEN.with_borrow_mut(|all| all.push(seen));
    }
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

/// Called before bytes are written: a step as well, and the disk may be full.
pub(super) fn write(bytes: usize) -> io::Result<()> {
    step()?;
    match ROOM.get() {
        None => Ok(()),
        Some(room) if room < bytes => Err(io::ErrorKind::StorageFull.into()),
        Some(room) => {
            ROOM.set(Some(room - bytes));
            Ok(())
        }
    }
}

/// Does something and looks at something else before each of its steps.
pub(super) fn watched<T>(look: impl Fn() -> bool + 'static, work: impl FnOnce() -> T) -> (Vec<bool>, T) {
    WATCH.replace(Some(Box::new(look)));
    let done = work();
    WATCH.replace(None);
    (SEEN.take(), done)
}

/// Does something on a disk with so much room.
pub(super) fn with_room<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    ROOM.set(Some(bytes));
    let done = work();
    ROOM.set(None);
    done
}

/// Does something that is killed after so many steps. Says whether it came to its end before.
pub(super) fn after<T>(steps: u32, work: impl FnOnce() -> T) -> (bool, T) {
    LEFT.set(Some(steps));
    let done = work();
    LEFT.set(None);
    (!STRUCK.take(), done)
}
