//! What went wrong, in words for an operator at 3 a.m.: one line that says what, whose and why, then one that says what to
//! do next. Called by `cli::main`, and by `render.rs` for the last failure of a group. Pure: it only words.

use std::time::Duration;

use std::io;

use firestarter_core::command::Verb;
use firestarter_core::ids::{Pid, Slot};

use super::errand::Wanted;
use super::render::plain;
use crate::api::{Cause, Failure, Probed, Problem, Step, Stuck, Trouble, UNREADABLE};
use crate::client::ClientError;
use crate::nearest::nearest;
use crate::say::plain as io_text;

/// A failure as one or two lines on stderr.
struct Words {
    what: String,
    next: String,
}

/// An order that failed or was refused.
pub(crate) fn problem(wanted: &Wanted, problem: &Problem) -> String {
    let group = problem.group.as_deref().unwrap_or("all");
    let verb = verb_word(wanted);
    let look = match &problem.group {
        Some(group) => format!("firestarter ctrl {group} status"),
        None => "firestarter status".to_owned(),
    };
    let refused = |why: &str, next: String| Words { what: format!("{verb} refused: {why}"), next };
    let words = match &problem.trouble {
        Trouble::Aborted { generation: _, committed, workers, cause, stderr } => {
            let words = aborted(verb, group, cause, Kept { new: *committed, of: *workers });
            return words.with_lines(problem.group.as_deref(), stderr);
        }
        Trouble::NotStarted { slot, failure } => Words {
            what: format!("{verb} failed: the worker in slot {slot} {}", ended(*failure)),
            next: remedy(*failure, &format!("firestarter ctrl {group} start")),
        },
        Trouble::Superseded { by: Some(by) } => {
            Words { what: format!("{verb} given up: a later {by} took its place"), next: look }
        }
        Trouble::Superseded { by: None } => {
            Words { what: format!("{verb} given up: firestarter is being stopped"), next: String::new() }
        }
        Trouble::UnknownGroup { groups } => return unknown_group(group, groups),
        Trouble::NotRunning => refused("the group is not running", format!("firestarter ctrl {group} start")),
        Trouble::AtLeastOne => refused("one worker is the least", format!("to stop it: firestarter ctrl {group} stop")),
        Trouble::AtMost { limit } => refused(&format!("{limit} workers are the most"), look),
        Trouble::NoSignal { verb } => refused(
            &format!("{} takes no signal", verb.map_or("this command", Verb::word)),
            "the same without -s".to_owned(),
        ),
        Trouble::SignalMissing { .. } => refused("no signal was named", format!("firestarter ctrl {group} signal HUP")),
        Trouble::WholeGroup { verb } => refused(
            &format!("{} is for the whole group", verb.map_or("this command", Verb::word)),
            "the same without the slot".to_owned(),
        ),
        Trouble::NoWorker { slot } => refused(&format!("no worker runs in slot {slot}"), look),
        Trouble::Upgrader { failure } => upgrader_failed(group, *failure),
        Trouble::NothingBefore => {
            refused("there is no generation before this one", format!("firestarter ctrl {group} upgrade"))
        }
        Trouble::NotReplaced { reason } => {
            refused(&format!("not replaced: {reason}"), "what ran before runs on; its log tells more".to_owned())
        }
        Trouble::NotKept => refused("what the group writes is not kept in memory", look),
        Trouble::NothingToCancel => refused("no upgrade is under way", look),
        Trouble::NoLogFile => refused(
            "nothing that workers write goes to a file",
            "set stdout_log or stderr_log: firestarter help stdout_log".to_owned(),
        ),
        Trouble::NotReopened { files } => not_reopened(files),
        Trouble::ShuttingDown => {
            refused("firestarter is being stopped", "wait until it has ended, then: firestarter run".to_owned())
        }
    };
    words.about(problem.group.as_deref())
}

/// Logs that are not to be had.
pub(super) fn refused(what: String, next: String) -> String {
    Words { what, next }.about(None)
}

/// An error that this build has no words for.
pub(crate) fn other(message: &str, machine: &str) -> String {
    if machine == UNREADABLE {
        let next =
            "to keep it for a report: firestarter debug journal -o FILE; to end the workers: firestarter stop; then \
                    start anew";
        return Words { what: message.to_owned(), next: next.to_owned() }.about(None);
    }
    Words {
        what: format!("the daemon refused the request: {message} ({machine})"),
        next: "compare versions, of this program: firestarter --version, of the daemon: firestarter status --json"
            .to_owned(),
    }
    .about(None)
}

