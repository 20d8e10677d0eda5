//! The simulated world: processes that boot, ack, crash and ignore signals; people who ask; a daemon that dies anywhere.
//! Time jumps to the next deadline or the next thing that the world has on its agenda.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::action::Action;
use firestarter_core::command::Command;
use firestarter_core::event::{Event, Exit, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, RequestId, WorkerId};
use firestarter_core::spec::{Ack, GroupSpec, Signal};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::Supervisor;

use crate::checks::Checks;
use crate::common::text::Names;
use crate::daemon::Daemon;
use crate::plan::{self, Temper};
use crate::rng::Rng;

type Place = (Instant, u64);

/// A process, or the spawn that will give birth to one.
struct Process {
    group: GroupId,
    unkillable: bool,
    stubborn: bool,
    /// What its exit stands under on the agenda.
    exit: Option<Place>,
    /// What the answer to its spawn stands, or stood, under.
    spawned: Option<Place>,
    told: BTreeSet<Signal>,
}

pub enum Line {
    Event(Event),
    Action(Action),
    Note(&'static str),
}

pub struct World {
    pub rng: Rng,
    pub now: Instant,
    pub daemon: Daemon,
    pub checks: Checks,
    pub log: Vec<(Instant, Line)>,
    pub halted: bool,
    specs: Vec<GroupSpec>,
    tempers: Vec<Temper>,
    wild: Vec<Temper>,
    processes: BTreeMap<WorkerId, Process>,
    agenda: BTreeMap<Place, Event>,
    places: u64,
    requests: u32,
    watched: BTreeSet<GroupId>,
    delivered: BTreeSet<RequestId>,
    /// Crashes of the daemon, in times of a thousand events.
    crashes: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let groups = rng.below(3) as usize + 1;
        let specs: Vec<GroupSpec> = (0..groups).map(|index| plan::spec(&mut rng, index)).collect();
        let tempers: Vec<Temper> = (0..groups).map(|_| plan::temper(&mut rng)).collect();
        let now = Instant(rng.below(1_000_000_000_000));
        let crashes = rng.pick(&[0, 20, 200]);
        World {
            now,
            daemon: Daemon::new(Supervisor::new(specs.clone(), seed, now)),
            checks: Checks::new(&specs, &tempers),
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
            let command =
                Command::Group { group, verb: plan::verb(&mut self.rng), signal: plan::signal(&mut self.rng) };
            self.plan_request(Duration::from_millis(at), command);
        }
        for _ in 0..self.rng.below(6) {
            let group = GroupId(self.rng.below(self.specs.len() as u64) as u32);
            let after = self.rng.within(length.as_millis() as u64);
            self.plan(after, Event::Connection { group });
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
        self.tempers.iter_mut().for_each(|temper| *temper = Temper::default());
        let waiting: Vec<WorkerId> = self.processes.keys().copied().collect();
        for worker in waiting {
            let after = self.rng.within(500);
            self.plan(after, Event::Acked { worker, signal: None });
        }
        self.processes.values_mut().for_each(|process| process.stubborn = false);
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
            Event::Begin
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. }
            | Event::Acked { .. }
            | Event::Request { .. }
            | Event::StopSignal { .. }
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
                Action::Spawn { worker, .. } => self.processes.contains_key(worker),
                Action::Signal { worker, signal, .. } => self.was_told(*worker, *signal) || self.rng.chance(500),
                Action::Kill { .. } | Action::Watch { .. } | Action::Halt => false,
                Action::Reply { .. } | Action::Notice(_) => panic!("not to be repeated: {action:?}"),
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
            Action::Spawn { worker, .. } => *worker,
            Action::Kill { .. } | Action::Watch { .. } | Action::Halt | Action::Reply { .. } | Action::Notice(_) => {
                return
            }
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
            Action::Halt => self.halted = true,
        }
    }

    fn spawn(&mut self, worker: WorkerId, group: GroupId) {
        let temper = self.tempers[group.0 as usize];
        let takes = match () {
            () if self.rng.chance(temper.spawn_hangs) => self.rng.within(200_000),
            () if self.rng.chance(temper.spawn_slow) => self.rng.within(2_000),
            () => self.rng.within(30),
        };
        let stubborn = self.rng.chance(temper.stubborn);
        let unkillable = self.rng.chance(temper.unkillable);
        let process = Process { group, stubborn, unkillable, exit: None, spawned: None, told: BTreeSet::new() };
        assert!(self.processes.insert(worker, process).is_none(), "spawned twice");
        if self.rng.chance(temper.spawn_fails) {
            let error = SpawnError { step: SpawnStep::Exec, errno: 2 };
            self.plan(takes, Event::SpawnFailed { worker, error });
            return;
        }
        let pid = Pid(1000 + worker.ordinal() as u32);
        let place = self.plan(takes, Event::Spawned { worker, pid });
        self.processes.get_mut(&worker).unwrap().spawned = Some(place);
        if self.specs[group.0 as usize].ack == Ack::Manual || self.rng.chance(50) {
            self.plan_ack(worker, takes, temper);
        }
        if self.rng.chance(temper.crashes) {
            let lives = self.rng.pick(&[1, 100, 20_000]);
            let lives = self.rng.within(lives);
            let exit = self.rng.pick(&[Exit::Code(0), Exit::Code(1), Exit::Signal(Signal::QUIT, true), Exit::Unknown]);
            self.plan_exit(worker, takes + lives, exit);
        }
    }

    /// The ack of a process may overtake the answer to its spawn.
    fn plan_ack(&mut self, worker: WorkerId, takes: Duration, temper: Temper) {
        if self.rng.chance(temper.never_acks) {
            return;
        }
        let boots = self.rng.pick(&[10, 200, 3_000]);
        let early = self.rng.chance(300);
        let after = self.rng.within(boots) + if early { takes / 2 } else { takes };
        let signal = self.rng.chance(200).then_some(Signal::HUP);
        self.plan(after, Event::Acked { worker, signal });
    }

    fn signal(&mut self, worker: WorkerId, signal: Signal) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        assert!(process.told.insert(signal) || process.told.len() > 1, "the same signal twice");
        if process.stubborn {
            return;
        }
        let slow = self.tempers[process.group.0 as usize].stubborn > 0;
        let after = self.rng.within(if slow { 8_000 } else { 300 });
        let exit = self.rng.pick(&[Exit::Code(0), Exit::Signal(signal, false)]);
        self.plan_exit(worker, after, exit);
    }

    /// The exit comes after the answer to the spawn, and not later than it would have come anyway.
    fn plan_exit(&mut self, worker: WorkerId, after: Duration, exit: Exit) {
        let Some(process) = self.processes.get(&worker) else { return };
        let before = process.exit;
        if before.is_some_and(|(at, _)| at <= self.now + after) {
            return;
        }
        if let Some(place) = before {
            self.agenda.remove(&place);
        }
        let place = self.plan(after, Event::Exited { worker, exit });
        self.processes.get_mut(&worker).unwrap().exit = Some(place);
    }

    /// Some things are told twice, or when nobody is there any more.
    fn plan_late(&mut self, event: &Event) {
        let Event::Exited { worker, exit } = *event else { return };
        if !self.rng.chance(100) {
            return;
        }
        let after = self.rng.within(1_000);
        let pid = Pid(1);
        let late = [
            Event::Exited { worker, exit },
            Event::Acked { worker, signal: None },
            Event::Spawned { worker, pid },
            Event::Acked { worker: WorkerId(u64::MAX), signal: None },
            Event::Connection { group: GroupId(77) },
        ];
        let event = self.rng.pick(&late);
        self.plan(after, event);
    }

    /// How many requests were made, and how many answers arrived.
    pub fn answered(&self) -> (usize, usize) {
        (self.checks.requests(), self.delivered.len())
    }

    pub fn processes(&self) -> usize {
        self.processes.len()
    }
}
