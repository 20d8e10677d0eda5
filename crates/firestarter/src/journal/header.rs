//! A few words between the keeper and the daemons: what was asked by signals, how often a daemon was forked, whether it
//! goes on, what a service manager is to be told, and whether the last one ended because all is over.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::handover::{self, HandoverWords};
use super::memory::{Memory, Part};
use super::steps::{put, step};
use super::texts::Texts;
use crate::sys::maps::SharedWords;
use rustix::process::Pid;

/// The words, and how the whole is, as a text for a service manager.
pub(crate) struct Header(SharedWords, Texts);

const HALTED: usize = 0;
const STOP_SIGNALS: usize = 1;
const FORKS: usize = 2;
const NEXT_CLIENT: usize = 3;
const TAKEN_OVER: usize = 4;
const DOOR: usize = 5;
const PIPES: usize = 6;
const STOPS_ASKED: usize = 7;
const REPLAYS: usize = 8;
const STRANDED: usize = 9;
/// From here on a word for each signal, by its number.
const ORDERS: usize = 10;
/// Signals have numbers from 1 to 64.
const SIGNALS: usize = 65;
const HANDOVER: usize = ORDERS + SIGNALS;
const WRITER: usize = HANDOVER + handover::WORDS;
const TURN: usize = WRITER + 1;
const REPORT: usize = TURN + 1;
const LENGTH: usize = REPORT + 1;

/// A pipe may have been named of which the writer was not told.
const UNTOLD: u64 = 1;
/// The writer was not told of a pipe.
const MISSED: u64 = 2;
/// All is over, and the last lines are written.
const WRITTEN: u64 = 4;

/// All that starts at once has started.
const READY: u64 = 1;
/// Everything is being stopped.
const STOPPING: u64 = 2;
/// In a report's word, how often there was one stands above what it says.
const REPORTS: u32 = 8;

/// How the whole is, for a service manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// How many there were before; with it two reports differ if only their texts do.
    pub(crate) number: u64,
    /// All that starts at once has started, or had the time for it.
    pub(crate) ready: bool,
    /// Everything is being stopped.
    pub(crate) stopping: bool,
}

/// Where the daemon is taking in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A client's.
    Control,
    /// A worker's, to its group's socket.
    Workers(u32),
}

impl Header {
    pub(super) fn new(memory: Memory<'_>) -> io::Result<Header> {
        Ok(Header(memory.words(Part::Header, LENGTH)?, Texts::new(memory, Part::Report, 1)?))
    }

    /// The daemon has ended on purpose, and the keeper shall end with this exit code.
    pub(crate) fn halt(&self, code: u8) {
        put(&self.0[HALTED], u64::from(code) + 1);
    }

    /// The exit code, if all is over.
    pub(crate) fn halted(&self) -> Option<u8> {
        self.0[HALTED].load(Acquire).checked_sub(1).map(|code| code as u8)
    }

    /// Somebody sent the keeper a signal that asks to stop. It stands until a daemon has journalled it.
    pub(crate) fn ask_to_stop(&self, signal: u8) {
        step();
        self.0[STOPS_ASKED].fetch_add(1, AcqRel);
        step();
        self.0[STOP_SIGNALS].fetch_or(1 << signal, AcqRel);
    }

    /// The signals that ask to stop, the lowest first.
    pub(crate) fn asked_to_stop(&self) -> impl Iterator<Item = u8> {
        let signals = self.0[STOP_SIGNALS].load(Acquire);
        (1..64).filter(move |signal| signals >> signal & 1 == 1)
    }

    /// How many signals have asked to stop. A signal that is found again after a crash has no other number than before.
    pub(crate) fn stops_asked(&self) -> u32 {
        self.0[STOPS_ASKED].load(Acquire) as u32
    }

    /// A signal that asks to stop has been journalled.
    pub(crate) fn stop_signal_taken(&self, signal: u8) {
        step();
        self.0[STOP_SIGNALS].fetch_and(!(1 << signal), AcqRel);
    }

    /// Somebody sent the keeper a signal that stands for a command.
    pub(crate) fn ask(&self, signal: u8) {
        if let Some(asked) = self.0.get(ORDERS + usize::from(signal)) {
            step();
            asked.fetch_add(1, AcqRel);
        }
    }

