//! A worker's signs of life: whether it touches its watch file often enough.
//!
//! Two clocks are at work and neither is trusted alone. The file's time stamp is the wall clock's, which may be set; the
//! core's clock stands still while the machine sleeps. So what counts is that the stamp *differs* from the one seen at
//! the last look, and its age only says how soon to look again, between that look and now. A look that comes much later
//! than it was due shows that nobody could look: then silence counts from now, so that nobody dies because the machine
//! or the daemon slept.

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Instant};

/// What is known of a worker's signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    /// Of the last sign that was seen; 0 before the first look.
    mark: u64,
    /// When the last sign came, as far as is known.
    seen: Instant,
    /// When the last look was.
    looked: Instant,
    look_at: Instant,
    /// A look is under way.
    pub(crate) looking: bool,
}

/// What a look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Alive(Live),
    /// No sign for this long.
    Silent(Duration),
}

impl Live {
    /// Of a worker whose program has just begun to run.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Live {
        Live { mark: 0, seen: now, looked: now, look_at: now + timeout, looking: false }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        (!self.looking).then_some(self.look_at)
    }

    /// A look is under way.
    pub(crate) fn look(self) -> Live {
        Live { looking: true, ..self }
    }

    /// A look has shown this mark, made `ago` by the wall clock.
    pub(crate) fn sight(self, mark: u64, ago: Duration, timeout: Duration, now: Instant) -> Sight {
        let nobody_looked = now.since(self.look_at) >= timeout / 4;
        let seen = match mark != self.mark {
            true => Instant(now.0.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))).max(self.looked),
            false if nobody_looked => now,
            false if now.since(self.seen) >= timeout => return Sight::Silent(now.since(self.seen)),
            false => self.seen,
        };
        let look_at = (seen + timeout).max(now + timeout / 4);
        Sight::Alive(Live { mark, seen, looked: now, look_at, looking: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Instant {
        Instant(1_000_000_000 * (1000 + seconds))
    }

    fn alive(sight: Sight) -> Live {
        match sight {
            Sight::Alive(live) => live,
            Sight::Silent(silence) => panic!("silent for {silence:?}"),
        }
    }

    fn ago(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_next_look_is_a_timeout_after_the_last_sign() {
        let live = Live::new(TIMEOUT, at(0));
        assert_eq!(live.deadline(), Some(at(8)));
        let live = alive(live.look().sight(7, ago(3), TIMEOUT, at(8)));
        assert_eq!((live.seen, live.deadline()), (at(5), Some(at(13))));
        let live = alive(live.sight(9, ago(0), TIMEOUT, at(13)));
        assert_eq!(live.deadline(), Some(at(21)));
    }

    #[test]
    fn who_never_gives_a_sign_is_silent_within_a_quarter_more() {
        let live = alive(Live::new(TIMEOUT, at(0)).sight(1, ago(8), TIMEOUT, at(8)));
        assert_eq!(live.deadline(), Some(at(10)));
        assert_eq!(live.sight(1, ago(10), TIMEOUT, at(10)), Sight::Silent(ago(10)));
    }

    #[test]
    fn a_clock_that_is_set_kills_nobody() {
        let first = alive(Live::new(TIMEOUT, at(0)).sight(1, ago(1), TIMEOUT, at(8)));
        // Forward: the new sign seems to be years old. Back: it seems to come from the future.
        let forward = alive(first.sight(2, ago(100_000_000), TIMEOUT, at(15)));
        assert!(forward.deadline() > Some(at(15)));
        let back = alive(forward.sight(3, ago(0), TIMEOUT, at(17)));
        assert_eq!(back.deadline(), Some(at(25)));
    }

    #[test]
    fn a_look_that_comes_late_kills_nobody() {
        let live = alive(Live::new(TIMEOUT, at(0)).sight(1, ago(0), TIMEOUT, at(8)));
        let live = alive(live.sight(1, ago(4000), TIMEOUT, at(4000)));
        assert_eq!(live.deadline(), Some(at(4008)));
        assert_eq!(live.sight(1, ago(4008), TIMEOUT, at(4008)), Sight::Silent(ago(8)));
    }
}
