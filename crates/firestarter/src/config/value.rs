//! Reads one value of the TOML as the type that its key wants, or notes what was expected and what was found.
//!
//! Called by `keys` and the readers it names. Knows no key; never has a default.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use firestarter_core::spec::Signal;
use toml::de::{DeInteger, DeValue};
use toml::Spanned;

use super::duration::{self, DurationFault};
use super::fault::{Ledger, Noted};
use crate::nearest::nearest;

/// A value (or an element of one), with the key it is for.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    /// The key as its definition spells it.
    pub(crate) key: &'static str,
    /// Where the key is written.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub(crate) value: &'a DeValue<'a>,
    /// Where the value is written.
    pub(crate) span: Range<usize>,
}

impl<'a> Item<'a> {
    /// The same key with another value: an element of this one.
    pub(crate) fn element(&self, element: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item { key: self.key, key_span: self.key_span.clone(), value: element.get_ref(), span: element.span() }
    }

    /// The value's elements, or the value itself if it is no array: where one may stand for an array of one.
    pub(crate) fn each(&self) -> Vec<Item<'a>> {
        match self.value {
            DeValue::Array(array) => array.iter().map(|element| self.element(element)).collect(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![self.clone()],
        }
    }

    /// Notes that the value is not what was expected.
    pub(crate) fn mismatch<'l>(&self, expected: &str, ledger: &'l mut Ledger<'_>) -> &'l mut Noted {
        let message = format!("{}: expected {expected}, found {}", self.key, found(self.value));
        ledger.note(self.span.clone(), message)
    }

    /// Notes something about the value; the message goes after the key.
    pub(crate) fn note<'l>(&self, message: &str, ledger: &'l mut Ledger<'_>) -> &'l mut Noted {
        ledger.note(self.span.clone(), format!("{}: {message}", self.key))
    }
}

/// How a message names a value that somebody else may not expect there.
pub(crate) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty string".to_owned(),
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => shortened(&number.to_string()),
        DeValue::Float(number) => shortened(number.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text between quotes, as a message may show it: escaped, and cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text).escape_debug().to_string().replace("\\'", "'"))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The number, if it is one that fits.
pub(crate) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A whole number in `range`.
pub(crate) fn whole(item: &Item<'_>, range: RangeInclusive<u32>, ledger: &mut Ledger<'_>) -> Option<u32> {
    let in_range = |number: i64| u32::try_from(number).ok().filter(|number| range.contains(number));
    let read = match item.value {
        DeValue::Integer(number) => integer(number).and_then(in_range),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    if read.is_none() {
        let meant = item.value.as_str().and_then(|text| in_range(text.trim().parse().ok()?));
        let example = meant.unwrap_or((*range.start()).max(2).min(*range.end()));
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        item.mismatch(&expected, ledger).advise(format!("write {} = {example}", item.key));
    }
    read
}

/// `true` or `false`.
pub(crate) fn flag(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<bool> {
    let read = item.value.as_bool();
    if read.is_none() {
        let example = item.value.as_str().and_then(|text| text.parse().ok()).unwrap_or(true);
        item.mismatch("true or false", ledger).advise(format!("write {} = {example}", item.key));
    }
    read
}

/// Text without NUL, of at least one byte; `expected` says what it is, with its article.
pub(crate) fn text<'a>(item: &Item<'a>, expected: &str, ledger: &mut Ledger<'_>) -> Option<&'a str> {
    let Some(text) = item.value.as_str().filter(|text| !text.is_empty()) else {
        let noted = item.mismatch(expected, ledger);
        if matches!(item.value, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) {
            noted.advise("put it in quotes");
        }
        return None;
    };
    without_nul(item, text, ledger)
}

/// The text, unless there is a NUL in it.
pub(crate) fn without_nul<'a>(item: &Item<'_>, text: &'a str, ledger: &mut Ledger<'_>) -> Option<&'a str> {
    if text.contains('\0') {
        item.note("a NUL byte cannot be passed on", ledger).advise(r"remove the \u0000");
        return None;
    }
    Some(text)
}

