//! Reads a size: a number of bytes, or text with a unit such as `64K`, `10MiB` or `10MB`.
//!
//! Called by the readers of keys that are sizes. Knows no key and no limit of its own.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::fault::Ledger;
use super::value::{integer, Item};

/// The units, with the power of 1024 or 1000 that each stands for.
const UNITS: [(char, u32); 4] = [('K', 1), ('M', 2), ('G', 3), ('T', 4)];

/// What the units mean, for advice.
pub(crate) const MEANING: &str = "the units are K, M, G and T, of 1024 each; KB, MB and so on are of 1000";

/// Reads a size within `limits`; `example` is one.
pub(crate) fn read(
    item: &Item<'_>,
    limits: RangeInclusive<u64>,
    example: &str,
    ledger: &mut Ledger<'_>,
) -> Option<u64> {
    let Some(bytes) = of(item.value) else {
        let text = item.value.as_str().unwrap_or_default();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let advice = match digits {
            true => format!("write {} = {text} for bytes, or add a unit; {MEANING}", item.key),
            false => format!("write {} = \"{example}\"; {MEANING}", item.key),
        };
        item.mismatch("a number of bytes, or a string with a unit", ledger).advise(advice);
        return None;
    };
    if limits.contains(&bytes) {
        return Some(bytes);
    }
    let expected = match (*limits.start(), *limits.end()) {
        (_, u64::MAX) => "a size above 0".to_owned(),
        (0, most) => format!("a size of at most {}", shown(most)),
        (least, most) => format!("a size from {} to {}", shown(least), shown(most)),
    };
    item.mismatch(&expected, ledger).advise(format!("write {} = \"{example}\"", item.key));
    None
}

/// The bytes that a value stands for.
pub(crate) fn of(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => integer(number).and_then(|number| u64::try_from(number).ok()),
        DeValue::String(text) => parse(text),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// `512M`, `512MiB`, `512MB`, `64k`. Without a unit it is none.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let mut unit = unit.chars();
    let letter = unit.next()?.to_ascii_uppercase();
    let (_, power) = UNITS.iter().find(|(name, _)| *name == letter)?;
    let factor: u64 = match unit.as_str() {
        "" | "iB" | "ib" => 1024,
        "B" => 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor.pow(*power))
}

/// A size as a message names it.
fn shown(bytes: u64) -> String {
    match bytes {
        _ if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        _ if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("512M", Some(512 << 20)),
            ("1G", Some(1 << 30)),
            ("3GiB", Some(3 << 30)),
            ("2048K", Some(2 << 20)),
            ("1T", Some(1 << 40)),
            ("64k", Some(64 << 10)),
            ("10mib", Some(10 << 20)),
            ("512MB", Some(512_000_000)),
            ("1TB", Some(1_000_000_000_000)),
            ("16777215T", Some(16_777_215 << 40)),
            ("16777216T", None),
            ("99999999999999999999M", None),
            ("18446744073709551615K", None),
            ("M", None),
            ("1.5G", None),
            ("-1G", None),
            ("512", None),
            ("512mb", None),
            ("1GiBiB", None),
            ("1é", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
