//! Reads one table of the file: a group, or the daemon's settings.
//!
//! Called by the room's `parse` for every table. What a key means stands in `keys`.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::draft::{AckKind, Draft, Settings};
use super::fault::Ledger;
use super::keys::{Key, Reader, Scope};
use super::value::{quoted, Item};
use super::{command, contracts, environment, health, identity, output, pace, signals, sockets, Surroundings};
use crate::nearest::nearest;

/// The longest name of a group.
const LONGEST_NAME: usize = 64;

/// Reads a table that is a group.
pub(crate) fn read<'a>(
    name: &Spanned<std::borrow::Cow<'_, str>>,
    table: &DeTable<'_>,
    around: &'a Surroundings<'a>,
    ledger: &mut Ledger<'_>,
) -> Draft<'a> {
    check_name(name, ledger);
    let mut draft = Draft::new(name.get_ref(), around);
    let mut seen = Seen::default();
    for entry in in_order(table) {
        let Some((key, item)) = known(Scope::Group, entry, &mut seen, ledger) else { continue };
        match key.read {
            Reader::Group(read) => read(&mut draft, &item, ledger),
            // No group has keys of the daemon.
            Reader::Daemon(_) => {}
        }
    }
    if !seen.places.contains_key("exec_start") && !seen.maybe_command {
        ledger
            .note_absence(name.span(), format!("{}: exec_start is missing", name.get_ref().escape_debug()))
            .advise("write exec_start = \"COMMAND\" in this table");
    }
    draft.places = seen.places;
    check_together(&mut draft, ledger);
    draft
}

/// What can be said only when every key has been read, as it takes more than one.
fn check_together(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    check_ack_timeout(draft, ledger);
    check_upgrader(draft, ledger);
    contracts::check(draft, ledger);
    sockets::check_stdin(draft, ledger);
    pace::check(draft, ledger);
    health::check(draft, ledger);
    check_store(draft, ledger);
    identity::resolve(draft, ledger);
    environment::check_own(draft, ledger);
    command::check_mentions(draft, ledger);
    signals::warn(draft, ledger);
}

/// So many descriptors find room in a worker from 3 on, sockets and stored ones together.
const MOST_PASSED: usize = 54;

fn check_store(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let (sockets, stored) = (draft.sockets.len(), draft.fd_store as usize);
    let Some(place) = draft.places.get("fd_store").filter(|_| sockets + stored > MOST_PASSED) else { return };
    let message = format!("fd_store: {stored} descriptors and {sockets} sockets are more than {MOST_PASSED}");
    ledger.note(place.clone(), message).advise(format!("write fd_store = {}", MOST_PASSED.saturating_sub(sockets)));
}

/// Keys of the upgrader mean nothing without one.
fn check_upgrader(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    if draft.places.contains_key("upgrader") {
        return;
    }
    for key in ["upgrader_active_sec", "upgrader_timeout"] {
        if let Some(place) = draft.places.get(key) {
            ledger
                .note_absence(place.clone(), format!("{key}: there is no upgrader"))
                .advise("write upgrader = \"COMMAND\" too, or remove this key");
        }
    }
}

/// A worker that is ready only when the upgrade has been given up is never ready.
fn check_ack_timeout(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let place = draft.places.get("ack_timeout").or_else(|| draft.places.get("start_timeout"));
    let Some(place) = place else { return };
    if draft.ack == AckKind::Timer && draft.ack_timeout >= draft.start_timeout {
        ledger
            .note(place.clone(), "ack_timeout is not shorter than start_timeout: every upgrade would be aborted")
            .advise("make ack_timeout shorter or start_timeout longer");
    }
}

