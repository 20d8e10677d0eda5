//! What is told of log files: how they are, in a status, and that they were opened anew. Made by the daemon, read by `cli/`.
//! A picture of one moment; it opens no file.

use serde::{Deserialize, Serialize};

use super::reply::{Answer, Done, Outcome, Trouble, What};

/// The file that a stream of a group goes to. The counts are the file's, since the start: streams that share a file have
/// the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogStatus {
    /// Whose it is.
    pub(crate) stream: LogStream,
    /// Where it is.
    pub(crate) path: String,
    /// What workers wrote that stands in it or its backups, in bytes.
    pub(crate) bytes: u64,
    /// What was dropped because it could not be written.
    pub(crate) dropped_bytes: u64,
    /// The same in lines.
    pub(crate) dropped_lines: u64,
    /// Last lines of workers that ended within them.
    pub(crate) torn_lines: u64,
    /// How often it was rotated.
    pub(crate) rotations: u64,
    /// Why it cannot be written to now, in the kernel's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// A file that could not be opened anew in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stuck {
    /// Where it is.
    pub(crate) path: String,
    /// Why, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl LogStatus {
    /// Whether people must know of it.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.error.is_some() || self.dropped_bytes > 0
    }
}

impl LogStream {
    /// The configuration's key.
    pub(crate) fn key(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout_log",
            LogStream::Stderr => "stderr_log",
        }
    }
}

impl Outcome {
    /// These files were opened anew.
    pub(crate) fn reopened(group: Option<&str>, files: Vec<String>) -> Outcome {
        Outcome::Answer(Answer::Done(Done { group: group.map(str::to_owned), what: What::Reopened { files } }))
    }

    /// These could not be, in time.
    pub(crate) fn not_reopened(group: Option<&str>, files: Vec<Stuck>) -> Outcome {
        Outcome::problem(group, Trouble::NotReopened { files })
    }

    /// There is none that could be.
    pub(crate) fn no_log_file(group: Option<&str>) -> Outcome {
        Outcome::problem(group, Trouble::NoLogFile)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_reply, reply_line, request_line, Call, Request};
    use super::*;

    #[test]
    fn a_reopening_on_the_wire() {
        for group in [None, Some("web".to_owned())] {
            let request = Request { id: 1.into(), call: Call::Reopen { group } };
            assert_eq!(parse(request_line(&request).as_bytes()), Ok(request));
        }
        let stuck = Stuck { path: "/log".to_owned(), error: None };
        for (outcome, want) in [
            (
                Outcome::reopened(Some("web"), vec!["/log".into()]),
                r#""result":{"group":"web","done":"reopened","files":["/log"]}}"#,
            ),
            (
                Outcome::not_reopened(None, vec![stuck]),
                r#""error":{"code":-32016,"message":"a log file was not opened anew","data":{"code":"not_reopened","files":[{"path":"/log"}]}}}"#,
            ),
            (Outcome::no_log_file(Some("web")), r#""data":{"group":"web","code":"no_log_file"}}}"#),
        ] {
            let line = reply_line(&1.into(), &outcome);
            assert!(line.trim_end().ends_with(want), "{line}");
            assert_eq!(parse_reply(line.as_bytes()).expect("a reply").outcome, outcome);
        }
    }
}
