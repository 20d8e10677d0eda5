//! Reads `health`: how a worker is asked whether it serves; and what of it can be said only together with other keys.
//!
//! Called by `keys`, and by `group` once the whole table is read. Never asks anybody.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use firestarter_core::spec::{Probe, ProbeBy};
use toml::de::DeValue;

use super::draft::{AckKind, Draft};
use super::endpoint::{self, EndpointFault};
use super::environment;
use super::fault::Ledger;
use super::value::{self, quoted, Item};
use super::words::{self, Piece, Word};
use super::{command, Health};
use crate::nearest::nearest;

/// `health` while its group is read.
#[derive(Debug)]
pub(crate) struct Written {
    /// Who is asked; none if that has faults.
    pub(crate) health: Option<Health>,
    /// When, and what the answers mean.
    pub(crate) probe: Probe,
    /// Where `url`, `address` or `command` is written.
    target: Range<usize>,
}

const NO_PAUSE: &str = "the workers would be asked without a pause";
const NO_TIME: &str = "no worker could answer";

/// What the table may hold, as it is written there and as messages name it.
const KEYS: [(&str, &str); 9] = [
    ("url", "health.url"),
    ("address", "health.address"),
    ("command", "health.command"),
    ("interval", "health.interval"),
    ("timeout", "health.timeout"),
    ("healthy_after", "health.healthy_after"),
    ("unhealthy_after", "health.unhealthy_after"),
    ("liveness", "health.liveness"),
    ("status", "health.status"),
];

/// The statuses that are good ones unless `status` says which.
const GOOD: (u16, u16) = (200, 399);

/// Whether a key can only be meant for this table.
pub(crate) fn owns(key: &str) -> bool {
    matches!(key, "liveness" | "healthy_after" | "unhealthy_after")
}

/// Reads the table.
pub(crate) fn read(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Written> {
    let DeValue::Table(table) = item.value else {
        item.mismatch("a table", ledger).advise("write health = { url = \"http://127.0.0.1:800$FIRESTARTER_SLOT/\" }");
        return None;
    };
    let mut entries: Vec<Item<'_>> = Vec::new();
    for (name, value) in table.iter() {
        match KEYS.into_iter().find(|(key, _)| *key == name.get_ref()) {
            Some((_, key)) => {
                entries.push(Item { key, key_span: name.span(), value: value.get_ref(), span: value.span() });
            }
            None => {
                let names = KEYS.map(|(key, _)| key);
                let advice = match nearest(name.get_ref(), names) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("health has {}", names.join(", ")),
                };
                ledger.note(name.span(), format!("health: unknown key {}", quoted(name.get_ref()))).advise(advice);
            }
        }
    }
    entries.sort_by_key(|entry| entry.key_span.start);
    let targets: Vec<&Item<'_>> =
        entries.iter().filter(|e| matches!(e.key, "health.url" | "health.address" | "health.command")).collect();
    let target = match targets.as_slice() {
        [] => {
            item.note("it says nobody whom to ask", ledger).advise("write url, address or command in it");
            return None;
        }
        [target] => *target,
        [first, second, ..] => {
            let message = format!("{}: {} is there already", second.key, first.key);
            ledger.note(second.key_span.clone(), message).advise("a worker is asked in one way: remove one of them");
            return None;
        }
    };
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let good = match of("health.status") {
        Some(entry) if target.key == "health.url" => status(entry, ledger).unwrap_or(GOOD),
        Some(entry) => {
            let message = "health.status: only an answer over HTTP has one";
            ledger.note(entry.key_span.clone(), message).advise("remove it, or write a url");
            GOOD
        }
        None => GOOD,
    };
    let health = match target.key {
        "health.command" => command::read(draft, target, ledger).map(Health::Command),
        "health.url" => one_word(draft, target, ledger).map(|url| Health::Http { url, good }),
        _ => one_word(draft, target, ledger).map(Health::Tcp),
    };
    let by = if target.key == "health.command" { ProbeBy::Command } else { ProbeBy::Connection };
    Some(Written { health, probe: probe(&entries, by, ledger), target: target.span.clone() })
}

/// When a worker is asked, and what its answers mean.
fn probe(entries: &[Item<'_>], by: ProbeBy, ledger: &mut Ledger<'_>) -> Probe {
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut time = |key: &str, otherwise: u64, why: &str| {
        let read = of(key).and_then(|entry| value::some_time(entry, why, ledger));
        read.unwrap_or(Duration::from_secs(otherwise))
    };
    let (interval, timeout) = (time("health.interval", 1, NO_PAUSE), time("health.timeout", 3, NO_TIME));
    let mut count = |key: &str, otherwise: u32| {
        let read = of(key).and_then(|entry| value::whole(entry, 1..=1000, ledger));
        NonZeroU32::new(read.unwrap_or(otherwise)).unwrap_or(NonZeroU32::MIN)
    };
    let (healthy_after, unhealthy_after) = (count("health.healthy_after", 1), count("health.unhealthy_after", 3));
    let liveness = of("health.liveness").and_then(|entry| value::flag(entry, ledger)).unwrap_or(false);
    Probe { by, interval, timeout, healthy_after, unhealthy_after, liveness }
}

/// A status, or a range of them such as `200-299`.
fn status(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<(u16, u16)> {
    let written = match item.value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::String(text) => text.to_string(),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            String::new()
        }
    };
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    let one = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    let range = one(first).zip(one(last)).filter(|(first, last)| first <= last);
    if range.is_none() {
        item.mismatch("an HTTP status from 200 to 599, or a range of them", ledger)
            .advise("write health.status = \"200-299\"");
    }
    range
}

