//! Who sent something: the kernel's word for it, never what a message claims. The sender's pid, else its process group,
//! else its parents, up to a worker of the group; anybody else is nobody. Called by `channel` and `notify`.

use firestarter_core::ids::{GroupId, WorkerId};
use rustix::process::Pid;

use crate::journal::{Row, Table};

/// The worker of the group that a process is, or belongs to.
pub(super) fn worker_of(table: &Table, pid: Pid, group: u32) -> Option<(Row, WorkerId)> {
    let ours = |pid| table.find(pid).filter(|(row, _)| table.group(*row) == GroupId(group));
    let group_leader = || rustix::process::getpgid(Some(pid)).ok().and_then(ours);
    ours(pid).or_else(group_leader).or_else(|| ancestors(pid).find_map(ours))
}

/// The parents of a process, nearest first, as far as they can be seen.
fn ancestors(pid: Pid) -> impl Iterator<Item = Pid> {
    let parent = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Pid::from_raw(parent).filter(|parent| parent.as_raw_nonzero().get() > 1)
    };
    std::iter::successors(parent(&pid), parent).take(64)
}