/// An answer to something else than what was asked.
pub(crate) fn wrong_answer() -> String {
    other("its answer is of another kind than the question", "wrong_answer")
}

/// No reply.
pub(crate) fn no_reply(wanted: &Wanted, wait: bool, error: &ClientError) -> String {
    let words = match error {
        ClientError::NoDaemon { path, source } => Words {
            what: format!("no daemon at {}: {}", path.display(), io_text(source)),
            next: "start one: firestarter run -c FILE; or name its socket: -d SOCKET, or $FIRESTARTER_SOCKET"
                .to_owned(),
        },
        ClientError::Denied { path, source } => Words {
            what: format!("connect {}: {}", path.display(), io_text(source)),
            next: "only the user that runs the daemon, and root, may control it: use sudo or that user".to_owned(),
        },
        ClientError::Io { operation, path, source } => Words {
            what: format!("{operation} {}: {}", path.display(), io_text(source)),
            next: "look whether that is the daemon's socket: -d SOCKET".to_owned(),
        },
        ClientError::Closed { path } => Words {
            what: format!("the daemon at {} closed the connection before it replied", path.display()),
            next: "whether it was carried out is not known; see: firestarter status".to_owned(),
        },
        ClientError::Protocol { path, source } => Words {
            what: format!("what listens at {} does not speak as firestarter does: {source}", path.display()),
            next: "name the daemon's control socket, not a worker's: -d SOCKET".to_owned(),
        },
        ClientError::Interrupted { .. } => Words {
            what: format!("the {} goes on", verb_word(wanted)),
            next: match wanted {
                Wanted::Ctrl { group, verb: Verb::Upgrade | Verb::Rollback, .. } => {
                    format!("to end it: firestarter ctrl {group} cancel")
                }
                Wanted::List
                | Wanted::Status
                | Wanted::Stop
                | Wanted::UpgradeDaemon { .. }
                | Wanted::Reopen { .. }
                | Wanted::GroupStatus { .. }
                | Wanted::Ctrl { .. } => "see how far it is: firestarter status".to_owned(),
            },
        },
        ClientError::TimedOut { after } => late(wanted, wait, *after),
    };
    let group = match wanted {
        Wanted::Ctrl { group, .. }
            if matches!(error, ClientError::TimedOut { .. } | ClientError::Interrupted { .. }) =>
        {
            Some(group.as_str())
        }
        Wanted::Ctrl { .. }
        | Wanted::GroupStatus { .. }
        | Wanted::List
        | Wanted::Status
        | Wanted::Stop
        | Wanted::UpgradeDaemon { .. }
        | Wanted::Reopen { .. } => None,
    };
    words.about(group)
}

/// No reply in time.
fn late(wanted: &Wanted, wait: bool, after: Duration) -> Words {
    match wanted {
        Wanted::List | Wanted::Status | Wanted::GroupStatus { .. } | Wanted::Reopen { .. } => Words {
            what: format!("no reply within {after:?}: the daemon is there, but does not answer"),
            next: "look at its log and at its processes: ps -ef | grep firestarter".to_owned(),
        },
        Wanted::Stop | Wanted::Ctrl { .. } if !wait => Words {
            what: format!("{}: no reply within {after:?}: the daemon is there, but does not answer", verb_word(wanted)),
            next: "whether it has begun is not known; see: firestarter status".to_owned(),
        },
        Wanted::Stop | Wanted::UpgradeDaemon { .. } | Wanted::Ctrl { .. } => Words {
            what: format!("{} not finished within {after:?}; the work goes on", verb_word(wanted)),
            next: "see how far it is: firestarter status".to_owned(),
        },
    }
}

/// No reply, for programs: like an error of the daemon, but for JSON-RPC's number, as no daemon gave it one.
pub(crate) fn no_reply_json(error: &ClientError) -> serde_json::Value {
    let code = match error {
        ClientError::NoDaemon { .. } => "no_daemon",
        ClientError::Denied { .. } => "denied",
        ClientError::Io { .. } => "io",
        ClientError::Closed { .. } => "closed",
        ClientError::Protocol { .. } => "protocol",
        ClientError::TimedOut { .. } => "timed_out",
        ClientError::Interrupted { .. } => "interrupted",
    };
    serde_json::json!({ "data": { "code": code }, "message": error.to_string() })
}

