//! What workers say: acks, over each group's worker socket and over the connected socket that every worker inherits.
//!
//! An ack is attributed by the kernel's word for who sent it, never by what it claims: the sender's pid, else its process
//! group, else its parents, up to a worker of the group. Anybody else is ignored. A line stays in its socket until its
//! ack is journalled; to read one twice does no harm, since a second ack says nothing new.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use firestarter_core::event::Event;
use firestarter_core::ids::{GroupId, WorkerId};
use firestarter_core::spec::Signal;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{accept_with, recv, RecvFlags, SocketFlags};
use rustix::process::Pid;
use serde_json::Value;

use super::{Fact, Receipt, Shared, Source};
use crate::journal::Meaning;
use crate::sys::credentials;

/// A longer line is nobody's ack.
const LONGEST: usize = 4096;
/// So many connections of workers at once; when one more comes the oldest goes.
const MOST: usize = 1024;

pub(super) struct Channel {
    pub(super) shared: Shared,
    /// By group: where workers connect, and the daemon's end of the pair.
    pub(super) groups: Vec<Doors>,
    pub(super) connections: BTreeMap<RawFd, Connection>,
    pub(super) arrivals: u64,
}

pub(super) struct Doors {
    pub(super) socket: OwnedFd,
    pub(super) here: OwnedFd,
    pub(super) there: OwnedFd,
}

pub(super) struct Connection {
    pub(super) fd: OwnedFd,
    pub(super) sender: Option<WorkerId>,
    pub(super) arrival: u64,
}

/// A line that was read and still stands in its socket.
pub(super) struct Line {
    fd: RawFd,
    length: usize,
}

