//! What the ledger names, taken by a daemon that takes over, each thing under its meaning. Called by `recover` and
//! `stranded`; never closes anything.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use firestarter_core::ids::{GroupId, Slot};

use super::pins::Pinned;
use super::slots::Slots;
use super::Shared;
use crate::journal::Meaning;
use crate::sys::fds;

/// What the ledger names, by meaning.
#[derive(Default)]
pub(super) struct Found {
    pub(super) control: Option<OwnedFd>,
    pub(super) listeners: BTreeMap<(u32, u32), OwnedFd>,
    pub(super) slots: Slots,
    pub(super) sockets: BTreeMap<u32, OwnedFd>,
    pub(super) here: BTreeMap<u32, OwnedFd>,
    pub(super) there: BTreeMap<u32, OwnedFd>,
    pub(super) connections: Vec<(u32, OwnedFd)>,
    pub(super) clients: Vec<(u64, OwnedFd)>,
    pub(super) spare: Option<OwnedFd>,
    pub(super) pins: Pinned,
    pub(super) notify: BTreeMap<u32, OwnedFd>,
    pub(super) stored: Vec<((GroupId, Slot), bool, OwnedFd)>,
}

pub(super) fn find(shared: Shared) -> Found {
    let mut found = Found::default();
    for (number, meaning) in shared.ledger.named() {
        if is_keepers(meaning) {
            continue;
        }
        let Some(fd) = fds::adopt(number) else {
            // Named and not open: the last daemon died between the two.
            shared.ledger.forget(&number);
            continue;
        };
        match meaning {
            Meaning::Keeper | Meaning::Kept { .. } | Meaning::Output { .. } | Meaning::Stage { .. } | Meaning::Gone => {
            }
            Meaning::Control => found.control = Some(fd),
            Meaning::Listener { group, index } => drop(found.listeners.insert((group, index), fd)),
            Meaning::SlotListener { group, index, slot } => {
                found.slots.0.entry((group, slot)).or_default().insert(index, fd);
            }
            Meaning::WorkerSocket { group } => drop(found.sockets.insert(group, fd)),
            Meaning::PairHere { group } => drop(found.here.insert(group, fd)),
            Meaning::PairThere { group } => drop(found.there.insert(group, fd)),
            Meaning::WorkerConnection { group } => found.connections.push((group, fd)),
            Meaning::Client { client } => found.clients.push((client, fd)),
            Meaning::Spare => found.spare = Some(fd),
            Meaning::PinnedFolder { .. } | Meaning::PinnedProgram { .. } => found.pins.push((meaning, fd)),
            Meaning::Notify { group } => drop(found.notify.insert(group, fd)),
            Meaning::Stored { group, slot, polled } => {
                found.stored.push(((GroupId(group), Slot(slot)), polled, fd));
            }
        }
    }
    found
}

/// Whether no daemon needs it, or closes it.
fn is_keepers(meaning: Meaning) -> bool {
    let of_outputs = matches!(meaning, Meaning::Output { .. } | Meaning::Stage { .. });
    of_outputs || matches!(meaning, Meaning::Keeper | Meaning::Kept { .. } | Meaning::Gone)
}
