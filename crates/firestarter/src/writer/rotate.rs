//! Where a log's content goes when another file takes its place, and which backups are too many. Each step is a rename or
//! a removal within one folder, so a writer that is killed between two of them loses nothing: the next rotation goes on
//! with what is there. Used by who writes the log; `compress` renames backups too, so both do it in turns. Never reads or
//! writes what is in a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, CWD};
use rustix::io::Errno;

use super::calendar::zone;
use crate::backups::{self, Backup, Place};
use crate::output::{LogFile, Rotation, Schedule};

/// The folder of a log, open, so that all steps are about the same one.
pub(super) struct Folder {
    fd: OwnedFd,
    /// The log's own name.
    name: OsString,
    /// Everybody may put links into it, so none is followed.
    shared: bool,
}

/// Who may change the names of a log's backups: one at a time.
#[derive(Default)]
pub(super) struct Turns(Mutex<()>);

/// Names may be changed while this is held.
pub(super) struct Turn<'t>(#[expect(dead_code, reason = "held, and given back when it is dropped")] MutexGuard<'t, ()>);

impl Turns {
    /// Waits for who has it, which takes a few renames.
    pub(super) fn take(&self) -> Turn<'_> {
        Turn(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(super) fn is_taken(&self) -> bool {
        self.0.try_lock().is_err()
    }
}

impl Folder {
    /// Opens the folder, and makes it if the log says so.
    ///
    /// # Errors
    /// As of open(2) and mkdir(2); a link on a path that is made, in a folder that everybody may write to.
    pub(super) fn of(log: &LogFile) -> io::Result<Folder> {
        let name = log.path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let path = log.path.parent().unwrap_or(Path::new("/"));
        let fd = if log.create_parents { make(path)? } else { open_folder(CWD, path, OFlags::empty())? };
        let shared = is_shared(&rustix::fs::fstat(&fd)?);
        Ok(Folder { fd, name, shared })
    }

    /// Opens the log to append to it. What is no file, a FIFO or a terminal, is not waited for.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let mut flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, self.shared);
        match rustix::fs::openat(&self.fd, &self.name, flags, Mode::from_raw_mode(0o640)) {
            Err(Errno::LOOP) if self.shared => Err(not_followed()),
            opened => Ok(opened?),
        }
    }

    /// Opens another file of this folder. One that is made belongs to nobody else at first.
    pub(super) fn open_other(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        #[cfg(test)]
        super::stops::step()?;
        let fd = rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?;
        Ok(fd.into())
    }

