//! How far back lines are wanted: `10m`, `2h`, `1d`, or a time. Pure. Called by the command line and by `reading`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From when on lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Duration),
    /// In nanoseconds since 1970.
    At(i64),
}

impl Since {
    /// Reads what was written; none if it is neither a length of time nor a time.
    pub(crate) fn parse(text: &str) -> Option<Since> {
        ago(text).map(Since::Ago).or_else(|| super::line::time(text).map(Since::At))
    }

    /// In nanoseconds since 1970.
    pub(super) fn resolve(self, now: SystemTime) -> i64 {
        match self {
            Since::At(time) => time,
            Since::Ago(ago) => nanoseconds(now).saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

/// In nanoseconds since 1970; what was before that is 0.
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn ago(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = number.parse().ok().filter(|_| digits)?;
    count.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("2w", 1_209_600)]
        {
            assert_eq!(Since::parse(text), Some(Since::Ago(Duration::from_secs(seconds))), "{text}");
        }
        let at = Some(Since::At(1_795_622_173_000_000_000));
        assert_eq!(Since::parse("2026-11-25T15:56:13Z"), at);
        assert_eq!(Since::parse("2026-11-25T16:56:13+01:00"), at);
        for text in ["", "m", "-1m", "1.5h", "1y", "yesterday", "2026-11-25", "99999999999999999999d", "1 h"] {
            assert_eq!(Since::parse(text), None, "{text}");
        }
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(Since::Ago(Duration::from_secs(10)).resolve(now), 990_000_000_000);
        assert!(Since::Ago(Duration::from_secs(u64::MAX)).resolve(now) < 0);
    }
}