/// A text that is one word, with variables.
fn one_word(draft: &mut Draft<'_>, item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Word> {
    value::text(item, "a string", ledger)?;
    let mut words = command::read(draft, item, ledger)?;
    if words.len() > 1 {
        item.note("a blank cannot stand in it", ledger).advise("remove what follows it, or quote it");
        return None;
    }
    words.pop()
}

/// What a probe may name beside the variables of the worker: what differs from one to the next.
pub(crate) fn variables(base_name: &str) -> [String; 3] {
    [format!("{base_name}_SLOT"), format!("{base_name}_WORKER_PID"), "MAINPID".to_owned()]
}

/// Notes what of `health` and `ack` does not go together. To be called when the whole group is read.
pub(crate) fn check(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let asks = match draft.ack {
        AckKind::Http => Some(("http", "url", "http://127.0.0.1:800$FIRESTARTER_SLOT/")),
        AckKind::Tcp => Some(("tcp", "address", "127.0.0.1:800$FIRESTARTER_SLOT")),
        AckKind::Exec => Some(("exec", "command", "COMMAND")),
        AckKind::Timer | AckKind::Manual | AckKind::Notify | AckKind::None => None,
    };
    let place = |key: &str| draft.places.get(key).cloned().unwrap_or_default();
    let Some(written) = &draft.health else {
        if let Some((kind, key, example)) = asks.filter(|_| !draft.places.contains_key("health")) {
            ledger
                .note_absence(place("ack"), format!("ack = \"{kind}\" asks by health.{key}, and there is no health"))
                .advise(format!("write health = {{ {key} = \"{example}\" }}"));
        }
        return;
    };
    if asks.is_none() && !written.probe.liveness {
        ledger
            .note(place("health"), "health: nobody asks, as ack is another one and liveness is not set")
            .advise("write ack = \"http\", \"tcp\" or \"exec\", or liveness = true in it");
    }
    let Some(health) = &written.health else { return };
    let kind = match health {
        Health::Http { .. } => "http",
        Health::Tcp(_) => "tcp",
        Health::Command(_) => "exec",
    };
    if let Some((other, key, _)) = asks.filter(|(asks, ..)| *asks != kind) {
        ledger
            .note(written.target.clone(), format!("health: ack = \"{other}\" asks by health.{key}, which is not there"))
            .advise(format!("write {key} in it, or ack = \"{kind}\""));
        return;
    }
    match health {
        Health::Http { url, .. } => {
            check_address(draft, written, url, asks.is_some(), |text| endpoint::url(text).map(drop), ledger);
        }
        Health::Tcp(address) => {
            check_address(draft, written, address, asks.is_some(), |text| endpoint::address(text).map(drop), ledger);
        }
        Health::Command(_) => {}
    }
}

/// Whether one worker can be told from another at this address, and whether it is one for each slot.
fn check_address(
    draft: &Draft<'_>,
    written: &Written,
    word: &Word,
    decides_readiness: bool,
    read: impl Fn(&str) -> Result<(), EndpointFault>,
    ledger: &mut Ledger<'_>,
) {
    let own = variables(&draft.base_name);
    let differs = word.0.iter().any(|piece| matches!(piece, Piece::Variable(name) if own.contains(name)));
    if !differs && (decides_readiness || draft.count.get() > 1) {
        let slot = &own[0];
        ledger
            .note(
                written.target.clone(),
                "health: at an address that workers share a probe cannot choose which answers",
            )
            .advise(format!(
                "let each listen at one of its own and put ${slot} in it, or ask by command, which knows its worker"
            ));
        return;
    }
    for slot in 0..draft.count.get() {
        let Some(text) = sample(draft, word, slot) else { return };
        if let Err(fault) = read(&text) {
            let whose = if differs { format!(" (of slot {slot})") } else { String::new() };
            ledger
                .note(written.target.clone(), format!("health: {}{whose}: {fault}", quoted(&text)))
                .advise(fault.advice());
            return;
        }
    }
}

/// The text for a worker of a slot, as far as its variables are known by now.
fn sample(draft: &Draft<'_>, word: &Word, slot: u32) -> Option<String> {
    let [slot_name, pid, main_pid] = variables(&draft.base_name);
    let configured = || draft.from_files.iter().chain(draft.environments.iter().map(|(variable, _)| variable));
    let look_up = |name: &str| -> Option<OsString> {
        if name == slot_name {
            return Some(slot.to_string().into());
        } else if name == pid || name == main_pid {
            return Some("4194304".into());
        }
        let inherited =
            || (draft.around.env)(name).filter(|_| environment::passed_on(name.as_bytes(), &draft.base_name));
        let configured = configured().rfind(|(other, _)| other == name);
        configured.map(|(_, value)| value.into()).or_else(inherited)
    };
    words::expand(std::slice::from_ref(word), look_up).ok()?.pop()?.into_string().ok()
}
