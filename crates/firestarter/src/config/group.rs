//! Reads one table of the file: a group, or the daemon's settings.
//!
//! Called by the room's `parse` for every table. What a key means stands in `keys`.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::draft::{AckKind, Draft};
use super::fault::Ledger;
use super::keys::{self, Does, Key};
use super::value::{quoted, Item};
use super::{command, Surroundings};
use crate::nearest::nearest;

/// The longest name of a group.
const LONGEST_NAME: usize = 64;

/// Reads a table that is a group.
pub(crate) fn read<'a>(
    name: &Spanned<std::borrow::Cow<'_, str>>,
    table: &DeTable<'_>,
    around: &Surroundings<'a>,
    ledger: &mut Ledger<'_>,
) -> Draft<'a> {
    check_name(name, ledger);
    let mut draft = Draft::new(name.get_ref(), around.cwd);
    let mut seen = Seen::default();
    for entry in in_order(table) {
        let Some((key, item)) = known(keys::KEYS, entry, &mut seen, ledger) else { continue };
        match key.does {
            Does::Read(reader) => reader(&mut draft, &item, ledger),
            Does::Later(default) => refuse(&item, default, ledger),
        }
    }
    if !seen.places.contains_key("exec_start") && !seen.maybe_command {
        ledger
            .note_absence(name.span(), format!("{}: exec_start is missing", name.get_ref().escape_debug()))
            .advise("write exec_start = \"COMMAND\" in this table");
    }
    if let Some(place) = seen.places.get("ack_timeout").or_else(|| seen.places.get("start_timeout")) {
        check_ack_timeout(&draft, place, ledger);
    }
    command::check_mentions(&draft, around, ledger);
    draft
}

/// A worker that is ready only when the upgrade has been given up is never ready.
fn check_ack_timeout(draft: &Draft<'_>, place: &Range<usize>, ledger: &mut Ledger<'_>) {
    if draft.ack == AckKind::Timer && draft.ack_timeout >= draft.start_timeout {
        ledger
            .note(place.clone(), "ack_timeout is not shorter than start_timeout: every upgrade would be aborted")
            .advise("make ack_timeout shorter or start_timeout longer");
    }
}

/// Reads `[firestarter]` without a command: settings of the daemon.
pub(crate) fn read_daemon(table: &DeTable<'_>, ledger: &mut Ledger<'_>) {
    let mut seen = Seen::default();
    for (name, value) in in_order(table) {
        if keys::find(keys::DAEMON_KEYS, name.get_ref()).is_none() {
            if let Some(key) = keys::find(keys::KEYS, name.get_ref()) {
                ledger
                    .note(name.span(), format!("{}: not a setting of the daemon", key.name))
                    .advise("[firestarter] holds the daemon's settings unless it has exec_start");
                continue;
            }
        }
        let Some((key, item)) = known(keys::DAEMON_KEYS, (name, value), &mut seen, ledger) else { continue };
        match key.does {
            Does::Later(default) => refuse(&item, default, ledger),
            // Only groups have drafts to read into; DAEMON_KEYS names no reader.
            Does::Read(_) => {}
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
    keys: &'static [Key],
    (name, value): Entry<'t>,
    seen: &mut Seen,
    ledger: &mut Ledger<'_>,
) -> Option<(&'static Key, Item<'t>)> {
    let Some(key) = keys::find(keys, name.get_ref()) else {
        unknown(keys, (name, value), seen, ledger);
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

fn unknown(keys: &'static [Key], (name, value): Entry<'_>, seen: &mut Seen, ledger: &mut Ledger<'_>) {
    let written = name.get_ref();
    let names = keys.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
    let meant = nearest(written, names).and_then(|meant| keys::find(keys, meant)).map(|key| key.name);
    seen.maybe_command |= meant == Some("exec_start") || value.get_ref().is_table();
    let noted = ledger.note(name.span(), format!("unknown key {}", quoted(written)));
    match meant {
        Some(meant) => noted.advise(format!("did you mean {meant}?")),
        None if value.get_ref().is_table() => {
            noted.advise("a group's name with a dot in it is written in quotes: [\"web.api\"]")
        }
        None => noted.advise("remove it"),
    }
}

/// Notes that a key cannot be used yet, unless its value asks for nothing.
fn refuse(item: &Item<'_>, default: keys::Default, ledger: &mut Ledger<'_>) {
    if default.is(item.value) {
        return;
    }
    let noted = ledger.note(item.key_span.clone(), format!("{}: not yet supported by this version", item.key));
    match default.written() {
        Some(default) => noted.advise(format!("remove it, or leave it at its default: {} = {default}", item.key)),
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
