//! Reads what a worker says on its group's socket, a message a line. `channel` finds out who said it and whether the group hears
//! it. Imports nothing of ours, so that it can be fuzzed.
//!
//! - *firestarter*: an object in JSON, `{"command":"worker:ack","pid":0,"signal":null}`.
//! - *Einhorn*: YAML in which `%` and the newline are written `%25` and `%0A`. JSON is YAML, and most of its clients send
//!   that; Ruby's sends a flat mapping in lines, with `:` in front of a key that is a symbol. Some clients write every
//!   byte that is no letter as `%XX`.
//!
//! What is no ack says nothing: an Einhorn client's `worker:ping` wants no answer. Nobody is attributed by what stands in
//! a message.

use firestarter_core::spec::Signal;
use serde_json::Value;

/// Reads an ack, in JSON or, where `einhorn` says so, as Einhorn's clients may write it. The inner value is the signal
/// that the old worker shall get, if one is named.
pub(crate) fn read(line: &[u8], einhorn: bool) -> Option<Option<Signal>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if let Ok(value) = serde_json::from_slice(line) {
        return of_json(&value);
    }
    if !einhorn {
        return None;
    }
    let text = String::from_utf8(decoded(line)).ok()?;
    match serde_json::from_str(&text) {
        Ok(value) => of_json(&value),
        Err(_) => of_yaml(&text),
    }
}

fn of_json(value: &Value) -> Option<Option<Signal>> {
    let signal = value.get("signal").and_then(|signal| match signal {
        Value::String(name) => Signal::parse(name),
        Value::Number(number) => number.as_u64().and_then(|n| Signal::from_number(u8::try_from(n).ok()?)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    (value.get("command")?.as_str()? == "worker:ack").then_some(signal)
}

/// A mapping in lines, each `KEY: VALUE`. What is nested is not looked at.
fn of_yaml(text: &str) -> Option<Option<Signal>> {
    let entry = |line: &str| {
        let (key, value) = line.trim_end().split_once(": ")?;
        Some((scalar(key)?.to_owned(), scalar(value)?.to_owned()))
    };
    let nested = |line: &&str| line.starts_with([' ', '\t', '-']);
    let entries: Vec<_> = text.lines().filter(|line| !nested(line)).filter_map(entry).collect();
    let of_key = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let signal = of_key("signal").and_then(|signal| match signal.parse() {
        Ok(number) => Signal::from_number(number),
        Err(_) => Signal::parse(signal),
    });
    (of_key("command")? == "worker:ack").then_some(signal)
}

/// A word in quotes, a symbol, or a plain word.
fn scalar(written: &str) -> Option<&str> {
    let written = written.trim();
    let written = written.strip_prefix(':').unwrap_or(written);
    let quoted = |quote: char| written.strip_prefix(quote)?.strip_suffix(quote);
    let word = quoted('"').or_else(|| quoted('\'')).unwrap_or(written);
    Some(word)
        .filter(|word| !word.is_empty() && !word.contains(['"', '\'', '\\', '{', '[', '&', '*', '!', '|', '>', '#']))
}

/// Each `%XX` becomes its byte; a `%` in front of something else stays.
fn decoded(line: &[u8]) -> Vec<u8> {
    let digit = |at: usize| line.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(line.len()), 0);
    while let Some(byte) = line.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_read_and_nothing_else_is_one() {
        let ack = |line: &[u8]| read(line, true);
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"pid\":0,\"signal\":null}\n"), Some(None));
        assert_eq!(ack(b"{\"command\":\"worker:ack\"}"), Some(None));
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"signal\":\"SIGQUIT\"}"), Some(Some(Signal::QUIT)));
        assert_eq!(ack(b"{\"command\":\"worker:ack\",\"signal\":15}"), Some(Some(Signal::TERM)));
        for other in [&b"\n"[..], b"READY=1\n", b"{\"command\":\"worker:ping\"}", b"[]", b"{", b"\xff\xfe\n"] {
            assert_eq!(ack(other), None, "{other:?}");
        }
    }

    #[test]
    fn acks_as_einhorns_clients_write_them() {
        let yes = [
            "---%0Acommand: worker:ack%0Apid: 123%0A\n",
            "--- %0A:command: worker:ack%0A:pid: 123%0A\n",
            "---%0A\"command\": 'worker:ack'%0A# 100%25%0A\n",
            "command: :worker:ack",
            "%7B%22command%22%3A%22worker%3Aack%22%2C%22pid%22%3A123%7D\n",
            "%7b%22command%22%3a%22worker%3aack%22%7d\n",
            "{\"command\":\"worker:ack\",\"note\":\"100%25\"}\n",
        ];
        for line in yes {
            assert_eq!(read(line.as_bytes(), true), Some(None), "{line}");
        }
        assert_eq!(read(b"---%0Acommand: worker:ack%0Asignal: USR2\n", true), Some(Some(Signal::USR2)));
        assert_eq!(read(b"---%0Acommand: worker:ack%0A:signal: :INT%0A\n", true), Some(Some(Signal::INT)));
        assert_eq!(read(b"---%0Acommand: worker:ack%0Asignal: 300\n", true), Some(None));
        let no = [
            "---%0Acommand: worker:ping%0Arequest_id: 7%0A\n",
            "---%0Aother:%0A  command: worker:ack%0A\n",
            "---%0A- command: worker:ack%0A\n",
            "---%0Acommand: !ruby/sym worker:ack\n",
            "---%0Acommand:%0A",
            "%",
            "%7",
            "%FF%FE",
            "worker:ack",
            ": worker:ack",
        ];
        for line in no {
            assert_eq!(read(line.as_bytes(), true), None, "{line}");
        }
    }
}
