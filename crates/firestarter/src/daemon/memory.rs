//! How much memory workers have and how much more there is: from what /proc and the control groups say. Called by
//! `perform`; what follows from it is the core's to decide.
//!
//! What is free is the least of what the kernel calls available and what each control group around the daemon leaves:
//! its limit less what is in use, where files that nobody has used for long do not count as used.

use std::fs;
use std::path::{Path, PathBuf};

use firestarter_core::event::Event;
use firestarter_core::ids::{GroupId, WorkerId};
use rustix::param::page_size;

use super::{Daemon, Fact, Receipt};

/// Of a group so many workers are looked at for their average.
const SOME: usize = 64;

impl Daemon<'_> {
    /// How many more workers of a group the memory holds; all there can be where that cannot be known.
    pub(super) fn measure(&mut self, group: GroupId) {
        let sizes: Vec<u64> = self.ready_of(group).filter_map(|(_, pid)| resident(pid)).take(SOME).collect();
        let fits = fits(&sizes, free(Path::new("/proc"), Path::new("/sys/fs/cgroup")));
        self.inbox.push_back(Fact { event: Event::Measured { group, fits }, receipt: Receipt::None });
    }

    /// Tells of the ready workers of a group that have more in memory than this.
    pub(super) fn weigh(&mut self, group: GroupId, limit: u64) {
        let heavy = |(worker, pid)| resident(pid).filter(|bytes| *bytes > limit).map(|bytes| (worker, bytes));
        let heavy: Vec<(WorkerId, u64)> = self.ready_of(group).filter_map(heavy).collect();
        let fact = |(worker, bytes)| Fact { event: Event::Heavy { worker, bytes }, receipt: Receipt::None };
        self.inbox.extend(heavy.into_iter().map(fact));
    }

    fn ready_of(&self, group: GroupId) -> impl Iterator<Item = (WorkerId, u32)> + '_ {
        let of_group = self.core.workers().filter(move |(_, its)| *its == group);
        of_group.filter_map(|(worker, _)| match self.core.worker(worker)? {
            (_, _, Some(pid), true) => Some((worker, pid.0)),
            (..) => None,
        })
    }
}

/// How many workers a fifth larger than the average of these go into this memory.
fn fits(sizes: &[u64], free: Option<u64>) -> u32 {
    let sum = sizes.iter().map(|size| u128::from(*size)).sum::<u128>();
    let (Some(free), false) = (free, sum == 0) else { return u32::MAX };
    // free / (1.2 * sum / n)
    let fits = u128::from(free) * 5 * sizes.len() as u128 / (sum * 6);
    u32::try_from(fits).unwrap_or(u32::MAX)
}

/// What a process has in memory, in bytes; none if there is no such process.
fn resident(pid: u32) -> Option<u64> {
    of_statm(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?, page_size() as u64)
}

/// The second number of /proc/PID/statm: proc_pid_statm(5).
fn of_statm(text: &str, page: u64) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page)
}

/// What can be had; none if nothing is known of it.
fn free(proc: &Path, root: &Path) -> Option<u64> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let own = read(proc.join("self/cgroup"));
    let available = of_meminfo(&read(proc.join("meminfo")));
    available.into_iter().chain(left_by_cgroups(&own, root)).min()
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.strip_suffix("kB").unwrap_or(line).trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What each of the control groups that a process is in leaves, given its /proc/PID/cgroup: cgroups(7). In a container the
/// outer part of a path may not be there.
fn left_by_cgroups(own: &str, root: &Path) -> Vec<u64> {
    let mut left = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, files) = match controllers {
            "" => (root.to_owned(), &UNIFIED),
            some if some.split(',').any(|controller| controller == "memory") => (root.join("memory"), &FIRST),
            _ => continue,
        };
        for part in Path::new(path.trim_start_matches('/')).ancestors() {
            left.extend(files.left(&mount.join(part)));
        }
    }
    left
}

/// Where a version of control groups says what.
struct Files {
    limits: &'static [&'static str],
    used: &'static str,
    /// Of `memory.stat`: what goes first when memory is short.
    idle: &'static str,
}

const UNIFIED: Files = Files { limits: &["memory.max", "memory.high"], used: "memory.current", idle: "inactive_file" };
const FIRST: Files =
    Files { limits: &["memory.limit_in_bytes"], used: "memory.usage_in_bytes", idle: "total_inactive_file" };

impl Files {
    /// None if there is no limit.
    fn left(&self, folder: &Path) -> Option<u64> {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let limit = self.limits.iter().filter_map(|file| read(file).trim().parse::<u64>().ok()).min()?;
        let used: u64 = read(self.used).trim().parse().ok()?;
        let idle = of_stat(&read("memory.stat"), self.idle).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(idle)))
    }
}

