//! Small spaces, completely: one group of one or two slots, every sequence of up to so many inputs out of a small
//! alphabet. States are told apart by the bytes of their snapshot; each is reached once and gone on from.
//!
//! At each state: the invariants hold, a replayed core is the same, every reply answers a request that is open. From
//! each state two ways lead to rest, and on both every request gets its reply: the world behaves, or everything is shut
//! down.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, unreachable_pub)]

mod common;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;

use firestarter_core::action::Action;
use firestarter_core::command::{Command, Verb};
use firestarter_core::event::{Answer, Event, Exit, Said, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, RequestId, WorkerId};
use firestarter_core::journal::{read_snapshot, write_snapshot};
use firestarter_core::spec::{
    Ack, Backoff, GroupSpec, Policy, Probe, ProbeBy, Restart, Share, Signal, Start, Surge, Upgrader,
};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::view::{Phase, Stage};
use firestarter_core::Supervisor;

const GROUP: GroupId = GroupId(0);

/// A state of the core, and what its surroundings know: the time and the requests without a reply.
#[derive(Clone)]
struct Node {
    core: Supervisor,
    /// The group wants to know more of its workers than that they run.
    cares: bool,
    now: Instant,
    open: BTreeSet<u32>,
}

impl Node {
    fn start(spec: GroupSpec) -> Node {
        let now = Instant(1_000_000_000);
        let cares = spec.probe.is_some() || spec.watchdog.is_some() || spec.max_memory.is_some();
        let cares = cares || spec.surge == Surge::Auto;
        let core = Supervisor::new(vec![spec], Policy::default(), 1, now);
        let mut node = Node { core, cares, now, open: BTreeSet::new() };
        node.feed(Event::Begin);
        node
    }

    fn key(&self) -> [u64; 2] {
        let (bytes, _) = write_snapshot(&self.core);
        [0u8, 1].map(|salt| {
            let mut hasher = DefaultHasher::new();
            (salt, &bytes, self.now, &self.open).hash(&mut hasher);
            hasher.finish()
        })
    }

    fn feed(&mut self, event: Event) {
        if let Event::Deadline = event {
            self.now = self.core.next_deadline().unwrap_or(self.now).max(self.now);
        }
        self.core.handle(self.now, event);
        let mut actions = 0;
        while let Some(action) = self.core.poll_action() {
            actions += 1;
            if let Action::Reply { request, .. } = action {
                assert!(self.open.remove(&request.seq), "a second reply to {request:?}");
            }
        }
        assert!(actions <= 40, "{actions} actions");
        common::check_invariants(&self.core);
    }

    fn ask(&mut self, command: Command) {
        let seq = (1..).find(|seq| !self.open.contains(seq)).unwrap();
        self.open.insert(seq);
        self.feed(Event::Request { request: RequestId { client: 1, seq }, command });
    }

    /// Those of hooks too.
    fn processes(&self) -> Vec<WorkerId> {
        self.core.workers().chain(self.core.hooks()).map(|(id, _)| id).collect()
    }

    fn is_hook(&self, id: WorkerId) -> bool {
        self.core.hooks().any(|(hook, _)| hook == id)
    }

