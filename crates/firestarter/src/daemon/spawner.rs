//! The threads that spawn. Only they wait for an exec, so a program on a dead file server hangs no loop.
//!
//! One of them has the *turn*: it alone takes jobs and touches the stage, the numbers below `STAGE_END` of the table that
//! keeper and daemon share. When its exec hangs while others wait ([`Yard::pass_turn`]), the turn goes to a new thread:
//! the hanging process has a stage of its own by then. The jobs of that group are held until the exec has come to its
//! end, so a group has at most one thread that hangs, and no group waits for another.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use firestarter_core::event::{HookKind, SpawnError, SpawnStep};
use firestarter_core::ids::{self, Edition, Generation, GroupId, Slot, WorkerId};
use rustix::process::Pid;

use super::launch::{self, Recipe};
use super::limits::Culprit;
use super::outputs::{self, Opener, Pipe};
use super::pins::{self, Pins};
use super::store::Store;
use super::yard::{Yard, TAKEN_BACK};
use super::Shared;
use crate::config::Output;
use crate::journal::{Newborn, Opened, Origin, Row, Speaker};
use crate::sys::clone::{Progress, Spawner, Step};
use crate::sys::fds;
use crate::sys::image::{Aim, Image};

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
    /// A worker: where it stands, and what it runs.
    Worker { slot: Slot, generation: Generation, edition: Edition },
    /// A hook, and the workers that it is about.
    Hook { kind: HookKind, pids: Vec<ids::Pid> },
}

impl Role {
    /// Where a worker stands.
    pub(super) fn slot(&self) -> Option<Slot> {
        match self {
            Role::Worker { slot, .. } => Some(*slot),
            Role::Hook { .. } => None,
        }
    }

    /// The generation of a worker; 0 for a hook, which has none.
    fn generation(&self) -> u32 {
        match self {
            Role::Worker { generation, .. } => generation.0,
            Role::Hook { .. } => 0,
        }
    }

    /// As whom it writes; none if nobody reads that.
    fn speaker(&self) -> Option<Speaker> {
        match self {
            Role::Worker { slot, .. } => Some(Speaker::Slot(slot.0)),
            Role::Hook { kind: HookKind::Stop, .. } => Some(Speaker::StopHook),
            Role::Hook { kind: HookKind::Upgrader, .. } => Some(Speaker::Upgrader),
            Role::Hook { kind: HookKind::Probe { .. }, .. } => None,
        }
    }
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) job: Job,
    pub(super) result: Result<Pid, SpawnError>,
}

/// Starts threads that spawn.
pub(super) struct Crew {
    shared: Shared,
    pub(super) pins: &'static Pins,
    store: &'static Store,
    opener: &'static Opener,
    sockets: Vec<Vec<RawFd>>,
    pairs: Vec<RawFd>,
}

/// A spawning thread needs little: it makes no deep calls.
const STACK: usize = 128 * 1024;

/// The highest number of the stage is always the placeholder, which is /dev/null.
const NULL: RawFd = fds::STAGE_END - 1;

impl Crew {
    /// For groups with these sockets, and these workers' ends of their pairs.
    pub(super) fn new(
        shared: Shared,
        pins: &'static Pins,
        store: &'static Store,
        sockets: Vec<Vec<RawFd>>,
        pairs: Vec<RawFd>,
    ) -> Crew {
        let opener = Box::leak(Box::new(Opener::new(shared)));
        Crew { shared, pins, store, opener, sockets, pairs }
    }

    /// Starts the thread that has this turn.
    pub(super) fn start(&self, yard: &'static Yard, turn: u64) -> io::Result<()> {
        let Crew { shared, pins, store, opener, .. } = *self;
        let recipes = self.recipes();
        let work = move || {
            if turn == 0 {
                wait_for_the_last_child(shared);
            }
            let mut culprit = Culprit::default();
            let mut stage = Stage::new(recipes, shared, store, opener);
            // The last thread, or the last daemon, may have left something there.
            yard.while_on_turn(turn, || stage.clear_after());
            while let Some(job) = yard.next(turn) {
                let aim = stage.aim(pins, &job);
                if !yard.go_on_stage(turn, &job) {
                    return;
                }
                let result = if yard.is_wanted(&job) { stage.spawn(&job, aim) } else { Err(TAKEN_BACK) };
                yard.while_on_turn(turn, || stage.clear_after());
                if let (Err(error), Some(group)) = (&result, shared.setup.config.groups.get(job.group.0 as usize)) {
                    culprit.search(group, error);
                }
                yard.done(turn, Outcome { job, result });
            }
        };
        thread::Builder::new().name("spawner".into()).stack_size(STACK).spawn(work).map(|_| ())
    }