impl Channel {
    /// Takes in all who wait: the set tells of new ones only.
    pub(super) fn accept(&mut self, group: u32, epoll: &OwnedFd) {
        loop {
            let Some(doors) = self.groups.get(group as usize) else { return };
            match accept_with(&doors.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) if self.shared.ledger.name(&fd, Meaning::WorkerConnection { group }).is_ok() => {
                    let number = fd.as_raw_fd();
                    self.take_over(fd, group);
                    self.watch(number, epoll);
                }
                Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.close_oldest() => {}
                Err(_) => return,
            }
            if self.connections.len() > MOST {
                self.close_oldest();
            }
        }
    }

    /// The numbers of the workers' ends of the pairs by group, for spawns.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.groups.iter().map(|doors| doors.there.as_raw_fd()).collect()
    }

    fn close_oldest(&mut self) -> bool {
        let oldest = self.connections.values().min_by_key(|connection| connection.arrival);
        let number = oldest.map(|connection| connection.fd.as_raw_fd());
        number.inspect(|number| self.close(*number)).is_some()
    }

    /// A connection that was accepted, by this daemon or the last.
    pub(super) fn take_over(&mut self, fd: OwnedFd, group: u32) {
        self.arrivals += 1;
        let sender = rustix::net::sockopt::socket_peercred(&fd).ok().and_then(|c| self.worker_of(c.pid, group));
        let connection = Connection { sender, arrival: self.arrivals, fd };
        self.connections.insert(connection.fd.as_raw_fd(), connection);
    }

    pub(super) fn watch(&self, number: RawFd, epoll: &OwnedFd) {
        if let Some(connection) = self.connections.get(&number) {
            let data = epoll::EventData::new_u64(Source::WorkerConnection(number as u32).key());
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            let _ = epoll::add(epoll, &connection.fd, data, flags);
        }
    }

    /// Something has come over a worker's connection: goes on up to the next ack, which stays until it is journalled.
    pub(super) fn hear(&mut self, number: RawFd, flags: epoll::EventFlags, inbox: &mut VecDeque<Fact>) {
        while let Some(connection) = self.connections.get(&number) {
            let mut buffer = [0; LONGEST];
            let read = match recv(&connection.fd, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((read, _)) => read,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => 0,
            };
            let Some(end) = buffer[..read].iter().position(|byte| *byte == b'\n') else {
                let over = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP);
                if over || read == 0 || read == LONGEST {
                    self.close(number);
                }
                return;
            };
            let line = Line { fd: number, length: end + 1 };
            match connection.sender.zip(ack(&buffer[..end])) {
                Some((worker, signal)) => {
                    let event = Event::Acked { worker, signal };
                    return inbox.push_back(Fact { event, receipt: Receipt::Line(line) });
                }
                None => self.take(&line),
            }
        }
    }

    /// A line's ack is journalled: takes it out, and goes on with what follows it.
    pub(super) fn consume(&mut self, line: Line, inbox: &mut VecDeque<Fact>) {
        self.take(&line);
        self.hear(line.fd, epoll::EventFlags::empty(), inbox);
    }

    fn take(&self, line: &Line) {
        if let Some(fd) = self.fd(line.fd) {
            let _ = recv(fd, &mut [0; LONGEST][..line.length.min(LONGEST)], RecvFlags::DONTWAIT);
        }
    }

    /// Something has come over a group's pair: one message at a time, with its sender.
    pub(super) fn hear_pair(&mut self, group: u32, inbox: &mut VecDeque<Fact>) {
        let Some(doors) = self.groups.get(group as usize) else { return };
        let mut buffer = [0; LONGEST];
        let Ok((read, sender)) = credentials::peek(doors.here.as_fd(), &mut buffer) else { return };
        let length = buffer[..read].iter().position(|byte| *byte == b'\n').map_or(read, |end| end + 1);
        let line = Line { fd: doors.here.as_raw_fd(), length };
        let worker = sender.and_then(|pid| self.worker_of(pid, group));
        match worker.zip(ack(&buffer[..length])) {
            Some((worker, signal)) => {
                inbox.push_back(Fact { event: Event::Acked { worker, signal }, receipt: Receipt::Line(line) });
            }
            None => self.take(&line),
        }
    }

    fn fd(&self, number: RawFd) -> Option<BorrowedFd<'_>> {
        let pair = || self.groups.iter().map(|doors| doors.here.as_fd()).find(|fd| fd.as_raw_fd() == number);
        self.connections.get(&number).map(|connection| connection.fd.as_fd()).or_else(pair)
    }

    fn close(&mut self, number: RawFd) {
        if let Some(connection) = self.connections.remove(&number) {
            self.shared.ledger.forget(&connection.fd);
        }
    }

    /// The worker of the group that a process is, or belongs to.
    fn worker_of(&self, pid: Pid, group: u32) -> Option<WorkerId> {
        let ours = |pid| {
            let (row, worker) = self.shared.table.find(pid)?;
            (self.shared.table.group(row) == GroupId(group)).then_some(worker)
        };
        let group_leader = || rustix::process::getpgid(Some(pid)).ok().and_then(ours);
        ours(pid).or_else(group_leader).or_else(|| ancestors(pid).find_map(ours))
    }
}

/// The parents of a process, nearest first, as far as they can be seen.
fn ancestors(pid: Pid) -> impl Iterator<Item = Pid> {
    let parent = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Pid::from_raw(parent).filter(|parent| parent.as_raw_nonzero().get() > 1)
    };
    std::iter::successors(parent(&pid), parent).take(64)
}

/// Reads an ack: `{"command":"worker:ack","pid":0,"signal":null}`. The inner value is the signal that the old worker
/// shall get, if one is named.
fn ack(line: &[u8]) -> Option<Option<Signal>> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if value.get("command")?.as_str()? != "worker:ack" {
        return None;
    }
    let signal = value.get("signal").and_then(|signal| match signal {
        Value::String(name) => Signal::parse(name),
        Value::Number(number) => number.as_u64().and_then(|n| Signal::from_number(u8::try_from(n).ok()?)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    Some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_read_and_nothing_else_is_one() {
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"pid\":0,\"signal\":null}\n"), Some(None));
        assert_eq!(ack(b"{\"command\":\"worker:ack\"}"), Some(None));
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"signal\":\"SIGQUIT\"}"), Some(Some(Signal::QUIT)));
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"signal\":15}"), Some(Some(Signal::TERM)));
        for other in [&b"\n"[..], b"READY=1\n", b"{\"command\":\"worker:ping\"}", b"[]", b"{", b"\xff\xfe\n"] {
            assert_eq!(ack(other), None, "{other:?}");
        }
    }
}
