//! Replies as lines: made by the daemon (`reply_line`, `fault_line`), read by clients (`parse_reply`). The types are
//! `reply.rs`'s; what stands here is JSON-RPC's envelope around them. It never decides what is answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::{Answer, Outcome, Problem};
use super::request::{Fault, Id};
use super::rollout::Progress;

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

/// How far a rollout is, as a line with its newline: a notification, which has no id.
pub(crate) fn progress_line(progress: &Progress) -> String {
    line(&Notification { jsonrpc: "2.0", method: PROGRESS, params: progress })
}

/// Reads such a line; none if it is a reply, or garbled.
pub(crate) fn parse_progress(text: &[u8]) -> Option<Progress> {
    #[derive(Deserialize)]
    struct Line {
        method: String,
        params: Progress,
    }
    let line: Line = serde_json::from_slice(text).ok()?;
    (line.method == PROGRESS).then_some(line.params)
}

const PROGRESS: &str = "progress";

#[derive(Serialize)]
struct Notification<'a> {
    jsonrpc: &'static str,
    method: &'static str,
    params: &'a Progress,
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

#[cfg(test)]
pub(crate) mod tests {
    use super::super::reply::{Done, Failure, What};
    use super::super::request::Order;
    use super::*;
    use firestarter_core::command::{self, AbortCause, Failed, Refusal, Reply, Verb};
    use firestarter_core::event::{self, Exit, SpawnError, SpawnStep};
    use firestarter_core::ids::{Generation, Pid, Slot};
    use firestarter_core::spec::Signal;
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
        let line = sent(&Reply::Failed(Failed::Aborted { generation: Generation(2), committed: 1, workers: 4, cause }));
        let want = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the rollout was aborted","data":{"group":"web","code":"aborted","generation":2,"committed":1,"workers":4,"cause":"worker","slot":2,"pid":812,"kind":"exit","exit_code":3}}}"#;
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
            (-32010, Refusal::SignalMissing(verb), r#"{"group":"web","code":"signal_missing","verb":"inc"}"#),
            (-32011, Refusal::WholeGroup(verb), r#"{"group":"web","code":"whole_group","verb":"inc"}"#),
            (-32012, Refusal::NoWorker(Slot(7)), r#"{"group":"web","code":"no_worker","slot":7}"#),
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
    fn a_failed_upgrader_on_the_wire() {
        let failure = event::Failure::Silent(std::time::Duration::from_millis(1500));
        let line = sent(&Reply::Failed(Failed::Upgrader { failure }));
        let want = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32009,"message":"the upgrader did not end with exit code 0","data":{"group":"web","code":"upgrader","kind":"silent","after_ms":1500}}}"#;
        assert_eq!(line.trim_end(), want);
    }

    #[test]
    fn a_signal_to_workers_and_a_stop_by_exec_stop_on_the_wire() {
        let pids = || vec![Pid(101)];
        let line = sent(&Reply::Done(command::Done::Signalled { signal: Signal::HUP, pids: pids() }));
        let want = r#""result":{"group":"web","done":"signalled","signal":"SIGHUP","pids":[101]}}"#;
        assert!(line.trim_end().ends_with(want), "{line}");
        let line = sent(&Reply::Done(command::Done::Stopped { signal: None, pids: pids() }));
        assert!(line.trim_end().ends_with(r#"{"group":"web","done":"stopped","signal":null,"pids":[101]}}"#), "{line}");
    }

    #[test]
    fn a_beginning_on_the_wire() {
        let order = Order::Group { group: "web".into(), verb: command::Verb::Upgrade, signal: None, slot: None };
        for (order, want) in [
            (order, r#"{"jsonrpc":"2.0","id":1,"result":{"group":"web","done":"begun","verb":"upgrade"}}"#),
            (Order::Shutdown, r#"{"jsonrpc":"2.0","id":1,"result":{"done":"begun"}}"#),
        ] {
            let outcome = Outcome::begun(&order);
            let line = reply_line(&1.into(), &outcome);
            assert_eq!(line.trim_end(), want);
            assert_eq!(parse_reply(line.as_bytes()).expect("a reply").outcome, outcome);
        }
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
            (event::Failure::Silent(std::time::Duration::from_secs(4)), r#"{"kind":"silent","after_ms":4000}"#),
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
        prop_oneof![done().prop_map(Reply::Done), failed().prop_map(Reply::Failed), refused().prop_map(Reply::Refused)]
    }

    fn done() -> impl Strategy<Value = command::Done> {
        prop_oneof![
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
        ]
    }

    fn failed() -> impl Strategy<Value = Failed> {
        let cause = prop_oneof![
            (slot(), prop::option::of(pid()), failure()).prop_map(|(slot, pid, failure)| AbortCause::Worker {
                slot,
                pid,
                failure
            }),
            (slot(), prop::option::of(pid()), any::<u32>()).prop_map(|(slot, pid, unready)| AbortCause::Timeout {
                answer: Some(event::Answer::Status(503)),
                slot,
                pid,
                unready
            }),
            by().prop_map(|by| AbortCause::Command { by }),
        ];
        prop_oneof![
            (slot(), failure()).prop_map(|(slot, failure)| Failed::NotStarted { slot, failure }),
            (generation(), any::<u32>(), any::<u32>(), cause).prop_map(|(generation, committed, workers, cause)| {
                Failed::Aborted { generation, committed, workers, cause }
            }),
            by().prop_map(|by| Failed::Superseded { by }),
            failure().prop_map(|failure| Failed::Upgrader { failure }),
        ]
    }

    fn refused() -> impl Strategy<Value = Refusal> {
        prop_oneof![
            Just(Refusal::UnknownGroup),
            Just(Refusal::NotRunning),
            Just(Refusal::AtLeastOne),
            any::<u32>().prop_map(Refusal::AtMost),
            verb().prop_map(Refusal::NoSignal),
            verb().prop_map(Refusal::SignalMissing),
            verb().prop_map(Refusal::WholeGroup),
            slot().prop_map(Refusal::NoWorker),
            Just(Refusal::ShuttingDown),
        ]
    }

    fn pid() -> impl Strategy<Value = Pid> {
        any::<u32>().prop_map(Pid)
    }

    fn pids() -> impl Strategy<Value = Vec<Pid>> {
        prop::collection::vec(pid(), 0..4)
    }

    fn signal() -> impl Strategy<Value = Signal> {
        (1_u8..=64).prop_filter_map("1 to 64", Signal::from_number)
    }

    fn verb() -> impl Strategy<Value = command::Verb> {
        prop::sample::select(Verb::ALL.to_vec())
    }

    fn by() -> impl Strategy<Value = Option<command::Verb>> {
        prop::option::of(verb())
    }

    fn failure() -> impl Strategy<Value = event::Failure> {
        use SpawnStep::{Clone, Directory, Exec, Prepare, Setup, Watch};
        let step = prop::sample::select(vec![Prepare, Clone, Directory, Setup, Exec, Watch]);
        prop_oneof![
            any::<u8>().prop_map(|code| event::Failure::Exit(Exit::Code(code))),
            (signal(), any::<bool>()).prop_map(|(signal, core)| event::Failure::Exit(Exit::Signal(signal, core))),
            Just(event::Failure::Exit(Exit::Unknown)),
            any::<u32>().prop_map(|ms| event::Failure::Silent(std::time::Duration::from_millis(ms.into()))),
            (step, any::<i32>()).prop_map(|(step, errno)| event::Failure::Spawn(SpawnError { step, errno })),
        ]
    }

    fn slot() -> impl Strategy<Value = Slot> {
        any::<u32>().prop_map(Slot)
    }

    fn generation() -> impl Strategy<Value = Generation> {
        any::<u32>().prop_map(Generation)
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