    fn inputs(&self) -> Vec<Input> {
        let verbs = Verb::ALL.into_iter().filter(|verb| *verb != Verb::Signal);
        let commands = verbs.map(|verb| Input::Ask(Command::Group { group: GROUP, verb, signal: None, slot: None }));
        let facts = self.processes().into_iter().flat_map(|worker| {
            let error = SpawnError { step: SpawnStep::Exec, errno: 2 };
            let asked = [
                Event::Probed { worker, answer: Answer::Good },
                Event::Probed { worker, answer: Answer::Late },
                Event::Heavy { worker, bytes: 2000 },
                Event::Notified { worker, said: Said::Unwell },
                Event::Notified { worker, said: Said::Extend(Duration::from_secs(4)) },
            ];
            let lives = [
                Event::Spawned { worker, pid: Pid(worker.ordinal() as u32) },
                Event::SpawnFailed { worker, error },
                Event::Acked { worker, signal: None },
                Event::Exited { worker, exit: Exit::Code(1) },
                Event::Exited { worker, exit: Exit::Code(0) },
            ];
            // What means nothing to this group leads to no other state, and is left out to save the time.
            let cared_for = if self.cares { &asked[..] } else { &[] };
            lives.into_iter().chain(cared_for.to_vec())
        });
        let measured = [0, 1].map(|fits| Event::Measured { group: GROUP, fits });
        let measured = measured.into_iter().filter(|_| self.cares);
        let deadline = self.core.next_deadline().map(|_| Event::Deadline);
        let connection = Event::Connection { group: GROUP };
        let facts = facts.chain(deadline).chain(measured).chain([connection]).map(Input::Fact);
        commands.chain(facts).collect()
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Ask(command) => self.ask(command),
            Input::Fact(event) => self.feed(event),
        }
    }

    /// The world behaves: everything that is spawned runs and acks, everything that is told to go goes.
    fn settle(&mut self) {
        for _ in 0..200 {
            let Some(event) = self.next_calm() else { break };
            self.feed(event);
        }
    }

    fn calm(mut self, spec: &GroupSpec) {
        self.settle();
        assert!(self.next_calm().is_none(), "does not come to rest");
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        let view = &self.core.view(self.now).groups[0];
        match view.phase {
            Phase::Running if spec.restart == Restart::Always && spec.give_up.is_none() => {
                assert_eq!(view.ready, view.wanted)
            }
            Phase::Running => assert!(view.ready <= view.wanted && view.ready > 0),
            Phase::Stopped | Phase::GaveUp => assert!(view.workers.is_empty()),
            Phase::Waiting => assert!(view.workers.is_empty() && spec.start == Start::OnConnection),
            Phase::WarmingUp | Phase::Upgrading | Phase::Restarting | Phase::Stopping => {
                panic!("does not settle: {view:?}")
            }
        }
    }

    /// What is asked of the shell, answered well.
    fn answer(&self) -> Option<Event> {
        self.core.outstanding().iter().find_map(|action| match action {
            Action::Measure { group } => Some(Event::Measured { group: *group, fits: 9 }),
            Action::Probe { worker } => Some(Event::Probed { worker: *worker, answer: Answer::Good }),
            _ => None,
        })
    }

    fn next_calm(&self) -> Option<Event> {
        let view = &self.core.view(self.now).groups[0];
        if let Some(event) = self.answer() {
            return Some(event);
        }
        for worker in self.processes() {
            let mut only = self.clone();
            let pid = Pid(worker.ordinal() as u32);
            only.core.handle(self.now, Event::Spawned { worker, pid });
            if only.core != self.core {
                return Some(Event::Spawned { worker, pid });
            }
            if self.is_hook(worker) {
                return Some(Event::Exited { worker, exit: Exit::Code(0) });
            }
            let stage = view.workers.iter().find(|w| w.pid == Some(pid)).map(|w| w.stage);
            match stage {
                Some(Stage::Draining | Stage::Killing) => return Some(Event::Exited { worker, exit: Exit::Code(0) }),
                Some(Stage::Starting) if self.core.next_deadline().is_none() || self.acks(worker) => {
                    return Some(Event::Acked { worker, signal: None });
                }
                Some(Stage::Starting | Stage::Ready | Stage::Spawning) | None => {}
            }
        }
        // What comes round every half a minute as long as the group runs is nothing to wait for.
        let soon = |at: &Instant| at.since(self.now) < Duration::from_secs(20);
        self.core.next_deadline().filter(soon).map(|_| Event::Deadline)
    }

    fn acks(&self, worker: WorkerId) -> bool {
        let mut acked = self.clone();
        acked.core.handle(self.now, Event::Acked { worker, signal: None });
        acked.core != self.core
    }

    /// Everything is shut down: processes obey, spawns are answered.
    fn shut_down(mut self) {
        self.ask(Command::Shutdown);
        for worker in self.processes() {
            self.feed(Event::Spawned { worker, pid: Pid(worker.ordinal() as u32) });
            self.feed(Event::Exited { worker, exit: Exit::Code(0) });
        }
        assert!(self.processes().is_empty(), "processes are left or were born");
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        assert_eq!(self.core.next_deadline(), None, "a deadline is left");
        let left = self.core.outstanding().into_iter().filter(|action| !matches!(action, Action::Discard { .. }));
        assert_eq!(left.collect::<Vec<_>>(), [Action::Halt { code: 0 }]);
    }
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Ask(Command),
    Fact(Event),
}

/// Visits every state within so many inputs of the first one, and of the group all ready; returns how many there are.
fn explore(spec: &GroupSpec, depth: usize) -> usize {
    let mut seen = HashSet::new();
    let begun = Node::start(spec.clone());
    let mut running = begun.clone();
    running.ask(Command::Group { group: GROUP, verb: Verb::Start, signal: None, slot: None });
    running.settle();
    let mut frontier = vec![(begun, Vec::new()), (running, Vec::new())];
    seen.extend(frontier.iter().map(|(node, _)| node.key()));
    for level in 0..=depth {
        let mut next = Vec::new();
        for (node, path) in frontier {
            visit(&node, &path, spec);
            if level == depth {
                continue;
            }
            for input in node.inputs() {
                let mut path: Vec<Input> = path.clone();
                path.push(input);
                let mut child = node.clone();
                guard(&path, spec, || child.take(input));
                if seen.insert(child.key()) {
                    next.push((child, path));
                }
            }
        }
        frontier = next;
    }
    seen.len()
}

