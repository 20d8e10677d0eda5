//! The shared sockets, kept open for as long as the daemon's family lives. The daemon accepts nothing from them: it only
//! watches those of a group that waits for its first connection.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use firestarter_core::event::Event;
use firestarter_core::ids::GroupId;
use rustix::event::epoll;

use super::slots::Slots;
use super::{Fact, Receipt, Shared, Source};
use crate::config::{Address, Group};

pub(super) struct Listeners {
    /// By group, in the order of the configuration.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    /// What slots above 0 have of their own.
    pub(super) slots: Slots,
}

impl Listeners {
    /// Reports the next connection to a group, or no longer.
    pub(super) fn watch(&mut self, group: u32, on: bool, epoll: &OwnedFd) {
        let shared = self.sockets.get(group as usize).into_iter().flatten();
        for socket in shared.chain(self.slots.of_group(group)) {
            let _ = epoll::delete(epoll, socket);
            if on {
                let data = epoll::EventData::new_u64(Source::Listener(group).key());
                let _ = epoll::add(epoll, socket, data, epoll::EventFlags::IN);
            }
        }
    }

    pub(super) fn hear(&mut self, group: u32, epoll: &OwnedFd, inbox: &mut VecDeque<Fact>) {
        self.watch(group, false, epoll);
        inbox.push_back(Fact { event: Event::Connection { group: GroupId(group) }, receipt: Receipt::None });
    }

    /// Opens what a slot lacks before a worker is spawned in it. Returns the numbers of those that the service manager is to
    /// keep.
    ///
    /// # Errors
    /// One of its sockets cannot be opened.
    pub(super) fn prepare(&mut self, shared: Shared, group: u32, slot: u32) -> io::Result<Vec<RawFd>> {
        let first = self.sockets.get(group as usize).map_or(&[][..], Vec::as_slice);
        self.slots.prepare(shared, group, slot, first)
    }

    /// The numbers of the sockets by group, for spawns.
    pub(super) fn numbers(&self) -> Vec<Vec<RawFd>> {
        self.sockets.iter().map(|group| group.iter().map(AsRawFd::as_raw_fd).collect()).collect()
    }

    /// Where a group's sockets listen: as configured, with the port that the kernel chose where that is 0.
    pub(super) fn addresses(&self, index: usize, group: &Group) -> Vec<String> {
        let sockets = self.sockets.get(index).into_iter().flatten();
        let bound = |socket: &OwnedFd| {
            let bound = rustix::net::getsockname(socket).ok()?;
            std::net::SocketAddr::try_from(bound).ok()
        };
        let shown = |(spec, socket): (&crate::config::SocketSpec, &OwnedFd)| {
            let chosen = match &spec.address {
                Address::Tcp(address) if address.port() == 0 => bound(socket).map(|bound| bound.to_string()),
                Address::Udp(address) if address.port() == 0 => bound(socket).map(|bound| format!("udp::{bound}")),
                Address::Tcp(_) | Address::Udp(_) | Address::Unix(_) | Address::Abstract(_) | Address::Inherited(_) => {
                    None
                }
            };
            chosen.unwrap_or_else(|| spec.written.clone())
        };
        group.sockets.iter().zip(sockets).map(shown).collect()
    }
}
