//! Log files that are to be opened anew, as somebody who rotates them from outside wants it, and how they are. Asked by
//! `perform`, and by the loop after each wait. The writer is told and says when it has done so; the client is answered
//! then, and not before: who is answered may compress what it has moved away.
//!
//! Nothing of this is journalled: a new daemon reads the request again and asks the writer again, which does no harm.

use std::time::Duration;

use firestarter_core::time::Instant;

use super::{now, Daemon};
use crate::api::{LogStatus, LogStream, Outcome, Stuck};
use crate::config::{LogFile, Output};
use crate::journal::Stream;
use crate::say::{plain, say};

/// Who waits for files to be opened anew.
#[derive(Default)]
pub(super) struct Reopening(Vec<Waiting>);

struct Waiting {
    client: u64,
    group: Option<String>,
    files: Vec<Awaited>,
    until: Instant,
}

/// A file, and up to which time its sink was asked for it.
struct Awaited {
    sink: usize,
    asked: u64,
    path: String,
}

/// Then a client is told what has not been opened anew.
const PATIENCE: Duration = Duration::from_secs(2);

impl Reopening {
    /// When the loop is to look again although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|waiting| waiting.until).min()
    }
}

impl Daemon<'_> {
    /// Asks for the files of a group, or for all, to be opened anew. None: the answer comes later.
    pub(super) fn reopen(&mut self, client: u64, group: Option<String>) -> Option<Outcome> {
        let groups: Vec<usize> = match &group {
            None => (0..self.shared.setup.config.groups.len()).collect(),
            Some(name) => match self.core.group_named(name) {
                Some(group) => vec![group.0 as usize],
                None => return Some(self.unknown_group(name)),
            },
        };
        let mut files: Vec<(usize, String)> =
            groups.into_iter().flat_map(|group| self.files(group)).map(|(_, sink, log)| (sink, path(log))).collect();
        files.sort_unstable();
        files.dedup();
        let pipes = self.shared.pipes.filter(|_| !files.is_empty());
        let Some(pipes) = pipes else { return Some(Outcome::no_log_file(group.as_deref())) };
        say(format_args!(
            "{}: log files are opened anew, ordered by {}",
            group.as_deref().unwrap_or("all"),
            self.control.who(client)
        ));
        let asked = pipes.reopen(files.iter().map(|(sink, _)| *sink));
        let files = files.into_iter().zip(asked).map(|((sink, path), asked)| Awaited { sink, asked, path }).collect();
        self.reopening.0.push(Waiting { client, group, files, until: now() + PATIENCE });
        None
    }

    /// Answers those whose files are open now, and those who have waited for long enough.
    pub(super) fn answer_reopened(&mut self) {
        let Some(pipes) = self.shared.pipes.filter(|_| !self.reopening.0.is_empty()) else { return };
        let (now, rows) = (now(), pipes.sinks());
        let mut answers = Vec::new();
        self.reopening.0.retain(|waiting| {
            let awaited = waiting.files.iter().filter(|file| rows.row(file.sink).reopen().1 < file.asked);
            let stuck: Vec<Stuck> = awaited
                .map(|file| Stuck { path: file.path.clone(), error: error(rows.row(file.sink).errno()) })
                .collect();
            let over = stuck.is_empty() || waiting.until <= now;
            if over {
                let group = waiting.group.as_deref();
                let files = || waiting.files.iter().map(|file| file.path.clone()).collect();
                let outcome = match stuck.is_empty() {
                    true => Outcome::reopened(group, files()),
                    false => Outcome::not_reopened(group, stuck),
                };
                answers.push((waiting.client, outcome));
            }
            !over
        });
        for (client, outcome) in answers {
            self.answer(client, &outcome);
        }
    }

    /// How the files of a group's streams are.
    pub(super) fn logs(&self, group: usize) -> Vec<LogStatus> {
        let Some(pipes) = self.shared.pipes else { return Vec::new() };
        let status = |(stream, sink, log): (Stream, usize, &LogFile)| {
            let row = pipes.sinks().row(sink);
            let stream = match stream {
                Stream::Stdout => LogStream::Stdout,
                Stream::Stderr => LogStream::Stderr,
            };
            let counts = row.counts();
            LogStatus {
                stream,
                path: path(log),
                bytes: counts.bytes,
                dropped_bytes: counts.dropped,
                dropped_lines: counts.dropped_lines,
                torn_lines: counts.torn,
                rotations: row.rotations(),
                error: error(row.errno()),
            }
        };
        self.files(group).map(status).collect()
    }

    /// The files that a group's streams go to, and the sinks that they are.
    fn files(&self, group: usize) -> impl Iterator<Item = (Stream, usize, &'static LogFile)> {
        let setup = self.shared.setup;
        let sinks = setup.outputs.files.get(group).copied().unwrap_or_default();
        let launch = setup.config.groups.get(group).map(|group| &group.launch);
        let outputs = launch.into_iter().flat_map(|launch| [&launch.stdout, &launch.stderr]);
        outputs.zip([Stream::Stdout, Stream::Stderr]).zip(sinks).filter_map(|((output, stream), sink)| match output {
            Output::File(log) => Some((stream, sink?, log)),
            Output::PassOn(_) | Output::Null => None,
        })
    }
}

fn path(log: &LogFile) -> String {
    log.path.display().to_string()
}

/// The kernel's words for what is wrong, if anything is.
fn error(errno: i32) -> Option<String> {
    (errno != 0).then(|| plain(&std::io::Error::from_raw_os_error(errno)).to_string())
}