    /// A process has ended, or never began: of its pipes nothing is left but what the writer has not read.
    pub(super) fn ended(&self, worker: WorkerId) {
        self.opener.ended(worker);
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
    store: &'static Store,
    opener: &'static Opener,
    /// The group whose sockets are on the stage, and the slot, if slots have sockets of their own.
    staged: Option<(GroupId, Option<Slot>)>,
    /// The pipes whose other ends are on the stage.
    piped: Vec<RawFd>,
    /// What workers have stored may be on the stage.
    stored: bool,
    /// Numbers from `FIRST` up to this may hold sockets, of that group or from another thread's turn.
    taken: RawFd,
}

impl Stage {
    /// Another thread may have left anything there.
    fn new(recipes: Vec<Recipe>, shared: Shared, store: &'static Store, opener: &'static Opener) -> Stage {
        let stored = recipes.iter().any(|recipe| recipe.room > 0);
        let (spawner, taken) = (Spawner::new(), STREAMS[0]);
        Stage { recipes, spawner, shared, store, opener, staged: None, piped: Vec::new(), stored, taken }
    }

    /// What a worker shall run. It may take long to find out, where files are on another machine.
    fn aim(&self, pins: &Pins, job: &Job) -> pins::Aim {
        let image = self.recipes.get(job.group.0 as usize).and_then(|recipe| recipe.image.as_ref().ok());
        match (&job.role, image) {
            (Role::Worker { edition, .. }, Some(image)) => pins.aim(job.group, *edition, image),
            (Role::Worker { .. }, None) | (Role::Hook { .. }, _) => pins::Aim::default(),
        }
    }

    fn spawn(&mut self, job: &Job, aim: pins::Aim) -> Result<Pid, SpawnError> {
        let born = match &job.role {
            Role::Worker { slot, .. } => self.spawn_worker(job, *slot, aim),
            Role::Hook { kind, pids } => self.spawn_hook(job, *kind, pids),
        };
        self.tell_writer(&born);
        born
    }

