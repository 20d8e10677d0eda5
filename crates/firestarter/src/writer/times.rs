//! When what stands in a stage was read: a sink may take it much later, and lines bear the time at which they were read.
//! Kept beside a pipe by `board`. Gone with the writer: the next one takes its own time for what it finds.

use std::collections::VecDeque;

/// Positions in a stage and when they were reached, the first first.
#[derive(Default)]
pub(super) struct Times(VecDeque<Mark>);

/// All up to `end` that does not belong to the mark before was read from `begun` to `time`, in nanoseconds since 1970.
struct Mark {
    end: u64,
    begun: u64,
    time: u64,
}

/// What is read within so much time bears the same: 100 ms.
const ALIKE: u64 = 100_000_000;
/// A stage that has stood still for long has no more marks: the last one is for all that came then.
const MOST: usize = 256;

impl Times {
    /// The stage is so long now.
    pub(super) fn reached(&mut self, end: u64, now: u64) {
        let full = self.0.len() >= MOST;
        match self.0.back_mut() {
            // A clock that was set back begins a new mark.
            Some(last) if full || (last.begun..last.begun + ALIKE).contains(&now) => (last.end, last.time) = (end, now),
            Some(last) if last.end == end => {}
            Some(_) | None => self.0.push_back(Mark { end, begun: now, time: now }),
        }
    }

    /// Up to where the bytes from here on were read at one time, and that time. None: nobody knows.
    pub(super) fn next(&mut self, from: u64) -> Option<(u64, u64)> {
        self.0.retain(|mark| mark.end > from);
        self.0.front().map(|mark| (mark.end, mark.time))
    }

    /// There is no whole line before this position: the next one bears the time at which it became whole.
    pub(super) fn skip(&mut self, to: u64) {
        // Without the last one nobody would know when the rest was read.
        while self.0.len() > 1 && self.0.front().is_some_and(|mark| mark.end <= to) {
            self.0.pop_front();
        }
    }

    /// The stage begins anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_much_apart_bears_times_of_its_own() {
        let mut times = Times::default();
        times.reached(10, 1000);
        times.reached(20, 1000 + ALIKE / 2);
        times.reached(30, 1000 + ALIKE);
        times.reached(30, 1000 + 3 * ALIKE);
        assert_eq!(times.next(0), Some((20, 1000 + ALIKE / 2)));
        assert_eq!(times.next(15), Some((20, 1000 + ALIKE / 2)), "a part of it was written");
        times.skip(20);
        assert_eq!(times.next(15), Some((30, 1000 + ALIKE)), "its line was not whole");
        times.skip(30);
        assert_eq!(times.next(15), Some((30, 1000 + ALIKE)), "there is no more");
        assert_eq!(times.next(30), None);
        times.reached(40, 5);
        assert_eq!(times.next(30), Some((40, 5)), "a clock that was set back");
        times.clear();
        assert_eq!(times.next(0), None);
    }

    #[test]
    fn a_long_standstill_takes_little_memory() {
        let mut times = Times::default();
        for minute in 1..100_000 {
            times.reached(minute, minute * 600 * ALIKE);
        }
        assert!(times.0.len() <= MOST);
        assert_eq!(times.next(MOST as u64), Some((99_999, 99_999 * 600 * ALIKE)));
    }
}
