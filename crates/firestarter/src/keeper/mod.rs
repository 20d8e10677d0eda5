//! The process that the user started: owns what must outlive the daemon, and decides nothing.
//!
//! It forks the daemon, sharing its table of descriptors, and forks it again when it dies. Workers are its children from
//! birth. It peeks at their exits and tells the daemon; when the daemon has journalled one, it reaps. It passes on
//! signals that ask to stop, and reaps orphans that come to it.
//!
//! **Which zombies stand.** A zombie that a row of the journal's table names is left alone: it is the record of a status
//! that nobody has journalled yet. Any other is reaped.
//!
//! **How exits are told.** The daemon puts each worker's pidfd into `exits`, a set that the keeper waits on, once
//! per daemon. So an exit is told to a daemon once, costs the same however many workers there are, and is told again to
//! the next daemon if the last one died before it had journalled it.
//!
//! It knows no configuration and no policy. After start-up it needs no memory and opens nothing but two pipes for each
//! daemon that it forks; where that fails, it tries again later. [`run`] is called by `main`; it never returns in the
//! daemon.

mod last_resort;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{epoll, poll, PollFd, PollFlags};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::Pid;

use crate::journal::{Meaning, Records, Row};
use crate::say::say;
use crate::sys::signals::SignalFd;
use crate::sys::{clone, wait};

/// What the daemon needs to talk to the keeper: numbers in the table that both share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Exits are read here, as [`Told`].
    pub(crate) told: RawFd,
    /// Pids whose exit is journalled are written here, four bytes each.
    pub(crate) reap: RawFd,
    /// The set that a worker's pidfd is put into, one-shot, with [`exit_key`].
    pub(crate) exits: RawFd,
}

/// What the keeper tells: how the worker of a row ended, or that a signal stands in the journal's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The process of this row's worker has ended.
    Exit(Row, wait::Ended),
    /// A signal asks to stop.
    Signal,
}

/// The length of a [`Told`] in the pipe.
pub(crate) const TOLD: usize = 12;
const SIGNAL_ROW: u32 = u32::MAX;

impl Told {
    fn write(self) -> [u8; TOLD] {
        let (row, ended) = match self {
            Told::Exit(row, ended) => (row.0, ended),
            Told::Signal => (SIGNAL_ROW, wait::Ended { code: 0, status: 0 }),
        };
        let mut bytes = [0; TOLD];
        bytes[..4].copy_from_slice(&row.to_le_bytes());
        bytes[4..8].copy_from_slice(&ended.code.to_le_bytes());
        bytes[8..].copy_from_slice(&ended.status.to_le_bytes());
        bytes
    }

    /// Reads what the keeper wrote.
    pub(crate) fn read(bytes: &[u8; TOLD]) -> Told {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match word(0) {
            SIGNAL_ROW => Told::Signal,
            row => Told::Exit(Row(row), wait::Ended { code: word(4) as i32, status: word(8) as i32 }),
        }
    }
}

/// How a worker's pidfd is marked in the set of exits.
pub(crate) fn exit_key(row: Row, pid: Pid) -> u64 {
    u64::from(row.0) << 32 | pid.as_raw_nonzero().get() as u64
}

/// What a mark in the set of exits says.
pub(crate) fn read_exit_key(key: u64) -> Option<(Row, Pid)> {
    Some((Row((key >> 32) as u32), Pid::from_raw(key as u32 as i32)?))
}

/// So many exits are told in one write, which a pipe takes whole or not at all.
const BATCH: usize = 64;
/// A daemon that lived this long had begun well.
const GOOD_LIFE: Duration = Duration::from_secs(1);
/// So many short lives in a row may be an accident; after more the next one is waited for a little.
const ACCIDENTS: u32 = 16;
/// A life that ended before the daemon got to work counts for so many.
const STILLBORN: u32 = 4;
/// After so many in a row nobody believes in the next one.
const HOPELESS: u32 = 32;

struct Keeper {
    journal: Records,
    signals: SignalFd,
    exits: OwnedFd,
    /// Ends of the pipes to and from the daemon that lives, or lived last: read and write end of each.
    told: [OwnedFd; 2],
    reap: [OwnedFd; 2],
    daemon: Option<Pid>,
    born: Instant,
    /// The pipes have been used by a daemon.
    forked: bool,
    short_lives: u32,
    /// The pipe to the daemon is full: no more exits are told until it reads.
    full: bool,
}

