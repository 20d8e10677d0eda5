//! The thread that watches. What it knows of a group is in [`Watched`], and when a change is told follows from that alone:
//!
//! - *still*: what is there is what is known, or there is no program. Nothing is done until an event comes.
//! - *unrest*: an event came that may concern the program, or what is there is not what is known. Each further event
//!   begins the wait anew. When none has come for [`SETTLE`](super::SETTLE), the program is looked at once more. It has settled if it is
//!   what it was at the beginning of that time and nobody has it open for writing, which an exec would fail of. Then it
//!   is told of, if it is not what is known, and is still. So a release that was switched back in time is no change.
//!
//! A program that is being written is waited for without end: one that is not whole is nothing to run. It is said once
//! that it takes long. A program that has vanished is nothing to tell; it is told of when it is back and another one. One
//! that was not there when the core asked what is there is told of as a change when it comes: whatever runs is not it.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;

use firestarter_core::ids::GroupId;
use firestarter_core::time::{Duration, Instant};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{remove_watch, ReadFlags, Reader};

use super::path::{self, Look, Place};
use super::{Desk, Report, Request, Subject};
use crate::daemon::now;
use crate::say::say;
use crate::sys::leases;

/// A change that has not settled for so long is spoken of.
const LONG: Duration = Duration::from_secs(60);
/// Events come in crowds, as a file is written: they are let gather for so long, and cost one look.
const GATHER: Duration = Duration::from_millis(20);
/// So many events are taken in one turn: as many as the kernel keeps by default.
const AT_ONCE: usize = 16_384;

pub(super) struct Watcher {
    desk: &'static Desk,
    pub(super) inotify: OwnedFd,
    groups: Vec<Watched>,
    /// A program that has not changed for so long has settled.
    settle: Duration,
}

struct Watched {
    group: GroupId,
    name: String,
    programs: Vec<PathBuf>,
    known: Option<u64>,
    /// Where something may happen that concerns it; nowhere until the core asks.
    places: Vec<Place>,
    unrest: Option<Unrest>,
    /// What was said last of what could not be watched.
    trouble: Option<String>,
}

/// A change that has not settled.
struct Unrest {
    /// What was there at the last look.
    program: Option<(PathBuf, u64)>,
    /// When to look again. None: at the next event.
    look_at: Option<Instant>,
    since: Instant,
    /// It was said that it takes long.
    said: bool,
}

impl Watcher {
    pub(super) fn new(desk: &'static Desk, inotify: OwnedFd, subjects: Vec<Subject>, settle: Duration) -> Watcher {
        let watched = |Subject { group, name, programs }| Watched {
            group,
            name,
            programs,
            known: None,
            places: Vec::new(),
            unrest: None,
            trouble: None,
        };
        Watcher { desk, inotify, groups: subjects.into_iter().map(watched).collect(), settle }
    }

    pub(super) fn run(mut self) -> ! {
        loop {
            let touched = self.wait();
            for request in self.desk.requests() {
                self.obey(request);
            }
            for index in touched {
                self.stir(index);
            }
            for index in 0..self.groups.len() {
                if self.groups[index].is_due() {
                    self.judge(index);
                }
            }
        }
    }

