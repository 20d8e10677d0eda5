//! Einhorn's records: a mapping in YAML, on one line, with `%` and the newline escaped as `%25` and `%0A`. Called by
//! `talk`. Bytes in, a mapping out, and the other way; it knows no command and no socket.
//!
//! Of YAML it reads what libraries write for such a mapping: JSON, and block style with plain, quoted, folded and literal
//! scalars, lists of scalars, and flow collections. What is beyond that (tags, anchors, mappings in mappings in block
//! style) is refused, not guessed at.

use serde_json::{Map, Value};

use super::scalar::{self, Scalar};

/// Keys and values, as of JSON.
pub(super) type Record = Map<String, Value>;

/// So deep may lists and mappings be nested.
const DEEPEST: u32 = 16;

/// Why a line is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("it is not UTF-8")]
    Encoding,
    #[error("it is not a mapping in YAML or JSON")]
    Shape,
    #[error("it holds YAML that no command needs: tags, anchors, or mappings in mappings")]
    Beyond,
}

/// Reads a line; its newline may be there or not. Some clients escape everything: then it is read so.
pub(super) fn read(line: &[u8]) -> Result<Record, Unread> {
    let line = std::str::from_utf8(line).map_err(|_| Unread::Encoding)?.trim_end_matches(['\n', '\r']);
    let first = document(&line.replace("%0A", "\n").replace("%25", "%"));
    first.or_else(|fault| match all_unescaped(line) {
        Some(text) if text != line => document(&text).map_err(|_| fault),
        Some(_) | None => Err(fault),
    })
}

/// Writes a record, with its newline. Values are strings, numbers and booleans.
pub(super) fn write(fields: &[(&str, Value)]) -> String {
    let mut text = String::from("---\n");
    for (key, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), scalar::quoted);
        text.push_str(&format!("{key}: {value}\n"));
    }
    let mut line = text.replace('%', "%25").replace('\n', "%0A");
    line.push('\n');
    line
}

/// With every `%XX` as the byte that it stands for; none if that is no text.
fn all_unescaped(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    let (mut text, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%').then(|| line.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                text.push(byte);
                at += 3;
            }
            None => {
                text.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(text).ok()
}

fn document(text: &str) -> Result<Record, Unread> {
    if let Ok(Value::Object(record)) = serde_json::from_str(text) {
        return Ok(record);
    }
    let text = text.strip_prefix("---").filter(|rest| rest.starts_with(['\n', ' '])).unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return match flow(text.trim())? {
            Value::Object(record) => Ok(record),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(Unread::Shape),
        };
    }
    let lines: Vec<&str> = text.lines().take_while(|line| *line != "...").collect();
    Block { lines, at: 0 }.mapping()
}

/// The lines of a mapping in block style.
struct Block<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl<'a> Block<'a> {
    fn mapping(mut self) -> Result<Record, Unread> {
        let mut record = Record::new();
        while let Some(line) = self.next_line() {
            if indent(line) > 0 {
                return Err(Unread::Beyond);
            }
            let (key, rest) = scalar::key(line).ok_or(Unread::Shape)?;
            let value = if rest.is_empty() { self.below()? } else { self.scalar(rest, 0)? };
            record.insert(key, value);
        }
        if record.is_empty() {
            return Err(Unread::Shape);
        }
        Ok(record)
    }

