//! What workers tell by sd_notify(3), over a datagram socket for each group: that they are ready, how they are, and
//! descriptors that they leave for their successors.
//!
//! A datagram counts for who sent it (`senders`), never for what it claims. It stands in its socket until each fact in it
//! is journalled; what is not a fact for the core (a status, a descriptor) is noted in shared memory before. So a daemon
//! that dies in between reads it again, and to hear everything in it twice does no harm.
//!
//! Descriptors are taken out of a datagram only if it asks to store them; the kernel closes any other when the datagram
//! is taken. So does a `BARRIER=1` get its answer: datagrams are taken in the order in which they came.
//!
//! What a worker said before it ended is taken in before its end is: it may be that it is ready, or what its successor
//! shall have.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use firestarter_core::event::{Event, Said};
use firestarter_core::ids::{GroupId, Slot, WorkerId};
use rustix::net::{recv, RecvFlags};

use super::message::{self, Message, Watchdog, LONGEST};
use super::senders::worker_of;
use super::store::{Refused, Store};
use super::{Fact, Receipt, Shared};
use crate::config::{Contract, Group};
use crate::journal::Row;
use crate::say::say;
use crate::sys::credentials;

/// So many datagrams of one group are dealt with before others get their turn.
const PER_TURN: usize = 16;

pub(super) struct Notify {
    shared: Shared,
    /// By group.
    doors: Vec<Door>,
    pub(super) store: &'static Store,
    /// So many datagrams can stand in a socket at once.
    most: usize,
}

struct Door {
    socket: OwnedFd,
    /// Facts of the datagram that stands first are in the inbox.
    in_hand: bool,
    /// So many datagrams have been dealt with since an end began to wait for them.
    waited: usize,
    /// What was said once.
    told: BTreeSet<Trouble>,
}

/// What people are told of a group's workers, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Stranger,
    TooLong,
    MainPid,
    Full,
    NoDescriptors,
}

/// The worker that a datagram counts for.
#[derive(Clone, Copy)]
struct Sender {
    row: Row,
    worker: WorkerId,
    slot: Slot,
}

/// What came of a look at a group's socket.
enum Look {
    /// There is no datagram, or it is not its time.
    Nothing,
    /// One was dealt with.
    Done,
    /// One holds these facts; it is to be taken when they are journalled.
    Facts(Vec<Event>),
}

impl Notify {
    /// `sockets` by group.
    pub(super) fn new(shared: Shared, sockets: Vec<OwnedFd>, store: &'static Store) -> Notify {
        let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
        let limit = limit.ok().and_then(|limit| limit.trim().parse::<usize>().ok());
        let door = |socket| Door { socket, in_hand: false, waited: 0, told: BTreeSet::new() };
        // Only who finds more than the limit waits.
        let most = limit.unwrap_or(512).min(4096) + 1;
        Notify { shared, doors: sockets.into_iter().map(door).collect(), store, most }
    }

