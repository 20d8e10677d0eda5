//! The process that the user started: owns what must outlive the daemon, and decides nothing.
//!
//! It forks the daemon, sharing its table of descriptors, and forks it again when it dies. Workers are its children from
//! birth. It peeks at their exits and tells the daemon; when the daemon has journalled one, it reaps. It passes on
//! signals that ask to stop, and reaps orphans that come to it.
//!
//! **Which zombies stand.** A zombie that a row of the journal's table names is left alone: it is the record of a status
//! that nobody has journalled yet. Any other is reaped.
//!
//! **How exits are told.** The daemon puts each worker's pidfd into a set that the keeper waits on, one-shot. So telling
//! an exit costs the same however many workers there are, and a new daemon, which has a set of its own, is told again
//! what the last one had not journalled. To be told twice does no harm: a row and a pid name one process at most.
//!
//! **The writer**, which writes the logs, is forked likewise, but with a table of its own: it may hang where a disk hangs,
//! and nobody waits for it. What it has read to its end is closed here.
//!
//! **Between two daemons** the keeper closes what no ledger row names, so that whatever the dead one was in the middle of
//! costs no descriptor.
//!
//! **A daemon that hangs** is killed: see [`watch`]. **A service manager** hears of the whole from here: see [`upward`].
//!
//! It knows no configuration and no policy. After start-up it needs no memory and opens nothing but a [`Joint`] for each
//! daemon that it forks; where that fails, it tries again later. [`run`] is called by `start`; it never returns in the
//! daemon.

mod ends;
mod last_resort;
mod link;
mod lives;
mod succession;
mod upward;
mod watch;
mod writer;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use crate::journal::{Handover, Meaning, Part, Pipes, Records};
use crate::say::say;
use crate::service::Service;
use crate::sys::signals::SignalFd;
use crate::sys::{clone, wait};
pub(crate) use last_resort::{stop_if_asked, stop_is_asked};
use link::Joint;
pub(crate) use link::{exit_key, read_exit_key, Link, Told, TOLD};
use lives::{Lives, STILLBORN};
use succession::{Execute, Trial};
pub(crate) use upward::Longest;
use upward::Upward;
use watch::Watch;
use writer::Writer;

/// One signal may stand for several ends. So long after one the keeper looks whether there are zombies that it was not
/// told of: not at once, since the look goes through all children and holds up whoever is starting one.
const LOOK_AFTER: Duration = Duration::from_millis(100);

struct Keeper {
    journal: Records,
    signals: SignalFd,
    /// The signals that stand for something; what for is not the keeper's to know.
    orders: Vec<i32>,
    /// The signal on which log files are opened anew.
    reopen: Option<i32>,
    daemon: Option<Daemon>,
    /// How daemons live.
    lives: Lives,
    /// Whether the one that lives goes on.
    watch: Watch,
    /// The service manager, if there is one.
    upward: Option<Upward>,
    writer: Writer,
    /// When to look for zombies that no signal told of.
    look_at: Option<Instant>,
    /// At the last look one stood that may have hidden others.
    hidden: bool,
    /// This program has taken another's place, and has to show that it can.
    trial: Option<Trial>,
}

/// The numbers of the signals that the keeper passes on.
pub(crate) struct Heard {
    /// Those that ask to stop.
    pub(crate) stops: Vec<i32>,
    /// Those that stand for something else.
    pub(crate) orders: Vec<i32>,
    /// The one that wants log files to be opened anew. Not passed on: the writer is told, whether a daemon lives or not.
    pub(crate) reopen: Option<i32>,
}

/// The daemon that lives.
struct Daemon {
    pid: Pid,
    joint: Joint,
    /// Its pipe is full: no more exits are told until it reads.
    full: bool,
}