/// How a worker failed, in a few words: `exit code 3`.
pub(crate) fn failure(failure: Failure) -> String {
    match failure {
        Failure::Exit { exit_code } => format!("exit code {exit_code}"),
        Failure::Signal { signal, core_dumped: false } => signal.to_string(),
        Failure::Signal { signal, core_dumped: true } => format!("{signal} with a core dump"),
        Failure::Unknown => "ended, nobody knows how".to_owned(),
        Failure::Silent { after_ms } => format!("no sign of life for {:.1} s", after_ms as f64 / 1e3),
        Failure::Watchdog { after_ms } => format!("its watchdog was silent for {:.1} s", after_ms as f64 / 1e3),
        Failure::Unwell => "said itself that it is not well".to_owned(),
        Failure::Spawn { step, errno } => format!("{}: {}", step_words(step), errno_text(errno)),
    }
}

/// What a probe came to: `the probe got HTTP status 503`.
pub(super) fn probed(answer: Probed) -> String {
    match answer {
        Probed::Good => "the probe succeeded".to_owned(),
        Probed::Status { status } => format!("the probe got HTTP status {status}"),
        Probed::Unreachable { errno } => format!("the probe could not connect: {}", errno_text(errno)),
        Probed::Garbled => "what the probe got is no HTTP".to_owned(),
        Probed::Closed => "the connection was closed before the probe got an answer".to_owned(),
        Probed::Late => "the probe got no answer in time".to_owned(),
        Probed::Command { failure: how } => format!("the probe's command: {}", failure(how)),
    }
}

/// The new workers of an aborted rollout that stay.
#[derive(Clone, Copy)]
struct Kept {
    new: u32,
    of: u32,
}

fn aborted(verb: &str, group: &str, cause: &Cause, kept: Kept) -> Words {
    let again = format!("firestarter ctrl {group} {verb}");
    let (why, next) = match cause {
        Cause::Worker { slot, pid, failure } => {
            let why = format!("the new worker in {} {}", place(*slot, *pid), ended(*failure));
            (why, remedy(*failure, &again))
        }
        Cause::Unhealthy { slot, pid, answer } => {
            let why = format!("the new worker in {} turned unhealthy: {}", place(*slot, *pid), probed(*answer));
            (why, format!("see in its output what is wrong; then: {again}"))
        }
        Cause::Timeout { slot, pid, unready, answer } => {
            let more = match unready {
                0 | 1 => String::new(),
                n => format!(", nor had {} more", n - 1),
            };
            let answer = answer.map_or_else(String::new, |answer| format!(" ({})", probed(answer)));
            let place = place(*slot, *pid);
            let why = format!("the new worker in {place} had not acked when start_timeout was over{answer}{more}");
            (why, format!("see in its output what it waits for, or set ack or start_timeout; then: {again}"))
        }
        Cause::Command { by: Some(Verb::Cancel) } => {
            ("cancel came in between".to_owned(), format!("firestarter ctrl {group} status"))
        }
        // Whether the old workers serve on is for that command to say.
        Cause::Command { by } => {
            let what = match by {
                Some(by) => format!("{verb} aborted: {by} came in between"),
                None => format!("{verb} aborted: firestarter is being stopped"),
            };
            return Words { what, next: format!("firestarter ctrl {group} status") };
        }
    };
    match kept {
        // Some of the old ones have ended, as a restart has no worker above the count.
        Kept { new: 0, .. } if verb == Verb::Restart.word() => {
            Words { what: format!("{verb} aborted: {why}; all slots run what they ran before"), next }
        }
        Kept { new: 0, .. } => Words { what: format!("{verb} aborted: {why}; the old workers serve as before"), next },
        Kept { new, of } => {
            let are = if new == 1 { "is new and stays" } else { "are new and stay" };
            let next = format!("{next}; or, to take back what is new: firestarter ctrl {group} rollback");
            Words { what: format!("{verb} aborted: {why}; {new} of {of} workers {are}"), next }
        }
    }
}

