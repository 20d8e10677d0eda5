//! What the demo plays on: a private folder with a configuration, a release and a log, and `firestarter run` in a process
//! of its own. Called by the demo's acts. It sees Firestarter as any user does: by its command, its control socket, its
//! log and its processes' pids. It never decides whether what it sees is right.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use firestarter_core::command::Verb;
use firestarter_core::ids::Pid;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, pidfd_send_signal, PidfdFlags, Signal};
use rustix::rand::{getrandom, GetRandomFlags};

use super::DemoError;
use crate::api::{Answer, Call, GroupStatus, Order, Outcome, Question, Stage as Life, Status};
use crate::client::{Client, ClientError};

/// The group's name.
pub(super) const GROUP: &str = "web";

/// How many workers it has.
pub(super) const WORKERS: u32 = 4;

/// What the release file is called, in the folder that is also the workers' working directory.
const RELEASE: &str = "release";

/// How long to wait for something that takes well under a second on a machine with nothing else to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long everything may take to stop: workers get SIGKILL after 10 s.
const FAREWELL: Duration = Duration::from_secs(15);

/// How often to look for what cannot be waited for.
pub(super) const GLANCE: Duration = Duration::from_millis(5);

/// A control socket's path has 107 bytes, and what the demo adds to this takes up to 70 of them.
const LONGEST_TEMPORARY: usize = 37;

/// A running Firestarter that is the demo's own. Dropped, it is stopped and its folder removed.
pub(super) struct Stage {
    folder: Folder,
    /// The configuration, as written.
    pub(super) configuration: String,
    child: Mutex<Child>,
    /// Of the child, so that whoever stops it hits no other process.
    pidfd: OwnedFd,
}

