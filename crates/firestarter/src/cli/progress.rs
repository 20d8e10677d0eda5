//! How far an upgrade is, while somebody waits for it: one line that is drawn anew on a terminal, else a line for each
//! news, or the daemon's own words for programs. Called by `cli::main`. Ctrl-C ends the waiting and nothing else.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use firestarter_core::command::Verb;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::render::plain;
use crate::api::{Awaits, Progress, Rollout};
use crate::client::{ClientError, Onlooker};
use crate::sys::signals::{self, SignalFd};

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In one line of at most so many characters.
    Redrawn {
        /// Of the terminal.
        width: usize,
    },
    /// In a line for each news.
    Lines,
    /// As the daemon tells it.
    Json,
}

/// What ends the waiting: SIGINT, that is Ctrl-C.
const INTERRUPTS: [i32; 1] = [2];

/// How often a line that counts seconds is drawn anew.
const SECOND: Duration = Duration::from_secs(1);

/// Shows it.
pub(super) struct Show<'a> {
    out: &'a mut dyn Write,
    form: Form,
    signals: Option<SignalFd>,
    last: Option<(Progress, Instant)>,
}

impl<'a> Show<'a> {
    /// From now on Ctrl-C ends the waiting.
    pub(super) fn new(out: &'a mut dyn Write, form: Form) -> Show<'a> {
        let signals = SignalFd::new(&INTERRUPTS).ok();
        if signals.is_some() {
            signals::block(&INTERRUPTS);
        }
        Show { out, form, signals, last: None }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(&mut self) {
        if self.last.is_some() && matches!(self.form, Form::Redrawn { .. }) {
            self.write("\r\x1b[K");
        }
    }

    fn draw(&mut self) {
        let Some((progress, at)) = &self.last else { return };
        let line = line(progress, at.elapsed(), self.form);
        match self.form {
            Form::Redrawn { width } => {
                // One column is left, so that no terminal goes on to the next line.
                let line: String = line.chars().take(width.saturating_sub(1)).collect();
                self.write(&format!("\r{line}\x1b[K"));
            }
            Form::Lines => self.write(&format!("firestarter: {line}\n")),
            Form::Json => {}
        }
    }

    /// Whether anybody reads it does not matter: the order is what counts.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Onlooker for Show<'_> {
    fn progress(&mut self, progress: Progress, line: &[u8]) {
        if self.form == Form::Json {
            let _ = self.out.write_all(line).and_then(|()| self.out.flush());
        }
        self.last = Some((progress, Instant::now()));
        self.draw();
    }

    fn wait(&mut self, stream: BorrowedFd<'_>, left: Option<Duration>) -> Result<bool, ClientError> {
        let counts = matches!(self.form, Form::Redrawn { .. }) && self.last.is_some();
        let wait = left.into_iter().chain(counts.then_some(SECOND)).min();
        let wait = wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
        let mut fds = vec![PollFd::from_borrowed_fd(stream, PollFlags::IN)];
        fds.extend(self.signals.as_ref().map(|signals| PollFd::new(signals.fd(), PollFlags::IN)));
        if let Err(errno) = poll(&mut fds, wait.as_ref()) {
            // Reading says what is wrong.
            return Ok(errno != Errno::INTR);
        }
        let ready = !fds[0].revents().is_empty();
        drop(fds);
        if let Some((signal, _)) = self.signals.as_ref().and_then(SignalFd::read) {
            return Err(ClientError::Interrupted { signal });
        }
        if !ready {
            self.draw();
        }
        Ok(ready)
    }
}

/// `web: upgrade to generation 3 [####==--..] 2 of 4 ready, 3 spawned, 1 retired; soak 12 s`.
fn line(Progress { group, rollout }: &Progress, since: Duration, form: Form) -> String {
    let verb = rollout.verb.map_or("upgrade", Verb::word);
    let Rollout { generation, spawned, ready, retired, wanted, .. } = rollout;
    let bar = if form == Form::Lines { ":".to_owned() } else { format!(" [{}]", bar(rollout)) };
    let pace = rollout.at_a_time.map_or_else(String::new, |number| format!(", {number} at a time as memory is short"));
    let awaits = match rollout.awaits {
        Some(Awaits::Memory) => "; looks how much memory there is".to_owned(),
        Some(Awaits::Room) => "; waits for old workers to end".to_owned(),
        Some(Awaits::Ready) => "; waits for new workers to be ready".to_owned(),
        Some(Awaits::Soak { left_ms }) => {
            let left = Duration::from_millis(left_ms).saturating_sub(since);
            format!("; soak {} s", left.as_millis().div_ceil(1000))
        }
        None => String::new(),
    };
    format!(
        "{}: {verb} to generation {generation}{bar} {ready} of {wanted} ready, {spawned} spawned, {retired} retired{pace}{awaits}",
        plain(group)
    )
}

const BAR: u32 = 20;

/// `#` has taken over, `=` is ready, `-` is spawned, `.` is to come.
fn bar(rollout: &Rollout) -> String {
    let wanted = rollout.wanted.max(1);
    let share = |number: u32| u64::from(number.min(wanted)) * u64::from(BAR) / u64::from(wanted);
    let (committed, ready, spawned) = (share(rollout.committed), share(rollout.ready), share(rollout.spawned));
    let mark = |place: u64| match place {
        place if place < committed => '#',
        place if place < ready => '=',
        place if place < spawned => '-',
        _ => '.',
    };
    (0..u64::from(BAR)).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firestarter_core::ids::Generation;

    fn progress(awaits: Awaits) -> Progress {
        let rollout = Rollout {
            verb: Some(Verb::Rollback),
            generation: Generation(3),
            spawned: 3,
            ready: 2,
            committed: 1,
            retired: 1,
            wanted: 4,
            at_a_time: None,
            awaits: Some(awaits),
        };
        Progress { group: "web".into(), rollout }
    }

    #[test]
    fn lines_of_each_form() {
        let redrawn = Form::Redrawn { width: 80 };
        assert_eq!(
            line(&progress(Awaits::Ready), SECOND, redrawn),
            "web: rollback to generation 3 [#####=====-----.....] 2 of 4 ready, 3 spawned, 1 retired; waits for new workers to \
             be ready"
        );
        assert_eq!(
            line(&progress(Awaits::Soak { left_ms: 2500 }), SECOND, Form::Lines),
            "web: rollback to generation 3: 2 of 4 ready, 3 spawned, 1 retired; soak 2 s"
        );
        let mut few = progress(Awaits::Memory);
        (few.rollout.at_a_time, few.rollout.wanted) = (Some(1), 0);
        let few = line(&few, SECOND, redrawn);
        assert!(few.ends_with("1 at a time as memory is short; looks how much memory there is"), "{few}");
    }

    #[test]
    fn a_terminal_s_line_is_no_longer_than_it_is_and_gone_at_the_end() {
        let mut out = Vec::new();
        let mut show = Show { out: &mut out, form: Form::Redrawn { width: 12 }, signals: None, last: None };
        show.progress(progress(Awaits::Ready), b"");
        show.end();
        assert_eq!(String::from_utf8(out).expect("text"), "\rweb: rollba\x1b[K\r\x1b[K");
    }
}
