//! What the service manager is told, if there is one: how the whole is, as the daemon has put it into the header, and, for
//! its watchdog, that all is well. It is the keeper who tells it: it outlives the daemons, and is the process that the
//! service manager has started. Without one there is none of this, and nobody wakes for it.

use std::fmt::Write;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::journal::{Header, Report};
use crate::say::{plain, say};
use crate::service::Service;

/// A service manager that has too much to read is told again after this.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Upward {
    service: Service,
    /// How long the start and the stop may take.
    longest: Longest,
    /// What it has heard last.
    told: Report,
    /// It does not know yet how long the start may take.
    new: bool,
    /// When to try again what it did not take.
    again_at: Option<Instant>,
    /// When it is to hear that all is well.
    beat_at: Option<Instant>,
    said: bool,
}

/// How long the start and the stop of everything may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Longest {
    /// Until all that starts at once is ready, or will not be.
    pub(crate) start: Duration,
    /// Until nothing is left.
    pub(crate) stop: Duration,
}

impl Upward {
    pub(super) fn new(service: Service, longest: Longest) -> Upward {
        let beat_at = service.watchdog.map(|_| Instant::now());
        Upward { service, longest, told: Report::default(), new: true, again_at: None, beat_at, said: false }
    }

    /// When there is something to tell at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again_at.into_iter().chain(self.beat_at).min()
    }

    /// Tells what is new. Says whether it is time to ask the daemon whether it goes on.
    pub(super) fn speak(&mut self, header: &Header, well: bool) -> bool {
        self.again_at.take_if(|at| *at <= Instant::now());
        let report = header.report();
        if (self.new || report != self.told) && self.again_at.is_none() {
            let text = self.text(report, &header.report_text());
            if self.tell(&text) {
                (self.told, self.new) = (report, false);
            }
        }
        let Some(watchdog) = self.service.watchdog else { return false };
        if self.beat_at.is_none_or(|at| at > Instant::now()) {
            return false;
        }
        self.beat_at = Some(Instant::now() + watchdog / 2);
        if well {
            self.tell("WATCHDOG=1");
        }
        true
    }

    /// No daemon stays alive.
    pub(super) fn despair(&self) {
        let _ = self.service.tell("STATUS=no daemon stays alive; the workers run on without one");
    }

    /// Has it keep a listener that a daemon has opened.
    pub(super) fn keep(&self, fd: BorrowedFd<'_>, name: &str) {
        let _ = self.service.keep(fd, name, false);
    }

    /// What has changed since it heard from us last.
    fn text(&self, report: Report, status: &str) -> String {
        let mut text = String::new();
        let extend = |time: Duration| format!("EXTEND_TIMEOUT_USEC={}\n", time.as_micros());
        if report.stopping && !self.told.stopping {
            text.push_str("STOPPING=1\n");
            text.push_str(&extend(self.longest.stop));
        } else if report.ready && !self.told.ready {
            text.push_str("READY=1\n");
        } else if self.new && !report.ready {
            text.push_str(&extend(self.longest.start));
        }
        // A line's end in a group's name would begin another word.
        let _ = write!(text, "STATUS={}", status.replace(|c: char| c.is_control(), "?"));
        text
    }

    /// Says whether it need not be told again.
    fn tell(&mut self, text: &str) -> bool {
        match self.service.tell(text) {
            Ok(()) => true,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => {
                self.again_at = Some(Instant::now() + AGAIN);
                false
            }
            Err(errno) => {
                if !std::mem::replace(&mut self.said, true) {
                    let cause = plain(&errno.into());
                    say(format_args!("tell the service manager by NOTIFY_SOCKET: {cause} (this is said once)"));
                }
                true
            }
        }
    }
}
