//! Replies: what came of a request, as types and as lines. The daemon makes them from the core's `Reply`; the client gets
//! the same types back. Prose is not made here: `message` is a label, and `cli/` words the fields for people.

use firestarter_core::command::Verb;
use firestarter_core::ids::{Generation, Pid, Slot};
use firestarter_core::spec::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Fault, Id};
use super::status::Status;
use super::word;

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It went well.
    Answer(Answer),
    /// It did not.
    Problem(Problem),
    /// An error that this build has no type for: a fault of the request, or a word of a newer daemon.
    Other {
        /// JSON-RPC's number.
        code: i64,
        /// The daemon's label for it.
        message: String,
        /// The machine's word, empty if there was none.
        machine: String,
    },
}

/// The `result` of a reply; which of these it is shows in its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// To an order.
    Done(Done),
    /// To `list`.
    Names(Names),
    /// To `status`.
    Status(Status),
}

/// To `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// The groups, in the order of the configuration.
    pub(crate) names: Vec<String>,
}

/// An order that was carried out: `{"done":"upgraded","group":"web",...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Of which group; none for `shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What was done; the fields are those of the core's `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum What {
    Started {
        pids: Vec<Pid>,
    },
    Stopped {
        #[serde(default, with = "word::maybe_signal")]
        signal: Option<Signal>,
        pids: Vec<Pid>,
    },
    Restarted {
        new: Vec<Pid>,
        old: Vec<Pid>,
    },
    Upgraded {
        generation: Generation,
        new: Vec<Pid>,
        old: Vec<Pid>,
    },
    Incremented {
        pid: Pid,
        count: u32,
    },
    Decremented {
        pid: Option<Pid>,
        count: u32,
    },
    Killed {
        pids: Vec<Pid>,
    },
    Signalled {
        #[serde(with = "word::signal")]
        signal: Signal,
        pids: Vec<Pid>,
    },
    ShutDown,
}

/// An order that failed or was refused: `data` of an error, `{"group":"web","code":"aborted",...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Of which group; none for `shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// What is wrong.
    #[serde(flatten)]
    pub(crate) trouble: Trouble,
}

/// What is wrong; the variants are those of the core's `Failed` and `Refusal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// A rollout was aborted; the old generation serves as before.
    Aborted {
        /// The generation that did not make it.
        generation: Generation,
        /// Why.
        #[serde(flatten)]
        cause: Cause,
    },
    /// A worker could not be started.
    NotStarted {
        /// Its slot.
        slot: Slot,
        /// What went wrong.
        #[serde(flatten)]
        failure: Failure,
    },
    /// A later command took its place.
    Superseded {
        /// The command; none if the daemon was stopped.
        #[serde(default, with = "word::verb")]
        by: Option<Verb>,
    },
    /// The upgrader did not end with exit code 0.
    Upgrader {
        /// How it went.
        #[serde(flatten)]
        failure: Failure,
    },
    /// This verb wants a signal.
    SignalMissing {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// This verb is for the whole group.
    WholeGroup {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// No worker runs in that slot.
    NoWorker {
        /// The slot.
        slot: Slot,
    },
    /// No such group.
    UnknownGroup {
        /// Those that exist.
        #[serde(default)]
        groups: Vec<String>,
    },
    /// Upgrade, inc and dec want a group that runs.
    NotRunning,
    /// `dec` does not go below 1.
    AtLeastOne,
    /// `inc` does not go above this.
    AtMost {
        /// The limit.
        limit: u32,
    },
    /// This verb takes no signal.
    NoSignal {
        /// The verb.
        #[serde(default, with = "word::verb")]
        verb: Option<Verb>,
    },
    /// The daemon is being stopped.
    ShuttingDown,
}

/// Why a rollout was aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub(crate) enum Cause {
    /// A new worker ended or could not be started.
    Worker {
        /// Its slot.
        slot: Slot,
        /// Its pid, if it got one.
        pid: Option<Pid>,
        /// How it ended.
        #[serde(flatten)]
        failure: Failure,
    },
    /// Not all new workers acked within `start_timeout`.
    Timeout {
        /// The first slot whose new worker had not.
        slot: Slot,
        /// Its pid, if it had one.
        pid: Option<Pid>,
        /// How many had not.
        unready: u32,
    },
    /// Another command ended it.
    Command {
        /// The command; none if the daemon was stopped.
        #[serde(default, with = "word::verb")]
        by: Option<Verb>,
    },
}

