//! What workers have stored for their successors: descriptors, by slot, each with a name; systemd's fd store. The ledger
//! says which they are, so a daemon's death loses none. The loop keeps and closes them, the thread that spawns puts them
//! on the stage; neither does so while the other is at it.
//!
//! A descriptor whose other end is gone is of no use to anybody: it is closed, unless the worker said `FDPOLL=0`.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use firestarter_core::ids::{GroupId, Slot};
use rustix::event::epoll;

use super::{Shared, Source};
use crate::journal::Meaning;
use crate::sys::fds;

pub(super) struct Store {
    shared: Shared,
    kept: Mutex<BTreeMap<Place, Vec<Kept>>>,
}

/// Whose successor gets it.
type Place = (GroupId, Slot);

/// A descriptor that is kept.
pub(super) struct Kept {
    pub(super) fd: OwnedFd,
    pub(super) name: String,
}

/// Why a descriptor is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The slot has as many as it may have.
    Full,
    /// Its number is too high for the ledger.
    TooHigh,
}

impl Store {
    pub(super) fn new(shared: Shared) -> Store {
        Store { shared, kept: Mutex::default() }
    }

    /// Goes on with what the last daemon kept, in the order in which it came.
    pub(super) fn take_over(&self, mut found: Vec<(Place, bool, OwnedFd)>, epoll: &OwnedFd) {
        found.sort_by_key(|(place, _, fd)| (*place, self.shared.ledger.mark(fd)));
        let mut kept = self.lock();
        for (place, polled, fd) in found {
            if polled {
                wait_for_hang_up(&fd, epoll);
            }
            let name = self.shared.ledger.called(&fd);
            kept.entry(place).or_default().push(Kept { fd, name });
        }
    }

    /// Keeps a descriptor, unless it is kept already: a datagram may be read twice, and a worker may store twice.
    ///
    /// # Errors
    /// It is closed instead.
    pub(super) fn keep(
        &self,
        (group, slot): Place,
        (name, polled): (&str, bool),
        fd: OwnedFd,
        epoll: &OwnedFd,
    ) -> Result<(), Refused> {
        let most = self.shared.setup.config.groups.get(group.0 as usize).map_or(0, |group| group.launch.fd_store);
        let mut all = self.lock();
        let kept = all.entry((group, slot)).or_default();
        if kept.iter().any(|other| fds::same_file(&other.fd, &fd)) {
            return Ok(());
        }
        if kept.len() >= most as usize {
            return Err(Refused::Full);
        }
        let meaning = Meaning::Stored { group: group.0, slot: slot.0, polled };
        let turn = self.shared.header.next_client();
        self.shared.ledger.store(&fd, meaning, name, turn).map_err(|_| Refused::TooHigh)?;
        if polled {
            wait_for_hang_up(&fd, epoll);
        }
        kept.push(Kept { fd, name: name.to_owned() });
        Ok(())
    }

    /// Closes what is kept for a slot under this name.
    pub(super) fn remove(&self, place: Place, name: &str, epoll: &OwnedFd) {
        self.close_where(epoll, |there, kept| there == place && kept.name == name);
    }

    /// Closes what is kept for these slots.
    pub(super) fn discard(&self, group: GroupId, from: Slot, epoll: &OwnedFd) {
        self.close_where(epoll, |(there, slot), _| there == group && slot >= from);
    }

    /// The other end of a descriptor is gone.
    pub(super) fn hung_up(&self, number: RawFd, epoll: &OwnedFd) {
        self.close_where(epoll, |_, kept| kept.fd.as_raw_fd() == number);
    }

    /// What is kept for a slot's next worker, while nobody closes any of it.
    pub(super) fn with<R>(&self, place: Place, act: impl FnOnce(&[Kept]) -> R) -> R {
        act(self.lock().get(&place).map_or(&[], Vec::as_slice))
    }

    fn close_where(&self, epoll: &OwnedFd, goes: impl Fn(Place, &Kept) -> bool) {
        let mut all = self.lock();
        for (place, slot) in all.iter_mut() {
            slot.retain(|kept| {
                let goes = goes(*place, kept);
                if goes {
                    // A worker may still have it open, and what is open anywhere stays in the set by itself.
                    let _ = epoll::delete(epoll, &kept.fd);
                    self.shared.ledger.forget(&kept.fd);
                }
                !goes
            });
        }
        all.retain(|_, slot| !slot.is_empty());
    }

    /// A panic ends the process, so nobody sees a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Vec<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors and hang-ups are told of without being asked for. A file on a disk has neither, and cannot be in the set.
fn wait_for_hang_up(fd: &OwnedFd, epoll: &OwnedFd) {
    let data = epoll::EventData::new_u64(Source::Stored(fd.as_raw_fd()).key());
    let _ = epoll::add(epoll, fd, data, epoll::EventFlags::empty());
}