    /// The next line that says something.
    fn next_line(&mut self) -> Option<&'a str> {
        loop {
            let line = *self.lines.get(self.at)?;
            self.at += 1;
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                return Some(line);
            }
        }
    }

    /// What stands below a key without a value: a list, a scalar, or nothing.
    fn below(&mut self) -> Result<Value, Unread> {
        let mut items = Vec::new();
        let mut level = None;
        loop {
            let before = self.at;
            let Some(line) = self.next_line() else { break };
            let (depth, text) = (indent(line), line.trim_start());
            if text != "-" && !text.starts_with("- ") {
                if items.is_empty() && depth > 0 {
                    if scalar::key(text).is_some() {
                        return Err(Unread::Beyond);
                    }
                    return self.scalar(text, 0);
                }
                self.at = before;
                break;
            }
            if *level.get_or_insert(depth) != depth {
                return Err(Unread::Shape);
            }
            let text = text[1..].trim_start();
            if scalar::key(text).is_some() || text.starts_with("- ") {
                return Err(Unread::Beyond);
            }
            items.push(self.scalar(text, depth)?);
        }
        Ok(if level.is_some() { Value::Array(items) } else { Value::Null })
    }

    /// A value that begins with `text`; it goes on in lines that stand deeper than `depth`.
    fn scalar(&mut self, text: &str, depth: usize) -> Result<Value, Unread> {
        let mut whole = text.to_owned();
        loop {
            match scalar::begin(&whole) {
                Scalar::Whole(value) => {
                    if !scalar::may_go_on(&whole) || !self.goes_on(depth) {
                        return Ok(value);
                    }
                }
                Scalar::Flow => return flow(&whole),
                Scalar::Block(style) => return Ok(Value::String(style.text(self.deeper(depth)))),
                Scalar::Open => {}
                Scalar::Beyond => return Err(Unread::Beyond),
            }
            let next = *self.lines.get(self.at).ok_or(Unread::Shape)?;
            self.at += 1;
            scalar::fold(&mut whole, next);
        }
    }

    /// Whether the next line belongs to a plain scalar.
    fn goes_on(&self, depth: usize) -> bool {
        self.lines.get(self.at).is_some_and(|line| !line.trim().is_empty() && indent(line) > depth)
    }

    /// The lines that stand deeper than `depth`, and empty ones among them.
    fn deeper(&mut self, depth: usize) -> Vec<&'a str> {
        let rest = &self.lines[self.at..];
        let count = rest.iter().take_while(|line| line.trim().is_empty() || indent(line) > depth).count();
        self.at += count;
        rest[..count].to_vec()
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Reads `[…]` or `{…}`, which must be all of the text.
fn flow(text: &str) -> Result<Value, Unread> {
    let mut rest = text;
    let value = flow_value(&mut rest, 0)?;
    match rest.trim() {
        "" => Ok(value),
        rest if rest.starts_with('#') => Ok(value),
        _ => Err(Unread::Shape),
    }
}

fn flow_value(rest: &mut &str, depth: u32) -> Result<Value, Unread> {
    *rest = rest.trim_start();
    if depth > DEEPEST {
        return Err(Unread::Beyond);
    }
    if take(rest, '[') {
        let mut items = Vec::new();
        while !take(rest, ']') {
            items.push(flow_value(rest, depth + 1)?);
            separator(rest, ']')?;
        }
        return Ok(Value::Array(items));
    }
    if take(rest, '{') {
        let mut record = Record::new();
        while !take(rest, '}') {
            *rest = rest.trim_start();
            let key = scalar::take_in_flow(rest, true).ok_or(Unread::Shape)?;
            if !take(rest, ':') {
                return Err(Unread::Shape);
            }
            let value = flow_value(rest, depth + 1)?;
            separator(rest, '}')?;
            record.insert(scalar::as_key(&key), value);
        }
        return Ok(Value::Object(record));
    }
    scalar::take_in_flow(rest, false).ok_or(Unread::Shape)
}

/// Takes a comma, or leaves the end, before which there may be none.
fn separator(rest: &mut &str, end: char) -> Result<(), Unread> {
    if take(rest, ',') || rest.trim_start().starts_with(end) {
        return Ok(());
    }
    Err(Unread::Shape)
}

