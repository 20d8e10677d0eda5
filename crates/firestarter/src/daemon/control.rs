//! Clients. A request stays in its client's socket until it is answered: it is looked at, journalled if it is an order,
//! answered, and only then taken out. So a client has one request at a time in work, what it sends meanwhile waits in
//! the kernel, and a new daemon finds again what the last one had not answered.
//!
//! A client's ledger row says how far its request is; see [`Phase`]. Nobody is waited for: a client that does not read
//! its reply holds up itself alone.
//!
//! An order whose end the client does not wait for is answered when it is journalled and handled: by the core's reply if
//! there is one by then, else by the word that it has begun. What the core says of it later finds nobody: a reply is for
//! the order that its client has in work, or for none.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use firestarter_core::ids::RequestId;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{accept_with, recv, send, RecvFlags, SendFlags, SocketFlags};

use super::{Shared, Source};
use crate::api::{fault_line, parse, reply_line, Call, Fault, Id, Order, Outcome, Request};
use crate::journal::{Door, Meaning, Phase};
use crate::say::say;
use crate::sys::credentials::peer_uid;
use crate::sys::fds::STAGE_END;

/// Told of what is new, once: a request that has not ended does not wake the loop again.
const WAKES: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::OUT).union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);
const TAKEN_IN: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// A request is at most this long, its newline counted, in bytes.
const LONGEST: usize = 16 * 1024;
/// So many clients at once; when one more comes, the one that has been idle for longest goes.
const MOST: usize = 512;

pub(super) struct Control {
    pub(super) shared: Shared,
    pub(super) socket: OwnedFd,
    pub(super) clients: BTreeMap<u64, Client>,
    /// Given up to take in and turn away a client when there is no other descriptor left.
    pub(super) spare: Option<OwnedFd>,
    /// It was said that clients are turned away.
    pub(super) turning_away: bool,
    /// Who has just asked for something whose end is not waited for.
    pub(super) in_a_hurry: Option<u64>,
    /// Who has just asked to hear how far something is.
    pub(super) followers: Vec<u64>,
    pub(super) buffer: Box<[u8; LONGEST]>,
}

pub(super) struct Client {
    fd: OwnedFd,
    /// The number of its last order.
    seq: u32,
    work: Option<Work>,
    /// What has not been sent yet.
    unsent: Vec<u8>,
    /// It goes when its reply is sent.
    last: bool,
}

/// The request that a client's next reply is for.
struct Work {
    id: Id,
    /// None for a question.
    order: Option<Order>,
    /// The client waits for the order's end, not only for its beginning.
    waits: bool,
    /// It wants to hear how far the order is meanwhile.
    follows: bool,
    /// It is an order, journalled, and no reply to it was made.
    owed: bool,
    /// Of its line, with the newline.
    length: usize,
}

impl Work {
    /// Asked for in a line of that length.
    fn new(request: Request, length: usize) -> Work {
        let follows = matches!(request.call, Call::Follow(_));
        let (order, waits) = match request.call {
            Call::Ask(_) | Call::Reopen { .. } => (None, true),
            Call::Do(order) | Call::Follow(order) => (Some(order), true),
            Call::Begin(order) => (Some(order), false),
        };
        Work { id: request.id, order, waits, follows, owed: false, length }
    }
}

impl Client {
    fn new(fd: OwnedFd) -> Client {
        Client { fd, seq: 0, work: None, unsent: Vec::new(), last: false }
    }
}

impl Control {
    /// Takes in all who wait: the set tells of new ones only.
    pub(super) fn accept(&mut self, epoll: &OwnedFd) {
        loop {
            // Named before anything else is looked at: a daemon that dies here leaves a client for the next one.
            let client = self.shared.header.next_client();
            self.shared.header.set_door(Some(Door::Control));
            let named = accept_with(&self.socket, TAKEN_IN).map(|fd| {
                let named = self.shared.ledger.name(&fd, Meaning::Client { client });
                (fd, named.is_ok())
            });
            self.shared.header.set_door(None);
            match named {
                Ok((fd, true)) => self.admit(client, fd, epoll),
                Ok((_, false)) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.turn_away() => {}
                Err(_) => return,
            }
        }
    }

    /// No descriptor is left: gives one up for the moment, so that whoever waits is told by an end and not by silence.
    fn turn_away(&mut self) -> bool {
        let Some(spare) = self.spare.take() else { return false };
        self.shared.ledger.forget(&spare);
        drop(spare);
        let turned_away = accept_with(&self.socket, TAKEN_IN).is_ok();
        self.spare = rustix::io::fcntl_dupfd_cloexec(&self.socket, STAGE_END).ok();
        if let Some(spare) = &self.spare {
            // Above the ledger it would be closed after the next death, which costs this courtesy and nothing else.
            let _ = self.shared.ledger.name(spare, Meaning::Spare);
        }
        if turned_away && !std::mem::replace(&mut self.turning_away, true) {
            say(format_args!("clients are turned away: no descriptor is left (raise the limit of open files)"));
        }
        turned_away
    }

