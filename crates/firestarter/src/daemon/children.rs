//! The workers' processes: asks the spawn thread for new ones, signals them, hears of their ends from the keeper, and
//! lets their zombies go when the end is journalled. Should the keeper be dead, it hears of ends by itself, without
//! their status.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use firestarter_core::event::{Event, Exit, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, WorkerId};
use firestarter_core::spec::Signal;
use firestarter_core::time::{Duration, Instant};
use rustix::event::{epoll, Timespec};
use rustix::process::{pidfd_open, Pid, PidfdFlags};

use super::labels::Labeller;
use super::spawner::{Crew, Job, Outcome, Role};
use super::yard::Yard;
use super::{live, now, Fact, Receipt, Shared, Source};
use crate::journal::{Labels, Row};
use crate::keeper::{exit_key, read_exit_key, Told, TOLD};
use crate::say::{plain, say};
use crate::sys::clone::Progress;
use crate::sys::signals;
use crate::sys::wait::Ended;

/// An exec that takes longer than this, while others wait, is gone past.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) struct Children {
    pub(super) shared: Shared,
    pub(super) yard: &'static Yard,
    pub(super) spawners: Crew,
    /// When to look whether a spawn hangs that others wait for, and which it was at the last look.
    pub(super) look: Option<(Instant, Option<Job>)>,
    pub(super) known: BTreeMap<WorkerId, Child>,
    pub(super) labeller: Labeller,
    /// Signals that a group's workers turned out not to catch; each is spoken of once.
    pub(super) uncaught: BTreeSet<(GroupId, Signal)>,
    /// Rows that may be claimed again.
    pub(super) free: Vec<Row>,
    /// Workers whose end is journalled.
    pub(super) graves: Vec<(Row, WorkerId)>,
    /// Zombies that the keeper may take away, as they go through the pipe.
    pub(super) reaps: Vec<u8>,
    pub(super) told: OwnedFd,
    pub(super) reap: OwnedFd,
    /// The keeper's set of exits.
    pub(super) exits: OwnedFd,
    /// The keeper, while it lives.
    pub(super) keeper: Option<OwnedFd>,
}

pub(super) struct Child {
    pub(super) row: Row,
    /// None while it is being spawned.
    pub(super) process: Option<(Pid, OwnedFd)>,
}

impl Children {
    /// Starts a worker, or a hook.
    pub(super) fn spawn(&mut self, worker: WorkerId, group: GroupId, role: Role, inbox: &mut VecDeque<Fact>) {
        let Some(row) = self.free.pop().or_else(|| self.shared.table.unused()) else {
            let error = SpawnError { step: SpawnStep::Prepare, errno: libc::EAGAIN };
            inbox.push_back(Fact { event: Event::SpawnFailed { worker, error }, receipt: Receipt::None });
            return;
        };
        let table = self.shared.table;
        let labels = match role {
            Role::Worker { .. } => self.labeller.label(table, group, worker),
            Role::Hook { .. } => Labels::default(),
        };
        table.claim(row, worker, group, role.slot(), labels);
        table.count_attempt(group, labels.attempt);
        self.known.insert(worker, Child { row, process: None });
        self.queue(Job { worker, group, row, role });
    }

    pub(super) fn queue(&mut self, job: Job) {
        let waits = self.yard.put(job);
        if waits && self.look.is_none() {
            self.look = Some((now() + PATIENCE, None));
        }
    }

    /// Looks whether a spawn hangs while others wait, and lets those pass by.
    pub(super) fn look_after_spawns(&mut self) {
        let Some((_, before)) = self.look.take_if(|(at, _)| *at <= now()) else { return };
        let Some(job) = self.yard.awaited() else { return };
        let apart = self.shared.table.progress(job.row) == Progress::Apart;
        if before.as_ref() == Some(&job) && (apart || self.yard.is_aside(&job)) {
            let group = self.shared.setup.config.groups.get(job.group.0 as usize).map_or("", |group| &group.spec.name);
            say(format_args!(
                "{group}: its program has not begun to run for {PATIENCE:?}; other groups go on without it"
            ));
            if let Err(error) = self.yard.pass_turn(&job, apart, |turn| self.spawners.start(self.yard, turn)) {
                say(format_args!("start a thread: {}; the others wait", plain(&error)));
            }
        }
        self.look = Some((now() + PATIENCE, Some(job)));
    }

