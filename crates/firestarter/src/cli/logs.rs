//! `logs`: asks where groups write to, and has it shown. Called by `cli::main`, and by `start` where no daemon runs.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::errand::Wanted;
use super::{code, trouble, Next, QUESTION_TIMEOUT};
use crate::api::{Answer, Call, GroupStatus, Outcome, Question};
use crate::client::{Client, ClientError};
use crate::logs::{read, Group, Order, Page, Trouble};

/// Shows what is wanted, if a daemon runs; else somebody may know a configuration.
pub(super) fn run(order: Order, config: Option<PathBuf>, socket: &Path) -> Next {
    match groups(socket) {
        Ok(Some(groups)) => Next::Exit(show(&order, &groups, Some(socket))),
        Ok(None) => {
            eprint!("{}", trouble::wrong_answer());
            Next::Exit(code::FAILED)
        }
        Err(error @ ClientError::NoDaemon { .. }) => {
            Next::Logs { order, config, no_daemon: trouble::no_reply(&Wanted::Status, true, &error) }
        }
        Err(error) => {
            eprint!("{}", trouble::no_reply(&Wanted::Status, true, &error));
            Next::Exit(code::of_error(&error))
        }
    }
}

fn groups(socket: &Path) -> Result<Option<Vec<Group>>, ClientError> {
    let client = Client::connect(socket, Some(QUESTION_TIMEOUT))?;
    match client.ask(&Call::Ask(Question::Status))?.outcome {
        Outcome::Answer(Answer::Status(status)) => {
            let slots = |group: &GroupStatus| {
                let above = group.workers.iter().map(|worker| worker.slot.0.saturating_add(1)).max();
                above.unwrap_or(0).max(group.wanted)
            };
            let of = |group: GroupStatus| Group { slots: slots(&group), name: group.name, outputs: group.outputs };
            Ok(Some(status.groups.into_iter().map(of).collect()))
        }
        Outcome::Answer(_) | Outcome::Problem(_) | Outcome::Other { .. } => Ok(None),
    }
}

/// Shows what is wanted; the exit code.
pub(crate) fn show(order: &Order, groups: &[Group], socket: Option<&Path>) -> u8 {
    let stdout = io::stdout();
    let coloured = stdout.is_terminal() && shows_colours(|name| std::env::var_os(name));
    let page = Page { out: &mut stdout.lock(), fd: stdout.as_fd(), coloured };
    match read(order, groups, socket, page) {
        Ok(()) => code::DONE,
        Err(Trouble::UnknownGroup { group, groups }) => {
            eprint!("{}", trouble::unknown_group(&group, &groups));
            code::UNKNOWN_GROUP
        }
        Err(Trouble::Refused { what, next }) => {
            eprint!("{}", trouble::refused(what, next));
            code::FAILED
        }
        Err(Trouble::Told) => code::FAILED,
        Err(error @ Trouble::Output(_)) => {
            eprintln!("firestarter: {error}");
            code::FAILED
        }
    }
}

/// What the environment says of a terminal: https://no-color.org, and a terminal that cannot.
fn shows_colours(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty()) && variable("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_where_they_are_wanted() {
        let shown = |variables: &[(&str, &str)]| {
            shows_colours(|name| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| value.into()))
        };
        assert!(shown(&[]) && shown(&[("NO_COLOR", ""), ("TERM", "xterm")]));
        assert!(!shown(&[("NO_COLOR", "1")]) && !shown(&[("TERM", "dumb")]));
    }
}