    /// Lets in root and the owner.
    pub(super) fn admit(&mut self, id: u64, fd: OwnedFd, epoll: &OwnedFd) {
        let own = rustix::process::geteuid().as_raw();
        let mut welcome = peer_uid(fd.as_fd()).is_ok_and(|uid| uid == own || uid == 0);
        if welcome && self.clients.len() >= MOST {
            let idle = self.clients.iter().find(|(_, client)| client.work.is_none()).map(|(id, _)| *id);
            welcome = idle.inspect(|client| self.drop_client(*client)).is_some();
        }
        if !welcome {
            return self.shared.ledger.forget(&fd);
        }
        self.turning_away = false;
        self.clients.insert(id, Client::new(fd));
        self.watch(id, epoll);
    }

    pub(super) fn watch(&self, id: u64, epoll: &OwnedFd) {
        if let Some(client) = self.clients.get(&id) {
            let data = epoll::EventData::new_u64(Source::Client(id).key());
            let _ = epoll::add(epoll, &client.fd, data, WAKES);
        }
    }

    /// Lets the set tell again of what a client has sent already: one question a turn, so that nobody is held up.
    pub(super) fn watch_again(&self, id: u64, epoll: &OwnedFd) {
        if let Some(client) = self.clients.get(&id) {
            let data = epoll::EventData::new_u64(Source::Client(id).key());
            let _ = epoll::modify(epoll, &client.fd, data, WAKES);
        }
    }

    /// Something has changed at a client: it may take more of its reply, or it has gone. What it sent before it went
    /// counts.
    pub(super) fn go_on(&mut self, id: u64, flags: epoll::EventFlags, epoll: &OwnedFd) {
        if flags.contains(epoll::EventFlags::ERR) {
            return self.drop_client(id);
        }
        if self.send(id) {
            self.watch_again(id, epoll);
        }
    }

    /// The next request of a client that has none in work. What is no request is answered here.
    pub(super) fn next_call(&mut self, id: u64) -> Option<Call> {
        loop {
            let client = self.clients.get_mut(&id)?;
            if client.work.is_some() || client.last {
                return None;
            }
            let read = match recv(&client.fd, &mut self.buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((read @ 1.., _)) => read,
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => {
                    self.drop_client(id);
                    return None;
                }
            };
            let Some(end) = self.buffer[..read].iter().position(|byte| *byte == b'\n') else {
                if read == LONGEST {
                    client.last = true;
                    self.refuse(id, &Fault::too_long(LONGEST), 0);
                }
                return None;
            };
            match parse(&self.buffer[..end]) {
                Ok(request) => {
                    self.shared.ledger.set_mark(&client.fd, mark(&self.buffer[..=end]));
                    let call = request.call.clone();
                    client.work = Some(Work::new(request, end + 1));
                    return Some(call);
                }
                Err(fault) => self.refuse(id, &fault, end + 1),
            }
        }
    }

    /// Who a client is, for people.
    pub(super) fn who(&self, id: u64) -> String {
        self.clients.get(&id).map_or_else(String::new, |client| who(&client.fd))
    }

