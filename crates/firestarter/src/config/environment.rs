//! Reads `environments` and `environment_base_name`, and knows the variables that the daemon itself gives to a worker.
//!
//! Called by `keys`, `command`, and by `group` once the whole table is read. Never reads the daemon's own environment.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::DeValue;

use super::contracts::{self, Contract};
use super::draft::Draft;
use super::fault::Ledger;
use super::value::{self, quoted, Item};

/// A name and its value.
pub(crate) type Variable = (String, String);

/// What the names of the daemon's variables begin with, unless the configuration says so.
pub(crate) const BASE_NAME: &str = "FIRESTARTER";

const EXPECTED: &str = "an array of \"NAME=VALUE\" or a table";

/// What the protocol of systemd names: sd_listen_fds(3).
const SOCKET_NAMES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// And what sd_notify(3), sd_watchdog_enabled(3) and the fd store name.
const NOTIFY_NAMES: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"];

/// The other spelling of `FIRESTARTER_WATCH_FILE`, whatever the prefix: the original's documentation has it.
pub(crate) const WATCH_FILE: &str = "FIRESTARTERWATCHFILE";

/// What the daemon may have been given itself and must not pass on: it would be taken for the worker's own. A name that
/// ends in `_` stands for all that begin so.
const NOT_PASSED_ON: [&str; 13] = [
    "LISTEN_",
    "NOTIFY_SOCKET",
    "WATCHDOG_",
    "FDSTORE",
    "EINHORN_",
    "SERVER_STARTER_",
    "FIRESTARTER_",
    WATCH_FILE,
    "GUNICORN_PID",
    "GUNICORN_FD",
    "NGINX",
    "PUMA_INHERIT_",
    "MAINPID",
];

/// Whether workers inherit a variable of that name from the daemon, if `base_name` begins the names of those that the
/// daemon sets.
pub(crate) fn passed_on(name: &[u8], base_name: &str) -> bool {
    let taboo =
        |taboo: &str| if taboo.ends_with('_') { name.starts_with(taboo.as_bytes()) } else { name == taboo.as_bytes() };
    let rest = name.strip_prefix(base_name.as_bytes());
    let of_base = rest.is_some_and(|rest| rest.starts_with(b"_FD_") || rest == b"_WATCH_FILE");
    !of_base && !NOT_PASSED_ON.into_iter().any(taboo)
}

/// The variables that a worker gets from the daemon and that are known before there is a worker.
pub(crate) fn own(draft: &Draft<'_>) -> Vec<String> {
    let based = |name: &str| format!("{}_{name}", draft.base_name);
    let [firestarter, systemd] =
        [Contract::Firestarter, Contract::Systemd].map(|contract| draft.contracts.speak(contract));
    let mut names = contracts::own(draft);
    if firestarter {
        names.extend(["SOCK_PATH", "SOCK_FD", "MASTER_PID"].map(based));
    }
    if firestarter && !draft.sockets.is_empty() {
        names.push(based("FD_COUNT"));
        names.extend((0..draft.sockets.len()).map(|index| based(&format!("FD_{index}"))));
    }
    if !draft.sockets.is_empty() && draft.fd_store == 0 {
        names.extend((firestarter || systemd).then(|| "LISTEN_FDS".to_owned()));
        names.extend(systemd.then(|| "LISTEN_FDNAMES".to_owned()));
    }
    if draft.identity.as_ref().is_some_and(|identity| identity.account.is_some()) {
        names.extend(["HOME", "USER", "LOGNAME"].map(str::to_owned));
    }
    if !draft.inherit_env {
        names.push("PATH".to_owned());
    }
    names
}

/// The variables that only a worker itself knows: they are made when it is.
pub(crate) fn later(draft: &Draft<'_>) -> Vec<String> {
    let mut names = contracts::later(draft);
    if draft.contracts.speak(Contract::Firestarter) || draft.health.is_some() {
        names.push(format!("{}_SLOT", draft.base_name));
    }
    if !draft.live_check.is_zero() {
        names.extend([format!("{}_WATCH_FILE", draft.base_name), WATCH_FILE.to_owned()]);
    }
    names
}

