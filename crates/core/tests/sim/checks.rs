//! The laws, watched from outside: what goes into the core, what comes out, and nothing of how it decides.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::action::{Action, Notice};
use firestarter_core::command::{AbortCause, Command, Verb};
use firestarter_core::event::{Event, Exit, HookKind};
use firestarter_core::ids::{Generation, GroupId, RequestId, Slot, WorkerId};
use firestarter_core::spec::{Ack, GroupSpec, Policy, Start, Surge};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::view::{Phase, Stage};
use firestarter_core::Supervisor;

use crate::later;
use crate::plan::Temper;

/// The simulation's clock may jump by so much beyond a deadline, a few times over.
const SLACK: Duration = Duration::from_millis(500);
use crate::replies::{self, Asked};

/// What is known of a worker from outside.
#[derive(Clone, Debug)]
pub struct Seen {
    pub group: GroupId,
    pub slot: Slot,
    pub generation: Generation,
    pub spawned: Option<Instant>,
    pub acked: bool,
    /// Got a signal or SIGKILL from the daemon, or will when it has a process.
    pub leaving: bool,
    pub ended: bool,
    /// Was killed because it gave no sign of life.
    pub silent: bool,
    /// Took the place of one that ended unasked.
    pub respawn: bool,
    /// Was its slot's candidate when the old worker was told to drain.
    pub committed: bool,
}

/// What people last asked of a group, and what they may expect.
pub struct Wish {
    pub spec: GroupSpec,
    pub bounded: bool,
    pub count: u32,
    pub most: u32,
    pub phase: Phase,
    pub last_command: Instant,
    /// When the group began to be looked after, and whether somebody has asked it to start.
    pub begun: Instant,
    pub started: bool,
    /// Failures in a row that were followed by a respawn, by slot and generation.
    pub failures: BTreeMap<(Slot, Generation), u32>,
}

/// What is known of a hook from outside.
pub struct SeenHook {
    pub group: GroupId,
    pub kind: HookKind,
    pub began: Instant,
    pub ended: Option<Exit>,
}

pub struct Checks {
    pub hooks: BTreeMap<WorkerId, SeenHook>,
    pub policy: Policy,
    /// When everything began to be stopped.
    shut_down_at: Option<Instant>,
    pub left_behind: bool,
    /// The numbers of the signals that asked to stop.
    pub stops_asked: Vec<u32>,
    /// A group has failed, and that was to be the end.
    pub failed: bool,
    pub seen: BTreeMap<WorkerId, Seen>,
    pub groups: Vec<Wish>,
    pub open: BTreeMap<RequestId, Asked>,
    requests: usize,
    watched: BTreeSet<GroupId>,
    shutting_down: bool,
    halts: u32,
}

impl Checks {
    pub fn new(specs: &[GroupSpec], tempers: &[Temper], policy: Policy) -> Checks {
        let wish = |(spec, temper): (&GroupSpec, &Temper)| Wish {
            bounded: temper.bounded(),
            count: spec.count.get(),
            most: spec.count.get(),
            phase: Phase::Stopped,
            last_command: Instant(0),
            begun: Instant(0),
            started: false,
            failures: BTreeMap::new(),
            spec: spec.clone(),
        };
        Checks {
            hooks: BTreeMap::new(),
            policy,
            shut_down_at: None,
            left_behind: false,
            stops_asked: Vec::new(),
            failed: false,
            seen: BTreeMap::new(),
            groups: specs.iter().zip(tempers).map(wish).collect(),
            open: BTreeMap::new(),
            requests: 0,
            watched: BTreeSet::new(),
            shutting_down: false,
            halts: 0,
        }
    }

    pub fn requests(&self) -> usize {
        self.requests
    }

    pub fn halts(&self) -> u32 {
        self.halts
    }

    /// Whether an event names a worker that is no more, or a group that never was: it must change nothing.
    pub fn is_stray(&self, event: &Event) -> bool {
        match event {
            Event::Spawned { worker, .. }
            | Event::SpawnFailed { worker, .. }
            | Event::Exited { worker, .. }
            | Event::Acked { worker, .. } => {
                self.seen.get(worker).is_none_or(|seen| seen.ended)
                    && self.hooks.get(worker).is_none_or(|hook| hook.ended.is_some())
            }
            Event::Looked { worker, .. } => self.seen.get(worker).is_none_or(|seen| seen.ended),
            Event::Program { .. } => false,
            Event::Connection { group } => !self.watched.contains(group),
            Event::Begin | Event::Request { .. } | Event::StopSignal { .. } | Event::Order { .. } | Event::Deadline => {
                false
            }
        }
    }