/// One of a few words, each with what it means.
pub(crate) fn choice<T: Copy>(item: &Item<'_>, choices: &[(&str, T)], ledger: &mut Ledger<'_>) -> Option<T> {
    let written = item.value.as_str();
    if let Some((_, meaning)) = choices.iter().find(|(word, _)| Some(*word) == written) {
        return Some(*meaning);
    }
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let expected = match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        Some(_) | None => words.concat(),
    };
    let meant = written.and_then(|written| nearest(written, choices.iter().map(|(word, _)| *word)));
    let noted = item.mismatch(&expected, ledger);
    if let Some(meant) = meant {
        noted.advise(format!("did you mean {} = \"{meant}\"?", item.key));
    }
    None
}

/// A span of time: a number of seconds, or text with units; at most ten years.
pub(crate) fn duration(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Duration> {
    let fault = match duration_of(item.value) {
        Ok(duration) => return Some(duration),
        Err(fault) => fault,
    };
    let key = item.key;
    match fault {
        DurationFault::OutOfRange => {
            item.mismatch("a duration from 0 to 10 years", ledger).advise(format!("write {key} = 10 for ten seconds"))
        }
        DurationFault::NoUnit => {
            let number = item.value.as_str().unwrap_or_default().trim();
            let advice = format!("write {key} = {number} for seconds, or add a unit: ms, s, m, h, d");
            item.mismatch("a unit after the number", ledger).advise(advice)
        }
        DurationFault::Malformed => item
            .mismatch("seconds as a number, or a string with a unit", ledger)
            .advise(format!("write {key} = 10 for seconds, or a string such as \"500ms\", \"2m\"")),
    };
    None
}

/// A span of time that is longer than none; `why` says what would happen without.
pub(crate) fn some_time(item: &Item<'_>, why: &str, ledger: &mut Ledger<'_>) -> Option<Duration> {
    let duration = duration(item, ledger)?;
    if duration.is_zero() {
        item.mismatch("a duration above 0", ledger).advise(why);
        return None;
    }
    Some(duration)
}

/// As `duration`, without a word about what is wrong.
pub(crate) fn duration_of(value: &DeValue<'_>) -> Result<Duration, DurationFault> {
    match value {
        DeValue::Integer(number) => {
            let seconds = integer(number).and_then(|number| u64::try_from(number).ok());
            let duration = Duration::from_secs(seconds.ok_or(DurationFault::OutOfRange)?);
            Some(duration).filter(|duration| *duration <= duration::LONGEST).ok_or(DurationFault::OutOfRange)
        }
        DeValue::Float(number) => {
            duration::from_seconds(number.as_str().parse().map_err(|_| DurationFault::Malformed)?)
        }
        DeValue::String(text) => duration::parse(text),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(DurationFault::Malformed)
        }
    }
}

/// A signal, by name with or without `SIG`, or by number.
pub(crate) fn signal(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Signal> {
    let read = match item.value {
        DeValue::String(text) => Signal::parse(text),
        DeValue::Integer(number) => {
            integer(number).and_then(|number| u8::try_from(number).ok()).and_then(Signal::from_number)
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    if read.is_none() {
        let names: Vec<String> = (1..=31).filter_map(Signal::from_number).map(|s| s.to_string()).collect();
        let meant = item.value.as_str().and_then(|text| {
            let text = text.to_ascii_uppercase();
            let text = if text.starts_with("SIG") { text } else { format!("SIG{text}") };
            nearest(&text, names.iter().map(String::as_str)).filter(|_| !text.contains("SIGRT"))
        });
        let advice = match meant {
            Some(meant) => format!("did you mean {} = \"{meant}\"?", item.key),
            None => format!("write {} = \"SIGTERM\"; a real-time signal is written as its number", item.key),
        };
        item.mismatch("a signal's name, or its number from 1 to 64", ledger).advise(advice);
    }
    read
}

/// The part of the file where a part of a string's content is written; the whole string if it has escapes, because
/// then its bytes are not those of the file.
pub(crate) fn within(source: &str, span: &Range<usize>, content: &str, part: Range<usize>) -> Range<usize> {
    let raw = source.get(span.clone()).unwrap_or_default();
    let delimiter = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let inner = raw.get(delimiter..raw.len().saturating_sub(delimiter)).unwrap_or_default();
    // A newline right behind the opening delimiter does not belong to the content.
    let skipped = if delimiter == 3 && inner.len() > content.len() { inner.len() - content.len() } else { 0 };
    let newline = matches!(inner.get(..skipped), Some("" | "\n" | "\r\n"));
    if !newline || inner.get(skipped..) != Some(content) {
        return span.clone();
    }
    let start = span.start + delimiter + skipped;
    start + part.start..start + part.end
}