fn not_reopened(files: &[Stuck]) -> Words {
    let stuck = |file: &Stuck| match &file.error {
        Some(error) => format!("{} ({error})", file.path),
        None => file.path.clone(),
    };
    let known = files.iter().all(|file| file.error.is_some());
    let what = if known { "mend that" } else { "look whether that disk answers and has room" };
    let files = files.iter().map(stuck).collect::<Vec<_>>().join(", ");
    Words {
        what: format!("not opened anew within 2 s: {files}; what stood there before may still be written to"),
        next: format!("{what}; it is opened as soon as that can be done"),
    }
}

/// No upgrade was begun, so everything is as it was.
fn upgrader_failed(group: &str, how: Failure) -> Words {
    let (how, first) = match how {
        Failure::Exit { .. }
        | Failure::Signal { .. }
        | Failure::Unknown
        | Failure::Watchdog { .. }
        | Failure::Unwell => (ended(how), "see in the daemon's output what it said"),
        Failure::Silent { after_ms } => {
            let after = format!("had not ended after {:.1} s and was killed", after_ms as f64 / 1e3);
            (after, "see in the daemon's output what it waits for, or set upgrader_timeout")
        }
        Failure::Spawn { .. } => (ended(how), "check upgrader"),
    };
    Words {
        what: format!("no upgrade: the upgrader {how}; the workers serve as before"),
        next: format!("{first}; then: firestarter ctrl {group} upgrade"),
    }
}

pub(super) fn unknown_group(group: &str, groups: &[String]) -> String {
    let there =
        if groups.is_empty() { "there is none".to_owned() } else { format!("there are: {}", groups.join(", ")) };
    let meant = nearest(group, groups.iter().map(String::as_str));
    let next = meant.map_or_else(|| "firestarter list".to_owned(), |name| format!("did you mean {name}?"));
    Words { what: format!("unknown group {group}; {there}"), next }.about(None)
}

fn place(slot: Slot, pid: Option<Pid>) -> String {
    match pid {
        Some(pid) => format!("slot {slot} (pid {pid})"),
        None => format!("slot {slot}"),
    }
}

fn ended(how: Failure) -> String {
    match how {
        Failure::Exit { .. } => format!("ended with {}", failure(how)),
        Failure::Signal { .. } => format!("was ended by {}", failure(how)),
        Failure::Unknown => "ended, and nobody knows how, as the keeper is dead".to_owned(),
        Failure::Silent { .. } => format!("was killed: {}", failure(how)),
        Failure::Watchdog { .. } | Failure::Unwell => format!("was aborted: {}", failure(how)),
        Failure::Spawn { .. } => format!("could not be started: {}", failure(how)),
    }
}

fn step_words(step: Step) -> &'static str {
    match step {
        Step::Prepare => "prepare",
        Step::Clone => "new process",
        Step::Directory => "enter the working directory",
        Step::Setup => "set up user, limits or descriptors",
        Step::Exec => "exec",
        Step::Watch => "watch the process",
    }
}

fn remedy(failure: Failure, again: &str) -> String {
    let first = match failure {
        Failure::Exit { .. }
        | Failure::Signal { .. }
        | Failure::Unknown
        | Failure::Silent { .. }
        | Failure::Watchdog { .. }
        | Failure::Unwell => "see in its output (stderr_log) why it ended",
        Failure::Spawn { step: Step::Prepare, .. } => "check exec_start, environments, stdout_log and stderr_log",
        Failure::Spawn { step: Step::Clone, .. } => "make room for processes (ulimit -u, pids.max, memory)",
        Failure::Spawn { step: Step::Directory, .. } => "check working_directory and who may enter it",
        Failure::Spawn { step: Step::Setup, .. } => "check uid and gid; to change the user takes root",
        Failure::Spawn { step: Step::Exec, .. } => "check that exec_start names a program that its user may run",
        Failure::Spawn { step: Step::Watch, .. } => "make room for descriptors (ulimit -n of the daemon)",
    };
    format!("{first}; then: {again}")
}

fn verb_word(wanted: &Wanted) -> &'static str {
    match wanted {
        Wanted::List => "list",
        Wanted::Status | Wanted::GroupStatus { .. } => "status",
        Wanted::Stop => "stop",
        Wanted::UpgradeDaemon { .. } => "upgrade of firestarter itself",
        Wanted::Reopen { .. } => "reopen",
        Wanted::Ctrl { verb, .. } => verb.word(),
    }
}

/// The kernel's words for an error number: `no such file or directory`.
fn errno_text(errno: i32) -> String {
    io_text(&io::Error::from_raw_os_error(errno))
}