    /// One event and the actions that it led to.
    pub fn turn(&mut self, now: Instant, event: &Event, actions: &[Action], core: &Supervisor) {
        let alive = self.seen.values().filter(|seen| !seen.ended).count();
        let slots: usize = self.groups.iter().map(|wish| wish.count as usize + 1).sum();
        let bound = 12 + 4 * (alive + slots + self.open.len());
        assert!(actions.len() <= bound, "{} actions, more than {bound}", actions.len());
        self.learn(now, event, actions);
        self.aborts(actions);
        for action in actions {
            self.learn_action(now, action);
            self.hooks_and_life(now, event, action);
        }
        self.drains(now, event, actions);
        for action in actions {
            if let Action::Reply { request, reply } = action {
                let asked = self.open.remove(request).unwrap_or_else(|| panic!("an answer that nobody waits for"));
                replies::fits(&asked, reply, &self.seen, &self.groups, self.left_behind);
            }
        }
        self.in_time(now);
        self.surge(now, core);
    }

    /// Facts and requests change what may be expected.
    fn learn(&mut self, now: Instant, event: &Event, actions: &[Action]) {
        match event {
            Event::Spawned { worker, .. } => self.with(*worker, |seen| seen.spawned = seen.spawned.or(Some(now))),
            Event::Acked { worker, .. } => self.with(*worker, |seen| seen.acked = true),
            Event::Exited { worker, exit } => {
                self.with(*worker, |seen| seen.ended = true);
                self.hooks.get_mut(worker).into_iter().for_each(|hook| hook.ended = Some(*exit));
            }
            Event::SpawnFailed { worker, .. } => {
                self.with(*worker, |seen| seen.ended = true);
                self.hooks.get_mut(worker).into_iter().for_each(|hook| hook.ended = Some(Exit::Unknown));
            }
            Event::Begin if self.shutting_down => {}
            Event::Begin => self.groups.iter_mut().for_each(|wish| {
                wish.begun = now;
                wish.phase = match wish.spec.start {
                    _ if !wish.spec.autostart => Phase::Stopped,
                    Start::AtOnce => Phase::Running,
                    Start::OnConnection => Phase::Waiting,
                };
            }),
            Event::Looked { .. } | Event::Program { .. } => {}
            Event::Connection { group } if self.watched.contains(group) => {
                self.groups[group.0 as usize].phase = Phase::Running;
            }
            Event::Request { request, command } => self.ask(now, *request, *command, actions),
            Event::StopSignal { nth, .. } => {
                self.stops_asked.push(*nth);
                self.shut_down(now);
            }
            // The world gives none.
            Event::Order { .. } | Event::Connection { .. } | Event::Deadline => {}
        }
    }

    fn with(&mut self, worker: WorkerId, change: impl Fn(&mut Seen)) {
        self.seen.get_mut(&worker).into_iter().for_each(change);
    }

    fn ask(&mut self, now: Instant, request: RequestId, command: Command, actions: &[Action]) {
        self.requests += 1;
        let newest = self.seen.keys().next_back().copied();
        let asked = Asked { command, at: now, newest };
        assert!(self.open.insert(request, asked).is_none(), "the world asks twice with one id");
        let refused = replies::refused(request, actions);
        let Command::Group { group, verb, .. } = command else { return self.shut_down(now) };
        let Some(wish) = self.groups.get_mut(group.0 as usize).filter(|_| !refused) else { return };
        assert!(!self.shutting_down, "obeys while shutting down");
        wish.last_command = now;
        wish.started |= matches!(verb, Verb::Start | Verb::Restart);
        wish.failures.clear();
        match verb {
            Verb::Start | Verb::Restart => wish.phase = Phase::Running,
            Verb::Stop | Verb::Killall => wish.phase = Phase::Stopped,
            Verb::Upgrade | Verb::Signal => {}
            Verb::Inc => wish.count += 1,
            Verb::Dec => wish.count -= 1,
        }
        wish.most = wish.most.max(wish.count);
        let (from, cycles) = (wish.count, wish.spec.ack == Ack::None);
        match verb {
            Verb::Dec => self.unwanted(group, |seen| seen.slot.0 == from),
            Verb::Stop | Verb::Killall | Verb::Restart => self.unwanted(group, |_| true),
            Verb::Upgrade if cycles && self.groups[group.0 as usize].spec.upgrader.is_none() => {
                self.unwanted(group, |_| true);
            }
            Verb::Start | Verb::Upgrade | Verb::Inc | Verb::Signal => {}
        }
    }

