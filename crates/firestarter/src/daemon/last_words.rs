//! Why a worker failed, in its own words: the last lines that it wrote to its standard error, as far as they come by a pipe.
//! Looked for when one ends by a failure, for its notice and for the status, and when a rollout is aborted, for that notice
//! and for the replies to those who asked for it. A worker
//! that writes to a file of its own is not looked for: a file may hang. Nobody is waited for, and a group that fails in a loop is not told of more than once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use firestarter_core::action::{Next, Notice};
use firestarter_core::command::{AbortCause, Failed, Reply};
use firestarter_core::event::{Exit, Failure};
use firestarter_core::ids::{GroupId, Pid, WorkerId};
use firestarter_core::time::Instant;

use super::perform::shown;
use super::{now, Daemon};
use crate::api::Outcome;
use crate::config::Output;
use crate::say::say;

/// What workers said.
#[derive(Default)]
pub(super) struct LastWords {
    /// The last abort, and what the worker to blame said.
    abort: Option<(AbortCause, Vec<String>)>,
    /// What the worker that failed last said.
    failures: BTreeMap<GroupId, Vec<String>>,
    /// What those said whose ends are to be told.
    ends: BTreeMap<Pid, Vec<String>>,
    /// When that was last done.
    told: BTreeMap<GroupId, Instant>,
    /// How many were looked for since notices were last told.
    looked: usize,
}

/// So many lines are told of the worker to blame for an abort.
const LINES: usize = 10;
/// And of any other that failed.
const FEW_LINES: usize = 3;
/// So many are looked for at once: a look costs as much as there are descriptors.
const MOST: usize = 16;
/// Between two ends of which a group's workers' words are told.
const PAUSE: Duration = Duration::from_secs(1);

impl LastWords {
    /// What is known of this abort.
    fn of(&self, cause: &AbortCause) -> &[String] {
        self.abort.as_ref().filter(|(known, _)| known == cause).map_or(&[], |(_, lines)| lines)
    }

    /// What the worker of a group that failed last said.
    pub(super) fn of_failure(&self, group: GroupId) -> Vec<String> {
        self.failures.get(&group).cloned().unwrap_or_default()
    }

    /// All notices are told.
    pub(super) fn settle(&mut self) {
        self.ends.clear();
        self.looked = 0;
    }

    /// Adds them to a reply that tells of an abort.
    pub(super) fn add_to(&self, outcome: Outcome, reply: &Reply) -> Outcome {
        match reply {
            Reply::Failed(Failed::Aborted { cause, .. }) => outcome.with_stderr(self.of(cause)),
            Reply::Failed(Failed::NotStarted { .. } | Failed::Superseded { .. } | Failed::Upgrader { .. })
            | Reply::Done(_)
            | Reply::Refused(_) => outcome,
        }
    }
}

impl Daemon<'_> {
    /// Something is going to be told: the worker that it is about may be buried when somebody reads of it.
    pub(super) fn heed_words(&mut self, notice: &Notice) {
        if let Notice::RolloutAborted { cause, .. } = notice {
            self.heed_abort(cause);
        }
        if let Notice::NotSpawned { group, .. } = notice {
            self.last_words.failures.remove(group);
        }
        if let Notice::WorkerExited { group, pid, failure, next, .. } = notice {
            if *failure != Failure::Exit(Exit::Code(0)) {
                self.heed_failure(*group, *pid, *failure, *next);
            }
        }
    }

    fn heed_abort(&mut self, cause: &AbortCause) {
        let said = to_blame(cause).and_then(|blamed| {
            let runs = |process: &rustix::process::Pid| shown(*process) == blamed;
            let mut known = self.children.known.iter();
            let (worker, _) = known.find(|(_, child)| child.process.as_ref().is_some_and(|(pid, _)| runs(pid)))?;
            self.said_by(*worker, LINES)
        });
        self.last_words.abort = said.map(|lines| (cause.clone(), lines));
    }

    fn heed_failure(&mut self, group: GroupId, pid: Pid, failure: Failure, next: Next) {
        self.last_words.failures.remove(&group);
        // Of one that was killed here, the notice says why.
        if !matches!(failure, Failure::Exit(_)) || self.last_words.looked >= MOST {
            return;
        }
        self.last_words.looked += 1;
        let table = self.shared.table;
        let mut dead = self.children.graves.iter();
        let dead = dead.find(|(row, _)| table.pid(*row).is_some_and(|known| shown(known) == pid));
        let Some(lines) = dead.and_then(|(_, worker)| self.said_by(*worker, FEW_LINES)) else { return };
        // An abort tells more of it.
        if next != Next::Abort {
            self.last_words.ends.insert(pid, lines.clone());
        }
        self.last_words.failures.insert(group, lines);
    }

    fn said_by(&self, worker: WorkerId, most: usize) -> Option<Vec<String>> {
        self.shared.pipes.map(|pipes| lines(&pipes.last_words(worker), most))
    }

    /// Says them behind the notice, unless they stand in the same log already.
    pub(super) fn say_last_words(&mut self, notice: &Notice) {
        let (group, said) = if let Notice::RolloutAborted { group, cause, .. } = notice {
            (*group, self.last_words.of(cause).to_vec())
        } else if let Notice::WorkerExited { group, pid, .. } = notice {
            (*group, self.last_words.ends.remove(pid).filter(|_| self.may_tell(*group)).unwrap_or_default())
        } else {
            return;
        };
        let Some(of) = self.shared.setup.config.groups.get(group.0 as usize) else { return };
        if said.is_empty() || matches!(of.launch.stderr, Output::PassOn(_)) {
            return;
        }
        self.last_words.told.insert(group, now());
        for line in said {
            say(format_args!("{}: its stderr | {line}", of.spec.name));
        }
    }

    fn may_tell(&self, group: GroupId) -> bool {
        self.last_words.told.get(&group).is_none_or(|told| now().since(*told) >= PAUSE)
    }
}

/// The process that an abort is about.
fn to_blame(cause: &AbortCause) -> Option<Pid> {
    match cause {
        AbortCause::Worker { pid, .. } | AbortCause::Timeout { pid, .. } | AbortCause::Unhealthy { pid, .. } => *pid,
        AbortCause::Command { .. } => None,
    }
}

/// The last lines, with nothing in them that plays tricks on a terminal. The first is left out if it may be a part of one.
fn lines(bytes: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let cut = bytes.len() >= WHOLE;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if cut && lines.len() > 1 {
        lines.remove(0);
    }
    let last = &lines[lines.len().saturating_sub(most)..];
    let plain = |line: &&str| line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    last.iter().map(plain).collect()
}

/// A tail of this length may begin within a line.
const WHOLE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_anything() {
        assert_eq!(lines(b"", LINES), [""; 0]);
        assert_eq!(lines(b"\n \none\ntwo", LINES), ["one", "two"]);
        assert_eq!(lines(b"a\x1b[2Jb\xff\0\tc\r\n", LINES), ["a\u{fffd}[2Jb\u{fffd}\u{fffd}\tc"]);
        let many: String = (0..30).map(|number| format!("{number}\n")).collect();
        assert_eq!(lines(many.as_bytes(), LINES).first().map(String::as_str), Some("20"));
        let long = format!("{}\nlast\n", "x".repeat(WHOLE));
        assert_eq!(lines(&long.as_bytes()[long.len() - WHOLE..], LINES), ["last"]);
        assert_eq!(lines("x".repeat(WHOLE).as_bytes(), LINES).len(), 1, "a line without an end is better than nothing");
    }
}
