//! What the tests of the core share: the check of the invariants.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use firestarter_core::Supervisor;

/// Panics with the first invariant that does not hold. A build without debug assertions has none to check.
pub fn check_invariants(supervisor: &Supervisor) {
    #[cfg(debug_assertions)]
    if let Err(fault) = supervisor.check_invariants() {
        panic!("invariant: {fault}");
    }
    #[cfg(not(debug_assertions))]
    let _ = supervisor;
}
