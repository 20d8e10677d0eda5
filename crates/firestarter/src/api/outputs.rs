//! Where what a group writes goes, as `status` tells it, and the lines that are kept of it in memory, as `logs` answers them.
//! Made by the daemon, read by `logs` and by everybody who asks for JSON. It opens no file.

use serde::{Deserialize, Serialize};

use super::status::Hook;

/// Where one of the streams of a group's workers goes: `{"stream":"stdout","to":"file","path":"/var/log/web",...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// Which stream.
    pub(crate) stream: Stream,
    /// Where it goes.
    #[serde(flatten)]
    pub(crate) to: To,
}

/// A stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub(crate) enum To {
    /// To a file.
    File {
        /// Absolute. What is not UTF-8 in it is replaced.
        path: String,
        /// What its lines look like.
        form: Form,
        /// When its content moves to a backup; none: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotation: Option<Rotation>,
    },
    /// To Firestarter's own output.
    Own {
        /// What its lines look like there.
        form: Form,
        /// Whether the last of it is kept for `logs`.
        kept: bool,
        /// What that output is, if it has a path and nothing is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Nowhere.
    Null,
}

/// What a line in a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// As it was written.
    Plain,
    /// Behind the time.
    Timed,
    /// A JSON object.
    Json,
}

/// When a file's content moves to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub(crate) enum Rotation {
    /// When it would grow to so many bytes.
    Size {
        /// So many.
        max_bytes: u64,
        /// So many are kept.
        backups: u32,
    },
    /// Every so often.
    Time {
        /// So many units.
        interval: u32,
        /// Of this length.
        unit: Unit,
        /// By UTC, or by the local time.
        utc: bool,
        /// So many are kept.
        backups: u32,
    },
}

/// Of a rotation by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Midnight,
}

/// Where a client has read a group's kept lines to. It outlives daemons; another start's rings do not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// `ring` of the reply before.
    pub(crate) ring: u64,
    /// `next` of the reply before.
    pub(crate) after: u64,
}

/// To `logs`: lines that are kept in memory, oldest first, as many as one reply may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines {
    /// Whose.
    pub(crate) group: String,
    /// Tells the rings of this start from those of another.
    pub(crate) ring: u64,
    /// The lines.
    pub(crate) entries: Vec<Entry>,
    /// `after` of the next question.
    pub(crate) next: u64,
    /// Lines after the place that was asked for are not kept any more.
    pub(crate) lost: bool,
}

/// A line that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was read: RFC 3339, in UTC.
    pub(crate) time: String,
    /// Of the worker in this slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
    /// Of this hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hook: Option<Hook>,
    /// To which it was written.
    pub(crate) stream: Stream,
    /// Without its newline. What is not UTF-8 in it is replaced.
    pub(crate) text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_on_the_wire() {
        let file = |form, rotation| To::File { path: "/l".into(), form, rotation };
        let size = Rotation::Size { max_bytes: 10, backups: 3 };
        let time = Rotation::Time { interval: 1, unit: Unit::Midnight, utc: true, backups: 7 };
        for (to, wire) in [
            (file(Form::Json, None), r#"{"stream":"stderr","to":"file","path":"/l","form":"json"}"#),
            (
                file(Form::Timed, Some(size)),
                r#"{"stream":"stderr","to":"file","path":"/l","form":"timed","rotation":{"by":"size","max_bytes":10,"backups":3}}"#,
            ),
            (
                file(Form::Plain, Some(time)),
                r#"{"stream":"stderr","to":"file","path":"/l","form":"plain","rotation":{"by":"time","interval":1,"unit":"midnight","utc":true,"backups":7}}"#,
            ),
            (
                To::Own { form: Form::Plain, kept: true, path: None },
                r#"{"stream":"stderr","to":"own","form":"plain","kept":true}"#,
            ),
            (
                To::Own { form: Form::Plain, kept: false, path: Some("/l".into()) },
                r#"{"stream":"stderr","to":"own","form":"plain","kept":false,"path":"/l"}"#,
            ),
            (To::Null, r#"{"stream":"stderr","to":"null"}"#),
        ] {
            let output = Output { stream: Stream::Stderr, to };
            assert_eq!(serde_json::to_string(&output).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Output>(wire).unwrap(), output);
        }
    }

    #[test]
    fn kept_lines_on_the_wire() {
        let entry = Entry {
            time: "2026-11-25T15:56:13.5Z".into(),
            slot: None,
            hook: Some(Hook::ExecStop),
            stream: Stream::Stdout,
            text: "a".into(),
        };
        let lines = Lines { group: "w".into(), ring: 1, entries: vec![entry], next: 40, lost: false };
        let wire = r#"{"group":"w","ring":1,"entries":[{"time":"2026-11-25T15:56:13.5Z","hook":"exec_stop","stream":"stdout","text":"a"}],"next":40,"lost":false}"#;
        assert_eq!(serde_json::to_string(&lines).unwrap(), wire);
        let answer = super::super::Answer::Lines(lines);
        assert_eq!(serde_json::from_str::<super::super::Answer>(wire).unwrap(), answer);
    }
}