/// Runs `daemon` in a process of its own, and again whenever that dies, until it says in the journal that all is over.
/// Returns the exit code.
///
/// # Errors
/// No descriptors at the start. Later nothing fails.
pub(crate) fn run(journal: Records, hangup_ignored: bool, mut daemon: impl FnMut(Link)) -> io::Result<u8> {
    rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    let mut stops = vec![libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT];
    if !hangup_ignored {
        stops.push(libc::SIGHUP);
    }
    let mut keeper = Keeper {
        signals: SignalFd::new(&stops)?,
        exits: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        told: pipe()?,
        reap: pipe()?,
        journal,
        daemon: None,
        born: Instant::now(),
        forked: false,
        short_lives: 0,
        full: false,
    };
    keeper.journal.ledger.name(keeper.signals.fd(), Meaning::Keeper)?;
    keeper.journal.ledger.name(&keeper.exits, Meaning::Keeper)?;
    keeper.name_pipes();
    keeper.fork(&mut daemon);
    loop {
        if let Some(code) = keeper.step(&mut daemon) {
            return Ok(code);
        }
    }
}

fn pipe() -> io::Result<[OwnedFd; 2]> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok([read, write])
}

impl Keeper {
    /// Waits, and deals with what has come. Returns the exit code when all is over.
    fn step(&mut self, daemon: &mut impl FnMut(Link)) -> Option<u8> {
        let [signal, reap, exit] = self.wait();
        if reap {
            self.reap_journalled();
        }
        if exit {
            self.tell_exits();
        }
        if signal && self.take_signals() {
            if let Some(code) = self.daemon_died() {
                return Some(code);
            }
        }
        if signal || reap {
            self.reap_unnamed();
        }
        if self.daemon.is_none() {
            if self.hopeless() && self.journal.header.asked_to_stop().is_some() {
                return Some(last_resort::stop_all(self.journal.table));
            }
            self.fork(daemon);
        }
        None
    }

