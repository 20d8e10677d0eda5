//! Reads what concerns a group's command: `exec_start`, the variables it mentions, and the signals its workers get.
//!
//! Called by `keys`, and by `group` for the variables. Never runs anything and never looks for the program.

use firestarter_core::spec::Signal;
use toml::de::DeValue;

use super::draft::Draft;
use super::environment;
use super::fault::Ledger;
use super::value::{self, Item};
use super::words::{self, Word};
use super::Surroundings;
use crate::nearest::nearest;

const EXPECTED: &str = "a command as a string or an array of strings";

/// Reads `exec_start`.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let words = match item.value {
        DeValue::Array(_) => word_for_word(item, ledger),
        DeValue::String(text) => split(draft, item, text, ledger),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            item.mismatch(EXPECTED, ledger).advise("write exec_start = \"COMMAND\"");
            None
        }
    };
    match words {
        Some(words) if words.first().is_none_or(|program| program.0.is_empty()) => {
            item.note("the command is empty", ledger).advise("write the program to run, then its arguments");
        }
        Some(words) => draft.exec = Some(words),
        None => {}
    }
}

/// The elements of the array, just as they are.
fn word_for_word(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Vec<Word>> {
    let before = ledger.count();
    let mut words = Vec::new();
    for element in item.value.as_array().into_iter().flat_map(|array| array.iter()) {
        let element = item.element(element);
        match element.value.as_str() {
            Some(text) => words.extend(value::without_nul(&element, text, ledger).map(Word::literal)),
            None => element.mismatch("a string in the array", ledger).advise("put it in quotes"),
        }
    }
    (ledger.count() == before).then_some(words)
}

/// The string by the grammar of `words`; the variables go to the draft.
fn split(draft: &mut Draft<'_>, item: &Item<'_>, text: &str, ledger: &mut Ledger<'_>) -> Option<Vec<Word>> {
    value::without_nul(item, text, ledger)?;
    let place = |part| value::within(ledger.text(), &item.span, text, part);
    match words::parse_with_mentions(text) {
        Ok((words, mentions)) => {
            draft.mentions = mentions
                .into_iter()
                .map(|mention| {
                    let span = place(mention.offset..mention.offset + mention.length);
                    (mention, span)
                })
                .collect();
            Some(words)
        }
        Err(fault) => {
            let span = place(fault.offset..fault.offset + fault.length);
            ledger.note(span, format!("{}: {fault}", item.key)).advise(fault.cause.advice());
            None
        }
    }
}

/// Notes the variables that a worker will not have. To be called when the whole group is read.
pub(crate) fn check_mentions(draft: &Draft<'_>, around: &Surroundings<'_>, ledger: &mut Ledger<'_>) {
    if draft.variables_unsure {
        return;
    }
    let own = environment::own(draft.sockets.len());
    let set_here = || draft.environments.iter().map(|(name, _)| name.as_str()).chain(own.iter().map(String::as_str));
    for (mention, span) in &draft.mentions {
        let name = mention.name.as_str();
        if set_here().any(|known| known == name) || (around.env)(name).is_some() {
            continue;
        }
        let advice = match nearest(name, set_here()) {
            Some(meant) => format!("did you mean ${meant}? For the text itself, quote it: '${name}'"),
            None => format!("set it in environments; for the text itself, quote it: '${name}'"),
        };
        ledger.note_absence(span.clone(), format!("exec_start: the variable {name} is not set")).advise(advice);
    }
}

/// Reads `stop_signal`.
pub(crate) fn stop_signal(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Signal> {
    let signal = value::signal(item, ledger)?;
    if is_stop(signal) {
        item.note("SIGSTOP pauses a worker and does not end it", ledger).advise("write stop_signal = \"SIGTERM\"");
        return None;
    }
    Some(signal)
}

/// Reads `ack_signal`.
pub(crate) fn ack_signal(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Signal> {
    let signal = value::signal(item, ledger)?;
    if is_stop(signal) || signal == Signal::KILL {
        let message = format!("{signal} leaves a worker no chance to finish its requests");
        item.note(&message, ledger).advise("write ack_signal = \"SIGUSR2\", or one that the worker catches");
        return None;
    }
    Some(signal)
}

/// Whether it is SIGSTOP.
fn is_stop(signal: Signal) -> bool {
    Some(signal) == Signal::parse("STOP")
}