/// Whether the daemon sets a variable of that name, or may do so in a later version.
pub(crate) fn is_own(name: &str, base_name: &str) -> bool {
    let based = name.strip_prefix(base_name).is_some_and(|rest| rest.starts_with('_'));
    based || name == WATCH_FILE || SOCKET_NAMES.contains(&name) || NOTIFY_NAMES.contains(&name)
}

/// What would make the daemon set a variable that it does not set for this group, and that `environments` cannot set.
pub(crate) fn giver(name: &str, draft: &Draft<'_>) -> Option<&'static str> {
    let based = name.strip_prefix(draft.base_name.as_str()).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default();
    let of_socket = based.starts_with("FD_") || SOCKET_NAMES.contains(&name);
    let giver = contracts::giver(name, draft);
    if giver.is_some() {
        giver
    } else if name == "LISTEN_PID" {
        Some("only in the worker itself, with socket_address and without listen_pid = false")
    } else if of_socket && draft.sockets.is_empty() {
        Some("for each address of socket_address")
    } else if name == "WATCHDOG_PID" {
        Some("only in the worker itself, with watchdog_timeout and without listen_pid = false")
    } else if name == "WATCHDOG_USEC" {
        Some("with watchdog_timeout")
    } else if name == "FDSTORE" {
        Some("with fd_store")
    } else if based == "WATCH_FILE" || name == WATCH_FILE {
        Some("only in the worker itself, with live_check_timeout")
    } else {
        None
    }
}

/// Reads `environments`.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) {
    let before = ledger.count();
    let mut places = HashMap::new();
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

/// Adds a variable, unless its name cannot be one. `places` says where each one that was added is written.
fn add(
    draft: &mut Draft<'_>,
    places: &mut HashMap<String, usize>,
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
    } else if let Some(start) = places.get(name) {
        let (line, column) = ledger.place(*start);
        let message = format!("{} is already set at {line}:{column}", quoted(name));
        entry.note(&message, ledger).advise("remove one of the two");
    } else {
        places.insert(name.to_owned(), entry.span.start);
        draft.environments.push(((name.to_owned(), value.to_owned()), entry.span.clone()));
    }
}

/// Notes the variables of `environments` that the daemon itself sets. To be called when the whole group is read, as
/// `environment_base_name` may stand behind them.
pub(crate) fn check_own(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let own = |(name, _): &Variable| is_own(name, &draft.base_name);
    let taken: Vec<(&str, &Range<usize>)> = (draft.environments.iter())
        .filter(|(variable, _)| own(variable))
        .map(|((name, _), place)| (name.as_str(), place))
        .collect();
    for (name, place) in &taken {
        ledger
            .note((*place).clone(), format!("environments: {} is set by the daemon itself", quoted(name)))
            .advise("remove it, or choose another name");
    }
    let file = draft.places.get("environment_file").cloned().unwrap_or_default();
    let in_files: Vec<&Variable> = draft.from_files.iter().filter(|variable| own(variable)).collect();
    for (name, _) in &in_files {
        ledger
            .note(file.clone(), format!("environment_file: {} is set by the daemon itself", quoted(name)))
            .advise("remove it from the file, or choose another name");
    }
    draft.variables_unsure |= !taken.is_empty() || !in_files.is_empty();
}

/// Reads `environment_base_name`.
pub(crate) fn base_name(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<String> {
    let text = value::text(item, "the beginning of a variable's name", ledger)?;
    if !is_name(text) {
        let message = format!("{} cannot begin a variable's name", quoted(text));
        item.note(&message, ledger).advise("use letters, digits and _, and no digit in front");
        return None;
    }
    Some(text.to_owned())
}

/// Letters, digits and `_`, no digit in front: POSIX.1, 8.1.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.bytes().all(allowed)
}