    /// The groups' sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.doors.iter().map(|door| &door.socket)
    }

    /// A worker of this group has told something. What one says that is `unborn` waits until it is not: it is about to be.
    pub(super) fn hear(
        &mut self,
        group: u32,
        inbox: &mut VecDeque<Fact>,
        epoll: &OwnedFd,
        unborn: &dyn Fn(WorkerId) -> bool,
    ) {
        for _ in 0..PER_TURN {
            if self.read(group, inbox, epoll, unborn) != Some(true) {
                return;
            }
        }
    }

    /// Lets an end pass once all that was said before it is taken in; any other fact at once.
    pub(super) fn before(&mut self, fact: Fact, inbox: &mut VecDeque<Fact>, epoll: &OwnedFd) -> Option<Fact> {
        let Receipt::Zombie(row, _) = fact.receipt else { return Some(fact) };
        let group = self.shared.table.group(row).0;
        while self.doors.get(group as usize).is_some_and(|door| door.waited < self.most) {
            match self.read(group, inbox, epoll, &|_| false) {
                Some(true) => self.count(group),
                // Behind the facts that came first.
                Some(false) => {
                    self.count(group);
                    inbox.push_back(fact);
                    return None;
                }
                None => break,
            }
        }
        if let Some(door) = self.doors.get_mut(group as usize) {
            door.waited = 0;
        }
        Some(fact)
    }

    fn count(&mut self, group: u32) {
        if let Some(door) = self.doors.get_mut(group as usize) {
            door.waited += 1;
        }
    }

    /// Deals with the next datagram: true if it is done, false if its facts are in the inbox.
    fn read(
        &mut self,
        group: u32,
        inbox: &mut VecDeque<Fact>,
        epoll: &OwnedFd,
        unborn: &dyn Fn(WorkerId) -> bool,
    ) -> Option<bool> {
        let door = self.doors.get(group as usize)?;
        if door.in_hand {
            return Some(false);
        }
        match self.look(group, epoll, unborn) {
            Look::Nothing => None,
            Look::Done => {
                self.consume(group);
                Some(true)
            }
            Look::Facts(mut events) => {
                let last = events.pop().map(|event| Fact { event, receipt: Receipt::Datagram { group } });
                inbox.extend(events.into_iter().map(|event| Fact { event, receipt: Receipt::None }));
                inbox.extend(last);
                self.doors.get_mut(group as usize)?.in_hand = true;
                Some(false)
            }
        }
    }

    /// All facts of the datagram that stands first have been journalled: takes it.
    pub(super) fn consume(&mut self, group: u32) {
        if let Some(door) = self.doors.get_mut(group as usize) {
            door.in_hand = false;
            let _ = recv(&door.socket, &mut [0; 1][..], RecvFlags::DONTWAIT);
        }
    }

    fn look(&mut self, index: u32, epoll: &OwnedFd, unborn: &dyn Fn(WorkerId) -> bool) -> Look {
        let setup = self.shared.setup;
        let (Some(door), Some(group)) = (self.doors.get(index as usize), setup.config.groups.get(index as usize))
        else {
            return Look::Nothing;
        };
        let mut buffer = [0; LONGEST];
        let Ok(peeked) = credentials::peek(door.socket.as_fd(), &mut buffer) else { return Look::Nothing };
        if peeked.longer {
            return self.drop_it(index, Trouble::TooLong);
        }
        let table = self.shared.table;
        let sender = peeked.sender.and_then(|pid| worker_of(table, pid, index));
        // A hook is nobody whom anything was told to.
        let sender = sender.and_then(|(row, worker)| Some(Sender { row, worker, slot: table.slot(row)? }));
        let Some(sender) = sender else {
            let barrier = buffer[..peeked.read] == *b"BARRIER=1";
            return if barrier { Look::Done } else { self.drop_it(index, Trouble::Stranger) };
        };
        if unborn(sender.worker) {
            return Look::Nothing;
        }
        let message = message::parse(&buffer[..peeked.read]);
        self.note(index, sender, &message);
        if message.store.is_some() && group.launch.fd_store > 0 {
            self.store(index, sender, &message, peeked.more_descriptors, epoll);
        }
        let events = events(group, sender.worker, &message);
        if events.is_empty() {
            Look::Done
        } else {
            Look::Facts(events)
        }
    }

    /// Notes what the core need not know.
    fn note(&mut self, group: u32, Sender { row, .. }: Sender, message: &Message) {
        let table = self.shared.table;
        if let Some(status) = &message.status {
            table.set_status(row, status);
        }
        if let Some(errno) = message.errno {
            table.set_errno(row, errno);
        }
        let own = |pid: u32| table.pid(row).is_some_and(|own| own.as_raw_nonzero().get().unsigned_abs() == pid);
        if message.main_pid.is_some_and(|pid| !own(pid)) {
            self.tell(group, Trouble::MainPid);
        }
    }

    /// Keeps the descriptors that came along, or closes some that are kept.
    fn store(&mut self, group: u32, sender: Sender, message: &Message, brought: bool, epoll: &OwnedFd) {
        let place = (GroupId(group), sender.slot);
        match &message.store {
            Some(message::Store::Keep { name, polled }) if brought => {
                let Some(door) = self.doors.get(group as usize) else { return };
                let peeked = credentials::peek_with_descriptors(door.socket.as_fd(), &mut []);
                let Ok(peeked) = peeked else { return };
                let mut troubles = BTreeSet::new();
                if peeked.more_descriptors {
                    troubles.insert(Trouble::NoDescriptors);
                }
                for fd in peeked.descriptors {
                    match self.store.keep(place, (name, *polled), fd, epoll) {
                        Ok(()) => {}
                        Err(Refused::Full) => drop(troubles.insert(Trouble::Full)),
                        Err(Refused::TooHigh) => drop(troubles.insert(Trouble::NoDescriptors)),
                    }
                }
                troubles.into_iter().for_each(|trouble| self.tell(group, trouble));
            }
            Some(message::Store::Remove { name }) => self.store.remove(place, name, epoll),
            Some(message::Store::Keep { .. }) | None => {}
        }
    }

    fn drop_it(&mut self, group: u32, trouble: Trouble) -> Look {
        self.tell(group, trouble);
        Look::Done
    }

    /// Says what is wrong, the first time in a group.
    fn tell(&mut self, group: u32, trouble: Trouble) {
        let index = group as usize;
        let (Some(door), Some(group)) = (self.doors.get_mut(index), self.shared.setup.config.groups.get(index)) else {
            return;
        };
        if door.told.insert(trouble) {
            say(format_args!("{}: {} (this is said once)", group.spec.name, trouble.text(group)));
        }
    }
}

impl Trouble {
    fn text(self, group: &Group) -> String {
        match self {
            Trouble::Stranger => {
                "a notification counts for nobody: who sent it is no worker of the group, nor a child of one, or had ended \
                 before it could be seen (who waits for sd_notify_barrier(3) is seen)"
            }
            Trouble::TooLong => "a notification of more than 4096 bytes is ignored",
            Trouble::MainPid => {
                "a notification names another MAINPID: it is ignored, as the process that was started is the one that is \
                 supervised; let the program stay in the foreground"
            }
            Trouble::Full => {
                let most = group.launch.fd_store;
                return format!(
                    "a worker stored more than {most} descriptors: what came later is closed; raise fd_store for more"
                );
            }
            Trouble::NoDescriptors => {
                "a worker stored descriptors for which there was no room: they are closed; raise the limit of open files"
            }
        }
        .to_owned()
    }
}

/// The facts of a message, in the order in which systemd takes them.
fn events(group: &Group, worker: WorkerId, message: &Message) -> Vec<Event> {
    let mut events = Vec::new();
    if message.ready && group.launch.contracts.speak(Contract::Systemd) {
        events.push(Event::Acked { worker, signal: None });
    }
    let watched = group.spec.watchdog.is_some();
    let said = [
        message.reloading.then_some(Said::Reloading),
        message.stopping.then_some(Said::Stopping),
        message.extend.map(Said::Extend),
        message.within.filter(|_| watched).map(Said::Within),
        match message.watchdog {
            Some(Watchdog::Well) if watched => Some(Said::Well),
            Some(Watchdog::Trigger) if watched => Some(Said::Unwell),
            Some(Watchdog::Well | Watchdog::Trigger) | None => None,
        },
    ];
    events.extend(said.into_iter().flatten().map(|said| Event::Notified { worker, said }));
    events
}