    fn refuse(&mut self, id: u64, fault: &Fault, length: usize) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.work = Some(Work { id: Id::Null, order: None, waits: true, follows: false, owed: false, length });
            client.unsent = fault_line(fault).into_bytes();
            self.send(id);
        }
    }

    /// The name of the order that a client has in work. It is not journalled yet.
    pub(super) fn request(&self, id: u64) -> RequestId {
        let seq = self.clients.get(&id).map_or(0, |client| client.seq.wrapping_add(1));
        RequestId { client: id, seq }
    }

    /// A client's order is journalled.
    pub(super) fn asked(&mut self, id: u64) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.seq = client.seq.wrapping_add(1);
            self.shared.ledger.set_request(&client.fd, client.seq, Phase::Asked);
            if let Some(work) = &mut client.work {
                work.owed = true;
                tell(work.order.as_ref(), &who(&client.fd));
                if !work.waits {
                    self.in_a_hurry = Some(id);
                }
                if work.follows {
                    self.followers.push(id);
                }
            }
        }
    }

    /// The order that a request is, if a reply to it is still owed.
    pub(super) fn owed(&self, request: RequestId) -> Option<&Order> {
        let client = self.clients.get(&request.client).filter(|client| client.seq == request.seq)?;
        client.work.as_ref().filter(|work| work.owed)?.order.as_ref()
    }

    /// The order of a client that does not wait for its end, if it was not answered yet.
    pub(super) fn begun(&self, id: u64) -> Option<&Order> {
        self.clients.get(&id)?.work.as_ref().filter(|work| work.owed && !work.waits)?.order.as_ref()
    }

    /// The group whose rollout a client follows, as long as its order is in work.
    pub(super) fn followed(&self, id: u64) -> Option<&str> {
        let work = self.clients.get(&id)?.work.as_ref().filter(|work| work.owed && work.follows)?;
        work.order.as_ref()?.group()
    }

    /// Tells a client something before its reply, if it takes it at once: a line as short as this is taken whole or not at
    /// all. Says whether it was.
    pub(super) fn tell(&self, id: u64, line: &str) -> bool {
        let Some(client) = self.clients.get(&id).filter(|client| client.unsent.is_empty()) else { return false };
        send(&client.fd, line.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    }

    /// Answers the request that a client has in work.
    pub(super) fn answer(&mut self, id: u64, outcome: &Outcome) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(work) = &mut client.work {
            work.owed = false;
            client.unsent.extend(reply_line(&work.id, outcome).into_bytes());
            self.send(id);
        }
    }

    /// Sends what the client takes. When all of a reply is sent, its request is taken out of the socket; says whether
    /// that is so.
    fn send(&mut self, id: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        if client.unsent.is_empty() {
            return false;
        }
        let ledger = self.shared.ledger;
        loop {
            match send(&client.fd, &client.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) if sent == client.unsent.len() => break,
                Ok(sent) => {
                    ledger.set_request(&client.fd, client.seq, Phase::Answering);
                    client.unsent.drain(..sent);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => {
                    self.drop_client(id);
                    return false;
                }
            }
        }
        client.unsent = Vec::new();
        ledger.set_request(&client.fd, client.seq, Phase::Answered);
        let length = client.work.take().map_or(0, |work| work.length);
        let _ = recv(&client.fd, &mut self.buffer[..length], RecvFlags::DONTWAIT);
        ledger.set_request(&client.fd, client.seq, Phase::Idle);
        if client.last {
            self.drop_client(id);
        }
        true
    }

    /// Whether no client is still owed the rest of a reply to an order: only the journal's entries hold that reply, so
    /// no snapshot may take their place. If `press`, clients that do not take theirs are given up.
    pub(super) fn owes_no_rest(&mut self, press: bool) -> bool {
        let owed =
            |client: &Client| !client.unsent.is_empty() && client.work.as_ref().is_some_and(|w| w.order.is_some());
        let waiting: Vec<u64> = self.clients.iter().filter(|(_, client)| owed(client)).map(|(id, _)| *id).collect();
        if press {
            waiting.iter().for_each(|client| self.drop_client(*client));
        }
        press || waiting.is_empty()
    }

    fn drop_client(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            self.shared.ledger.forget(&client.fd);
        }
    }

    /// Goes on with a client of the last daemon. `asked` is the number of its last order in the journal's entries.
    pub(super) fn take_over(&mut self, id: u64, fd: OwnedFd, asked: Option<u32>) {
        let ledger = self.shared.ledger;
        let (mut seq, mut phase) = ledger.request(&fd);
        if let Some(asked) = asked.filter(|asked| *asked > seq) {
            // The last daemon died between the journal's entry and the ledger's.
            (seq, phase) = (asked, Phase::Asked);
            ledger.set_request(&fd, seq, phase);
        }
        let mut client = Client::new(fd);
        client.seq = seq;
        let line = self.head(&client.fd).map(|end| &self.buffer[..=end]);
        match (phase, line) {
            (Phase::Answered, Some(line)) if mark(line) == ledger.mark(&client.fd) => {
                let length = line.len();
                let _ = recv(&client.fd, &mut self.buffer[..length], RecvFlags::DONTWAIT);
                ledger.set_request(&client.fd, seq, Phase::Idle);
            }
            (Phase::Asked | Phase::Answering, Some(line)) => {
                if let Ok(request) = parse(line) {
                    let work = Work::new(request, line.len());
                    self.followers.extend(work.follows.then_some(id));
                    client.work = work.order.is_some().then_some(Work { owed: true, ..work });
                }
                if phase == Phase::Answering {
                    // What was sent in part becomes a line that is no reply.
                    client.unsent = b"\n".to_vec();
                }
            }
            (Phase::Idle | Phase::Answered, _) | (Phase::Asked | Phase::Answering, None) => {}
        }
        self.clients.insert(id, client);
    }

    fn head(&mut self, fd: &OwnedFd) -> Option<usize> {
        let (read, _) = recv(fd, &mut self.buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).ok()?;
        self.buffer[..read].iter().position(|byte| *byte == b'\n')
    }
}

/// Says who wants what, as whoever reads the log later will ask.
fn tell(order: Option<&Order>, who: &str) {
    match order {
        Some(Order::Group { group, verb, signal, slot }) => {
            let slot = slot.map_or_else(String::new, |slot| format!("/{slot}"));
            let signal = signal.map_or_else(String::new, |signal| format!(" {signal}"));
            say(format_args!("{group}{slot}: {verb}{signal}, ordered by {who}"));
        }
        Some(Order::Shutdown) => say(format_args!("stop of everything, ordered by {who}")),
        None => {}
    }
}

fn who(client: &OwnedFd) -> String {
    peer_uid(client.as_fd()).map_or_else(|_| "somebody".to_owned(), |uid| format!("uid {uid}"))
}

/// What tells one line from another: its length and a hash (FNV-1a).
fn mark(line: &[u8]) -> u64 {
    let hash = line.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (line.len() as u64) << 32 | u64::from(hash)
}

/// The buffer that requests are looked at in.
pub(super) fn buffer() -> Box<[u8; LONGEST]> {
    Box::new([0; LONGEST])
}
