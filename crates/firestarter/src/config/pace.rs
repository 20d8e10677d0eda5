//! How fast a group is renewed, and which of its workers are too old or too large: shares of a group, sizes, and what
//! contradicts itself in them.
//!
//! Called by `keys` for each value and by `group` for the whole. Never looks at the memory that there is.

use std::time::Duration;

use firestarter_core::spec::{Share, Surge};
use toml::de::DeValue;

use super::draft::{AckKind, Draft};
use super::fault::Ledger;
use super::size;
use super::value::{whole, Item};

/// What a group's table says of its pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// `surge`.
    pub(crate) surge: Surge,
    /// `max_unavailable`.
    pub(crate) max_unavailable: Share,
    /// `soak`.
    pub(crate) soak: Duration,
    /// `kill_old_delay`.
    pub(crate) kill_old_delay: Duration,
    /// `max_age`; zero: off.
    pub(crate) max_age: Duration,
    /// `max_memory` in bytes; zero: off.
    pub(crate) max_memory: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            surge: Surge::Auto,
            max_unavailable: Share::Count(0),
            soak: Duration::ZERO,
            kill_old_delay: Duration::ZERO,
            max_age: Duration::ZERO,
            max_memory: 0,
        }
    }
}

/// The most workers that a group can have.
const MOST: u32 = 10_000;

/// Reads `"auto"`, or a share.
pub(crate) fn surge(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Surge> {
    match item.value.as_str() {
        Some("auto") => Some(Surge::Auto),
        Some(_) | None => share_or(item, "\"auto\", ", ledger).map(Surge::Fixed),
    }
}

/// Reads a number of workers, or `"25%"` of them.
pub(crate) fn share(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Share> {
    share_or(item, "", ledger)
}

/// `other` is what else may stand there, for the message.
fn share_or(item: &Item<'_>, other: &str, ledger: &mut Ledger<'_>) -> Option<Share> {
    let percent = |text: &str| text.parse().ok().filter(|percent| *percent <= 100 && !text.starts_with('+'));
    let text = item.value.as_str().unwrap_or_default();
    match item.value {
        DeValue::String(_) => {
            if let Some(percent) = text.strip_suffix('%').and_then(percent) {
                return Some(Share::Percent(percent));
            }
        }
        DeValue::Integer(_) => return whole(item, 0..=MOST, ledger).map(Share::Count),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {}
    }
    let number: Option<u32> = text.parse().ok().filter(|number| *number <= MOST);
    let advice = match number {
        Some(number) => format!("write {} = {number} for workers, or \"25%\" for a part of them", item.key),
        None => format!("write {} = 1, or \"25%\"", item.key),
    };
    let expected = format!("{other}a number of workers, or a percentage of them from \"0%\" to \"100%\"");
    item.mismatch(&expected, ledger).advise(advice);
    None
}

/// No worker is smaller.
const LEAST: u64 = 1 << 20;

/// Reads a number of bytes, `"512M"`, or 0 for no limit.
pub(crate) fn size(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<u64> {
    match size::of(item.value) {
        Some(bytes) if bytes == 0 || bytes >= LEAST => return Some(bytes),
        Some(bytes) if bytes < 1 << 16 => {
            let advice = format!("no worker is so small; write {} = \"{bytes}M\" for mebibytes", item.key);
            item.mismatch("at least 1 MiB", ledger).advise(advice);
        }
        Some(_) => {
            let advice = format!("no worker is so small; write {} = \"512M\"", item.key);
            item.mismatch("at least 1 MiB", ledger).advise(advice);
        }
        None => {
            let advice = format!("write {} = \"512M\"; {}", item.key, size::MEANING);
            item.mismatch("a number of bytes, or a string with a unit", ledger).advise(advice);
        }
    }
    None
}

/// What contradicts itself.
pub(crate) fn check(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    match draft.ack == AckKind::None {
        true => check_without_ack(draft, ledger),
        false => check_room(draft, ledger),
    }
    check_age(draft, ledger);
}

/// Where nobody is asked whether it is ready, there is nothing to wait for.
fn check_without_ack(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let Pace { surge, soak, kill_old_delay, .. } = draft.pace;
    let extra = matches!(surge, Surge::Fixed(share) if !share.is_none());
    for (key, there, why) in [
        ("surge", extra, "old workers end before new ones start"),
        ("soak", !soak.is_zero(), "nobody knows whether a new worker is ready"),
        ("kill_old_delay", !kill_old_delay.is_zero(), "old workers end before new ones start"),
    ] {
        if let Some(place) = draft.places.get(key).filter(|_| there) {
            let advice = format!("write another ack, such as ack = \"timer\", or remove {key}");
            ledger.note(place.clone(), format!("{key}: with ack = \"none\" {why}")).advise(advice);
        }
    }
}

/// An upgrade needs room for at least one new worker, beside the old ones or in place of one.
fn check_room(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let (Pace { surge, max_unavailable, .. }, count) = (draft.pace, draft.count.get());
    let Some(place) = draft.places.get("surge") else { return };
    if !matches!(surge, Surge::Fixed(share) if share.is_none()) || max_unavailable.of(count) > 0 {
        return;
    }
    let message = match max_unavailable {
        Share::Percent(percent @ 1..) => {
            format!("surge is 0, and max_unavailable, {percent}% of {count}, is 0 too: no upgrade could begin")
        }
        Share::Percent(_) | Share::Count(_) => {
            "surge and max_unavailable are both 0: no upgrade could begin".to_owned()
        }
    };
    ledger.note(place.clone(), message).advise("write surge = 1, or max_unavailable = 1");
}

/// A worker that is too old before it is ready is replaced for ever.
fn check_age(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let Pace { max_age, soak, .. } = draft.pace;
    let Some(place) = draft.places.get("max_age").filter(|_| !max_age.is_zero()) else { return };
    if draft.ack == AckKind::Timer && max_age <= draft.ack_timeout {
        ledger
            .note(
                place.clone(),
                "max_age is not longer than ack_timeout: workers would be too old before they are ready",
            )
            .advise("make max_age longer");
    } else if max_age <= soak {
        ledger
            .note(
                place.clone(),
                "max_age is not longer than soak: new workers would be too old before they are trusted",
            )
            .advise("make max_age longer");
    }
}
