//! All groups: routes each event to its group, starts and stops the whole, and answers what the shell asks.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::care::Asks;
use crate::command::{Command, Refusal, Reply};
use crate::event::{Event, Failure};
use crate::group::rollout::Stage;
use crate::group::{rollout, Group, Intent};
use crate::hook::HookState;
use crate::ids::{Edition, GroupId, Pid, RequestId, Slot, Version, WorkerId};
use crate::shutdown::Shutdown;
use crate::spec::{GroupSpec, Policy, Signal};
use crate::time::Instant;
use crate::view::{Glance, RolloutView, View};
use crate::worker::{Crew, Farewell, Fate, Means, State, Waits};

/// The whole deciding state. Equal states behave equally: it holds no clock, no randomness of its own, no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    pub(crate) groups: Vec<Group>,
    pub(crate) crew: Crew,
    pub(crate) policy: Policy,
    /// How many signals have asked to stop.
    pub(crate) stops_asked: u32,
    /// How many signals of each kind were taken as orders.
    orders: BTreeMap<Signal, u32>,
    pub(crate) shutdown: Option<Shutdown>,
}

impl Supervisor {
    /// A supervisor of these groups, none of them started. `seed` feeds the jitter of respawn delays.
    pub fn new(specs: Vec<GroupSpec>, policy: Policy, seed: u64, now: Instant) -> Supervisor {
        let groups = (0..).zip(specs).map(|(index, spec)| Group::new(GroupId(index), spec, now)).collect();
        Supervisor { groups, crew: Crew::new(seed), policy, stops_asked: 0, orders: BTreeMap::new(), shutdown: None }
    }