impl Words {
    fn about(self, group: Option<&str>) -> String {
        self.with_lines(group, &[])
    }

    /// `said`: the last that the worker to blame wrote.
    fn with_lines(self, group: Option<&str>, said: &[String]) -> String {
        // What is said may hold a name or a sentence from elsewhere.
        let group = group.map_or_else(String::new, |group| format!("{}: ", plain(group)));
        let next = if self.next.is_empty() { String::new() } else { format!("  next: {}\n", plain(&self.next)) };
        let lines: String = said.iter().map(|line| format!("    {}\n", plain(line))).collect();
        let said = if said.is_empty() { "" } else { "  its last lines on stderr:\n" };
        format!("firestarter: {group}{}\n{said}{lines}{next}", plain(&self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::any_core_reply;
    use crate::api::{Garbled, Outcome};
    use firestarter_core::ids::Generation;
    use firestarter_core::spec::Signal;
    use proptest::prelude::*;

    fn ctrl(verb: Verb) -> Wanted {
        Wanted::Ctrl { group: "web".into(), slot: None, verb, signal: None }
    }

    fn said(verb: Verb, trouble: Trouble) -> String {
        problem(&ctrl(verb), &Problem { group: Some("web".into()), trouble })
    }

    fn abort(cause: Cause) -> String {
        said(
            Verb::Upgrade,
            Trouble::Aborted { generation: Generation(2), committed: 0, workers: 4, cause, stderr: Vec::new() },
        )
    }

    const EXIT: Failure = Failure::Exit { exit_code: 3 };

    #[test]
    fn aborted_upgrades() {
        assert_eq!(
            abort(Cause::Worker { slot: Slot(2), pid: Some(Pid(812)), failure: EXIT }),
            "firestarter: web: upgrade aborted: the new worker in slot 2 (pid 812) ended with exit code 3; \
             the old workers serve as before\n  next: see in its output (stderr_log) why it ended; then: firestarter ctrl web upgrade\n"
        );
        let failure = Failure::Signal { signal: Signal::KILL, core_dumped: false };
        assert!(abort(Cause::Worker { slot: Slot(0), pid: Some(Pid(1)), failure })
            .contains("slot 0 (pid 1) was ended by SIGKILL; the old"));
        let failure = Failure::Spawn { step: Step::Exec, errno: 2 };
        assert_eq!(
            abort(Cause::Worker { slot: Slot(0), pid: None, failure }),
            "firestarter: web: upgrade aborted: the new worker in slot 0 could not be started: exec: no such file or directory; \
             the old workers serve as before\n  \
             next: check that exec_start names a program that its user may run; then: firestarter ctrl web upgrade\n"
        );
        assert_eq!(
            abort(Cause::Timeout { slot: Slot(1), pid: Some(Pid(9)), unready: 3, answer: None }),
            "firestarter: web: upgrade aborted: the new worker in slot 1 (pid 9) had not acked when start_timeout was over, \
             nor had 2 more; the old workers serve as before\n  \
             next: see in its output what it waits for, or set ack or start_timeout; then: firestarter ctrl web upgrade\n"
        );
        assert_eq!(
            abort(Cause::Command { by: Some(Verb::Stop) }),
            "firestarter: web: upgrade aborted: stop came in between\n  next: firestarter ctrl web status\n"
        );
        assert!(abort(Cause::Command { by: None }).contains("web: upgrade aborted: firestarter is being stopped\n"));
    }

    #[test]
    fn what_an_abort_in_a_later_batch_leaves() {
        let cut_short = |verb, committed, cause| {
            said(verb, Trouble::Aborted { generation: Generation(2), committed, workers: 4, cause, stderr: Vec::new() })
        };
        let worker = || Cause::Worker { slot: Slot(2), pid: Some(Pid(812)), failure: EXIT };
        assert_eq!(
            cut_short(Verb::Upgrade, 2, worker()),
            "firestarter: web: upgrade aborted: the new worker in slot 2 (pid 812) ended with exit code 3; 2 of 4 workers \
             are new and stay\n  next: see in its output (stderr_log) why it ended; then: firestarter ctrl web upgrade; \
             or, to take back what is new: firestarter ctrl web rollback\n"
        );
        assert!(cut_short(Verb::Restart, 0, worker()).contains("exit code 3; all slots run what they ran before\n"));
        assert!(cut_short(Verb::Restart, 1, worker()).contains("restart aborted: the new worker in slot 2"));
        assert!(cut_short(Verb::Restart, 1, worker()).contains("; 1 of 4 workers is new and stays\n"));
        let by = |verb| Cause::Command { by: Some(verb) };
        assert_eq!(
            cut_short(Verb::Rollback, 3, by(Verb::Cancel)),
            "firestarter: web: rollback aborted: cancel came in between; 3 of 4 workers are new and stay\n  \
             next: firestarter ctrl web status; or, to take back what is new: firestarter ctrl web rollback\n"
        );
        assert!(cut_short(Verb::Upgrade, 0, by(Verb::Cancel)).contains("in between; the old workers serve as before\n"));
        assert!(cut_short(Verb::Upgrade, 2, by(Verb::Stop)).contains("aborted: stop came in between\n"));
    }

    #[test]
    fn what_an_aborted_worker_said() {
        let cause = Cause::Worker { slot: Slot(2), pid: Some(Pid(812)), failure: EXIT };
        let stderr = vec!["Traceback:".to_owned(), "  no \u{1b}[31mmodule".to_owned()];
        let trouble = Trouble::Aborted { generation: Generation(2), committed: 0, workers: 4, cause, stderr };
        assert_eq!(
            said(Verb::Rollback, trouble),
            "firestarter: web: rollback aborted: the new worker in slot 2 (pid 812) ended with exit code 3; the old workers \
             serve as before\n  its last lines on stderr:\n    Traceback:\n      no \\u{1b}[31mmodule\n  next: see in its output \
             (stderr_log) why it ended; then: firestarter ctrl web rollback\n"
        );
    }

    #[test]
    fn other_failures() {
        let failure = Failure::Spawn { step: Step::Directory, errno: 13 };
        assert_eq!(
            said(Verb::Start, Trouble::NotStarted { slot: Slot(0), failure }),
            "firestarter: web: start failed: the worker in slot 0 could not be started: enter the working directory: \
             permission denied\n  next: check working_directory and who may enter it; then: firestarter ctrl web start\n"
        );
        assert_eq!(
            said(Verb::Restart, Trouble::Superseded { by: Some(Verb::Stop) }),
            "firestarter: web: restart given up: a later stop took its place\n  next: firestarter ctrl web status\n"
        );
        assert_eq!(
            said(Verb::Restart, Trouble::Superseded { by: None }),
            "firestarter: web: restart given up: firestarter is being stopped\n"
        );
    }

    #[test]
    fn failed_upgraders() {
        let upgrader = |failure| said(Verb::Upgrade, Trouble::Upgrader { failure });
        assert_eq!(
            upgrader(EXIT),
            "firestarter: web: no upgrade: the upgrader ended with exit code 3; the workers serve as before\n  \
             next: see in the daemon's output what it said; then: firestarter ctrl web upgrade\n"
        );
        assert_eq!(
            upgrader(Failure::Silent { after_ms: 2500 }),
            "firestarter: web: no upgrade: the upgrader had not ended after 2.5 s and was killed; the workers serve as \
             before\n  next: see in the daemon's output what it waits for, or set upgrader_timeout; \
             then: firestarter ctrl web upgrade\n"
        );
        assert_eq!(
            upgrader(Failure::Spawn { step: Step::Exec, errno: 2 }),
            "firestarter: web: no upgrade: the upgrader could not be started: exec: no such file or directory; \
             the workers serve as before\n  next: check upgrader; then: firestarter ctrl web upgrade\n"
        );
    }

    #[test]
    fn a_silent_worker() {
        let cause = Cause::Worker { slot: Slot(0), pid: Some(Pid(7)), failure: Failure::Silent { after_ms: 4000 } };
        let want = "slot 0 (pid 7) was killed: no sign of life for 4.0 s; the old workers";
        assert!(abort(cause).contains(want));
    }

    #[test]
    fn refusals() {
        for (verb, trouble, want) in [
            (
                Verb::Upgrade,
                Trouble::NotRunning,
                "upgrade refused: the group is not running\n  next: firestarter ctrl web start",
            ),
            (
                Verb::Dec,
                Trouble::AtLeastOne,
                "dec refused: one worker is the least\n  next: to stop it: firestarter ctrl web stop",
            ),
            (
                Verb::Inc,
                Trouble::AtMost { limit: 9 },
                "inc refused: 9 workers are the most\n  next: firestarter ctrl web status",
            ),
            (
                Verb::Inc,
                Trouble::NoSignal { verb: Some(Verb::Inc) },
                "inc refused: inc takes no signal\n  next: the same without -s",
            ),
            (
                Verb::Signal,
                Trouble::SignalMissing { verb: Some(Verb::Signal) },
                "signal refused: no signal was named\n  next: firestarter ctrl web signal HUP",
            ),
            (
                Verb::Stop,
                Trouble::WholeGroup { verb: Some(Verb::Stop) },
                "stop refused: stop is for the whole group\n  next: the same without the slot",
            ),
            (
                Verb::Signal,
                Trouble::NoWorker { slot: Slot(7) },
                "signal refused: no worker runs in slot 7\n  next: firestarter ctrl web status",
            ),
            (
                Verb::Start,
                Trouble::ShuttingDown,
                "start refused: firestarter is being stopped\n  next: wait until it has ended, then: firestarter run",
            ),
        ] {
            assert_eq!(said(verb, trouble), format!("firestarter: web: {want}\n"));
        }
    }

    #[test]
    fn unknown_groups() {
        let groups = vec!["api".to_owned(), "webb".to_owned()];
        assert_eq!(
            said(Verb::Stop, Trouble::UnknownGroup { groups }),
            "firestarter: unknown group web; there are: api, webb\n  next: did you mean webb?\n"
        );
        assert_eq!(
            said(Verb::Stop, Trouble::UnknownGroup { groups: vec![] }),
            "firestarter: unknown group web; there is none\n  next: firestarter list\n"
        );
    }

    #[test]
    fn no_replies() {
        let path = || "/run/s".into();
        let source = || io::Error::from_raw_os_error(2);
        let upgrade = ctrl(Verb::Upgrade);
        let after = Duration::from_millis(1500);
        for (wanted, error, want) in [
            (
                &upgrade,
                ClientError::NoDaemon { path: path(), source: source() },
                "no daemon at /run/s: no such file or directory\n  next: start one",
            ),
            (
                &upgrade,
                ClientError::Denied { path: path(), source: io::Error::from_raw_os_error(13) },
                "connect /run/s: permission denied\n  next: only",
            ),
            (
                &upgrade,
                ClientError::Io { operation: "read", path: path(), source: io::Error::from_raw_os_error(5) },
                "read /run/s: input/output error\n  next:",
            ),
            (
                &upgrade,
                ClientError::Closed { path: path() },
                "the daemon at /run/s closed the connection before it replied\n  next: whether",
            ),
            (
                &upgrade,
                ClientError::Protocol { path: path(), source: Garbled::Shape },
                "what listens at /run/s does not speak as firestarter does: a reply",
            ),
            (
                &upgrade,
                ClientError::TimedOut { after },
                "web: upgrade not finished within 1.5s; the work goes on\n  next: see how far",
            ),
            (&Wanted::Stop, ClientError::TimedOut { after }, "stop not finished within 1.5s; the work goes on\n"),
            (&Wanted::List, ClientError::TimedOut { after }, "no reply within 1.5s: the daemon is there, but"),
        ] {
            let said = no_reply(wanted, true, &error);
            assert!(said.starts_with(&format!("firestarter: {want}")), "{said}");
        }
        let hurried = no_reply(&upgrade, false, &ClientError::TimedOut { after });
        let want = "firestarter: web: upgrade: no reply within 1.5s: the daemon is there, but does not answer\n  \
                    next: whether it has begun is not known";
        assert!(hurried.starts_with(want), "{hurried}");
    }

    #[test]
    fn words_from_elsewhere_stay_on_their_line() {
        let said = other("a\nb\u{1b}[2J", "x");
        assert!(said
            .starts_with("firestarter: the daemon refused the request: a\\nb\\u{1b}[2J (x)\n  next: compare versions"));
    }

    proptest! {
        #[test]
        fn every_problem_is_one_line_and_what_to_do(reply in any_core_reply()) {
            if let Outcome::Problem(trouble) = Outcome::from_reply(Some("w\neb"), &reply) {
                let text = problem(&ctrl(Verb::Upgrade), &trouble);
                prop_assert!(text.starts_with("firestarter: ") && text.ends_with('\n'), "{}", text);
                prop_assert!(text.lines().count() <= 2, "{}", text);
                prop_assert!(!text.contains("os error"), "{}", text);
            }
        }
    }
}
