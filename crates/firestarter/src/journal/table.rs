//! One row for each worker that has a process, or is about to get one. While a row names a pid, the keeper leaves that
//! zombie alone: it is the record of the status, and keeps the number from being used again.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use firestarter_core::ids::{GroupId, Slot, WorkerId};
use rustix::process::Pid;

use super::memory::{Memory, Part};
use super::steps::{put, step};
use super::texts::Texts;
use crate::sys::clone::{Progress, Record};
use crate::sys::maps::SharedWords;

/// All rows. Word 0 counts those that were ever used; each row has five words: worker, pid, progress, the group above
/// the slot above the signal that was sent, and the attempt above the index. Behind the rows stands how many attempts each
/// group has had. Beside them stands what workers say of themselves.
pub(crate) struct Table {
    words: SharedWords,
    said: Texts,
}

/// The number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row(pub(crate) u32);

/// What a worker is told of itself beyond its pid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// The smallest index that no living worker of its group has.
    pub(crate) index: u32,
    /// How many workers its group has had, itself counted; 0 for what is no worker.
    pub(crate) attempt: u32,
}

const CAPACITY: u32 = 1 << 16;
const WORDS: usize = 5;
const WORKER: usize = 0;
const PID: usize = 1;
const PROGRESS: usize = 2;
const SIGNALLED: usize = 3;
const LABELS: usize = 4;
const HIGHEST_SLOT: u32 = (1 << 24) - 2;
const ATTEMPTS: usize = (CAPACITY as usize + 1) * WORDS;
/// A configuration of the greatest length has not so many.
const GROUPS: usize = 1 << 16;

impl Table {
    pub(super) fn new(memory: Memory<'_>) -> io::Result<Table> {
        let words = memory.words(Part::Workers, ATTEMPTS + GROUPS)?;
        Ok(Table { words, said: Texts::new(memory, Part::Said, CAPACITY as usize)? })
    }

    /// Names a worker that is going to be spawned, or, without a slot, a hook. The caller gives a row that is free, and
    /// counts the attempt afterwards.
    pub(crate) fn claim(&self, row: Row, worker: WorkerId, group: GroupId, slot: Option<Slot>, labels: Labels) {
        let slot = slot.map_or(0, |slot| u64::from(slot.0.min(HIGHEST_SLOT)) + 1);
        let word = u64::from(labels.attempt) << 32 | u64::from(labels.index);
        put(self.word(row, LABELS), word);
        put(self.word(row, PID), 0);
        put(self.word(row, PROGRESS), 0);
        put(self.word(row, SIGNALLED), u64::from(group.0) << 32 | slot << 8);
        self.said.clear(row.0 as usize);
        step();
        self.words[0].fetch_max(u64::from(row.0) + 1, AcqRel);
        put(self.word(row, WORKER), worker.0);
    }

    /// What a row's worker is told of itself.
    pub(crate) fn labels(&self, row: Row) -> Labels {
        let word = self.word(row, LABELS).load(Acquire);
        Labels { index: word as u32, attempt: (word >> 32) as u32 }
    }

    /// How many workers a group has had.
    pub(crate) fn attempts(&self, group: GroupId) -> u32 {
        self.words.get(ATTEMPTS + group.0 as usize).map_or(0, |word| word.load(Acquire) as u32)
    }

    /// A row names the worker of this attempt. Counted afterwards and again by the next daemon, so none is left out and
    /// none counts twice.
    pub(crate) fn count_attempt(&self, group: GroupId, attempt: u32) {
        if let Some(word) = self.words.get(ATTEMPTS + group.0 as usize) {
            step();
            word.fetch_max(attempt.into(), AcqRel);
        }
    }

    /// A row that was never used; none if all were.
    pub(crate) fn unused(&self) -> Option<Row> {
        let next = self.used();
        (next < CAPACITY).then_some(Row(next))
    }

    /// Forgets a worker: its exit is journalled, its zombie may go.
    pub(crate) fn clear(&self, row: Row) {
        put(self.word(row, WORKER), 0);
    }

    /// The worker that a row names.
    pub(crate) fn worker(&self, row: Row) -> Option<WorkerId> {
        match self.word(row, WORKER).load(Acquire) {
            0 => None,
            id => Some(WorkerId(id)),
        }
    }

    /// The pid that the kernel wrote.
    pub(crate) fn pid(&self, row: Row) -> Option<Pid> {
        Pid::from_raw(self.word(row, PID).load(Acquire) as i32)
    }