    /// Takes in a fact or a request. Afterwards drain `poll_action`.
    pub fn handle(&mut self, now: Instant, event: Event) {
        let crew = &mut self.crew;
        match event {
            // A stop signal may be there before the daemon has begun.
            Event::Begin if self.shutdown.is_some() => {}
            Event::Begin => self.groups.iter_mut().for_each(|group| group.begin(crew, now)),
            Event::Spawned { worker, pid } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.spawned(worker, pid, crew, now);
                } else if let Some(group) = group_of_hook(worker, crew, &mut self.groups) {
                    group.hook_spawned(worker, pid, crew);
                }
            }
            Event::SpawnFailed { worker, error } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.spawn_failed(worker, error, crew, now);
                } else {
                    self.hook_ended(worker, Failure::Spawn(error), now);
                }
            }
            Event::Exited { worker, exit } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.exited(worker, exit, crew, now);
                } else {
                    self.hook_ended(worker, Failure::Exit(exit), now);
                }
            }
            Event::Acked { worker, signal } => {
                self.of_worker(worker, |group, crew| group.acked(worker, signal, crew, now))
            }
            Event::Connection { group } => self.of_group(group, |group, crew| group.connection(crew, now)),
            Event::Notified { worker, said } => {
                self.of_worker(worker, |group, crew| group.notified(worker, said, crew, now))
            }
            Event::Probed { worker, answer } => {
                self.of_worker(worker, |group, crew| group.probed(worker, answer, crew, now))
            }
            Event::Heavy { worker, bytes } => {
                self.of_worker(worker, |group, crew| group.heavy(worker, bytes, crew, now))
            }
            Event::Measured { group, fits } => {
                self.of_group(group, |group, crew| rollout::measured(group, fits, crew, now))
            }
            Event::Looked { worker, mark, ago } => {
                self.of_worker(worker, |group, crew| group.looked(worker, mark, ago, crew, now))
            }
            Event::Program { group, print, changed } => {
                self.of_group(group, |group, crew| group.program(print, changed, crew, now))
            }
            Event::Request { request, command } => self.obey(request, command, now),
            Event::StopSignal { signal, nth, with } => self.stop_signal(signal, nth, with, now),
            Event::Order { signal, nth, command } => self.order(signal, nth, command, now),
            Event::Deadline => self.deadlines(now),
        }
        self.exit_if_due(now);
        self.halt_if_all_gone();
    }

    /// Tells the group of a worker; nobody, if that has ended.
    fn of_worker(&mut self, worker: WorkerId, tell: impl FnOnce(&mut Group, &mut Crew)) {
        if let Some(group) = group_of(worker, &self.crew, &mut self.groups) {
            tell(group, &mut self.crew);
        }
    }

    /// Tells a group, if there is one of that number.
    fn of_group(&mut self, group: GroupId, tell: impl FnOnce(&mut Group, &mut Crew)) {
        if let Some(group) = self.groups.get_mut(group.0 as usize) {
            tell(group, &mut self.crew);
        }
    }

    /// What the shell is asked to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.crew.actions.pop_front()
    }

    /// When to hand in `Event::Deadline` if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.crew.next_deadline()
    }

    /// The picture for people.
    pub fn view(&self, now: Instant) -> View {
        View {
            groups: self.groups.iter().map(|group| group.view(&self.crew, now)).collect(),
            shutting_down: self.shutdown.is_some(),
        }
    }

    /// What each group is doing, in the order of the configuration: much less than `view`, at a cost that does not grow with
    /// the workers.
    pub fn glance(&self) -> impl Iterator<Item = Glance> + '_ {
        self.groups.iter().map(Group::glance)
    }

    /// Whether everything is being stopped.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// What was asked of the shell and has no answer yet. A new daemon performs these again after a replay; the shell
    /// knows from its records which have been done: of signals only KILL is ever repeated.
    pub fn outstanding(&self) -> Vec<Action> {
        let of_workers = self.crew.workers.iter().filter_map(|(&id, worker)| match worker.state {
            State::Spawning { .. } => {
                let (group, slot, Version { generation, edition }) = (worker.group, worker.slot, worker.version);
                Some(Action::Spawn { worker: id, group, slot, generation, edition })
            }
            State::Draining { farewell: Farewell { means: Means::Signal { signal, uncaught }, .. }, .. } => {
                Some(Action::Signal { worker: id, signal, uncaught })
            }
            State::Killing => Some(Action::Kill { worker: id }),
            State::Starting { .. } | State::Ready | State::Parting { .. } | State::Draining { .. } => None,
        });
        // Asked for together with the spawn: a program that does not begin to run is not waited for.
        let of_doomed = self.doomed().map(|worker| Action::Kill { worker });
        let of_care = self.crew.workers.iter().flat_map(|(&id, worker)| {
            let looks = worker.care.as_deref().and_then(|care| care.live).is_some_and(|live| live.looking);
            let asks = worker.care.as_deref().and_then(|care| care.probing);
            let asks = asks.is_some_and(|probing| probing.asks == Asks::Now(None));
            let look = looks.then_some(Action::Look { worker: id });
            look.into_iter().chain(asks.then_some(Action::Probe { worker: id }))
        });
        let of_hooks = self.crew.hooks.iter().filter_map(|(&id, hook)| match hook.state {
            HookState::Spawning { .. } => {
                let (group, kind, pids) = (hook.group, hook.kind, hook.pids.clone());
                Some(Action::RunHook { hook: id, group, kind, pids })
            }
            HookState::Killing => Some(Action::Kill { worker: id }),
            HookState::Running => None,
        });
        let measuring = |group: &&Group| group.rollout.as_ref().is_some_and(|r| r.stage == Stage::Measuring);
        let measures = self.groups.iter().filter(measuring).map(|group| Action::Measure { group: group.id });
        let discards = self.groups.iter().filter_map(Group::discard);
        let of_programs = self.groups.iter().filter(|group| group.watches_program());
        let of_programs = of_programs.map(|group| Action::WatchProgram { group: group.id, known: group.program });
        let watching = |group: &&Group| group.intent == (Intent::Waiting { watch_at: None });
        let of_groups = self.groups.iter().filter(watching).map(|g| Action::Watch { group: g.id, on: true });
        let halted = self.shutdown.as_ref().filter(|shutdown| shutdown.halted);
        let halt = halted.map(|shutdown| Action::Halt { code: shutdown.code });
        let of_groups = of_groups.chain(measures).chain(discards).chain(of_programs);
        of_workers.chain(of_care).chain(of_hooks).chain(of_doomed).chain(of_groups).chain(halt).collect()
    }

    /// Workers and hooks that are to be killed and have not been spawned yet.
    fn doomed(&self) -> impl Iterator<Item = WorkerId> + '_ {
        let dies = |state| matches!(state, State::Spawning { fate: Fate::Die, .. });
        let workers = self.crew.workers.iter().filter(move |(_, worker)| dies(worker.state));
        let hooks = self.crew.hooks.iter().filter(|(_, hook)| hook.state == HookState::Spawning { doomed: true });
        workers.map(|(id, _)| *id).chain(hooks.map(|(id, _)| *id))
    }

    /// The workers that have a process or are about to get one.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, GroupId)> + '_ {
        self.crew.workers.iter().map(|(id, worker)| (*id, worker.group))
    }

    /// Which worker that is: its group, its slot, its pid once it has one, and whether it is ready.
    pub fn worker(&self, id: WorkerId) -> Option<(GroupId, Slot, Option<Pid>, bool)> {
        let worker = self.crew.workers.get(&id)?;
        Some((worker.group, worker.slot, worker.pid, worker.state == State::Ready))
    }

    /// The hooks that have a process or are about to get one.
    pub fn hooks(&self) -> impl Iterator<Item = (WorkerId, GroupId)> + '_ {
        self.crew.hooks.iter().map(|(id, hook)| (*id, hook.group))
    }

    /// The editions of a group's program that may still be spawned: what is kept of any other can be let go.
    pub fn editions(&self, group: GroupId) -> impl Iterator<Item = Edition> + '_ {
        self.groups.get(group.0 as usize).into_iter().flat_map(Group::editions)
    }

    /// How far a group's rollout has come.
    pub fn rollout(&self, group: GroupId, now: Instant) -> Option<RolloutView> {
        self.groups.get(group.0 as usize)?.rollout_view(&self.crew, now)
    }

    /// The name of a group.
    pub fn group_name(&self, group: GroupId) -> &str {
        self.groups.get(group.0 as usize).map_or("", |group| &group.spec.name)
    }

    /// The group of that name.
    pub fn group_named(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().find(|group| group.spec.name == name).map(|group| group.id)
    }

    /// The names of all groups, in the order of the configuration.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.spec.name.as_str())
    }

    fn obey(&mut self, request: RequestId, command: Command, now: Instant) {
        let refuse = |refusal| Action::Reply { request, reply: Reply::Refused(refusal) };
        match command {
            Command::Shutdown => {
                self.shut_down(None, None, 0, now);
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.requests.push(request);
                }
            }
            Command::Group { .. } if self.shutdown.is_some() => self.crew.act(refuse(Refusal::ShuttingDown)),
            Command::Group { group, verb, signal, slot } => match self.groups.get_mut(group.0 as usize) {
                Some(group) => group.obey(request, verb, signal, slot, &mut self.crew, now),
                None => self.crew.act(refuse(Refusal::UnknownGroup)),
            },
        }
    }

    /// How many signals of this kind were taken as orders.
    pub fn orders_taken(&self, signal: Signal) -> u32 {
        self.orders.get(&signal).copied().unwrap_or(0)
    }

    /// A signal stands for a command, which is carried out once however often the signal is told of.
    fn order(&mut self, signal: Signal, nth: u32, command: Command, now: Instant) {
        let taken = self.orders.entry(signal).or_default();
        if nth <= *taken {
            return;
        }
        *taken = nth;
        let seq = self.orders.values().fold(0, |sum: u32, taken| sum.wrapping_add(*taken));
        self.obey(RequestId::of_nobody(seq), command, now);
    }

    fn hook_ended(&mut self, id: WorkerId, end: Failure, now: Instant) {
        let Some(hook) = self.crew.remove_hook(id) else { return };
        if let Some(group) = self.groups.get_mut(hook.group.0 as usize) {
            group.hook_ended(id, &hook, end, &mut self.crew, now);
        }
    }

    fn deadlines(&mut self, now: Instant) {
        while let Some(who) = self.crew.take_due(now) {
            match who {
                Waits::Worker(worker) => {
                    self.of_worker(worker, |group, crew| group.worker_deadline(worker, crew, now));
                }
                Waits::Slot(group, slot) => self.of_group(group, |group, crew| group.slot_deadline(slot, crew, now)),
                Waits::Rollout(group) => self.of_group(group, |group, crew| rollout::deadline(group, crew, now)),
                Waits::Recycling(group) => self.of_group(group, |group, crew| group.recycling_deadline(crew, now)),
                Waits::Weighing(group) => self.of_group(group, |group, crew| group.weighing_deadline(crew, now)),
                Waits::Group(group) => self.of_group(group, |group, crew| group.group_deadline(crew, now)),
                Waits::Upgrader(group) => self.of_group(group, |group, crew| group.upgrader_deadline(crew, now)),
                Waits::Hook(hook) => self.crew.hook_overdue(hook),
                Waits::Shutdown => self.shutdown_deadline(),
            }
        }
    }
}

/// The group of a hook; none for one that has ended.
fn group_of_hook<'a>(hook: WorkerId, crew: &Crew, groups: &'a mut [Group]) -> Option<&'a mut Group> {
    let group = crew.hooks.get(&hook)?.group;
    groups.get_mut(group.0 as usize)
}

/// The group of a worker; none for one that has ended.
fn group_of<'a>(worker: WorkerId, crew: &Crew, groups: &'a mut [Group]) -> Option<&'a mut Group> {
    let group = crew.workers.get(&worker)?.group;
    groups.get_mut(group.0 as usize)
}
