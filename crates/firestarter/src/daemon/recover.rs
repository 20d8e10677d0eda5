//! A new daemon takes over: replays the journal, finds the workers by the table and everything else by the ledger, and
//! does again what was asked for and has no answer yet.
//!
//! What the last daemon had begun is in doubt, and each kind has its rule:
//! - a *spawn*: the table knows whether the kernel made a process, and how far it came; without one it is spawned now;
//! - a *signal* that asks to end is sent if it is not marked as sent; between the sending and the mark lies an instant in
//!   which a worker is asked twice rather than never, since one that was never asked would be killed at its deadline;
//! - a *reply* is sent if the client's ledger row says that it has not been; so is the word that an order has begun whose
//!   end is not waited for, if there is no reply;
//! - a *signal* that somebody wanted a worker to have (`Tell`) is not sent again, sent or not: twice may do harm;
//! - an *exit* that was journalled and not consumed: the zombie is let go now; one not journalled is told of again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use firestarter_core::action::Action;
use firestarter_core::command::Reply;
use firestarter_core::event::Event;
use firestarter_core::ids::{GroupId, RequestId, WorkerId};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;
use rustix::event::epoll;
use rustix::process::{pidfd_open, PidfdFlags};

use super::channel::{Channel, Doors};
use super::children::{Child, Children};
use super::control::Control;
use super::found::{find, Found};
use super::labels::Labeller;
use super::last_words::LastWords;
use super::listeners::Listeners;
use super::notify::Notify;
use super::orders::Heard;
use super::paths::Paths;
use super::pins::Pins;
use super::probes::Probes;
use super::programs::Programs;
use super::progress::Progress;
use super::reopen::Reopening;
use super::report::Reporter;
use super::spawner::{Crew, Job, Role};
use super::status_file::StatusFile;
use super::store::Store;
use super::stranded::{self, Unread};
use super::strangers;
use super::succession::Succession;
use super::yard::Yard;
use super::{now, Daemon, Fact, Receipt, Shared, Source};
use crate::journal::{Log, Meaning, Row};
use crate::keeper::Link;
use crate::say::{plain, say};
use crate::sys::clone::exit_now;
use crate::sys::fds;

/// Why a daemon cannot take over; the keeper tries another.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    #[error("take over: {}", plain(.0))]
    Kernel(#[from] io::Error),
    #[error("take over: the ledger has no {0}")]
    Missing(&'static str),
}

impl From<rustix::io::Errno> for RecoverError {
    fn from(errno: rustix::io::Errno) -> RecoverError {
        RecoverError::Kernel(errno.into())
    }
}

/// What the journal's entries say beyond the state that they lead to.
#[derive(Default)]
struct Said {
    asked: BTreeMap<u64, u32>,
    replies: Vec<(RequestId, Reply)>,
}

/// What cannot be is said, and ends the process at once: to return would drop descriptors that the table shares with the
/// keeper and with every later daemon.
pub(super) fn must<T>(result: Result<T, impl Into<RecoverError>>) -> T {
    result.unwrap_or_else(|error| {
        say(format_args!("{}", error.into()));
        exit_now(1)
    })
}

pub(super) fn take_over(shared: Shared, log: &mut Log, link: Link) -> Daemon<'_> {
    let begun = now();
    must(rustix::process::setpgid(None, None));
    let (core, said) = replay(shared, log).unwrap_or_else(|why| stranded::live(shared, log, &link, &why));
    shared.header.set_stranded(false);
    let mut found = find(shared);
    let listeners = listeners(shared, &mut found);
    let paths = Paths::find(shared, &listeners.sockets);
    let channel = channel(shared, &mut found);
    let pins = Box::leak(Box::new(Pins::new(shared.ledger, std::mem::take(&mut found.pins))));
    let epoll = must(epoll::create(epoll::CreateFlags::CLOEXEC));
    let store: &'static Store = Box::leak(Box::new(Store::new(shared)));
    store.take_over(std::mem::take(&mut found.stored), &epoll);
    let notify = notify(shared, &mut found, store);
    let children = children(shared, Crew::new(shared, pins, store, listeners.numbers(), channel.numbers()), link);
    must(children.spawners.start(children.yard, 0));
    let control = control(shared, &mut found);
    let (programs, probes) = (Programs::start(shared.setup), Probes::new(shared));
    let mut daemon = Daemon {
        shared,
        log,
        core,
        inbox: VecDeque::new(),
        notices: Vec::new(),
        epoll,
        children,
        listeners,
        control,
        channel,
        notify,
        programs,
        probes,
        orders: Heard::default(),
        paths,
        progress: Progress::default(),
        reopening: Reopening::default(),
        last_words: LastWords::default(),
        status_file: must(StatusFile::start(shared.setup)),
        succession: Succession::default(),
        took_over: 0,
        reporter: Reporter::default(),
        halted: false,
        settled: false,
    };
    must(daemon.listen());
    strangers::look(shared);
    must(daemon.find_workers());
    daemon.find_clients(found, said);
    daemon.hear_signals();
    let divided = (0..shared.setup.config.groups.len() as u32).filter(|group| daemon.listeners.slots.divides(*group));
    daemon.close_unused_sockets(divided.map(GroupId).collect());
    daemon.children.show_keeper(&daemon.listeners.slots.unheard(shared));
    greet(shared, daemon.core.workers().count(), begun);
    daemon
}

