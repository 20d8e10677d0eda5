//! What the system allows: compared at the start with what the configuration needs, and looked through for the culprit
//! when the kernel has refused a process. Called by `start` and, away from the loop, by the thread that spawns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firestarter_core::event::{SpawnError, SpawnStep};
use firestarter_core::spec::ProbeBy;
use rustix::process::{geteuid, getrlimit, Resource};
use rustix::thread::{capabilities, CapabilitySet};

use super::open::OpenError;
use super::probes::AT_ONCE;
use super::Outputs;
use crate::config::{Config, Group};
use crate::say::say;
use crate::sys::fds::STAGE_END;

/// What Firestarter keeps open for itself, and room for a few clients.
const OWN_FILES: u64 = 32;
/// Keeper, daemon and writer, the thread that spawns, and the one that writes.
const OWN_PROCESSES: u64 = 5;

/// Whether all workers can run at once, with those that an upgrade starts beside them left to chance. Says so if that is
/// possible, but not beside what runs now.
///
/// # Errors
/// A limit is too low; says how high it must be.
pub(crate) fn check(config: &Config, outputs: &Outputs, most_files: u64) -> Result<(), OpenError> {
    let files = Limit {
        name: "the limit of open files".to_owned(),
        most: most_files,
        used: None,
        remedy: "`ulimit -n`, or LimitNOFILE= of systemd",
    };
    files.check(open_files(config, outputs))?;
    let mut by_user = BTreeMap::from([(geteuid().as_raw(), OWN_PROCESSES)]);
    for group in &config.groups {
        *by_user.entry(uid_of(group)).or_default() += workers_of(group);
    }
    for (uid, needed) in &by_user {
        of_user(*uid).map_or(Ok(()), |limit| limit.check(*needed))?;
    }
    let needed = by_user.values().sum();
    of_all_users().into_iter().try_for_each(|limit| limit.check(needed))
}

/// How many files are open when all workers run.
pub(super) fn open_files(config: &Config, outputs: &Outputs) -> u64 {
    let groups = config.groups.iter().enumerate();
    let of_groups: u64 = groups.map(|(index, group)| files_of(group, outputs.of_group(index))).sum();
    OWN_FILES + STAGE_END as u64 + of_groups
}

/// Two sockets for workers and a pair, the listeners, those of slots, what pins hold, the connections of probes; for each
/// worker a pidfd, the pipes that its output goes through with their stages, and what it may store.
fn files_of(group: &Group, pipes: usize) -> u64 {
    let of_slots = group.sockets.iter().filter(|socket| socket.reuseport).count() as u64;
    let asked = group.spec.probe.is_some_and(|probe| probe.by == ProbeBy::Connection);
    let probes = if asked { workers_of(group).min(AT_ONCE as u64) } else { 0 };
    let of_group = 4 + super::pins::FILES + group.sockets.len() as u64 + probes;
    let of_worker = 1 + 2 * pipes as u64 + u64::from(group.launch.fd_store);
    of_group + of_slots * (workers_of(group) - 1) + workers_of(group) * of_worker
}

fn workers_of(group: &Group) -> u64 {
    group.spec.count.get().into()
}

fn uid_of(group: &Group) -> u32 {
    group.launch.identity.as_ref().map_or_else(|| geteuid().as_raw(), |identity| identity.uid)
}

/// Looks for the limit that keeps processes from being made, and says which it is: not more often than people can read.
#[derive(Default)]
pub(super) struct Culprit {
    said: Option<Instant>,
}

/// Between two searches.
const PAUSE: Duration = Duration::from_secs(10);

impl Culprit {
    /// A worker of this group could not be started.
    pub(super) fn search(&mut self, group: &Group, error: &SpawnError) {
        // Who becomes another user is counted among that user's processes only when its program begins.
        let no_room = error.errno == libc::EAGAIN && matches!(error.step, SpawnStep::Clone | SpawnStep::Exec);
        if !no_room || self.said.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.said = Some(Instant::now());
        let mut limits = of_all_users();
        let uid = uid_of(group);
        limits.extend(of_user(uid).map(|limit| Limit { used: Some(tasks_of(uid)), ..limit }));
        let name = &group.spec.name;
        let mut near = limits.iter().filter(|limit| limit.is_near()).peekable();
        if near.peek().is_none() {
            say(format_args!(
                "{name}: no room for another process, and no limit of processes is near: memory may be short"
            ));
        }
        for Limit { name: limit, most, used, remedy } in near {
            let used = used.unwrap_or_default();
            say(format_args!(
                "{name}: no room for another process: {limit} is {most}, in use are {used}: raise it ({remedy})"
            ));
        }
    }
}

/// A limit of open files or of processes.
#[derive(Debug)]
struct Limit {
    name: String,
    most: u64,
    /// None where counting would take long.
    used: Option<u64>,
    /// What raises it.
    remedy: &'static str,
}

