//! Where the demo prints: paragraphs, and on a terminal one live line below them. Called by the demo's acts and by the
//! thread that redraws the line. Without a terminal there are plain lines only. It never knows what they mean.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::load::Counts;

/// The live line shows what came in during the last second.
const WINDOW: Duration = Duration::from_secs(1);

/// To the beginning of the line, and clear it.
const ANEW: &str = "\r\x1b[K";

/// How a line looks, where the terminal may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// The first line of an act.
    Title,
    /// What the demo tells.
    Plain,
    /// What Firestarter or a worker said.
    Quoted,
    /// What went wrong.
    Bad,
}

/// Standard output.
pub(super) struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    /// The live line is shown.
    pub(super) live: bool,
    color: bool,
}

impl Screen {
    /// With a live line if standard output is a terminal that can, in color unless `NO_COLOR` is set (no-color.org).
    pub(super) fn new() -> Screen {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let live = io::stdout().is_terminal() && set("TERM").is_some_and(|term| term != "dumb");
        Screen { out: Mutex::new(Box::new(io::stdout())), live, color: live && set("NO_COLOR").is_none() }
    }

    /// Prints a line above the live line.
    pub(super) fn say(&self, ink: Ink, line: impl Display) {
        let (before, after) = match ink {
            Ink::Title if self.color => ("\x1b[1m", "\x1b[0m"),
            Ink::Quoted if self.color => ("\x1b[2m", "\x1b[0m"),
            Ink::Bad if self.color => ("\x1b[31m", "\x1b[0m"),
            Ink::Title | Ink::Plain | Ink::Quoted | Ink::Bad => ("", ""),
        };
        let anew = if self.live { ANEW } else { "" };
        self.print(&format!("{anew}{before}{line}{after}\n"));
    }

    /// Draws the live line. What does not fit in the terminal's width is left out: line wrap is off while it is drawn.
    pub(super) fn draw(&self, line: &str) {
        if self.live {
            self.print(&format!("{ANEW}\x1b[?7l{line}\x1b[?7h"));
        }
    }

    /// Nobody prints any more while this is held; the live line is gone.
    pub(super) fn curtain(&self) -> impl Drop + '_ {
        let mut out = self.lock();
        if self.live {
            let _ = out.write_all(ANEW.as_bytes()).and_then(|()| out.flush());
        }
        out
    }

    /// Nobody reading is no failure of the demo.
    fn print(&self, text: &str) {
        let mut out = self.lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests are answered in a second.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// The rate over the last second, from `total` as it is now.
    pub(super) fn at(&mut self, now: Instant, total: u64) -> u64 {
        self.0.push_back((now, total));
        // The last one that is older stays, to count from.
        while self.0.get(1).is_some_and(|(then, _)| now.duration_since(*then) >= WINDOW) {
            self.0.pop_front();
        }
        let Some((then, before)) = self.0.front() else { return 0 };
        let millis = now.duration_since(*then).as_millis().max(1);
        u64::try_from(u128::from(total.saturating_sub(*before)) * 1000 / millis).unwrap_or(u64::MAX)
    }
}

/// The live line.
pub(super) fn live_line(rate: u64, counts: &Counts) -> String {
    format!("  {:>7} requests/s   {}", spaced(rate), fate(counts, "   "))
}

/// What came of the requests of an act, or of all.
pub(super) fn summary(counts: &Counts) -> String {
    format!("{} requests answered, {}", spaced(counts.answered), fate(counts, ", "))
}

fn fate(counts: &Counts, between: &str) -> String {
    let cut = if counts.cut > 0 { format!("cut by kill -9 {}{between}", counts.cut) } else { String::new() };
    format!("failed {}{between}{cut}slowest {} ms", spaced(counts.failed), counts.slowest.as_millis())
}

/// In groups of three digits.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let mut spaced = String::new();
    for (digit, left) in digits.chars().zip((1..=digits.len()).rev()) {
        if left % 3 == 0 && !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{mpsc, Arc};

    struct Paper(mpsc::Sender<Vec<u8>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(live: bool, color: bool, prints: impl FnOnce(&Screen)) -> String {
        let (to, from) = mpsc::channel();
        let screen = Screen { out: Mutex::new(Box::new(Paper(to))), live, color };
        prints(&screen);
        drop(screen);
        String::from_utf8(from.iter().flatten().collect()).expect("UTF-8")
    }

    #[test]
    fn plain_lines_without_a_terminal() {
        let text = printed(false, false, |screen| {
            screen.say(Ink::Title, "1. an act");
            screen.draw("live");
            drop(screen.curtain());
        });
        assert_eq!(text, "1. an act\n");
    }

    #[test]
    fn a_live_line_below_the_paragraphs_on_a_terminal() {
        let prints = |screen: &Screen| {
            screen.draw("live");
            screen.say(Ink::Bad, "oh");
        };
        assert_eq!(printed(true, false, prints), "\r\x1b[K\x1b[?7llive\x1b[?7h\r\x1b[Koh\n");
        assert!(printed(true, true, prints).ends_with("\x1b[31moh\x1b[0m\n"));
    }

    #[test]
    fn behind_the_curtain_nobody_prints() {
        let (to, from) = mpsc::channel();
        let screen = Arc::new(Screen { out: Mutex::new(Box::new(Paper(to))), live: false, color: false });
        let curtain = screen.curtain();
        let other = Arc::clone(&screen);
        let thread = std::thread::spawn(move || other.say(Ink::Plain, "late"));
        assert!(from.recv_timeout(Duration::from_millis(20)).is_err());
        drop(curtain);
        thread.join().expect("no panic");
        assert_eq!(from.recv().expect("printed"), b"late\n");
    }

    #[test]
    fn the_lines() {
        let counts = Counts { answered: 12_431, failed: 0, cut: 0, slowest: Duration::from_micros(14_900) };
        assert_eq!(live_line(12_431, &counts), "   12 431 requests/s   failed 0   slowest 14 ms");
        assert_eq!(summary(&counts), "12 431 requests answered, failed 0, slowest 14 ms");
        let cut = Counts { failed: 1000, cut: 1, ..counts };
        assert_eq!(summary(&cut), "12 431 requests answered, failed 1 000, cut by kill -9 1, slowest 14 ms");
        assert_eq!([0, 999, 1000, 1_234_567].map(spaced), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        assert_eq!(rate.at(start, 0), 0);
        assert_eq!(rate.at(at(5), 500), 1000);
        for tenth in 6..=15 {
            rate.at(at(tenth), 500);
        }
        assert_eq!(rate.at(at(16), 500), 0);
        assert_eq!(rate.at(at(21), 1000), 1000 * 500 / 1000);
    }
}
