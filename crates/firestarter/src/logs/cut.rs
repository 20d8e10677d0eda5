//! Bytes of a file, in whatever pieces they come, into lines. Pure. Used by `file` and `tail`.
//!
//! A line without end does not take up memory without end: what is longer than [`LONGEST`] comes in parts.

/// So much of one line is held.
const LONGEST: usize = 1 << 20;

/// A line, or a part of a long one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Where it begins, in bytes from the beginning of the file.
    pub(super) at: u64,
    /// Without its newline.
    pub(super) bytes: &'a [u8],
    /// It is the beginning of a line.
    pub(super) begins: bool,
    /// It is the end of a line: a newline followed.
    pub(super) ends: bool,
}

/// What is held between two pieces.
pub(super) struct Cutter {
    held: Vec<u8>,
    /// Where that begins.
    at: u64,
    /// It is the beginning of a line.
    begins: bool,
}

impl Cutter {
    /// At a line's beginning, so far from the beginning of the file.
    pub(super) fn new(at: u64) -> Cutter {
        Cutter { held: Vec::new(), at, begins: true }
    }

    /// Takes in more bytes, and gives out the lines that they end.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Part<'_>)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n");
            let bytes = line.unwrap_or(piece);
            match line {
                Some(line) if self.held.is_empty() => self.give(line, true, &mut each),
                Some(_) | None => {
                    self.hold(bytes, &mut each);
                    if line.is_some() {
                        let held = std::mem::take(&mut self.held);
                        self.give(&held, true, &mut each);
                    }
                }
            }
        }
    }

    /// Nothing more comes of this file: gives out the line that has no end.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Part<'_>)) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.give(&held, false, &mut each);
        }
        *self = Cutter::new(0);
    }

    fn hold(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Part<'_>)) {
        while self.held.len() + bytes.len() > LONGEST {
            let (fits, rest) = bytes.split_at(LONGEST - self.held.len());
            let mut full = std::mem::take(&mut self.held);
            full.extend_from_slice(fits);
            self.give(&full, false, each);
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
    }

    fn give(&mut self, bytes: &[u8], ends: bool, each: &mut impl FnMut(Part<'_>)) {
        each(Part { at: self.at, bytes, begins: self.begins, ends });
        self.at += bytes.len() as u64 + u64::from(ends);
        self.begins = ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(u64, Vec<u8>, bool, bool)> {
        let (mut cutter, mut parts) = (Cutter::new(100), Vec::new());
        let mut each = |part: Part<'_>| parts.push((part.at, part.bytes.to_vec(), part.begins, part.ends));
        pieces.iter().for_each(|piece| cutter.feed(piece, &mut each));
        cutter.finish(&mut each);
        parts
    }

    #[test]
    fn lines_are_whole_in_whatever_pieces_they_come() {
        let line = |at, text: &str, ends| (at, text.as_bytes().to_vec(), true, ends);
        let want = [line(100, "a", true), line(102, "", true), line(103, "bc", true), line(106, "d", false)];
        assert_eq!(cut(&[b"a\n\nbc\nd"]), want);
        assert_eq!(cut(&[b"a", b"\n", b"\nb", b"c\nd"]), want);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn a_line_without_end_comes_in_parts() {
        let long = vec![b'x'; LONGEST * 2 + 10];
        let parts = cut(&[&long[..LONGEST - 1], &long[LONGEST - 1..], b"\nnext\n"]);
        let seen: Vec<_> = parts.iter().map(|(at, bytes, begins, ends)| (*at, bytes.len(), *begins, *ends)).collect();
        let size = LONGEST as u64;
        let want = [
            (100, LONGEST, true, false),
            (100 + size, LONGEST, false, false),
            (100 + 2 * size, 10, false, true),
            (111 + 2 * size, 4, true, true),
        ];
        assert_eq!(seen, want);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_changed(pieces in prop::collection::vec("[ab\n]{0,20}", 0..10)) {
            let bytes: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            let mut again = Vec::new();
            for (at, bytes, _, ends) in cut(&bytes) {
                prop_assert_eq!(at, 100 + again.len() as u64);
                again.extend(bytes);
                again.extend(ends.then_some(b'\n'));
            }
            prop_assert_eq!(again, bytes.concat());
        }
    }
}
