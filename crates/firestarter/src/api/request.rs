//! Requests: one line in, a `Request` or a `Fault` out, and the other way for clients. Called by the daemon's control room
//! and by `client.rs`. It never knows which groups exist: whether a request makes sense is decided later.

use firestarter_core::command::Verb;
use firestarter_core::ids::Slot;
use firestarter_core::spec::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use super::outputs::Cursor;
use super::word::{signal_of, verb_of};

/// A valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What its reply will carry.
    pub(crate) id: Id,
    /// What is wanted.
    pub(crate) call: Call,
}

/// What a reply names the request by: given by the client, echoed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Id {
    /// `null`; also in the reply to what could not be read.
    Null,
    /// A whole number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
}

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Answered from the view, at once.
    Ask(Question),
    /// Changes something; answered when it is done.
    Do(Order),
    /// Changes something; answered when it is done, and told of how far it is until then.
    Follow(Order),
    /// Changes something; answered when it has begun.
    Begin(Order),
    /// Opens log files anew; answered when that is done. As it may be done twice it is no order, and is not journalled.
    Reopen {
        /// Those of this group, which may not exist; none: all.
        group: Option<String>,
    },
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The names of the groups.
    List,
    /// How they all are.
    Status,
    /// How one of them is.
    GroupStatus {
        /// Its name; it may not exist.
        group: String,
        /// One worker of it.
        slot: Option<Slot>,
    },
    /// Whether another program has taken this one's place: it is to, and the answer comes when it has, or could not.
    Succeed {
        /// Its path; none: where this one was found.
        binary: Option<String>,
    },
    /// What is kept of what one of them writes.
    Lines {
        /// Its name; it may not exist.
        group: String,
        /// Where to go on; none: at the oldest.
        from: Option<Cursor>,
    },
    /// What stands in the journal.
    Journal {
        /// From this byte on.
        from: u64,
    },
}

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Something about one group.
    Group {
        /// Its name; it may not exist.
        group: String,
        /// What.
        verb: Verb,
        /// Takes the place of the configured signal; the core refuses it where none is taken.
        signal: Option<Signal>,
        /// One worker; the core refuses it where the whole group is meant.
        slot: Option<Slot>,
    },
    /// Stop everything and the daemon.
    Shutdown,
}

/// Why a line is no request. Answered with `fault_line`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// The request's id if it could be read, else null.
    pub(crate) id: Id,
    /// JSON-RPC's number for the kind of fault.
    pub(crate) code: i64,
    /// What is wrong, on one line.
    pub(crate) message: String,
    /// The machine's word for it, `data.code` on the wire.
    pub(crate) machine: &'static str,
}

/// The methods, for the message about an unknown one.
const METHODS: &str =
    "list, status, logs, journal, upgrade_daemon, start, stop, restart, upgrade, rollback, cancel, inc, dec, killall, signal, reopen, shutdown";

/// Reads one line; its newline may be there or not.
pub(crate) fn parse(line: &[u8]) -> Result<Request, Fault> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| Fault::new(Id::Null, -32700, "parse_error", format!("not JSON: {error}")))?;
    let mut envelope = match value {
        Value::Object(envelope) => envelope,
        Value::Array(_) => return Err(Fault::invalid(Id::Null, "batches are not taken: one request a line")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(Fault::invalid(Id::Null, "a request is a JSON object"))
        }
    };
    let id = take_id(&mut envelope)?;
    if envelope.remove("jsonrpc") != Some(Value::from("2.0")) {
        return Err(Fault::invalid(id, r#"jsonrpc: must be "2.0""#));
    }
    let method = match envelope.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) | None => return Err(Fault::invalid(id, "method: must be there and a string")),
    };
    let params = envelope.remove("params");
    if let Some(key) = envelope.keys().next() {
        return Err(Fault::invalid(id, &format!("unknown member {key:?}")));
    }
    call(&id, &method, params).map(|call| Request { id, call })
}

