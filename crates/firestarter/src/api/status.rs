//! What `status` answers: the core's view together with what only the shell knows. Made by the daemon, read by `cli/` and
//! by everybody who asks for `--json`. A picture of one moment: it never changes and holds no handle on anything.

use std::collections::BTreeMap;
use std::time::Duration;

use firestarter_core::event::HookKind;
use firestarter_core::ids::{Generation, Pid, Slot};
use firestarter_core::view::{self, GroupView, Phase, View, WorkerView};
use serde::{Deserialize, Serialize};

use super::logs::LogStatus;
use super::outputs::Output;
use super::reply::{Failure, Probed};
use super::rollout::Rollout;

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of the daemon's build.
    pub(crate) version: String,
    /// The process that the user started.
    pub(crate) keeper_pid: Pid,
    /// The process that decides.
    pub(crate) daemon_pid: Pid,
    /// False is the one degraded mode: exits are seen, but not how they came about, and a dead daemon stays dead.
    pub(crate) keeper_alive: bool,
    /// How often a new daemon has taken over.
    pub(crate) recoveries: u64,
    /// Since the keeper was started.
    pub(crate) uptime_ms: u64,
    /// Whether everything is being stopped.
    pub(crate) shutting_down: bool,
    /// The groups, in the order of the configuration.
    pub(crate) groups: Vec<GroupStatus>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupStatus {
    /// Its name.
    pub(crate) name: String,
    /// What it is doing.
    pub(crate) state: State,
    /// How many workers are wanted.
    pub(crate) wanted: u32,
    /// How many are ready.
    pub(crate) ready: u32,
    /// The generation that serves.
    pub(crate) generation: Generation,
    /// The generation that a rollback goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Generation>,
    /// Respawns since somebody last started the group.
    pub(crate) restarts: u64,
    /// How long it has been running; none if it is not.
    pub(crate) uptime_ms: Option<u64>,
    /// Its shared sockets, in the order of the configuration.
    pub(crate) listeners: Vec<Listener>,
    /// The files that its workers' streams go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<LogStatus>,
    /// Where what its workers write goes: standard output, then standard error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) outputs: Vec<Output>,
    /// How a worker last failed.
    pub(crate) last_failure: Option<LastFailure>,
    /// The hook that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hook: Option<Hook>,
    /// The upgrade under way.
    pub(crate) rollout: Option<Rollout>,
    /// Its workers, by slot and age.
    pub(crate) workers: Vec<Worker>,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum State {
    Stopped,
    GaveUp,
    WarmingUp,
    Waiting,
    Running,
    Upgrading,
    Restarting,
    Stopping,
}

/// A command of the configuration that runs once and ends, by its key there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Hook {
    ExecStop,
    Upgrader,
}

/// A shared socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    /// As workers find it in `LISTEN_FDNAMES`.
    pub(crate) name: String,
    /// As configured, with its prefix if it is not plain TCP.
    pub(crate) address: String,
}

/// How a worker last failed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastFailure {
    /// How.
    #[serde(flatten)]
    pub(crate) failure: Failure,
    /// How long ago.
    pub(crate) ago_ms: u64,
    /// It was one of so many in a row, after which the slot was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gave_up: Option<GaveUp>,
    /// The last lines that it wrote to its standard error, if they are to be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stderr: Vec<String>,
}

/// Failures in a row, after which a slot was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GaveUp {
    /// How many.
    pub(crate) times: u32,
    /// From the first to the last.
    pub(crate) within_ms: u64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// Its slot.
    pub(crate) slot: Slot,
    /// Its pid, once it has one.
    pub(crate) pid: Option<Pid>,
    /// Where in its life it is.
    pub(crate) state: Stage,
    /// Its generation.
    pub(crate) generation: Generation,
    /// How long it has been alive.
    pub(crate) uptime_ms: u64,
    /// More about it, if there is more to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<Condition>,
    /// What it says that it is doing, by `STATUS=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_text: Option<String>,
    /// The error number that it reports, by `ERRNO=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_errno: Option<u32>,
}

/// What a worker says of itself, or its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Condition {
    /// It says that it reloads its configuration.
    Reloading,
    /// It says that it is stopping.
    Stopping,
    /// It answered so when it was last asked whether it serves.
    Unhealthy(Probed),
}

/// Where in its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Stage {
    Spawning,
    Starting,
    Ready,
    Draining,
    Killing,
}