    /// Waits for a signal, for pids to reap, for exits to tell. Without a daemon it waits only a little.
    fn wait(&self) -> [bool; 3] {
        let exits = if self.full {
            PollFd::from_borrowed_fd(self.told[1].as_fd(), PollFlags::OUT)
        } else {
            PollFd::from_borrowed_fd(self.exits.as_fd(), PollFlags::IN)
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.signals.fd().as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.reap[0].as_fd(), PollFlags::IN),
            exits,
        ];
        let pause = self.daemon.is_none().then(|| rustix::event::Timespec::try_from(self.pause()).ok()).flatten();
        // An error here (out of kernel memory) leaves all three unready: the next turn asks again.
        let _ = poll(&mut fds, pause.as_ref());
        fds.map(|fd| !fd.revents().is_empty())
    }

    /// Passes on what asks to stop; says whether a child has ended.
    fn take_signals(&mut self) -> bool {
        let mut child = false;
        while let Some(signal) = self.signals.read() {
            if signal == libc::SIGCHLD {
                child = true;
            } else {
                self.journal.header.ask_to_stop(signal as u8);
                // A full pipe wakes the daemon just as well.
                let _ = rustix::io::write(&self.told[1], &Told::Signal.write());
            }
        }
        child
    }

    fn tell_exits(&mut self) {
        if !writable(&self.told[1]) {
            self.full = true;
            return;
        }
        self.full = false;
        let mut ready = [const { std::mem::MaybeUninit::uninit() }; BATCH];
        let no_wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok((ready, _)) = epoll::wait(&self.exits, &mut ready, Some(&no_wait)) else { return };
        let mut message = [0u8; BATCH * TOLD];
        let mut length = 0;
        for event in ready {
            let Some((row, pid)) = read_exit_key(event.data.u64()) else { continue };
            if let Some(ended) = wait::peek(pid) {
                message[length..length + TOLD].copy_from_slice(&Told::Exit(row, ended).write());
                length += TOLD;
            }
        }
        // There is room for a whole page, and nobody else writes.
        let _ = rustix::io::write(&self.told[1], &message[..length]);
    }

    /// The daemon has journalled these exits.
    fn reap_journalled(&mut self) {
        let mut bytes = [0u8; 4096];
        while let Ok(read) = rustix::io::read(&self.reap[0], &mut bytes) {
            let pids = bytes[..read].chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            for pid in pids.filter_map(Pid::from_raw) {
                if self.journal.table.find(pid).is_none() {
                    wait::reap(pid);
                }
            }
            if read < bytes.len() {
                break;
            }
        }
    }

    /// Reaps what no row names: orphans, and workers whose exit was journalled by a daemon that then died. A zombie that
    /// stands hides those behind it until it is reaped itself.
    fn reap_unnamed(&mut self) {
        while let Some(pid) = wait::peek_any() {
            if Some(pid) == self.daemon || self.journal.table.find(pid).is_some() {
                break;
            }
            wait::reap(pid);
        }
    }

    /// Looks whether the daemon is among the dead. Returns the exit code if it had said that all is over.
    fn daemon_died(&mut self) -> Option<u8> {
        let ended = wait::reap(self.daemon?)?;
        self.daemon = None;
        self.reap_journalled();
        self.reap_unnamed();
        if let Some(code) = self.journal.header.halted() {
            return Some(code);
        }
        let weight = if self.journal.header.taken_over() { 1 } else { STILLBORN };
        let short = self.born.elapsed() < GOOD_LIFE;
        self.short_lives = if short { self.short_lives.saturating_add(weight) } else { 0 };
        let how = if ended.code == libc::CLD_EXITED { "exit code" } else { "signal" };
        say(format_args!("the daemon died ({how} {}); the workers run on and the next one takes over", ended.status));
        if self.hopeless() {
            say(format_args!("daemons die within a second; trying on, once a second; the workers run on meanwhile"));
        }
        None
    }

    /// How long to wait before the next daemon: not at all at first.
    fn pause(&self) -> Duration {
        match self.short_lives {
            0..=ACCIDENTS => Duration::ZERO,
            few if few < HOPELESS => Duration::from_millis(50),
            _ => Duration::from_secs(1),
        }
    }

    fn hopeless(&self) -> bool {
        self.short_lives >= HOPELESS
    }

    /// Forks a daemon with new pipes, so that it hears nothing that was meant for the last one.
    fn fork(&mut self, daemon: &mut impl FnMut(Link)) {
        if self.forked && !self.renew_pipes() {
            return;
        }
        (self.full, self.forked) = (false, true);
        self.born = Instant::now();
        self.journal.header.set_taken_over(false);
        let link =
            Link { told: self.told[0].as_raw_fd(), reap: self.reap[1].as_raw_fd(), exits: self.exits.as_raw_fd() };
        match clone::fork_sharing_descriptors(|| daemon(link)) {
            Ok(pid) => {
                self.daemon = Some(pid);
                self.journal.header.count_fork();
            }
            Err(error) => {
                self.short_lives = self.short_lives.saturating_add(1);
                say(format_args!("fork the daemon: {error}; trying again"));
            }
        }
    }

    fn renew_pipes(&mut self) -> bool {
        let (Ok(told), Ok(reap)) = (pipe(), pipe()) else {
            self.short_lives = self.short_lives.saturating_add(1);
            return false;
        };
        self.told.iter().chain(&self.reap).for_each(|fd| self.journal.ledger.forget(fd));
        (self.told, self.reap) = (told, reap);
        self.name_pipes();
        true
    }

    fn name_pipes(&self) {
        for fd in self.told.iter().chain(&self.reap) {
            // A number too high for the ledger is swept by the daemon, which then dies and is forked again.
            let _ = self.journal.ledger.name(fd, Meaning::Keeper);
        }
    }
}

fn writable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    let no_wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&no_wait)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_as_it_was_written() {
        for told in [Told::Signal, Told::Exit(Row(77), wait::Ended { code: libc::CLD_KILLED, status: -9 })] {
            assert_eq!(Told::read(&told.write()), told);
        }
        let pid = Pid::from_raw(i32::MAX).unwrap();
        assert_eq!(read_exit_key(exit_key(Row(70_000), pid)), Some((Row(70_000), pid)));
    }
}
