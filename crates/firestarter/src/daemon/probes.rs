//! Asks workers over a connection whether they serve, and turns what they answer into facts: one for each question.
//!
//! Nothing here waits: a connection is made without blocking, a request is small, an answer is read as it comes and only
//! as far as it is needed, and the loop says when a time is over. A group has so many connections at once and no more, so
//! that the number of descriptors has a bound; its other questions wait for them. No descriptor here outlives the daemon:
//! the next one asks again. What an answer leads to is the core's to decide.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use firestarter_core::event::{Answer, Event};
use firestarter_core::ids::{GroupId, Pid, Slot, WorkerId};
use firestarter_core::time::Instant;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    connect, getpeername, getsockname, send, socket_with, sockopt, AddressFamily, SendFlags, SocketAddrAny,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::launch::{self, Environment};
use super::probe_answer::{judge, LONGEST};
use super::{now, Fact, Receipt, Shared, Source};
use crate::config::{probe_variables, read_endpoint, read_url, words, Endpoint, Group, Health, Resource};
use crate::say::say;

/// So many of a group's workers are asked at once.
pub(super) const AT_ONCE: usize = 64;

/// So much is read of one answer in one turn of the loop.
const PORTION: usize = 2048;

pub(super) struct Probes {
    shared: Shared,
    /// Connections, by the worker that is asked.
    under_way: BTreeMap<WorkerId, Inquiry>,
    /// When their time is over.
    due: BTreeSet<(Instant, WorkerId)>,
    groups: BTreeMap<GroupId, OfGroup>,
    /// It was said that there are too few descriptors.
    short: bool,
}

/// What belongs to one group; made for its first question.
struct OfGroup {
    env: Environment,
    connections: usize,
    waiting: VecDeque<Question>,
}

/// Whom to ask.
#[derive(Clone, Copy)]
struct Question {
    worker: WorkerId,
    group: GroupId,
    slot: Slot,
    pid: Option<Pid>,
}

struct Inquiry {
    fd: OwnedFd,
    group: GroupId,
    late_at: Instant,
    step: Step,
    /// What is asked over HTTP; none if a connection is enough.
    request: Option<Vec<u8>>,
    good: (u16, u16),
    read: Vec<u8>,
}

/// How far an inquiry is.
enum Step {
    Connecting,
    /// So many bytes of the request are sent.
    Sending(usize),
    Reading,
}

impl Probes {
    pub(super) fn new(shared: Shared) -> Probes {
        let (under_way, due, groups) = Default::default();
        Probes { shared, under_way, due, groups, short: false }
    }

    /// Asks a worker: the one with this group, slot and pid, if there is one. Who is being asked already answers once.
    pub(super) fn ask(
        &mut self,
        worker: WorkerId,
        whose: Option<(GroupId, Slot, Option<Pid>)>,
        epoll: &OwnedFd,
        inbox: &mut VecDeque<Fact>,
    ) {
        let Some((group, slot, pid)) = whose else { return };
        let Some(config) = self.shared.setup.config.groups.get(group.0 as usize) else { return };
        let setup = self.shared.setup;
        let of_group = self.groups.entry(group).or_insert_with(|| OfGroup {
            env: launch::of_worker(setup, config, group.0),
            connections: 0,
            waiting: VecDeque::new(),
        });
        let waits = of_group.waiting.iter().any(|question| question.worker == worker);
        if !waits && !self.under_way.contains_key(&worker) {
            of_group.waiting.push_back(Question { worker, group, slot, pid });
            self.begin_waiting(group, epoll, inbox);
        }
    }

    /// When the next answer is late.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Ends all inquiries whose time is over.
    pub(super) fn give_up_late(&mut self, epoll: &OwnedFd, inbox: &mut VecDeque<Fact>) {
        while let Some((_, worker)) = self.due.first().copied().filter(|(at, _)| *at <= now()) {
            self.end(worker, Answer::Late, epoll, inbox);
        }
    }

    /// Something has happened at a worker's connection.
    pub(super) fn hear(&mut self, worker: WorkerId, epoll: &OwnedFd, inbox: &mut VecDeque<Fact>) {
        let Some(inquiry) = self.under_way.get_mut(&worker) else { return };
        if let Some(answer) = inquiry.go_on(worker, epoll) {
            self.end(worker, answer, epoll, inbox);
        }
    }

    fn end(&mut self, worker: WorkerId, answer: Answer, epoll: &OwnedFd, inbox: &mut VecDeque<Fact>) {
        let Some(inquiry) = self.under_way.remove(&worker) else { return };
        self.due.remove(&(inquiry.late_at, worker));
        let _ = epoll::delete(epoll, &inquiry.fd);
        if let Some(group) = self.groups.get_mut(&inquiry.group) {
            group.connections -= 1;
        }
        inbox.push_back(fact(worker, answer));
        self.begin_waiting(inquiry.group, epoll, inbox);
    }

    /// Begins with those who wait, as far as there may be more connections.
    fn begin_waiting(&mut self, group: GroupId, epoll: &OwnedFd, inbox: &mut VecDeque<Fact>) {
        let Some(config) = self.shared.setup.config.groups.get(group.0 as usize) else { return };
        let Some(of_group) = self.groups.get_mut(&group) else { return };
        while of_group.connections < AT_ONCE {
            let Some(question) = of_group.waiting.pop_front() else { return };
            match begin(question, config, &of_group.env, epoll) {
                Ok(inquiry) => {
                    of_group.connections += 1;
                    self.short = false;
                    self.due.insert((inquiry.late_at, question.worker));
                    self.under_way.insert(question.worker, inquiry);
                }
                Err(errno) => {
                    let short = matches!(errno, Errno::MFILE | Errno::NFILE);
                    if short && !std::mem::replace(&mut self.short, true) {
                        let name = &config.spec.name;
                        say(format_args!(
                            "{name}: health: no descriptor is left to ask with; raise the limit of open files"
                        ));
                    }
                    inbox.push_back(fact(question.worker, Answer::Unreachable(errno.raw_os_error())));
                }
            }
        }
    }
}