    fn spawn_worker(&mut self, job: &Job, slot: Slot, aim: pins::Aim) -> Result<Pid, SpawnError> {
        self.set(job.group, slot).and_then(|()| self.set_streams(job)).map_err(|error| prepare(&error))?;
        let recipe = self.recipes.get_mut(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        if let Some(signs) = &recipe.signs {
            signs.make(job.row).map_err(|error| prepare(&error))?;
        }
        let index = job.group.0;
        if let Some(group) = self.shared.setup.config.groups.get(index as usize) {
            launch::refresh(self.shared.setup, group, index, recipe).map_err(|error| prepare(&error))?;
        }
        self.set_stored(job.group, slot).map_err(|error| prepare(&error))?;
        let recipe = self.recipes.get_mut(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        let image = recipe.image.as_mut().map_err(|error| *error)?;
        image.set_slot(slot.0);
        let (aim, _held) = aim.staged().map_err(|error| prepare(&error))?;
        let result = run(&mut self.spawner, image, &aim, self.shared, job.row);
        pins::clear_stage(&aim, NULL);
        result
    }

    /// A hook is made anew for each run: it is told of other workers each time.
    fn spawn_hook(&mut self, job: &Job, kind: HookKind, pids: &[ids::Pid]) -> Result<Pid, SpawnError> {
        let setup = self.shared.setup;
        let group = setup.config.groups.get(job.group.0 as usize).ok_or(PREPARE_UNKNOWN)?;
        self.clear().and_then(|()| self.set_streams(job)).map_err(|error| prepare(&error))?;
        let mut image = launch::hook(setup, group, job.group.0, kind, pids)?;
        run(&mut self.spawner, &mut image, &Aim::default(), self.shared, job.row)
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

    /// Puts the sockets of a group, and of a slot, on the stage.
    fn set(&mut self, group: GroupId, slot: Slot) -> io::Result<()> {
        let Some(recipe) = self.recipes.get(group.0 as usize) else { return Ok(()) };
        let wanted = (group, recipe.divided.then_some(slot));
        if self.staged != Some(wanted) {
            self.staged = None;
            let mut input = recipe.null;
            for (number, socket) in &recipe.sockets {
                match number {
                    0 => input = *socket,
                    number => fds::place(*socket, *number, false)?,
                }
            }
            if recipe.divided {
                for (place, socket) in self.shared.ledger.of_slot(group.0, slot.0) {
                    fds::place(socket, FIRST + place as RawFd, false)?;
                }
            }
            let is_socket = |number: &RawFd| recipe.sockets.iter().any(|(taken, _)| taken == number);
            // Behind the listeners is room for what workers store, also where no pair stands behind that.
            let room = if recipe.room > 0 { recipe.first_stored() + recipe.room } else { FIRST };
            let end = recipe.sockets.iter().map(|(number, _)| number + 1).fold(room, RawFd::max);
            for number in (FIRST..self.taken.max(end)).filter(|number| !is_socket(number)) {
                fds::place(recipe.null, number, true)?;
            }
            self.taken = end;
            let input = recipe.stdin.map_or(input, |place| FIRST + place as RawFd);
            fds::place(input, STREAMS[0], true)?;
            self.staged = Some(wanted);
        }
        Ok(())
    }

    /// Puts on the stage, behind the listeners, what workers of this slot have stored, and says so in the environment.
    fn set_stored(&mut self, group: GroupId, slot: Slot) -> io::Result<()> {
        let Some(recipe) = self.recipes.get_mut(group.0 as usize).filter(|recipe| recipe.room > 0) else {
            return Ok(());
        };
        self.stored = true;
        self.store.with((group, slot), |kept| {
            let kept = &kept[..kept.len().min(recipe.room as usize)];
            for (number, kept) in (recipe.first_stored()..).zip(kept) {
                fds::place(kept.fd.as_raw_fd(), number, false)?;
            }
            let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
            if let Ok(image) = &mut recipe.image {
                image.set_late(launch::passed(&recipe.names, &names));
            }
            Ok(())
        })
    }

    /// Puts on the stage where a process writes.
    fn set_streams(&mut self, job: &Job) -> io::Result<()> {
        let Some(recipe) = self.recipes.get(job.group.0 as usize) else { return Ok(()) };
        let newborn = Newborn { worker: job.worker, row: job.row, generation: job.role.generation() };
        for ((number, stream), output) in outputs::STREAMS.into_iter().zip([&recipe.stdout, &recipe.stderr]) {
            // What a hook says is for whoever reads what the daemon says; what a probe says, every second, for nobody.
            let (own, piped) = match (&job.role, job.role.speaker()) {
                (_, None) => (false, Pipe::Nowhere),
                (role, Some(speaker)) => {
                    let own = !matches!(role, Role::Worker { .. }) || matches!(output, Output::PassOn(_));
                    let origin = Origin { group: job.group.0, speaker, stream };
                    (own, self.opener.open(origin, &newborn)?)
                }
            };
            let staged = STREAMS[number as usize];
            match piped {
                Pipe::Opened(Opened { write, standing }) => {
                    self.piped.push(standing.number);
                    fds::place(write, staged, true)?;
                }
                Pipe::None if own => fds::place(number, staged, true)?,
                Pipe::None | Pipe::Nowhere => fds::place(recipe.null, staged, true)?,
            }
        }
        Ok(())
    }

    /// The writer learns who writes to the pipes that are on the stage.
    fn tell_writer(&self, born: &Result<Pid, SpawnError>) {
        if let (Ok(pid), Some(pipes)) = (born, self.shared.pipes) {
            self.piped.iter().for_each(|pipe| pipes.born(*pipe, *pid));
        }
    }

    /// A pipe ends when nobody has its other end, so the stage must not keep it; nor a slot's own sockets, which are closed
    /// when the slot goes, nor what a worker may want to be closed. Numbers on the stage are open: nothing can go wrong.
    fn clear_after(&mut self) {
        let of_slot = self.staged.is_some_and(|(_, slot)| slot.is_some());
        if std::mem::take(&mut self.stored) || of_slot {
            let _ = self.clear();
        }
        if !self.piped.is_empty() {
            self.piped.clear();
            let _ = STREAMS[1..].iter().try_for_each(|staged| fds::place(NULL, *staged, true));
        }
    }
}

/// Starts a process from what is on the stage.
fn run(spawner: &mut Spawner, image: &mut Image, aim: &Aim, shared: Shared, row: Row) -> Result<Pid, SpawnError> {
    let pid = spawner
        .spawn(image, aim, STREAMS, &shared.table.record(row))
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
