//! The process that decides and acts. It may die at any instruction: the keeper forks the next one, which goes on from
//! the journal. There is no other way to begin: the first daemon, too, takes over from a journal, one that [`open`] has
//! just written before the keeper was there.
//!
//! [`run`] is the loop; [`perform`] maps an action of the core to an effect; each other module owns the descriptors of
//! one kind and turns what comes from them into [`Fact`]s. No module decides what should happen: that is the core's.

mod ack;
mod bind;
mod channel;
mod children;
mod control;
mod envdir;
mod found;
mod identity;
pub(crate) mod inherit;
mod labels;
mod last_words;
mod launch;
pub(crate) mod limits;
mod listeners;
mod live;
mod log_files;
mod memory;
mod message;
mod notices;
mod notify;
pub(crate) mod open;
mod orders;
mod outputs;
mod paths;
mod perform;
mod pieces;
mod pins;
mod probe_answer;
mod probes;
mod programs;
mod progress;
pub(crate) mod reading;
mod recover;
mod reopen;
pub(crate) mod report;
mod run;
mod senders;
pub(crate) mod shelf;
mod slots;
mod spawner;
mod status_file;
mod store;
mod stranded;
mod strangers;
mod succession;
mod yard;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::action::Notice;
use firestarter_core::event::Event;
use firestarter_core::ids::WorkerId;
use firestarter_core::spec::Policy;
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;
use rustix::process::Pid;

use crate::config::Config;
use crate::journal::{Header, Ledger, Log, Pipes, Records, Rings, Row, Table};
use crate::keeper::Link;
use crate::say::say;
use crate::sys::clone::exit_now;
use crate::sys::maps;
use open::Runtime;
pub(crate) use orders::Signals;
pub(crate) use outputs::Outputs;
pub(crate) use succession::SIGNAL as SUCCESSION;

/// What a daemon is given: all of it was made before the keeper forked the first one, and is the same for the next.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) runtime: Runtime,
    pub(crate) keeper: Pid,
    /// The soft and hard limit of open files that workers get: what Firestarter itself was started with.
    pub(crate) open_files: (u64, u64),
    /// The score that workers get back, where Firestarter has lowered its own.
    pub(crate) oom_score: Option<i32>,
    /// What holds for all groups together.
    pub(crate) policy: Policy,
    /// When the keeper was started.
    pub(crate) since: Instant,
    /// Which outputs go through pipes.
    pub(crate) outputs: Outputs,
    /// What signals to the keeper mean.
    pub(crate) signals: Signals,
    /// A service manager keeps listeners for us.
    pub(crate) shelved: bool,
    /// A service manager wants to hear how the whole is.
    pub(crate) reports: bool,
    /// Where the keeper's pid stands, if anywhere.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where the living workers are listed, if anywhere.
    pub(crate) status_file: Option<PathBuf>,
    /// The version in whose place this program is.
    pub(crate) before: Option<String>,
    /// Where relative paths count from.
    pub(crate) cwd: PathBuf,
}

/// Lives as a daemon: takes over from the journal and runs until all is over. Called by the keeper in a new process.
pub(crate) fn live(setup: &'static Setup, records: Records, log: &mut Log, link: Link) {
    let Records { header, table, ledger, pipes, rings } = records;
    // Unwinding would drop what owns descriptors, and so close them for all; dying does not.
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("{panic}"));
        exit_now(101)
    }));
    let daemon = recover::take_over(Shared { setup, header, table, ledger, pipes, rings }, log, link);
    maps::give_back_text();
    daemon.run()
}

/// What all modules read: the setup, and the journal's parts that change in place.
#[derive(Clone, Copy)]
struct Shared {
    setup: &'static Setup,
    header: &'static Header,
    table: &'static Table,
    ledger: &'static Ledger,
    pipes: Option<&'static Pipes>,
    rings: Option<&'static Rings>,
}

