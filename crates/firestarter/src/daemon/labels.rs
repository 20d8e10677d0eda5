//! What each worker is told of itself: an index among the living workers of its group, and which attempt it is. Asked by
//! `children` at each spawn. Both stand in the table's row before the worker does, so that a new daemon finds them there.

use std::collections::{BTreeMap, BTreeSet};

use firestarter_core::ids::{GroupId, WorkerId};

use crate::journal::{Labels, Table};

/// The indices of one group: each number below their count is held or free.
#[derive(Default)]
struct Indices {
    held: BTreeMap<u32, WorkerId>,
    free: BTreeSet<u32>,
}

/// The indices of all groups.
#[derive(Default)]
pub(super) struct Labeller(BTreeMap<GroupId, Indices>);

impl Labeller {
    /// What the table says. A worker whose end is journalled may have left its index to a younger one and still have its
    /// row; then the younger one has it.
    pub(super) fn find(table: &Table) -> Labeller {
        let mut labeller = Labeller::default();
        let mut rows: Vec<_> = table.rows().collect();
        rows.sort_by_key(|(_, worker)| *worker);
        for (row, worker) in rows {
            let (group, labels) = (table.group(row), table.labels(row));
            if labels.attempt > 0 {
                table.count_attempt(group, labels.attempt);
                labeller.0.entry(group).or_default().held.insert(labels.index, worker);
            }
        }
        for indices in labeller.0.values_mut() {
            let count = indices.held.last_key_value().map_or(0, |(last, _)| last + 1);
            indices.free = (0..count).filter(|index| !indices.held.contains_key(index)).collect();
        }
        labeller
    }

    /// For a worker that is going to be spawned.
    pub(super) fn label(&mut self, table: &Table, group: GroupId, worker: WorkerId) -> Labels {
        let indices = self.0.entry(group).or_default();
        let index = indices.free.pop_first().unwrap_or(indices.held.len() as u32);
        indices.held.insert(index, worker);
        // Zero stands for no worker at all.
        Labels { index, attempt: table.attempts(group).checked_add(1).unwrap_or(1) }
    }

    /// A worker has ended. To say so twice does no harm.
    pub(super) fn ended(&mut self, group: GroupId, labels: Labels, worker: WorkerId) {
        let Some(indices) = self.0.get_mut(&group) else { return };
        if labels.attempt > 0 && indices.held.get(&labels.index) == Some(&worker) {
            indices.held.remove(&labels.index);
            indices.free.insert(labels.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{create, Row};

    const WEB: GroupId = GroupId(0);

    #[test]
    fn the_smallest_free_index_is_given_and_the_next_daemon_goes_on() {
        let (records, _) = create().unwrap();
        let table = records.table;
        let mut labeller = Labeller::default();
        let born = |labeller: &mut Labeller, worker: u64, group| {
            let (row, worker) = (Row(worker as u32), WorkerId(worker));
            let labels = labeller.label(table, group, worker);
            table.claim(row, worker, group, None, labels);
            table.count_attempt(group, labels.attempt);
            (labels.index, labels.attempt)
        };
        let dead = |labeller: &mut Labeller, worker: u64| {
            labeller.ended(WEB, table.labels(Row(worker as u32)), WorkerId(worker));
        };
        let [first, second, third] = [1, 2, 3].map(|worker| born(&mut labeller, worker, WEB));
        assert_eq!([first, second, third], [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(born(&mut labeller, 4, GroupId(1)), (0, 1), "each group counts for itself");
        dead(&mut labeller, 1);
        assert_eq!(born(&mut labeller, 5, WEB), (0, 4));
        // The first one is not buried yet: its row stands, and its index is another's.
        dead(&mut labeller, 1);
        let mut next = Labeller::find(table);
        dead(&mut next, 1);
        assert_eq!(born(&mut next, 6, WEB), (3, 5));
        dead(&mut next, 2);
        table.clear(Row(2));
        let mut last = Labeller::find(table);
        assert_eq!([born(&mut last, 7, WEB), born(&mut last, 8, WEB)], [(1, 6), (4, 7)]);
    }
}
