//! The file in which a front end lists the living workers, `ATTEMPT:PID` a line, rewritten whenever they change. A thread
//! writes it, so no disk holds up the loop; what changes while it writes is written when it has. Started by `recover`,
//! only if there is such a file; the next daemon writes it anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Daemon, Setup};
use crate::say::{plain, say};

pub(super) struct StatusFile {
    board: Option<&'static Board>,
    /// What is written, or will be.
    shown: Option<String>,
}

struct Board {
    path: PathBuf,
    /// What is to be written.
    wanted: Mutex<Option<String>>,
    bell: Condvar,
    /// Whether all is over; held while the file is written.
    over: Mutex<bool>,
}

impl StatusFile {
    pub(super) fn start(setup: &Setup) -> io::Result<StatusFile> {
        let Some(path) = &setup.status_file else { return Ok(StatusFile { board: None, shown: None }) };
        let (wanted, over) = (Mutex::new(None), Mutex::new(false));
        let board: &Board = Box::leak(Box::new(Board { path: path.clone(), wanted, bell: Condvar::new(), over }));
        thread::Builder::new().name("status-file".into()).stack_size(64 * 1024).spawn(|| board.write_on())?;
        Ok(StatusFile { board: Some(board), shown: None })
    }

    /// Removes the file for good.
    pub(super) fn end(&self) {
        let Some(board) = self.board else { return };
        *lock(&board.over) = true;
        let _ = fs::remove_file(&board.path);
    }
}

impl Daemon<'_> {
    /// Has the file rewritten if the workers are others than it shows.
    pub(super) fn list_workers(&mut self) {
        let Some(board) = self.status_file.board else { return };
        let table = self.shared.table;
        let living = self.children.known.values().filter_map(|child| Some((child.row, child.process.as_ref()?.0)));
        let mut lines: Vec<_> = living.map(|(row, pid)| (table.labels(row).attempt, pid.as_raw_nonzero())).collect();
        // A hook is no attempt.
        lines.retain(|(attempt, _)| *attempt > 0);
        lines.sort_unstable();
        let text: String = lines.into_iter().map(|(attempt, pid)| format!("{attempt}:{pid}\n")).collect();
        if self.status_file.shown.as_ref() != Some(&text) {
            *lock(&board.wanted) = Some(text.clone());
            board.bell.notify_one();
            self.status_file.shown = Some(text);
        }
    }
}

impl Board {
    fn write_on(&self) {
        let mut told = false;
        loop {
            let wanted = self.bell.wait_while(lock(&self.wanted), |wanted| wanted.is_none());
            let Some(text) = wanted.unwrap_or_else(PoisonError::into_inner).take() else { continue };
            let over = lock(&self.over);
            if *over {
                return;
            }
            if let Err(error) = replace(&self.path, &text) {
                if !std::mem::replace(&mut told, true) {
                    say(format_args!("write {}: {} (this is said once)", self.path.display(), plain(&error)));
                }
            }
        }
    }
}

/// Nobody sees half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    // A link that somebody has put there is not followed.
    let _ = fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(text.as_bytes()).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// A panic ends the process, so nobody sees a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
