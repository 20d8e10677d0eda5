//! Reads `environments`, and knows the variables that the daemon itself gives to a worker.
//!
//! Called by `keys` and `command`. Never reads the daemon's own environment.

use std::ops::Range;

use toml::de::DeValue;

use super::draft::Draft;
use super::fault::Ledger;
use super::keys::BASE_NAME;
use super::value::{self, quoted, Item};

const EXPECTED: &str = "an array of \"NAME=VALUE\" or a table";

/// The variables that a worker of a group with so many sockets gets from the daemon.
pub(crate) fn own(sockets: usize) -> Vec<String> {
    let mut names: Vec<String> =
        ["SOCK_PATH", "SOCK_FD", "MASTER_PID"].iter().map(|name| format!("{BASE_NAME}_{name}")).collect();
    if sockets > 0 {
        names.extend(SOCKET_NAMES.map(str::to_owned));
        names.push(format!("{BASE_NAME}_FD_COUNT"));
        names.extend((0..sockets).map(|index| format!("{BASE_NAME}_FD_{index}")));
    }
    names
}

/// What the protocol of systemd names: sd_listen_fds(3).
const SOCKET_NAMES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Reads `environments`.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let before = ledger.count();
    let mut places: Vec<Range<usize>> = Vec::new();
    match item.value {
        DeValue::Array(array) => {
            for element in array.iter() {
                let element = item.element(element);
                if let Some((name, value)) = assignment(&element, ledger) {
                    add(draft, &mut places, &element, name, value, ledger);
                }
            }
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            for (name, value) in entries {
                let value = item.element(value);
                let Some(text) = value.value.as_str() else {
                    value.mismatch("a string", ledger).advise("put it in quotes");
                    continue;
                };
                let Some(text) = value::without_nul(&value, text, ledger) else { continue };
                let entry = Item { span: name.span(), ..value };
                add(draft, &mut places, &entry, name.get_ref(), text, ledger);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            item.mismatch(EXPECTED, ledger).advise("write environments = [\"NAME=VALUE\"]");
        }
    }
    draft.variables_unsure |= ledger.count() > before;
}

/// An element of the array, cut at its first `=`.
fn assignment<'a>(element: &Item<'a>, ledger: &mut Ledger<'_>) -> Option<(&'a str, &'a str)> {
    let text = value::text(element, "a string \"NAME=VALUE\"", ledger)?;
    let cut = text.split_once('=');
    if cut.is_none() {
        let message = format!("expected \"NAME=VALUE\", found {}", quoted(text));
        element.note(&message, ledger).advise("put = between the name and the value");
    }
    cut
}

/// Adds a variable, unless its name cannot be one. `places` has a place for each one that was added.
fn add(
    draft: &mut Draft<'_>,
    places: &mut Vec<Range<usize>>,
    entry: &Item<'_>,
    name: &str,
    value: &str,
    ledger: &mut Ledger<'_>,
) {
    if name.is_empty() {
        entry.note("a variable has no name", ledger).advise("write a name before the =");
    } else if name.contains(['=', '\0']) {
        let message = format!("{} cannot be a variable's name", quoted(name));
        entry.note(&message, ledger).advise("use letters, digits and _");
    } else if SOCKET_NAMES.contains(&name) || name.strip_prefix(BASE_NAME).is_some_and(|rest| rest.starts_with('_')) {
        let message = format!("{} is set by the daemon itself", quoted(name));
        entry.note(&message, ledger).advise("remove it, or choose another name");
    } else if let Some(index) = draft.environments.iter().position(|(known, _)| known == name) {
        let (line, column) = ledger.place(places[index].start);
        let message = format!("{} is already set at {line}:{column}", quoted(name));
        entry.note(&message, ledger).advise("remove one of the two");
    } else {
        draft.environments.push((name.to_owned(), value.to_owned()));
        places.push(entry.span.clone());
    }
}
