//! "Did you mean": the known word nearest to an unknown one. Called where people mistype. It only suggests.

/// The choice nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    choices
        .into_iter()
        .map(|choice| (distance(&word, &choice.to_lowercase().chars().collect::<Vec<_>>()), choice))
        .filter(|(distance, choice)| *distance <= choice.chars().count().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, choice)| choice)
}

/// How many letters must be changed, added, left out or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let words = ["start", "stop", "restart", "status", "upgrade", "inc"];
        for (typed, meant) in [
            ("strat", Some("start")),
            ("upgade", Some("upgrade")),
            ("STATUS", Some("status")),
            ("inx", Some("inc")),
            ("frobnicate", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
    }
}
