//! Faults of a new program that takes another's place, for tests: in debug builds alone, and only where a variable asks for
//! one. A release build has none of it.

use crate::journal::{Handover, Records};
use crate::sys::clone::exit_now;

/// `slow`: it answers only when there is a file named `go`. `leaves`: it leaves a process that has its output open.
/// `execute`: it cannot be executed. `refused`: it cannot take over after all. `stuck`: nor can the program before, as long as
/// there is a file named `stuck`. `died`: its daemons die. `late`: its daemon never gets to work.
const VARIABLE: &str = "FIRESTARTER_HANDOVER_FAULT";

fn asked(fault: &str) -> bool {
    cfg!(debug_assertions) && std::env::var(VARIABLE).is_ok_and(|value| value == fault)
}

fn wanted(fault: &str, records: Records) -> bool {
    asked(fault) && records.header.handover().state() == Handover::Trial
}

/// Called before an answer is given.
pub(super) fn in_answer() {
    while asked("slow") && !std::path::Path::new("go").exists() {
        let _ = std::fs::write("asked", "");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    if asked("leaves") {
        let _ = std::process::Command::new("sleep").arg("1000").spawn();
    }
}

/// Whether nothing is to be executed.
pub(super) fn in_execution() -> bool {
    asked("execute")
}

/// Whether the program is to find that it cannot take over.
pub(super) fn refuses(records: Records) -> bool {
    wanted("refused", records) || asked("stuck") && std::path::Path::new("stuck").exists()
}

/// Called by a new daemon before anything else.
pub(super) fn in_daemon(records: Records) {
    if wanted("died", records) {
        exit_now(1);
    }
    while wanted("late", records) {
        std::thread::park();
    }
}
