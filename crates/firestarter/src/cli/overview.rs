//! `status` on a terminal: a row for each group, and no line longer than the terminal is wide. Called by `cli::main`. Pure:
//! a status and a width in, lines out.
//!
//! What there is to say may be long: addresses, a failure with its reason. So there are several layouts, from the one that
//! says all in one row to the one that says who is how and no more; the first that fits is taken. In the narrow ones the
//! last failure stands on a line of its own below its group: where several things are wrong, that is what must be read.

use firestarter_core::command::Verb;

use super::render::plain;
use super::{counts, trouble};
use crate::api::{Awaits, Condition, GroupStatus, Hook, LastFailure, Rollout, State, Status, Worker};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Group,
    Doing,
    Ready,
    Generation,
    Restarts,
    Uptime,
    Listeners,
    Failure,
}

use Column::{Doing, Failure, Generation, Group, Listeners, Ready, Restarts, Uptime};

/// What is shown, and how.
#[derive(Clone, Copy)]
struct Layout {
    columns: &'static [Column],
    /// Of several listeners the first, and how many more there are.
    first_listener: bool,
    /// The heading of the generation in full.
    long: bool,
}

/// From wide to narrow. Where the last failure is no column, it stands below.
const LAYOUTS: [Layout; 6] = [
    Layout {
        columns: &[Group, Doing, Ready, Generation, Restarts, Uptime, Listeners, Failure],
        first_listener: false,
        long: true,
    },
    Layout {
        columns: &[Group, Doing, Ready, Generation, Restarts, Uptime, Listeners, Failure],
        first_listener: true,
        long: false,
    },
    Layout {
        columns: &[Group, Doing, Ready, Generation, Restarts, Uptime, Listeners],
        first_listener: false,
        long: false,
    },
    Layout { columns: &[Group, Doing, Ready, Restarts, Uptime, Listeners], first_listener: false, long: false },
    Layout { columns: &[Group, Doing, Ready, Uptime], first_listener: false, long: false },
    Layout { columns: &[Group, Doing, Ready], first_listener: false, long: false },
];

/// So much of a list of listeners is of use when the rest is cut off.
const SOME_LISTENERS: usize = 12;
/// So much of a name at least is shown.
const SOME_NAME: usize = 4;
const BETWEEN: usize = 2;
/// Of so many workers it is shown how they are, and of so many what they say.
const SOME_WORKERS: usize = 4;

/// One row for each group; `quiet` leaves out the heading. No line has more than `width` characters.
pub(super) fn overview(status: &Status, quiet: bool, width: usize) -> String {
    let fits = |layout: &&Layout| needed(status, **layout, quiet) <= width;
    let layout = LAYOUTS.iter().find(fits).or(LAYOUTS.last()).copied().unwrap_or(LAYOUTS[0]);
    let rows = rows(status, layout, quiet);
    let mut widths = widths(&rows);
    // Only where nothing fits is a name cut: two groups may differ at its end.
    let others: usize = widths.iter().skip(1).map(|width| width + BETWEEN).sum();
    if let Some(name) = widths.first_mut().filter(|_| layout.columns.last() == Some(&Ready)) {
        *name = (*name).min(width.saturating_sub(others).max(SOME_NAME));
    }
    let below = !layout.columns.contains(&Failure);
    let mut groups = status.groups.iter();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", cut(cell, *width))).collect();
        text.push_str(&cut(cells.join(&" ".repeat(BETWEEN)).trim_end(), width));
        text.push('\n');
        let group = if index == 0 && !quiet { None } else { groups.next() };
        if let Some(last) = group.and_then(|group| group.last_failure.as_ref()).filter(|_| below) {
            text.push_str(&cut(&format!("  last failure: {}", failure(last)), width));
            text.push('\n');
        }
        for line in
            group.into_iter().flat_map(|group| [conditions(group), said(group), counts::troubles(group)].concat())
        {
            text.push_str(&cut(&line, width));
            text.push('\n');
        }
    }
    text
}

/// How those workers of a group are that are not simply well; of many, the first.
fn conditions(group: &GroupStatus) -> Vec<String> {
    let told = |worker: &Worker| {
        let pid = name_of(worker);
        Some(match worker.condition? {
            Condition::Reloading => format!("  {pid} reloads its configuration"),
            Condition::Stopping => format!("  {pid} is stopping"),
            Condition::Unhealthy(answer) => format!("  {pid} is unhealthy: {}", trouble::probed(answer)),
        })
    };
    some(group.workers.iter().filter_map(told).collect(), "workers: --json shows how they are")
}

