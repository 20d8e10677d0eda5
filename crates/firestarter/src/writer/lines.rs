//! Cuts what comes out of a pipe into whole lines, and keeps the lines of several pipes apart in one log. Used by the
//! writer's loop for each pipe and by each sink; knows neither descriptors nor files.

/// A line that is longer is passed on in pieces.
const LONGEST: usize = 64 * 1024;

/// The beginning of a line whose end has not come yet.
#[derive(Default)]
pub(super) struct Cutter {
    begun: Vec<u8>,
}

impl Cutter {
    /// Passes on what is whole. A run of lines is passed on at once; only the piece of a line that is too long ends
    /// without a newline.
    pub(super) fn feed(&mut self, bytes: &[u8], mut pass_on: impl FnMut(&[u8])) {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let (lines, rest) = bytes.split_at(whole);
        if self.begun.is_empty() {
            if !lines.is_empty() {
                pass_on(lines);
            }
        } else if !lines.is_empty() {
            let first = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |newline| newline + 1);
            self.begun.extend_from_slice(&lines[..first]);
            pass_on(&std::mem::take(&mut self.begun));
            if first < lines.len() {
                pass_on(&lines[first..]);
            }
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() >= LONGEST {
            pass_on(&std::mem::take(&mut self.begun));
        }
    }

    /// Nothing more will come: passes on what is left, which has no newline.
    pub(super) fn finish(&mut self, pass_on: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() {
            pass_on(&std::mem::take(&mut self.begun));
        }
    }
}

/// Where the last line of a log may be unfinished: whose it is. Who comes next begins a new line, unless it is the same.
#[derive(Default)]
pub(super) struct Seam {
    open: Option<u64>,
}

/// How a run joins what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// It begins a line.
    Begins,
    /// It goes on with its own line.
    GoesOn,
    /// It begins a line, and the last one wants a newline first.
    Parts,
}

impl Seam {
    /// How the next run of this pipe joins.
    pub(super) fn join(&self, from: u64) -> Join {
        match self.open {
            None => Join::Begins,
            Some(open) if open == from => Join::GoesOn,
            Some(_) => Join::Parts,
        }
    }

    /// Whether the last line is unfinished.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// This much of a run was written last.
    pub(super) fn wrote(&mut self, from: u64, run: &[u8]) {
        if let Some(last) = run.last() {
            self.open = (*last != b'\n').then_some(from);
        }
    }

    /// Nobody goes on with the last line.
    pub(super) fn closes(&mut self, from: u64) {
        if self.open == Some(from) {
            self.open = Some(NOBODY);
        }
    }

    /// The last line is whole: what was unfinished is gone, or in another file.
    pub(super) fn is_whole(&mut self) {
        self.open = None;
    }

    /// The last line is unfinished, and nobody goes on with it.
    pub(super) fn is_torn(&mut self) {
        self.open = Some(NOBODY);
    }
}

/// No pipe bears this number.
const NOBODY: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut runs) = (Cutter::default(), Vec::new());
        for part in parts {
            cutter.feed(part, |run| runs.push(run.to_vec()));
        }
        cutter.finish(|run| runs.push(run.to_vec()));
        runs
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added_and_runs_end_with_lines(parts in prop::collection::vec("[a\n]{0,12}", 0..12)) {
            let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let runs = cut(&parts);
            prop_assert_eq!(runs.concat(), parts.concat());
            let (last, before) = runs.split_last().map_or((&[][..], &[][..]), |(last, before)| (&last[..], before));
            prop_assert!(before.iter().all(|run| run.ends_with(b"\n")), "{:?}", runs);
            prop_assert!(last.ends_with(b"\n") || !last.contains(&b'\n'), "{:?}", runs);
        }
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces_and_memory_is_given_back() {
        let part = [b'x'; 1000];
        let (mut cutter, mut passed) = (Cutter::default(), Vec::new());
        for _ in 0..1000 {
            cutter.feed(&part, |run| passed.push(run.len()));
        }
        assert!(passed.len() > 10 && passed.iter().all(|length| *length < LONGEST + 1000), "{passed:?}");
        assert!(cutter.begun.len() < LONGEST);
        cutter.feed(b"\n", |_| {});
        assert_eq!(cutter.begun.capacity(), 0);
    }

    #[test]
    fn lines_of_two_pipes_are_kept_apart() {
        let mut seam = Seam::default();
        assert_eq!(seam.join(1), Join::Begins);
        seam.wrote(1, b"a\nb");
        assert_eq!((seam.join(1), seam.join(2)), (Join::GoesOn, Join::Parts));
        seam.closes(2);
        assert_eq!(seam.join(1), Join::GoesOn);
        seam.closes(1);
        assert_eq!(seam.join(1), Join::Parts, "a number may be used again");
        seam.wrote(2, b"c\n");
        assert_eq!(seam.join(1), Join::Begins);
    }
}