/// What only the shell knows.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Of this build.
    pub(crate) version: &'static str,
    /// The keeper's pid, also when it is dead.
    pub(crate) keeper: Pid,
    /// The daemon's pid.
    pub(crate) daemon: Pid,
    /// Whether the keeper lives.
    pub(crate) keeper_alive: bool,
    /// How often a new daemon has taken over.
    pub(crate) recoveries: u64,
    /// Since the keeper was started.
    pub(crate) uptime: Duration,
    /// Each group's listeners, in the order of the view; a group beyond its end has none.
    pub(crate) listeners: Vec<Vec<Listener>>,
    /// How each group's log files are, in the order of the view.
    pub(crate) logs: Vec<Vec<LogStatus>>,
    /// What the worker that failed last wrote last, of each group in the order of the view.
    pub(crate) last_words: Vec<Vec<String>>,
    /// Where what each group writes goes, likewise.
    pub(crate) outputs: Vec<Vec<Output>>,
    /// What workers say of themselves, by pid.
    pub(crate) said: BTreeMap<Pid, Said>,
}

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// What it is doing.
    pub(crate) text: Option<String>,
    /// An error number.
    pub(crate) errno: Option<u32>,
}

impl Status {
    /// The picture of this moment.
    pub(crate) fn new(view: &View, mut facts: Facts) -> Status {
        let (mut listeners, mut outputs) = (facts.listeners.into_iter(), facts.outputs.into_iter());
        let groups = view.groups.iter().map(|group| {
            let status = GroupStatus::new(group, listeners.next().unwrap_or_default());
            GroupStatus { outputs: outputs.next().unwrap_or_default(), ..status }
        });
        let mut groups: Vec<GroupStatus> = groups.collect();
        for (group, logs) in groups.iter_mut().zip(facts.logs) {
            group.logs = logs;
        }
        for (group, words) in groups.iter_mut().zip(facts.last_words) {
            if let Some(last) = &mut group.last_failure {
                last.stderr = words;
            }
        }
        for worker in groups.iter_mut().flat_map(|group| &mut group.workers) {
            let said = worker.pid.and_then(|pid| facts.said.remove(&pid)).unwrap_or_default();
            (worker.status_text, worker.status_errno) = (said.text, said.errno);
        }
        Status {
            version: facts.version.to_owned(),
            keeper_pid: facts.keeper,
            daemon_pid: facts.daemon,
            keeper_alive: facts.keeper_alive,
            recoveries: facts.recoveries,
            uptime_ms: millis(facts.uptime),
            shutting_down: view.shutting_down,
            groups,
        }
    }

    /// With this group only; none if there is no such group.
    pub(crate) fn only(mut self, group: &str) -> Option<Status> {
        self.groups.retain(|g| g.name == group);
        (!self.groups.is_empty()).then_some(self)
    }

    /// With the workers in this slot only, two in the middle of an upgrade. None if the slot is beyond those that are
    /// wanted and nobody is left there.
    pub(crate) fn only_slot(mut self, slot: Slot) -> Option<Status> {
        for group in &mut self.groups {
            group.workers.retain(|worker| worker.slot == slot);
        }
        let exists = |group: &GroupStatus| slot.0 < group.wanted || !group.workers.is_empty();
        self.groups.iter().all(exists).then_some(self)
    }
}

impl GroupStatus {
    fn new(group: &GroupView, listeners: Vec<Listener>) -> GroupStatus {
        let gave_up = group.gave_up.map(|up| GaveUp { times: up.times, within_ms: millis(up.within) });
        GroupStatus {
            name: group.name.clone(),
            state: group.phase.into(),
            wanted: group.wanted,
            ready: group.ready,
            generation: group.generation,
            before: group.before,
            restarts: group.restarts,
            uptime_ms: group.uptime.map(millis),
            listeners,
            logs: Vec::new(),
            outputs: Vec::new(),
            last_failure: group.last_failure.map(|(failure, ago)| LastFailure {
                failure: failure.into(),
                ago_ms: millis(ago),
                gave_up,
                stderr: Vec::new(),
            }),
            hook: group.hook.and_then(Hook::of),
            rollout: group.rollout.map(Rollout::from),
            workers: group.workers.iter().map(Worker::from).collect(),
        }
    }
}

impl From<&WorkerView> for Worker {
    fn from(worker: &WorkerView) -> Worker {
        Worker {
            slot: worker.slot,
            pid: worker.pid,
            state: worker.stage.into(),
            generation: worker.generation,
            uptime_ms: millis(worker.uptime),
            condition: worker.condition.map(Condition::from),
            status_text: None,
            status_errno: None,
        }
    }
}