/// The request as a line with its newline, for clients.
pub(crate) fn request_line(request: &Request) -> String {
    let (method, mut params) = match &request.call {
        Call::Ask(Question::List) => ("list", json!({})),
        Call::Ask(Question::Status) => ("status", json!({})),
        Call::Ask(Question::Succeed { binary }) => ("upgrade_daemon", json!({ "binary": binary })),
        Call::Ask(Question::GroupStatus { group, slot }) => ("status", json!({ "group": group, "slot": slot })),
        Call::Reopen { group } => ("reopen", json!({ "group": group })),
        Call::Ask(Question::Lines { group, from }) => {
            let (ring, after) = (from.map(|from| from.ring), from.map(|from| from.after));
            ("logs", json!({ "group": group, "ring": ring, "after": after }))
        }
        Call::Ask(Question::Journal { from }) => ("journal", json!({ "from": from })),
        Call::Do(order) | Call::Follow(order) => order_words(order, None),
        Call::Begin(order) => order_words(order, Some(false)),
    };
    if matches!(request.call, Call::Follow(_)) {
        params["progress"] = Value::Bool(true);
    }
    if let Value::Object(params) = &mut params {
        params.retain(|_, value| !value.is_null());
    }
    let id = match &request.id {
        Id::Null => Value::Null,
        Id::Number(number) => Value::Number(number.clone()),
        Id::Text(text) => Value::from(text.as_str()),
    };
    let mut line = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
    line.push('\n');
    line
}

/// The method of an order, and its params; what is null is to be left out.
fn order_words(order: &Order, wait: Option<bool>) -> (&'static str, Value) {
    match order {
        Order::Group { group, verb, signal, slot } => {
            let signal = signal.map(Signal::number);
            (verb.word(), json!({ "group": group, "signal": signal, "slot": slot, "wait": wait }))
        }
        Order::Shutdown => ("shutdown", json!({ "wait": wait })),
    }
}

fn take_id(envelope: &mut Map<String, Value>) -> Result<Id, Fault> {
    match envelope.remove("id") {
        Some(Value::Null) => Ok(Id::Null),
        Some(Value::String(text)) => Ok(Id::Text(text)),
        // A fraction would be read as binary and could come back as another number: then the client waits for ever.
        Some(Value::Number(number)) if number.is_f64() => {
            Err(Fault::invalid(Id::Null, "id: a number must be whole and fit in 64 bits; or use a string"))
        }
        Some(Value::Number(number)) => Ok(Id::Number(number)),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Fault::invalid(Id::Null, "id: must be a string, a number or null"))
        }
        None => Err(Fault::invalid(Id::Null, "id: missing; every request is answered, so there are no notifications")),
    }
}

fn call(id: &Id, method: &str, params: Option<Value>) -> Result<Call, Fault> {
    let mut params = Params::read(id, params)?;
    let call = match method {
        "list" => Call::Ask(Question::List),
        "status" => Call::Ask(match (params.text("group")?, params.slot("slot")?) {
            (Some(group), slot) => Question::GroupStatus { group, slot },
            (None, None) => Question::Status,
            (None, Some(_)) => return Err(Fault::params(id, "slot: of which group? group is missing")),
        }),
        "upgrade_daemon" => Call::Ask(Question::Succeed { binary: params.text("binary")? }),
        "reopen" => Call::Reopen { group: params.text("group")? },
        "logs" => {
            let group = params.text("group")?.ok_or_else(|| Fault::params(id, "group: missing"))?;
            let from = match (params.count("ring")?, params.count("after")?) {
                (Some(ring), Some(after)) => Some(Cursor { ring, after }),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    return Err(Fault::params(id, "ring and after: one is nothing without the other"))
                }
            };
            Call::Ask(Question::Lines { group, from })
        }
        "journal" => Call::Ask(Question::Journal { from: params.byte("from")? }),
        "shutdown" => params.order(Order::Shutdown)?,
        other => match verb_of(other) {
            Some(verb) => {
                let order = Order::Group {
                    group: params.text("group")?.ok_or_else(|| Fault::params(id, "group: missing"))?,
                    verb,
                    signal: params.signal("signal")?,
                    slot: params.slot("slot")?,
                };
                params.order(order)?
            }
            None => {
                let message = format!("unknown method {other:?}; there are {METHODS}");
                return Err(Fault::new(id.clone(), -32601, "unknown_method", message));
            }
        },
    };
    params.nothing_left(method)?;
    Ok(call)
}