/// Runs `daemon` in a process of its own, and again whenever that dies, until it says in the journal that all is over;
/// likewise `writer`, if there are pipes for it; `next` executes another program in place of this one. Returns the exit
/// code.
///
/// # Errors
/// No descriptor at the start. Later nothing fails.
pub(crate) fn run(
    journal: Records,
    heard: Heard,
    service: Option<(Service, Longest)>,
    mut daemon: impl FnMut(Link),
    writer: impl Fn(),
    next: impl Execute,
) -> io::Result<u8> {
    // Whose parent dies comes to the keeper, wherever it runs; the pid given is only "yes".
    rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    let numbers = [libc::SIGCHLD]
        .into_iter()
        .chain(heard.stops.iter().copied())
        .chain(heard.orders.iter().copied())
        .chain(heard.reopen);
    let signals = SignalFd::new(&numbers.collect::<Vec<_>>())?;
    journal.ledger.name(signals.fd(), Meaning::Kept { part: Part::Signals as u32 })?;
    if let Some((service, _)) = &service {
        journal.ledger.name(&service.as_fd(), Meaning::Kept { part: Part::Service as u32 })?;
    }
    let upward = service.map(|(service, longest)| Upward::new(service, longest));
    let (lives, writer_s) = (Lives::new("daemon", "the workers run on"), Writer::new(journal.header));
    let trial = Trial::begin(journal.header.handover().state());
    // What ended while one program took another's place was told to neither.
    let look_at = (journal.header.handover().state() != Handover::Rest).then(Instant::now);
    let Heard { orders, reopen, .. } = heard;
    let (daemon_s, watch) = (None, Watch::new());
    let mut keeper = Keeper {
        journal,
        signals,
        orders,
        reopen,
        daemon: daemon_s,
        lives,
        watch,
        upward,
        writer: writer_s,
        look_at,
        hidden: false,
        trial,
    };
    keeper.writer.died();
    if let (Some(_), Some(pipes)) = (keeper.writer.pid, journal.pipes) {
        pipes.succeed();
    }
    loop {
        if keeper.daemon.is_none() {
            keeper.hand_over(&next);
        }
        keeper.judge(false, &next);
        if keeper.daemon.is_none() && keeper.lives.may_begin() {
            keeper.fork(&mut daemon);
        }
        if keeper.journal.pipes.is_some() {
            keeper.writer.fork(&writer);
        }
        let had_daemon = keeper.daemon.is_some();
        let ended = keeper.step();
        if had_daemon && keeper.daemon.is_none() {
            keeper.judge(true, &next);
        }
        if let Some(code) = ended {
            last_resort::kill_the_rest(keeper.journal.table);
            keeper.finish_logs(&writer);
            return Ok(code);
        }
    }
}

impl Keeper {
    /// Waits, and deals with what has come. Returns the exit code when all is over.
    fn step(&mut self) -> Option<u8> {
        let [signal, reap, exit, done] = self.wait();
        if exit {
            self.tell_exits();
        }
        if reap {
            self.reap_journalled();
        }
        if self.journal.pipes.filter(|_| done).is_some_and(Pipes::close_done) {
            self.tell(Told::Reopened);
        }
        if signal && self.take_signals() {
            self.daemon_died();
            self.writer.died();
        }
        if self.look_at.is_some_and(|at| at <= Instant::now()) {
            self.look_at = None;
            self.reap_unnamed();
        }
        if let Some(Daemon { pid, joint, .. }) = &self.daemon {
            self.watch.look(*pid, joint, self.journal.header);
        }
        self.speak();
        if self.daemon.is_some() {
            return None;
        }
        let stop = self.must_stop_all();
        if let Some(upward) = self.upward.as_ref().filter(|_| stop) {
            upward.despair(true);
        }
        self.journal.header.halted().or_else(|| stop.then(|| last_resort::stop_all(self.journal.table)))
    }

    /// Waits for a signal, for pids to reap, for exits to tell, for pipes to close; for the time to fork or to look.
    fn wait(&self) -> [bool; 4] {
        let signals = self.signals.fd();
        let nothing = || PollFd::new(signals, PollFlags::empty());
        let [reap, told] = match &self.daemon {
            None => [nothing(), nothing()],
            Some(Daemon { joint, full: true, .. }) => {
                [PollFd::new(&joint.reap, PollFlags::IN), PollFd::new(&joint.told, PollFlags::OUT)]
            }
            Some(Daemon { joint, full: false, .. }) => {
                [PollFd::new(&joint.reap, PollFlags::IN), PollFd::new(&joint.exits, PollFlags::IN)]
            }
        };
        let done = self.journal.pipes.map_or_else(nothing, |pipes| PollFd::from_borrowed_fd(pipes.fd(), PollFlags::IN));
        let mut fds = [PollFd::new(signals, PollFlags::IN), reap, told, done];
        let fork = self.daemon.is_none().then(|| self.lives.not_before());
        let no_writer = self.writer.pid.is_none() && self.journal.pipes.is_some();
        let fork_writer = no_writer.then(|| self.writer.lives.not_before());
        let trial = self.trial.as_ref().map(Trial::until);
        let next = self.look_at.into_iter().chain(fork).chain(fork_writer).chain(trial);
        let next = next.chain(self.watch.look_at).chain(self.upward.as_ref().and_then(Upward::due)).min();
        // An error of poll (out of kernel memory) leaves all unready: the next turn asks again.
        let _ = poll(&mut fds, next.and_then(until).as_ref());
        fds.map(|fd| !fd.revents().is_empty())
    }

