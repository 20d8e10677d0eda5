//! The simulated world: processes that boot, ack, crash and ignore signals; people who ask; a daemon that dies anywhere.
//! Time jumps to the next deadline or the next thing that the world has on its agenda.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::action::{Action, Notice};
use firestarter_core::command::{Command, Verb};
use firestarter_core::event::{Event, Exit, HookKind};
use firestarter_core::ids::{GroupId, RequestId, Slot, WorkerId};
use firestarter_core::spec::{GroupSpec, Signal};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::Supervisor;

use crate::checks::Checks;
use crate::common::text::Names;
use crate::daemon::Daemon;
use crate::plan::{self, Temper};
use crate::rng::Rng;

type Place = (Instant, u64);

/// A process, or the spawn that will give birth to one.
pub struct Process {
    pub group: GroupId,
    /// It gives no sign of life.
    pub silent: bool,
    pub signs: u64,
    pub unkillable: bool,
    pub stubborn: bool,
    /// What its exit stands under on the agenda.
    pub exit: Option<Place>,
    /// What the answer to its spawn stands, or stood, under.
    pub spawned: Option<Place>,
    pub told: BTreeSet<Signal>,
}

pub enum Line {
    Event(Event),
    Action(Action),
    Note(&'static str),
}

pub struct World {
    pub rng: Rng,
    pub now: Instant,
    /// When something happened that does not come round by itself.
    busy_at: Instant,
    pub daemon: Daemon,
    pub checks: Checks,
    pub log: Vec<(Instant, Line)>,
    pub halted: bool,
    pub specs: Vec<GroupSpec>,
    pub tempers: Vec<Temper>,
    wild: Vec<Temper>,
    pub processes: BTreeMap<WorkerId, Process>,
    pub agenda: BTreeMap<Place, Event>,
    places: u64,
    requests: u32,
    watched: BTreeSet<GroupId>,
    /// What the files of the groups' programs are.
    programs: BTreeMap<GroupId, u64>,
    delivered: BTreeSet<RequestId>,
    /// Crashes of the daemon, in times of a thousand events.
    crashes: u64,
}

impl Process {
    pub fn of(group: GroupId) -> Process {
        let (exit, spawned, told) = Default::default();
        Process { group, silent: false, signs: 1, unkillable: false, stubborn: false, exit, spawned, told }
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let groups = rng.below(3) as usize + 1;
        let specs: Vec<GroupSpec> = (0..groups).map(|index| plan::spec(&mut rng, index)).collect();
        let tempers: Vec<Temper> = (0..groups).map(|_| plan::temper(&mut rng)).collect();
        let now = Instant(rng.below(1_000_000_000_000));
        let policy = plan::policy(&mut rng);
        let crashes = rng.pick(&[0, 20, 200]);
        World {
            now,
            busy_at: now,
            daemon: Daemon::new(Supervisor::new(specs.clone(), policy, seed, now)),
            checks: Checks::new(&specs, &tempers, policy),
            log: Vec::new(),
            halted: false,
            specs,
            wild: tempers.clone(),
            tempers,
            processes: BTreeMap::new(),
            agenda: BTreeMap::new(),
            places: 0,
            requests: 0,
            watched: BTreeSet::new(),
            programs: BTreeMap::new(),
            delivered: BTreeSet::new(),
            crashes,
            rng,
        }
    }

    pub fn names(&self) -> Names {
        let mut names = Names::new(self.specs.iter().map(|spec| spec.name.clone()).collect());
        for (_, line) in &self.log {
            if let Line::Action(action) = line {
                names.learn(action);
            }
        }
        names
    }

    /// Puts people's requests, connections and spurious deadlines on the agenda for the time from now to then.
    pub fn plan_storm(&mut self, length: Duration) {
        let commands = self.rng.pick(&[4, 20, 100]);
        for _ in 0..self.rng.below(commands) {
            let at = self.rng.below(length.as_millis() as u64);
            let unknown = u64::from(self.rng.chance(20));
            let group = GroupId(self.rng.below(self.specs.len() as u64 + unknown) as u32);
            let (verb, signal) = (plan::verb(&mut self.rng), plan::signal(&mut self.rng));
            let slot = self.rng.chance(if verb == Verb::Signal { 500 } else { 10 }).then_some(Slot(0));
            let command = Command::Group { group, verb, signal, slot };
            self.plan_request(Duration::from_millis(at), command);
        }
        for _ in 0..self.rng.below(6) {
            let group = GroupId(self.rng.below(self.specs.len() as u64) as u32);
            let after = self.rng.within(length.as_millis() as u64);
            self.plan(after, Event::Connection { group });
        }
        for _ in 0..self.rng.below(4) {
            let group = GroupId(self.rng.below(self.specs.len() as u64) as u32);
            let after = self.rng.within(length.as_millis() as u64);
            let print = self.rng.below(3);
            self.plan(after, Event::Program { group, print, changed: true });
        }
        if self.rng.chance(200) {
            let after = self.rng.within(length.as_millis() as u64);
            self.plan(after, Event::Deadline);
        }
    }

