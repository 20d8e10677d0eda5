//! The thread that spawns. It alone waits for an exec, so a program on a dead file server hangs no loop; spawns queue
//! behind it. It owns the stage: the numbers below `STAGE_END` of the table that keeper and daemon share.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::Mutex;
use std::time::Duration;

use firestarter_core::event::{SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, WorkerId};
use rustix::process::Pid;

use super::launch::{self, Recipe};
use super::Shared;
use crate::config::Output;
use crate::journal::Row;
use crate::sys::clone::{Progress, Spawner, Step};
use crate::sys::fds;

/// A worker to spawn.
pub(super) struct Job {
    pub(super) worker: WorkerId,
    pub(super) group: GroupId,
    pub(super) row: Row,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) worker: WorkerId,
    pub(super) row: Row,
    pub(super) result: Result<Pid, SpawnError>,
}

/// Where outcomes are left for the loop.
pub(super) struct Outbox {
    outcomes: Mutex<Vec<Outcome>>,
    /// Wakes the loop.
    pub(super) bell: OwnedFd,
}

impl Outbox {
    pub(super) fn new() -> io::Result<Outbox> {
        use rustix::event::{eventfd, EventfdFlags};
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Outbox { outcomes: Mutex::new(Vec::new()), bell })
    }

    fn put(&self, outcome: Outcome) {
        let mut outcomes = self.lock();
        outcomes.push(outcome);
        if outcomes.len() == 1 {
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// All that came since the last call.
    pub(super) fn take(&self) -> Vec<Outcome> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut *self.lock())
    }

    /// A panic ends the process, so nobody sees a poisoned lock; its content would still be whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Outcome>> {
        self.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Numbers on the stage that become a worker's standard streams.
const STREAMS: [RawFd; 3] = [60, 61, 62];
/// The first number of a worker's listeners.
const FIRST: RawFd = 3;

/// Spawns until the daemon ends.
pub(super) fn work(shared: Shared<'_>, recipes: Vec<Recipe>, jobs: &Receiver<Job>, outbox: &Outbox) {
    wait_for_the_last_child(shared);
    let mut stage = Stage { recipes, spawner: Spawner::new(), shared, staged: None, taken: FIRST };
    while let Ok(job) = jobs.recv() {
        let result = stage.spawn(&job);
        outbox.put(Outcome { worker: job.worker, row: job.row, result });
    }
}

/// A child of the daemon before this one may not have taken its copy of the stage yet. It is about to: nothing that it
/// does before can block.
fn wait_for_the_last_child(shared: Shared<'_>) {
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

struct Stage<'a> {
    recipes: Vec<Recipe>,
    spawner: Spawner,
    shared: Shared<'a>,
    /// The group whose sockets are on the stage.
    staged: Option<GroupId>,
    /// Numbers from `FIRST` up to this may hold sockets of the group that is staged.
    taken: RawFd,
}

impl Stage<'_> {
    fn spawn(&mut self, job: &Job) -> Result<Pid, SpawnError> {
        self.set(job.group).map_err(|error| prepare(&error))?;
        let recipe = self.recipes.get_mut(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        let image = recipe.image.as_mut().map_err(|error| *error)?;
        let record = self.shared.table.record(job.row);
        let pid = self
            .spawner
            .spawn(image, STREAMS, &record)
            .map_err(|error| SpawnError { step: SpawnStep::Clone, errno: errno(&error) })?;
        match self.shared.table.progress(job.row) {
            Progress::Failed(step, errno) => Err(SpawnError { step: core_step(step), errno }),
            Progress::Sharing | Progress::Apart => Ok(pid),
        }
    }

    /// Puts a group's sockets and streams on the stage.
    fn set(&mut self, group: GroupId) -> io::Result<()> {
        let Some(recipe) = self.recipes.get(group.0 as usize) else { return Ok(()) };
        if self.staged != Some(group) {
            self.staged = None;
            for (number, socket) in (FIRST..).zip(&recipe.sockets) {
                fds::place(*socket, number, false)?;
            }
            let end = FIRST + recipe.sockets.len() as RawFd;
            for number in end..self.taken.max(end) {
                fds::place(recipe.null, number, true)?;
            }
            self.taken = end;
            fds::place(recipe.null, STREAMS[0], true)?;
            self.staged = Some(group);
        }
        stream(&recipe.stdout, 1, STREAMS[1], recipe.null)?;
        stream(&recipe.stderr, 2, STREAMS[2], recipe.null)
    }
}

const PREPARE_UNKNOWN: SpawnError = SpawnError { step: SpawnStep::Prepare, errno: libc::EINVAL };

fn stream(output: &Output, own: RawFd, number: RawFd, null: RawFd) -> io::Result<()> {
    match output {
        Output::Inherit => fds::place(own, number, true),
        Output::Null => fds::place(null, number, true),
        Output::File(path) => fds::place(append_to(path)?.as_raw_fd(), number, true),
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

fn prepare(error: &io::Error) -> SpawnError {
    SpawnError { step: SpawnStep::Prepare, errno: errno(error) }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

pub(super) fn core_step(step: Step) -> SpawnStep {
    match step {
        Step::Descriptors | Step::Limits => SpawnStep::Setup,
        Step::Directory => SpawnStep::Directory,
        Step::Exec => SpawnStep::Exec,
    }
}

/// What is needed for each group's spawns, made before the thread begins.
pub(super) fn recipes(shared: Shared<'_>, sockets: &[Vec<RawFd>], pairs: &[RawFd], null: RawFd) -> Vec<Recipe> {
    let groups = shared.setup.config.groups.iter().zip(sockets.iter().zip(pairs)).zip(0..);
    groups
        .map(|((group, (sockets, pair)), index)| launch::recipe(shared.setup, group, index, sockets, *pair, null))
        .collect()
}
