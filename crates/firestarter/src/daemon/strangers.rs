//! Children of the keeper that no entry of the journal names: what workers have left behind, and what was there before
//! Firestarter began. A daemon that takes over tells of them and leaves them alone, or kills them, if that is configured.
//! Called by `recover`, before rows of the table are cleared.
//!
//! Who is as young as this daemon is none: the writer may have been forked just now, and nobody says so before it runs.
//! What a stranger has started comes to the keeper when that one ends, so it is killed with it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{getpid, pidfd_open, Pid, PidfdFlags, Signal};

use super::Shared;
use crate::say::say;
use crate::sys::signals;

/// So many are told of by name.
const TOLD: usize = 8;

struct Stranger {
    pid: Pid,
    process: OwnedFd,
    name: String,
}

/// Looks for them, and says what becomes of them.
pub(super) fn look(shared: Shared) {
    if shared.header.recoveries() == 0 {
        return;
    }
    let found = find(shared);
    let kills = shared.setup.config.kill_strangers;
    let (killed, left): (Vec<Stranger>, Vec<Stranger>) =
        found.into_iter().partition(|stranger| kills && kill(stranger).is_ok());
    for (what, which) in [("killed", killed), ("left alone", left)] {
        if !which.is_empty() {
            say(format_args!("children that no group knows of are {what}: {}", list(&which)));
        }
    }
}

fn find(shared: Shared) -> Vec<Stranger> {
    let keeper = shared.setup.keeper;
    let children = children(keeper);
    let own = getpid();
    // Else this /proc is that of others.
    let Some(born) = Stat::of(own).filter(|_| children.contains(&own)).map(|stat| stat.born) else {
        return Vec::new();
    };
    let table = shared.table;
    let mut known: BTreeSet<i32> = table.rows().filter_map(|(row, _)| table.pid(row)).map(number).collect();
    known.extend(shared.header.writer().map(number));
    let unknown = children.into_iter().filter(|pid| !known.contains(&number(*pid)));
    unknown.filter_map(|pid| open(pid, keeper, born)).collect()
}

/// The process with this pid, if it lives, is a child of that one, and is older than `born`.
fn open(pid: Pid, parent: Pid, born: u64) -> Option<Stranger> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Had another got this pid meanwhile, it would be younger, or somebody else's child.
    let stat = Stat::of(pid).filter(|stat| stat.lives && stat.parent == number(parent) && stat.born < born)?;
    Some(Stranger { pid, process, name: stat.name })
}

fn kill(stranger: &Stranger) -> io::Result<()> {
    let offspring: Vec<Stranger> =
        children(stranger.pid).into_iter().filter_map(|pid| open(pid, stranger.pid, u64::MAX)).collect();
    signals::signal_process(&stranger.process, Signal::KILL.as_raw() as u8)?;
    offspring.iter().for_each(|child| drop(kill(child)));
    Ok(())
}

/// The children of all threads of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let text: Vec<String> = threads.map(of_thread).collect();
    text.iter().flat_map(|text| text.split_whitespace()).filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// What /proc/PID/stat says.
struct Stat {
    name: String,
    lives: bool,
    parent: i32,
    /// When it began, in ticks since the boot.
    born: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Stat> {
        Stat::read(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
    }

    /// A name may have blanks and brackets in it: proc_pid_stat(5).
    fn read(text: &str) -> Option<Stat> {
        let (_, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
        let born = words.nth(17)?.parse().ok()?;
        Some(Stat { name: name.to_owned(), lives: !matches!(state, "Z" | "X"), parent, born })
    }
}

fn list(strangers: &[Stranger]) -> String {
    let told = strangers.iter().take(TOLD).map(|stranger| {
        let Stranger { pid, name, .. } = stranger;
        format!("pid {} ({})", pid.as_raw_nonzero(), name.escape_debug())
    });
    let told: Vec<String> = told.collect();
    match strangers.len().saturating_sub(TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name() {
        let text = "77 (a) (b) S 5 77 77 0 -1 4194304 89 0 0 0 0 0 0 0 20 0 1 0 4711 2293760 128 1844\n";
        let stat = Stat::read(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.lives, stat.parent, stat.born), ("a) (b", true, 5, 4711));
        assert!(!Stat::read(&text.replace(" S ", " Z ")).unwrap().lives);
        assert!(Stat::read("77 (a) S 5").is_none());
    }
}
