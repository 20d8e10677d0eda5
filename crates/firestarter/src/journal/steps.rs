//! The stores to shared memory that a next daemon or writer goes by, each one a step at which this one may be killed. A
//! debug build makes each visible from outside, to who traces its system calls: `tests/steps.rs` kills it there. In unit
//! tests `deaths` does. A release build does nothing here but to store.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;

/// Stores a word.
pub(super) fn put(word: &AtomicU64, value: u64) {
    step();
    word.store(value, Release);
}

/// Called before something changes that others see.
pub(super) fn step() {
    #[cfg(test)]
    super::deaths::step();
    // A system call that changes nothing and that nothing else here makes.
    #[cfg(debug_assertions)]
    let _ = rustix::process::getppid();
}
