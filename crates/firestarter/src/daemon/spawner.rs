//! The threads that spawn. Only they wait for an exec, so a program on a dead file server hangs no loop.
//!
//! One of them has the *turn*: it alone takes jobs and touches the stage, the numbers below `STAGE_END` of the table that
//! keeper and daemon share. When its exec hangs while others wait ([`Yard::pass_turn`]), the turn goes to a new thread:
//! the hanging process has a stage of its own by then. The jobs of that group are held until the exec has come to its
//! end, so a group has at most one thread that hangs, and no group waits for another.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use firestarter_core::event::{HookKind, SpawnError, SpawnStep};
use firestarter_core::ids::{self, GroupId, Slot, WorkerId};
use rustix::process::Pid;

use super::launch::{self, Recipe};
use super::limits::Culprit;
use super::{outputs, Shared};
use crate::config::Output;
use crate::journal::{Row, Speaker};
use crate::sys::clone::{Progress, Spawner, Step};
use crate::sys::fds;
use crate::sys::image::Image;

/// A worker to spawn, or a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) worker: WorkerId,
    pub(super) group: GroupId,
    pub(super) row: Row,
    pub(super) role: Role,
}

/// What is spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A worker.
    Worker(Slot),
    /// A hook, and the workers that it is about.
    Hook { kind: HookKind, pids: Vec<ids::Pid> },
}

impl Role {
    /// As whom it writes.
    fn speaker(&self) -> Speaker {
        match self {
            Role::Worker(slot) => Speaker::Slot(slot.0),
            Role::Hook { kind: HookKind::Stop, .. } => Speaker::StopHook,
            Role::Hook { kind: HookKind::Upgrader, .. } => Speaker::Upgrader,
            Role::Hook { kind: HookKind::Probe { .. }, .. } => Speaker::Upgrader,
        }
    }
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) job: Job,
    pub(super) result: Result<Pid, SpawnError>,
}

/// Where the loop leaves jobs and finds outcomes.
pub(super) struct Yard {
    inside: Mutex<Inside>,
    work: Condvar,
    /// Wakes the loop.
    pub(super) bell: OwnedFd,
}

#[derive(Default)]
struct Inside {
    jobs: VecDeque<Job>,
    outcomes: Vec<Outcome>,
    /// Whose turn it is.
    turn: u64,
    /// What the thread whose turn it is has in hand.
    in_hand: Option<Job>,
    /// Groups whose exec hangs, and what waits for it.
    held: BTreeMap<GroupId, VecDeque<Job>>,
}

