//! Reads a log that is a table: `{ path = "…", rotate = "…", … }`.
//!
//! Called by `output`. Which keys there are stands in `keys`; never looks at a file itself.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeTable;

use super::super::draft::Placed;
use super::super::fault::Ledger;
use super::super::keys::{Part, LOG_TABLE};
use super::super::size;
use super::super::value::{self, quoted, Item};
use super::super::{Compression, Form, LogFile, Output, Overflow, Rotation, Surroundings};
use super::{file, rotation, standing};
use crate::nearest::nearest;

/// The least and the most of `line_max`.
const LINE_MAX: RangeInclusive<u64> = 1 << 10..=16 << 20;

/// Whether a key can only be meant for this table.
pub(crate) fn owns(key: &str) -> bool {
    key != "path" && LOG_TABLE.iter().any(|part| part.name == key)
}

/// Reads the table; none if anything in it is a fault.
pub(super) fn read(
    around: &Surroundings<'_>,
    item: &Item<'_>,
    table: &DeTable<'_>,
    ledger: &mut Ledger<'_>,
) -> Option<Placed<Output>> {
    let before = ledger.count();
    let entries = Entries::of(item, table, ledger);
    let form = form(&entries, ledger);
    let pass_on = entries.read("pass_on", ledger, value::flag);
    let output = if pass_on == Entry::There(true) {
        only_form(&entries, ledger);
        Some((Output::PassOn(form), item.span.clone()))
    } else {
        if entries.find("path").is_none() && pass_on != Entry::Faulty {
            ledger
                .note_absence(item.span.clone(), format!("{}: path is missing", item.key))
                .advise("write path = \"/var/log/web.log\" in it, or pass_on = true");
        }
        log_file(around, &entries, form, ledger)
    };
    output.filter(|_| ledger.count() == before)
}

/// What is known of an entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry<T> {
    /// It is not there.
    Absent,
    /// It cannot be read, which is noted.
    Faulty,
    /// It says this.
    There(T),
}

impl<T> Entry<T> {
    fn there(self) -> Option<T> {
        match self {
            Entry::Absent | Entry::Faulty => None,
            Entry::There(value) => Some(value),
        }
    }
}

/// The entries whose keys are known.
struct Entries<'t> {
    /// The key whose value the table is.
    log: &'static str,
    all: Vec<Item<'t>>,
}

impl<'t> Entries<'t> {
    fn of(item: &Item<'t>, table: &'t DeTable<'t>, ledger: &mut Ledger<'_>) -> Entries<'t> {
        let mut all = Vec::new();
        for (name, value) in table.iter() {
            let names = || LOG_TABLE.iter().map(|part: &Part| part.name);
            if let Some(key) = names().find(|key| *key == name.get_ref()) {
                all.push(Item { key, key_span: name.span(), value: value.get_ref(), span: value.span() });
                continue;
            }
            let advice = match nearest(name.get_ref(), names()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("a log has {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("{}: unknown key {}", item.key, quoted(name.get_ref()));
            ledger.note(name.span(), message).advise(advice);
        }
        Entries { log: item.key, all }
    }

    fn find(&self, key: &str) -> Option<&Item<'t>> {
        self.all.iter().find(|entry| entry.key == key)
    }

    fn read<T>(
        &self,
        key: &str,
        ledger: &mut Ledger<'_>,
        read: impl FnOnce(&Item<'t>, &mut Ledger<'_>) -> Option<T>,
    ) -> Entry<T> {
        let Some(item) = self.find(key) else { return Entry::Absent };
        read(item, ledger).map_or(Entry::Faulty, Entry::There)
    }
}

/// What is passed on has no file, so nothing can be said of one.
fn only_form(entries: &Entries<'_>, ledger: &mut Ledger<'_>) {
    for entry in entries.all.iter().filter(|entry| !matches!(entry.key, "pass_on" | "form" | "nested_json")) {
        ledger
            .note(entry.key_span.clone(), format!("{}: with pass_on = true there is no file", entry.key))
            .advise("remove it, or remove pass_on");
    }
}

/// `form` and `nested_json`.
fn form(entries: &Entries<'_>, ledger: &mut Ledger<'_>) -> Form {
    const FORMS: [(&str, Form); 3] =
        [("plain", Form::Plain), ("timed", Form::Timed), ("json", Form::Json { nested: false })];
    let form = entries.read("form", ledger, |entry, ledger| value::choice(entry, &FORMS, ledger));
    let nested = entries.read("nested_json", ledger, value::flag).there().unwrap_or(false);
    match form.there().unwrap_or(Form::Plain) {
        Form::Json { .. } => Form::Json { nested },
        plain @ (Form::Plain | Form::Timed) => {
            if let Some(entry) = entries.find("nested_json").filter(|_| form != Entry::Faulty) {
                ledger
                    .note_absence(entry.key_span.clone(), "nested_json: form is not \"json\"")
                    .advise("write form = \"json\" too, or remove it");
            }
            plain
        }
    }
}