    /// Sleeps until something is to be done; returns the groups that an event may concern.
    fn wait(&self) -> Vec<usize> {
        let next = self.groups.iter().filter_map(|group| group.unrest.as_ref()?.look_at).min();
        let timeout = next.map(|at| {
            let left = at.since(now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let mut sources = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.desk.call, PollFlags::IN)];
        // An interrupted wait is followed by the next.
        let _ = poll(&mut sources, timeout.as_ref());
        if sources[0].revents().is_empty() {
            return Vec::new();
        }
        thread::sleep(GATHER);
        self.touched()
    }

    /// Takes the events; returns the groups that they may concern.
    pub(super) fn touched(&self) -> Vec<usize> {
        let mut touched = vec![false; self.groups.len()];
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        let mut taken = 0;
        // What the buffer holds was taken from the kernel and must not be left.
        while taken < AT_ONCE || !events.is_buffer_empty() {
            let Ok(event) = events.next() else { break };
            taken += 1;
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            for (group, touched) in self.groups.iter().zip(&mut touched) {
                *touched |= lost && group.is_watched() || group.is_touched(event.wd(), name);
            }
        }
        touched.into_iter().enumerate().filter_map(|(index, touched)| touched.then_some(index)).collect()
    }

    pub(super) fn obey(&mut self, Request { group, known }: Request) {
        let Some(index) = self.groups.iter().position(|watched| watched.group == group) else { return };
        let found = self.look(index);
        let watched = &mut self.groups[index];
        let print = found.program.as_ref().map(|(_, print)| *print);
        watched.known = known.or(print);
        if let (None, Some(print)) = (known, print) {
            self.desk.report(Report { group, print, changed: false });
        }
        if found.unsteady || print.is_some() && print != watched.known {
            watched.begin_to_wait(found, self.settle);
        }
    }

    /// Something has happened that may concern a group's program.
    fn stir(&mut self, index: usize) {
        let found = self.look(index);
        let watched = &mut self.groups[index];
        watched.begin_to_wait(found, self.settle);
        watched.complain("its program keeps changing");
    }

    /// It has been still for long enough: decides what that means.
    pub(super) fn judge(&mut self, index: usize) {
        let found = self.look(index);
        let watched = &mut self.groups[index];
        let Some(unrest) = &mut watched.unrest else { return };
        if found.unsteady || found.program != unrest.program {
            return watched.begin_to_wait(found, self.settle);
        }
        let changed = found.program.filter(|(_, print)| watched.known != Some(*print));
        let Some((path, print)) = changed else {
            watched.unrest = None;
            return;
        };
        if leases::is_open_for_writing(&path) {
            // Its closing is an event. Until then there is nothing to do but to say once that it takes long.
            watched.complain("its program has changed and is still open for writing");
            let look_at = |unrest: &Unrest| (!unrest.said).then_some(unrest.since + LONG);
            watched.unrest.iter_mut().for_each(|unrest| unrest.look_at = look_at(unrest));
            return;
        }
        watched.known = Some(print);
        watched.unrest = None;
        self.desk.report(Report { group: watched.group, print, changed: true });
    }

    /// Looks at a group's program, and from then on watches the way to it in place of the way that was.
    fn look(&mut self, index: usize) -> Look {
        let before = std::mem::take(&mut self.groups[index].places);
        let look = self.look_once(index);
        if self.let_go(index, &before) {
            return self.look_once(index);
        }
        look
    }

    fn look_once(&mut self, index: usize) -> Look {
        let mut look = path::look(&self.inotify, &self.groups[index].programs);
        let watched = &mut self.groups[index];
        watched.places = std::mem::take(&mut look.places);
        if look.trouble.is_some() && look.trouble != watched.trouble {
            say(format_args!("{}: auto_upgrade: {}", watched.name, look.trouble.as_deref().unwrap_or_default()));
            watched.trouble.clone_from(&look.trouble);
        }
        look
    }

    /// Ends the watches that are needed no longer. A watch cannot be narrowed: one that told of names which matter no
    /// more is ended too, and the caller must look once more to have it back.
    fn let_go(&self, index: usize, before: &[Place]) -> bool {
        let mut narrowed = false;
        for place in before {
            let same = |other: &&Place| other.watch() == place.watch();
            let others = self.groups.iter().enumerate().filter(|(other, _)| *other != index);
            if others.flat_map(|(_, watched)| &watched.places).any(|other| same(&other)) {
                continue;
            }
            let kept: Vec<&Place> = self.groups[index].places.iter().filter(same).collect();
            let narrows = place.has_name() && !kept.is_empty() && !kept.iter().any(|kept| kept.has_name());
            if kept.is_empty() || narrows {
                // One whose folder or file is gone has gone with it.
                let _ = remove_watch(&self.inotify, place.watch());
                narrowed |= narrows;
            }
        }
        narrowed
    }
}

impl Watched {
    fn is_watched(&self) -> bool {
        !self.places.is_empty()
    }

    fn is_touched(&self, watch: i32, name: Option<&OsStr>) -> bool {
        self.places.iter().any(|place| place.is_touched(watch, name))
    }

    fn is_due(&self) -> bool {
        self.unrest.as_ref().and_then(|unrest| unrest.look_at).is_some_and(|at| at <= now())
    }

    /// Waits, from now on, for it to settle as it was found.
    fn begin_to_wait(&mut self, found: Look, settle: Duration) {
        let now = now();
        let unrest = self.unrest.get_or_insert(Unrest { program: None, look_at: None, since: now, said: false });
        unrest.program = found.program;
        unrest.look_at = Some(now + settle);
    }

    /// Says once that it takes long to settle.
    fn complain(&mut self, what: &str) {
        let Some(unrest) = &mut self.unrest else { return };
        if !unrest.said && now().since(unrest.since) >= LONG {
            unrest.said = true;
            say(format_args!("{}: {what}; the upgrade waits until it has settled", self.name));
        }
    }
}
