//! Answers as text for people. Called by `cli::main`. Pure: a message in, lines out; what went wrong is worded in
//! `trouble.rs`. The lines of lists, blocks and orders are the original's, word for word, because scripts read them.

use firestarter_core::command::Verb;
use firestarter_core::ids::{Pid, Slot};

use super::overview::clock;
use crate::api::{Done, GroupStatus, Names, Stage, State, Status, What, Worker};

/// The first line of `ctrl`, said before there is an answer.
pub(crate) fn announcement(verb: &str, group: &str, slot: Option<Slot>) -> String {
    format!("send ctrl command [{verb}] to [{}] worker\n", target(group, slot))
}

/// Whom an order is about, as it is written on the command line: `web`, `web/2`.
pub(crate) fn target(group: &str, slot: Option<Slot>) -> String {
    let slot = slot.map_or_else(String::new, |slot| format!("/{slot}"));
    format!("{}{slot}", plain(group))
}

/// What was done.
pub(crate) fn done(done: &Done) -> String {
    match &done.what {
        What::Started { pids } => format!("start processes pid {}\n", list(pids)),
        What::Stopped { signal: None, pids } => format!("run exec_stop pid {}\n", list(pids)),
        What::Stopped { signal: Some(signal), pids } | What::Signalled { signal, pids } => {
            format!("send signal {signal} pid {}\n", list(pids))
        }
        What::Restarted { new, old } => format!("restart processes new {} old {}\n", list(new), list(old)),
        What::Upgraded { generation: _, new, old } => {
            format!("upgrade processes new {} old {}\n", list(new), list(old))
        }
        What::RolledBack { generation, new, old } => {
            format!("rollback to generation {generation} processes new {} old {}\n", list(new), list(old))
        }
        What::Cancelled { generation, committed: 0, .. } => format!("cancelled; generation {generation} serves on\n"),
        What::Cancelled { generation, committed, workers } => format!(
            "cancelled; {committed} of {workers} workers are new and stay, the others are of generation {generation}; \
             to take back what is new: firestarter ctrl {} rollback\n",
            plain(done.group.as_deref().unwrap_or("NAME"))
        ),
        What::Incremented { pid, count: _ } => format!("increments worker process pid {}\n", list(&[*pid])),
        What::Decremented { pid, count: _ } => format!("decrements worker process pid {}\n", list(pid.as_slice())),
        What::Killed { pids } => format!("kill processes pid {}\n", list(pids)),
        What::Reopened { files } => {
            let files: Vec<String> = files.iter().map(|file| plain(file)).collect();
            format!("opened anew: {}\n", files.join(", "))
        }
        What::ShutDown => "stopped all groups and the daemon\n".to_owned(),
        What::Replaced { from, to, took_ms } if from == to => {
            format!("replaced {to} by {to}, {took_ms} ms without a daemon\n")
        }
        What::Replaced { from, to, took_ms } => format!("replaced {from} by {to}, {took_ms} ms without a daemon\n"),
        What::Begun { verb } => format!("{} begun; see: firestarter status\n", verb.map_or("stop", Verb::word)),
    }
}

/// The names of the groups; `quiet` leaves out the heading.
pub(crate) fn names(names: &Names, quiet: bool) -> String {
    let heading = if quiet { "" } else { "worker names:\n" };
    let lines: String = names.names.iter().map(|name| format!("{}\n", plain(name))).collect();
    format!("{heading}{lines}")
}

/// Three lines for each group.
pub(crate) fn blocks(status: &Status) -> String {
    let block = |group: &GroupStatus| {
        let word = match group.state {
            State::Running | State::Upgrading | State::Restarting | State::Stopping => "active",
            State::Stopped | State::GaveUp | State::WarmingUp | State::Waiting => "stopped",
        };
        let time = clock(group.uptime_ms.unwrap_or(0));
        format!("[{}] {word}\nprocesses {}\ntime {time}\n", plain(&group.name), list(&pids(group)))
    };
    status.groups.iter().map(block).collect()
}