/// What is said of a file; none if its path cannot be read.
fn log_file(
    around: &Surroundings<'_>,
    entries: &Entries<'_>,
    form: Form,
    ledger: &mut Ledger<'_>,
) -> Option<Placed<Output>> {
    const COMPRESSIONS: [(&str, Compression); 2] = [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
    const OVERFLOWS: [(&str, Overflow); 3] =
        [("wait", Overflow::Wait), ("block", Overflow::Block), ("drop", Overflow::Drop)];
    let rotation = entries.read("rotate", ledger, rotate);
    let compress = entries.read("compress", ledger, |entry, l| value::choice(entry, &COMPRESSIONS, l));
    let max_total = entries.read("max_total", ledger, |entry, l| size::read(entry, 1..=u64::MAX, "1GiB", l));
    let overflow = entries.read("on_overflow", ledger, |entry, l| value::choice(entry, &OVERFLOWS, l));
    let line_max = entries.read("line_max", ledger, |entry, l| size::read(entry, LINE_MAX, "1MiB", l));
    let create_parents = entries.read("create_parents", ledger, value::flag);
    check_backups(entries, rotation, max_total, ledger);
    let item = entries.find("path")?;
    let path = path(entries.log, around, item, ledger)?;
    // If nobody knows whether folders are made, none is missed.
    let made = create_parents == Entry::Faulty || create_parents.there() == Some(true);
    standing::check(&path, made, item, around, ledger);
    let line_max = line_max.there().and_then(|bytes| u32::try_from(bytes).ok());
    let log = LogFile {
        compress: compress.there(),
        max_total: max_total.there(),
        form,
        overflow: overflow.there().unwrap_or(Overflow::Wait),
        line_max: line_max.unwrap_or(LogFile::LINE_MAX),
        create_parents: made,
        ..LogFile::new(path, rotation.there().unwrap_or(Rotation::Never))
    };
    Some((Output::File(log), item.span.clone()))
}

/// `path`; `log` is the key whose value the table is.
fn path(log: &str, around: &Surroundings<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<PathBuf> {
    let text = value::text(item, "a path as a string", ledger)?;
    if text == "null" {
        item.note("\"null\" is no file", ledger).advise(format!("write {log} = \"null\", without a table"));
        return None;
    }
    if rotation::begins(text) {
        let message = format!("{}: in a table the rotation stands in rotate", quoted(text));
        item.note(&message, ledger).advise("write path = \"PATH\", rotate = \"size:10MiB:5\"");
        return None;
    }
    match file(text, around.cwd) {
        Ok(path) => Some(path),
        Err(fault) => {
            item.note(&format!("{}: {fault}", quoted(text)), ledger).advise(fault.advice(text, true));
            None
        }
    }
}

/// `rotate`.
fn rotate(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Rotation> {
    let text = value::text(item, "a rotation as a string", ledger)?;
    match rotation::alone(text) {
        Ok(rotation) => Some(rotation),
        Err(fault) => {
            item.note(&format!("{}: {fault}", quoted(text)), ledger).advise(fault.advice(text, false));
            None
        }
    }
}

/// What is said of backups needs some, and room for the log itself.
fn check_backups(entries: &Entries<'_>, rotation: Entry<Rotation>, max_total: Entry<u64>, ledger: &mut Ledger<'_>) {
    if rotation == Entry::Absent {
        for entry in ["compress", "max_total"].into_iter().filter_map(|key| entries.find(key)) {
            ledger
                .note_absence(entry.key_span.clone(), format!("{}: without rotate there are no backups", entry.key))
                .advise("write rotate = \"size:10MiB:5\" too, or remove it");
        }
    }
    let Some((entry, total)) = entries.find("max_total").zip(max_total.there()) else { return };
    match rotation.there() {
        Some(Rotation::Size { max_bytes, .. }) if total <= max_bytes => {
            let message = format!("{total} bytes for the log and its backups, and the log alone may have {max_bytes}");
            entry.note(&message, ledger).advise("make it larger than MAX_BYTES of rotate");
        }
        Some(Rotation::Size { .. } | Rotation::Time(_) | Rotation::Never) | None => {}
    }
}
