//! The sockets of `reuseport`: at such an address each slot has one of its own, and the kernel divides the connections
//! among them. The daemon keeps them, as it keeps every listener: a worker gets that of its slot, and so does its
//! successor in an upgrade or after a crash, so what waits in a queue waits on. The first slot's is an ordinary listener;
//! those of the other slots are here.
//!
//! A slot that `inc` adds gets its sockets when its first worker is spawned. When `dec` has taken a slot away, its sockets
//! are closed as soon as its last worker is gone, which may serve what waits until then. What waits still is handed on by
//! the kernel to the sockets of other slots, where it may: see `sys::sockets`. A datagram cannot be handed on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::net::Shutdown;

use super::{bind, shelf, Shared};
use crate::config::{Group, Kind, SocketSpec};
use crate::journal::{Ledger, Meaning, SHELVED};
use crate::say::say;
use crate::sys::sockets;

/// By group and slot, then by place in the group.
#[derive(Default)]
pub(super) struct Slots(pub(super) BTreeMap<(u32, u32), BTreeMap<u32, OwnedFd>>);

/// The group's sockets of that kind, with their places.
fn divided(group: &Group) -> impl Iterator<Item = (u32, &SocketSpec)> {
    (0..).zip(&group.sockets).filter(|(_, socket)| socket.reuseport)
}

/// Opens what a slot lacks; the slot of a group's `first` sockets is 0, and has them. What is `kept` need not be opened.
///
/// # Errors
/// One of them cannot be opened.
pub(super) fn open(
    ledger: &Ledger,
    (group, index): (&Group, u32),
    slot: u32,
    first: &[impl AsFd],
    has: impl Fn(u32) -> bool,
    mut kept: impl FnMut(&SocketSpec) -> Option<OwnedFd>,
) -> io::Result<Vec<(u32, OwnedFd)>> {
    let lacks = divided(group).filter(|(place, _)| slot > 0 && !has(*place));
    let open = |(place, spec): (u32, &SocketSpec)| {
        let first = first.get(place as usize).ok_or(io::ErrorKind::NotFound)?;
        Ok((place, kept(spec).map_or_else(|| bind::beside(spec, first), Ok)?))
    };
    let opened: Vec<(u32, OwnedFd)> = lacks.map(open).collect::<io::Result<_>>()?;
    let name = |(place, socket): &(u32, OwnedFd)| {
        ledger.name(socket, Meaning::SlotListener { group: index, index: *place, slot })
    };
    // What is closed again must not stay named.
    opened.iter().try_for_each(name).inspect_err(|_| opened.iter().for_each(|(_, socket)| ledger.forget(socket)))?;
    Ok(opened)
}

impl Slots {
    /// Opens what a slot lacks before a worker is spawned in it. Returns the numbers of those that the service manager is to
    /// keep; the ledger has their names.
    ///
    /// # Errors
    /// One of its sockets cannot be opened.
    pub(super) fn prepare(
        &mut self,
        shared: Shared,
        index: u32,
        slot: u32,
        first: &[OwnedFd],
    ) -> io::Result<Vec<RawFd>> {
        let Some(group) = shared.setup.config.groups.get(index as usize) else { return Ok(Vec::new()) };
        let has = self.0.get(&(index, slot));
        let opened = open(
            shared.ledger,
            (group, index),
            slot,
            first,
            |place| has.is_some_and(|has| has.contains_key(&place)),
            |_| None,
        )?;
        let mut to_keep = Vec::new();
        for (place, socket) in &opened {
            if call(shared, (index, *place, slot), socket) {
                to_keep.push(socket.as_raw_fd());
            }
        }
        if !opened.is_empty() {
            self.0.entry((index, slot)).or_default().extend(opened);
        }
        Ok(to_keep)
    }

    /// Whether slots of this group have sockets of their own.
    pub(super) fn divides(&self, group: u32) -> bool {
        self.0.range((group, 0)..=(group, u32::MAX)).next().is_some()
    }

    /// A group's sockets.
    pub(super) fn of_group(&self, group: u32) -> impl Iterator<Item = &OwnedFd> {
        self.0.range((group, 0)..=(group, u32::MAX)).flat_map(|(_, sockets)| sockets.values())
    }

    /// What the service manager is to keep or to let go and has not heard of, as a daemon has died over it.
    pub(super) fn unheard(&self, shared: Shared) -> Vec<RawFd> {
        let mut unheard = Vec::new();
        for ((index, slot), sockets) in &self.0 {
            for (place, socket) in sockets {
                if shared.ledger.mark(socket) != SHELVED && call(shared, (*index, *place, *slot), socket) {
                    unheard.push(socket.as_raw_fd());
                }
            }
        }
        let gone = shared.ledger.named().filter(|(_, meaning)| *meaning == Meaning::Gone);
        unheard.extend(gone.map(|(number, _)| number));
        unheard
    }

    /// Closes the sockets of slots that nobody is in or will be in. Returns the numbers of those that the keeper is to close
    /// when the service manager lets go of them.
    pub(super) fn close_unused(&mut self, shared: Shared, index: u32, used: impl Fn(u32) -> bool) -> Vec<RawFd> {
        let mut gone = Vec::new();
        let slots: Vec<u32> = self.0.range((index, 0)..=(index, u32::MAX)).map(|((_, slot), _)| *slot).collect();
        let Some(group) = shared.setup.config.groups.get(index as usize) else { return gone };
        for slot in slots.into_iter().filter(|slot| !used(*slot)) {
            for (place, socket) in self.0.remove(&(index, slot)).into_iter().flatten() {
                let Some(spec) = group.sockets.get(place as usize) else { continue };
                if spec.kind == Kind::Stream && !is_handed_on(&socket) {
                    let (name, address) = (&group.spec.name, &spec.written);
                    say(format_args!(
                        "{name}: slot {slot} is gone, and so is its socket at {address}: connections that waited there \
                         are reset (`sysctl net.ipv4.tcp_migrate_req=1` lets the kernel hand them on)"
                    ));
                }
                // Should anybody have a copy of it, it would go on taking its share of the connections. A datagram's share
                // ends only when no copy is left.
                let _ = rustix::net::shutdown(&socket, Shutdown::Read);
                let named = call(shared, (index, place, slot), &socket);
                if named && shared.ledger.name(&socket, Meaning::Gone).is_ok() {
                    gone.push(socket.into_raw_fd());
                } else {
                    shared.ledger.forget(&socket);
                }
            }
        }
        gone
    }
}

/// Notes in the ledger what a socket is called at the service manager, if that is to keep it. Says whether it is.
fn call(shared: Shared, place: (u32, u32, u32), socket: &OwnedFd) -> bool {
    let name = shelf::name(shared.setup, place, 0).filter(|_| shared.setup.shelved);
    if let Some((_, name)) = &name {
        shared.ledger.call(socket, name);
    }
    name.is_some()
}

/// Whether what waits at a socket goes to another one when it is closed.
fn is_handed_on(socket: &OwnedFd) -> bool {
    let allowed = || std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|text| text.trim() == "1");
    sockets::hand_on_when_closed(socket.as_fd()).is_ok() || allowed()
}
