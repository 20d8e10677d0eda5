//! When no daemon lives long enough to stop the workers, or none can read the journal, and somebody asks to stop, the keeper
//! does it itself: TERM to each, KILL to what is left after ten seconds. It is rough, and better than orphans. However all
//! ended, nobody is left who has not been killed. Called by the keeper, and by a program that should be it and cannot.

use std::time::{Duration, Instant};

use rustix::process::{kill_process, Signal};

use crate::journal::{Records, Table};
use crate::say::say;
use crate::sys::signals::{signal_group, wait_for};
use crate::sys::wait;

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for so long whether somebody asks to stop, and if so ends every worker; then it returns the exit code. For a program
/// that has no daemon, nor can have one.
pub(crate) fn stop_if_asked(journal: Records, patience: Duration) -> Option<u8> {
    let asked = journal.header.asked_to_stop().next().is_some();
    if !asked && !stop_is_asked(patience) {
        return None;
    }
    let code = stop_all(journal.table);
    kill_the_rest(journal.table);
    Some(code)
}

/// Waits for so long whether somebody asks to stop, where no signal is heard otherwise; they must be blocked.
pub(crate) fn stop_is_asked(patience: Duration) -> bool {
    wait_for(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT], patience)
}

/// Ends every worker; returns the exit code for this failure.
pub(super) fn stop_all(table: &Table) -> u8 {
    say(format_args!("no daemon can; stopping all workers without one: SIGTERM, and SIGKILL after 10 s"));
    signal_all(table, libc::SIGTERM);
    let begun = Instant::now();
    while running(table) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    1
}

/// When all is over and no daemon lives: kills who is left. To most of them a daemon did so in vain; but one whose exec
/// hangs was never told, and would begin to run whenever that ends, with nobody to stop it. No other can follow, as
/// nobody spawns any more, and until a row is cleared its pid is nobody else's.
pub(super) fn kill_the_rest(table: &Table) {
    for pid in table.rows().filter_map(|(row, _)| table.pid(row)) {
        let _ = signal_group(pid, libc::SIGKILL as u8);
        // It may not lead its process group yet.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn signal_all(table: &Table, signal: i32) {
    for pid in table.rows().filter_map(|(row, _)| table.pid(row)) {
        let _ = signal_group(pid, signal as u8);
    }
}

fn running(table: &Table) -> bool {
    table.rows().filter_map(|(row, _)| table.pid(row)).any(|pid| wait::peek(pid).is_none())
}
