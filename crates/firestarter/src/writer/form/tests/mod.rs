//! What lines become: exact texts, and what holds for any bytes. `speed` measures it.

#![allow(clippy::unwrap_used)]

mod speed;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// 2026-11-25 15:56:13.123456789 UTC.
const TIME: u64 = 1_795_622_173_123_456_789;
const FORMS: [Form; 4] = [Form::Plain, Form::Timed, Form::Json { nested: false }, Form::Json { nested: true }];

fn voice() -> Voice<'static> {
    Voice { group: "web", speaker: Speaker::Slot(0), stream: Stream::Stdout, pid: 123, generation: 2 }
}

fn shaped(form: Form, lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    shape(form, &voice(), TIME, lines, &mut out);
    out
}

fn json(nested: bool, line: &[u8]) -> String {
    String::from_utf8(shaped(Form::Json { nested }, line)).unwrap()
}

/// The message of the one line that a line becomes, as it is written.
fn message(nested: bool, line: &[u8]) -> String {
    let whole = json(nested, &[line, b"\n"].concat());
    let _: Value = serde_json::from_str(&whole).unwrap();
    let begin = r#"{"time":"2026-11-25T15:56:13.123456Z","group":"web","slot":0,"pid":123,"generation":2,"stream":"stdout","message":"#;
    whole.strip_prefix(begin).and_then(|rest| rest.strip_suffix("}\n")).expect("an object with a message").to_owned()
}

#[test]
fn plain_lines_stay_as_they_are() {
    for lines in [&b""[..], b"a\nb", b"\xff\n", b"\n\n"] {
        assert_eq!(shaped(Form::Plain, lines), lines);
    }
}

#[test]
fn timed_lines_stand_behind_the_time() {
    let timed = |lines: &[u8]| String::from_utf8(shaped(Form::Timed, lines)).unwrap();
    assert_eq!(timed(b"one\ntwo\r\n"), "2026-11-25T15:56:13.123456Z one\n2026-11-25T15:56:13.123456Z two\r\n");
    assert_eq!(timed(b"\nopen"), "2026-11-25T15:56:13.123456Z \n2026-11-25T15:56:13.123456Z open\n");
    assert_eq!(timed(b""), "");
    assert_eq!(shaped(Form::Timed, b"\xff\n"), b"2026-11-25T15:56:13.123456Z \xff\n");
}

/// As `date -u -d @SECONDS +%FT%T.%6NZ`.
#[test]
fn times_are_of_one_length() {
    for (time, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_709_210_096_000_001_000, "2024-02-29T12:34:56.000001Z"),
        (1_798_761_599_999_999_999, "2026-12-31T23:59:59.999999Z"),
        (u64::MAX, "2554-07-21T23:34:33.709551Z"),
    ] {
        assert_eq!(text_of(time), text);
    }
}

#[test]
fn who_speaks_stands_in_the_object() {
    let object = |voice: Voice<'_>| {
        let mut out = Vec::new();
        shape(Form::Json { nested: false }, &voice, TIME, b"x", &mut out);
        String::from_utf8(out).unwrap()
    };
    let time = r#"{"time":"2026-11-25T15:56:13.123456Z","#;
    assert_eq!(
        object(voice()),
        format!("{time}\"group\":\"web\",\"slot\":0,\"pid\":123,\"generation\":2,\"stream\":\"stdout\",\"message\":\"x\"}}\n")
    );
    let upgrader = Voice { speaker: Speaker::Upgrader, stream: Stream::Stderr, generation: 0, ..voice() };
    assert_eq!(
        object(upgrader),
        format!(
            "{time}\"group\":\"web\",\"hook\":\"upgrader\",\"pid\":123,\"stream\":\"stderr\",\"message\":\"x\"}}\n"
        )
    );
    let stop = Voice { group: "a\"b", speaker: Speaker::StopHook, pid: 0, generation: 0, ..voice() };
    assert_eq!(
        object(stop),
        format!("{time}\"group\":\"a\\\"b\",\"hook\":\"exec_stop\",\"stream\":\"stdout\",\"message\":\"x\"}}\n")
    );
}

