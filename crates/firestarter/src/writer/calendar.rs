//! When a log that is rotated by time is due, and what its backup is called. Pure: the zone is an argument, the time too.
//! Used by `rotate`.
//!
//! Seconds, minutes and hours are lengths of time. Days and midnights are of the calendar: with daylight saving a day has
//! 23 or 25 hours now and then, and the next one begins at the same time of the day all the same.

use crate::output::{Schedule, Unit};

/// How many seconds local clocks are ahead of UTC at a point in time, in seconds since 1970.
pub(super) type Zone<'z> = &'z dyn Fn(i64) -> i64;

const DAY: i64 = 86_400;

impl Schedule {
    /// When content that began at `begun` is to move away, in seconds since 1970.
    pub(super) fn due(&self, begun: i64, zone: Zone<'_>) -> i64 {
        let interval = i64::from(self.interval);
        let local = begun.saturating_add(zone(begun));
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let after = |length: i64| begun.saturating_add(interval.saturating_mul(length));
        match self.unit {
            Unit::Seconds => after(1),
            Unit::Minutes => after(60),
            Unit::Hours => after(3600),
            Unit::Days => at(day.saturating_add(interval), second, zone),
            Unit::Midnight => at(day.saturating_add(interval), 0, zone),
        }
    }

    /// What is appended to the name of content that began at `begun`: as fine as the unit.
    pub(super) fn stamp(&self, begun: i64, zone: Zone<'_>) -> String {
        let local = begun.saturating_add(zone(begun));
        let (year, month, day) = date(local.div_euclid(DAY));
        let second = local.rem_euclid(DAY);
        let full = format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60);
        let cut = full.len() - 6 + self.digits_of_time();
        full[..cut].to_owned()
    }

    /// How long a stamp is in the years of four digits.
    pub(super) fn stamp_length(&self) -> usize {
        8 + self.digits_of_time()
    }

    fn digits_of_time(&self) -> usize {
        match self.unit {
            Unit::Seconds => 6,
            Unit::Minutes => 4,
            Unit::Hours => 2,
            Unit::Days | Unit::Midnight => 0,
        }
    }
}

/// The first moment at which local clocks show this second of this day; where they leap over it, the moment of the leap.
fn at(day: i64, second: i64, zone: Zone<'_>) -> i64 {
    let local = day.saturating_mul(DAY).saturating_add(second);
    // The offsets that hold before and after a change that may be near.
    let guess = |near: i64| local.saturating_sub(zone(near));
    let (one, other) = (guess(local.saturating_sub(DAY)), guess(local.saturating_add(DAY)));
    let (early, late) = (one.min(other), one.max(other));
    let shows = |moment: i64| moment.saturating_add(zone(moment)) == local;
    if shows(early) {
        return early;
    }
    if shows(late) {
        return late;
    }
    let (mut before, mut after) = (early, late);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if middle.saturating_add(zone(middle)) < local {
            before = middle;
        } else {
            after = middle;
        }
    }
    after
}

