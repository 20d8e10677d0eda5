//! Lines of several sources into one sequence, by their time. Pure. Used by `reading`.
//!
//! A line without a time of its own has no place among those of others: it comes as soon as it is there. What one source
//! gives keeps its order, whatever the times say.

use std::collections::VecDeque;

/// The sources' lines that were not taken yet.
pub(super) struct Merge<L> {
    waiting: Vec<VecDeque<(Option<i64>, L)>>,
}

impl<L> Merge<L> {
    /// Of so many sources.
    pub(super) fn new(sources: usize) -> Merge<L> {
        Merge { waiting: (0..sources).map(|_| VecDeque::new()).collect() }
    }

    /// A source's next line, and when it was written.
    pub(super) fn push(&mut self, source: usize, time: Option<i64>, line: L) {
        self.waiting[source].push_back((time, line));
    }

    /// Whether nothing of a source waits: before the next line is taken, it is to be asked for more.
    pub(super) fn wants(&self, source: usize) -> bool {
        self.waiting[source].is_empty()
    }

    /// The next line, and whose it is. A source of which nothing waits is taken to have nothing.
    pub(super) fn pop(&mut self) -> Option<(usize, L)> {
        // None is less than any time; of those that are equal the first source's.
        let heads = self.waiting.iter().enumerate().filter_map(|(source, lines)| Some((lines.front()?.0, source)));
        let (_, source) = heads.min()?;
        self.waiting[source].pop_front().map(|(_, line)| (source, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merged(sources: &[&[(Option<i64>, &str)]]) -> String {
        let mut merge = Merge::new(sources.len());
        for (source, lines) in sources.iter().enumerate() {
            lines.iter().for_each(|(time, line)| merge.push(source, *time, *line));
        }
        std::iter::from_fn(|| merge.pop()).map(|(_, line)| line).collect()
    }

    #[test]
    fn by_time_and_what_has_none_at_once() {
        let timed: &[_] = &[(Some(1), "a"), (Some(4), "d"), (Some(4), "e")];
        assert_eq!(merged(&[timed, &[(Some(2), "b"), (Some(3), "c"), (Some(9), "g"), (Some(5), "h")]]), "abcdegh");
        assert_eq!(merged(&[timed, &[(None, "x"), (None, "y")]]), "xyade");
        assert_eq!(merged(&[]), "");
    }

    #[test]
    fn a_source_that_has_nothing_is_asked_and_not_waited_for() {
        let mut merge = Merge::new(2);
        merge.push(1, Some(5), "late");
        assert!(merge.wants(0) && !merge.wants(1));
        assert_eq!(merge.pop(), Some((1, "late")));
        merge.push(0, Some(1), "early");
        assert_eq!((merge.pop(), merge.pop()), (Some((0, "early")), None));
    }

    proptest! {
        #[test]
        fn sorted_sources_become_a_sorted_whole(mut sources in prop::collection::vec(prop::collection::vec(0_i64..50, 0..20), 0..5)) {
            let mut merge = Merge::new(sources.len());
            for (source, times) in sources.iter_mut().enumerate() {
                times.sort_unstable();
                times.iter().for_each(|time| merge.push(source, Some(*time), *time));
            }
            let whole: Vec<i64> = std::iter::from_fn(|| merge.pop()).map(|(_, time)| time).collect();
            let mut want = sources.concat();
            want.sort_unstable();
            prop_assert_eq!(whole, want);
        }
    }
}