    fn unwanted(&mut self, group: GroupId, which: impl Fn(&Seen) -> bool) {
        let ours = |seen: &&mut Seen| seen.group == group && which(seen);
        self.seen.values_mut().filter(ours).for_each(|seen| seen.leaving = true);
    }

    pub fn shut_down(&mut self, now: Instant) {
        self.shutting_down = true;
        self.shut_down_at = self.shut_down_at.or(Some(now));
        self.groups.iter_mut().for_each(|wish| wish.phase = Phase::Stopped);
    }

    fn learn_action(&mut self, now: Instant, action: &Action) {
        match action {
            Action::Spawn { worker, group, slot, generation } => {
                assert!(self.seen.keys().next_back().is_none_or(|last| last < worker), "an id is used again");
                self.may_start(now, *group);
                assert!(!self.shutting_down, "a spawn while shutting down");
                let (group, slot, generation) = (*group, *slot, *generation);
                let before = |seen: &&Seen| seen.group == group && seen.slot == slot && seen.generation == generation;
                let respawn =
                    self.seen.values().rfind(before).is_some_and(|seen| seen.silent || seen.ended && !seen.leaving);
                let (acked, leaving, ended, silent, committed) = Default::default();
                let spawned = None;
                let seen = Seen { group, slot, generation, spawned, acked, leaving, ended, silent, respawn, committed };
                self.seen.insert(*worker, seen);
            }
            Action::Kill { worker } if self.hooks.contains_key(worker) => {}
            Action::Signal { worker, .. } | Action::Kill { worker } => {
                let seen = self.seen.get_mut(worker).expect("signals a worker that never was");
                assert!(seen.spawned.is_some() && !seen.ended, "signals a worker without a process");
                seen.leaving = true;
            }
            Action::Watch { group, on: true } => assert!(self.watched.insert(*group), "watches twice"),
            Action::Watch { group, on: false } => assert!(self.watched.remove(group), "unwatches twice"),
            Action::Halt { code } => {
                let all_gone =
                    self.seen.values().all(|seen| seen.ended) && self.hooks.values().all(|h| h.ended.is_some());
                assert!(all_gone || self.left_behind && *code == 1, "halts while processes live");
                assert!(!self.failed || *code == 1, "a failure ends with exit code {code}");
                let took = now.since(self.shut_down_at.expect("halts without being stopped"));
                assert!(took <= self.policy.stop_timeout + SLACK, "the stop took {took:?}");
                self.halts += 1;
            }
            Action::RunHook { .. }
            | Action::Tell { .. }
            | Action::Look { .. }
            | Action::WatchProgram { .. }
            | Action::Reply { .. }
            | Action::Notice(_) => {}
        }
    }

    /// An abort for a worker's sake or for time signals nobody but the candidates.
    fn aborts(&mut self, actions: &[Action]) {
        for action in actions {
            let Action::Notice(Notice::RolloutAborted { group, generation, cause }) = action else { continue };
            let by_command = matches!(cause, AbortCause::Command { .. });
            for action in actions.iter().filter(|_| !by_command) {
                let (Action::Signal { worker, .. } | Action::Kill { worker }) = action else { continue };
                let Some(seen) = self.seen.get(worker) else { continue };
                let spared = seen.generation != *generation || seen.committed;
                assert!(seen.group != *group || seen.leaving || !spared, "an abort tells old worker {worker} to go");
            }
            self.unwanted(*group, |seen| seen.generation == *generation && !seen.committed);
        }
    }