impl Stage {
    /// Makes the folder and starts `firestarter run` there, with release 1.
    pub(super) fn set() -> Result<Stage, DemoError> {
        let program = Path::new("/proc/self/exe");
        let exe = fs::read_link(program).map_err(DemoError::io("read", program))?;
        let folder = Folder::new()?;
        let configuration = configuration(&exe)?;
        folder.write("demo.toml", &configuration)?;
        folder.write(RELEASE, "1\n")?;
        let log = folder.path.join("log");
        let open = || File::options().create(true).append(true).open(&log).map_err(DemoError::io("open", &log));
        let mut child = Command::new(&exe)
            .args(["run", "-c", "demo.toml", "-d", "control.sock"])
            .current_dir(&folder.path)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .map_err(DemoError::io("run", &exe))?;
        match pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Stage { folder, configuration, child: Mutex::new(child), pidfd }),
            Err(errno) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(DemoError::io("open a pidfd of", &exe)(errno.into()))
            }
        }
    }

    /// Makes this the release that workers boot from now on, as a deployment would.
    pub(super) fn release(&self, text: &str) -> Result<(), DemoError> {
        // In one step: a worker that boots just now reads the one or the other.
        self.folder.write("release.new", text)?;
        let (from, to) = (self.folder.path.join("release.new"), self.folder.path.join(RELEASE));
        fs::rename(&from, &to).map_err(DemoError::io("rename", &from))
    }

    /// Sends one request and waits for its outcome.
    pub(super) fn ask(&self, call: &Call) -> Result<Outcome, ClientError> {
        let client = Client::connect(&self.folder.path.join("control.sock"), Some(PATIENCE))?;
        client.ask(call).map(|received| received.outcome)
    }

    /// `firestarter ctrl web upgrade`.
    pub(super) fn upgrade(&self) -> Result<Outcome, ClientError> {
        self.ask(&Call::Do(Order::Group { group: GROUP.to_owned(), verb: Verb::Upgrade, signal: None, slot: None }))
    }

    /// `firestarter status`.
    pub(super) fn status(&self) -> Result<View, DemoError> {
        match self.ask(&Call::Ask(Question::Status))? {
            Outcome::Answer(Answer::Status(mut status)) => match status.groups.pop() {
                Some(group) => Ok(View { status, group }),
                None => Err(DemoError::claim("status shows no group")),
            },
            other @ (Outcome::Answer(_) | Outcome::Problem(_) | Outcome::Other { .. }) => {
                Err(DemoError::claim(format!("status: {other:?}")))
            }
        }
    }

    /// Waits until `status` shows it.
    pub(super) fn until(&self, what: &str, shown: impl Fn(&View) -> bool) -> Result<View, DemoError> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let view = self.status()?;
            if shown(&view) {
                return Ok(view);
            }
            if Instant::now() > limit {
                return Err(DemoError::claim(format!("not within {PATIENCE:?}: {what}; status: {view:?}")));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Waits until all workers are ready, from the moment `run` was started.
    pub(super) fn until_ready(&self) -> Result<View, DemoError> {
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.status() {
                Ok(view) if view.complete() => return Ok(view),
                // Not yet listening, or not yet ready.
                Ok(_) | Err(DemoError::Client(ClientError::NoDaemon { .. })) if Instant::now() < limit => {}
                Ok(view) => return Err(DemoError::claim(format!("the workers are not ready: {view:?}"))),
                Err(error) => return Err(error),
            }
            if let Some(status) = self.ended(GLANCE) {
                return Err(DemoError::claim(format!("firestarter run ended: {status}")));
            }
        }
    }

    /// How long the log is by now; for `said_since`.
    pub(super) fn log_length(&self) -> usize {
        self.log().len()
    }

    /// The first line in the log beyond `from` that has all these words, once there is one; none if it takes too long.
    pub(super) fn said_since(&self, from: usize, words: &[&str]) -> Option<String> {
        let limit = Instant::now() + Duration::from_secs(1);
        loop {
            let log = self.log();
            let lines = log.get(from..).unwrap_or_default().split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut found = lines.filter(|line| words.iter().all(|word| line.contains(word)));
            match found.next() {
                Some(line) => return Some(line.trim_end().to_owned()),
                None if Instant::now() > limit => return None,
                None => thread::sleep(GLANCE),
            }
        }
    }

    /// The last lines of the log, oldest first.
    pub(super) fn last_said(&self, lines: usize) -> Vec<String> {
        let mut last: Vec<String> = self.log().lines().rev().take(lines).map(str::to_owned).collect();
        last.reverse();
        last
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until `firestarter run` has ended, but not longer than this.
    pub(super) fn ended(&self, within: Duration) -> Option<ExitStatus> {
        let limit = Timespec::try_from(within).ok();
        // Outside the lock: several may wait. An error looks as if the time were over.
        let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], limit.as_ref());
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Stops everything and removes the folder; may be called at any time, from any thread. Nothing is left behind, and
    /// what did not go as it should is said.
    pub(super) fn strike(&self) -> Result<(), DemoError> {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        if let Some(status) = self.ended(FAREWELL) {
            if !status.success() {
                // Somebody killed it, and a daemon without its keeper works on: that one is asked in another way.
                let _ = self.ask(&Call::Do(Order::Shutdown));
            }
            return self.folder.remove();
        }
        let children = self.kill_all();
        self.folder.remove()?;
        let (seconds, children) = (FAREWELL.as_secs(), children.join(" "));
        let what = format!("did not end within {seconds} s of SIGTERM and was killed, with its processes {children}");
        Err(DemoError::claim(format!("firestarter run {what}")))
    }

    /// SIGKILL to `firestarter run` and to all its children; their pids.
    fn kill_all(&self) -> Vec<String> {
        let run = self.child.lock().unwrap_or_else(PoisonError::into_inner).id();
        // While it lives, no child's pid is another's: it alone reaps.
        let listed = fs::read_to_string(format!("/proc/{run}/task/{run}/children")).unwrap_or_default();
        let children: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        let _ = pidfd_send_signal(&self.pidfd, Signal::STOP);
        for pid in children.iter().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid(pid));
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.ended(PATIENCE);
        children
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.strike();
    }
}

