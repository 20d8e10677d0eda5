//! The names of a log's backups, and which backup is older. Used by `writer`, which makes and removes them, and by who
//! reads them. Knows names and nothing else: no file is touched.
//!
//! A log that rotates by size has `LOG.1`, the newest, `LOG.2` and so on. One that rotates by time has `LOG.STAMP`, and
//! `LOG.STAMP.1` and so on for those that came after it by a clock that did not show more. Behind that stands `.gz` or
//! `.zst` if the backup is compressed. While a name is there both plain and compressed, the plain one counts: who
//! compresses has been stopped between his last two steps.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::output::{Compression, LogFile, Rotation, Schedule, Unit};

/// A backup, by its name in the folder of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) name: OsString,
    pub(crate) place: Place,
    /// None: it is plain.
    pub(crate) compression: Option<Compression>,
}

/// Which of a log's backups one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest is 1.
    Number(u32),
    /// When its content began, or an older one's before a clock was set back; and which with this stamp it is, from 0.
    Stamp { stamp: u64, twin: u32 },
}

/// The backups of a log among the names of its folder, the oldest first, each of them once.
pub(crate) fn of(log: &LogFile, names: impl IntoIterator<Item = OsString>) -> Vec<Backup> {
    let mut found = with_doubles(log, names);
    found.dedup_by(|next, kept| next.is_double_of(kept));
    found
}

/// The same, with those that stand for nothing since the plain one is there as well; right behind it.
pub(crate) fn with_doubles(log: &LogFile, names: impl IntoIterator<Item = OsString>) -> Vec<Backup> {
    let Some(own) = log.path.file_name() else { return Vec::new() };
    let mut found: Vec<Backup> = names.into_iter().filter_map(|name| Backup::read(own, &log.rotation, name)).collect();
    found.sort_by(|one, other| one.order().cmp(&other.order()).then_with(|| one.name.cmp(&other.name)));
    if let Rotation::Size { backups, .. } = log.rotation {
        drop_strangers(&mut found, backups);
    }
    found
}

/// A number above those that are kept is a backup's only if all numbers between are there too: fewer are kept now than
/// were once. `LOG.2024` may be anything.
fn drop_strangers(found: &mut Vec<Backup>, backups: u32) {
    let mut last = backups;
    for backup in found.iter().rev() {
        if let Place::Number(number) = backup.place {
            if number == last.saturating_add(1) {
                last = number;
            }
        }
    }
    found.retain(|backup| !matches!(backup.place, Place::Number(number) if number > last));
}

impl Backup {
    /// The name of the log `own` in this place.
    pub(crate) fn name(own: &OsStr, place: Place, compression: Option<Compression>) -> OsString {
        let mut name = own.to_owned();
        name.push(match place {
            Place::Number(number) => format!(".{number}"),
            Place::Stamp { stamp, twin: 0 } => format!(".{stamp}"),
            Place::Stamp { stamp, twin } => format!(".{stamp}.{twin}"),
        });
        name.push(compression.map_or("", suffix));
        name
    }

    /// What the name is once this plain one is compressed.
    pub(crate) fn compressed(&self, compression: Compression) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix(compression));
        name
    }

    /// None: it is no backup's name.
    fn read(own: &OsStr, rotation: &Rotation, name: OsString) -> Option<Backup> {
        let rest = name.as_bytes().strip_prefix(own.as_bytes())?.strip_prefix(b".")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let mut kinds = [Compression::Gzip, Compression::Zstd].into_iter();
        let compression = kinds.find(|kind| rest.ends_with(suffix(*kind)));
        let rest = &rest[..rest.len() - compression.map_or(0, |kind| suffix(kind).len())];
        let place = match rotation {
            Rotation::Never => return None,
            Rotation::Size { .. } => Place::Number(number(rest)?),
            Rotation::Time(schedule) => {
                let (stamp, twin) = rest.split_once('.').map_or((rest, None), |(stamp, twin)| (stamp, Some(twin)));
                let digits = stamp.len() == stamp_length(schedule) && stamp.bytes().all(|byte| byte.is_ascii_digit());
                let stamp = stamp.parse().ok().filter(|_| digits)?;
                Place::Stamp { stamp, twin: twin.map_or(Some(0), number)? }
            }
        };
        Some(Backup { name, place, compression })
    }

    /// Whether this is `other` once more, compressed: who compresses was stopped before `other` was gone.
    pub(crate) fn is_double_of(&self, other: &Backup) -> bool {
        self.place == other.place && self.compression.is_some() && other.compression.is_none()
    }

    /// The oldest first; of one place the plain one first.
    fn order(&self) -> (u64, u64, u8) {
        let kind = match self.compression {
            None => 0,
            Some(Compression::Gzip) => 1,
            Some(Compression::Zstd) => 2,
        };
        match self.place {
            Place::Number(number) => (u64::MAX - u64::from(number), 0, kind),
            Place::Stamp { stamp, twin } => (stamp, twin.into(), kind),
        }
    }
}

