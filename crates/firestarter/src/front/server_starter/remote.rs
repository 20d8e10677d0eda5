//! `--restart` and `--stop`: what is asked of a start-server that runs, be it this one or the original. All that is known
//! of it is its pid file, which it keeps locked, and its status file. Called by `server_starter`; blocking.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use firestarter_core::command::Verb;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};

use super::{control_place, GROUP};
use crate::api::{Call, Order, Outcome};
use crate::cli::code;
use crate::client::Client;
use crate::place::check_own;
use crate::say::{plain, say};

/// Between two looks at the status file.
const LOOK: Duration = Duration::from_millis(50);

/// A start-server that runs.
struct Running {
    pid: i32,
    pidfd: OwnedFd,
}

/// Has the server replaced, and waits until the old workers are gone; returns the exit code.
pub(super) fn restart(pid_file: &Path, status_file: &Path) -> u8 {
    let told = found(pid_file).and_then(|running| {
        let before = generations(status_file)?;
        let newest = *before.last().ok_or((code::FAILED, format!("{}: no worker is listed", status_file.display())))?;
        running.renew()?;
        running.await_newer(status_file, newest)
    });
    code_of(told)
}

/// Stops the server and waits for its end; returns the exit code.
pub(super) fn stop(pid_file: &Path) -> u8 {
    code_of(found(pid_file).and_then(|running| {
        running.signal(Signal::TERM)?;
        while !running.has_ended(Duration::from_secs(3600)) {}
        Ok(())
    }))
}

fn code_of(done: Result<(), (u8, String)>) -> u8 {
    match done {
        Ok(()) => code::DONE,
        Err((code, message)) => {
            say(format_args!("start-server: {message}"));
            code
        }
    }
}

/// Who has locked the pid file. A pid that nobody vouches for may be anybody's by now.
fn found(pid_file: &Path) -> Result<Running, (u8, String)> {
    let at = |code, what: &str| (code, format!("{}: {what}", pid_file.display()));
    let none = || at(code::NO_DAEMON, "no start-server runs with this pid file");
    let failed = |error: &io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return none();
        }
        at(code::FAILED, &plain(error))
    };
    let mut file = File::open(pid_file).map_err(|error| failed(&error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Err(none()),
        Err(Errno::WOULDBLOCK) => {}
        Err(errno) => return Err(failed(&errno.into())),
    }
    let mut text = String::new();
    (&mut file).take(64).read_to_string(&mut text).map_err(|error| failed(&error))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| at(code::FAILED, "there is no pid in it"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Running { pid: pid.as_raw_nonzero().get(), pidfd }),
        Err(Errno::SRCH) => Err(none()),
        Err(errno) => Err(failed(&errno.into())),
    }
}

impl Running {
    fn signal(&self, signal: Signal) -> Result<(), (u8, String)> {
        let sent = pidfd_send_signal(&self.pidfd, signal);
        sent.map_err(|errno| (code::FAILED, format!("signal pid {}: {}", self.pid, plain(&errno.into()))))
    }

    /// Waits so long for its end.
    fn has_ended(&self, within: Duration) -> bool {
        let time = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&time)).is_ok_and(|ready| ready > 0)
    }

    /// Asks over the control socket, where it is to be reached, since that answers what came of it; else by HUP.
    fn renew(&self) -> Result<(), (u8, String)> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let place = control_place(self.pid, &cwd);
        let own = check_own(&place, rustix::process::geteuid().as_raw()).is_ok();
        let Some(client) = own.then(|| Client::connect(&place.path, None).ok()).flatten() else {
            return self.signal(Signal::HUP);
        };
        let order = Order::Group { group: GROUP.to_owned(), verb: Verb::Upgrade, signal: None, slot: None };
        match client.ask(&Call::Do(order)).map(|received| received.outcome) {
            Ok(Outcome::Answer(_)) => Ok(()),
            Ok(Outcome::Problem(problem)) => {
                Err((code::FAILED, format!("{}; the old worker serves on, the log says more", problem.label())))
            }
            Ok(Outcome::Other { message, .. }) => Err((code::FAILED, message)),
            Err(error) => Err((code::FAILED, error.to_string())),
        }
    }

    /// Waits until only generations above `newest` are listed. One that came and went did not live for the interval.
    fn await_newer(&self, status_file: &Path, newest: u64) -> Result<(), (u8, String)> {
        let mut seen = false;
        loop {
            let listed = generations(status_file)?;
            let newer = listed.iter().any(|generation| *generation > newest);
            if newer && listed.iter().all(|generation| *generation > newest) {
                return Ok(());
            }
            if seen && !newer {
                return Err((code::FAILED, "the new worker has ended; the old one serves on".to_owned()));
            }
            seen |= newer;
            if self.has_ended(LOOK) {
                return Err((code::FAILED, format!("start-server (pid {}) has ended", self.pid)));
            }
        }
    }
}

/// The generations that a status file lists.
fn generations(status_file: &Path) -> Result<BTreeSet<u64>, (u8, String)> {
    let text = fs::read_to_string(status_file);
    let text = text.map_err(|error| (code::FAILED, format!("{}: {}", status_file.display(), plain(&error))))?;
    Ok(text.lines().filter_map(|line| line.split_once(':')?.0.parse().ok()).collect())
}
