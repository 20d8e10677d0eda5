//! The keeper's side of the writer: forks it, forks it again when it dies, and lets it write the last lines at the end.
//! Without a configuration that needs one there is none.

use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::Pid;

use super::lives::Lives;
use super::Keeper;
use crate::journal::Header;
use crate::say::say;
use crate::sys::wait::Ended;
use crate::sys::{clone, signals, wait};

/// How long the writer may take for the last lines. It waits for whoever reads for a second.
const LAST_LINES: Duration = Duration::from_secs(3);

pub(super) struct Writer {
    pub(super) pid: Option<Pid>,
    pub(super) lives: Lives,
    header: &'static Header,
}

impl Writer {
    /// The program before may have left one, which ends as soon as it hears that it is to be succeeded.
    pub(super) fn new(header: &'static Header) -> Writer {
        let lives = Lives::new("writer", "what workers write waits in their pipes");
        Writer { pid: header.writer(), lives, header }
    }

    /// Forks one, if it is time to.
    pub(super) fn fork(&mut self, body: &impl Fn()) {
        if self.pid.is_some() || !self.lives.may_begin() {
            return;
        }
        match clone::fork_copying_descriptors(body) {
            Ok(pid) => {
                self.lives.begins();
                self.pid = Some(pid);
                self.header.set_writer(pid.as_raw_nonzero().get());
            }
            Err(error) => self.lives.not_forked(&error),
        }
    }

    /// Takes its zombie away, if it has ended.
    fn reap(&mut self) -> Option<Ended> {
        let ended = self.pid.and_then(wait::reap)?;
        self.pid = None;
        self.header.set_writer(0);
        Some(ended)
    }

    /// Looks whether it is among the dead.
    pub(super) fn died(&mut self) {
        match self.reap() {
            None => {}
            // It ends by itself so that the next one finds what it could not.
            Some(Ended { code: libc::CLD_EXITED, status: 0 }) => self.lives.ended(1),
            Some(ended) => self.lives.died(ended, 1),
        }
    }
}

impl Keeper {
    /// When all is over: lets the writer write what is still in the pipes, and one after it if it dies, and waits for
    /// its end, but not for ever.
    pub(super) fn finish_logs(&mut self, body: &impl Fn()) {
        let Some(pipes) = self.journal.pipes else { return };
        pipes.end();
        let end = Instant::now() + LAST_LINES;
        while Instant::now() < end && (self.writer.pid.is_some() || !pipes.all_written()) {
            self.writer.fork(body);
            let next = if self.writer.pid.is_some() { end } else { end.min(self.writer.lives.not_before()) };
            let mut fds = [PollFd::new(self.signals.fd(), PollFlags::IN)];
            let _ = poll(&mut fds, super::until(next).as_ref());
            if self.take_signals() {
                self.writer.died();
            }
        }
        if !pipes.all_written() {
            say(format_args!("the writer does not come to its end: the last lines of the logs may be missing"));
        }
        if let Some(pid) = self.writer.pid {
            let _ = signals::signal_group(pid, libc::SIGKILL as u8);
        }
    }
}
