//! What the service manager is told, if there is one: how the whole is, as the daemon has put it into the header, and, for
//! its watchdog, that all is well. It is the keeper who tells it: it outlives the daemons, and is the process that the
//! service manager has started. Without one there is none of this, and nobody wakes for it.

use std::collections::VecDeque;
use std::fmt::Write;
use std::os::fd::{AsFd, IntoRawFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::link::Told;
use super::Keeper;
use crate::journal::{Header, Ledger, Meaning, Report, SHELVED};
use crate::say::{plain, say};
use crate::service::Service;
use crate::sys::fds;

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
    /// The numbers of listeners that have come or gone, and of which it has not heard.
    changed: VecDeque<RawFd>,
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
        let (told, again_at, changed) = (Report::default(), None, VecDeque::new());
        Upward { service, longest, told, new: true, again_at, beat_at, said: false, changed }
    }

    /// When there is something to tell at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again_at.into_iter().chain(self.beat_at).min()
    }

    /// Tells what is new. Says whether it is time to ask the daemon whether it goes on.
    fn speak(&mut self, header: &Header, ledger: &Ledger, well: bool) -> bool {
        self.again_at.take_if(|at| *at <= Instant::now());
        self.tell_of_listeners(ledger);
        let report = header.report();
        if (self.new || report != self.told) && self.again_at.is_none() {
            let text = self.text(report, &header.report_text());
            if text.is_empty() || self.tell(&text) {
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

    /// No daemon can do anything; `stops`: and so the keeper stops everything.
    pub(super) fn despair(&self, stops: bool) {
        let stop = extend(self.longest.stop);
        let text = if stops {
            format!("STOPPING=1\n{stop}STATUS=stopping all workers without a daemon")
        } else {
            "STATUS=no daemon stays alive; the workers run on without one".to_owned()
        };
        let _ = self.service.tell(&text);
    }

    /// Has it keep listeners that have come, and let go those that have gone, which are closed then.
    fn tell_of_listeners(&mut self, ledger: &Ledger) {
        while let Some(number) = self.changed.front().copied().filter(|_| self.again_at.is_none()) {
            let meaning = ledger.meaning_of(number);
            let keep = matches!(meaning, Some(Meaning::SlotListener { .. }));
            let known = keep || meaning == Some(Meaning::Gone);
            let fd = known.then(|| fds::adopt(number)).flatten();
            let told = fd.as_ref().map_or(Ok(()), |fd| {
                let name = ledger.called(fd);
                if keep {
                    self.service.keep(fd.as_fd(), &name, false)
                } else {
                    self.service.forget(&name)
                }
            });
            let told = self.is_told(told);
            match fd {
                Some(fd) if told && !keep => ledger.forget(&fd),
                Some(fd) => {
                    if told {
                        ledger.set_mark(&fd, SHELVED);
                    }
                    // It is the daemon's.
                    let _ = fd.into_raw_fd();
                }
                None => {}
            }
            if told {
                self.changed.pop_front();
            }
        }
    }

    /// What has changed since it heard from us last.
    fn text(&self, report: Report, status: &str) -> String {
        let mut text = String::new();
        if report.stopping && !self.told.stopping {
            text.push_str("STOPPING=1\n");
            text.push_str(&extend(self.longest.stop));
        } else if report.ready && !self.told.ready {
            text.push_str("READY=1\n");
        } else if self.new && !report.ready {
            text.push_str(&extend(self.longest.start));
        }
        // Before the first daemon has come up there is none, and an empty one would be shown.
        if status.is_empty() {
            return text;
        }
        // A line's end in a group's name would begin another word.
        let _ = write!(text, "STATUS={}", status.replace(|c: char| c.is_control(), "?"));
        text
    }

    /// Says whether it need not be told again.
    fn tell(&mut self, text: &str) -> bool {
        let told = self.service.tell(text);
        self.is_told(told)
    }

    fn is_told(&mut self, told: Result<(), Errno>) -> bool {
        match told {
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

fn extend(time: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", time.as_micros())
}

impl Keeper {
    /// Tells the service manager what is new; for its watchdog the daemon has to show that it goes on.
    pub(super) fn speak(&mut self) {
        let Some(upward) = &mut self.upward else { return };
        if upward.speak(self.journal.header, self.journal.ledger, self.watch.well()) {
            self.tell(Told::Signal);
        }
    }

    /// A daemon has opened a listener that the service manager is to keep, or one of those has gone.
    pub(super) fn shelve(&mut self, number: RawFd) {
        if let Some(upward) = &mut self.upward {
            upward.changed.push_back(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_when_there_is_one() {
        let service =
            Service::find(|name| (name == "NOTIFY_SOCKET").then(|| "@firestarter-nobody".into()), 64).unwrap();
        let longest = Longest { start: Duration::from_secs(1), stop: Duration::from_secs(2) };
        let mut upward = Upward::new(service, longest);
        assert_eq!(upward.text(Report::default(), ""), "EXTEND_TIMEOUT_USEC=1000000\n");
        assert_eq!(upward.text(Report::default(), "two\ngroups"), "EXTEND_TIMEOUT_USEC=1000000\nSTATUS=two?groups");
        upward.new = false;
        assert_eq!(upward.text(Report::default(), ""), "");
    }
}
