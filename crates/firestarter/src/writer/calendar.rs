//! When a log that is rotated by time is due, and what its backup is called. The zone is an argument, the time too; the
//! system's own zone is looked up when it is first asked for, so a log in UTC costs nothing. Used by `rotate` and by who
//! writes the log. Never asks what time it is.
//!
//! Seconds, minutes and hours are lengths of time. Days and midnights are of the calendar: with daylight saving a day has
//! 23 or 25 hours now and then, and the next one begins at the same time of the day all the same.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use jiff::civil::Time;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::output::{Schedule, Unit};
use crate::say::say;

impl Schedule {
    /// When content that began at `begun` is to move away, in seconds since 1970. Later than `begun`.
    pub(super) fn due(&self, begun: i64, zone: &TimeZone) -> i64 {
        let after = |length: i64| begun.saturating_add(i64::from(self.interval).saturating_mul(length));
        match self.unit {
            Unit::Seconds => after(1),
            Unit::Minutes => after(60),
            Unit::Hours => after(3600),
            Unit::Days => days_later(begun, self.interval, None, zone),
            Unit::Midnight => days_later(begun, self.interval, Some(Time::midnight()), zone),
        }
    }

    /// What is appended to the name of content that began at `begun`: as fine as the unit.
    pub(super) fn stamp(&self, begun: i64, zone: &TimeZone) -> String {
        let at = zone.to_datetime(moment(begun));
        let day = format!("{:04}{:02}{:02}", at.year(), at.month(), at.day());
        match self.unit {
            Unit::Seconds => format!("{day}{:02}{:02}{:02}", at.hour(), at.minute(), at.second()),
            Unit::Minutes => format!("{day}{:02}{:02}", at.hour(), at.minute()),
            Unit::Hours => format!("{day}{:02}", at.hour()),
            Unit::Days | Unit::Midnight => day,
        }
    }
}

/// The first moment after `begun` at which local clocks show this time of the day, or that of `begun`, so many days
/// later; where they leap over it, the moment of the leap.
fn days_later(begun: i64, days: u32, time: Option<Time>, zone: &TimeZone) -> i64 {
    let local = zone.to_datetime(moment(begun));
    let Ok(day) = local.date().checked_add(SignedDuration::from_hours(24 * i64::from(days))) else { return i64::MAX };
    let shown = zone.to_ambiguous_timestamp(day.to_datetime(time.unwrap_or_else(|| local.time())));
    let found = match shown.offset() {
        AmbiguousOffset::Unambiguous { .. } => shown.compatible(),
        AmbiguousOffset::Gap { .. } => shown.later().map(|later| leap_before(later, zone)),
        AmbiguousOffset::Fold { .. } => match shown.earlier() {
            // Where clocks are set back over a midnight, it may be the first of two that is gone by.
            Ok(first) if first.as_second() <= begun => shown.later(),
            first => first,
        },
    };
    found.map_or(i64::MAX, |found| found.as_second().max(begun.saturating_add(1)))
}

/// When clocks leapt over a time that they would have shown at this moment.
fn leap_before(moment: Timestamp, zone: &TimeZone) -> Timestamp {
    let after = moment.saturating_add(SignedDuration::from_secs(1)).unwrap_or(moment);
    let leap = zone.preceding(after).next().map(|leap| leap.timestamp());
    leap.unwrap_or(moment)
}

/// A time that a stamp can tell: from 1970 to the last year of four digits.
fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds.max(0)).unwrap_or(Timestamp::MAX)
}

/// UTC, or the system's own zone. A zone that cannot be found is told of once, and is UTC.
pub(super) fn zone(utc: bool) -> &'static TimeZone {
    static UTC: TimeZone = TimeZone::UTC;
    static LOCAL: OnceLock<TimeZone> = OnceLock::new();
    if utc {
        return &UTC;
    }
    LOCAL.get_or_init(|| {
        let folder = std::env::var_os("TZDIR").unwrap_or_else(|| ZONES.into());
        local(std::env::var_os("TZ").as_deref(), Path::new(&folder), Path::new(LOCALTIME)).unwrap_or_else(|cause| {
            say(format_args!("local time: {cause}; logs are rotated by UTC"));
            TimeZone::UTC
        })
    })
}

