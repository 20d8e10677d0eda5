//! How often the reading thread wakes up for lines that come one by one: many workers that write a little each would keep two
//! threads busy with waking up and falling asleep. So while little comes it rests after each look, and what has come
//! meanwhile is read and written together. The first line after a quiet time is read at once, and where much comes nobody
//! rests. Called by the reading thread's loop.

use std::time::{Duration, Instant};

/// How long a rest is: no reader of a log notices, and a worker that writes much all of a sudden fills its pipe no sooner than
/// it would be read on a busy machine.
pub(super) const REST: Duration = Duration::from_millis(5);
/// If more comes in such a time, nobody rests: a quarter of what the smallest pipe holds.
const LITTLE: u64 = 16 * 1024;

/// What came in the time that is looked at.
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
    /// Something came since the last rest.
    stirred: bool,
    /// In the time before it was little.
    easy: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { since: now, bytes: 0, stirred: false, easy: true }
    }

    pub(super) fn took(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.stirred |= bytes > 0;
    }

    /// Whether to rest now.
    pub(super) fn rests(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= REST {
            self.easy = self.bytes <= LITTLE;
            (self.since, self.bytes) = (now, 0);
        }
        std::mem::take(&mut self.stirred) && self.easy && self.bytes <= LITTLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: u64 = 64 * 1024;

    /// A worker writes so many bytes a millisecond for a second, as far as its pipe takes them; a look takes 10 µs. How many
    /// were read, and in how many looks.
    fn second(rate: u64) -> (u64, u32) {
        let (mut pace, begin) = (Pace::new(Instant::now()), Instant::now());
        let (mut at, mut read, mut looks) = (Duration::ZERO, 0, 0);
        let mut there = 0;
        while at < Duration::from_secs(1) {
            pace.took(there);
            (read, looks) = (read + there, looks + 1);
            let rests = pace.rests(begin + at);
            let spent = if rests { REST } else { Duration::from_micros(10) };
            at += spent;
            there = (rate * spent.as_micros() as u64 / 1000).min(PIPE);
        }
        (read, looks)
    }

    #[test]
    fn it_rests_while_little_comes_and_holds_nobody_up_who_writes_much() {
        for rate in [100, 1000, 3000] {
            let (read, looks) = second(rate);
            assert!(read >= rate * 980 && looks <= 210, "{rate}: {read} bytes in {looks} looks");
        }
        for rate in [5000, 12_000, 20_000, 100_000, 1_000_000] {
            let (read, _) = second(rate);
            assert!(read >= rate * 980, "{rate}: {read} bytes");
        }
    }

    #[test]
    fn without_anything_that_came_it_does_not_rest() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert!(!pace.rests(begin));
        pace.took(100);
        assert!(pace.rests(begin));
        assert!(!pace.rests(begin + REST));
    }
}