/// The same three lines for the worker in one slot: the time is its own. In the middle of an upgrade there are two.
pub(crate) fn worker_block(status: &Status, slot: Slot) -> String {
    let block = |group: &GroupStatus| {
        let (name, pids) = (target(&group.name, Some(slot)), pids(group));
        let word = if pids.is_empty() { "stopped" } else { "active" };
        let time = clock(members(group).map(|worker| worker.uptime_ms).max().unwrap_or(0));
        format!("[{name}] {word}\nprocesses {}\ntime {time}\n", list(&pids))
    };
    status.groups.iter().map(block).collect()
}

/// What an operator must know about the whole, for stderr; empty if all is well.
pub(crate) fn warnings(status: &Status) -> String {
    let mut text = String::new();
    if !status.keeper_alive {
        text.push_str(&format!(
            "firestarter: the keeper (pid {}) is dead: nothing would bring the daemon back, and how workers end is not known\n  \
             next: when it suits, stop everything and run it again: firestarter stop; firestarter run\n",
            status.keeper_pid
        ));
    }
    if status.shutting_down {
        text.push_str("firestarter: everything is being stopped\n");
    }
    text
}

/// Without what could play tricks on a terminal or make a line of its own: control characters are written as escapes.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    plain
}

/// The workers that make up the group: those on their way out are not counted, unless the whole group is.
fn members(group: &GroupStatus) -> impl Iterator<Item = &Worker> {
    let counts = |stage| match stage {
        Stage::Spawning | Stage::Starting | Stage::Ready => true,
        Stage::Draining | Stage::Killing => matches!(group.state, State::Stopping | State::Restarting),
    };
    group.workers.iter().filter(move |worker| counts(worker.state))
}

fn pids(group: &GroupStatus) -> Vec<Pid> {
    members(group).filter_map(|worker| worker.pid).collect()
}

