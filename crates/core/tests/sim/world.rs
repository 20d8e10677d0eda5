//! The simulated world: processes that boot, ack, crash and ignore signals; people who ask; a daemon that dies anywhere.
//! Time jumps to the next deadline or the next thing that the world has on its agenda.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::action::{Action, Notice};
use firestarter_core::command::{Command, Verb};
use firestarter_core::event::{Event, Exit, Failure, HookKind, Said};
use firestarter_core::ids::{GroupId, RequestId, Slot, WorkerId};
use firestarter_core::spec::{GroupSpec, Signal};
use firestarter_core::text::Names;
use firestarter_core::time::{Duration, Instant};
use firestarter_core::view::{GroupView, Phase, Stage};
use firestarter_core::Supervisor;

use crate::checks::Checks;
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
    pub sick: bool,
    pub fat: bool,
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
    /// When the world began to behave.
    calm_at: Instant,
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
    pub watched: BTreeSet<GroupId>,
    /// What the files of the groups' programs are.
    programs: BTreeMap<GroupId, u64>,
    delivered: BTreeSet<RequestId>,
    /// Crashes of the daemon, in times of a thousand events.
    crashes: u64,
}

impl Process {
    pub fn of(group: GroupId) -> Process {
        let (exit, spawned, told) = Default::default();
        let (silent, sick, fat, unkillable, stubborn) = Default::default();
        Process { group, silent, signs: 1, sick, fat, unkillable, stubborn, exit, spawned, told }
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
            calm_at: now,
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
        (self.busy_at, self.calm_at) = (self.now, self.now);
        // An upgrader that goes on succeeding would never let a group rest.
        self.tempers.iter_mut().for_each(|temper| *temper = Temper { hook_fails: 1000, ..Temper::default() });
        let waiting: Vec<WorkerId> = self.processes.keys().copied().collect();
        for worker in waiting {
            let after = self.rng.within(500);
            self.plan(after, Event::Acked { worker, signal: None });
            if self.processes[&worker].silent {
                self.plan(Duration::ZERO, Event::Notified { worker, said: Said::Well });
            }
        }
        for process in self.processes.values_mut() {
            (process.stubborn, process.silent, process.sick, process.fat) = Default::default();
        }
    }

    /// Whether nothing but what comes round again and again has happened for longer than any time-out.
    pub fn rests(&self) -> bool {
        let longest = if self.wild.iter().all(|temper| temper.bounded()) { 70 } else { 250 };
        let quiet = self.next_time().is_none_or(|next| next.since(self.busy_at) > Duration::from_secs(longest));
        // Where workers are replaced at a certain age, somebody always is about to be.
        quiet || self.now.since(self.calm_at) > Duration::from_secs(1500) && self.is_settled()
    }

    /// Whether nothing is under way just now.
    fn is_settled(&self) -> bool {
        let settled = |group: &GroupView| {
            let phase = matches!(group.phase, Phase::Running | Phase::Stopped | Phase::GaveUp | Phase::Waiting);
            let slots: BTreeSet<Slot> = group.workers.iter().map(|worker| worker.slot).collect();
            let alone = slots.len() == group.workers.len();
            phase && alone && group.workers.iter().all(|worker| worker.stage == Stage::Ready)
        };
        self.checks.open.is_empty() && self.daemon.core.view(self.now).groups.iter().all(settled)
    }

    /// Whether an event is one of those that come round again and again as long as a group runs.
    fn is_routine(&self, event: &Event, actions: &[Action]) -> bool {
        let routine = |kind: HookKind| matches!(kind, HookKind::Upgrader | HookKind::Probe { .. });
        let comes_again = |id: &WorkerId| self.checks.hooks.get(id).is_some_and(|hook| routine(hook.kind));
        match event {
            Event::Looked { .. } | Event::Program { changed: false, .. } => actions.is_empty(),
            Event::Notified { said: Said::Well, .. } | Event::Probed { .. } => actions.is_empty(),
            Event::Deadline => actions.iter().all(|action| match action {
                Action::RunHook { kind, .. } => routine(*kind),
                action => matches!(action, Action::Look { .. } | Action::Probe { .. } | Action::Weigh { .. }),
            }),
            Event::Spawned { worker, .. } | Event::Exited { worker, .. } | Event::SpawnFailed { worker, .. } => {
                let kind = self.checks.hooks.get(worker).map(|hook| hook.kind);
                kind == Some(HookKind::Upgrader) || comes_again(worker) && actions.is_empty()
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
            self.plan_well(&event);
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
            Event::Notified { worker, .. } => self.processes.contains_key(worker) || self.rng.chance(200),
            Event::Probed { .. } | Event::Measured { .. } | Event::Heavy { .. } => true,
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
        let stray = before.is_some();
        if let Some(before) = before {
            assert!(actions.is_empty() && before == self.daemon.bytes(), "a late event changed something");
        }
        crate::common::check_invariants(&self.daemon.core);
        self.checks.turn(self.now, &event, &actions, &self.daemon.core);
        if !stray && !self.is_routine(&event, &actions) {
            self.busy_at = self.now;
        }
        let silenced = |action: &Action| matches!(action, Action::Notice(Notice::Silent { .. }));
        if let (Event::Looked { worker, .. }, true) = (event, actions.iter().any(silenced)) {
            assert!(self.is_silent(worker), "{worker} is killed although it gives signs of life");
        }
        self.watchdogs_bark_at_the_silent(&event, &actions);
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

    /// Nobody is aborted who says that it is well.
    fn watchdogs_bark_at_the_silent(&self, event: &Event, actions: &[Action]) {
        for action in actions {
            let Action::Notice(Notice::Unwell { pid: Some(pid), failure, .. }) = action else { continue };
            let id = self.processes.keys().find(|id| id.ordinal() == u64::from(pid.0) - 1000).copied();
            let barks = matches!(failure, Failure::Watchdog(_)) && id.is_some_and(|id| self.is_silent(id));
            let said = matches!(event, Event::Notified { said: Said::Unwell, .. }) && *failure == Failure::Unwell;
            assert!(barks || said, "pid {pid} is aborted although it is well");
        }
    }

    pub(crate) fn perform(&mut self, action: &Action) {
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
            Action::RunHook { hook, group, kind, pids } => self.run_hook(*hook, *group, *kind, pids),
            Action::Probe { worker } => self.probe(*worker),
            Action::Measure { group } => {
                let (after, fits) = (self.rng.within(3), self.rng.pick(&[0, 1, 2, 100]));
                self.plan(after, Event::Measured { group: *group, fits });
            }
            Action::Weigh { group, .. } => self.weigh(*group),
            Action::Discard { .. } => {}
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
