//! Log files that are to be opened anew, as somebody who rotates them from outside wants it. Asked by
//! `perform`, and by the loop after each wait. The writer is told and says when it has done so; the client is answered
//! then, and not before: who is answered may compress what it has moved away.
//!
//! Nothing of this is journalled: a new daemon reads the request again and asks the writer again, which does no harm.

use std::time::Duration;

use firestarter_core::time::Instant;

use super::log_files::{error, path};
use super::{now, Daemon};
use crate::api::{Outcome, Stuck};
use crate::say::say;

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
}