    /// Sends a signal that asks to end, unless the last daemon did. Says so if the process does not catch it and got
    /// `uncaught` instead, the first time for its group: an upgrade of many workers would say the same of each.
    pub(super) fn signal(&mut self, worker: WorkerId, signal: Signal, uncaught: Option<Signal>) -> Option<String> {
        let child = self.known.get(&worker)?;
        let (pid, pidfd) = child.process.as_ref()?;
        let instead = uncaught.filter(|other| *other != signal && !catches(*pid, signal));
        let sent = instead.unwrap_or(signal);
        let already = self.shared.table.signalled(child.row);
        if already == sent.number() || already == signal.number() {
            return None;
        }
        let _ = signals::signal_process(pidfd, sent.number());
        self.shared.table.mark_signalled(child.row, sent.number());
        let (other, pid) = (instead?, pid.as_raw_nonzero());
        let first = self.uncaught.insert((self.shared.table.group(child.row), signal));
        first.then(|| {
            format!("pid {pid} does not catch {signal}, which would end it at once: it got {other} (this is said once)")
        })
    }

    /// Sends a signal that somebody wants the worker to have: once, and never again by a later daemon.
    pub(super) fn tell(&self, worker: WorkerId, signal: Signal) {
        if let Some((_, pidfd)) = self.known.get(&worker).and_then(|child| child.process.as_ref()) {
            let _ = signals::signal_process(pidfd, signal.number());
        }
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        let Some(child) = self.known.get(&worker) else { return };
        if child.process.is_none() {
            self.yard.take_back(worker);
            // One that is made just now sees this, if its pid is not seen here.
            self.shared.table.mark_signalled(child.row, Signal::KILL.number());
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            self.kill_unborn(child.row);
        }
        if let Some((pid, pidfd)) = &child.process {
            // The zombie, or the process itself, keeps the group's number taken. Without a keeper nobody does.
            if self.keeper.is_some() {
                let _ = signals::signal_group(*pid, Signal::KILL.number());
            }
            let _ = signals::signal_process(pidfd, Signal::KILL.number());
        }
    }