    pub fn plan_request(&mut self, after: Duration, command: Command) {
        self.requests += 1;
        let request = RequestId { client: 1 + u64::from(self.requests % 3), seq: self.requests };
        self.plan(after, Event::Request { request, command });
    }

    pub fn plan(&mut self, after: Duration, event: Event) -> Place {
        self.places += 1;
        let place = (self.now + after, self.places);
        self.agenda.insert(place, event);
        place
    }

    /// From now on every process behaves, and those that hold out give in.
    pub fn calm(&mut self) {
        self.busy_at = self.now;
        // An upgrader that goes on succeeding would never let a group rest.
        self.tempers.iter_mut().for_each(|temper| *temper = Temper { hook_fails: 1000, ..Temper::default() });
        let waiting: Vec<WorkerId> = self.processes.keys().copied().collect();
        for worker in waiting {
            let after = self.rng.within(500);
            self.plan(after, Event::Acked { worker, signal: None });
        }
        self.processes.values_mut().for_each(|process| (process.stubborn, process.silent) = (false, false));
    }

    /// Whether nothing but what comes round again and again has happened for longer than any time-out.
    pub fn rests(&self) -> bool {
        let longest = if self.wild.iter().all(|temper| temper.bounded()) { 70 } else { 250 };
        self.next_time().is_none() || self.now.since(self.busy_at) > Duration::from_secs(longest)
    }

    /// Whether an event is one of those that come round again and again as long as a group runs.
    fn is_routine(&self, event: &Event, actions: &[Action]) -> bool {
        let upgrader = |id: &WorkerId| self.checks.hooks.get(id).is_some_and(|hook| hook.kind == HookKind::Upgrader);
        match event {
            Event::Looked { .. } | Event::Program { changed: false, .. } => actions.is_empty(),
            Event::Deadline => actions.iter().all(|action| match action {
                Action::RunHook { kind, .. } => *kind == HookKind::Upgrader,
                action => matches!(action, Action::Look { .. }),
            }),
            Event::Spawned { worker, .. } | Event::Exited { worker, .. } | Event::SpawnFailed { worker, .. } => {
                upgrader(worker)
            }
            _ => false,
        }
    }

    pub fn wild(&mut self) {
        self.tempers = self.wild.clone();
    }

    /// When something happens next; never, if nothing is on the agenda and the core waits for no time.
    pub fn next_time(&self) -> Option<Instant> {
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let deadline = self.daemon.core.next_deadline();
        agenda.into_iter().chain(deadline).min()
    }

    /// Jumps to that time and lets it happen.
    pub fn step(&mut self) {
        let Some(at) = self.next_time() else { return };
        self.now = self.now.max(at);
        if self.rng.chance(20) {
            self.now = self.now + self.rng.within(50);
        }
        let due = self.daemon.core.next_deadline().is_some_and(|at| at <= self.now);
        let first = self.agenda.keys().next().copied().filter(|(at, _)| *at <= self.now);
        let event = match first {
            Some(place) if !due || self.rng.chance(500) => self.agenda.remove(&place),
            _ => Some(Event::Deadline),
        };
        if let Some(event) = event {
            if self.happens(&event) {
                self.feed(event);
            }
        }
    }

    /// Whether the daemon hears of it: of a connection only if it watches, and rarely too late.
    fn happens(&mut self, event: &Event) -> bool {
        match event {
            Event::Connection { group } => self.watched.contains(group) || self.rng.chance(200),
            Event::Program { group, print, changed: true } => {
                self.programs.get_mut(group).is_some_and(|there| std::mem::replace(there, *print) != *print)
            }
            Event::Program { changed: false, .. } | Event::Looked { .. } => true,
            Event::Begin
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. }
            | Event::Acked { .. }
            | Event::Request { .. }
            | Event::StopSignal { .. }
            | Event::Order { .. }
            | Event::Deadline => true,
        }
    }

