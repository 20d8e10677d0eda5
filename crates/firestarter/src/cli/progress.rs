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
    /// From now on Ctrl-C ends the waiting, but of who runs in the background, whom it is not meant for.
    pub(super) fn new(out: &'a mut dyn Write, form: Form) -> Show<'a> {
        let meant = !INTERRUPTS.iter().any(|signal| signals::is_ignored(*signal));
        let signals = if meant { SignalFd::new(&INTERRUPTS).ok() } else { None };
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
        let since = at.elapsed();
        let text = match self.form {
            // One column is left, so that no terminal goes on to the next line.
            Form::Redrawn { width } => format!("\r{}\x1b[K", fitted(progress, since, width.saturating_sub(1))),
            Form::Lines => format!("firestarter: {}\n", line(progress, since, &FULL)),
            Form::Json => return,
        };
        self.write(&text);
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

/// What stands in a line.
struct Parts {
    /// So many marks.
    bar: u32,
    generation: bool,
    awaits: bool,
}

const FULL: Parts = Parts { bar: 0, generation: true, awaits: true };

/// For a terminal, in the order in which they are tried.
const LESS_AND_LESS: [Parts; 4] = [
    Parts { bar: 20, generation: true, awaits: true },
    Parts { bar: 16, generation: false, awaits: true },
    Parts { bar: 16, generation: false, awaits: false },
    Parts { bar: 0, generation: false, awaits: false },
];

/// As much as fits in so many characters.
fn fitted(progress: &Progress, since: Duration, width: usize) -> String {
    let mut lines = LESS_AND_LESS.iter().map(|parts| line(progress, since, parts));
    let fits = lines.clone().find(|line| line.chars().count() <= width);
    let last = || lines.next_back().map_or_else(String::new, |line| line.chars().take(width).collect());
    fits.unwrap_or_else(last)
}

/// `web: upgrade to generation 3 [####==--..] 2 of 4 ready, 3 spawned, 1 retired; soak 12 s`. A restart starts no
/// generation of its own.
fn line(Progress { group, rollout }: &Progress, since: Duration, parts: &Parts) -> String {
    let verb = rollout.verb.map_or("upgrade", Verb::word);
    let Rollout { generation, spawned, ready, retired, wanted, .. } = rollout;
    let to = match parts.generation && rollout.verb != Some(Verb::Restart) {
        true => format!(" to generation {generation}"),
        false => String::new(),
    };
    let bar = if parts.bar > 0 { format!(" [{}]", bar(rollout, parts.bar)) } else { ":".to_owned() };
    let pace = rollout.at_a_time.map_or_else(String::new, |number| format!(", {number} at a time as memory is short"));
    let awaits = match rollout.awaits.filter(|_| parts.awaits) {
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
        "{}: {verb}{to}{bar} {ready} of {wanted} ready, {spawned} spawned, {retired} retired{pace}{awaits}",
        plain(group)
    )
}

/// `#` has taken over, `=` is ready, `-` is spawned, `.` is to come.
fn bar(rollout: &Rollout, marks: u32) -> String {
    let wanted = rollout.wanted.max(1);
    let share = |number: u32| u64::from(number.min(wanted)) * u64::from(marks) / u64::from(wanted);
    let (committed, ready, spawned) = (share(rollout.committed), share(rollout.ready), share(rollout.spawned));
    let mark = |place: u64| match place {
        place if place < committed => '#',
        place if place < ready => '=',
        place if place < spawned => '-',
        _ => '.',
    };
    (0..u64::from(marks)).map(mark).collect()
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
        assert_eq!(
            fitted(&progress(Awaits::Ready), SECOND, 140),
            "web: rollback to generation 3 [#####=====-----.....] 2 of 4 ready, 3 spawned, 1 retired; waits for new workers to \
             be ready"
        );
        assert_eq!(
            line(&progress(Awaits::Soak { left_ms: 2500 }), SECOND, &FULL),
            "web: rollback to generation 3: 2 of 4 ready, 3 spawned, 1 retired; soak 2 s"
        );
        let mut few = progress(Awaits::Memory);
        (few.rollout.at_a_time, few.rollout.wanted) = (Some(1), 0);
        let few = line(&few, SECOND, &FULL);
        assert!(few.ends_with("1 at a time as memory is short; looks how much memory there is"), "{few}");
    }

    #[test]
    fn a_narrow_terminal_loses_whole_words() {
        let soak = progress(Awaits::Soak { left_ms: 2500 });
        let with_bar = "web: rollback [####====----....] 2 of 4 ready, 3 spawned, 1 retired";
        assert_eq!(fitted(&soak, SECOND, 79), format!("{with_bar}; soak 2 s"));
        assert_eq!(fitted(&progress(Awaits::Ready), SECOND, 79), with_bar);
        assert_eq!(fitted(&soak, SECOND, 60), "web: rollback: 2 of 4 ready, 3 spawned, 1 retired");
        let mut restart = progress(Awaits::Ready);
        restart.rollout.verb = Some(Verb::Restart);
        assert!(line(&restart, SECOND, &FULL).starts_with("web: restart: 2 of 4 ready"));
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