    /// One whose exec hangs is nobody whom the spawn thread could tell of, but the kernel has written down its pid, which
    /// nobody else gets while the row names it.
    fn kill_unborn(&self, row: Row) {
        if let Some(pid) = self.shared.table.pid(row).filter(|_| self.keeper.is_some()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// When a worker's last sign of life came. Of one that has ended nobody wants to know.
    pub(super) fn look_for_life(&self, worker: WorkerId) -> Option<Fact> {
        let row = self.known.get(&worker)?.row;
        let event = live::look(&self.shared.setup.runtime, self.shared.table.group(row), row, worker);
        Some(Fact { event, receipt: Receipt::None })
    }

    /// The end of a worker is journalled. It is buried when the loop has nothing more urgent to do: its successor may be
    /// waited for.
    pub(super) fn ended_for_good(&mut self, row: Row, worker: WorkerId) {
        self.leave_index(row, worker);
        self.graves.push((row, worker));
    }

    /// From now on a new worker may have the index of one that has ended.
    fn leave_index(&mut self, row: Row, worker: WorkerId) {
        let table = self.shared.table;
        if table.worker(row) == Some(worker) {
            self.labeller.ended(table.group(row), table.labels(row), worker);
        }
    }

    /// Buries who has ended, and tells the keeper which zombies may go.
    pub(super) fn bury_all(&mut self) {
        for (row, worker) in std::mem::take(&mut self.graves) {
            self.bury(row, worker);
        }
        self.flush_reaps();
    }

    /// What is left of a worker's process group goes, and its zombie may. An end that was told twice finds that the row
    /// names that worker no more.
    pub(super) fn bury(&mut self, row: Row, worker: WorkerId) {
        if self.shared.table.worker(row) != Some(worker) {
            return;
        }
        if let Some(pid) = self.shared.table.pid(row).filter(|_| self.keeper.is_some()) {
            let _ = signals::signal_group(pid, Signal::KILL.number());
            self.reaps.extend(pid.as_raw_nonzero().get().to_le_bytes());
        }
        self.known.remove(&worker);
        self.leave_index(row, worker);
        live::forget(self.shared.setup, self.shared.table.group(row), row);
        self.shared.table.clear(row);
        self.spawners.ended(worker);
        self.free.push(row);
    }

    /// The keeper reaps what no row names, so nothing is lost should this not reach it.
    fn flush_reaps(&mut self) {
        while !self.reaps.is_empty() {
            let batch = self.reaps.len().min(4096);
            match rustix::io::write(&self.reap, &self.reaps[..batch]) {
                Ok(written) => drop(self.reaps.drain(..written)),
                Err(_) => return,
            }
        }
    }

    /// The keeper shall look at the header. A pipe that is full wakes it just as well.
    pub(super) fn wake_keeper(&self) {
        let _ = rustix::io::write(&self.reap, &[0; 4]);
    }

    /// The keeper shall have the service manager keep these: the ledger has their names. A pipe that is full costs no more
    /// than that.
    pub(super) fn show_keeper(&self, opened: &[RawFd]) {
        for number in opened {
            let _ = rustix::io::write(&self.reap, &(-number).to_le_bytes());
        }
    }

    /// Reads what the keeper tells of ends. What it tells of signals stands in the header.
    pub(super) fn hear_keeper(&mut self, inbox: &mut VecDeque<Fact>) {
        let mut bytes = [0; 512 * TOLD];
        let Ok(read) = rustix::io::read(&self.told, &mut bytes) else { return };
        for told in bytes[..read].chunks_exact(TOLD).filter_map(|told| told.first_chunk()) {
            match Told::read(told) {
                Told::Signal | Told::Reopened => {}
                Told::Exit(row, pid, ended) if self.shared.table.pid(row) == Some(pid) => {
                    self.ended(row, exit_of(ended), inbox);
                }
                // Told twice: the row is another worker's now.
                Told::Exit(..) => {}
            }
        }
    }

    fn ended(&mut self, row: Row, exit: Exit, inbox: &mut VecDeque<Fact>) {
        let Some(worker) = self.shared.table.worker(row) else { return };
        // A program that could not run ends too; what it wrote down says more than its exit code.
        let event = match self.failure(row) {
            Some(error) => Event::SpawnFailed { worker, error },
            None => Event::Exited { worker, exit },
        };
        inbox.push_back(Fact { event, receipt: Receipt::Zombie(row, worker) });
    }

    /// What the process of a row wrote down if it could not become its worker.
    pub(super) fn failure(&self, row: Row) -> Option<SpawnError> {
        match self.shared.table.progress(row) {
            Progress::Failed(step, errno) => Some(SpawnError { step: super::spawner::core_step(step), errno }),
            Progress::Sharing | Progress::Apart => None,
        }
    }

    /// Whether a worker runs of which the spawn thread has not told yet: it is about to.
    pub(super) fn is_unborn(&self, worker: WorkerId) -> bool {
        self.known.get(&worker).is_some_and(|child| child.process.is_none())
    }

    /// Takes in what the spawn thread has done.
    pub(super) fn hear_spawner(&mut self, inbox: &mut VecDeque<Fact>) {
        for Outcome { job: Job { worker, row, .. }, result } in self.yard.take() {
            match result {
                // Its end was told, and it was buried, before this answer came: its pid may be another's by now.
                Ok(_) if !self.known.contains_key(&worker) => {}
                Ok(pid) => self.adopt(worker, row, pid, inbox),
                Err(error) => {
                    let event = Event::SpawnFailed { worker, error };
                    inbox.push_back(Fact { event, receipt: Receipt::Zombie(row, worker) });
                }
            }
        }
    }

    /// A process that runs, or ran: watches for its end from now on, and says that it was spawned.
    pub(super) fn adopt(&mut self, worker: WorkerId, row: Row, pid: Pid, inbox: &mut VecDeque<Fact>) {
        let event = match self.watch(worker, row, pid) {
            Ok(()) => Event::Spawned { worker, pid: super::perform::shown(pid) },
            Err(error) => {
                let _ = signals::signal_group(pid, Signal::KILL.number());
                let error = SpawnError { step: SpawnStep::Watch, errno: error.raw_os_error() };
                return inbox.push_back(Fact {
                    event: Event::SpawnFailed { worker, error },
                    receipt: Receipt::Zombie(row, worker),
                });
            }
        };
        inbox.push_back(Fact { event, receipt: Receipt::None });
    }

    /// Watches for the end of a process. One that has ended already is told of at once.
    pub(super) fn watch(&mut self, worker: WorkerId, row: Row, pid: Pid) -> rustix::io::Result<()> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let data = epoll::EventData::new_u64(exit_key(row, pid));
        epoll::add(&self.exits, &pidfd, data, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT)?;
        self.known.insert(worker, Child { row, process: Some((pid, pidfd)) });
        Ok(())
    }

    pub(super) fn keeper_alive(&self) -> bool {
        self.keeper.is_some()
    }

    /// The keeper is dead: from now on ends are watched for here, those of workers and those of pipes.
    pub(super) fn keeper_died(&mut self, epoll: &OwnedFd) {
        if let Some(pidfd) = self.keeper.take() {
            let _ = epoll::delete(epoll, &pidfd);
            let data = epoll::EventData::new_u64(Source::Exits.key());
            let _ = epoll::add(epoll, self.exits.as_fd(), data, epoll::EventFlags::IN);
            if let Some(pipes) = self.shared.pipes {
                let data = epoll::EventData::new_u64(Source::Pipes.key());
                let _ = epoll::add(epoll, pipes.fd(), data, epoll::EventFlags::IN);
            }
            // What the keeper had taken from the set and not told is told here.
            for child in self.known.values() {
                if let Some((pid, pidfd)) = &child.process {
                    let data = epoll::EventData::new_u64(exit_key(child.row, *pid));
                    let _ = epoll::modify(&self.exits, pidfd, data, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT);
                }
            }
            say(format_args!(
                "the keeper was killed: workers are supervised on, but nothing survives the daemon's death now; \
                 restart Firestarter when you can"
            ));
        }
    }

    /// Ends that nobody else tells of: their status is not to be had.
    pub(super) fn hear_exits(&mut self, inbox: &mut VecDeque<Fact>) {
        let mut ready = [const { MaybeUninit::uninit() }; 64];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok((ready, _)) = epoll::wait(&self.exits, &mut ready, Some(&no_wait)) else { return };
        let rows: Vec<Row> =
            ready.iter().filter_map(|event| read_exit_key(event.data.u64())).map(|(row, _)| row).collect();
        for row in rows {
            self.ended(row, Exit::Unknown, inbox);
        }
    }
}

fn exit_of(ended: Ended) -> Exit {
    let signal = Signal::from_number(ended.status as u8);
    match (ended.code, signal) {
        (libc::CLD_EXITED, _) => Exit::Code(ended.status as u8),
        (code, Some(signal)) => Exit::Signal(signal, code == libc::CLD_DUMPED),
        (_, None) => Exit::Unknown,
    }
}

/// Whether a process has a handler for a signal. One that cannot be asked is taken to have one.
fn catches(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal.number() - 1) & 1 == 1)
}