    /// How many signals of this number have stood for a command.
    pub(crate) fn orders_asked(&self, signal: u8) -> u32 {
        self.0.get(ORDERS + usize::from(signal)).map_or(0, |asked| asked.load(Acquire) as u32)
    }

    /// The keeper is going to fork a daemon.
    pub(crate) fn count_fork(&self) {
        step();
        self.0[FORKS].fetch_add(1, AcqRel);
    }

    /// It could not.
    pub(crate) fn uncount_fork(&self) {
        step();
        self.0[FORKS].fetch_sub(1, AcqRel);
    }

    /// The daemon that was forked last has replayed the journal and is at work.
    pub(crate) fn set_taken_over(&self, taken_over: bool) {
        put(&self.0[TAKEN_OVER], taken_over.into());
    }

    /// Whether the daemon that was forked last got to work.
    pub(crate) fn taken_over(&self) -> bool {
        self.0[TAKEN_OVER].load(Acquire) != 0
    }

    /// A daemon begins to replay. Returns how many before it, in a row, did not come to the end of that.
    pub(crate) fn begin_replay(&self) -> u64 {
        step();
        self.0[REPLAYS].fetch_add(1, AcqRel)
    }

    /// A daemon has replayed, or found that it cannot.
    pub(crate) fn end_replay(&self) {
        put(&self.0[REPLAYS], 0);
    }

    /// The daemon cannot read the journal, or can; one that cannot is of no use for a stop.
    pub(crate) fn set_stranded(&self, stranded: bool) {
        put(&self.0[STRANDED], stranded.into());
    }

    /// Whether the daemon cannot read the journal.
    pub(crate) fn stranded(&self) -> bool {
        self.0[STRANDED].load(Acquire) != 0
    }

    /// How many times a daemon took over from a dead one.
    pub(crate) fn recoveries(&self) -> u64 {
        self.0[FORKS].load(Acquire).saturating_sub(1)
    }

    /// A daemon is going to be forked: it is at work from its beginning.
    pub(crate) fn begin_turns(&self) {
        self.0[TURN].store(1, Release);
    }

    /// The daemon's loop goes on with something.
    pub(crate) fn works(&self) {
        let turn = &self.0[TURN];
        turn.store((turn.load(Acquire) | 1) + 2, Release);
    }

    /// The daemon's loop has done all that it knew of, and waits for more.
    pub(crate) fn rests(&self) {
        let turn = &self.0[TURN];
        turn.store((turn.load(Acquire) | 1) + 1, Release);
    }

    /// Where the daemon's loop is: another number each time it goes on.
    pub(crate) fn turn(&self) -> u64 {
        self.0[TURN].load(Acquire)
    }

    /// Whether a daemon that is at this turn waits for something to do.
    pub(crate) fn is_rest(turn: u64) -> bool {
        turn % 2 == 0
    }

    /// Says how the whole is. The text may be read half new; the report's number comes after it.
    pub(crate) fn set_report(&self, ready: bool, stopping: bool, text: &str) {
        self.1.set(0, text);
        let number = self.report().number + 1;
        let (ready, stopping) = (if ready { READY } else { 0 }, if stopping { STOPPING } else { 0 });
        self.0[REPORT].store(number << REPORTS | ready | stopping, Release);
    }

    /// How the whole is, as it was said last.
    pub(crate) fn report(&self) -> Report {
        let word = self.0[REPORT].load(Acquire);
        Report { number: word >> REPORTS, ready: word & READY != 0, stopping: word & STOPPING != 0 }
    }

    /// The text of the last report.
    pub(crate) fn report_text(&self) -> String {
        self.1.get(0)
    }

    /// A connection is going to be accepted and named, or has been.
    pub(crate) fn set_door(&self, door: Option<Door>) {
        let word = match door {
            None => 0,
            Some(Door::Control) => 1,
            Some(Door::Workers(group)) => u64::from(group) + 2,
        };
        put(&self.0[DOOR], word);
    }

