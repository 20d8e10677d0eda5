//! When no daemon lives long enough to stop the workers and somebody asks to stop, the keeper does it itself: TERM to
//! each, KILL to what is left after ten seconds. It is rough, and better than orphans.

use std::time::{Duration, Instant};

use crate::journal::Table;
use crate::say::say;
use crate::sys::signals::signal_group;
use crate::sys::wait;

const PATIENCE: Duration = Duration::from_secs(10);

/// Ends every worker; returns the exit code for this failure.
pub(super) fn stop_all(table: &Table) -> u8 {
    say(format_args!("no daemon stays alive; stopping all workers without one"));
    signal_all(table, libc::SIGTERM);
    let begun = Instant::now();
    while running(table) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    signal_all(table, libc::SIGKILL);
    1
}

fn signal_all(table: &Table, signal: i32) {
    for pid in table.rows().filter_map(|(row, _)| table.pid(row)) {
        let _ = signal_group(pid, signal as u8);
    }
}

fn running(table: &Table) -> bool {
    table.rows().filter_map(|(row, _)| table.pid(row)).any(|pid| wait::peek(pid).is_none())
}
