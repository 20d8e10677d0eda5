//! Reads a span of time: seconds as a number, or text with units such as `500ms`, `2m` or `1m30s`.
//!
//! Called by `value`. Never asks the time and knows no key.

use std::time::Duration;

/// The longest span that a configuration may ask for: ten years of 365 days.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The units, with their nanoseconds; a longer name stands before its prefix.
const UNITS: [(&str, u128); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Why something is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationFault {
    /// Neither a number nor anything with a unit.
    #[error("no duration")]
    Malformed,
    /// A number as text, without a unit.
    #[error("no unit")]
    NoUnit,
    /// Below zero, above ten years, or not finite.
    #[error("out of range")]
    OutOfRange,
}

/// Reads `500ms`, `2m`, `1.5h` or `1m30s`. Every number needs its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationFault> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Err(if seconds.is_finite() { DurationFault::NoUnit } else { DurationFault::Malformed });
    }
    if text.starts_with('-') && parse(&text[1..]).is_ok() {
        return Err(DurationFault::OutOfRange);
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    loop {
        let (number, after) = rest.split_at(number_length(rest));
        let &(unit, factor) = UNITS.iter().find(|(u, _)| after.starts_with(u)).ok_or(DurationFault::Malformed)?;
        nanos = nanos.checked_add(scaled(number, factor)?).ok_or(DurationFault::OutOfRange)?;
        rest = &after[unit.len()..];
        if rest.is_empty() {
            break;
        }
    }
    let nanos = u64::try_from(nanos).map_err(|_| DurationFault::OutOfRange)?;
    in_range(Duration::from_nanos(nanos))
}

/// A number of seconds.
pub(crate) fn from_seconds(seconds: f64) -> Result<Duration, DurationFault> {
    in_range(Duration::try_from_secs_f64(seconds).map_err(|_| DurationFault::OutOfRange)?)
}

fn in_range(duration: Duration) -> Result<Duration, DurationFault> {
    if duration > LONGEST {
        return Err(DurationFault::OutOfRange);
    }
    Ok(duration)
}

fn number_length(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count()
}

/// `number` (digits, perhaps with a point among them) times `factor`, exact but for what is below a nanosecond.
fn scaled(number: &str, factor: u128) -> Result<u128, DurationFault> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(DurationFault::Malformed);
    }
    let whole: u64 = whole.parse().map_err(|_| DurationFault::OutOfRange)?;
    // Eighteen digits of a day are far below a nanosecond, and ASCII can be cut anywhere.
    let fraction = &fraction[..fraction.len().min(18)];
    let denominator = 10_u128.pow(fraction.len() as u32);
    let numerator: u128 = fraction.parse().map_err(|_| DurationFault::Malformed)?;
    Ok(u128::from(whole) * factor + numerator * factor / denominator)
}