    /// Where a connection may have been accepted and not named.
    pub(crate) fn door(&self) -> Option<Door> {
        match self.0[DOOR].load(Acquire) {
            0 => None,
            1 => Some(Door::Control),
            group => Some(Door::Workers((group - 2) as u32)),
        }
    }

    /// The writer is going to be told of a pipe that is named from now on, or has been.
    pub(super) fn set_untold(&self, untold: bool) {
        if untold {
            step();
            self.0[PIPES].fetch_or(UNTOLD, AcqRel);
        } else {
            step();
            self.0[PIPES].fetch_and(!UNTOLD, AcqRel);
        }
    }

    /// Whether a pipe may have been named of which the writer was not told.
    pub(super) fn untold(&self) -> bool {
        self.0[PIPES].load(Acquire) & UNTOLD != 0
    }

    /// The writer was not told of a pipe.
    pub(super) fn miss_pipe(&self) {
        step();
        self.0[PIPES].fetch_or(MISSED, AcqRel);
    }

    /// Whether the writer was not told of a pipe since this was asked last.
    pub(super) fn take_missed(&self) -> bool {
        step();
        self.0[PIPES].fetch_and(!MISSED, AcqRel) & MISSED != 0
    }

    /// All is over, and what was in the pipes is written.
    pub(super) fn set_written(&self) {
        step();
        self.0[PIPES].fetch_or(WRITTEN, AcqRel);
    }

    /// Whether all is over and what was in the pipes is written.
    pub(super) fn written(&self) -> bool {
        self.0[PIPES].load(Acquire) & WRITTEN != 0
    }

    /// How a handover to another program goes.
    pub(crate) fn handover(&self) -> HandoverWords<'_> {
        HandoverWords(&self.0[HANDOVER..HANDOVER + handover::WORDS])
    }

    /// The writer that lives; 0: none. Whoever takes the keeper's place has it as a child.
    pub(crate) fn set_writer(&self, pid: i32) {
        put(&self.0[WRITER], pid as u64);
    }

    /// The writer that the last program has forked.
    pub(crate) fn writer(&self) -> Option<Pid> {
        Pid::from_raw(self.0[WRITER].load(Acquire) as i32)
    }

    /// A number that no connection had before.
    pub(crate) fn next_client(&self) -> u64 {
        step();
        self.0[NEXT_CLIENT].fetch_add(1, AcqRel) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_signal_stands_until_taken_and_an_exit_code_of_zero_is_one() {
        let header = Header::new(Memory::Loose).unwrap();
        let asked = |header: &Header| header.asked_to_stop().collect::<Vec<_>>();
        assert_eq!((header.halted(), asked(&header)), (None, vec![]));
        header.ask_to_stop(15);
        header.ask_to_stop(2);
        assert_eq!((asked(&header), header.stops_asked()), (vec![2, 15], 2));
        header.stop_signal_taken(2);
        assert_eq!(asked(&header), [15]);
        header.stop_signal_taken(15);
        assert!(asked(&header).is_empty());
        [1, 64, 64, 255].into_iter().for_each(|signal| header.ask(signal));
        assert_eq!([1, 64, 2, 255].map(|signal| header.orders_asked(signal)), [1, 2, 0, 0]);
        header.halt(0);
        assert_eq!(header.halted(), Some(0));
    }

    #[test]
    fn every_step_of_the_loop_is_another_number_and_rest_is_told_from_work() {
        let header = Header::new(Memory::Loose).unwrap();
        header.begin_turns();
        let mut turns = vec![header.turn()];
        for rests in [false, false, true, true, false, true] {
            if rests {
                header.rests();
            } else {
                header.works();
            }
            assert_eq!(Header::is_rest(header.turn()), rests);
            turns.push(header.turn());
        }
        assert!(turns.windows(2).all(|pair| pair[0] < pair[1]), "{turns:?}");
    }

    #[test]
    fn a_report_is_read_as_it_was_set() {
        let header = Header::new(Memory::Loose).unwrap();
        assert_eq!((header.report(), header.report_text()), (Report::default(), String::new()));
        header.set_report(true, false, "two groups");
        header.set_report(true, true, "one group");
        assert_eq!(header.report(), Report { number: 2, ready: true, stopping: true });
        assert_eq!(header.report_text(), "one group");
    }
}
