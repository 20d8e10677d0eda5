//! Which pipes stand open though their process has ended. Who opens pipes and who buries processes say so here; a new daemon
//! begins with what ledger and table say. The keeper closes pipes and tells nobody: those that are asked for are looked up
//! in the ledger. So a spawn costs the same however many processes live. Used by `outputs`; closes nothing.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::ids::WorkerId;

use crate::journal::{Pipes, Standing, Stream, Table};

#[derive(Default)]
pub(super) struct Left {
    /// The pipes of processes that live, or are about to.
    living: BTreeMap<WorkerId, Vec<Standing>>,
    /// Those of the others, by group and stream; some may have been closed since.
    ended: BTreeMap<(u32, usize), Vec<Standing>>,
}

impl Left {
    /// What the last daemon has left.
    pub(super) fn find(pipes: &Pipes, table: &Table) -> Left {
        let mut left = Left::default();
        pipes.standing().for_each(|(worker, pipe)| left.opened(worker, pipe));
        let lives: BTreeSet<WorkerId> = table.rows().map(|(_, worker)| worker).collect();
        let ended: Vec<WorkerId> = left.living.keys().filter(|worker| !lives.contains(worker)).copied().collect();
        ended.into_iter().for_each(|worker| left.ended(worker));
        left
    }

    pub(super) fn opened(&mut self, worker: WorkerId, pipe: Standing) {
        self.living.entry(worker).or_default().push(pipe);
    }

    pub(super) fn ended(&mut self, worker: WorkerId) {
        for pipe in self.living.remove(&worker).into_iter().flatten() {
            self.ended.entry((pipe.origin.group, pipe.origin.stream as usize)).or_default().push(pipe);
        }
    }

    /// How many there are: of this group and stream, and in all. `few` of the one are not worth a look at the others: 0
    /// stands for them.
    pub(super) fn count(
        &mut self,
        group: u32,
        stream: Stream,
        few: usize,
        stands: impl Fn(Standing) -> bool,
    ) -> [usize; 2] {
        let Some(of_this) = self.ended.get_mut(&(group, stream as usize)) else { return [0; 2] };
        of_this.retain(|pipe| stands(*pipe));
        let of_this = of_this.len();
        if of_this <= few {
            return [0; 2];
        }
        self.ended.values_mut().for_each(|pipes| pipes.retain(|pipe| stands(*pipe)));
        [of_this, self.ended.values().map(Vec::len).sum()]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::journal::{Labels, Newborn, Origin, Speaker};
    use firestarter_core::ids::{GroupId, Slot};

    fn pipe(number: i32, group: u32, stream: Stream) -> Standing {
        Standing { number, pipe: 7, origin: Origin { group, speaker: Speaker::Slot(number as u32), stream } }
    }

    #[test]
    fn only_pipes_that_stand_of_processes_that_ended_count() {
        let mut left = Left::default();
        for worker in 0..10 {
            left.opened(WorkerId(worker), pipe(2 * worker as i32, 0, Stream::Stdout));
            left.opened(WorkerId(worker), pipe(2 * worker as i32 + 1, 0, Stream::Stderr));
        }
        left.opened(WorkerId(10), pipe(20, 1, Stream::Stdout));
        assert_eq!(left.count(0, Stream::Stdout, 0, |_| true), [0; 2], "all live");
        (0..6).chain([10]).for_each(|worker| left.ended(WorkerId(worker)));
        left.ended(WorkerId(5));
        assert_eq!(left.count(0, Stream::Stdout, 4, |_| true), [6, 13]);
        assert_eq!(left.count(0, Stream::Stdout, 6, |_| true), [0; 2], "few");
        let closed: BTreeSet<i32> = [0, 1, 3, 20].into();
        assert_eq!(left.count(0, Stream::Stderr, 3, |pipe| !closed.contains(&pipe.number)), [4, 9]);
        assert_eq!(left.count(1, Stream::Stdout, 0, |_| true), [0; 2], "what was closed once stays so");
    }

    #[test]
    fn a_new_daemon_knows_what_the_last_one_left() {
        let (records, _) = crate::journal::create().unwrap();
        let records = records.with_pipes(1).unwrap();
        let (table, pipes) = (records.table, records.pipes.unwrap());
        let mut writes = Vec::new();
        for worker in 1..=8 {
            let (worker, row) = (WorkerId(worker), table.unused().unwrap());
            table.claim(row, worker, GroupId(0), Some(Slot(0)), Labels::default());
            let origin = Origin { group: 0, speaker: Speaker::Slot(0), stream: Stream::Stdout };
            writes.push(pipes.open(origin, &Newborn { worker, row, generation: 1 }).unwrap().write);
            if worker.0 > 3 {
                table.clear(row);
            }
        }
        let mut left = Left::find(pipes, table);
        assert_eq!(left.count(0, Stream::Stdout, 4, |pipe| pipes.stands(pipe)), [5, 5]);
        left.ended(WorkerId(1));
        assert_eq!(left.count(0, Stream::Stdout, 4, |pipe| pipes.stands(pipe)), [6, 6]);
        let (_, first) = pipes.standing().next().unwrap();
        records.ledger.close(first.number);
        assert_eq!(left.count(0, Stream::Stdout, 4, |pipe| pipes.stands(pipe)), [5, 5]);
    }

    #[test]
    fn it_looks_at_no_pipe_of_a_process_that_lives() {
        let mut left = Left::default();
        (0..1000).for_each(|worker| left.opened(WorkerId(worker), pipe(worker as i32, 0, Stream::Stdout)));
        (0..8).for_each(|worker| left.ended(WorkerId(worker)));
        let looks = Cell::new(0);
        let stands = |_| {
            looks.set(looks.get() + 1);
            true
        };
        assert_eq!(left.count(0, Stream::Stdout, 4, stands), [8, 8]);
        assert!(looks.get() <= 16, "{}", looks.get());
    }
}
