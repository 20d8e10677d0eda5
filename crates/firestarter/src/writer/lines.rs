//! Cuts what stands in a stage into what is written at once. Pure: bytes in, a length out. Used by `sink`, `own` and `file`.

use crate::say::LONGEST;

/// What is to be written of the bytes at the front of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// So many bytes: whole lines, or the last piece of what a worker wrote before it ended.
    Lines(usize),
    /// So many bytes of a line that goes on behind them.
    Piece(usize),
    /// So many bytes of a line that is too long: they become a line of their own.
    Split(usize),
    /// Nothing before there is more.
    Wait,
}

/// How much of this goes into one write to a pipe or a terminal: it takes a short part whole or not at all. So lines of others
/// do not get into ours, and a writer that is killed leaves no piece of a line, but of one that is longer than such a part.
pub(super) fn part_for_pipe(next: &[u8]) -> usize {
    if next.len() <= LONGEST {
        return next.len();
    }
    next[..LONGEST].iter().rposition(|byte| *byte == b'\n').map_or(LONGEST, |newline| newline + 1)
}

/// How the lines of a pipe may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nobody else writes to this sink, and bytes stay as they are: a long line needs not be held until it is whole.
    Free,
    /// A line that is longer than so many bytes is split.
    Whole(usize),
}

/// A line that is longer is written in pieces where that harms nobody.
pub(super) const PIECE: usize = 64 * 1024;

impl Rule {
    /// So many bytes must be looked at to find a cut.
    pub(super) fn sight(self) -> usize {
        match self {
            Rule::Free => PIECE,
            Rule::Whole(longest) => longest + 1,
        }
    }
}

/// `ended`: nothing more will come behind these bytes.
pub(super) fn cut(bytes: &[u8], ended: bool, rule: Rule) -> Cut {
    if let Rule::Whole(longest) = rule {
        if bytes.len() > longest {
            if let Some(long) = first_longer(bytes, longest) {
                return long;
            }
        }
    }
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => Cut::Lines(newline + 1),
        None if bytes.is_empty() => Cut::Wait,
        None if ended => Cut::Lines(bytes.len()),
        None if rule == Rule::Free && bytes.len() >= PIECE => Cut::Piece(bytes.len()),
        None => Cut::Wait,
    }
}

/// The lines before the first one that is too long, or, if it is the first of all, its piece.
fn first_longer(bytes: &[u8], longest: usize) -> Option<Cut> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.len() - usize::from(line.ends_with(b"\n"));
        if text > longest {
            return Some(if at > 0 { Cut::Lines(at) } else { Cut::Split(before_a_letter(line, longest)) });
        }
        at += line.len();
    }
    None
}

/// A cut at this place or a little before it, so that no letter of UTF-8 is cut in two.
fn before_a_letter(line: &[u8], longest: usize) -> usize {
    const LONGEST_LETTER: usize = 4;
    let continues = |at: &usize| line[*at] & 0xc0 == 0x80;
    let begin = (longest.saturating_sub(LONGEST_LETTER - 1)..=longest).rev().find(|at| !continues(at));
    begin.filter(|at| *at > 0).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is cut off `bytes` when they come in these parts.
    fn all(parts: &[Vec<u8>], rule: Rule) -> Vec<(Vec<u8>, Cut)> {
        let (mut stage, mut pieces) = (Vec::new(), Vec::new());
        for index in 0..=parts.len() {
            parts.get(index).into_iter().for_each(|part| stage.extend(part));
            let ended = index == parts.len();
            loop {
                let seen = stage.len().min(rule.sight().max(16));
                let whole = seen == stage.len();
                match cut(&stage[..seen], ended && whole, rule) {
                    Cut::Wait => break assert!(whole, "it waits for what is there"),
                    cut @ (Cut::Lines(length) | Cut::Piece(length) | Cut::Split(length)) => {
                        assert!(length > 0);
                        pieces.push((stage.drain(..length).collect(), cut));
                    }
                }
            }
        }
        assert!(stage.is_empty());
        pieces
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_only_long_lines_are_split(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0xc3), Just(0xa4)], 0..12), 0..12),
            longest in 1usize..20,
        ) {
            let rule = Rule::Whole(longest);
            let pieces = all(&parts, rule);
            let written: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            prop_assert_eq!(&written, &parts.concat());
            for (at, (bytes, cut)) in pieces.iter().enumerate() {
                match cut {
                    Cut::Lines(_) => {
                        prop_assert!(bytes.ends_with(b"\n") || at + 1 == pieces.len());
                        for line in bytes.split(|byte| *byte == b'\n') {
                            prop_assert!(line.len() <= longest);
                        }
                    }
                    Cut::Split(_) => prop_assert!(bytes.len() <= longest && !bytes.contains(&b'\n')),
                    Cut::Piece(_) | Cut::Wait => prop_assert!(false, "{:?}", cut),
                }
            }
        }
    }

    #[test]
    fn alone_a_long_line_goes_through_in_pieces() {
        let line = vec![b'x'; PIECE + 5];
        assert_eq!(cut(&line[..PIECE - 1], false, Rule::Free), Cut::Wait);
        assert_eq!(cut(&line[..PIECE], false, Rule::Free), Cut::Piece(PIECE));
        assert_eq!(cut(b"end", true, Rule::Free), Cut::Lines(3));
        assert_eq!(cut(b"a\nend", false, Rule::Free), Cut::Lines(2));
    }

    #[test]
    fn a_pipe_gets_whole_lines_as_far_as_they_fit() {
        let lines = [&b"x".repeat(3000)[..], b"\n", &b"y".repeat(5000), b"\nz"].concat();
        let mut parts = Vec::new();
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let length = part_for_pipe(rest);
            parts.push(length);
            rest = &rest[length..];
        }
        assert_eq!(parts, [3001, LONGEST, 5002 - LONGEST]);
    }

    #[test]
    fn letters_are_kept_whole() {
        let line = "aäöü€x".as_bytes();
        assert_eq!(cut(line, false, Rule::Whole(4)), Cut::Split(3));
        assert_eq!(cut(&[0x80; 9], false, Rule::Whole(4)), Cut::Split(4), "no UTF-8 at all");
    }
}