const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/etc/localtime";

/// The zone that `TZ` names, as tzset(3) reads it, else that of the file `localtime`. The one file is read and no other:
/// the lookup that comes with the crate walks through the whole folder of zones.
fn local(tz: Option<&OsStr>, zones: &Path, localtime: &Path) -> Result<TimeZone, String> {
    let Some(tz) = tz else { return read(localtime) };
    let tz = tz.to_str().ok_or("TZ is not UTF-8")?;
    let name = tz.strip_prefix(':').unwrap_or(tz);
    if ["", "UTC"].contains(&name) {
        return Ok(TimeZone::UTC);
    }
    // A path that begins with `/` stands for itself.
    read(&zones.join(name)).or_else(|cause| TimeZone::posix(name).map_err(|_| format!("TZ={tz}: {cause}")))
}

fn read(path: &Path) -> Result<TimeZone, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {}", path.display(), crate::say::plain(&error)))?;
    TimeZone::tzif("Local", &bytes).map_err(|_| format!("{}: is no time zone's file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    fn schedule(interval: u32, unit: Unit) -> Schedule {
        Schedule { interval, unit, utc: false, backups: 1 }
    }

    /// The rules that these places had in 2026, so that no test depends on the system's list of zones.
    fn place(name: &str) -> TimeZone {
        let rules = match name {
            "Berlin" => "CET-1CEST,M3.5.0,M10.5.0/3",
            "New York" => "EST5EDT,M3.2.0,M11.1.0",
            // The last midnight of a Saturday is never shown in spring; in autumn 23:00 to 24:00 is there twice.
            "Santiago" => "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
            // Midnight is shown twice in autumn, on both sides of 00:01.
            "Goose Bay" => "AST4ADT,M3.2.0/0:01,M11.1.0/0:01",
            "Lord Howe" => "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
            "UTC" => "UTC0",
            other => panic!("{other}"),
        };
        TimeZone::posix(rules).unwrap()
    }

    fn at(zone: &TimeZone, [year, month, day, hour, minute]: [i16; 5]) -> i64 {
        let local = date(year, month as i8, day as i8).at(hour as i8, minute as i8, 0, 0);
        zone.to_ambiguous_timestamp(local).unambiguous().unwrap().as_second()
    }

    #[test]
    fn stamps_are_as_fine_as_the_unit() {
        let zone = place("UTC");
        for (unit, stamp) in [
            (Unit::Seconds, "20240229123456"),
            (Unit::Minutes, "202402291234"),
            (Unit::Hours, "2024022912"),
            (Unit::Days, "20240229"),
            (Unit::Midnight, "20240229"),
        ] {
            // As `date -u -d @1709210096`.
            assert_eq!(schedule(1, unit).stamp(1_709_210_096, &zone), stamp);
        }
        assert_eq!(schedule(1, Unit::Hours).stamp(1_709_210_096, &TimeZone::posix("XXX-12").unwrap()), "2024030100");
    }

    #[test]
    fn leap_days_and_ends_of_years() {
        let zone = place("UTC");
        let midnight = schedule(1, Unit::Midnight);
        for (begun, due, stamp) in [
            ([2024, 2, 28, 12, 0], [2024, 2, 29, 0, 0], "20240228"),
            ([2024, 2, 29, 12, 0], [2024, 3, 1, 0, 0], "20240229"),
            ([2026, 2, 28, 12, 0], [2026, 3, 1, 0, 0], "20260228"),
            ([2100, 2, 28, 12, 0], [2100, 3, 1, 0, 0], "21000228"),
            ([2026, 12, 31, 23, 59], [2027, 1, 1, 0, 0], "20261231"),
        ] {
            let begun = at(&zone, begun);
            assert_eq!((midnight.due(begun, &zone), midnight.stamp(begun, &zone)), (at(&zone, due), stamp.to_owned()));
        }
        let begun = at(&place("Berlin"), [2027, 1, 1, 0, 30]);
        assert_eq!(schedule(1, Unit::Days).stamp(begun, &zone), "20261231", "the year is that of the zone");
        assert_eq!(schedule(1, Unit::Days).stamp(begun, &place("Berlin")), "20270101");
    }

    #[test]
    fn lengths_of_time_do_not_care_for_clocks() {
        let zone = place("Berlin");
        let before = 1_774_746_000 - 60;
        for (interval, unit, seconds) in [(7, Unit::Seconds, 7), (2, Unit::Minutes, 120), (3, Unit::Hours, 10_800)] {
            assert_eq!(schedule(interval, unit).due(before, &zone), before + seconds);
        }
    }

    #[test]
    fn a_day_has_as_many_hours_as_its_clocks_show() {
        // The day before the change, and by how many minutes that which follows is shorter.
        for (name, begun, minutes) in [
            ("Berlin", [2026, 3, 28, 16, 0], 60),
            ("Berlin", [2026, 10, 24, 16, 0], -60),
            ("New York", [2026, 3, 7, 16, 0], 60),
            ("New York", [2026, 10, 31, 16, 0], -60),
            ("Lord Howe", [2026, 10, 3, 16, 0], 30),
            ("Lord Howe", [2026, 4, 4, 16, 0], -30),
            ("Santiago", [2026, 9, 5, 16, 0], 60),
            ("Santiago", [2026, 4, 4, 16, 0], -60),
            ("UTC", [2026, 3, 28, 16, 0], 0),
        ] {
            let zone = place(name);
            let begun = at(&zone, begun);
            for days in [1, 2, 30] {
                let due = schedule(days, Unit::Days).due(begun, &zone);
                assert_eq!(due - begun, i64::from(days) * DAY - minutes * 60, "{name}, {days} days");
            }
            // Two midnights on, both are behind the change and the day between them is as long as any.
            let first = schedule(1, Unit::Midnight).due(begun, &zone);
            let second = schedule(1, Unit::Midnight).due(first, &zone);
            let third = schedule(1, Unit::Midnight).due(second, &zone);
            assert_eq!((second - begun, third - second), (32 * 3600 - minutes * 60, DAY), "{name}");
        }
    }

    #[test]
    fn times_that_clocks_leap_over_or_show_twice() {
        let berlin = place("Berlin");
        let day = schedule(1, Unit::Days);
        // 02:30 does not exist on 29 March: due when it would have, at the leap.
        assert_eq!(day.due(at(&berlin, [2026, 3, 28, 2, 30]), &berlin), 1_774_746_000);
        // 02:30 is there twice on 25 October: the first one counts.
        let begun = at(&berlin, [2026, 10, 24, 2, 30]);
        assert_eq!(day.due(begun, &berlin), begun + DAY);
        assert_eq!(day.due(begun + DAY + 3600, &berlin), begun + 2 * DAY + 3600, "from the second one, the next day's");
        // A quarter of an hour in the half hour that Lord Howe leaps over.
        let howe = place("Lord Howe");
        let begun = at(&howe, [2026, 10, 3, 2, 15]);
        assert_eq!(day.due(begun, &howe), at(&howe, [2026, 10, 4, 1, 59]) + 60);
        // A day that begins at one o'clock.
        let santiago = place("Santiago");
        let begun = at(&santiago, [2026, 9, 5, 12, 0]);
        assert_eq!(schedule(1, Unit::Midnight).due(begun, &santiago), at(&santiago, [2026, 9, 6, 1, 0]));
    }

    #[test]
    fn a_midnight_that_comes_twice_is_not_due_for_what_began_between_the_two() {
        let zone = place("Goose Bay");
        let midnight = schedule(1, Unit::Midnight);
        let first = midnight.due(at(&zone, [2026, 10, 31, 12, 0]), &zone);
        // A minute later clocks go back to 23:01 of the day before, which lasts 59 minutes more.
        let again = first + 600;
        assert_eq!(midnight.stamp(first, &zone), "20261101");
        assert_eq!(midnight.stamp(again, &zone), "20261031");
        assert_eq!(midnight.due(again, &zone), first + 3600);
    }

    #[test]
    fn times_beyond_all_measure_do_no_harm() {
        for unit in [Unit::Seconds, Unit::Minutes, Unit::Hours, Unit::Days, Unit::Midnight] {
            for name in ["Berlin", "Santiago", "UTC"] {
                for time in [i64::MIN, -1, 0, 253_402_200_000, i64::MAX - 1, i64::MAX] {
                    for interval in [1, u32::MAX] {
                        let schedule = schedule(interval, unit);
                        assert!(schedule.due(time, &place(name)) > time || time == i64::MAX, "{unit:?} {time}");
                        let stamp = schedule.stamp(time, &place(name));
                        assert!(stamp.bytes().all(|byte| byte.is_ascii_digit()), "{stamp}");
                        assert_eq!(stamp.len(), schedule.stamp(0, &place(name)).len());
                    }
                }
            }
        }
    }

    proptest! {
        /// However clocks are set, content is due later than it began, and at what they show as another day.
        #[test]
        fn what_is_due_is_later_and_of_another_day(
            begun in 0..4_000_000_000_i64,
            days in 1..40_u32,
            name in prop::sample::select(vec!["Berlin", "New York", "Santiago", "Goose Bay", "Lord Howe"]),
        ) {
            let zone = place(name);
            for unit in [Unit::Days, Unit::Midnight] {
                let schedule = schedule(days, unit);
                let due = schedule.due(begun, &zone);
                prop_assert!(due > begun && (due - begun - i64::from(days) * DAY).abs() <= DAY + 3600);
                prop_assert!(schedule.stamp(due, &zone) > schedule.stamp(begun, &zone));
            }
        }
    }

    /// The smallest file of a zone: no changes that are listed, and a rule for all times.
    fn tzif(rule: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Twice: with times of 32 bits, and with those of 64.
        for _ in 0..2 {
            bytes.extend(b"TZif2");
            bytes.extend([0; 15 + 4 * 4]);
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 4]);
            bytes.extend([0, 0, 0x0e, 0x10, 0, 0]);
            bytes.extend(b"CET\0");
        }
        bytes.extend(format!("\n{rule}\n").as_bytes());
        bytes
    }

    #[test]
    fn the_zone_is_found_as_the_c_library_finds_it() {
        let folder = std::env::temp_dir().join(format!("fs-zones-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (named, localtime) = (folder.join("Middle"), folder.join("localtime"));
        fs::write(&named, tzif("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap();
        fs::write(&localtime, tzif("<+05>-5")).unwrap();
        fs::write(folder.join("rubbish"), "no zone").unwrap();
        let hours = |tz: Option<&str>, localtime: &Path| {
            let zone = local(tz.map(OsStr::new), &folder, localtime)?;
            Ok::<_, String>(zone.to_offset(moment(1_780_000_000)).seconds() / 3600)
        };
        let path = named.to_str().unwrap();
        for (tz, offset) in [
            (None, 5),
            (Some("Middle"), 2),
            (Some(":Middle"), 2),
            (Some(path), 2),
            (Some(""), 0),
            (Some("UTC"), 0),
            (Some("EST5EDT,M3.2.0,M11.1.0"), -4),
        ] {
            assert_eq!(hours(tz, &localtime), Ok(offset), "{tz:?}");
        }
        let nowhere = folder.join("nowhere");
        for (tz, localtime, cause) in [
            (None, nowhere.as_path(), "nowhere: no such file"),
            (Some("Nowhere/At_All"), &localtime, "TZ=Nowhere/At_All: "),
            (Some("rubbish"), &localtime, "is no time zone's file"),
        ] {
            let error = hours(tz, localtime).unwrap_err();
            assert!(error.contains(cause), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