/// Says who is at work now.
fn greet(shared: Shared, workers: usize, begun: Instant) {
    if shared.header.recoveries() > 0 {
        let took = now().since(begun).as_secs_f64() * 1e3;
        say(format_args!("a new daemon took over {workers} workers in {took:.1} ms"));
    } else {
        let (groups, control) = (shared.setup.config.groups.len(), shared.setup.runtime.control());
        say(format_args!("groups: {groups}, workers: {workers}, control socket: {}", control.display()));
    }
}

fn children(shared: Shared, spawners: Crew, link: Link) -> Children {
    let adopt = |number| must(fds::adopt(number).ok_or(RecoverError::Missing("pipe to the keeper")));
    Children {
        shared,
        yard: Box::leak(Box::new(must(Yard::new()))),
        spawners,
        look: None,
        known: BTreeMap::new(),
        labeller: Labeller::find(shared.table),
        uncaught: BTreeSet::new(),
        free: shared.table.free().collect(),
        graves: Vec::new(),
        reaps: Vec::new(),
        told: adopt(link.told),
        reap: adopt(link.reap),
        exits: adopt(link.exits),
        keeper: match pidfd_open(shared.setup.keeper, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => None,
            found => Some(must(found)),
        },
    }
}

fn replay(shared: Shared, log: &mut Log) -> Result<(Supervisor, Said), Unread> {
    let mut said = Said::default();
    let each = |event: &Event, core: &mut Supervisor| {
        if let Event::Request { request, .. } = event {
            said.asked.insert(request.client, request.seq);
        }
        while let Some(action) = core.poll_action() {
            if let Action::Reply { request, reply } = action {
                said.replies.push((request, reply));
            }
        }
    };
    let core = stranded::replay(shared, || log.replay(each))?;
    Ok((core, said))
}

fn listeners(shared: Shared, found: &mut Found) -> Listeners {
    let mut sockets: Vec<Vec<OwnedFd>> = shared.setup.config.groups.iter().map(|_| Vec::new()).collect();
    for ((group, _), fd) in std::mem::take(&mut found.listeners) {
        if let Some(group) = sockets.get_mut(group as usize) {
            group.push(fd);
        }
    }
    Listeners { sockets, slots: std::mem::take(&mut found.slots) }
}

pub(super) fn control(shared: Shared, found: &mut Found) -> Control {
    Control {
        shared,
        socket: must(found.control.take().ok_or(RecoverError::Missing("control socket"))),
        clients: BTreeMap::new(),
        spare: found.spare.take(),
        turning_away: false,
        in_a_hurry: None,
        followers: Vec::new(),
        buffer: super::control::buffer(),
    }
}

fn channel(shared: Shared, found: &mut Found) -> Channel {
    let own = |fd: Option<OwnedFd>| must(fd.ok_or(RecoverError::Missing("worker socket")));
    let mut groups = Vec::new();
    for index in 0..shared.setup.config.groups.len() as u32 {
        groups.push(Doors {
            socket: own(found.sockets.remove(&index)),
            here: own(found.here.remove(&index)),
            there: own(found.there.remove(&index)),
            unfinished: HashMap::new(),
            stranger_told: false,
        });
    }
    Channel { shared, groups, connections: BTreeMap::new(), arrivals: 0 }
}

fn notify(shared: Shared, found: &mut Found, store: &'static Store) -> Notify {
    let groups = 0..shared.setup.config.groups.len() as u32;
    let sockets = groups.map(|group| must(found.notify.remove(&group).ok_or(RecoverError::Missing("notify socket"))));
    Notify::new(shared, sockets.collect(), store)
}

