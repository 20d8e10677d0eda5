//! What /proc tells of processes, and signals to them.

use std::fs;

use rustix::process::{kill_process, kill_process_group, Pid, Signal};

pub(crate) type Sig = Signal;

/// The pids of all processes.
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Sends a signal; whoever has gone meanwhile needs none.
pub(crate) fn signal(pid: u32, signal: Sig) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to every process of a group, as a terminal does.
pub(crate) fn signal_group(leader: u32, signal: Sig) {
    if let Some(leader) = Pid::from_raw(leader as i32) {
        let _ = kill_process_group(leader, signal);
    }
}

/// A line of /proc/PID/status.
pub(crate) fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// A set of signals from /proc/PID/status: `SigBlk`, `SigIgn`, `SigCgt`.
pub(crate) fn mask(pid: u32, key: &str) -> u64 {
    u64::from_str_radix(&status(pid, key), 16).unwrap_or_else(|_| panic!("pid {pid} has no {key}"))
}

pub(crate) fn parent(pid: u32) -> u32 {
    status(pid, "PPid").parse().unwrap_or(0)
}

/// Whether it runs: a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    let state = status(pid, "State");
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// A field of /proc/PID/stat, counted from 1 as in proc(5); from 3 on.
pub(crate) fn stat(pid: u32, field: usize) -> i64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').nth(field - 3).and_then(|word| word.trim().parse().ok()).unwrap_or(-1)
}

/// The process group of a process.
pub(crate) fn process_group(pid: u32) -> u32 {
    u32::try_from(stat(pid, 5)).unwrap_or(0)
}

/// All children of a process, zombies too.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn zombies(parent: u32) -> Vec<u32> {
    children(parent).into_iter().filter(|pid| status(*pid, "State").starts_with('Z')).collect()
}

/// The daemon, found without asking it: the oldest living child of the keeper that runs the keeper's program under the
/// keeper's name. The writer has another, and so has a worker that does not run its own program yet.
pub(crate) fn daemon(keeper: u32) -> Option<u32> {
    let name = status(keeper, "Name");
    let named = own(keeper).into_iter().filter(|pid| status(*pid, "Name") == name);
    named.min_by_key(|pid| (stat(*pid, 22), *pid))
}

/// The writer, by the name that it gives itself.
pub(crate) fn writer(keeper: u32) -> Option<u32> {
    own(keeper).into_iter().find(|pid| status(*pid, "Name") == "firestarter-log")
}

/// The living children of the keeper that run its program.
fn own(keeper: u32) -> Vec<u32> {
    let Ok(program) = fs::read_link(format!("/proc/{keeper}/exe")) else { return Vec::new() };
    let same = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    children(keeper).into_iter().filter(|pid| alive(*pid)).filter(same).collect()
}

/// The open descriptors of a process and what they are.
pub(crate) fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let read = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
    };
    let mut all: Vec<(u32, String)> = entries.into_iter().flatten().filter_map(read).collect();
    all.sort_unstable();
    all
}

/// How many descriptors of a process stand for a file only (O_PATH), as those that hold a group's program fast.
pub(crate) fn standing_for_files(pid: u32) -> usize {
    let stands = |(number, _): &(u32, String)| {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
        u32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & 0o10_000_000 != 0)
    };
    descriptors(pid).iter().filter(|descriptor| stands(descriptor)).count()
}

/// A variable of a process's environment as it was when its program began.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    environ(pid).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

pub(crate) fn environ(pid: u32) -> Vec<(String, String)> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The arguments of a process.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Processor time that a process has used, in clock ticks.
pub(crate) fn ticks(pid: u32) -> i64 {
    stat(pid, 14) + stat(pid, 15)
}

/// Whether a test can make processes of other users, by setpriv and as root; says so if not.
pub(crate) fn may_change_user() -> bool {
    let root = rustix::process::geteuid().is_root();
    let may = root
        && std::process::Command::new("setpriv").arg("--version").stdout(std::process::Stdio::null()).status().is_ok();
    if !may {
        eprintln!("skipped: needs root, and setpriv of util-linux, to make processes of another user");
    }
    may
}
