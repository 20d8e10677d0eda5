//! Bounds how many pipes of ended workers wait for a sink that takes nothing: workers that end at once, again and again, on
//! a full disk would use up all descriptors. What is beyond the bound is given up: it is counted, and the sink tells of it
//! when it works again. Called by the reading thread when a pipe has ended.

use super::super::sink::trouble;
use super::*;
use crate::journal::SinkRow;

/// So many are kept.
const FEW: usize = if cfg!(test) { 2 } else { 64 };
/// Where workers wait for as long as it takes, so many: descriptors must not run out, since no group could spawn then.
const MANY: usize = if cfg!(test) { 4 } else { 1024 };
/// A sink that takes nothing for so long does not work.
const PATIENCE: Duration = super::super::feed::WAIT;

impl Reader {
    pub(super) fn give_up_surplus(&mut self, seat: usize) {
        let overflow = self.plan.logs.get(seat).map_or(Overflow::Drop, |log| log.overflow);
        let (few, patience) = match overflow {
            Overflow::Drop => (FEW, Duration::ZERO),
            Overflow::Wait => (FEW, PATIENCE),
            Overflow::Block => (MANY, PATIENCE),
        };
        let state = self.board.lock();
        if state.seats[seat].pipes <= few {
            return;
        }
        let surplus = state.surplus(seat, patience, few);
        // The board stays locked, so nobody claims one of them meanwhile.
        let row = self.pipes.sinks().row(seat);
        surplus.iter().filter_map(|number| self.feeds.get(number)).for_each(|feed| give_up(row, feed));
        drop(state);
        if let Some(log) = self.plan.logs.get(seat).filter(|_| !surplus.is_empty()) {
            trouble::drops(log, row);
        }
        surplus.into_iter().for_each(|number| self.finish(number));
    }

    /// A writer may have died over giving up this pipe.
    pub(super) fn finish_giving_up(&self, seat: usize, feed: &Feed) {
        let row = self.pipes.sinks().row(seat);
        if row.gives_up(feed.source.id()) {
            give_up(row, feed);
        }
    }
}

fn give_up(row: SinkRow<'_>, feed: &Feed) {
    let bytes = feed.size - feed.source.row.consumed();
    if bytes > 0 {
        row.give_up(feed.source.id(), bytes, feed.lines_left());
        feed.source.row.set_consumed(feed.size);
    }
    row.gave_up();
}