fn list(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    format!("[{}]", pids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status_example as example;
    use firestarter_core::ids::Generation;
    use firestarter_core::spec::Signal;

    fn said(what: What) -> String {
        done(&Done { group: Some("web".into()), what })
    }

    #[test]
    fn the_original_s_lines() {
        let (new, old) = (vec![Pid(101), Pid(102)], vec![Pid(99), Pid(100)]);
        let pids = new.clone();
        let both = || (new.clone(), old.clone());
        assert_eq!(announcement("upgrade", "web", None), "send ctrl command [upgrade] to [web] worker\n");
        assert_eq!(said(What::Started { pids: pids.clone() }), "start processes pid [101, 102]\n");
        let signal = Signal::TERM;
        assert_eq!(announcement("signal", "web", Some(Slot(2))), "send ctrl command [signal] to [web/2] worker\n");
        let signalled = What::Signalled { signal: Signal::HUP, pids: pids.clone() };
        assert_eq!(said(signalled), "send signal SIGHUP pid [101, 102]\n");
        assert_eq!(said(What::Stopped { signal: None, pids: pids.clone() }), "run exec_stop pid [101, 102]\n");
        assert_eq!(said(What::Begun { verb: Some(Verb::Upgrade) }), "upgrade begun; see: firestarter status\n");
        assert_eq!(said(What::Begun { verb: None }), "stop begun; see: firestarter status\n");
        assert_eq!(
            said(What::Stopped { signal: Some(signal), pids: pids.clone() }),
            "send signal SIGTERM pid [101, 102]\n"
        );
        let (new, old) = both();
        assert_eq!(said(What::Restarted { new, old }), "restart processes new [101, 102] old [99, 100]\n");
        let (new, old) = both();
        let upgraded = What::Upgraded { generation: Generation(2), new, old };
        assert_eq!(said(upgraded), "upgrade processes new [101, 102] old [99, 100]\n");
        assert_eq!(said(What::Incremented { pid: Pid(7), count: 3 }), "increments worker process pid [7]\n");
        assert_eq!(said(What::Decremented { pid: Some(Pid(7)), count: 2 }), "decrements worker process pid [7]\n");
        assert_eq!(said(What::Decremented { pid: None, count: 2 }), "decrements worker process pid []\n");
        assert_eq!(said(What::Killed { pids }), "kill processes pid [101, 102]\n");
        let cancelled = |committed| said(What::Cancelled { generation: Generation(2), committed, workers: 4 });
        assert_eq!(cancelled(0), "cancelled; generation 2 serves on\n");
        assert_eq!(
            cancelled(3),
            "cancelled; 3 of 4 workers are new and stay, the others are of generation 2; to take back what is new: \
             firestarter ctrl web rollback\n"
        );
        assert_eq!(said(What::ShutDown), "stopped all groups and the daemon\n");
    }

    #[test]
    fn lists_with_and_without_heading() {
        let groups = Names { names: vec!["web".into(), "api".into()] };
        assert_eq!(names(&groups, false), "worker names:\nweb\napi\n");
        assert_eq!(names(&groups, true), "web\napi\n");
    }

    #[test]
    fn blocks_for_a_pipe() {
        let want = "\
[web] active
processes [101, 100]
time 01:01:06
[api] stopped
processes []
time 00:00:00
[mailer] stopped
processes []
time 00:00:00
";
        assert_eq!(blocks(&example()), want);
    }

    #[test]
    fn a_group_that_ends_still_has_its_processes() {
        let mut status = example().only("web").expect("there is one");
        status.groups[0].state = State::Stopping;
        assert!(blocks(&status).starts_with("[web] active\nprocesses [99, 101, 100]\n"));
        status.groups[0].state = State::Restarting;
        assert!(blocks(&status).starts_with("[web] active\nprocesses [99, 101, 100]\n"));
    }

    #[test]
    fn a_group_that_gave_up_or_warms_up_is_stopped() {
        let mut status = example().only("mailer").expect("there is one");
        for state in [State::GaveUp, State::WarmingUp, State::Waiting, State::Stopped] {
            status.groups[0].state = state;
            assert_eq!(blocks(&status), "[mailer] stopped\nprocesses []\ntime 00:00:00\n", "{state:?}");
        }
    }

    #[test]
    fn one_worker_as_a_block() {
        let of = |slot| {
            let status = example().only("web").and_then(|status| status.only_slot(Slot(slot)));
            worker_block(&status.expect("there is one"), Slot(slot))
        };
        assert_eq!(of(0), "[web/0] active\nprocesses [101]\ntime 00:00:03\n", "the one that drains is not it");
        assert_eq!(of(1), "[web/1] active\nprocesses [100]\ntime 01:01:06\n");
        let idle = example().only("api").and_then(|status| status.only_slot(Slot(0))).expect("there is one");
        assert_eq!(worker_block(&idle, Slot(0)), "[api/0] stopped\nprocesses []\ntime 00:00:00\n");
    }

    #[test]
    fn warns_of_what_must_not_be_missed() {
        let mut status = example();
        assert_eq!(warnings(&status), "");
        status.keeper_alive = false;
        status.shutting_down = true;
        assert_eq!(
            warnings(&status),
            "firestarter: the keeper (pid 10) is dead: nothing would bring the daemon back, and how workers end is not known\n  \
             next: when it suits, stop everything and run it again: firestarter stop; firestarter run\n\
             firestarter: everything is being stopped\n"
        );
    }

    #[test]
    fn names_play_no_tricks_on_a_terminal() {
        let mut status = example();
        status.groups[0].name = "a\u{1b}[2Jb".into();
        assert!(blocks(&status).starts_with("[a\\u{1b}[2Jb] active"));
        assert!(names(&Names { names: vec!["a\nb".into()] }, true).starts_with("a\\nb\n"));
    }
}