impl Limit {
    fn check(self, needed: u64) -> Result<(), OpenError> {
        let Limit { name, most, used, remedy } = self;
        if needed > most {
            return Err(OpenError::Limit { name, most, needed, remedy: remedy.to_owned() });
        }
        if let Some(used) = used.filter(|used| needed > most.saturating_sub(*used)) {
            say(format_args!(
                "{name} is {most}, in use are {used}, and this configuration needs {needed}: some workers may not start \
                 ({remedy})"
            ));
        }
        Ok(())
    }

    /// Less than a tenth of it is left.
    fn is_near(&self) -> bool {
        self.used.is_some_and(|used| used >= self.most - self.most / 10)
    }
}

/// The limit of a user's processes and threads, if there is one for this user: root has none, and who makes processes of
/// its own user is not bound by it if privileged.
fn of_user(uid: u32) -> Option<Limit> {
    let free = CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN;
    let privileged = || capabilities(None).is_ok_and(|sets| sets.effective.intersects(free));
    if uid == 0 || (uid == geteuid().as_raw() && privileged()) {
        return None;
    }
    let most = getrlimit(Resource::Nproc).current?;
    let name = format!("the limit of processes of uid {uid}");
    Some(Limit { name, most, used: None, remedy: "`ulimit -u`, or LimitNPROC= of systemd" })
}

/// The limits of processes and threads that do not ask whose they are.
fn of_all_users() -> Vec<Limit> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = of_cgroups(&own, Path::new("/sys/fs/cgroup"));
    // "0.20 0.18 0.12 1/80 11206": those that run, and all.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = load.split(['/', ' ']).nth(4).and_then(|all| all.parse().ok());
    for (name, remedy) in
        [("kernel.threads-max", "`sysctl -w kernel.threads-max=`"), ("kernel.pid_max", "`sysctl -w kernel.pid_max=`")]
    {
        if let Some(most) = number_in(&Path::new("/proc/sys").join(name.replace('.', "/"))) {
            limits.push(Limit { name: name.to_owned(), most, used, remedy });
        }
    }
    limits
}

/// The limits of the control groups that a process is in, given its /proc/PID/cgroup (cgroups(7)), from the innermost. In
/// a container the outer part of a path may not be there.
fn of_cgroups(own: &str, root: &Path) -> Vec<Limit> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount: PathBuf = match controllers {
            "" => root.to_owned(),
            some if some.split(',').any(|controller| controller == "pids") => root.join("pids"),
            _ => continue,
        };
        for part in Path::new(path.trim_start_matches('/')).ancestors() {
            let folder = mount.join(part);
            if let Some(most) = number_in(&folder.join("pids.max")) {
                let name = format!("pids.max of the control group /{}", part.display());
                let remedy = "TasksMax= of systemd, --pids-limit of a container";
                limits.push(Limit { name, most, used: number_in(&folder.join("pids.current")), remedy });
            }
        }
    }
    limits
}

/// The number that a file holds; none if it says "max".
fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// How many processes and threads a user has.
fn tasks_of(uid: u32) -> u64 {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    let tasks = |entry: fs::DirEntry| {
        let _: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
        let of_user = field("Uid:")?.parse() == Ok(uid);
        of_user.then(|| field("Threads:")?.parse::<u64>().ok()).flatten()
    };
    all.flatten().filter_map(tasks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_are_found_inside_out() {
        let root = std::env::temp_dir().join(format!("firestarter-cgroups-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pids.max", "900\n");
        write("a/pids.max", "max\n");
        write("a/b/pids.max", "20\n");
        write("a/b/pids.current", "19\n");
        write("pids/v1/pids.max", "7\n");
        let found = |own: &str| -> Vec<(String, u64, Option<u64>, bool)> {
            let limits = of_cgroups(own, &root).into_iter();
            limits.map(|l| (l.name.clone(), l.most, l.used, l.is_near())).collect()
        };
        let name = |path: &str| format!("pids.max of the control group /{path}");
        let [inner, outer] = [(name("a/b"), 20, Some(19), true), (name(""), 900, None, false)];
        assert_eq!(found("0::/a/b\n"), [inner, outer.clone()]);
        assert_eq!(found("0::/not/here\n"), [outer]);
        assert_eq!(found("8:cpu,pids:/v1\n3:cpuset:/a/b\n"), [(name("v1"), 7, None, false)]);
        assert_eq!(found("garbage\n1:\n"), []);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_limit_is_an_error_only_if_it_can_never_be_enough() {
        let limit = |used| Limit { name: "x".to_owned(), most: 10, used, remedy: "y" };
        assert!(limit(None).check(10).is_ok() && limit(Some(10)).check(10).is_ok());
        let error = limit(None).check(11).unwrap_err().to_string();
        assert_eq!(error, "x is 10, and this configuration needs 11: raise it (y)");
        assert!(!limit(Some(8)).is_near() && limit(Some(9)).is_near());
    }

    #[test]
    fn the_tasks_of_a_user_are_counted() {
        assert!(tasks_of(rustix::process::getuid().as_raw()) >= 1);
        assert_eq!(tasks_of(u32::MAX - 7), 0);
    }
}