impl Daemon<'_> {
    /// Waits for everything that may come.
    fn listen(&mut self) -> Result<(), RecoverError> {
        let add_with = |fd: &dyn AsFd, source: Source, flags| {
            epoll::add(&self.epoll, fd.as_fd(), epoll::EventData::new_u64(source.key()), epoll::EventFlags::IN | flags)
        };
        let add = |fd: &dyn AsFd, source| add_with(fd, source, epoll::EventFlags::empty());
        // Where descriptors run out, who waits there must not keep the loop awake: told of once, not as long as they wait.
        let add_door = |fd: &dyn AsFd, source| add_with(fd, source, epoll::EventFlags::ET);
        add(&self.children.told, Source::Told)?;
        add(&self.children.yard.bell, Source::Spawned)?;
        if let Some(bell) = self.programs.bell() {
            add(&bell, Source::Programs)?;
        }
        if let Some(inotify) = &self.paths.inotify {
            add(inotify, Source::Paths)?;
        }
        add_door(&self.control.socket, Source::Control)?;
        for (doors, group) in self.channel.groups.iter().zip(0..) {
            add_door(&doors.socket, Source::WorkerSocket(group))?;
            add(&doors.here, Source::Pair(group))?;
        }
        for (socket, group) in self.notify.sockets().zip(0..) {
            add(socket, Source::Notify(group))?;
        }
        match &self.children.keeper {
            Some(keeper) => add(keeper, Source::Keeper)?,
            None => add(&self.children.exits, Source::Exits)?,
        }
        if self.control.spare.is_none() {
            let spare = rustix::io::fcntl_dupfd_cloexec(&self.control.socket, fds::STAGE_END)?;
            self.shared.ledger.name(&spare, Meaning::Spare)?;
            self.control.spare = Some(spare);
        }
        Ok(())
    }

    /// Matches the table's rows with the workers that the core knows, then does what is outstanding.
    fn find_workers(&mut self) -> Result<(), RecoverError> {
        let groups: BTreeMap<WorkerId, GroupId> = self.core.workers().chain(self.core.hooks()).collect();
        let outstanding = self.core.outstanding();
        let spawned = |action: &Action| match action {
            Action::Spawn { worker, slot, generation, edition, .. } => {
                Some((*worker, Role::Worker { slot: *slot, generation: *generation, edition: *edition }))
            }
            Action::RunHook { hook, kind, pids, .. } => Some((*hook, Role::Hook { kind: *kind, pids: pids.clone() })),
            Action::Signal { .. }
            | Action::Kill { .. }
            | Action::Watch { .. }
            | Action::Reply { .. }
            | Action::Notice(_)
            | Action::Tell { .. }
            | Action::Look { .. }
            | Action::Probe { .. }
            | Action::Measure { .. }
            | Action::Weigh { .. }
            | Action::Discard { .. }
            | Action::WatchProgram { .. }
            | Action::Halt { .. } => None,
        };
        let mut spawning: BTreeMap<WorkerId, Role> = outstanding.iter().filter_map(spawned).collect();
        let rows: BTreeMap<WorkerId, Row> = self.shared.table.rows().map(|(row, worker)| (worker, row)).collect();
        for (&worker, &row) in &rows {
            match groups.get(&worker) {
                Some(&group) => self.find_worker(worker, group, row, spawning.remove(&worker))?,
                None => self.children.bury(row, worker),
            }
        }
        let has_row = |action: &Action| spawned(action).is_some_and(|(worker, _)| rows.contains_key(&worker));
        outstanding.into_iter().filter(|action| !has_row(action)).for_each(|action| self.perform(action));
        Ok(())
    }

    /// `spawning`: as what, if nobody has said yet what came of its spawn.
    fn find_worker(
        &mut self,
        worker: WorkerId,
        group: GroupId,
        row: Row,
        spawning: Option<Role>,
    ) -> Result<(), RecoverError> {
        match (self.shared.table.pid(row), spawning) {
            (Some(pid), None) => self.children.watch(worker, row, pid)?,
            (Some(pid), Some(_)) => match self.children.failure(row) {
                None => self.children.adopt(worker, row, pid, &mut self.inbox),
                Some(error) => {
                    let event = Event::SpawnFailed { worker, error };
                    self.inbox.push_back(Fact { event, receipt: Receipt::Zombie(row, worker) });
                }
            },
            (None, Some(role)) => {
                self.children.known.insert(worker, Child { row, process: None });
                self.children.queue(Job { worker, group, row, role });
            }
            // A row is claimed for a spawn and cleared at the end, so there is always the one or the other.
            (None, None) => {}
        }
        Ok(())
    }

    /// Goes on with the clients and workers' connections of the last daemon, and sends the replies that it still owed.
    fn find_clients(&mut self, found: Found, said: Said) {
        for (group, fd) in found.connections {
            self.channel.take_over(fd, group, &self.epoll);
        }
        let clients: Vec<u64> = found.clients.iter().map(|(client, _)| *client).collect();
        for (client, fd) in found.clients {
            self.control.take_over(client, fd, said.asked.get(&client).copied());
        }
        for (request, reply) in said.replies {
            self.perform(Action::Reply { request, reply });
        }
        for client in clients {
            self.say_begun(client);
            self.control.watch(client, &self.epoll);
        }
    }
}
