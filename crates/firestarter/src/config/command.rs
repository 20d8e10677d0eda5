//! Reads commands: `exec_start` and the hooks `exec_stop` and `upgrader`, and the variables that they mention.
//!
//! Called by `keys`, and by `group` for the variables. Never runs anything and never looks for the program.

use toml::de::DeValue;

use super::draft::Draft;
use super::fault::Ledger;
use super::value::{self, Item};
use super::words::{self, Word};
use super::{environment, health};
use crate::nearest::nearest;

const EXPECTED: &str = "a command as a string or an array of strings";

/// Reads a command; its variables go to the draft.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Vec<Word>> {
    let words = match item.value {
        DeValue::Array(_) => word_for_word(item, ledger),
        DeValue::String(text) => split(draft, item, text, ledger),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            item.mismatch(EXPECTED, ledger).advise(format!("write {} = \"COMMAND\"", item.key));
            None
        }
    }?;
    if words.first().is_none_or(|program| program.0.is_empty()) {
        item.note("the command is empty", ledger).advise("write the program to run, then its arguments");
        return None;
    }
    Some(words)
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

/// The string by the grammar of `words`.
fn split(draft: &mut Draft<'_>, item: &Item<'_>, text: &str, ledger: &mut Ledger<'_>) -> Option<Vec<Word>> {
    value::without_nul(item, text, ledger)?;
    let place = |part| value::within(ledger.text(), &item.span, text, part);
    match words::parse_with_mentions(text) {
        Ok((words, mentions)) => {
            for mention in mentions {
                let span = place(mention.offset..mention.offset + mention.length);
                draft.mentions.push((item.key, (mention, span)));
            }
            Some(words)
        }
        Err(fault) => {
            let span = place(fault.offset..fault.offset + fault.length);
            ledger.note(span, format!("{}: {fault}", item.key)).advise(fault.cause.advice());
            None
        }
    }
}

/// Notes the variables that a command will not have. To be called when the whole group is read.
pub(crate) fn check_mentions(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    if draft.variables_unsure {
        return;
    }
    let of_probe = health::variables(&draft.base_name);
    let (own, later) = (environment::own(draft), environment::later(draft));
    let configured = draft.from_files.iter().chain(draft.environments.iter().map(|(variable, _)| variable));
    let of_worker: Vec<&str> =
        configured.map(|(name, _)| name.as_str()).chain(own.iter().map(String::as_str)).collect();
    for (key, (mention, span)) in &draft.mentions {
        let name = mention.name.as_str();
        let is_probe = key.starts_with("health.");
        let of_hook = hook_variables(key);
        let of_probe = of_probe.iter().map(String::as_str).filter(|_| is_probe);
        let known = || of_worker.iter().chain(of_hook.unwrap_or_default()).copied().chain(of_probe.clone());
        if known().any(|known| known == name) || inherits(draft, key, name) {
            continue;
        }
        if of_hook.is_none() && later.iter().any(|own| own == name) {
            ledger
                .note(span.clone(), format!("{key}: {name} is set only in the worker itself, when it has been made"))
                .advise(format!("let a shell there expand it: sh -c 'exec … ${name}'"));
            continue;
        }
        if let Some(giver) = environment::giver(name, draft).filter(|_| of_hook.is_none()) {
            ledger
                .note_absence(span.clone(), format!("{key}: the variable {name} is not set"))
                .advise(format!("the daemon sets it {giver}; for the text itself, quote it: '${name}'"));
            continue;
        }
        let advice = match nearest(name, known()) {
            Some(meant) => format!("did you mean ${meant}? For the text itself, quote it: '${name}'"),
            None => format!("set it in environments; for the text itself, quote it: '${name}'"),
        };
        ledger.note_absence(span.clone(), format!("{key}: the variable {name} is not set")).advise(advice);
    }
}

/// What a hook is told of the group; none if the command is no hook.
fn hook_variables(key: &str) -> Option<&'static [&'static str]> {
    match key {
        "exec_stop" => Some(&["MAINPID", "FIRESTARTER_PIDS"]),
        "upgrader" => Some(&[]),
        _ => None,
    }
}

/// Whether a command has a variable from the daemon. A hook runs in the daemon's own environment.
fn inherits(draft: &Draft<'_>, key: &str, name: &str) -> bool {
    let is_hook = hook_variables(key).is_some();
    (is_hook || draft.inherit_env && environment::passed_on(name.as_bytes(), &draft.base_name))
        && (draft.around.env)(name).is_some()
}