/// The params of one request; what is read is taken out, so what is left is unknown.
struct Params<'a> {
    id: &'a Id,
    left: Map<String, Value>,
}

impl<'a> Params<'a> {
    fn read(id: &'a Id, params: Option<Value>) -> Result<Params<'a>, Fault> {
        match params {
            None | Some(Value::Null) => Ok(Params { id, left: Map::new() }),
            Some(Value::Object(left)) => Ok(Params { id, left }),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(Fault::params(id, "params: must be an object"))
            }
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, Fault> {
        match self.left.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Fault::params(self.id, &format!("{key}: must be a string")))
            }
        }
    }

    fn signal(&mut self, key: &str) -> Result<Option<Signal>, Fault> {
        let signal = match self.left.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(name)) => Signal::parse(&name),
            Some(Value::Number(number)) => number.as_u64().and_then(signal_of),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        match signal {
            Some(signal) => Ok(Some(signal)),
            None => {
                Err(Fault::params(self.id, &format!(r#"{key}: must be a name like "SIGTERM" or a number, 1 to 64"#)))
            }
        }
    }

    fn slot(&mut self, key: &str) -> Result<Option<Slot>, Fault> {
        let slot = match self.left.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Some(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        match slot {
            Some(slot) => Ok(Some(Slot(slot))),
            None => Err(Fault::params(self.id, &format!("{key}: must be a whole number, the first slot is 0"))),
        }
    }

    fn count(&mut self, key: &str) -> Result<Option<u64>, Fault> {
        let count = match self.left.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(Fault::params(self.id, &format!("{key}: must be a whole number from 0"))),
        }
    }

    /// The place of a byte; without it the first.
    fn byte(&mut self, key: &str) -> Result<u64, Fault> {
        let value = self.left.remove(key).unwrap_or(Value::Null);
        let byte = if value.is_null() { Some(0) } else { value.as_u64() };
        byte.ok_or_else(|| Fault::params(self.id, &format!("{key}: must be a whole number, the first byte is 0")))
    }

    /// An order, whether its end is waited for, and whether somebody wants to hear how far it is until then.
    fn order(&mut self, order: Order) -> Result<Call, Fault> {
        match (self.flag("wait", true)?, self.flag("progress", false)?) {
            (true, false) => Ok(Call::Do(order)),
            (true, true) => Ok(Call::Follow(order)),
            (false, false) => Ok(Call::Begin(order)),
            (false, true) => Err(Fault::params(self.id, "progress: there is none without waiting: wait is false")),
        }
    }

    fn flag(&mut self, key: &str, without: bool) -> Result<bool, Fault> {
        match self.left.remove(key) {
            None | Some(Value::Null) => Ok(without),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Fault::params(self.id, &format!("{key}: must be true or false")))
            }
        }
    }

    fn nothing_left(self, method: &str) -> Result<(), Fault> {
        if self.left.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.left.keys().map(|key| format!("{key:?}")).collect();
        Err(Fault::params(self.id, &format!("{method} does not take {}", names.join(", "))))
    }
}

impl Order {
    /// The group that it is about; none: all.
    pub(crate) fn group(&self) -> Option<&str> {
        match self {
            Order::Group { group, .. } => Some(group),
            Order::Shutdown => None,
        }
    }
}

impl Fault {
    /// A request longer than the daemon reads; it closes the connection after this, as it cannot find the next line.
    pub(crate) fn too_long(limit: usize) -> Fault {
        Fault::new(Id::Null, -32600, "too_long", format!("a request is at most {limit} bytes"))
    }

