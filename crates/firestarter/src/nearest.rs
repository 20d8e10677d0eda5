//! Finds the name that was probably meant: the nearest of the known ones, if any is near.
//!
//! Called wherever a name is unknown. Never decides whether a name is known.

/// Nobody means a known name with one longer than this; and the search stays cheap.
const LONGEST: usize = 40;

/// The candidate that `written` is most likely a slip of. The first one of those equally near.
pub(crate) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if written.len() > LONGEST {
        return None;
    }
    let written = folded(written);
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &folded(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(written.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case, and `-` for `_`, are no slips worth counting.
fn folded(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// How many letters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut two_above: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(two_above[j - 2] + 1);
            }
        }
        two_above = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