    /// The log's own name.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether the log ends in the middle of a line. One that may not be read is taken to end well.
    pub(super) fn is_torn(&self, size: u64) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut last = [0];
        let read = rustix::fs::openat(&self.fd, &self.name, flags, Mode::empty())
            .and_then(|fd| rustix::io::pread(fd, &mut last, size.saturating_sub(1)));
        read == Ok(1) && last != *b"\n"
    }

    /// Moves the content, which began at `begun`, to a backup, and removes the backups that are too many. Returns how many
    /// bytes those have that stay, as `prune` does.
    ///
    /// # Errors
    /// Of a listing, a rename or a removal. The content may have moved all the same.
    pub(super) fn rotate(&self, log: &LogFile, begun: i64, turn: &Turn<'_>) -> io::Result<u64> {
        match &log.rotation {
            Rotation::Never => return Ok(0),
            Rotation::Size { backups, .. } => self.move_by_size(log, *backups)?,
            Rotation::Time(schedule) => self.move_by_time(log, schedule, begun, zone(schedule.utc))?,
        }
        // By size it is known what the next file may grow to. By time it is not: who writes prunes again as it grows.
        let grows = if let Rotation::Size { max_bytes, .. } = log.rotation { max_bytes } else { 0 };
        self.prune(log, grows, turn)
    }

    /// Moves the content to `NAME.1`, what was there to `NAME.2`, and so on up to the first number that is free or the
    /// last that is kept. What is in the way or above goes, the oldest first.
    fn move_by_size(&self, log: &LogFile, backups: u32) -> io::Result<()> {
        let found = self.settle(log)?;
        let mut taken = 0;
        for number in found.iter().rev().filter_map(number) {
            taken = if number == taken + 1 { number } else { taken };
        }
        let last = backups.min(taken + 1);
        for backup in &found {
            let Some(number) = number(backup) else { continue };
            if number == last || number > backups {
                self.remove(&backup.name)?;
            } else if number < last {
                let next = Backup::name(&self.name, Place::Number(number + 1), backup.compression);
                self.rename(&backup.name, &next)?;
            }
        }
        if backups == 0 {
            return self.remove(&self.name);
        }
        self.rename(&self.name, &Backup::name(&self.name, Place::Number(1), None))
    }

    /// Moves content that began at `begun` to `NAME.STAMP`, or where a backup is there whose stamp is not lower, behind the
    /// newest of them.
    fn move_by_time(&self, log: &LogFile, schedule: &Schedule, begun: i64, zone: &TimeZone) -> io::Result<()> {
        let found = self.settle(log)?;
        if schedule.backups == 0 {
            return self.remove(&self.name);
        }
        let stamp = schedule.stamp(begun, zone).parse().map_err(io::Error::other)?;
        // Clocks that are set back, at the end of summer for one, show an hour twice, and names say which backup is older:
        // who took a lower one would be read in the wrong place, and be removed before those that are older.
        let highest = found.last().map(|backup| backup.place);
        let (stamp, twin) = match highest {
            Some(Place::Stamp { stamp: last, twin }) if last >= stamp => {
                (last, twin.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?)
            }
            Some(Place::Stamp { .. } | Place::Number(_)) | None => (stamp, 0),
        };
        self.rename(&self.name, &Backup::name(&self.name, Place::Stamp { stamp, twin }, None))
    }

    /// Removes the oldest backups as long as they are too many, or together with a log of `grows` bytes too large. The
    /// log itself stays. Returns how many bytes the backups have that stay; 0 where nothing limits that.
    pub(super) fn prune(&self, log: &LogFile, grows: u64, _turn: &Turn<'_>) -> io::Result<u64> {
        let mut found = self.settle(log)?;
        let surplus = match &log.rotation {
            // By size those above the last number are gone before others take their place.
            Rotation::Never | Rotation::Size { .. } => 0,
            Rotation::Time(schedule) => found.len().saturating_sub(schedule.backups as usize),
        };
        for backup in found.drain(..surplus) {
            self.remove(&backup.name)?;
        }
        let Some(max_total) = log.max_total else { return Ok(0) };
        let sizes: Vec<u64> = found.iter().map(|backup| self.size(&backup.name)).collect();
        let mut kept = sizes.iter().fold(0_u64, |kept, size| kept.saturating_add(*size));
        for (backup, size) in found.iter().zip(sizes) {
            if kept.saturating_add(grows) <= max_total {
                break;
            }
            self.remove(&backup.name)?;
            kept -= size;
        }
        Ok(kept)
    }

    /// The backups, the oldest first, each of them once.
    pub(super) fn backups(&self, log: &LogFile) -> io::Result<Vec<Backup>> {
        Ok(backups::of(log, self.names()?))
    }

    /// The same, when those that are there twice have been made one.
    fn settle(&self, log: &LogFile) -> io::Result<Vec<Backup>> {
        let mut settled: Vec<Backup> = Vec::new();
        for backup in backups::with_doubles(log, self.names()?) {
            if settled.last().is_some_and(|kept| backup.is_double_of(kept)) {
                self.remove(&backup.name)?;
            } else {
                settled.push(backup);
            }
        }
        Ok(settled)
    }

    /// The name that a file with this inode has in this folder, whoever gave it.
    pub(super) fn find(&self, inode: u64) -> io::Result<Option<OsString>> {
        let is_it = |name: &OsString| self.stat(name).is_some_and(|stat| stat.st_ino == inode && is_file(&stat));
        Ok(self.names()?.into_iter().find(is_it))
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::new(rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?)? {
            names.push(OsString::from_vec(entry?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    pub(super) fn stat(&self, name: &OsStr) -> Option<Stat> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    fn size(&self, name: &OsStr) -> u64 {
        self.stat(name).map_or(0, |stat| stat.st_size as u64)
    }

    /// What is not there needs not be moved.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        #[cfg(test)]
        super::stops::step()?;
        unless_gone(rustix::fs::renameat(&self.fd, from, &self.fd, to))
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        #[cfg(test)]
        super::stops::step()?;
        unless_gone(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))
    }
}

fn number(backup: &Backup) -> Option<u32> {
    match backup.place {
        Place::Number(number) => Some(number),
        Place::Stamp { .. } => None,
    }
}

fn unless_gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

fn open_folder(at: impl std::os::fd::AsFd, path: &Path, more: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

/// Opens a folder and makes those that are missing on the way. It goes step by step, since whoever may write to a folder
/// on the way could put a link there and choose what is made where.
fn make(path: &Path) -> io::Result<OwnedFd> {
    let mut folder = open_folder(CWD, Path::new("/"), OFlags::empty())?;
    for part in path.components().filter(|part| *part != Component::RootDir) {
        let part = Path::new(part.as_os_str());
        let shared = is_shared(&rustix::fs::fstat(&folder)?);
        let careful = if shared { OFlags::NOFOLLOW } else { OFlags::empty() };
        let mut opened = open_folder(&folder, part, careful);
        if opened.as_ref().err() == Some(&Errno::NOENT) {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => opened = open_folder(&folder, part, OFlags::NOFOLLOW),
                Err(errno) => return Err(errno.into()),
            }
        }
        folder = match opened {
            Err(Errno::LOOP | Errno::NOTDIR) if shared && is_link(&folder, part) => return Err(not_followed()),
            opened => opened?,
        };
    }
    Ok(folder)
}

fn is_link(folder: &OwnedFd, name: &Path) -> bool {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_shared(stat: &Stat) -> bool {
    stat.st_mode & 0o002 != 0
}

fn not_followed() -> io::Error {
    io::Error::other("a link, which is not followed in a folder that everybody may write to")
}

/// How much of a run of lines still goes into a file of this size; none: the next line begins another file. A line that is
/// longer than all that a file may hold gets one of its own. With `begun` the run goes on with a line that is in the file
/// already and stays in it.
pub(super) fn fits(max_bytes: u64, size: u64, run: &[u8], begun: bool) -> usize {
    if size + (run.len() as u64) < max_bytes {
        return run.len();
    }
    let (mut end, mut stays) = (0, begun || size == 0);
    for line in run.split_inclusive(|byte| *byte == b'\n') {
        if !stays && size + (end + line.len()) as u64 >= max_bytes {
            break;
        }
        end += line.len();
        stays = false;
    }
    end
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::stops;
    use super::*;
    use crate::output::Unit;
    use std::fs;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    /// A folder for one log, and the log.
    pub(in crate::writer) struct Scratch {
        pub(in crate::writer) path: PathBuf,
        pub(in crate::writer) log: LogFile,
    }

    impl Scratch {
        pub(in crate::writer) fn new(name: &str, rotation: Rotation) -> Scratch {
            let path = std::env::temp_dir().join(format!("fs-rotate-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Scratch { log: LogFile::new(path.join("log"), rotation), path }
        }

        fn by_size(name: &str, backups: u32) -> Scratch {
            Scratch::new(name, Rotation::Size { max_bytes: 5, backups })
        }

        fn by_hour(name: &str, backups: u32) -> Scratch {
            Scratch::new(name, Rotation::Time(Schedule { interval: 1, unit: Unit::Hours, utc: true, backups }))
        }

        pub(in crate::writer) fn folder(&self) -> Folder {
            Folder::of(&self.log).unwrap()
        }

        pub(in crate::writer) fn put(&self, name: &str, text: &str) {
            fs::write(self.path.join(name), text).unwrap();
        }

        fn rotate(&self, begun: i64) -> io::Result<u64> {
            self.folder().rotate(&self.log, begun, &Turns::default().take())
        }

        /// Every file and what is in it.
        fn all(&self) -> Vec<(String, String)> {
            let entries = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap());
            let read = |entry: fs::DirEntry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            };
            let mut all: Vec<_> = entries.map(read).collect();
            all.sort();
            all
        }

        fn clear(&self) {
            for (name, _) in self.all() {
                fs::remove_file(self.path.join(name)).unwrap();
            }
        }

        /// What a reader finds, oldest first: the backups, and the log if it is there.
        pub(in crate::writer) fn texts(&self) -> Vec<String> {
            let backups = self.folder().backups(&self.log).unwrap();
            let names = backups.into_iter().map(|backup| backup.name).chain(["log".into()]);
            names.filter_map(|name| fs::read_to_string(self.path.join(name)).ok()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn by_size_the_newest_backup_is_1_and_the_oldest_goes() {
        let mut scratch = Scratch::by_size("size", 3);
        for text in ["a", "b", "c", "d"] {
            scratch.put("log", text);
            scratch.rotate(0).unwrap();
        }
        assert_eq!(scratch.all(), pairs(&[("log.1", "d"), ("log.2", "c"), ("log.3", "b")]));
        scratch.put("log", "e");
        scratch.log.rotation = Rotation::Size { max_bytes: 5, backups: 1 };
        scratch.rotate(0).unwrap();
        assert_eq!(scratch.all(), pairs(&[("log.1", "e")]), "fewer are kept than there were");
        scratch.put("log", "f");
        scratch.put("log.2024", "mine");
        scratch.log.rotation = Rotation::Size { max_bytes: 5, backups: 0 };
        scratch.rotate(0).unwrap();
        assert_eq!(scratch.all(), pairs(&[("log.2024", "mine")]), "none kept: the content goes");
    }

    #[test]
    fn by_size_both_forms_move_up() {
        let scratch = Scratch::by_size("forms", 4);
        for (name, text) in [("log", "e"), ("log.1", "d"), ("log.2.gz", "c"), ("log.3.zst", "b"), ("log.4.gz", "a")] {
            scratch.put(name, text);
        }
        scratch.put("log.1.gz", "half");
        scratch.rotate(0).unwrap();
        let expected = [("log.1", "e"), ("log.2", "d"), ("log.3.gz", "c"), ("log.4.zst", "b")];
        assert_eq!(scratch.all(), pairs(&expected));
    }

    #[test]
    fn a_rotation_by_size_that_was_cut_short_costs_no_backup() {
        let scratch = Scratch::by_size("gap", 3);
        for (name, text) in [("log", "c"), ("log.2", "b"), ("log.3", "a")] {
            scratch.put(name, text);
        }
        scratch.rotate(0).unwrap();
        assert_eq!(scratch.all(), pairs(&[("log.1", "c"), ("log.2", "b"), ("log.3", "a")]));
        scratch.rotate(0).unwrap();
    }

    #[test]
    fn by_time_backups_bear_stamps_and_nothing_is_overwritten() {
        let mut scratch = Scratch::by_hour("time", 3);
        for (name, text) in [("log.2024022911x", "mine"), ("log.20240229", "mine"), ("other.2024022911", "mine")] {
            scratch.put(name, text);
        }
        for (begun, text) in [(1_709_200_000, "a"), (1_709_210_096, "b"), (1_709_210_097, "c"), (1_709_214_000, "d")] {
            scratch.put("log", text);
            scratch.rotate(begun).unwrap();
        }
        let mine = [("log.20240229", "mine"), ("log.2024022911x", "mine"), ("other.2024022911", "mine")];
        let mut expected = pairs(&[("log.2024022912", "b"), ("log.2024022912.1", "c"), ("log.2024022913", "d")]);
        expected.extend(pairs(&mine));
        expected.sort();
        assert_eq!(scratch.all(), expected);
        scratch.put("log", "e");
        let Rotation::Time(schedule) = scratch.log.rotation else { unreachable!() };
        scratch.log.rotation = Rotation::Time(Schedule { backups: 0, ..schedule });
        scratch.rotate(0).unwrap();
        assert_eq!(scratch.all(), pairs(&mine));
    }

    #[test]
    fn a_clock_that_stands_still_does_not_make_the_newest_the_oldest() {
        let scratch = Scratch::by_hour("twins", 2);
        for text in ["a", "b", "c", "d"] {
            scratch.put("log", text);
            scratch.rotate(1_709_210_096).unwrap();
            if text == "b" {
                fs::rename(scratch.path.join("log.2024022912"), scratch.path.join("log.2024022912.gz")).unwrap();
            }
        }
        assert_eq!(scratch.all(), pairs(&[("log.2024022912.2", "c"), ("log.2024022912.3", "d")]));
    }

    #[test]
    fn an_hour_that_comes_twice_does_not_mix_up_which_is_older() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let schedule = Schedule { interval: 30, unit: Unit::Minutes, utc: false, backups: 9 };
        let scratch = Scratch::new("autumn", Rotation::Time(schedule));
        // As `date -u -d "2026-10-25 00:15" +%s`: 02:15 in summer time, and so on every half hour.
        for (nth, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            scratch.put("log", text);
            let begun = 1_792_887_300 + 1800 * nth as i64;
            scratch.folder().move_by_time(&scratch.log, &schedule, begun, &zone).unwrap();
        }
        let names = ["202610250215", "202610250245", "202610250245.1", "202610250245.2", "202610250315"];
        let names: Vec<String> = names.into_iter().map(|stamp| format!("log.{stamp}")).collect();
        assert_eq!(scratch.all().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        assert_eq!(scratch.texts(), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_written_after_a_clock_was_set_back_is_not_the_first_to_go() {
        let scratch = Scratch::by_hour("back", 2);
        for (begun, text) in [(1_709_810_096, "a"), (1_709_210_096, "b"), (1_709_213_696, "c")] {
            scratch.put("log", text);
            scratch.rotate(begun).unwrap();
        }
        assert_eq!(scratch.texts(), ["b", "c"]);
    }

    #[test]
    fn the_oldest_go_when_all_together_are_too_large() {
        let mut scratch = Scratch::by_size("total", 9);
        scratch.log.max_total = Some(12);
        for (name, text) in [("log.4", "1"), ("log.3.gz", "4444"), ("log.2", "333"), ("log.1", "22"), ("log", "1")] {
            scratch.put(name, text);
        }
        // The next file may take 5, so 7 are left: 1, 22 and 333, and the 4444 goes.
        scratch.rotate(0).unwrap();
        assert_eq!(scratch.texts(), ["333", "22", "1"]);
        // As it is told by who writes.
        let prune = |grows| scratch.folder().prune(&scratch.log, grows, &Turns::default().take()).unwrap();
        scratch.put("log", "live");
        assert_eq!(prune(6), 6);
        assert_eq!(scratch.texts(), ["333", "22", "1", "live"]);
        assert_eq!(prune(7), 3);
        assert_eq!(scratch.texts(), ["22", "1", "live"]);
        assert_eq!(prune(u64::MAX), 0);
        assert_eq!(scratch.texts(), ["live"], "the log itself stays");
    }

    #[test]
    fn by_time_too_the_oldest_go_when_all_are_too_large() {
        let mut scratch = Scratch::by_hour("total-time", 9);
        scratch.log.max_total = Some(5);
        for (name, text) in [("log.2024022910", "333"), ("log.2024022911.zst", "22"), ("log", "11")] {
            scratch.put(name, text);
        }
        scratch.rotate(1_709_210_096).unwrap();
        assert_eq!(scratch.texts(), ["22", "11"]);
    }

    /// Kills a rotation after each of its steps, and then lets the next one come to its end. `before` are the backups of
    /// the start, oldest first, by their names and with names that are doubles.
    fn killed_anywhere(scratch: &Scratch, before: &[(String, bool)], keeps: usize) {
        for steps in 0.. {
            scratch.clear();
            let mut age = 0;
            for (name, double) in before {
                age += usize::from(!double);
                scratch.put(name, &age.to_string());
            }
            scratch.put("log", &(age + 1).to_string());
            let (whole, result) = stops::after(steps, || scratch.rotate(1_709_210_096));
            assert_eq!(result.is_ok(), whole, "{result:?}");
            // Whoever reads now finds the newest, each of them once and in order.
            let newest = |count: usize, of: usize| (of.saturating_sub(count) + 1..=of).map(|age| age.to_string());
            let left = scratch.texts();
            let expected: Vec<String> = newest(left.len(), age + 1).collect();
            assert!(left == expected && left.len() >= keeps.min(age + 1), "{before:?}, {steps} steps: {left:?}");
            // The next writer finds the log as it was, or makes another one.
            if !scratch.path.join("log").exists() {
                age += 1;
                scratch.put("log", &(age + 1).to_string());
            }
            let had = scratch.texts().len();
            scratch.rotate(1_709_210_096).unwrap();
            let expected: Vec<String> = newest(keeps.min(had), age + 1).collect();
            assert_eq!(scratch.texts(), expected, "{before:?}, {steps} steps, then a whole rotation");
            assert_eq!(scratch.all().len(), expected.len(), "nothing else is left: {:?}", scratch.all());
            if whole {
                return;
            }
        }
    }

    /// A name in each of these places, in each form, or none, or doubled.
    fn arrangements(places: &[&str]) -> Vec<Vec<(String, bool)>> {
        let mut all = vec![Vec::new()];
        for place in places {
            let forms: [&[&str]; 5] = [&[], &[""], &[".gz"], &[".zst"], &["", ".gz"]];
            let with = |had: &Vec<(String, bool)>, form: &[&str]| {
                let names = form.iter().enumerate().map(|(at, suffix)| (format!("log.{place}{suffix}"), at > 0));
                had.iter().cloned().chain(names).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(|had| forms.iter().map(|form| with(had, form))).collect();
        }
        all
    }

    #[test]
    fn a_rotation_by_size_may_be_killed_anywhere() {
        for keeps in [1, 2, 3] {
            let scratch = Scratch::by_size(&format!("killed-{keeps}"), keeps);
            for before in arrangements(&["3", "2", "1"]) {
                let there = |number: u32| before.iter().any(|(name, _)| name.starts_with(&format!("log.{number}")));
                // Numbers above those that are kept were once kept, and then none below is missing.
                if (keeps + 1..=3).any(|number| there(number) && !(1..number).all(there)) {
                    continue;
                }
                killed_anywhere(&scratch, &before, keeps as usize);
            }
        }
    }

    #[test]
    fn a_rotation_by_time_may_be_killed_anywhere() {
        for keeps in [1, 2, 3] {
            let scratch = Scratch::by_hour(&format!("killed-hour-{keeps}"), keeps);
            for before in arrangements(&["2024022911", "2024022912", "2024022912.1"]) {
                killed_anywhere(&scratch, &before, keeps as usize);
            }
        }
    }

    #[test]
    fn a_file_is_found_by_its_inode_wherever_it_went() {
        let scratch = Scratch::by_size("find", 3);
        scratch.put("log", "a");
        let inode = fs::metadata(&scratch.log.path).unwrap().ino();
        fs::rename(&scratch.log.path, scratch.path.join("log-20240229")).unwrap();
        scratch.put("log", "b");
        assert_eq!(scratch.folder().find(inode).unwrap(), Some("log-20240229".into()));
        fs::rename(scratch.path.join("log-20240229"), scratch.path.join("log")).unwrap();
        assert_eq!(scratch.folder().find(inode).unwrap(), Some("log".into()));
        assert_eq!(scratch.folder().find(fs::metadata(&scratch.path).unwrap().ino()).unwrap(), None);
    }

    #[test]
    fn links_are_followed_in_private_folders_only() {
        let scratch = Scratch::by_size("link", 3);
        symlink("target", scratch.path.join("log")).unwrap();
        scratch.folder().open().unwrap();
        assert!(scratch.path.join("target").exists());
        fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o1777)).unwrap();
        let error = scratch.folder().open().unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
    }

    #[test]
    fn folders_are_made_if_the_log_says_so_and_not_through_links_of_anybody() {
        let mut scratch = Scratch::by_size("parents", 3);
        scratch.log.path = scratch.path.join("a/b/log");
        assert_eq!(Folder::of(&scratch.log).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        scratch.log.create_parents = true;
        for _ in 0..2 {
            scratch.folder().open().unwrap();
        }
        let mode = fs::metadata(scratch.path.join("a/b")).unwrap().mode();
        assert_eq!(mode & 0o7022, 0, "{mode:o}: nobody else may write to it");
        // A link in a private folder is the owner's own.
        symlink("a", scratch.path.join("link")).unwrap();
        scratch.log.path = scratch.path.join("link/c/log");
        scratch.folder();
        assert!(scratch.path.join("a/c").is_dir());
        fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o1777)).unwrap();
        scratch.log.path = scratch.path.join("link/d/log");
        let error = Folder::of(&scratch.log).err().unwrap();
        assert!(error.to_string().contains("a link"), "{error}");
        assert!(!scratch.path.join("a/d").exists());
        scratch.put("file", "");
        scratch.log.path = scratch.path.join("file/log");
        assert_eq!(Folder::of(&scratch.log).err().map(|error| error.kind()), Some(io::ErrorKind::NotADirectory));
    }

    #[test]
    fn lines_go_where_they_fit() {
        for (max, size, run, begun, fits_in) in [
            (10, 0, "abc\ndef\n", false, 8),
            (8, 0, "abc\ndef\n", false, 4),
            (8, 4, "abc\n", false, 0),
            (9, 4, "abc\n", false, 4),
            (1, 0, "abc\nd\n", false, 4),
            (1, 4, "d\n", false, 0),
            (1, 4, "d\ne\n", true, 2),
            (1, 0, "\n\n", false, 1),
            (5, 9, "x", false, 0),
        ] {
            assert_eq!(fits(max, size, run.as_bytes(), begun), fits_in, "{max} {size} {run:?} {begun}");
        }
    }
}
