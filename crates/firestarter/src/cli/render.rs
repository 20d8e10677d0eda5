//! Answers as text for people. Called by `cli::main`. Pure: a message in, lines out; what went wrong is worded in
//! `trouble.rs`. The lines of lists, blocks and orders are the original's, word for word, because scripts read them.

use firestarter_core::ids::Pid;

use super::trouble;
use crate::api::{Done, GroupStatus, Names, Stage, State, Status, What};

/// The first line of `ctrl`, said before there is an answer.
pub(crate) fn announcement(verb: &str, group: &str) -> String {
    format!("send ctrl command [{verb}] to [{}] worker\n", plain(group))
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
        What::Incremented { pid, count: _ } => format!("increments worker process pid {}\n", list(&[*pid])),
        What::Decremented { pid, count: _ } => format!("decrements worker process pid {}\n", list(pid.as_slice())),
        What::Killed { pids } => format!("kill processes pid {}\n", list(pids)),
        What::ShutDown => "stopped all groups and the daemon\n".to_owned(),
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

/// One row for each group; `quiet` leaves out the heading.
pub(crate) fn table(status: &Status, quiet: bool) -> String {
    const HEADING: [&str; 8] =
        ["group", "state", "ready", "generation", "restarts", "uptime", "listeners", "last failure"];
    let heading = (!quiet).then(|| HEADING.map(str::to_owned));
    let rows: Vec<[String; 8]> = heading.into_iter().chain(status.groups.iter().map(row)).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
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

fn row(group: &GroupStatus) -> [String; 8] {
    let state = match (group.state, &group.rollout) {
        (State::Upgrading, Some(rollout)) => format!("upgrading {}/{}", rollout.ready, rollout.wanted),
        (state, Some(_) | None) => state_word(state).to_owned(),
    };
    let listeners: Vec<&str> = group.listeners.iter().map(|listener| listener.address.as_str()).collect();
    let failure = match &group.last_failure {
        Some(last) => format!("{}, {} ago", trouble::failure(last.failure), ago(last.ago_ms)),
        None => "-".to_owned(),
    };
    [
        plain(&group.name),
        state,
        format!("{}/{}", group.ready, group.wanted),
        group.generation.to_string(),
        group.restarts.to_string(),
        group.uptime_ms.map_or_else(|| "-".to_owned(), clock),
        if listeners.is_empty() { "-".to_owned() } else { plain(&listeners.join(", ")) },
        failure,
    ]
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Stopped => "stopped",
        State::GaveUp => "gave up",
        State::WarmingUp => "warming up",
        State::Waiting => "waiting",
        State::Running => "running",
        State::Upgrading => "upgrading",
        State::Restarting => "restarting",
        State::Stopping => "stopping",
    }
}

/// The processes that make up the group: those on their way out are not counted, unless the group itself is.
fn pids(group: &GroupStatus) -> Vec<Pid> {
    let counts = |stage| match stage {
        Stage::Spawning | Stage::Starting | Stage::Ready => true,
        Stage::Draining | Stage::Killing => group.state == State::Stopping,
    };
    group.workers.iter().filter(|worker| counts(worker.state)).filter_map(|worker| worker.pid).collect()
}

fn list(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    format!("[{}]", pids.join(", "))
}

/// Hours, minutes, seconds; the hours go on beyond a day.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A time in its largest whole unit.
fn ago(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400.. => format!("{} d", seconds / 86_400),
    }
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
        assert_eq!(announcement("upgrade", "web"), "send ctrl command [upgrade] to [web] worker\n");
        assert_eq!(said(What::Started { pids: pids.clone() }), "start processes pid [101, 102]\n");
        let signal = Signal::TERM;
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
    }

    #[test]
    fn a_table_for_a_terminal() {
        let want = "\
group   state          ready  generation  restarts  uptime    listeners                        last failure
web     upgrading 1/2  2/2    1           4         01:01:06  0.0.0.0:80, unix::/run/web.sock  exit code 3, 12 s ago
api     waiting        0/1    1           0         -         127.0.0.1:4000                   -
mailer  stopped        0/1    1           5         -         -                                exec: no such file or directory, 2 h ago
";
        assert_eq!(table(&example(), false), want);
        assert!(table(&example(), true).starts_with("web     upgrading 1/2  2/2  1  4  01:01:06  0.0.0.0:80, "));
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
        assert!(!table(&status, false).contains('\u{1b}'));
        assert!(blocks(&status).starts_with("[a\\u{1b}[2Jb] active"));
        assert!(names(&Names { names: vec!["a\nb".into()] }, true).starts_with("a\\nb\n"));
    }

    #[test]
    fn times() {
        assert_eq!(clock(6_999), "00:00:06");
        assert_eq!(clock(100 * 3_600_000), "100:00:00");
        for (ms, want) in
            [(900, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (u64::MAX, "213503982334 d")]
        {
            assert_eq!(ago(ms), want);
        }
    }
}
