//! Watches the files of groups' programs, for `auto_upgrade`. One thread does it, as a look at a file on a dead file
//! server blocks: the loop leaves requests on the [`Desk`] and finds reports there. No thread and no descriptor if no
//! group asks for it. The thread sleeps until a folder or a file changes that a program's path leads through.
//!
//! What counts as a change stands in `print`, which files and folders are watched in `path`, and when a change is told
//! in `watcher`. Whether an upgrade follows is the core's to decide.
//!
//! Its limits: a file that cannot be looked at because its server is dead holds up the watching of all groups, and
//! nothing else, until the server answers. Where the kernel tells of no changes (made by another machine to a network
//! file system, or a file system mounted over the path), they are found at the next event or recovery only.

mod path;
mod print;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use firestarter_core::event::Event;
use firestarter_core::ids::GroupId;
use firestarter_core::time::Duration;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::inotify;

use super::{launch, Fact, Receipt, Setup};
use crate::say::{plain, say};
use watcher::Watcher;

/// The loop's side. None: no group asks for it, or it cannot be had.
pub(super) struct Programs(Option<&'static Desk>);

/// A program that has not changed for so long has settled.
const SETTLE: Duration = Duration::from_secs(1);

/// The watching thread needs little: it makes no deep calls.
const STACK: usize = 128 * 1024;

impl Programs {
    /// Starts the thread if a group has `auto_upgrade`. If it cannot be started, that is said and all else works.
    pub(super) fn start(setup: &Setup) -> Programs {
        let groups = setup.config.groups.iter().zip(0..).filter(|(group, _)| group.spec.auto_upgrade);
        let subjects: Vec<Subject> = groups
            .filter_map(|(group, index)| {
                // A program whose name cannot be made out cannot be started either, which is said then.
                let programs = launch::program(setup, group, index).ok()?;
                Some(Subject { group: GroupId(index), name: group.spec.name.clone(), programs })
            })
            .collect();
        if subjects.is_empty() {
            return Programs(None);
        }
        match watch(subjects, SETTLE) {
            Ok(desk) => Programs(Some(desk)),
            Err(error) => {
                let advice = match error.raw_os_error() {
                    Some(libc::EMFILE) => " (the limits are fs.inotify.max_user_instances and that of open files)",
                    _ => "",
                };
                say(format_args!("auto_upgrade does nothing: watch files: {}{advice}", plain(&error)));
                Programs(None)
            }
        }
    }

    /// Rings when there is a report.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'static>> {
        self.0.map(|desk| desk.bell.as_fd())
    }

    /// Asks for a group's program to be watched. A group without `auto_upgrade` is nothing to watch.
    pub(super) fn watch(&self, group: GroupId, known: Option<u64>) {
        if let Some(desk) = self.0 {
            desk.ask(Request { group, known });
        }
    }

    /// Takes what was reported.
    pub(super) fn hear(&self, inbox: &mut VecDeque<Fact>) {
        for Report { group, print, changed } in self.0.into_iter().flat_map(Desk::take) {
            inbox.push_back(Fact { event: Event::Program { group, print, changed }, receipt: Receipt::None });
        }
    }
}

/// A group whose program may be watched.
struct Subject {
    group: GroupId,
    name: String,
    /// Where the program may be, in the order in which it is looked for.
    programs: Vec<PathBuf>,
}

/// Watch a group's program from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    group: GroupId,
    /// What differs from this is a change. None: report what is there now, and count that as known.
    known: Option<u64>,
}

/// What a group's program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    group: GroupId,
    print: u64,
    changed: bool,
}

/// Where the loop leaves requests and finds reports.
struct Desk {
    inside: Mutex<Inside>,
    /// Wakes the loop.
    bell: OwnedFd,
    /// Wakes the thread.
    call: OwnedFd,
}

#[derive(Default)]
struct Inside {
    requests: Vec<Request>,
    reports: Vec<Report>,
}

impl Desk {
    fn new() -> io::Result<Desk> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Desk { inside: Mutex::default(), bell: eventfd(0, flags)?, call: eventfd(0, flags)? })
    }

    fn ask(&self, request: Request) {
        self.lock().requests.push(request);
        let _ = rustix::io::write(&self.call, &1u64.to_ne_bytes());
    }

    /// All that was asked since the last call.
    fn requests(&self) -> Vec<Request> {
        let _ = rustix::io::read(&self.call, &mut [0; 8]);
        std::mem::take(&mut self.lock().requests)
    }

    fn report(&self, report: Report) {
        self.lock().reports.push(report);
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// All that was reported since the last call.
    fn take(&self) -> Vec<Report> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.lock().reports)
    }

    /// A panic ends the process, so nobody sees a poisoned lock; its content would still be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread.
fn watch(subjects: Vec<Subject>, settle: Duration) -> io::Result<&'static Desk> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let desk = Desk::new()?;
    let desk: &'static Desk = Box::leak(Box::new(desk));
    let watcher = Watcher::new(desk, inotify, subjects, settle);
    thread::Builder::new().name("programs".into()).stack_size(STACK).spawn(move || watcher.run())?;
    Ok(desk)
}