fn fact(worker: WorkerId, answer: Answer) -> Fact {
    Fact { event: Event::Probed { worker, answer }, receipt: Receipt::None }
}

/// Begins to connect to whom the configuration names for this worker.
fn begin(question: Question, group: &Group, env: &Environment, epoll: &OwnedFd) -> Result<Inquiry, Errno> {
    let (endpoint, resource, good) = match &group.launch.health {
        Some(Health::Http { url, good }) => {
            let resource = read_url(&expand(url, question, group, env)?).map_err(|_| Errno::INVAL)?;
            (resource.endpoint.clone(), Some(resource), *good)
        }
        Some(Health::Tcp(address)) => {
            (read_endpoint(&expand(address, question, group, env)?).map_err(|_| Errno::INVAL)?, None, (0, 0))
        }
        // A command is a hook.
        Some(Health::Command(_)) | None => return Err(Errno::INVAL),
    };
    let family = match &endpoint {
        Endpoint::Internet(address) if address.is_ipv4() => AddressFamily::INET,
        Endpoint::Internet(_) => AddressFamily::INET6,
        Endpoint::Unix(_) => AddressFamily::UNIX,
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let connected = match &endpoint {
        Endpoint::Internet(address) => connect(&fd, address),
        Endpoint::Unix(path) => connect(&fd, &SocketAddrUnix::new(path)?),
    };
    match connected {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    let data = epoll::EventData::new_u64(Source::Probe(question.worker.0).key());
    epoll::add(epoll, &fd, data, EventFlags::OUT)?;
    let timeout = group.spec.probe.map(|probe| probe.timeout).unwrap_or_default();
    Ok(Inquiry {
        fd,
        group: question.group,
        late_at: now() + timeout,
        step: Step::Connecting,
        request: resource.map(|resource| request(&resource)),
        good,
        read: Vec::new(),
    })
}

/// A url or an address, with the worker's variables in their places.
fn expand(word: &words::Word, question: Question, group: &Group, env: &Environment) -> Result<String, Errno> {
    let [slot, pid, main_pid] = probe_variables(&group.launch.base_name);
    let look_up = |name: &str| -> Option<OsString> {
        if name == slot {
            Some(question.slot.to_string().into())
        } else if name == pid || name == main_pid {
            question.pid.map(|pid| pid.to_string().into())
        } else {
            env.get(OsStr::new(name)).cloned()
        }
    };
    let mut words = words::expand(std::slice::from_ref(word), look_up).map_err(|_| Errno::INVAL)?;
    String::from_utf8(words.pop().unwrap_or_default().into_vec()).map_err(|_| Errno::INVAL)
}

fn request(resource: &Resource) -> Vec<u8> {
    let Resource { host, path, .. } = resource;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: firestarter\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

impl Inquiry {
    /// Does what can be done now; none if no answer follows from it yet.
    fn go_on(&mut self, worker: WorkerId, epoll: &OwnedFd) -> Option<Answer> {
        if let Step::Connecting = self.step {
            if let Some(errno) = self.not_connected() {
                return Some(Answer::Unreachable(errno.raw_os_error()));
            }
            self.step = Step::Sending(0);
        }
        let Some(request) = &self.request else { return Some(Answer::Good) };
        if let Step::Sending(sent) = self.step {
            match send(&self.fd, request.get(sent..).unwrap_or_default(), SendFlags::NOSIGNAL) {
                Ok(more) if sent + more < request.len() => {
                    self.step = Step::Sending(sent + more);
                    return None;
                }
                Err(Errno::AGAIN | Errno::INTR) => return None,
                // Who takes no more may have answered before.
                Ok(_) | Err(_) => self.step = Step::Reading,
            }
            let data = epoll::EventData::new_u64(Source::Probe(worker.0).key());
            let _ = epoll::modify(epoll, &self.fd, data, EventFlags::IN);
            return None;
        }
        self.take_in()
    }

    /// Why there is no connection. One to itself is none: on the own machine a connection to a port at which nobody
    /// listens may be given that very port.
    fn not_connected(&self) -> Option<Errno> {
        match sockopt::socket_error(&self.fd) {
            Ok(Ok(())) => {}
            Ok(Err(errno)) | Err(errno) => return Some(errno),
        }
        let internet = |a: &SocketAddrAny| matches!(a.address_family(), AddressFamily::INET | AddressFamily::INET6);
        match (getsockname(&self.fd), getpeername(&self.fd)) {
            (_, Err(errno)) => Some(errno),
            (Ok(here), Ok(there)) => {
                there.is_some_and(|there| internet(&there) && here == there).then_some(Errno::CONNREFUSED)
            }
            (Err(_), Ok(_)) => None,
        }
    }

    fn take_in(&mut self) -> Option<Answer> {
        let mut portion = [0; PORTION];
        let room = PORTION.min(LONGEST - self.read.len());
        match rustix::io::read(&self.fd, &mut portion[..room]) {
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => Some(Answer::Closed),
            Ok(length) => {
                self.read.extend_from_slice(&portion[..length]);
                judge(&self.read, self.good)
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Answer::Unreachable(errno.raw_os_error())),
        }
    }
}