    /// Old workers are told that their successors serve only when all candidates of the batch are ready.
    /// One that had no process yet is told when it gets one, which may be long after.
    fn drains(&mut self, now: Instant, event: &Event, actions: &[Action]) {
        let told = actions.iter().filter_map(|action| match action {
            Action::Signal { worker, uncaught: Some(_), .. } => Some(*worker),
            _ => None,
        });
        let told = told.filter(|id| !matches!(event, Event::Spawned { worker, .. } if worker == id));
        for old in told.collect::<Vec<_>>() {
            let Seen { group, slot, generation, .. } = self.seen[&old].clone();
            let newer =
                |seen: &Seen| seen.group == group && seen.generation > generation && !seen.ended && !seen.leaving;
            let fresh =
                |id: &WorkerId| actions.iter().any(|a| matches!(a, Action::Spawn { worker, .. } if worker == id));
            let ready: Vec<WorkerId> = self
                .seen
                .iter()
                .filter(|(id, seen)| newer(seen) && !fresh(id) && !seen.respawn)
                .map(|(id, seen)| {
                    assert!(self.is_ready(now, seen), "{old} is told to drain while {id} is not ready");
                    *id
                })
                .collect();
            let successor = ready.into_iter().rfind(|id| self.seen[id].slot == slot);
            let successor = successor.unwrap_or_else(|| panic!("{old} is told to drain and has no successor"));
            self.with(successor, |seen| seen.committed = true);
        }
    }

    fn is_ready(&self, now: Instant, seen: &Seen) -> bool {
        match (seen.spawned, self.groups[seen.group.0 as usize].spec.ack) {
            (None, _) => false,
            (Some(at), Ack::Timer(after)) => at + after <= now,
            (Some(_), Ack::Manual) => seen.acked,
            (Some(_), Ack::None) => true,
        }
    }

    /// No request to a group whose processes are bounded waits longer than the time-outs of its own group.
    fn in_time(&self, now: Instant) {
        for (request, asked) in &self.open {
            let Command::Group { group, .. } = asked.command else { continue };
            let wish = &self.groups[group.0 as usize];
            let bound =
                wish.spec.start_timeout * 2 * (wish.most + 1) + wish.spec.stop_timeout + Duration::from_secs(10);
            let bound = bound + wish.spec.upgrader.map_or(Duration::ZERO, |upgrader| upgrader.timeout * 4);
            let waits = now.since(asked.at.max(wish.last_command));
            assert!(!wish.bounded || waits <= bound, "request {request:?} waits {waits:?}, more than {bound:?}");
        }
    }

    fn surge(&self, now: Instant, core: &Supervisor) {
        for (wish, view) in self.groups.iter().zip(core.view(now).groups) {
            assert_eq!(wish.count, view.wanted, "the count of {}", view.name);
            let live = view.workers.iter().filter(|w| matches!(w.stage, Stage::Starting | Stage::Ready)).count();
            let surge = match (&view.rollout, wish.spec.surge) {
                (None, _) => 0,
                (Some(_), Surge::Whole) => wish.count,
                (Some(_), Surge::AtMost(most)) => most.get(),
            };
            assert!(live as u32 <= wish.count + surge, "{live} live workers of {}", view.name);
        }
    }

    /// Between two turns nothing is outstanding that was not asked for.
    pub fn all_performed(&self, outstanding: &[Action], watched: &BTreeSet<GroupId>) {
        assert_eq!(&self.watched, watched, "the groups watched");
        if self.halts > 0 {
            return;
        }
        let spawning = |seen: &&Seen| !seen.ended && seen.spawned.is_none();
        let spawns = outstanding.iter().filter(|action| matches!(action, Action::Spawn { .. })).count();
        assert_eq!(spawns, self.seen.values().filter(spawning).count(), "spawns outstanding");
    }

    /// Commands have ceased and the world behaves: every group is as was wished.
    pub fn converged(&self, core: &Supervisor, now: Instant) {
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        if self.shutting_down {
            return;
        }
        for (wish, view) in self.groups.iter().zip(core.view(now).groups) {
            let slots: BTreeSet<Slot> = view.workers.iter().map(|worker| worker.slot).collect();
            assert!(view.hook != Some(HookKind::Stop), "a hook that does not end: {view:?}");
            assert_eq!(slots.len(), view.workers.len(), "two workers in a slot: {view:?}");
            assert!(view.workers.iter().all(|worker| worker.stage == Stage::Ready), "not all ready: {view:?}");
            assert_eq!(view.ready as usize, view.workers.len(), "ready: {view:?}");
            later::settled(wish, &view);
        }
    }
}
