//! The end of all: what the pipes still hold is read and written, but not for ever. Called by the reading thread's loop when
//! nobody is left who could open a pipe.

use super::*;
use crate::say::plain_errno;

/// What is left is written.
pub(super) struct Ending {
    /// When to look how much that is.
    pub(super) next: Instant,
    /// How much was left when it last became less, and when.
    left: u64,
    since: Instant,
}

/// A pipe that somebody still holds open is read for so long.
const LAST_READS: Duration = Duration::from_millis(100);
/// Sinks are waited for so long after they have last taken something.
const LAST_WAIT: Duration = Duration::from_secs(1);

impl Reader {
    /// All is over: what the pipes hold is read, whoever may still hold their other ends, and written.
    pub(super) fn begin_end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let _ = epoll::delete(&self.epoll, self.pipes.door());
        let now = Instant::now();
        self.ending = Some(Ending { next: now + LAST_READS, left: u64::MAX, since: now });
        let numbers: Vec<RawFd> = self.feeds.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.read(number));
    }

    pub(super) fn end_if_done(&mut self) {
        let now = Instant::now();
        if self.ending.as_ref().is_some_and(|ending| now < ending.next) && !self.feeds.is_empty() {
            return;
        }
        let numbers: Vec<RawFd> = self.feeds.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.read(number));
        let left = self.feeds.values().map(Feed::left).sum();
        let Some(ending) = &mut self.ending else { return };
        if left < ending.left {
            (ending.left, ending.since) = (left, now);
        }
        ending.next = now + LATER;
        if !self.feeds.is_empty() && now < ending.since + LAST_WAIT {
            return;
        }
        self.say_what_is_lost();
        self.pipes.set_all_written();
        exit_now(0)
    }

    fn say_what_is_lost(&self) {
        // What was given up before, and could not be told of.
        let given_up = |seat: usize| {
            let (lost, told) = self.pipes.sinks().row(seat).lost();
            lost[0].saturating_sub(told[0])
        };
        let mut by_seat: BTreeMap<usize, u64> = (0..self.plan.logs.len()).map(|seat| (seat, given_up(seat))).collect();
        let state = self.board.lock();
        for (number, feed) in &self.feeds {
            if let Some(entry) = state.entries.get(number) {
                *by_seat.entry(entry.seat).or_default() += feed.left();
            }
        }
        by_seat.retain(|_, left| *left > 0);
        for (seat, left) in by_seat {
            let errno = self.pipes.sinks().row(seat).errno();
            let why = match errno {
                0 => "it takes nothing".to_owned(),
                errno => plain_errno(errno),
            };
            let whose = match self.plan.logs.get(seat) {
                Some(log) => format!("log {}", log.path.display()),
                None if seat == self.plan.logs.len() => "standard output".to_owned(),
                None => "standard error".to_owned(),
            };
            say(format_args!("{whose}: {left} bytes that workers wrote last are lost: {why}"));
        }
    }
}