    /// One turn of the daemon's loop, which may die at any of its points.
    pub fn feed(&mut self, event: Event) {
        if self.rng.chance(self.crashes / 2) {
            self.crash();
        }
        self.log.push((self.now, Line::Event(event)));
        let before = self.checks.is_stray(&event).then(|| self.daemon.bytes());
        let actions = self.daemon.take(self.now, event);
        if let Event::Exited { worker, .. } | Event::SpawnFailed { worker, .. } = event {
            self.processes.remove(&worker);
        }
        self.log.extend(actions.iter().map(|action| (self.now, Line::Action(action.clone()))));
        if let Some(before) = before {
            assert!(actions.is_empty() && before == self.daemon.bytes(), "a late event changed something");
        }
        crate::common::check_invariants(&self.daemon.core);
        self.checks.turn(self.now, &event, &actions, &self.daemon.core);
        if !self.is_routine(&event, &actions) {
            self.busy_at = self.now;
        }
        let silenced = |action: &Action| matches!(action, Action::Notice(Notice::Silent { .. }));
        if let (Event::Looked { worker, .. }, true) = (event, actions.iter().any(silenced)) {
            assert!(self.is_silent(worker), "{worker} is killed although it gives signs of life");
        }
        let dies = self.rng.chance(self.crashes).then(|| self.rng.below(actions.len() as u64 + 1) as usize);
        for action in actions.iter().take(dies.unwrap_or(usize::MAX)) {
            self.perform(action);
        }
        if dies.is_some() {
            return self.crash();
        }
        self.checks.all_performed(&self.daemon.core.outstanding(), &self.watched);
        if self.rng.chance(50) {
            self.daemon.snapshot();
        }
        self.plan_late(&event);
    }

    /// The daemon dies; its successor replays, does what is in doubt by its rules, and goes on.
    fn crash(&mut self) {
        self.log.push((self.now, Line::Note("the daemon dies and recovers")));
        let last = self.daemon.recover();
        self.watched.clear();
        for action in last.iter().filter(|action| matches!(action, Action::Reply { .. })) {
            self.perform(action);
        }
        for action in self.daemon.core.outstanding() {
            let lost = match &action {
                Action::Spawn { worker, .. } | Action::RunHook { hook: worker, .. } => {
                    self.processes.contains_key(worker)
                }
                Action::Signal { worker, signal, .. } => self.was_told(*worker, *signal) || self.rng.chance(500),
                Action::Kill { .. }
                | Action::Watch { .. }
                | Action::Look { .. }
                | Action::WatchProgram { .. }
                | Action::Halt { .. } => false,
                Action::Reply { .. } | Action::Tell { .. } | Action::Notice(_) => {
                    panic!("not to be repeated: {action:?}")
                }
            };
            if lost {
                self.lose(&action);
            } else {
                self.perform(&action);
            }
        }
        self.checks.all_performed(&self.daemon.core.outstanding(), &self.watched);
    }

    fn was_told(&self, worker: WorkerId, signal: Signal) -> bool {
        self.processes.get(&worker).is_none_or(|process| process.told.contains(&signal))
    }

    /// A signal that is in doubt counts as sent, and a spawn whose pid is known as done. Rarely that process is dead.
    fn lose(&mut self, action: &Action) {
        let worker = match action {
            Action::Signal { worker, signal, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.told.insert(*signal);
                }
                return;
            }
            Action::Spawn { worker, .. } | Action::RunHook { hook: worker, .. } => *worker,
            Action::Kill { .. }
            | Action::Watch { .. }
            | Action::Tell { .. }
            | Action::Look { .. }
            | Action::WatchProgram { .. }
            | Action::Halt { .. }
            | Action::Reply { .. }
            | Action::Notice(_) => return,
        };
        let Some(place) = self.processes.get(&worker).and_then(|process| process.spawned) else { return };
        if self.rng.chance(100) {
            if let Some(Event::Spawned { .. }) = self.agenda.get(&place) {
                self.agenda.remove(&place);
                self.plan_exit(worker, Duration::ZERO, Exit::Unknown);
            }
        }
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Spawn { worker, group, .. } => self.spawn(*worker, *group),
            Action::Signal { worker, signal, .. } => self.signal(*worker, *signal),
            Action::Kill { worker } => {
                let unkillable = self.processes.get(worker).is_some_and(|process| process.unkillable);
                let after = if unkillable { self.rng.within(200_000) } else { self.rng.within(5) };
                self.plan_exit(*worker, after, Exit::Signal(Signal::KILL, false));
            }
            Action::Watch { group, on: true } => drop(self.watched.insert(*group)),
            Action::Watch { group, on: false } => drop(self.watched.remove(group)),
            Action::Reply { request, .. } => drop(self.delivered.insert(*request)),
            Action::Notice(_) => {}
            Action::RunHook { hook, group, pids, .. } => self.run_hook(*hook, *group, pids),
            Action::Tell { worker, signal: Signal::KILL } => {
                self.plan_exit(*worker, Duration::ZERO, Exit::Signal(Signal::KILL, false));
            }
            Action::Tell { .. } => {}
            Action::Look { worker } => self.look(*worker),
            Action::WatchProgram { group, known } => {
                let print = *self.programs.entry(*group).or_insert(0);
                if *known != Some(print) {
                    let after = self.rng.within(50);
                    self.plan(after, Event::Program { group: *group, print, changed: known.is_some() });
                }
            }
            Action::Halt { .. } => self.halted = true,
        }
    }

    /// How many requests were made, and how many answers arrived.
    pub fn answered(&self) -> (usize, usize) {
        (self.checks.requests(), self.delivered.len())
    }

    pub fn processes(&self) -> usize {
        self.processes.len()
    }
}