fn visit(node: &Node, path: &[Input], spec: &GroupSpec) {
    guard(path, spec, || {
        let recovered = read_snapshot(&write_snapshot(&node.core).0).unwrap();
        assert_eq!(recovered, node.core, "the replayed state is another one");
        node.clone().calm(spec);
        node.clone().shut_down();
    });
}

/// Says on the way out of a panic which inputs led to it.
fn guard(path: &[Input], spec: &GroupSpec, step: impl FnOnce()) {
    struct Tell<'a>(&'a [Input], &'a GroupSpec);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("{:?}", self.1);
                self.0.iter().for_each(|input| println!("  {input:?}"));
            }
        }
    }
    let _tell = Tell(path, spec);
    step();
}

fn specs() -> Vec<GroupSpec> {
    let mut specs = Vec::new();
    let one = NonZeroU32::MIN;
    for count in [1, 2] {
        for ack in [Ack::Manual, Ack::Timer(Duration::from_secs(1)), Ack::None] {
            for surge in [Surge::Fixed(Share::Percent(100)), Surge::Fixed(Share::Count(1))] {
                for (restart, start) in [(Restart::Always, Start::AtOnce), (Restart::OnFailure, Start::OnConnection)] {
                    specs.push(GroupSpec {
                        count: NonZeroU32::new(count).unwrap(),
                        restart,
                        backoff: Backoff { max: Duration::from_secs(1), reset: Duration::from_secs(1) },
                        start,
                        ack,
                        start_timeout: Duration::from_secs(3),
                        stop_signal: Signal::TERM,
                        stop_timeout: Duration::from_secs(2),
                        ack_signal: Signal::QUIT,
                        drain_timeout: Duration::from_secs(5),
                        surge,
                        ..GroupSpec::new("web")
                    });
                }
            }
        }
    }
    let few = GroupSpec {
        restart: Restart::Always,
        backoff: Backoff { max: Duration::from_secs(1), reset: Duration::from_secs(1) },
        ack: Ack::Manual,
        start_timeout: Duration::from_secs(3),
        stop_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(5),
        surge: Surge::Fixed(Share::Percent(100)),
        ..GroupSpec::new("web")
    };
    let upgrader = Some(Upgrader { every: None, timeout: Duration::from_secs(4) });
    specs.push(GroupSpec { stop_hook: true, ..few.clone() });
    specs.push(GroupSpec { stop_hook: true, ack: Ack::None, upgrader, ..few.clone() });
    specs.push(GroupSpec { upgrader, ..few.clone() });
    specs.push(GroupSpec { give_up: NonZeroU32::new(2), warmup: Duration::from_secs(1), ..few.clone() });
    specs.push(GroupSpec { give_up: Some(one), autostart: false, start: Start::OnConnection, ..few.clone() });
    let probe = Probe {
        by: ProbeBy::Connection,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy_after: one,
        unhealthy_after: one,
        liveness: false,
    };
    let second = Duration::from_secs(1);
    let two = NonZeroU32::new(2).unwrap();
    let in_steps = GroupSpec { max_unavailable: Share::Count(1), surge: Surge::Fixed(Share::Count(0)), ..few.clone() };
    specs.push(GroupSpec { count: two, ..in_steps.clone() });
    specs.push(GroupSpec { ack: Ack::None, stop_hook: true, ..in_steps });
    specs.push(GroupSpec { surge: Surge::Auto, soak: second, kill_old_delay: second, ..few.clone() });
    specs.push(GroupSpec { ack: Ack::Probe, probe: Some(probe), soak: second, ..few.clone() });
    specs.push(GroupSpec { max_memory: Some(1000), fd_store: true, ..few });
    specs
}

fn every_other(specs: &[GroupSpec], from: usize) -> Vec<&GroupSpec> {
    specs.iter().skip(from).step_by(2).collect()
}

/// `DEPTH=5 cargo test -p firestarter-core --test exhaustive` goes one further, for a minute or two.
#[test]
fn every_short_sequence_of_inputs() {
    let depth = std::env::var("DEPTH").map_or(4, |text| text.parse().unwrap());
    let specs = specs();
    let states: usize = std::thread::scope(|scope| {
        let further = |spec: &GroupSpec| depth + usize::from(spec.count.get() == 1);
        let count = move |specs: &[&GroupSpec]| specs.iter().map(|spec| explore(spec, further(spec))).sum::<usize>();
        let (even, odd) = (every_other(&specs, 0), every_other(&specs, 1));
        let first = scope.spawn(move || count(&even));
        count(&odd) + first.join().unwrap()
    });
    println!("{states} states of {} groups within {depth} inputs, with one slot {}", specs.len(), depth + 1);
    assert!(depth < 4 || states > 500_000, "only {states} states");
}
