//! What the thread that reads does without an event: a worker has waited for long enough, a sink is tried again, another hand
//! is wanted. Called by `reader`'s loop.

use std::os::fd::RawFd;
use std::time::Instant;

use super::super::feed::Feed;
use super::super::hand;
use super::super::sink::trouble;
use super::{Reader, LATER};

impl Reader {
    /// When something is to be done without an event.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let drops = self.held.iter().filter_map(|number| self.feeds.get(number)?.drops_at()).min();
        let state = self.board.lock();
        let retry = self.resting.iter().filter_map(|seat| state.seats[*seat].retry_at).min();
        let ending = self.ending.as_ref().map(|ending| ending.next);
        [drops, retry, state.wants_hand(), self.fat.look_at(), ending].into_iter().flatten().min()
    }

    /// Who has waited for long enough, workers and sinks, waits no longer.
    pub(super) fn mind_waits(&mut self) {
        let now = Instant::now();
        let due: Vec<RawFd> = self.held.iter().copied().filter(|number| self.drops(*number, now)).collect();
        due.into_iter().for_each(|number| self.begin_gap(number));
        let mut state = self.board.lock();
        let board = self.board;
        self.resting.retain(|seat| {
            let retry = &mut state.seats[*seat].retry_at;
            let due = retry.is_none_or(|at| at <= now);
            if due {
                *retry = None;
                board.queue(&mut state, *seat);
            }
            !due
        });
    }

    pub(super) fn mind_hands(&mut self) {
        let mut state = self.board.lock();
        if state.wants_hand().is_some_and(|at| at <= Instant::now()) {
            state.hands += 1;
            drop(state);
            if hand::hire(self.board).is_err() {
                self.board.lock().hands -= 1;
                std::thread::sleep(LATER);
            }
        }
    }

    pub(super) fn drops(&self, number: RawFd, now: Instant) -> bool {
        self.feeds.get(&number).and_then(Feed::drops_at).is_some_and(|at| at <= now)
    }

    /// A worker has waited for long enough.
    pub(super) fn begin_gap(&mut self, number: RawFd) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        if !feed.is_stuck() {
            return;
        }
        let state = self.board.lock();
        let Some(entry) = state.entries.get(&number) else { return };
        let seat = entry.seat;
        let in_pieces = state.seats[seat].pipes == 1;
        let begun = feed.begin_gap(entry.claimed, in_pieces);
        drop(state);
        if begun.is_ok() {
            if let Some(log) = self.plan.logs.get(seat) {
                trouble::drops(log, self.pipes.sinks().row(seat));
            }
            self.let_go(number);
            self.pass_on(number, false);
        }
    }
}
