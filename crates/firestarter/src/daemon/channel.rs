//! What workers say: acks, over each group's worker socket and over the connected socket that every worker inherits.
//!
//! An ack is attributed by the kernel's word for who sent it (`senders`), never by what it claims. Anybody else is ignored.
//! A line stays in its socket until its ack is journalled; to read one twice does no harm, since a second ack says nothing
//! new.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use firestarter_core::event::Event;
use firestarter_core::ids::WorkerId;
use firestarter_core::spec::Signal;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{accept_with, recv, RecvFlags, SocketFlags};
use rustix::process::Pid;

use super::senders::worker_of;
use super::{ack, Fact, Receipt, Shared, Source};
use crate::config::Contract;
use crate::journal::{Door, Meaning};
use crate::say::say;
use crate::sys::credentials::{self, Peeked};

/// Told of what is new, once: a line that has not ended does not wake the loop again.
const WAKES: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);
/// A longer line is nobody's ack.
const LONGEST: usize = 4096;
/// So many connections of workers at once; when one more comes the oldest goes.
const MOST: usize = 1024;
/// So many processes at once may have begun a line over a group's pair and not ended it.
const UNFINISHED: usize = 64;

pub(super) struct Channel {
    pub(super) shared: Shared,
    /// By group.
    pub(super) groups: Vec<Doors>,
    /// By the order in which they came.
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) arrivals: u64,
}

pub(super) struct Doors {
    /// Where workers connect.
    pub(super) socket: OwnedFd,
    /// The daemon's end of the pair.
    pub(super) here: OwnedFd,
    /// The workers' end of it.
    pub(super) there: OwnedFd,
    /// The beginnings of lines that came over the pair, by sender.
    pub(super) unfinished: HashMap<Pid, Vec<u8>>,
    /// It was said that an ack counts for nobody.
    pub(super) stranger_told: bool,
}

pub(super) struct Connection {
    fd: OwnedFd,
    group: u32,
    sender: Option<WorkerId>,
}

/// A line that was read and still stands in its socket.
pub(super) struct Line {
    from: From,
    length: usize,
}

#[derive(Clone, Copy)]
enum From {
    Connection(u64),
    Pair(u32),
}

impl Channel {
    /// Takes in all who wait: the set tells of new ones only.
    pub(super) fn accept(&mut self, group: u32, epoll: &OwnedFd) {
        loop {
            let Some(doors) = self.groups.get(group as usize) else { return };
            self.shared.header.set_door(Some(Door::Workers(group)));
            let accepted = accept_with(&doors.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            let named = accepted.inspect(|fd| {
                // Should its number be too high for the ledger, it works all the same until the daemon dies.
                let _ = self.shared.ledger.name(fd, Meaning::WorkerConnection { group });
            });
            self.shared.header.set_door(None);
            match named {
                Ok(fd) => self.take_over(fd, group, epoll),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.close_oldest() => {}
                Err(_) => return,
            }
            if self.connections.len() > MOST {
                self.close_oldest();
            }
        }
    }

    /// A connection that was accepted, by this daemon or the last. Who it is of is found out once: a helper of a worker
    /// may have ended before the next daemon looks.
    pub(super) fn take_over(&mut self, fd: OwnedFd, group: u32, epoll: &OwnedFd) {
        let found = || {
            let peer = rustix::net::sockopt::socket_peercred(&fd).ok()?;
            let (_, worker) = worker_of(self.shared.table, peer.pid, group)?;
            self.shared.ledger.set_mark(&fd, worker.0);
            Some(worker)
        };
        let sender = Some(self.shared.ledger.mark(&fd)).filter(|mark| *mark != 0).map(WorkerId).or_else(found);
        self.arrivals += 1;
        let data = epoll::EventData::new_u64(Source::WorkerConnection(self.arrivals).key());
        if epoll::add(epoll, &fd, data, WAKES).is_ok() {
            self.connections.insert(self.arrivals, Connection { fd, group, sender });
        }
    }

    /// The numbers of the workers' ends of the pairs by group, for spawns.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.groups.iter().map(|doors| doors.there.as_raw_fd()).collect()
    }

    fn close_oldest(&mut self) -> bool {
        let oldest = self.connections.keys().next().copied();
        oldest.inspect(|arrival| self.close(*arrival)).is_some()
    }