struct Daemon<'a> {
    shared: Shared,
    log: &'a mut Log,
    core: Supervisor,
    /// Facts that are not journalled yet.
    inbox: VecDeque<Fact>,
    /// What people are told when there is nothing more urgent to do.
    notices: Vec<Notice>,
    epoll: OwnedFd,
    children: children::Children,
    listeners: listeners::Listeners,
    control: control::Control,
    channel: channel::Channel,
    notify: notify::Notify,
    programs: programs::Programs,
    orders: orders::Heard,
    paths: paths::Paths,
    progress: progress::Progress,
    reopening: reopen::Reopening,
    last_words: last_words::LastWords,
    status_file: status_file::StatusFile,
    reporter: report::Reporter,
    probes: probes::Probes,
    succession: succession::Succession,
    /// When this daemon was at work, on the clock of `now`.
    took_over: u64,
    halted: bool,
    /// The first workers have been started.
    settled: bool,
}

/// Something that has happened, and what is to be consumed once it is journalled.
struct Fact {
    event: Event,
    receipt: Receipt,
}

/// What still stands until its fact is journalled: a crash before that loses nothing, it is only found again.
enum Receipt {
    None,
    /// A zombie.
    Zombie(Row, WorkerId),
    /// A client's request in its socket.
    Request {
        client: u64,
    },
    /// A worker's line in its socket.
    Line(channel::Line),
    /// A datagram in the socket to which the workers of a group tell how they are.
    Datagram {
        group: u32,
    },
    /// A signal in the header.
    StopSignal(u8),
}

/// What a descriptor in the daemon's epoll set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The keeper tells something.
    Told,
    /// The spawn thread has answered.
    Spawned,
    /// The keeper has died.
    Keeper,
    /// Exits, watched by the daemon itself because the keeper is dead.
    Exits,
    /// A client wants to connect.
    Control,
    /// A client.
    Client(u64),
    /// A connection for a group that waits for one.
    Listener(u32),
    /// A worker wants to connect to its group's socket.
    WorkerSocket(u32),
    /// The daemon's end of a group's socketpair.
    Pair(u32),
    /// A worker's connection.
    WorkerConnection(u64),
    /// The thread that watches programs has a report.
    Programs,
    /// Something has happened to the path of a shared socket.
    Paths,
    /// The writer has read pipes to their end, and there is no keeper who hears it.
    Pipes,
    /// A connection over which a worker is asked whether it serves.
    Probe(u64),
    /// A worker tells how it is.
    Notify(u32),
    /// The other end of what a worker has stored is gone.
    Stored(i32),
    /// A program has answered whether it could take this one's place.
    Successor,
}

impl Source {
    fn key(self) -> u64 {
        let (kind, value) = match self {
            Source::Told => (0, 0),
            Source::Spawned => (1, 0),
            Source::Keeper => (2, 0),
            Source::Exits => (3, 0),
            Source::Control => (4, 0),
            Source::Client(client) => (5, client),
            Source::Listener(group) => (6, group.into()),
            Source::WorkerSocket(group) => (7, group.into()),
            Source::Pair(group) => (8, group.into()),
            Source::WorkerConnection(arrival) => (9, arrival),
            Source::Programs => (10, 0),
            Source::Pipes => (11, 0),
            Source::Paths => (12, 0),
            Source::Probe(worker) => (13, worker),
            Source::Notify(group) => (20, group.into()),
            Source::Stored(number) => (21, number.unsigned_abs().into()),
            Source::Successor => (22, 0),
        };
        kind << 56 | value
    }

    fn read(key: u64) -> Option<Source> {
        let value = key & ((1 << 56) - 1);
        Some(match key >> 56 {
            0 => Source::Told,
            1 => Source::Spawned,
            2 => Source::Keeper,
            3 => Source::Exits,
            4 => Source::Control,
            5 => Source::Client(value),
            6 => Source::Listener(value as u32),
            7 => Source::WorkerSocket(value as u32),
            8 => Source::Pair(value as u32),
            9 => Source::WorkerConnection(value),
            10 => Source::Programs,
            11 => Source::Pipes,
            12 => Source::Paths,
            13 => Source::Probe(value),
            20 => Source::Notify(value as u32),
            21 => Source::Stored(value as i32),
            22 => Source::Successor,
            _ => return None,
        })
    }
}

/// The time on the clock that the core is told: it stands still while the machine sleeps.
pub(crate) fn now() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32).as_nanos() as u64)
}
