//! Notes what the TOML parser found wrong, in this program's words where the parser's own say little.
//!
//! Called by the room's `parse`, before any other fault is noted. Knows no key.

use toml::de::{DeTable, DeValue, Error};

use super::fault::Ledger;
use super::value::quoted;

/// Notes each error of the parser.
pub(crate) fn note(errors: &[Error], root: &DeTable<'_>, ledger: &mut Ledger<'_>) {
    // An open array swallows what follows; what is wrong there is its doing.
    let open = errors.iter().filter(|error| error.message().starts_with("unclosed array"));
    for end in open.filter_map(|error| error.span()) {
        if let Some(start) = array_around(root, end.start) {
            ledger.note_syntax_up_to(end.start, start..start + 1, "the [ is not closed").advise("close it with ]");
        }
    }
    for error in errors {
        let text = ledger.text();
        let span = error.span().unwrap_or(text.len()..text.len());
        let there = text.get(span.clone()).unwrap_or_default();
        match error.message() {
            "duplicate key" => {
                let name = quoted(there.trim_matches(['"', '\'']));
                let message = match first_place(root, there, span.start) {
                    Some(first) => {
                        let (line, column) = ledger.place(first);
                        format!("{name} is already set at {line}:{column}")
                    }
                    None => format!("{name} is already defined above"),
                };
                ledger.note_syntax(span, message).advise("remove one of the two, or put a # before it");
            }
            message if message.starts_with("string values must be quoted") => {
                let noted = ledger.note_syntax(span, "expected a value; text stands in quotes");
                let word = there.trim();
                let plain = !word.is_empty() && word.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\'));
                noted.advise(if plain { format!("write \"{word}\"") } else { "write a value after the =".to_owned() });
            }
            message if message.starts_with("unexpected key or value") => {
                ledger
                    .note_syntax(span, "expected the end of the line")
                    .advise("remove the rest of the line, or put a # before it");
            }
            message if message.starts_with("unexpected leading zero") => {
                ledger
                    .note_syntax(span, "a number cannot begin with 0")
                    .advise("octal digits stand in quotes: \"022\"; any other number begins with another digit");
            }
            message => {
                ledger.note_syntax(span, message);
            }
        }
    }
}

/// Where the key was written that a second one of the same name clashes with: the nearest before it.
fn first_place(table: &DeTable<'_>, name: &str, before: usize) -> Option<usize> {
    let name = name.trim_matches(['"', '\'']);
    let mut nearest = None;
    for (key, value) in table.iter() {
        let start = key.span().start;
        if key.get_ref() == name && start < before {
            nearest = nearest.max(Some(start));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            nearest = nearest.max(first_place(inner, name, before));
        }
    }
    nearest
}

/// Where the array starts that was still open at `end`.
fn array_around(table: &DeTable<'_>, end: usize) -> Option<usize> {
    let mut found = None;
    for value in table.values() {
        match value.get_ref() {
            DeValue::Array(_) if value.span().start < end && end <= value.span().end => {
                found = found.max(Some(value.span().start));
            }
            DeValue::Table(inner) => found = found.max(array_around(inner, end)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {}
        }
    }
    found
}