/// What the workers of a group say of themselves; of many, what the first say.
fn said(group: &GroupStatus) -> Vec<String> {
    let says = |worker: &Worker| {
        let text = worker.status_text.iter().map(|text| plain(text));
        let errno = worker.status_errno.iter().map(|errno| format!("error {errno}"));
        let all = text.chain(errno).collect::<Vec<_>>().join(", ");
        (!all.is_empty()).then(|| format!("  {} says: {all}", name_of(worker)))
    };
    some(group.workers.iter().filter_map(says).collect(), "say something: --json shows it")
}

fn name_of(worker: &Worker) -> String {
    worker.pid.map_or_else(|| format!("the worker in slot {}", worker.slot), |pid| pid.to_string())
}

/// The first of the lines, and how many more there are.
fn some(mut lines: Vec<String>, of_more: &str) -> Vec<String> {
    if lines.len() > SOME_WORKERS {
        let more = lines.len() - SOME_WORKERS;
        lines.truncate(SOME_WORKERS);
        lines.push(format!("  {more} more {of_more}"));
    }
    lines
}

/// How wide a terminal a layout needs. Listeners that come last may be cut.
fn needed(status: &Status, layout: Layout, quiet: bool) -> usize {
    let widths = widths(&rows(status, layout, quiet));
    let columns = layout.columns.iter().zip(widths);
    let last = layout.columns.last();
    let cut_last = |column| last == Some(column) && *column == Listeners;
    let widths = columns.map(|(column, width)| if cut_last(column) { width.min(SOME_LISTENERS) } else { width });
    widths.map(|width| width + BETWEEN).sum::<usize>().saturating_sub(BETWEEN)
}

fn rows(status: &Status, layout: Layout, quiet: bool) -> Vec<Vec<String>> {
    let heading = layout.columns.iter().map(|column| heading(*column, layout.long).to_owned()).collect();
    let groups = status.groups.iter().map(|group| layout.columns.iter().map(|c| cell(group, *c, layout)).collect());
    (!quiet).then_some(heading).into_iter().chain(groups).collect()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    (0..columns).map(|column| widest(column).unwrap_or(0)).collect()
}

fn heading(column: Column, long: bool) -> &'static str {
    match column {
        Group => "group",
        Doing => "state",
        Ready => "ready",
        Generation if long => "generation",
        Generation => "gen",
        Restarts => "restarts",
        Uptime => "uptime",
        Listeners => "listeners",
        Failure => "last failure",
    }
}

fn cell(group: &GroupStatus, column: Column, layout: Layout) -> String {
    let none = || "-".to_owned();
    match column {
        Group => plain(&group.name),
        Doing => state(group),
        Ready => format!("{}/{}", group.ready, group.wanted),
        Generation if layout.long => match group.before {
            Some(before) => format!("{} (before {before})", group.generation),
            None => group.generation.to_string(),
        },
        Generation => group.generation.to_string(),
        Restarts => group.restarts.to_string(),
        Uptime => group.uptime_ms.map_or_else(none, clock),
        Listeners => {
            let addresses: Vec<String> = group.listeners.iter().map(|listener| plain(&listener.address)).collect();
            match addresses.as_slice() {
                [] => none(),
                [first, _, ..] if layout.first_listener => format!("{first} +{}", addresses.len() - 1),
                all => all.join(", "),
            }
        }
        Failure => group.last_failure.as_ref().map_or_else(none, failure),
    }
}

/// What the group is doing; a hook that runs says more than what it runs for.
fn state(group: &GroupStatus) -> String {
    match (group.state, group.hook, &group.rollout) {
        (_, Some(Hook::ExecStop), _) => "running exec_stop".to_owned(),
        (State::Running, Some(Hook::Upgrader), _) => "upgrader runs".to_owned(),
        (State::Upgrading, _, Some(rollout)) => rolling(rollout),
        (state, Some(Hook::Upgrader) | None, _) => state_word(state).to_owned(),
    }
}

