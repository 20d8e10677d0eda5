//! What a line becomes: as it is, behind the time, or a JSON object. Used by the sinks, which call it with whole lines; only
//! a line that its writer left open when it ended has no newline.
//!
//! Pure: the same arguments give the same bytes at all times, since a writer that takes over from one that was killed shapes
//! a batch again and goes on in the middle of it. Each line gives one line, whatever stands beside it in a call, so a batch
//! may be cut between any two lines. Never looks at a clock, a file or a descriptor.
//!
//! How much longer it gets: a line by what stands before it (27 or 28 bytes behind the time; about 130 and the group's name
//! in JSON); in JSON a byte becomes 6 at most (a control character). Lines without anything in them are the worst.

mod escape;
#[cfg(test)]
mod tests;
mod value;

use jiff::Timestamp;
use memchr::memchr_iter;

use crate::journal::{Speaker, Stream};
use crate::output::Form;
use escape::{escape_bytes, escape_text};

/// Who speaks.
pub(super) struct Voice<'a> {
    pub(super) group: &'a str,
    pub(super) speaker: Speaker,
    pub(super) stream: Stream,
    /// 0: not known.
    pub(super) pid: u32,
    /// 0: not known, or a hook's.
    pub(super) generation: u32,
}

/// Adds the lines in their form. `time`: nanoseconds since 1970; all lines of a call bear it.
pub(super) fn shape(form: Form, voice: &Voice<'_>, time: u64, lines: &[u8], out: &mut Vec<u8>) {
    match form {
        Form::Plain => out.extend_from_slice(lines),
        Form::Timed => put_timed(time, lines, out),
        Form::Json { nested } => put_json(voice, time, nested, lines, out),
    }
}

fn put_timed(time: u64, lines: &[u8], out: &mut Vec<u8>) {
    let begin = format!("{} ", text_of(time));
    each(lines, |line| {
        out.extend_from_slice(begin.as_bytes());
        out.extend_from_slice(line);
        out.push(b'\n');
    });
}

fn put_json(voice: &Voice<'_>, time: u64, nested: bool, lines: &[u8], out: &mut Vec<u8>) {
    let begin = before_message(voice, time);
    // Nearly all that is written is UTF-8, and to look at all lines at once is quicker.
    let escape: fn(&[u8], &mut Vec<u8>) = if std::str::from_utf8(lines).is_ok() { escape_text } else { escape_bytes };
    each(lines, |line| {
        out.extend_from_slice(&begin);
        match nested.then(|| value::of_line(line)).flatten() {
            Some(value) => out.extend_from_slice(value),
            None => {
                out.push(b'"');
                escape(line, out);
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}\n");
    });
}

/// Calls with every line, without its newline.
fn each(lines: &[u8], mut found: impl FnMut(&[u8])) {
    let mut begin = 0;
    for newline in memchr_iter(b'\n', lines) {
        found(&lines[begin..newline]);
        begin = newline + 1;
    }
    if begin < lines.len() {
        found(&lines[begin..]);
    }
}

/// The object up to its message. What is not known is left out: a reader that asks for it gets nothing, and no number that
/// means something else.
fn before_message(voice: &Voice<'_>, time: u64) -> Vec<u8> {
    let mut begin = format!("{{\"time\":\"{}\",\"group\":\"", text_of(time)).into_bytes();
    escape_text(voice.group.as_bytes(), &mut begin);
    let mut rest = match voice.speaker {
        Speaker::Slot(slot) => format!("\",\"slot\":{slot}"),
        Speaker::StopHook => "\",\"hook\":\"exec_stop\"".to_owned(),
        Speaker::Upgrader => "\",\"hook\":\"upgrader\"".to_owned(),
    };
    if voice.pid != 0 {
        rest += &format!(",\"pid\":{}", voice.pid);
    }
    if voice.generation != 0 {
        rest += &format!(",\"generation\":{}", voice.generation);
    }
    rest += match voice.stream {
        Stream::Stdout => ",\"stream\":\"stdout\",\"message\":",
        Stream::Stderr => ",\"stream\":\"stderr\",\"message\":",
    };
    begin.extend_from_slice(rest.as_bytes());
    begin
}

/// As RFC 3339 has it, in UTC, to the microsecond.
fn text_of(time: u64) -> String {
    let time = Timestamp::from_nanosecond(time.into()).expect("64 bits of nanoseconds end in the year 2554");
    format!("{time:.6}")
}