    fn new(id: Id, code: i64, machine: &'static str, message: String) -> Fault {
        Fault { id, code, message, machine }
    }

    fn invalid(id: Id, message: &str) -> Fault {
        Fault::new(id, -32600, "invalid_request", message.to_owned())
    }

    fn params(id: &Id, message: &str) -> Fault {
        Fault::new(id.clone(), -32602, "invalid_params", message.to_owned())
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Id {
        Id::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(line: &str) -> (i64, &'static str, String) {
        let fault = parse(line.as_bytes()).expect_err(line);
        (fault.code, fault.machine, fault.message)
    }

    #[test]
    fn reads_an_order() {
        let line = br#"{"jsonrpc":"2.0","id":"a","method":"upgrade","params":{"group":"web","signal":"usr2"}}"#;
        let order = Order::Group { group: "web".into(), verb: Verb::Upgrade, signal: Some(Signal::USR2), slot: None };
        assert_eq!(parse(line), Ok(Request { id: Id::Text("a".into()), call: Call::Do(order) }));
    }

    #[test]
    fn params_may_be_missing_where_none_are_needed() {
        for (method, call) in [
            ("list", Call::Ask(Question::List)),
            ("status", Call::Ask(Question::Status)),
            ("shutdown", Call::Do(Order::Shutdown)),
        ] {
            for params in ["", r#","params":{}"#, r#","params":null"#] {
                let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"{method}\"{params}}}\n");
                assert_eq!(parse(line.as_bytes()), Ok(Request { id: Id::Null, call: call.clone() }));
            }
        }
    }

    #[test]
    fn every_verb_is_a_method() {
        for verb in Verb::ALL {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{verb}","params":{{"group":"web"}}}}"#);
            let order = Order::Group { group: "web".into(), verb, signal: None, slot: None };
            assert_eq!(parse(line.as_bytes()), Ok(Request { id: 1.into(), call: Call::Do(order) }));
            assert!(METHODS.contains(verb.word()));
        }
    }

    #[test]
    fn one_worker_and_no_waiting() {
        let read = |method: &str, params: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            parse(line.as_bytes()).map(|request| request.call)
        };
        let slot = Some(Slot(2));
        let order = |verb, signal, slot| Order::Group { group: "w".into(), verb, signal, slot };
        for (method, params, call) in [
            ("status", r#"{"group":"w","slot":2}"#, Call::Ask(Question::GroupStatus { group: "w".into(), slot })),
            (
                "signal",
                r#"{"group":"w","slot":2,"signal":"hup","wait":true}"#,
                Call::Do(order(Verb::Signal, Some(Signal::HUP), slot)),
            ),
            ("upgrade", r#"{"group":"w","wait":false}"#, Call::Begin(order(Verb::Upgrade, None, None))),
            ("stop", r#"{"group":"w","wait":null,"slot":null}"#, Call::Do(order(Verb::Stop, None, None))),
            ("shutdown", r#"{"wait":false}"#, Call::Begin(Order::Shutdown)),
        ] {
            assert_eq!(read(method, params), Ok(call), "{method} {params}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let cases = [
            ("", -32700, "not JSON"),
            ("{", -32700, "not JSON"),
            ("[]", -32600, "batches"),
            ("7", -32600, "object"),
            (r#"{"jsonrpc":"2.0","method":"list"}"#, -32600, "id: missing"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"list"}"#, -32600, "id: must"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"list"}"#, -32600, "id: a number must be whole"),
            (r#"{"id":1,"method":"list"}"#, -32600, "jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600, "method"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"list","parms":{}}"#, -32600, "\"parms\""),
            (r#"{"jsonrpc":"2.0","id":1,"method":"reload"}"#, -32601, "unknown method \"reload\""),
            (r#"{"jsonrpc":"2.0","id":1,"method":"list","params":[]}"#, -32602, "object"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"list","params":{"x":1,"y":2}}"#, -32602, r#""x", "y""#),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop"}"#, -32602, "group: missing"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"logs"}"#, -32602, "group: missing"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"logs","params":{"group":"w","after":1}}"#, -32602, "ring and after"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"logs","params":{"group":"w","ring":-1,"after":1}}"#,
                -32602,
                "ring: must",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":7}}"#, -32602, "group: must"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":"w","signal":65}}"#, -32602, "signal"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":"w","signal":"BOO"}}"#, -32602, "signal"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{"slot":1}}"#, -32602, "group is missing"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{"group":"w","slot":-1}}"#, -32602, "slot: must"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"signal","params":{"group":"w","slot":"1"}}"#, -32602, "slot: must"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":"w","slot":4294967296}}"#, -32602, "slot"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stop","params":{"group":"w","wait":0}}"#, -32602, "wait: must"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"list","params":{"wait":false}}"#, -32602, r#"take "wait""#),
        ];
        for (line, code, part) in cases {
            let (got, _, message) = fault(line);
            assert_eq!(got, code, "{line}");
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn a_fault_carries_the_id_if_there_was_one() {
        let fault = parse(br#"{"jsonrpc":"2.0","id":"x","method":"nix"}"#).expect_err("no such method");
        assert_eq!(fault.id, Id::Text("x".into()));
    }

    #[test]
    fn deep_nesting_is_a_fault_and_no_overflow() {
        for open in ["[", "{\"a\":"] {
            assert_eq!(fault(&open.repeat(200_000)).0, -32700);
        }
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let id = prop_oneof![
            Just(Id::Null),
            any::<u64>().prop_map(Id::from),
            any::<i64>().prop_map(|n| Id::Number(n.into())),
            any::<String>().prop_map(Id::Text),
        ];
        let verb = prop::sample::select(Verb::ALL.to_vec());
        let signal = prop::option::of((1_u8..=64).prop_filter_map("1 to 64", Signal::from_number));
        let slot = || prop::option::of(any::<u32>().prop_map(Slot));
        let group = (any::<String>(), verb, signal, slot()).prop_map(|(group, verb, signal, slot)| Order::Group {
            group,
            verb,
            signal,
            slot,
        });
        let order = prop_oneof![4 => group, 1 => Just(Order::Shutdown)];
        let call = prop_oneof![
            Just(Call::Ask(Question::List)),
            Just(Call::Ask(Question::Status)),
            (any::<String>(), slot()).prop_map(|(group, slot)| Call::Ask(Question::GroupStatus { group, slot })),
            (any::<String>(), prop::option::of(any::<(u64, u64)>())).prop_map(|(group, from)| {
                let from = from.map(|(ring, after)| Cursor { ring, after });
                Call::Ask(Question::Lines { group, from })
            }),
            (order, 0..3).prop_map(|(order, how)| match how {
                0 => Call::Do(order),
                1 => Call::Follow(order),
                _ => Call::Begin(order),
            }),
        ];
        (id, call).prop_map(|(id, call)| Request { id, call })
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_a_fault(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(fault) = parse(&line) {
                let reply = super::super::fault_line(&fault);
                prop_assert!(reply.ends_with('\n') && reply.matches('\n').count() == 1);
            }
        }

        #[test]
        fn any_json_is_a_request_or_a_fault(
            id in "(1|null|\"a\"|1e9|-3|\\[\\]|99999999999999999999)",
            method in "(list|status|stop|inc|signal|shutdown|x)",
            params in "(null|\\{\\}|\\[1\\]|\\{\"group\":(1|\"w\")\\}|\\{\"group\":\"w\",\"(signal|slot|wait|progress)\":(0|-1|1.5|\"TERM\"|9|false)\\})",
        ) {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
            let _ = parse(line.as_bytes());
        }

        #[test]
        fn requests_round_trip(request in any_request()) {
            let line = request_line(&request);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert_eq!(parse(line.as_bytes()), Ok(request));
        }
    }
}
