//! All groups: routes each event to its group, starts and stops the whole, and answers what the shell asks.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::command::{Command, Done, Refusal, Reply};
use crate::event::Event;
use crate::group::{reconcile, rollout, Group, Intent};
use crate::ids::{GroupId, RequestId, WorkerId};
use crate::spec::{GroupSpec, Signal};
use crate::time::Instant;
use crate::view::View;
use crate::worker::{Crew, State, Waits};

/// The whole deciding state. Equal states behave equally: it holds no clock, no randomness of its own, no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    pub(crate) groups: Vec<Group>,
    pub(crate) crew: Crew,
    shutdown: Option<Shutdown>,
}

/// Everything is being stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shutdown {
    requests: Vec<RequestId>,
    halted: bool,
}

impl Supervisor {
    /// A supervisor of these groups, none of them started. `seed` feeds the jitter of respawn delays.
    pub fn new(specs: Vec<GroupSpec>, seed: u64, now: Instant) -> Supervisor {
        let groups = (0..).zip(specs).map(|(index, spec)| Group::new(GroupId(index), spec, now)).collect();
        Supervisor { groups, crew: Crew::new(seed), shutdown: None }
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
                }
            }
            Event::SpawnFailed { worker, error } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.spawn_failed(worker, error, crew, now);
                }
            }
            Event::Exited { worker, exit } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.exited(worker, exit, crew, now);
                }
            }
            Event::Acked { worker, signal } => {
                if let Some(group) = group_of(worker, crew, &mut self.groups) {
                    group.acked(worker, signal, crew, now);
                }
            }
            Event::Connection { group } => {
                if let Some(group) = self.groups.get_mut(group.0 as usize) {
                    group.connection(crew, now);
                }
            }
            Event::Request { request, command } => self.obey(request, command, now),
            Event::StopSignal { signal } => self.shut_down(Some(signal), now),
            Event::Deadline => self.deadlines(now),
        }
        self.halt_if_all_gone();
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

    /// What was asked of the shell and has no answer yet. A new daemon performs these again after a replay; the shell
    /// knows from its records which have been done: of signals only KILL is ever repeated.
    pub fn outstanding(&self) -> Vec<Action> {
        let of_workers = self.crew.workers.iter().filter_map(|(&id, worker)| match worker.state {
            State::Spawning { .. } => {
                let (group, slot, generation) = (worker.group, worker.slot, worker.generation);
                Some(Action::Spawn { worker: id, group, slot, generation })
            }
            State::Draining { farewell, .. } => {
                Some(Action::Signal { worker: id, signal: farewell.signal, uncaught: farewell.uncaught })
            }
            State::Killing => Some(Action::Kill { worker: id }),
            State::Starting { .. } | State::Ready => None,
        });
        let watching = |group: &&Group| group.intent == (Intent::Waiting { watch_at: None });
        let of_groups = self.groups.iter().filter(watching).map(|g| Action::Watch { group: g.id, on: true });
        let halt = self.shutdown.as_ref().is_some_and(|s| s.halted).then_some(Action::Halt);
        of_workers.chain(of_groups).chain(halt).collect()
    }

    /// The workers that have a process or are about to get one.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, GroupId)> + '_ {
        self.crew.workers.iter().map(|(id, worker)| (*id, worker.group))
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
                self.shut_down(None, now);
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.requests.push(request);
                }
            }
            Command::Group { .. } if self.shutdown.is_some() => self.crew.act(refuse(Refusal::ShuttingDown)),
            Command::Group { group, verb, signal } => match self.groups.get_mut(group.0 as usize) {
                Some(group) => group.obey(request, verb, signal, &mut self.crew, now),
                None => self.crew.act(refuse(Refusal::UnknownGroup)),
            },
        }
    }

    fn shut_down(&mut self, signal: Option<Signal>, now: Instant) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(Shutdown { requests: Vec::new(), halted: false });
        let workers = self.crew.workers.len() as u32;
        self.crew.act(Action::Notice(Notice::ShuttingDown { signal, workers }));
        for group in &mut self.groups {
            let farewell = reconcile::stop_farewell(group, None);
            group.stop(None, farewell, &mut self.crew, now);
        }
    }

    fn halt_if_all_gone(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if !self.crew.workers.is_empty() {
            return;
        }
        for request in core::mem::take(&mut shutdown.requests) {
            self.crew.act(Action::Reply { request, reply: Reply::Done(Done::ShutDown) });
        }
        if !core::mem::replace(&mut shutdown.halted, true) {
            self.crew.act(Action::Halt);
        }
    }

    fn deadlines(&mut self, now: Instant) {
        while let Some(who) = self.crew.take_due(now) {
            let crew = &mut self.crew;
            match who {
                Waits::Worker(worker) => {
                    if let Some(group) = group_of(worker, crew, &mut self.groups) {
                        group.worker_deadline(worker, crew, now);
                    }
                }
                Waits::Slot(group, slot) => {
                    if let Some(group) = self.groups.get_mut(group.0 as usize) {
                        group.slot_deadline(slot, crew, now);
                    }
                }
                Waits::Rollout(group) => {
                    if let Some(group) = self.groups.get_mut(group.0 as usize) {
                        rollout::timed_out(group, crew, now);
                    }
                }
                Waits::Group(group) => {
                    if let Some(group) = self.groups.get_mut(group.0 as usize) {
                        group.watch_deadline(crew, now);
                    }
                }
            }
        }
    }
}

/// The group of a worker; none for one that has ended.
fn group_of<'a>(worker: WorkerId, crew: &Crew, groups: &'a mut [Group]) -> Option<&'a mut Group> {
    let group = crew.workers.get(&worker)?.group;
    groups.get_mut(group.0 as usize)
}