/// Year, month and day of a day counted from 1970, in the calendar of today at all times.
fn date(days: i64) -> (i64, i64, i64) {
    const FOUR_CENTURIES: i64 = 146_097;
    // Years are counted from a first of March, so that the leap day is the last of its year.
    let days = days.saturating_add(719_468);
    let (era, mut rest) = (days.div_euclid(FOUR_CENTURIES), days.rem_euclid(FOUR_CENTURIES));
    let century = (rest / 36_524).min(3);
    rest -= century * 36_524;
    let leap = rest / 1461;
    rest -= leap * 1461;
    let year = (rest / 365).min(3);
    rest -= year * 365;
    let year = era * 400 + century * 100 + leap * 4 + year;
    let mut month = 3;
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    if month > 12 {
        (year + 1, month - 12, rest + 1)
    } else {
        (year, month, rest + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(interval: u32, unit: Unit) -> Schedule {
        Schedule { interval, unit, utc: false, backups: 1 }
    }

    /// Central Europe in 2026: summer time from 29 March, 01:00 UTC, to 25 October, 01:00 UTC.
    fn berlin(time: i64) -> i64 {
        if (1_774_746_000..1_792_890_000).contains(&time) {
            7200
        } else {
            3600
        }
    }

    /// A zone whose clocks leap from 0:00 to 1:00 at a midnight: 1 March 2026, 04:00 UTC.
    fn leaps_at_midnight(time: i64) -> i64 {
        if time >= 1_772_337_600 {
            -3 * 3600
        } else {
            -4 * 3600
        }
    }

    /// As `date -u -d @TIME`.
    #[test]
    fn stamps_are_as_fine_as_the_unit() {
        let time = 1_709_210_096; // 2024-02-29 12:34:56
        for (unit, stamp) in [
            (Unit::Seconds, "20240229123456"),
            (Unit::Minutes, "202402291234"),
            (Unit::Hours, "2024022912"),
            (Unit::Days, "20240229"),
            (Unit::Midnight, "20240229"),
        ] {
            assert_eq!(schedule(1, unit).stamp(time, &|_| 0), stamp);
            assert_eq!(schedule(1, unit).stamp_length(), stamp.len());
        }
        assert_eq!(schedule(1, Unit::Hours).stamp(time, &|_| 12 * 3600), "2024030100");
    }

    #[test]
    fn every_day_of_four_centuries_has_its_date() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(date(-1), (1969, 12, 31));
    }

    #[test]
    fn lengths_of_time_do_not_care_for_clocks() {
        let before = 1_774_746_000 - 60;
        for (interval, unit, seconds) in [(7, Unit::Seconds, 7), (2, Unit::Minutes, 120), (3, Unit::Hours, 10_800)] {
            assert_eq!(schedule(interval, unit).due(before, &berlin), before + seconds);
        }
    }

    #[test]
    fn a_day_in_spring_has_23_hours_and_one_in_autumn_25() {
        let spring = 1_774_710_000; // 2026-03-28 16:00 in Berlin
        assert_eq!(schedule(1, Unit::Days).due(spring, &berlin) - spring, 23 * 3600);
        assert_eq!(schedule(2, Unit::Days).due(spring, &berlin) - spring, 47 * 3600);
        // Midnight before it is as far as ever, the next one an hour nearer.
        let midnight = schedule(1, Unit::Midnight).due(spring, &berlin);
        assert_eq!(midnight - spring, 8 * 3600);
        assert_eq!(schedule(1, Unit::Midnight).due(midnight, &berlin) - midnight, 23 * 3600);
        let autumn = 1_792_890_000 - 11 * 3600; // 2026-10-24 16:00
        assert_eq!(schedule(1, Unit::Days).due(autumn, &berlin) - autumn, 25 * 3600);
        let midnight = schedule(1, Unit::Midnight).due(autumn, &berlin);
        assert_eq!(schedule(1, Unit::Midnight).due(midnight, &berlin) - midnight, 25 * 3600);
        assert_eq!(schedule(1, Unit::Days).stamp(autumn, &berlin), "20261024");
    }

    #[test]
    fn times_that_clocks_leap_over_or_show_twice() {
        // 02:30 does not exist on 29 March: due when it would have, at the leap.
        let before = 1_774_746_000 + 1800 - DAY;
        assert_eq!(schedule(1, Unit::Days).due(before, &berlin), 1_774_746_000);
        // 02:30 is there twice on 25 October: the first one counts.
        let before = 1_792_890_000 - 1800 - DAY;
        assert_eq!(schedule(1, Unit::Days).due(before, &berlin), before + DAY);
        assert_eq!(berlin(before + DAY), 7200);
        // A day that begins at one o'clock.
        let before = 1_772_337_600 - 3600;
        assert_eq!(schedule(1, Unit::Midnight).due(before, &leaps_at_midnight), 1_772_337_600);
    }

    #[test]
    fn times_beyond_all_measure_do_no_harm() {
        for unit in [Unit::Seconds, Unit::Minutes, Unit::Hours, Unit::Days, Unit::Midnight] {
            for time in [i64::MIN, i64::MAX, 0] {
                let schedule = schedule(u32::MAX, unit);
                schedule.due(time, &berlin);
                schedule.stamp(time, &berlin);
            }
        }
    }
}
