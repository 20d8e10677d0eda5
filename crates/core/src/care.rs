//! What is kept an eye on while a worker serves: its watch file, its watchdog, its probe, its age. A worker has this only
//! if its group asks for any of it.
//!
//! - The **watch file** is looked at (`live.rs`).
//! - The **watchdog** is armed when the worker is ready: it must then say within `timeout`, again and again, that it is
//!   well. A deadline that is handled much later than it was due shows that nobody could listen, so it counts anew.
//! - The **probe** asks at `ask_at`. Good answers in a row make a worker ready; bad ones in a row make a ready worker
//!   unhealthy. While an answer is awaited there is no deadline: the shell answers, or its command's time is over.
//! - At `spent_at` a worker is too old. It is *spent* then, as is one that is too large or unhealthy: it serves on until
//!   a new one can take its place (`group/recycle.rs`).

use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};

use crate::event::Answer;
use crate::ids::WorkerId;
use crate::live::Live;
use crate::spec::Probe;
use crate::time::{Duration, Instant};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Care {
    pub(crate) live: Option<Live>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) probing: Option<Probing>,
    pub(crate) spent_at: Option<Instant>,
    /// It stands among the group's spent workers.
    pub(crate) spent: bool,
    pub(crate) said: SaysOfItself,
}

/// What a worker says that it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SaysOfItself {
    #[default]
    Nothing,
    Reloads,
    Stops,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watchdog {
    pub(crate) timeout: Duration,
    pub(crate) miss_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probing {
    pub(crate) asks: Asks,
    good: u32,
    bad: u32,
    /// The last answer, if it was bad.
    pub(crate) last_bad: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asks {
    At(Instant),
    /// An answer is awaited; by the hook that asks, if it is one.
    Now(Option<WorkerId>),
}

/// What an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Healthy,
    Unhealthy(Answer),
    Open,
}

impl Care {
    pub(crate) fn deadline(&self, ready: bool) -> Option<Instant> {
        let look_at = self.live.and_then(Live::deadline);
        let miss_at = self.watchdog.map(|watchdog| watchdog.miss_at);
        let ask_at = self.probing.and_then(Probing::ask_at);
        let spent_at = self.spent_at.filter(|_| ready);
        [look_at, miss_at, ask_at, spent_at].into_iter().flatten().min()
    }
}

impl Watchdog {
    /// Armed now.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Watchdog {
        Watchdog { timeout, miss_at: now + timeout }
    }

    /// Whether it was missed; none if nobody could have listened, and it counts anew.
    pub(crate) fn missed(self, now: Instant) -> Option<Duration> {
        let late = now.since(self.miss_at);
        (late < self.timeout / 4).then_some(self.timeout + late)
    }
}

impl Probing {
    /// Begins to ask.
    pub(crate) fn new(now: Instant) -> Probing {
        Probing { asks: Asks::At(now), good: 0, bad: 0, last_bad: None }
    }

    /// It was asked.
    pub(crate) fn asking(self, asks: Asks) -> Probing {
        Probing { asks, ..self }
    }

    fn ask_at(self) -> Option<Instant> {
        match self.asks {
            Asks::At(at) => Some(at),
            Asks::Now(_) => None,
        }
    }

    /// An answer has come.
    pub(crate) fn answered(self, answer: Answer, probe: &Probe, now: Instant) -> (Probing, Verdict) {
        let asks = Asks::At(now + probe.interval);
        let reached = |count: u32, after: NonZeroU32| count >= after.get();
        if answer == Answer::Good {
            let good = self.good.saturating_add(1);
            let verdict = if reached(good, probe.healthy_after) { Verdict::Healthy } else { Verdict::Open };
            return (Probing { asks, good, bad: 0, last_bad: None }, verdict);
        }
        let bad = self.bad.saturating_add(1);
        let verdict = if reached(bad, probe.unhealthy_after) { Verdict::Unhealthy(answer) } else { Verdict::Open };
        (Probing { asks, good: 0, bad, last_bad: Some(answer) }, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ProbeBy;

    fn at(seconds: u64) -> Instant {
        Instant(1_000_000_000 * seconds)
    }

    #[test]
    fn a_watchdog_that_nobody_could_hear_counts_anew() {
        let watchdog = Watchdog::new(Duration::from_secs(8), at(10));
        assert_eq!(watchdog.missed(at(18)), Some(Duration::from_secs(8)));
        assert_eq!(watchdog.missed(at(19)), Some(Duration::from_secs(9)));
        assert_eq!(watchdog.missed(at(20)), None);
    }

    #[test]
    fn answers_count_in_a_row() {
        let two = NonZeroU32::MIN.saturating_add(1);
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        let by = ProbeBy::Connection;
        let probe = Probe { by, interval, timeout, healthy_after: two, unhealthy_after: two, liveness: true };
        let mut probing = Probing::new(at(0));
        let mut verdict = |answer| {
            let (next, verdict) = probing.answered(answer, &probe, at(1));
            probing = next;
            verdict
        };
        let bad = Answer::Status(500);
        let answers = [bad, Answer::Good, bad, Answer::Good, bad, bad, bad, Answer::Good, Answer::Good];
        let told = answers.map(&mut verdict);
        let open = Verdict::Open;
        let unhealthy = Verdict::Unhealthy(bad);
        assert_eq!(told, [open, open, open, open, open, unhealthy, unhealthy, open, Verdict::Healthy]);
    }
}
