//! Which lines are wanted. Pure. Used by every source.

use regex_lite::Regex;

use super::line::Line;
use crate::api::Stream;

/// What a line must be like.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    /// Of one of these groups, and there of this slot, if one is named.
    pub(super) groups: Vec<(String, Option<u32>)>,
    /// Written to this stream.
    pub(super) stream: Option<Stream>,
    /// Not older, in nanoseconds since 1970.
    pub(super) since: Option<i64>,
    /// Its text matches.
    pub(super) grep: Option<Regex>,
}

impl Sieve {
    /// Whether a line is wanted. What it does not say is taken to be as wanted: whether it must say it is looked at before.
    pub(super) fn passes(&self, line: &Line) -> bool {
        let of_group = |(group, slot): &(String, Option<u32>)| {
            line.group.as_ref().is_none_or(|its| its == group) && slot.is_none_or(|slot| line.slot == Some(slot))
        };
        self.groups.iter().any(of_group)
            && self.stream.is_none_or(|stream| line.stream.is_none_or(|its| its == stream))
            && !self.is_too_old(line.time)
            && self.grep.as_ref().is_none_or(|regex| regex.is_match(&String::from_utf8_lossy(&line.text[line.said..])))
    }

    /// Whether what was written then is older than what is wanted.
    pub(super) fn is_too_old(&self, time: Option<i64>) -> bool {
        self.since.is_some_and(|since| time.is_some_and(|time| time < since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_looked_at_by_what_they_say() {
        let any = Sieve { groups: vec![("web".into(), None)], stream: None, since: None, grep: None };
        let line = Line { text: b"2026 GET /".to_vec(), said: 5, ..Line::default() };
        let of = |group: &str, slot| Line { group: Some(group.into()), slot, ..line.clone() };
        assert!(any.passes(&line) && any.passes(&of("web", Some(1))) && !any.passes(&of("api", Some(1))));
        let slot = Sieve { groups: vec![("api".into(), None), ("web".into(), Some(1))], ..any.clone() };
        assert!(slot.passes(&of("web", Some(1))) && !slot.passes(&of("web", Some(0))) && slot.passes(&of("api", None)));
        let stderr = Sieve { stream: Some(Stream::Stderr), ..any.clone() };
        let to = |stream| Line { stream: Some(stream), ..line.clone() };
        assert!(stderr.passes(&to(Stream::Stderr)) && !stderr.passes(&to(Stream::Stdout)) && stderr.passes(&line));
        let since = Sieve { since: Some(7), ..any.clone() };
        let at = |time| Line { time: Some(time), ..line.clone() };
        assert!(since.passes(&at(7)) && !since.passes(&at(6)) && since.passes(&line));
        let grep = |regex: &str| Sieve { grep: Some(Regex::new(regex).unwrap()), ..any.clone() };
        assert!(grep("^GET").passes(&line) && !grep("2026").passes(&line));
    }
}