/// `upgrading 2/4`, `rolling back 2/4, 1 at a time`, `upgrading 4/4, soak 12 s`.
fn rolling(rollout: &Rollout) -> String {
    let doing = match rollout.verb {
        Some(Verb::Rollback) => "rolling back",
        Some(Verb::Restart) => "restarting",
        _ => "upgrading",
    };
    let pace = rollout.at_a_time.map_or_else(String::new, |number| format!(", {number} at a time"));
    let awaits = match rollout.awaits {
        Some(Awaits::Soak { left_ms }) => format!(", soak {} s", left_ms.div_ceil(1000)),
        Some(Awaits::Room) => ", old ones end".to_owned(),
        Some(Awaits::Memory | Awaits::Ready) | None => String::new(),
    };
    format!("{doing} {}/{}{pace}{awaits}", rollout.ready, rollout.wanted)
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

/// `exit code 3, 4 times in 10 s, gave up 12 s ago`.
fn failure(last: &LastFailure) -> String {
    let gave_up = match last.gave_up {
        Some(up) => format!(", {} times in {}, gave up", up.times, span(up.within_ms)),
        None => ",".to_owned(),
    };
    format!("{}{gave_up} {} ago", trouble::failure(last.failure), ago(last.ago_ms))
}

/// At most so many characters; what was longer ends with `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Hours, minutes, seconds; the hours go on beyond a day.
pub(super) fn clock(ms: u64) -> String {
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

/// As `ago`, but short ones exactly.
fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1e3),
        10_000.. => ago(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{status_example as example, GaveUp, Listener};

    const WIDE: usize = 200;

    /// As `example`, and much is wrong.
    fn bad_day() -> Status {
        let mut status = example();
        let gave_up = Some(GaveUp { times: 4, within_ms: 10_000 });
        status.groups[2].state = State::GaveUp;
        if let Some(last) = &mut status.groups[2].last_failure {
            last.gave_up = gave_up;
        }
        let mut more = example().groups;
        more[0].name = "stopping".into();
        (more[0].state, more[0].hook, more[0].rollout) = (State::Stopping, Some(Hook::ExecStop), None);
        more[1].name = "asking".into();
        (more[1].state, more[1].hook) = (State::Running, Some(Hook::Upgrader));
        more[2].name = "patient".into();
        (more[2].state, more[2].last_failure) = (State::WarmingUp, None);
        status.groups.extend(more);
        status
    }

    #[test]
    fn how_workers_are_that_are_not_well_stands_below_their_group() {
        let mut status = example();
        let workers = &mut status.groups[0].workers;
        workers[1].condition = Some(Condition::Unhealthy(crate::api::Probed::Status { status: 500 }));
        workers[2].condition = Some(Condition::Reloading);
        let shown = overview(&status, false, 200);
        assert!(
            shown.contains("\n  101 is unhealthy: the probe got HTTP status 500\n  100 reloads its configuration\n")
        );
        let worker = workers_like(&status, 9);
        status.groups[0].workers = worker;
        let shown = overview(&status, false, 200);
        assert_eq!(shown.matches("unhealthy").count(), SOME_WORKERS);
        assert!(shown.contains("\n  5 more workers: --json shows how they are\n"), "{shown}");
    }

    /// So many like the second of the first group.
    fn workers_like(status: &Status, count: usize) -> Vec<Worker> {
        vec![status.groups[0].workers[1].clone(); count]
    }

    #[test]
    fn all_in_a_row_where_there_is_room() {
        let want = "\
group   state          ready  generation  restarts  uptime    listeners                        last failure
web     upgrading 1/2  2/2    1           4         01:01:06  0.0.0.0:80, unix::/run/web.sock  exit code 3, 12 s ago
api     waiting        0/1    1           0         -         127.0.0.1:4000                   -
mailer  stopped        0/1    1           5         -         -                                exec: no such file or directory, 2 h ago
";
        assert_eq!(overview(&example(), false, WIDE), want);
        let quiet = "\
web     upgrading 1/2  2/2  1  4  01:01:06  0.0.0.0:80, unix::/run/web.sock  exit code 3, 12 s ago
api     waiting        0/1  1  0  -         127.0.0.1:4000                   -
mailer  stopped        0/1  1  5  -         -                                exec: no such file or directory, 2 h ago
";
        assert_eq!(overview(&example(), true, WIDE), quiet);
    }

    #[test]
    fn the_first_listener_where_there_is_less() {
        let want = "\
group   state          ready  gen  restarts  uptime    listeners       last failure
web     upgrading 1/2  2/2    1    4         01:01:06  0.0.0.0:80 +1   exit code 3, 12 s ago
api     waiting        0/1    1    0         -         127.0.0.1:4000  -
mailer  stopped        0/1    1    5         -         -               exec: no such file or directory, 2 h ago
";
        assert_eq!(overview(&example(), false, 120), want);
    }

    #[test]
    fn eighty_columns_on_a_bad_day() {
        let want = "\
group     state              ready  gen  restarts  uptime    listeners
web       upgrading 1/2      2/2    1    4         01:01:06  0.0.0.0:80, unix::…
  last failure: exit code 3, 12 s ago
api       waiting            0/1    1    0         -         127.0.0.1:4000
mailer    gave up            0/1    1    5         -         -
  last failure: exec: no such file or directory, 4 times in 10 s, gave up 2 h a…
stopping  running exec_stop  2/2    1    4         01:01:06  0.0.0.0:80, unix::…
  last failure: exit code 3, 12 s ago
asking    upgrader runs      0/1    1    0         -         127.0.0.1:4000
patient   warming up         0/1    1    5         -         -
";
        assert_eq!(overview(&bad_day(), false, 80), want);
    }

    #[test]
    fn a_narrow_terminal_still_shows_who_is_how() {
        let forty = overview(&bad_day(), false, 40);
        assert!(forty.starts_with("group     state              ready\nweb       upgrading 1/2      2/2\n"), "{forty}");
        let mut status = example();
        status.groups[0].name = "a-very-long-name-of-a-group".into();
        let want = "\
group          state          ready
a-very-long-…  upgrading 1/2  2/2
";
        let thirty = overview(&status, false, 35).lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(thirty, want, "{thirty}");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let mut status = bad_day();
        let listener = |port: u16| Listener { name: "web".into(), address: format!("127.0.0.1:{port}") };
        status.groups[1].listeners = (4000..4040).map(listener).collect();
        status.groups[3].name = "n".repeat(60);
        for width in 0..400 {
            for quiet in [false, true] {
                let text = overview(&status, quiet, width);
                let longest = text.lines().map(|line| line.chars().count()).max();
                assert!(longest <= Some(width.max(1)), "{width}: {text}");
                let rows = text.lines().filter(|line| !line.starts_with("  last failure")).count();
                assert!(rows >= 6 + usize::from(!quiet), "{width}: every group has its row: {text}");
            }
        }
    }

    #[test]
    fn short_layouts_hide_no_state() {
        for width in [60, 80, 100] {
            let text = overview(&bad_day(), false, width);
            for word in ["upgrading 1/2", "waiting", "gave up", "running exec_stop", "upgrader runs", "warming up"] {
                assert!(text.contains(word), "{width}: {word}: {text}");
            }
        }
    }

    #[test]
    fn what_workers_say_stands_below_their_group() {
        let mut status = example();
        let say = |status: &mut Status, worker: usize, text: &str| {
            status.groups[0].workers[worker].status_text = Some(text.into());
        };
        say(&mut status, 1, "serving 3 clients");
        status.groups[0].workers[2].status_errno = Some(13);
        let below = |status: &Status, width| -> Vec<String> {
            let text = overview(status, true, width);
            text.lines().filter(|line| line.starts_with("  1")).map(str::to_owned).collect()
        };
        assert_eq!(below(&status, WIDE), ["  101 says: serving 3 clients", "  100 says: error 13"]);
        assert_eq!(below(&status, 20), ["  101 says: serving…", "  100 says: error 13"]);
        let one = status.groups[0].workers[1].clone();
        status.groups[0].workers = vec![one; 6];
        say(&mut status, 0, "\u{1b}[2J");
        let text = overview(&status, true, WIDE);
        assert_eq!(below(&status, WIDE).len(), 4);
        assert!(
            text.contains("says: \\u{1b}[2J\n") && text.contains("\n  2 more say something: --json shows it\n"),
            "{text}"
        );
    }

    #[test]
    fn a_hook_is_shown_in_place_of_what_it_runs_for() {
        let mut group = example().groups.remove(0);
        group.hook = Some(Hook::Upgrader);
        assert_eq!(state(&group), "upgrading 1/2", "an upgrade under way says more");
        group.state = State::Restarting;
        assert_eq!(state(&group), "restarting");
        group.hook = Some(Hook::ExecStop);
        assert_eq!(state(&group), "running exec_stop");
    }

    #[test]
    fn names_play_no_tricks_on_a_terminal() {
        let mut status = example();
        status.groups[0].name = "a\u{1b}[2Jb".into();
        status.groups[1].listeners[0].address = "unix::/\n\u{7}".into();
        let text = overview(&status, false, WIDE);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert_eq!(text.lines().count(), 4);
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
        for (ms, want) in [(0, "0.0 s"), (430, "0.4 s"), (10_000, "10 s"), (90_000, "1 min")] {
            assert_eq!(span(ms), want);
        }
    }
}