    /// Passes on what asks to stop, and reaps an orphan that it is told of; says whether a child has ended.
    fn take_signals(&mut self) -> bool {
        let mut child = false;
        while let Some((signal, pid)) = self.signals.read() {
            if signal == libc::SIGCHLD {
                child = true;
                let orphan = |pid: &Pid| !self.is_own(*pid) && self.journal.table.find(*pid).is_none();
                pid.filter(orphan).and_then(wait::reap);
                self.look_soon();
                continue;
            }
            if self.reopen == Some(signal) {
                self.reopen_logs();
                continue;
            }
            if self.orders.contains(&signal) {
                self.journal.header.ask(signal as u8);
            } else {
                self.journal.header.ask_to_stop(signal as u8);
            }
            self.tell(Told::Signal);
        }
        child
    }

    fn look_soon(&mut self) {
        self.look_at = self.look_at.or_else(|| Some(Instant::now() + LOOK_AFTER));
    }

    /// Wakes the daemon; a full pipe does that just as well.
    fn tell(&mut self, told: Told) {
        if let Some(daemon) = &self.daemon {
            let _ = rustix::io::write(&daemon.joint.told, &told.write());
            self.watch.told(self.journal.header);
        }
    }

    fn reopen_logs(&self) {
        match self.journal.pipes {
            Some(pipes) => {
                say(format_args!("log files are opened anew, ordered by a signal"));
                pipes.reopen_all();
            }
            None => say(format_args!("there is no log file to be opened anew, as a signal ordered")),
        }
    }

    /// Whether a child is the daemon or the writer: their ends are looked after apart.
    fn is_own(&self, pid: Pid) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.pid == pid) || self.writer.pid == Some(pid)
    }

    /// Looks whether the daemon is among the dead, and clears up behind it.
    fn daemon_died(&mut self) {
        let Some(Daemon { pid, .. }) = self.daemon else { return };
        let Some(ended) = wait::reap(pid) else { return };
        if self.watch.ended() {
            self.lives.is_vain();
        }
        self.reap_journalled();
        self.reap_unnamed();
        if let Some(daemon) = self.daemon.take() {
            daemon.joint.close(self.journal.ledger);
        }
        self.journal.sweep();
        let header = self.journal.header;
        if header.halted().is_some() || self.must_stop_all() || header.handover().state() == Handover::Asked {
            return;
        }
        let weight = if self.journal.header.taken_over() { 1 } else { STILLBORN };
        self.lives.died(ended, weight);
        if let Some(upward) = self.upward.as_ref().filter(|_| self.lives.hopeless()) {
            upward.despair(false);
        }
    }

    /// Somebody asked to stop, and daemons do not live, or cannot read the journal.
    fn must_stop_all(&self) -> bool {
        let header = self.journal.header;
        (self.lives.hopeless() || header.stranded()) && header.asked_to_stop().next().is_some()
    }

    fn fork(&mut self, daemon: &mut impl FnMut(Link)) {
        self.journal.header.set_taken_over(false);
        self.journal.header.begin_turns();
        let joint = match Joint::new(self.journal.ledger) {
            Ok(joint) => joint,
            Err(error) => return self.lives.not_forked(&error),
        };
        let link = joint.link();
        // A daemon that runs at once asks how many came before it.
        self.journal.header.count_fork();
        match clone::fork_sharing_descriptors(|| daemon(link)) {
            Ok(pid) => {
                self.lives.begins();
                self.watch.begins(self.journal.header);
                self.daemon = Some(Daemon { pid, joint, full: false });
            }
            Err(error) => {
                self.journal.header.uncount_fork();
                joint.close(self.journal.ledger);
                self.lives.not_forked(&error);
            }
        }
    }
}

/// How long to wait for a point in time.
fn until(at: Instant) -> Option<Timespec> {
    Timespec::try_from(at.saturating_duration_since(Instant::now())).ok()
}
