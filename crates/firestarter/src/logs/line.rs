//! What a line says of itself: when it was written, by whom, to which stream. Pure. Used by `file` and `ring`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::api::{Form, Hook, Stream};

/// A line, or a part of a long one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// In nanoseconds since 1970; none: it does not say.
    pub(super) time: Option<i64>,
    /// The group, if it says.
    pub(super) group: Option<String>,
    /// Of the worker in this slot.
    pub(super) slot: Option<u32>,
    /// Of this hook.
    pub(super) hook: Option<Hook>,
    /// Written to this stream.
    pub(super) stream: Option<Stream>,
    /// As it is shown.
    pub(super) text: Vec<u8>,
    /// Where in the text that begins which was written by the worker.
    pub(super) said: usize,
    /// A newline follows.
    pub(super) ends: bool,
}

/// The members of a line of JSON that count here.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    slot: Option<u32>,
    hook: Option<Hook>,
    stream: Option<Stream>,
}

impl Line {
    /// Reads a line of a file. One that is not of the file's form says nothing of itself.
    pub(super) fn read(form: Form, bytes: &[u8], ends: bool) -> Line {
        let line = Line { text: bytes.to_vec(), ends, ..Line::default() };
        match form {
            Form::Plain => line,
            Form::Timed => {
                let end = bytes.iter().take(LONGEST_TIME).position(|byte| *byte == b' ');
                let time = end.and_then(|end| time(std::str::from_utf8(&bytes[..end]).ok()?));
                let said = end.filter(|_| time.is_some()).map_or(0, |end| end + 1);
                Line { time, said, ..line }
            }
            Form::Json => {
                let head = if ends { None } else { head(bytes) };
                let members = |bytes| serde_json::from_slice::<Members<'_>>(bytes).ok();
                match members(bytes).or_else(|| members(head.as_deref()?)) {
                    Some(members) => line.by(members),
                    None => line,
                }
            }
        }
    }

    /// A later part of this line: it is the same one's.
    pub(super) fn part(&self, bytes: &[u8], ends: bool) -> Line {
        Line { text: bytes.to_vec(), said: 0, ends, ..self.clone() }
    }

    /// What these say.
    fn by(self, members: Members<'_>) -> Line {
        let Members { time: text, group, slot, hook, stream } = members;
        let time = text.and_then(|text| time(&text));
        Line { time, group: group.map(Cow::into_owned), slot, hook, stream, ..self }
    }
}

/// Of an object that has no end here: what stands before its message, as an object. The writer puts all that counts there. In
/// a string these bytes cannot stand: a quote within one has a backslash before it.
fn head(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = memchr::memmem::find(bytes, b",\"message\":")?;
    Some([&bytes[..end], b"}"].concat())
}

/// No time is longer: `2026-11-25T15:56:13.123456789+00:00`.
const LONGEST_TIME: usize = 40;

/// A time as RFC 3339 writes it, in nanoseconds since 1970.
pub(super) fn time(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_when_and_whose_they_are() {
        let text = b"2026-11-25T15:56:13.123456Z hello";
        let line = Line::read(Form::Timed, text, true);
        assert_eq!((line.time, &line.text[line.said..]), (Some(1_795_622_173_123_456_000), &b"hello"[..]));
        let json = br#"{"time":"2026-11-25T15:56:13Z","group":"w\u0065b","slot":3,"pid":7,"stream":"stderr","message":{"a":[1]}}"#;
        let line = Line::read(Form::Json, json, true);
        let said = (line.time, line.group.as_deref(), line.slot, line.hook, line.stream);
        assert_eq!(said, (Some(1_795_622_173_000_000_000), Some("web"), Some(3), None, Some(Stream::Stderr)));
        let hook = Line::read(Form::Json, br#"{"time":"?","hook":"exec_stop","stream":"stdout"}"#, false);
        assert_eq!((hook.time, hook.hook, hook.ends), (None, Some(Hook::ExecStop), false));
    }

    #[test]
    fn a_line_of_json_without_an_end_says_whose_it_is_before_its_message() {
        let text =
            br#"{"time":"2026-11-25T15:56:13Z","group":"w,\"message\":","slot":3,"stream":"stderr","message":"a\"#;
        let line = Line::read(Form::Json, text, false);
        let said = (line.time, line.group.as_deref(), line.slot, line.stream, &line.text[..]);
        let (time, group) = (Some(1_795_622_173_000_000_000), Some("w,\"message\":"));
        assert_eq!(said, (time, group, Some(3), Some(Stream::Stderr), &text[..]));
        assert_eq!(line.part(b"b", true), Line { text: b"b".to_vec(), ends: true, ..line });
        for text in
            [r#"{"slot":3,"mess"#, r#"{"message":"a,\"slot\":3"#, r#"{"a":{"slot":3,"message":"#, r#",,"message":"#]
        {
            let line = Line::read(Form::Json, text.as_bytes(), false);
            assert_eq!(line, Line { text: text.into(), ..Line::default() }, "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_form_says_nothing() {
        for (form, text) in [
            (Form::Plain, "2026-11-25T15:56:13Z a"),
            (Form::Timed, "no time"),
            (Form::Timed, ""),
            (Form::Timed, "2026-11-25T15:56:13Z"),
            (Form::Json, "{"),
            (Form::Json, "7"),
            (Form::Json, r#"{"slot":-1}"#),
            (Form::Json, r#"{"slot":1,"message":"#),
        ] {
            let line = Line::read(form, text.as_bytes(), true);
            assert_eq!(line, Line { text: text.into(), ends: true, ..Line::default() }, "{text}");
        }
    }
}
