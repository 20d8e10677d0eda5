//! What the daemon keeps of what a group passes on, as a source of lines. Used by `reading`. It asks by the control socket,
//! again and again where somebody follows; where it stands outlives daemons, so one that dies costs nothing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::{Look, Taker};
use super::line::{time, Line};
use super::sieve::Sieve;
use crate::api::{Answer, Call, Cursor, Entry, Outcome, Question};
use crate::client::{Client, ClientError};

/// Kept lines that are read.
pub(super) struct RingSource {
    group: String,
    socket: PathBuf,
    sieve: Sieve,
    from: Option<Cursor>,
    /// The daemon did not answer, and that was said.
    silent: bool,
    /// When there was nothing new.
    idle: Option<Instant>,
}

/// Between two questions of one who follows.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(10);

impl RingSource {
    pub(super) fn new(group: String, socket: &Path, sieve: Sieve) -> RingSource {
        RingSource { group, socket: socket.to_owned(), sieve, from: None, silent: false, idle: None }
    }

    /// Takes in what is kept, of it so many of the last lines that pass; none: all.
    pub(super) fn begin(&mut self, lines: Option<u64>, taker: &mut dyn Taker) -> Result<(), ClientError> {
        let mut last = VecDeque::new();
        // Of a beginning that failed nothing was taken in.
        self.from = None;
        while self.ask(taker, &mut |time, line| {
            last.push_back((time, line));
            if lines.is_some_and(|lines| last.len() as u64 > lines) {
                last.pop_front();
            }
        })? == Look::More
        {}
        last.into_iter().for_each(|(time, line)| taker.line(time, line));
        Ok(())
    }

    /// Asks once more. A daemon that does not answer is waited for: it may be on its way back.
    pub(super) fn look(&mut self, taker: &mut dyn Taker) -> Look {
        if self.idle.is_some_and(|idle| idle.elapsed() < PAUSE) {
            return Look::Idle;
        }
        let mut lines = Vec::new();
        let asked = self.ask(taker, &mut |time, line| lines.push((time, line)));
        lines.into_iter().for_each(|(time, line)| taker.line(time, line));
        let look = match asked {
            Ok(look) => {
                self.silent = false;
                look
            }
            Err(error) => {
                let gone = matches!(error, ClientError::NoDaemon { .. });
                if gone && !std::mem::replace(&mut self.silent, true) {
                    let socket = self.socket.display();
                    taker.remark(format!("{}: no daemon at {socket}; waiting for one", self.group));
                }
                Look::Idle
            }
        };
        self.idle = (look == Look::Idle).then(Instant::now);
        look
    }

    fn ask(&mut self, taker: &mut dyn Taker, each: &mut dyn FnMut(Option<i64>, Line)) -> Result<Look, ClientError> {
        let question = Question::Lines { group: self.group.clone(), from: self.from };
        let received = Client::connect(&self.socket, Some(TIMEOUT))?.ask(&Call::Ask(question))?;
        let lines = match received.outcome {
            Outcome::Answer(Answer::Lines(lines)) => lines,
            // Another start knows this group no more, or keeps nothing of it.
            Outcome::Answer(_) | Outcome::Problem(_) | Outcome::Other { .. } => return Ok(Look::Idle),
        };
        if self.from.is_some_and(|from| from.ring != lines.ring) {
            taker.remark(format!("{}: firestarter was started anew; its last lines before may be missing", self.group));
        } else if lines.lost {
            taker.remark(format!("{}: lines are missing here: they were not kept long enough", self.group));
        }
        self.from = Some(Cursor { ring: lines.ring, after: lines.next });
        let look = if lines.entries.is_empty() { Look::Idle } else { Look::More };
        for entry in lines.entries {
            let line = line_of(&self.group, entry);
            if self.sieve.passes(&line) {
                each(line.time, line);
            }
        }
        Ok(look)
    }
}

fn line_of(group: &str, entry: Entry) -> Line {
    Line {
        time: time(&entry.time),
        group: Some(group.to_owned()),
        slot: entry.slot,
        hook: entry.hook,
        stream: Some(entry.stream),
        text: entry.text.into_bytes(),
        said: 0,
        ends: true,
    }
}