/// Whether there is such a process.
pub(super) fn lives(pid: Pid) -> bool {
    os_pid(pid).is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// `kill -9`.
pub(super) fn kill(pid: Pid) -> Result<(), DemoError> {
    let process = os_pid(pid).ok_or_else(|| DemoError::claim(format!("{pid} is no pid")))?;
    rustix::process::kill_process(process, Signal::KILL)
        .map_err(|errno| DemoError::claim(format!("kill {pid}: {errno}")))
}

fn os_pid(pid: Pid) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid.0).ok()?)
}

/// What `status` showed.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The whole; its groups are taken out.
    pub(super) status: Status,
    /// The only group.
    pub(super) group: GroupStatus,
}

impl View {
    /// The ready workers' pids, ascending.
    pub(super) fn pids(&self) -> Vec<Pid> {
        let ready = self.group.workers.iter().filter(|worker| worker.state == Life::Ready);
        let mut pids: Vec<Pid> = ready.filter_map(|worker| worker.pid).collect();
        pids.sort_unstable();
        pids
    }

    /// As many workers as are wanted, all ready and none besides them.
    pub(super) fn complete(&self) -> bool {
        let all = self.group.workers.len();
        self.pids().len() == all && usize::try_from(self.group.wanted) == Ok(all)
    }
}

/// A folder of the demo's own. Dropped, it is removed.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Folder, DemoError> {
        let temporary = std::env::temp_dir();
        let short = temporary.is_absolute() && temporary.as_os_str().len() <= LONGEST_TEMPORARY;
        let parent = if short { temporary } else { PathBuf::from("/tmp") };
        loop {
            let mut random = [0; 8];
            getrandom(&mut random, GetRandomFlags::empty()).map_err(|e| DemoError::io("name", &parent)(e.into()))?;
            let path = parent.join(format!("firestarter-demo-{:016x}", u64::from_ne_bytes(random)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DemoError::io("create", &path)(error)),
            }
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(DemoError::io("write", &path))
    }

    /// Removes it, if that is still to be done.
    fn remove(&self) -> Result<(), DemoError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(DemoError::io("remove", &self.path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The eight lines.
fn configuration(exe: &Path) -> Result<String, DemoError> {
    let unreadable = || DemoError::io("write down the name of", exe)(io::Error::other("it is not UTF-8"));
    let exe = exe.to_str().ok_or_else(unreadable)?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let command = if exe.chars().all(harmless) {
        format!("\"{exe} demo-worker {RELEASE}\"")
    } else {
        // A string of JSON is one of TOML.
        format!("[{}, \"demo-worker\", \"{RELEASE}\"]", serde_json::Value::from(exe))
    };
    Ok(format!(
        "[{GROUP}]\nexec_start = {command}\nnumprocesses = {WORKERS}\nsocket_address = [\"127.0.0.1:0\"]\n\
         start_immediate = true\nrestart = \"always\"\nack = \"manual\"\nack_signal = \"SIGTERM\"\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::System;
    use crate::config::{self, Surroundings};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_configuration_has_eight_lines_and_no_faults() {
        for exe in ["/usr/bin/firestarter", "/home/a b/\"c\"$d\\/firestarter"] {
            let folder = Folder::new().expect("a folder");
            let text = configuration(Path::new(exe)).expect("UTF-8");
            assert_eq!(text.lines().count(), 8, "{text}");
            folder.write("demo.toml", &text).expect("written");
            let (cwd, env) = (folder.path.as_path(), |_: &str| None);
            let around = Surroundings::here(cwd, &env, &System);
            let loaded = config::load(&cwd.join("demo.toml"), &around);
            let (loaded, warnings) = loaded.unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(warnings.to_string(), "");
            assert_eq!(loaded.groups[0].spec.count.get(), WORKERS);
            assert!(format!("{:?}", loaded.groups[0].launch.exec).contains("demo-worker"));
        }
    }

    #[test]
    fn the_folder_is_private_and_gone_in_the_end() {
        let folder = Folder::new().expect("a folder");
        let path = folder.path.clone();
        folder.write("a", "b").expect("written");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_longest_control_socket_fits() {
        let path = PathBuf::from("x".repeat(LONGEST_TEMPORARY)).join("firestarter-demo-0123456789abcdef");
        assert!(path.join("control.sock.d/worker-0.sock").as_os_str().len() <= 107);
    }
}