/// Reads `[firestarter]` without a command: settings of the daemon.
pub(crate) fn read_daemon(table: &DeTable<'_>, settings: &mut Settings, ledger: &mut Ledger<'_>) {
    let mut seen = Seen::default();
    for (name, value) in in_order(table) {
        if Scope::Daemon.find(name.get_ref()).is_none() {
            if let Some(key) = Scope::Group.find(name.get_ref()) {
                ledger
                    .note(name.span(), format!("{}: not a setting of the daemon", key.name))
                    .advise("[firestarter] holds the daemon's settings unless it has exec_start");
                continue;
            }
        }
        let Some((key, item)) = known(Scope::Daemon, (name, value), &mut seen, ledger) else { continue };
        match key.read {
            Reader::Daemon(read) => read(settings, &item, ledger),
            // The daemon has no keys of groups.
            Reader::Group(_) => {}
        }
    }
}

/// The keys of a table that were met.
#[derive(Default)]
struct Seen {
    places: BTreeMap<&'static str, Range<usize>>,
    /// A key was not known that may have been meant as the command, or as a group of its own.
    maybe_command: bool,
}

type Entry<'t> = (&'t Spanned<std::borrow::Cow<'t, str>>, &'t Spanned<DeValue<'t>>);

/// The entries as they stand in the file.
fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// The key of an entry; none if it is unknown or here for the second time, which is noted.
fn known<'t>(
    scope: Scope,
    (name, value): Entry<'t>,
    seen: &mut Seen,
    ledger: &mut Ledger<'_>,
) -> Option<(&'static Key, Item<'t>)> {
    let Some(key) = scope.find(name.get_ref()) else {
        unknown(scope, (name, value), seen, ledger);
        return None;
    };
    if let Some(before) = seen.places.get(key.name) {
        let (line, column) = ledger.place(before.start);
        ledger
            .note(name.span(), format!("{}: already set at {line}:{column}", key.name))
            .advise(format!("remove one of the two; {} is the newer spelling", key.name));
        return None;
    }
    seen.places.insert(key.name, name.span());
    let item = Item { key: key.name, key_span: name.span(), value: value.get_ref(), span: value.span() };
    Some((key, item))
}

fn unknown(scope: Scope, (name, value): Entry<'_>, seen: &mut Seen, ledger: &mut Ledger<'_>) {
    let written = name.get_ref();
    let keys = scope.keys();
    let names = keys.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
    let meant = nearest(written, names).and_then(|meant| scope.find(meant)).map(|key| key.name);
    seen.maybe_command |= meant == Some("exec_start") || value.get_ref().is_table();
    let noted = ledger.note(name.span(), format!("unknown key {}", quoted(written)));
    match meant {
        _ if scope == Scope::Group && health::owns(written) => {
            noted.advise(format!("write it in health = {{ {written} = … }}"))
        }
        _ if scope == Scope::Group && output::owns(written) => {
            noted.advise(format!("write it in stdout_log = {{ {written} = … }}, or in stderr_log"))
        }
        Some(meant) => noted.advise(format!("did you mean {meant}?")),
        None if value.get_ref().is_table() => {
            noted.advise("a group's name with a dot in it is written in quotes: [\"web.api\"]")
        }
        None => noted.advise("remove it"),
    }
}

fn check_name(name: &Spanned<std::borrow::Cow<'_, str>>, ledger: &mut Ledger<'_>) {
    let written = name.get_ref();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if written.is_empty() {
        ledger.note(name.span(), "a group has no name").advise("write a name such as [web]");
    } else if !written.chars().all(allowed) {
        let better: String = written.chars().map(|c| if allowed(c) { c } else { '-' }).take(LONGEST_NAME).collect();
        ledger
            .note(
                name.span(),
                format!("group {}: expected a name of ASCII letters, digits, _, - and .", quoted(written)),
            )
            .advise(format!("write [{}]", if better.contains('.') { format!("\"{better}\"") } else { better }));
    } else if written.len() > LONGEST_NAME {
        let message = format!("group {}: a name has at most {LONGEST_NAME} characters", quoted(written));
        ledger.note(name.span(), message).advise("choose a shorter name");
    }
}