    /// Something has come over a worker's connection. One line a turn, so that a talkative worker holds up nobody.
    pub(super) fn hear(&mut self, arrival: u64, over: bool, inbox: &mut VecDeque<Fact>, epoll: &OwnedFd) {
        let Some(connection) = self.connections.get(&arrival) else { return };
        let mut buffer = [0; LONGEST];
        let read = match recv(&connection.fd, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((read, _)) => read,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => 0,
        };
        let Some(end) = buffer[..read].iter().position(|byte| *byte == b'\n') else {
            if over || read == 0 || read == LONGEST {
                self.close(arrival);
            }
            return;
        };
        let line = Line { from: From::Connection(arrival), length: end + 1 };
        let (group, sender) = (connection.group, connection.sender);
        let ack = self.read(&buffer[..end], group);
        self.take(group, sender, ack, line, inbox, epoll);
    }

    /// An ack counts for the worker that it is of; one of a stranger is told of once.
    fn take(
        &mut self,
        group: u32,
        sender: Option<WorkerId>,
        ack: Option<Option<Signal>>,
        line: Line,
        inbox: &mut VecDeque<Fact>,
        epoll: &OwnedFd,
    ) {
        if let Some((worker, signal)) = sender.zip(ack) {
            return inbox.push_back(Fact { event: Event::Acked { worker, signal }, receipt: Receipt::Line(line) });
        }
        let doors = self.groups.get_mut(group as usize).filter(|doors| ack.is_some() && !doors.stranger_told);
        if let Some(doors) = doors {
            doors.stranger_told = true;
            let name = self.shared.setup.config.groups.get(group as usize).map_or("", |group| &group.spec.name);
            say(format_args!(
                "{name}: an ack counts for nobody: who sent it is no worker of the group, nor a child of one, or had \
                 ended before it could be seen"
            ));
        }
        self.consume(line, epoll);
    }

    /// A line has been dealt with: takes it out of its socket. What follows it is heard of in the next turn.
    pub(super) fn consume(&mut self, line: Line, epoll: &OwnedFd) {
        let mut taken = [0; LONGEST];
        let taken = &mut taken[..line.length.min(LONGEST)];
        match line.from {
            From::Pair(group) => {
                let Some(doors) = self.groups.get(group as usize) else { return };
                let _ = recv(&doors.here, taken, RecvFlags::DONTWAIT);
            }
            From::Connection(arrival) => {
                let Some(Connection { fd, .. }) = self.connections.get(&arrival) else { return };
                let _ = recv(fd, taken, RecvFlags::DONTWAIT);
                let data = epoll::EventData::new_u64(Source::WorkerConnection(arrival).key());
                let _ = epoll::modify(epoll, fd, data, WAKES);
            }
        }
    }

    /// Something has come over a group's pair: the next piece of what one sender wrote.
    pub(super) fn hear_pair(&mut self, group: u32, inbox: &mut VecDeque<Fact>, epoll: &OwnedFd) {
        let Some(doors) = self.groups.get_mut(group as usize) else { return };
        let mut buffer = [0; LONGEST];
        let Ok(Peeked { read, sender, .. }) = credentials::peek(doors.here.as_fd(), &mut buffer) else { return };
        let end = buffer[..read].iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.map_or(read, |end| end + 1)];
        let line = Line { from: From::Pair(group), length: piece.len() };
        let Some(sender) = sender else { return self.consume(line, epoll) };
        let mut whole = doors.unfinished.remove(&sender).unwrap_or_default();
        whole.extend(piece);
        if end.is_none() && whole.len() < LONGEST {
            if doors.unfinished.len() >= UNFINISHED {
                doors.unfinished.clear();
            }
            doors.unfinished.insert(sender, whole);
            return self.consume(line, epoll);
        }
        let ack = self.read(&whole, group);
        let sender = worker_of(self.shared.table, sender, group).map(|(_, worker)| worker);
        self.take(group, sender, ack, line, inbox, epoll);
    }

    /// Reads an ack, if the group takes the line for one.
    fn read(&self, line: &[u8], group: u32) -> Option<Option<Signal>> {
        let launch = &self.shared.setup.config.groups.get(group as usize)?.launch;
        let heard = launch.contracts.hear_acks() && !launch.ack_by_notify;
        ack::read(line, launch.contracts.speak(Contract::Einhorn)).filter(|_| heard)
    }

    fn close(&mut self, arrival: u64) {
        if let Some(connection) = self.connections.remove(&arrival) {
            self.shared.ledger.forget(&connection.fd);
        }
    }
}