#[test]
fn what_json_cannot_hold_is_escaped() {
    for (line, text) in [
        (&b""[..], r#""""#),
        (b"say \"hi\" \\ there", r#""say \"hi\" \\ there""#),
        (b"\x08\t\x0c\r", r#""\b\t\f\r""#),
        (b"\0\x1b[1m\x1f", r#""\u0000\u001b[1m\u001f""#),
        (b"\x7f", "\"\x7f\""),
        ("gr\u{fc}n \u{2028}\u{2029} \u{1f525}".as_bytes(), "\"gr\u{fc}n \u{2028}\u{2029} \u{1f525}\""),
        (b"caf\xe9 \"\xff\xfe\"", r#""caf\\xe9 \"\\xff\\xfe\"""#),
        (b"cut \xf0\x9f\x94", r#""cut \\xf0\\x9f\\x94""#),
        // A surrogate, which UTF-8 has not.
        (b"\xed\xa0\x80", r#""\\xed\\xa0\\x80""#),
    ] {
        for nested in [false, true] {
            assert_eq!(message(nested, line), text);
        }
    }
}

#[test]
fn every_byte_is_found_at_every_place() {
    for byte in (0..=127).filter(|byte| *byte != b'\n') {
        for place in 0..20 {
            let mut line = vec![b'a'; 20];
            line[place] = byte;
            let read: String = serde_json::from_str(&message(false, &line)).unwrap();
            assert_eq!(read.as_bytes(), line, "{byte} at {place}");
        }
    }
}

#[test]
fn objects_and_arrays_are_nested_and_nothing_else() {
    for value in
        [r#"{"level":"info","n":[1,2.5e3,null,true,{}]}"#, "[]", r#"{"a":1,"a":2}"#, "[\"\u{fc}\\ud83d\\udd25\"]"]
    {
        assert_eq!(message(true, value.as_bytes()), value);
        assert_eq!(message(true, format!(" \t{value} \r").as_bytes()), value);
        assert!(message(false, value.as_bytes()).starts_with('"'));
    }
    for (line, why) in [
        ("1", "a bare number"),
        ("true", "a bare word"),
        (r#""text""#, "a bare string"),
        ("[NaN]", "no JSON"),
        ("[1,]", "no JSON"),
        ("{'a':1}", "no JSON"),
        ("{a}", "no JSON"),
        ("{}{}", "two values"),
        ("[1] [2]", "two values"),
        ("{]", "ends as it did not begin"),
        ("{\"a\":\"\t\"}", "a raw control character"),
        (r#"["\ud800"]"#, "half a surrogate"),
        (r#"{"\udc00":1}"#, "half a surrogate in a key"),
        ("[1e999]", "beyond all doubles"),
        ("", "nothing"),
        ("  ", "nothing"),
        ("[", "its beginning only"),
    ] {
        let read: String = serde_json::from_str(&message(true, line.as_bytes())).expect(why);
        assert_eq!(read, line, "{why}");
    }
    assert_eq!(message(true, b"[\"\xff\"]"), r#""[\"\\xff\"]""#, "bytes that are no text");
}

#[test]
fn values_may_be_deep_but_not_without_end() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(message(true, deep(100).as_bytes()), deep(100));
    assert_eq!(message(true, deep(101).as_bytes()), format!("\"{}\"", deep(101)));
    let endless = deep(1_000_000);
    assert_eq!(message(true, endless.as_bytes()).len(), endless.len() + 2);
    let objects = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    assert_eq!(message(true, objects.as_bytes()), objects);
}

/// Lines in which what matters is likely.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        8 => "[ -~]{0,20}".prop_map(String::into_bytes),
        4 => "\\PC{0,12}".prop_map(String::into_bytes),
        4 => "[\\[\\]{}:,\"a1 ]{0,12}".prop_map(String::into_bytes),
        2 => Just(b"{\"a\":[1]}".to_vec()),
        8 => Just(b"\n".to_vec()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// What a message of bytes is to be read as.
fn readable(line: &[u8]) -> String {
    let mut text = String::new();
    for chunk in line.utf8_chunks() {
        text += chunk.valid();
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}

fn split(lines: &[u8]) -> Vec<&[u8]> {
    lines.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
}

proptest! {
    #[test]
    fn each_line_gives_a_line(lines in lines()) {
        for form in &FORMS[1..] {
            let out = shaped(*form, &lines);
            prop_assert_eq!(split(&out).len(), split(&lines).len());
            prop_assert!(out.is_empty() || out.ends_with(b"\n"));
        }
    }

    #[test]
    fn a_batch_may_be_cut_between_any_two_lines(lines in lines()) {
        for form in FORMS {
            let whole = shaped(form, &lines);
            for (newline, _) in lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                let (one, other) = lines.split_at(newline + 1);
                prop_assert_eq!(&[shaped(form, one), shaped(form, other)].concat(), &whole);
            }
        }
    }

    #[test]
    fn what_stands_in_the_output_already_stays(lines in lines()) {
        for form in FORMS {
            let mut out = b"before".to_vec();
            shape(form, &voice(), TIME, &lines, &mut out);
            prop_assert_eq!(out, [&b"before"[..], &shaped(form, &lines)].concat());
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written(lines in lines()) {
        let out = shaped(Form::Json { nested: false }, &lines);
        for (line, object) in split(&lines).into_iter().zip(split(&out)) {
            let object: Value = serde_json::from_slice(object).unwrap();
            prop_assert_eq!(object["message"].as_str().unwrap(), readable(line));
        }
    }

    #[test]
    fn nested_messages_are_the_values_that_they_were(lines in lines()) {
        let out = shaped(Form::Json { nested: true }, &lines);
        for (line, object) in split(&lines).into_iter().zip(split(&out)) {
            let object: Value = serde_json::from_slice(object).unwrap();
            let value = serde_json::from_slice(line).ok().filter(|value: &Value| value.is_object() || value.is_array());
            prop_assert_eq!(&object["message"], &value.unwrap_or_else(|| readable(line).into()));
        }
    }

    #[test]
    fn it_grows_no_more_than_is_said(lines in lines()) {
        let count = split(&lines).len();
        prop_assert!(shaped(Form::Timed, &lines).len() <= lines.len() + 29 * count);
        let before = before_message(&voice(), TIME).len() + "\"\"}\n".len();
        for nested in [false, true] {
            let length = shaped(Form::Json { nested }, &lines).len();
            prop_assert!(length <= 6 * lines.len() + before * count);
        }
    }
}