/// What the name of a compressed backup ends in.
fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    }
}

/// How long a stamp is.
fn stamp_length(schedule: &Schedule) -> usize {
    match schedule.unit {
        Unit::Seconds => 14,
        Unit::Minutes => 12,
        Unit::Hours => 10,
        Unit::Days | Unit::Midnight => 8,
    }
}

/// A number from 1, written as we write it.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(rotation: Rotation) -> LogFile {
        LogFile::new("/var/log/web".into(), rotation)
    }

    fn names(names: &[&str]) -> Vec<OsString> {
        names.iter().map(OsString::from).collect()
    }

    fn kept(log: &LogFile, given: &[&str]) -> Vec<OsString> {
        of(log, names(given)).into_iter().map(|backup| backup.name).collect()
    }

    #[test]
    fn by_size_the_highest_number_is_the_oldest_in_whatever_form() {
        let log = log(Rotation::Size { max_bytes: 1, backups: 20 });
        let given =
            ["web.2.gz", "web", "web.10", "web.1", "web.9.zst", ".web.1", "web.01", "web.0", "web.x", "web.1.xz"];
        assert_eq!(kept(&log, &given), names(&["web.10", "web.9.zst", "web.2.gz", "web.1"]));
        assert_eq!(kept(&log, &["web.+1", "web.1.1", "web.", "web..gz", "webb.1", "web.99999999999"]), names(&[]));
    }

    #[test]
    fn numbers_above_those_that_are_kept_count_while_none_is_missing() {
        let log = log(Rotation::Size { max_bytes: 1, backups: 2 });
        assert_eq!(kept(&log, &["web.2", "web.2024", "web.1"]), names(&["web.2", "web.1"]));
        assert_eq!(kept(&log, &["web.3", "web.4.gz", "web.6", "web.1"]), names(&["web.4.gz", "web.3", "web.1"]));
    }

    #[test]
    fn by_time_the_lowest_stamp_is_the_oldest_and_its_twins_follow() {
        let schedule = |unit| Schedule { interval: 1, unit, utc: true, backups: 3 };
        let given =
            ["web.20240229.10.gz", "web.20240301", "web.20240229", "web.20240229.2.zst", "web.2024022912", "web.1"];
        let by_day = log(Rotation::Time(schedule(Unit::Days)));
        let expected = ["web.20240229", "web.20240229.2.zst", "web.20240229.10.gz", "web.20240301"];
        assert_eq!(kept(&by_day, &given), names(&expected));
        assert_eq!(kept(&log(Rotation::Time(schedule(Unit::Hours))), &given), names(&["web.2024022912"]));
        assert_eq!(kept(&by_day, &["web.2024022x", "web.20240229.01", "web.20240229.", "web.+0240229"]), names(&[]));
        assert_eq!(kept(&log(Rotation::Never), &given), names(&[]));
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_plain_one_counts() {
        let log = log(Rotation::Size { max_bytes: 1, backups: 9 });
        assert_eq!(kept(&log, &["web.2.gz", "web.2.zst", "web.2", "web.1.gz"]), names(&["web.2", "web.1.gz"]));
        assert_eq!(kept(&log, &["web.2.gz", "web.2.zst"]), names(&["web.2.gz", "web.2.zst"]), "which, nobody can tell");
    }

    #[test]
    fn what_is_written_is_read() {
        let schedule = Schedule { interval: 1, unit: Unit::Seconds, utc: true, backups: 3 };
        for (rotation, place) in [
            (Rotation::Size { max_bytes: 1, backups: 9 }, Place::Number(7)),
            (Rotation::Time(schedule), Place::Stamp { stamp: 20_240_229_123_456, twin: 0 }),
            (Rotation::Time(schedule), Place::Stamp { stamp: 20_240_229_123_456, twin: 7 }),
        ] {
            for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
                let name = Backup::name(OsStr::new("web"), place, compression);
                assert_eq!(of(&log(rotation), [name.clone()]), [Backup { name, place, compression }]);
            }
        }
    }
}