/// How a worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Failure {
    /// It ended with an exit code.
    Exit {
        /// The code.
        exit_code: u8,
    },
    /// It was ended by a signal.
    Signal {
        /// The signal.
        #[serde(with = "word::signal")]
        signal: Signal,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// It ended, and nobody can tell how: the keeper is dead.
    Unknown,
    /// It gave no sign of life, or, as a hook, did not end in time.
    Silent {
        /// For how long.
        after_ms: u64,
    },
    /// It never began.
    Spawn {
        /// At which step.
        step: Step,
        /// The kernel's error number.
        errno: i32,
    },
}

/// The steps of a spawn, as in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Step {
    Prepare,
    Clone,
    Directory,
    Setup,
    Exec,
    Watch,
}

/// A reply as a client gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    /// Whose reply it is.
    pub(crate) id: Id,
    /// What it says.
    pub(crate) outcome: Outcome,
    /// `result` or `error` as they came, for those who print JSON.
    pub(crate) raw: Value,
}

/// A line that is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Garbled {
    /// Not JSON, or not of the shape of a reply.
    #[error("not a reply: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither `result` nor `error`, or both.
    #[error("a reply has either a result or an error")]
    Shape,
}

/// The reply as a line with its newline.
pub(crate) fn reply_line(id: &Id, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(answer) => line(&Envelope::<_, ()> { jsonrpc: "2.0", id, body: Body::Result(answer) }),
        Outcome::Problem(problem) => error_line(id, problem.number(), problem.label(), problem),
        Outcome::Other { code, message, machine } => error_line(id, *code, message, &Machine { code: machine }),
    }
}

/// The reply to a line that is no request.
pub(crate) fn fault_line(fault: &Fault) -> String {
    error_line(&fault.id, fault.code, &fault.message, &Machine { code: fault.machine })
}

#[derive(Serialize)]
struct Envelope<'a, R, D> {
    jsonrpc: &'static str,
    id: &'a Id,
    #[serde(flatten)]
    body: Body<'a, R, D>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a, R, D> {
    Result(&'a R),
    Error { code: i64, message: &'a str, data: &'a D },
}

/// `data` where there is nothing to say but the word.
#[derive(Serialize)]
struct Machine<'a> {
    code: &'a str,
}

/// Reads one reply; its newline may be there or not. Unknown keys are passed over: they are a newer daemon's.
pub(crate) fn parse_reply(text: &[u8]) -> Result<Received, Garbled> {
    #[derive(Deserialize)]
    struct Reply {
        id: Id,
        result: Option<Value>,
        error: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Value,
    }
    let reply: Reply = serde_json::from_slice(text)?;
    let (outcome, raw) = match (reply.result, reply.error) {
        (Some(raw), None) => (Outcome::Answer(Answer::deserialize(&raw)?), raw),
        (None, Some(raw)) => {
            let Error { code, message, data } = Error::deserialize(&raw)?;
            let outcome = match Problem::deserialize(&data) {
                Ok(problem) => Outcome::Problem(problem),
                Err(_) => {
                    let machine = data.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
                    Outcome::Other { code, message, machine }
                }
            };
            (outcome, raw)
        }
        (Some(_), Some(_)) | (None, None) => return Err(Garbled::Shape),
    };
    Ok(Received { id: reply.id, outcome, raw })
}

fn error_line<D: Serialize>(id: &Id, code: i64, message: &str, data: &D) -> String {
    line(&Envelope::<(), D> { jsonrpc: "2.0", id, body: Body::Error { code, message, data } })
}

fn line(message: &impl Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("a message has nothing but strings for keys");
    line.push('\n');
    line
}

impl Outcome {
    /// The answer to `list`.
    pub(crate) fn names(names: Vec<String>) -> Outcome {
        Outcome::Answer(Answer::Names(Names { names }))
    }

    /// The answer to `status`.
    pub(crate) fn status(status: Status) -> Outcome {
        Outcome::Answer(Answer::Status(status))
    }

    /// A request names a group that is not there; `groups` are those that are.
    pub(crate) fn unknown_group(group: &str, groups: Vec<String>) -> Outcome {
        Outcome::problem(Some(group), Trouble::UnknownGroup { groups })
    }