impl From<view::Condition> for Condition {
    fn from(condition: view::Condition) -> Condition {
        match condition {
            view::Condition::Reloading => Condition::Reloading,
            view::Condition::Stopping => Condition::Stopping,
            view::Condition::Unhealthy(answer) => Condition::Unhealthy(answer.into()),
        }
    }
}

impl Hook {
    /// None for the commands that ask workers: they come and go.
    fn of(kind: HookKind) -> Option<Hook> {
        match kind {
            HookKind::Stop => Some(Hook::ExecStop),
            HookKind::Upgrader => Some(Hook::Upgrader),
            HookKind::Probe { .. } => None,
        }
    }
}

impl From<Phase> for State {
    fn from(phase: Phase) -> State {
        match phase {
            Phase::Stopped => State::Stopped,
            Phase::GaveUp => State::GaveUp,
            Phase::WarmingUp => State::WarmingUp,
            Phase::Waiting => State::Waiting,
            Phase::Running => State::Running,
            Phase::Upgrading => State::Upgrading,
            Phase::Restarting => State::Restarting,
            Phase::Stopping => State::Stopping,
        }
    }
}

impl From<view::Stage> for Stage {
    fn from(stage: view::Stage) -> Stage {
        match stage {
            view::Stage::Spawning => Stage::Spawning,
            view::Stage::Starting => Stage::Starting,
            view::Stage::Ready => Stage::Ready,
            view::Stage::Draining => Stage::Draining,
            view::Stage::Killing => Stage::Killing,
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{parse_reply, reply_line, Outcome};
    use super::*;
    use firestarter_core::command::Verb;
    use firestarter_core::event::{self, Exit};
    use firestarter_core::view::{RolloutAwaits, RolloutView};

    fn worker(slot: u32, pid: Option<Pid>, stage: view::Stage, generation: u32, seconds: u64) -> WorkerView {
        let (slot, generation, uptime) = (Slot(slot), Generation(generation), Duration::from_secs(seconds));
        WorkerView { slot, pid, generation, stage, uptime, condition: None }
    }

    /// Three groups: one in an upgrade, one waiting, one that gave up; also for the snapshots of `cli/`.
    pub(crate) fn example() -> Status {
        example_with(BTreeMap::new())
    }

    fn example_with(said: BTreeMap<Pid, Said>) -> Status {
        let web = GroupView {
            wanted: 2,
            ready: 2,
            restarts: 4,
            uptime: Some(Duration::from_secs(3666)),
            last_failure: Some((event::Failure::Exit(Exit::Code(3)), Duration::from_millis(12_400))),
            rollout: Some(RolloutView {
                generation: Generation(2),
                verb: Verb::Upgrade,
                spawned: 2,
                ready: 1,
                committed: 0,
                retired: 0,
                wanted: 2,
                at_a_time: None,
                awaits: RolloutAwaits::Ready,
            }),
            workers: vec![
                worker(0, Some(Pid(99)), view::Stage::Draining, 1, 3666),
                worker(0, Some(Pid(101)), view::Stage::Ready, 2, 3),
                worker(1, Some(Pid(100)), view::Stage::Ready, 1, 3666),
                worker(1, None, view::Stage::Spawning, 2, 0),
            ],
            ..idle("web", Phase::Upgrading)
        };
        let exec = event::SpawnError { step: event::SpawnStep::Exec, errno: 2 };
        let gone = GroupView {
            restarts: 5,
            last_failure: Some((event::Failure::Spawn(exec), Duration::from_secs(7300))),
            ..idle("mailer", Phase::Stopped)
        };
        let view = View { groups: vec![web, idle("api", Phase::Waiting), gone], shutting_down: false };
        let listener = |name: &str, address: &str| Listener { name: name.into(), address: address.into() };
        let facts = Facts {
            version: "0.1.0",
            keeper: Pid(10),
            daemon: Pid(11),
            keeper_alive: true,
            recoveries: 1,
            uptime: Duration::from_secs(4000),
            listeners: vec![
                vec![listener("http", "0.0.0.0:80"), listener("admin", "unix::/run/web.sock")],
                vec![listener("api", "127.0.0.1:4000")],
            ],
            logs: Vec::new(),
            last_words: Vec::new(),
            outputs: vec![],
            said,
        };
        Status::new(&view, facts)
    }

    fn idle(name: &str, phase: Phase) -> GroupView {
        GroupView {
            name: name.into(),
            phase,
            wanted: 1,
            ready: 0,
            generation: Generation(1),
            before: None,
            restarts: 0,
            uptime: None,
            last_failure: None,
            gave_up: None,
            hook: None,
            rollout: None,
            workers: vec![],
        }
    }

    #[test]
    fn the_wire_form_of_a_group() {
        let said = Said { text: Some("3 clients".into()), errno: Some(13) };
        let status = example_with(BTreeMap::from([(Pid(100), said)])).only("web").expect("there is one");
        let json = serde_json::to_string(&status).expect("strings for keys");
        let want = concat!(
            r#"{"version":"0.1.0","keeper_pid":10,"daemon_pid":11,"keeper_alive":true,"recoveries":1,"uptime_ms":4000000,"#,
            r#""shutting_down":false,"groups":[{"name":"web","state":"upgrading","wanted":2,"ready":2,"generation":1,"#,
            r#""restarts":4,"uptime_ms":3666000,"listeners":[{"name":"http","address":"0.0.0.0:80"},"#,
            r#"{"name":"admin","address":"unix::/run/web.sock"}],"#,
            r#""last_failure":{"kind":"exit","exit_code":3,"ago_ms":12400},"#,
            r#""rollout":{"verb":"upgrade","generation":2,"spawned":2,"ready":1,"committed":0,"retired":0,"wanted":2,"#,
            r#""awaits":"ready"},"workers":["#,
            r#"{"slot":0,"pid":99,"state":"draining","generation":1,"uptime_ms":3666000},"#,
            r#"{"slot":0,"pid":101,"state":"ready","generation":2,"uptime_ms":3000},"#,
            r#"{"slot":1,"pid":100,"state":"ready","generation":1,"uptime_ms":3666000,"#,
            r#""status_text":"3 clients","status_errno":13},"#,
            r#"{"slot":1,"pid":null,"state":"spawning","generation":2,"uptime_ms":0}]}]}"#,
        );
        assert_eq!(json, want);
    }

    #[test]
    fn status_round_trips_and_groups_without_listeners_have_none() {
        let status = example();
        assert_eq!(status.groups[2].listeners, vec![]);
        let outcome = Outcome::status(status);
        let received = parse_reply(reply_line(&7.into(), &outcome).as_bytes()).expect("a reply");
        assert_eq!(received.outcome, outcome);
    }

    #[test]
    fn only_a_group_that_is_there() {
        assert!(example().only("nix").is_none());
    }

    #[test]
    fn only_a_slot_that_is_there() {
        let web = || example().only("web").expect("there is one");
        let pids = |slot| {
            let status = web().only_slot(Slot(slot))?;
            Some(status.groups[0].workers.iter().map(|worker| worker.pid).collect::<Vec<_>>())
        };
        assert_eq!(pids(0), Some(vec![Some(Pid(99)), Some(Pid(101))]));
        assert_eq!(pids(2), None);
        let mut shrunk = web();
        shrunk.groups[0].wanted = 1;
        assert!(shrunk.only_slot(Slot(1)).is_some(), "one that drains is still there");
        let idle = example().only("api").expect("there is one");
        assert!(idle.clone().only_slot(Slot(0)).is_some(), "wanted, and nobody there");
        assert!(idle.only_slot(Slot(1)).is_none());
    }

    #[test]
    fn a_group_that_gave_up_and_a_hook_that_runs_on_the_wire() {
        let mut group = GroupView {
            name: "web".into(),
            phase: Phase::GaveUp,
            wanted: 1,
            ready: 0,
            generation: Generation(1),
            before: None,
            restarts: 3,
            uptime: None,
            last_failure: Some((event::Failure::Exit(Exit::Code(3)), Duration::from_secs(5))),
            gave_up: Some(view::GaveUp { times: 4, within: Duration::from_secs(10) }),
            hook: None,
            rollout: None,
            workers: vec![],
        };
        let wire = |group: &GroupView| serde_json::to_value(GroupStatus::new(group, vec![])).expect("strings for keys");
        let json = wire(&group);
        assert_eq!(json["state"], "gave_up");
        let failure = serde_json::json!({
            "kind": "exit", "exit_code": 3, "ago_ms": 5000, "gave_up": { "times": 4, "within_ms": 10_000 }
        });
        assert_eq!(json["last_failure"], failure);
        assert_eq!(json.get("hook"), None);
        for (phase, hook, state, name) in [
            (Phase::Stopping, HookKind::Stop, "stopping", "exec_stop"),
            (Phase::WarmingUp, HookKind::Upgrader, "warming_up", "upgrader"),
        ] {
            (group.phase, group.hook) = (phase, Some(hook));
            let json = wire(&group);
            assert_eq!((&json["state"], &json["hook"]), (&state.into(), &name.into()));
        }
    }
}
