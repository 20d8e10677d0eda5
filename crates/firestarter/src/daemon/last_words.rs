//! Why a release failed, in the words of the worker that did: the last lines that it wrote to its standard error, as far as
//! they come by a pipe. Looked for when a rollout is aborted, for its notice and for the replies to those who asked for it.
//! A worker that writes to a file of its own, or to Firestarter's own output, is not looked for: a file may hang.

use firestarter_core::action::Notice;
use firestarter_core::command::{AbortCause, Failed, Reply};
use firestarter_core::ids::Pid;

use super::perform::shown;
use super::Daemon;
use crate::api::Outcome;
use crate::config::Output;
use crate::say::say;

/// The last abort, and what the worker to blame said.
#[derive(Default)]
pub(super) struct LastWords(Option<(AbortCause, Vec<String>)>);

/// So many lines are told.
const LINES: usize = 10;

impl LastWords {
    /// What is known of this abort.
    fn of(&self, cause: &AbortCause) -> &[String] {
        self.0.as_ref().filter(|(known, _)| known == cause).map_or(&[], |(_, lines)| lines)
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
    /// An abort is told: the worker to blame may be buried when somebody reads of it.
    pub(super) fn heed_abort(&mut self, notice: &Notice) {
        let Notice::RolloutAborted { cause, .. } = notice else { return };
        let said = self.shared.pipes.zip(to_blame(cause)).and_then(|(pipes, blamed)| {
            let runs = |process: &rustix::process::Pid| shown(*process) == blamed;
            let mut known = self.children.known.iter();
            let (worker, _) = known.find(|(_, child)| child.process.as_ref().is_some_and(|(pid, _)| runs(pid)))?;
            Some(lines(&pipes.last_words(*worker)))
        });
        self.last_words = LastWords(said.map(|lines| (cause.clone(), lines)));
    }

    /// Says them behind the notice, unless they stand in the same log already.
    pub(super) fn say_last_words(&self, notice: &Notice) {
        let Notice::RolloutAborted { group, cause, .. } = notice else { return };
        let Some(group) = self.shared.setup.config.groups.get(group.0 as usize) else { return };
        if !matches!(group.launch.stderr, Output::PassOn(_)) {
            for line in self.last_words.of(cause) {
                say(format_args!("{}: its stderr | {line}", group.spec.name));
            }
        }
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
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let cut = bytes.len() >= WHOLE;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if cut && lines.len() > 1 {
        lines.remove(0);
    }
    let last = &lines[lines.len().saturating_sub(LINES)..];
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
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"\n \none\ntwo"), ["one", "two"]);
        assert_eq!(lines(b"a\x1b[2Jb\xff\0\tc\r\n"), ["a\u{fffd}[2Jb\u{fffd}\u{fffd}\tc"]);
        let many: String = (0..30).map(|number| format!("{number}\n")).collect();
        assert_eq!(lines(many.as_bytes()).first().map(String::as_str), Some("20"));
        let long = format!("{}\nlast\n", "x".repeat(WHOLE));
        assert_eq!(lines(&long.as_bytes()[long.len() - WHOLE..]), ["last"]);
        assert_eq!(lines("x".repeat(WHOLE).as_bytes()).len(), 1, "a line without an end is better than nothing");
    }
}