    pub(super) fn problem(group: Option<&str>, trouble: Trouble) -> Outcome {
        Outcome::Problem(Problem { group: group.map(str::to_owned), trouble })
    }
}

impl Problem {
    /// JSON-RPC's number for it, from the range left to the server.
    fn number(&self) -> i64 {
        match self.trouble {
            Trouble::Aborted { .. } => -32000,
            Trouble::NotStarted { .. } => -32001,
            Trouble::Superseded { .. } => -32002,
            Trouble::UnknownGroup { .. } => -32003,
            Trouble::NotRunning => -32004,
            Trouble::AtLeastOne => -32005,
            Trouble::AtMost { .. } => -32006,
            Trouble::NoSignal { .. } => -32007,
            Trouble::ShuttingDown => -32008,
            Trouble::Upgrader { .. } => -32009,
            Trouble::SignalMissing { .. } => -32010,
            Trouble::WholeGroup { .. } => -32011,
            Trouble::NoWorker { .. } => -32012,
        }
    }

    /// JSON-RPC wants a sentence; this one says no more than the code.
    fn label(&self) -> &'static str {
        match self.trouble {
            Trouble::Aborted { .. } => "the upgrade was aborted",
            Trouble::NotStarted { .. } => "a worker could not be started",
            Trouble::Superseded { .. } => "a later command took its place",
            Trouble::UnknownGroup { .. } => "no such group",
            Trouble::NotRunning => "the group is not running",
            Trouble::AtLeastOne => "a group keeps at least one worker",
            Trouble::AtMost { .. } => "the group has as many workers as it may",
            Trouble::NoSignal { .. } => "this command takes no signal",
            Trouble::ShuttingDown => "the daemon is being stopped",
            Trouble::Upgrader { .. } => "the upgrader did not end with exit code 0",
            Trouble::SignalMissing { .. } => "this command wants a signal",
            Trouble::WholeGroup { .. } => "this command is for a whole group",
            Trouble::NoWorker { .. } => "no worker runs in that slot",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use firestarter_core::command::{self, AbortCause, Failed, Refusal, Reply};
    use firestarter_core::event::{self, Exit, SpawnError, SpawnStep};
    use proptest::prelude::*;

    fn sent(reply: &Reply) -> String {
        reply_line(&1.into(), &Outcome::from_reply(Some("web"), reply))
    }

    #[test]
    fn an_upgrade_on_the_wire() {
        let done =
            command::Done::Upgraded { generation: Generation(2), new: vec![Pid(101), Pid(102)], old: vec![Pid(99)] };
        let line = sent(&Reply::Done(done));
        let want = r#"{"jsonrpc":"2.0","id":1,"result":{"group":"web","done":"upgraded","generation":2,"new":[101,102],"old":[99]}}"#;
        assert_eq!(line.trim_end(), want);
    }

    #[test]
    fn an_abort_on_the_wire() {
        let failure = event::Failure::Exit(Exit::Code(3));
        let cause = AbortCause::Worker { slot: Slot(2), pid: Some(Pid(812)), failure };
        let line = sent(&Reply::Failed(Failed::Aborted { generation: Generation(2), cause }));
        let want = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the upgrade was aborted","data":{"group":"web","code":"aborted","generation":2,"cause":"worker","slot":2,"pid":812,"kind":"exit","exit_code":3}}}"#;
        assert_eq!(line.trim_end(), want);
    }

    #[test]
    fn a_spawn_failure_on_the_wire() {
        let failure = event::Failure::Spawn(SpawnError { step: SpawnStep::Exec, errno: 2 });
        let line = sent(&Reply::Failed(Failed::NotStarted { slot: Slot(0), failure }));
        let want = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"a worker could not be started","data":{"group":"web","code":"not_started","slot":0,"kind":"spawn","step":"exec","errno":2}}}"#;
        assert_eq!(line.trim_end(), want);
    }

    #[test]
    fn refusals_on_the_wire() {
        let verb = command::Verb::Inc;
        let cases = [
            (-32003, Refusal::UnknownGroup, r#"{"group":"web","code":"unknown_group","groups":[]}"#),
            (-32004, Refusal::NotRunning, r#"{"group":"web","code":"not_running"}"#),
            (-32005, Refusal::AtLeastOne, r#"{"group":"web","code":"at_least_one"}"#),
            (-32006, Refusal::AtMost(9), r#"{"group":"web","code":"at_most","limit":9}"#),
            (-32007, Refusal::NoSignal(verb), r#"{"group":"web","code":"no_signal","verb":"inc"}"#),
            (-32008, Refusal::ShuttingDown, r#"{"group":"web","code":"shutting_down"}"#),
        ];
        for (number, refusal, data) in cases {
            let line = sent(&Reply::Refused(refusal));
            assert!(line.contains(&format!(r#""code":{number},"#)), "{line}");
            assert!(line.contains(&format!(r#""data":{data}}}}}"#)), "{line}");
        }
        let line = sent(&Reply::Failed(Failed::Superseded { by: Some(verb) }));
        assert!(line.contains(r#""code":-32002,"#), "{line}");
        assert!(line.contains(r#""data":{"group":"web","code":"superseded","by":"inc"}"#), "{line}");
    }

    #[test]
    fn every_failure_of_a_worker_on_the_wire() {
        let spawn = |step| event::Failure::Spawn(SpawnError { step, errno: 1 });
        for (failure, want) in [
            (event::Failure::Exit(Exit::Code(3)), r#"{"kind":"exit","exit_code":3}"#),
            (
                event::Failure::Exit(Exit::Signal(Signal::KILL, true)),
                r#"{"kind":"signal","signal":"SIGKILL","core_dumped":true}"#,
            ),
            (event::Failure::Exit(Exit::Unknown), r#"{"kind":"unknown"}"#),
            (spawn(SpawnStep::Prepare), r#"{"kind":"spawn","step":"prepare","errno":1}"#),
            (spawn(SpawnStep::Clone), r#"{"kind":"spawn","step":"clone","errno":1}"#),
            (spawn(SpawnStep::Directory), r#"{"kind":"spawn","step":"directory","errno":1}"#),
            (spawn(SpawnStep::Setup), r#"{"kind":"spawn","step":"setup","errno":1}"#),
            (spawn(SpawnStep::Exec), r#"{"kind":"spawn","step":"exec","errno":1}"#),
            (spawn(SpawnStep::Watch), r#"{"kind":"spawn","step":"watch","errno":1}"#),
        ] {
            let wire = serde_json::to_string(&Failure::from(failure)).expect("strings for keys");
            assert_eq!(wire, want);
        }
    }

    #[test]
    fn a_signal_without_a_name_is_a_number() {
        let signal = Signal::from_number(40).expect("40 is a signal");
        let line = sent(&Reply::Done(command::Done::Stopped { signal: Some(signal), pids: vec![] }));
        assert!(line.contains(r#""signal":40"#), "{line}");
        let line = sent(&Reply::Done(command::Done::Stopped { signal: Some(Signal::TERM), pids: vec![] }));
        assert!(line.contains(r#""signal":"SIGTERM""#), "{line}");
    }

    #[test]
    fn words_of_a_newer_daemon_are_kept() {
        let line = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32050,"message":"m","data":{"code":"frozen","x":1}}}"#;
        let received = parse_reply(line).expect("a reply");
        let want = Outcome::Other { code: -32050, message: "m".into(), machine: "frozen".into() };
        assert_eq!(received.outcome, want);
        let line = br#"{"jsonrpc":"2.0","id":1,"result":{"done":"killed","group":"w","pids":[1],"new_key":{}}}"#;
        let received = parse_reply(line).expect("a reply");
        let want = Done { group: Some("w".into()), what: What::Killed { pids: vec![Pid(1)] } };
        assert_eq!(received.outcome, Outcome::Answer(Answer::Done(want)));
        assert!(received.raw.get("new_key").is_some());
    }

    #[test]
    fn what_is_no_reply_is_said_to_be_none() {
        for line in ["", "x", "[]", r#"{"id":1}"#, r#"{"id":1,"result":{"done":"sung"}}"#, r#"{"result":{"names":[]}}"#]
        {
            assert!(parse_reply(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse_reply(br#"{"id":1,"result":{"names":[]},"error":{"code":1}}"#).is_err());
    }

    /// Every reply that the core can make, with small numbers; also for the snapshots of `cli/`.
    pub(crate) fn any_reply() -> impl Strategy<Value = Reply> {
        fn pid() -> impl Strategy<Value = Pid> {
            any::<u32>().prop_map(Pid)
        }
        fn pids() -> impl Strategy<Value = Vec<Pid>> {
            prop::collection::vec(pid(), 0..4)
        }
        fn signal() -> impl Strategy<Value = Signal> {
            (1_u8..=64).prop_filter_map("1 to 64", Signal::from_number)
        }
        fn by() -> impl Strategy<Value = Option<command::Verb>> {
            prop::option::of(prop::sample::select(word::VERBS.to_vec()))
        }
        fn failure() -> impl Strategy<Value = event::Failure> {
            use SpawnStep::{Clone, Directory, Exec, Prepare, Setup, Watch};
            let step = prop::sample::select(vec![Prepare, Clone, Directory, Setup, Exec, Watch]);
            prop_oneof![
                any::<u8>().prop_map(|code| event::Failure::Exit(Exit::Code(code))),
                (signal(), any::<bool>()).prop_map(|(signal, core)| event::Failure::Exit(Exit::Signal(signal, core))),
                Just(event::Failure::Exit(Exit::Unknown)),
                (step, any::<i32>()).prop_map(|(step, errno)| event::Failure::Spawn(SpawnError { step, errno })),
            ]
        }
        let slot = || any::<u32>().prop_map(Slot);
        let generation = || any::<u32>().prop_map(Generation);
        let done = prop_oneof![
            pids().prop_map(|pids| command::Done::Started { pids }),
            (prop::option::of(signal()), pids()).prop_map(|(signal, pids)| command::Done::Stopped { signal, pids }),
            (signal(), pids()).prop_map(|(signal, pids)| command::Done::Signalled { signal, pids }),
            (pids(), pids()).prop_map(|(new, old)| command::Done::Restarted { new, old }),
            (generation(), pids(), pids()).prop_map(|(generation, new, old)| command::Done::Upgraded {
                generation,
                new,
                old
            }),
            (pid(), any::<u32>()).prop_map(|(pid, count)| command::Done::Incremented { pid, count }),
            (prop::option::of(pid()), any::<u32>()).prop_map(|(pid, count)| command::Done::Decremented { pid, count }),
            pids().prop_map(|pids| command::Done::Killed { pids }),
            Just(command::Done::ShutDown),
        ];
        let cause = prop_oneof![
            (slot(), prop::option::of(pid()), failure()).prop_map(|(slot, pid, failure)| AbortCause::Worker {
                slot,
                pid,
                failure
            }),
            (slot(), prop::option::of(pid()), any::<u32>()).prop_map(|(slot, pid, unready)| AbortCause::Timeout {
                slot,
                pid,
                unready
            }),
            by().prop_map(|by| AbortCause::Command { by }),
        ];
        let failed = prop_oneof![
            (slot(), failure()).prop_map(|(slot, failure)| Failed::NotStarted { slot, failure }),
            (generation(), cause).prop_map(|(generation, cause)| Failed::Aborted { generation, cause }),
            by().prop_map(|by| Failed::Superseded { by }),
        ];
        let refused = prop_oneof![
            Just(Refusal::UnknownGroup),
            Just(Refusal::NotRunning),
            Just(Refusal::AtLeastOne),
            any::<u32>().prop_map(Refusal::AtMost),
            prop::sample::select(word::VERBS.to_vec()).prop_map(Refusal::NoSignal),
            Just(Refusal::ShuttingDown),
        ];
        prop_oneof![done.prop_map(Reply::Done), failed.prop_map(Reply::Failed), refused.prop_map(Reply::Refused)]
    }

    proptest! {
        #[test]
        fn replies_round_trip(reply in any_reply(), group in prop::option::of(any::<String>()), id in any::<u64>()) {
            let outcome = Outcome::from_reply(group.as_deref(), &reply);
            let line = reply_line(&id.into(), &outcome);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            let received = parse_reply(line.as_bytes()).expect("what we write we read");
            prop_assert_eq!(received.id, Id::from(id));
            prop_assert_eq!(received.outcome, outcome);
        }

        #[test]
        fn any_bytes_are_a_reply_or_garbled(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_reply(&line);
        }
    }
}