/// A number of `memory.stat`.
fn of_stat(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_average_and_a_fifth_are_counted() {
        assert_eq!(fits(&[100 * MIB, 300 * MIB], Some(480 * MIB)), 2);
        assert_eq!(fits(&[100 * MIB], Some(119 * MIB)), 0);
        assert_eq!(fits(&[100 * MIB], Some(120 * MIB)), 1);
        assert_eq!([fits(&[], Some(0)), fits(&[0], Some(0)), fits(&[MIB], None)], [u32::MAX; 3], "nothing is known");
        assert_eq!(fits(&[u64::MAX; 3], Some(u64::MAX)), 0);
        assert_eq!(fits(&[1], Some(u64::MAX)), u32::MAX);
    }

    #[test]
    fn what_the_kernel_says() {
        assert_eq!(of_statm("5242 1310 900 1 0 200 0\n", 4096), Some(1310 * 4096));
        assert_eq!(of_meminfo("MemTotal:  9 kB\nMemAvailable:   2048 kB\n"), Some(2 * MIB));
        assert_eq!(of_meminfo("MemTotal:  9 kB\n"), None);
        assert_eq!(of_stat("active_file 5\ninactive_file 7\n", "inactive_file"), Some(7));
        assert_eq!(of_stat("inactive_file_x 7\n", "inactive_file"), None);
        assert!(resident(std::process::id()).is_some_and(|bytes| bytes > MIB));
        assert!(free(Path::new("/proc"), Path::new("/sys/fs/cgroup")).is_some());
        assert_eq!(free(Path::new("/nowhere"), Path::new("/nowhere")), None);
    }

    #[test]
    fn the_narrowest_of_all_control_groups_counts() {
        let root = std::env::temp_dir().join(format!("firestarter-memory-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemAvailable: 1000 kB\n");
        write("proc/self/cgroup", "0::/a/b\n");
        let free = || free(&root.join("proc"), &root.join("cg"));
        assert_eq!(free(), Some(1000 * 1024));
        write("cg/a/memory.max", "900000\n");
        write("cg/a/memory.current", "500000\n");
        assert_eq!(free(), Some(400_000));
        write("cg/a/memory.stat", "anon 1\ninactive_file 100000\n");
        assert_eq!(free(), Some(500_000), "what is idle can be had");
        write("cg/a/b/memory.max", "max\n");
        write("cg/a/b/memory.high", "70000\n");
        write("cg/a/b/memory.current", "80000\n");
        assert_eq!(free(), Some(0), "beyond its soft limit already");
        write("proc/self/cgroup", "4:cpu,memory:/v1\n0::/none\n");
        write("cg/memory/v1/memory.limit_in_bytes", "9000\n");
        write("cg/memory/v1/memory.usage_in_bytes", "5000\n");
        write("cg/memory/v1/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n");
        assert_eq!(free(), Some(5000));
        fs::remove_dir_all(&root).unwrap();
    }

    /// A control group with a limit of memory, gone at the end; none where such cannot be made.
    struct Limited(PathBuf);

    impl Limited {
        fn new(name: &str, bytes: u64) -> Option<Limited> {
            [("memory", "memory.limit_in_bytes"), ("", "memory.max")].into_iter().find_map(|(mount, limit)| {
                let folder = Path::new("/sys/fs/cgroup").join(mount).join(name);
                fs::create_dir(&folder).ok()?;
                let group = Limited(folder);
                fs::write(group.0.join(limit), bytes.to_string()).ok()?;
                Some(group)
            })
        }
    }

    impl Drop for Limited {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_limit_of_a_real_control_group_counts() {
        let name = format!("firestarter-memory-{}", std::process::id());
        let Some(group) = Limited::new(&name, 64 * MIB) else {
            return eprintln!("skipped: no control group with a limit of memory can be made here");
        };
        let first = group.0.starts_with("/sys/fs/cgroup/memory");
        let own = if first { format!("9:memory:/{name}\n") } else { format!("0::/{name}\n") };
        let left = left_by_cgroups(&own, Path::new("/sys/fs/cgroup"));
        assert!(left.iter().any(|left| *left > 63 * MIB && *left <= 64 * MIB), "{left:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>(), page in any::<u64>()) {
            let _ = (of_statm(&text, page), of_meminfo(&text), of_stat(&text, "a"));
            let _ = left_by_cgroups(&text, Path::new("/nowhere"));
        }

        #[test]
        fn what_fits_fits(sizes in proptest::collection::vec(1_u64..1 << 40, 1..50), free in any::<u64>()) {
            let (sum, n) = (sizes.iter().map(|s| u128::from(*s)).sum::<u128>(), sizes.len() as u128);
            let fits = u128::from(fits(&sizes, Some(free)));
            prop_assert!(fits * sum * 6 <= u128::from(free) * 5 * n || fits == 0);
            prop_assert!((fits + 1) * sum * 6 > u128::from(free) * 5 * n || fits == u128::from(u32::MAX));
        }
    }
}