fn take(rest: &mut &str, wanted: char) -> bool {
    match rest.trim_start().strip_prefix(wanted) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn lines(text: &str) -> Result<Value, Unread> {
        read(text.replace('%', "%25").replace('\n', "%0A").as_bytes()).map(Value::Object)
    }

    #[test]
    fn what_a_shell_sends_is_read() {
        let sent = b"---%0Aid: 1%0Acommand: signal%0Aargs:%0A- USR1%0A- SIGHUP%0A\n";
        let want = json!({ "id": 1, "command": "signal", "args": ["USR1", "SIGHUP"] });
        assert_eq!(read(sent).map(Value::Object), Ok(want));
        let sent = b"---%0Aid: 7%0Acommand: state%0Aargs: []%0A\n";
        assert_eq!(read(sent).map(Value::Object), Ok(json!({ "id": 7, "command": "state", "args": [] })));
        let sent = b"---%0Acommand: ehlo%0Auser: %0A\n";
        assert_eq!(read(sent).map(Value::Object), Ok(json!({ "command": "ehlo", "user": null })));
        let sent = b"{\"command\":\"worker:ack\",\"pid\":123}\n";
        assert_eq!(read(sent).map(Value::Object), Ok(json!({ "command": "worker:ack", "pid": 123 })));
        let all_escaped = b"%7B%22command%22%3A%22worker%3Aack%22%2C%22pid%22%3A5%7D\n";
        assert_eq!(read(all_escaped).map(Value::Object), Ok(json!({ "command": "worker:ack", "pid": 5 })));
    }

    #[test]
    fn scalars_in_every_style() {
        for (text, want) in [
            ("a: 'it''s: #1'\nb: \"x\\ty\\u00e9\\x41\\n%\"", json!({ "a": "it's: #1", "b": "x\tyéA\n%" })),
            ("a: |-\n  one\n   two\n\n  three\nb: 2", json!({ "a": "one\n two\n\nthree", "b": 2 })),
            ("a: |\n  one\n", json!({ "a": "one\n" })),
            ("a: >-\n  one\n  two\nb: ~", json!({ "a": "one two", "b": null })),
            ("a: one\n  two # not this\nb: c#d", json!({ "a": "one two", "b": "c#d" })),
            ("a: \"one\\\n  \\ two\"\nb: 'x\n  y'", json!({ "a": "one two", "b": "x y" })),
            (":a: :manual\nb: true\nc: -3\nd: 1.5", json!({ ":a": ":manual", "b": true, "c": -3, "d": 1.5 })),
            ("a:\n  - x\n  - 'y'\n  -\n", json!({ "a": ["x", "y", null] })),
            (
                "a: [x, 'y, z', 1, [true]]\nb: {c: d, \"e\": 2}",
                json!({ "a": ["x", "y, z", 1, [true]], "b": { "c": "d", "e": 2 } }),
            ),
            ("--- {command: ping, id: 3}", json!({ "command": "ping", "id": 3 })),
            ("# a word first\n'a': b\n...\nc: d", json!({ "a": "b" })),
        ] {
            assert_eq!(lines(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (text, want) in [
            ("", Unread::Shape),
            ("hello", Unread::Shape),
            ("- a\n- b", Unread::Shape),
            ("a: !ruby/object:Set {}", Unread::Beyond),
            ("a: &x 1", Unread::Beyond),
            ("a: *x", Unread::Beyond),
            ("a:\n  b: c", Unread::Beyond),
            ("a:\n- b: c", Unread::Beyond),
            ("a: 'open", Unread::Shape),
            ("a: [1", Unread::Shape),
            ("{a: 1", Unread::Shape),
        ] {
            assert_eq!(lines(text), Err(want), "{text}");
        }
        assert_eq!(read(b"\xff\n"), Err(Unread::Encoding));
        let deep = format!("a: {}", "[".repeat(100_000));
        assert_eq!(lines(&deep), Err(Unread::Beyond));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn nothing_like_yaml_makes_it_panic(text in "(---\n)?([a-z:'\"|>%&!\\[\\]{}, #\\\\-]{0,9}\n? {0,3}){0,12}") {
            let _ = lines(&text);
        }

        #[test]
        fn what_is_written_is_read_again(message in any::<String>(), id in any::<u64>(), text in "\\PC{0,9}") {
            let fields = [("message", Value::from(message.as_str())), ("request_id", Value::from(id)), ("x", Value::from(text.as_str()))];
            let line = write(&fields);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let read = read(line.as_bytes()).map(Value::Object);
            prop_assert_eq!(read, Ok(json!({ "message": message, "request_id": id, "x": text })));
        }
    }
}