impl Yard {
    pub(super) fn new() -> io::Result<Yard> {
        use rustix::event::{eventfd, EventfdFlags};
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Yard { inside: Mutex::default(), work: Condvar::new(), bell })
    }

    /// Leaves a job; says whether others are before it.
    pub(super) fn put(&self, job: Job) -> bool {
        let mut inside = self.lock();
        match inside.held.get_mut(&job.group) {
            Some(held) => held.push_back(job),
            None => inside.jobs.push_back(job),
        }
        let waits = inside.in_hand.is_some() || inside.jobs.len() > 1;
        // Whoever is woken needs the lock first thing.
        drop(inside);
        self.work.notify_all();
        waits
    }

    /// All that came since the last call.
    pub(super) fn take(&self) -> Vec<Outcome> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.lock().outcomes)
    }

    /// The job in hand, if others wait for it.
    pub(super) fn awaited(&self) -> Option<Job> {
        let inside = self.lock();
        inside.in_hand.clone().filter(|_| !inside.jobs.is_empty())
    }

    /// Takes the turn from the thread that has this job in hand, if it has it still, and gives it to one that `start`
    /// starts.
    ///
    /// # Errors
    /// That of `start`; then nothing has changed.
    pub(super) fn pass_turn(&self, stuck: &Job, start: impl FnOnce(u64) -> io::Result<()>) -> io::Result<()> {
        let mut inside = self.lock();
        if inside.in_hand.as_ref() != Some(stuck) {
            return Ok(());
        }
        start(inside.turn + 1)?;
        inside.turn += 1;
        inside.in_hand = None;
        let (held, others) = std::mem::take(&mut inside.jobs).into_iter().partition(|job| job.group == stuck.group);
        inside.jobs = others;
        inside.held.insert(stuck.group, held);
        Ok(())
    }

    /// Waits for the next job; none if it is another's turn.
    fn next(&self, turn: u64) -> Option<Job> {
        let waits = |inside: &mut Inside| inside.turn == turn && inside.jobs.is_empty();
        let mut inside = self.work.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if inside.turn != turn {
            return None;
        }
        inside.in_hand = inside.jobs.pop_front();
        inside.in_hand.clone()
    }

    /// Does something while nobody else gets the turn, if this one is not over.
    fn while_on_turn(&self, turn: u64, act: impl FnOnce()) {
        let inside = self.lock();
        if inside.turn == turn {
            act();
        }
    }

    fn done(&self, turn: u64, outcome: Outcome) {
        let mut inside = self.lock();
        if inside.turn == turn {
            inside.in_hand = None;
        } else if let Some(held) = inside.held.remove(&outcome.job.group) {
            inside.jobs.extend(held);
            self.work.notify_all();
        }
        inside.outcomes.push(outcome);
        if inside.outcomes.len() == 1 {
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// A panic ends the process, so nobody sees a poisoned lock; its content would still be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts threads that spawn.
pub(super) struct Crew {
    shared: Shared,
    sockets: Vec<Vec<RawFd>>,
    pairs: Vec<RawFd>,
}

/// A spawning thread needs little: it makes no deep calls.
const STACK: usize = 128 * 1024;

/// The highest number of the stage is always the placeholder, which is /dev/null.
const NULL: RawFd = fds::STAGE_END - 1;

impl Crew {
    /// For groups with these sockets, and these workers' ends of their pairs.
    pub(super) fn new(shared: Shared, sockets: Vec<Vec<RawFd>>, pairs: Vec<RawFd>) -> Crew {
        Crew { shared, sockets, pairs }
    }

    /// Starts the thread that has this turn.
    pub(super) fn start(&self, yard: &'static Yard, turn: u64) -> io::Result<()> {
        let (shared, recipes) = (self.shared, self.recipes());
        let work = move || {
            if turn == 0 {
                wait_for_the_last_child(shared);
            }
            let mut culprit = Culprit::default();
            let mut stage =
                Stage { recipes, spawner: Spawner::new(), shared, staged: None, piped: true, taken: STREAMS[0] };
            // The last thread, or the last daemon, may have left pipes there.
            yard.while_on_turn(turn, || stage.clear_pipes());
            while let Some(job) = yard.next(turn) {
                let result = stage.spawn(&job);
                yard.while_on_turn(turn, || {
                    stage.clear_pipes();
                    stage.clear_slot();
                });
                if let (Err(error), Some(group)) = (&result, shared.setup.config.groups.get(job.group.0 as usize)) {
                    culprit.search(group, error);
                }
                yard.done(turn, Outcome { job, result });
            }
        };
        thread::Builder::new().name("spawner".into()).stack_size(STACK).spawn(work).map(|_| ())
    }

    fn recipes(&self) -> Vec<Recipe> {
        let setup = self.shared.setup;
        let given = self.sockets.iter().zip(&self.pairs).zip(0..);
        let groups = setup.config.groups.iter().zip(given);
        groups
            .map(|(group, ((sockets, pair), index))| launch::recipe(setup, group, index, sockets, *pair, NULL))
            .collect()
    }
}

/// Numbers on the stage that become a worker's standard streams.
const STREAMS: [RawFd; 3] = [60, 61, 62];
/// The first number of a worker's listeners.
const FIRST: RawFd = 3;

/// A child of the daemon before this one may not have taken its copy of the stage yet. It is about to: nothing that it
/// does before can block.
fn wait_for_the_last_child(shared: Shared) {
    let sharing = |(row, _): (Row, _)| {
        let pid = shared.table.pid(row)?;
        (shared.table.progress(row) == Progress::Sharing && runs(pid)).then_some(row)
    };
    while shared.table.rows().find_map(sharing).is_some() {
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

struct Stage {
    recipes: Vec<Recipe>,
    spawner: Spawner,
    shared: Shared,
    /// The group whose sockets are on the stage, and the slot, if slots have sockets of their own.
    staged: Option<(GroupId, Option<Slot>)>,
    /// Pipes may be on the stage.
    piped: bool,
    /// Numbers from `FIRST` up to this may hold sockets, of that group or from another thread's turn.
    taken: RawFd,
}

impl Stage {
    fn spawn(&mut self, job: &Job) -> Result<Pid, SpawnError> {
        match &job.role {
            Role::Worker(slot) => self.spawn_worker(job, *slot),
            Role::Hook { kind, pids } => self.spawn_hook(job, *kind, pids),
        }
    }

    fn spawn_worker(&mut self, job: &Job, slot: Slot) -> Result<Pid, SpawnError> {
        self.set(job.group, slot).and_then(|()| self.set_streams(job)).map_err(|error| prepare(&error))?;
        let recipe = self.recipes.get_mut(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        if let Some(signs) = &recipe.signs {
            signs.make(job.row).map_err(|error| prepare(&error))?;
        }
        let image = recipe.image.as_mut().map_err(|error| *error)?;
        run(&mut self.spawner, image, self.shared, job.row)
    }

    /// A hook is made anew for each run: it is told of other workers each time.
    fn spawn_hook(&mut self, job: &Job, kind: HookKind, pids: &[ids::Pid]) -> Result<Pid, SpawnError> {
        let setup = self.shared.setup;
        let group = setup.config.groups.get(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        self.clear().and_then(|()| self.set_streams(job)).map_err(|error| prepare(&error))?;
        let mut image = launch::hook(setup, group, job.group.0, kind, pids)?;
        run(&mut self.spawner, &mut image, self.shared, job.row)
    }

    /// Leaves no sockets on the stage.
    fn clear(&mut self) -> io::Result<()> {
        self.staged = None;
        for number in FIRST..self.taken {
            fds::place(NULL, number, true)?;
        }
        self.taken = FIRST;
        fds::place(NULL, STREAMS[0], true)
    }

    /// A slot's own sockets are closed when the slot goes, so the stage must not keep them.
    fn clear_slot(&mut self) {
        if self.staged.is_some_and(|(_, slot)| slot.is_some()) {
            // Numbers on the stage are open: nothing can go wrong.
            let _ = self.clear();
        }
    }

    /// Puts the sockets of a group, and of a slot, on the stage.
    fn set(&mut self, group: GroupId, slot: Slot) -> io::Result<()> {
        let Some(recipe) = self.recipes.get(group.0 as usize) else { return Ok(()) };
        let wanted = (group, recipe.divided.then_some(slot));
        if self.staged != Some(wanted) {
            self.staged = None;
            for (number, socket) in (FIRST..).zip(&recipe.sockets) {
                fds::place(*socket, number, false)?;
            }
            if recipe.divided {
                for (place, socket) in self.shared.ledger.of_slot(group.0, slot.0) {
                    fds::place(socket, FIRST + place as RawFd, false)?;
                }
            }
            let end = FIRST + recipe.sockets.len() as RawFd;
            for number in end..self.taken.max(end) {
                fds::place(recipe.null, number, true)?;
            }
            self.taken = end;
            let stdin = recipe.stdin.map_or(recipe.null, |place| FIRST + place as RawFd);
            fds::place(stdin, STREAMS[0], true)?;
            self.staged = Some(wanted);
        }
        Ok(())
    }

    /// Puts on the stage where a process writes. A log is opened for each worker anew, as it may have been moved.
    fn set_streams(&mut self, job: &Job) -> io::Result<()> {
        let Some(recipe) = self.recipes.get(job.group.0 as usize) else { return Ok(()) };
        for ((number, stream), output) in outputs::STREAMS.into_iter().zip([&recipe.stdout, &recipe.stderr]) {
            // What a hook says is for whoever reads what the daemon says.
            let output = if matches!(job.role, Role::Worker(_)) { output } else { &Output::Inherit };
            let staged = STREAMS[number as usize];
            if let Some(write) = outputs::pipe(self.shared, job.group.0, job.role.speaker(), stream)? {
                self.piped = true;
                fds::place(write, staged, true)?;
                continue;
            }
            match output {
                Output::Inherit => fds::place(number, staged, true)?,
                Output::Null => fds::place(recipe.null, staged, true)?,
                Output::File(log) => fds::place(outputs::append_to(&log.path)?.as_raw_fd(), staged, true)?,
            }
        }
        Ok(())
    }

    /// A pipe ends when nobody has its other end, so the stage must not keep it.
    fn clear_pipes(&mut self) {
        if std::mem::take(&mut self.piped) {
            // Numbers on the stage are open: nothing can go wrong.
            let _ = STREAMS[1..].iter().try_for_each(|staged| fds::place(NULL, *staged, true));
        }
    }
}

/// Starts a process from what is on the stage.
fn run(spawner: &mut Spawner, image: &mut Image, shared: Shared, row: Row) -> Result<Pid, SpawnError> {
    let pid = spawner
        .spawn(image, STREAMS, &shared.table.record(row))
        .map_err(|error| SpawnError { step: SpawnStep::Clone, errno: errno(&error) })?;
    match shared.table.progress(row) {
        Progress::Failed(step, errno) => Err(SpawnError { step: core_step(step), errno }),
        Progress::Sharing | Progress::Apart => Ok(pid),
    }
}

const PREPARE_UNKNOWN: SpawnError = SpawnError { step: SpawnStep::Prepare, errno: libc::EINVAL };

fn prepare(error: &io::Error) -> SpawnError {
    SpawnError { step: SpawnStep::Prepare, errno: errno(error) }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

pub(super) fn core_step(step: Step) -> SpawnStep {
    match step {
        Step::Descriptors | Step::Limits | Step::User => SpawnStep::Setup,
        Step::Directory => SpawnStep::Directory,
        Step::Exec => SpawnStep::Exec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(worker: u64, group: u32) -> Job {
        let role = Role::Worker(Slot(0));
        Job { worker: WorkerId(worker), group: GroupId(group), row: Row(worker as u32), role }
    }

    fn failed(job: Job) -> Outcome {
        Outcome { job, result: Err(PREPARE_UNKNOWN) }
    }

    #[test]
    fn a_job_that_hangs_holds_up_its_group_alone() {
        let yard = Yard::new().unwrap();
        assert!(!yard.put(job(1, 0)));
        assert!(yard.put(job(2, 0)), "one waits behind another");
        assert!(yard.put(job(3, 1)));
        assert_eq!(yard.next(0), Some(job(1, 0)));
        assert_eq!(yard.awaited(), Some(job(1, 0)));
        let no_thread = |_| Err(io::ErrorKind::WouldBlock.into());
        assert!(yard.pass_turn(&job(1, 0), no_thread).is_err());
        assert_eq!(yard.awaited(), Some(job(1, 0)), "without a thread for it the turn is not passed");
        let mut next = 0;
        let start = |turn| {
            next = turn;
            Ok(())
        };
        yard.pass_turn(&job(1, 0), start).unwrap();
        assert_eq!(next, 1);
        yard.pass_turn(&job(1, 0), |_| unreachable!("a turn is passed once")).unwrap();
        assert_eq!(yard.next(1), Some(job(3, 1)));
        yard.done(1, failed(job(3, 1)));
        yard.put(job(4, 0));
        assert_eq!(yard.awaited(), None, "a held job waits for the hanging one, not for a thread");
        yard.done(0, failed(job(1, 0)));
        assert_eq!(yard.next(0), None, "the thread that hung has lost its turn");
        assert_eq!([yard.next(1), yard.next(1)], [Some(job(2, 0)), Some(job(4, 0))]);
        assert_eq!(yard.take().len(), 2);
    }
}