    /// How far its spawn came.
    pub(crate) fn progress(&self, row: Row) -> Progress {
        Progress::read(self.word(row, PROGRESS).load(Acquire))
    }

    /// The group of its worker.
    pub(crate) fn group(&self, row: Row) -> GroupId {
        GroupId((self.word(row, SIGNALLED).load(Acquire) >> 32) as u32)
    }

    /// The slot of its worker; none if it is a hook.
    pub(crate) fn slot(&self, row: Row) -> Option<Slot> {
        let slot = (self.word(row, SIGNALLED).load(Acquire) as u32) >> 8;
        slot.checked_sub(1).map(Slot)
    }

    /// Takes down what a worker says that it is doing.
    pub(crate) fn set_status(&self, row: Row, text: &str) {
        self.said.set(row.0 as usize, text);
    }

    /// Takes down the error number that a worker reports; 0 for none.
    pub(crate) fn set_errno(&self, row: Row, errno: u32) {
        self.said.set_number(row.0 as usize, errno);
    }

    /// What a worker says that it is doing, and the error number that it reports.
    pub(crate) fn said(&self, row: Row) -> (String, u32) {
        let index = row.0 as usize;
        (self.said.get(index), self.said.number(index))
    }

    /// The last signal that was sent to it to make it end; 0 for none.
    pub(crate) fn signalled(&self, row: Row) -> u8 {
        self.word(row, SIGNALLED).load(Acquire) as u8
    }

    /// A signal has been sent. Marked afterwards: should the daemon die in between, the next one sends it again, since a
    /// worker that was never told would be killed at its deadline in the middle of its requests.
    pub(crate) fn mark_signalled(&self, row: Row, signal: u8) {
        let word = self.word(row, SIGNALLED);
        put(word, word.load(Acquire) & !0xff | u64::from(signal));
    }

    /// Where a spawn is recorded.
    pub(crate) fn record(&self, row: Row) -> Record<'_> {
        let Labels { index, attempt } = self.labels(row);
        let [pid, progress, signalled] = [PID, PROGRESS, SIGNALLED].map(|word| self.word(row, word));
        Record { pid, progress, signalled, number: row.0, index, attempt }
    }

    /// The rows that name a worker.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Row, WorkerId)> + '_ {
        (0..self.used()).map(Row).filter_map(|row| Some((row, self.worker(row)?)))
    }

    /// The rows that were used once and are free again.
    pub(crate) fn free(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.used()).map(Row).filter(|row| self.worker(*row).is_none())
    }

    /// The row and worker whose process has this pid.
    pub(crate) fn find(&self, pid: Pid) -> Option<(Row, WorkerId)> {
        self.rows().find(|(row, _)| self.pid(*row) == Some(pid))
    }

    fn used(&self) -> u32 {
        self.words[0].load(Acquire) as u32
    }

    fn word(&self, row: Row, word: usize) -> &AtomicU64 {
        &self.words[(row.0 as usize + 1) * WORDS + word]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Release;

    #[test]
    fn a_row_names_its_worker_until_it_is_cleared() {
        let table = Table::new(Memory::Loose).unwrap();
        let row = table.unused().unwrap();
        let labels = Labels { index: 5, attempt: u32::MAX };
        table.claim(row, WorkerId(7), GroupId(3), Some(Slot(9)), labels);
        assert_eq!((table.labels(row), table.record(row).attempt), (labels, u32::MAX));
        table.record(row).pid.store(4242, Release);
        let pid = Pid::from_raw(4242).unwrap();
        assert_eq!(table.find(pid), Some((row, WorkerId(7))));
        assert_ne!(table.unused(), Some(row));
        table.mark_signalled(row, 15);
        assert_eq!((table.group(row), table.slot(row), table.signalled(row)), (GroupId(3), Some(Slot(9)), 15));
        table.set_errno(row, 13);
        table.set_status(row, "loading");
        assert_eq!(table.said(row), ("loading".to_owned(), 13));
        table.clear(row);
        assert_eq!((table.find(pid), table.free().count()), (None, 1));
        table.claim(row, WorkerId(8), GroupId(4), None, Labels::default());
        assert_eq!((table.pid(row), table.signalled(row), table.labels(row)), (None, 0, Labels::default()));
        assert_eq!((table.slot(row), table.said(row)), (None, (String::new(), 0)));
        table.count_attempt(GroupId(4), 2);
        table.count_attempt(GroupId(4), 1);
        assert_eq!([3, 4, u32::MAX].map(|group| table.attempts(GroupId(group))), [0, 2, 0]);
    }
}
