//! Where a log's content goes when another file takes its place. Each step is a rename within one folder, so a writer that
//! is killed between two of them loses nothing: the next rotation goes on with what is there. Used by `file`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::calendar::Zone;
use crate::output::Schedule;

/// The folder of a log, open, so that all steps are about the same one.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// The log's own name.
    name: OsString,
    /// Everybody may put links into it, so none is followed.
    shared: bool,
}

/// So many files that began in the same unit of time are told apart.
const TWINS: u32 = 10_000;

impl Folder {
    pub(super) fn of(log: &Path) -> io::Result<Folder> {
        let name = log.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let path = log.parent().map_or_else(PathBuf::new, Path::to_owned);
        let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let shared = rustix::fs::fstat(&fd)?.st_mode & 0o002 != 0;
        Ok(Folder { fd, path, name, shared })
    }

    /// Opens the log to append to it. What is no file, a FIFO or a terminal, is not waited for.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let mut flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, self.shared);
        match rustix::fs::openat(&self.fd, &self.name, flags, Mode::from_raw_mode(0o640)) {
            Err(Errno::LOOP) if self.shared => {
                Err(io::Error::other("a link, which is not followed in a folder that everybody may write to"))
            }
            opened => Ok(opened?),
        }
    }

    /// Opens the file in this folder that has this inode, whatever its name is, to append to it; none if there is none.
    pub(super) fn open_inode(&self, inode: u64) -> io::Result<Option<OwnedFd>> {
        use std::os::unix::fs::DirEntryExt;
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.ino() == inode {
                let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
                let opened = rustix::fs::openat(&self.fd, entry.file_name(), flags, Mode::empty())?;
                let same = rustix::fs::fstat(&opened)?.st_ino == inode;
                return Ok(same.then_some(opened));
            }
        }
        Ok(None)
    }

    /// Whether the log ends in the middle of a line. One that may not be read is taken to end well.
    pub(super) fn is_torn(&self, size: u64) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut last = [0];
        let read = rustix::fs::openat(&self.fd, &self.name, flags, Mode::empty())
            .and_then(|fd| rustix::io::pread(fd, &mut last, size.saturating_sub(1)));
        read == Ok(1) && last != *b"\n"
    }

    /// Moves the content to `NAME.1`, what was there to `NAME.2`, and so on up to the first number that is free or the
    /// last that is kept.
    pub(super) fn move_by_size(&self, backups: u32) -> io::Result<()> {
        if backups == 0 {
            return self.remove(&self.name);
        }
        let last = (1..backups).find(|number| !self.exists(&self.backup(number))).unwrap_or(backups);
        for number in (1..last).rev() {
            self.rename(&self.backup(&number), &self.backup(&(number + 1)))?;
        }
        self.rename(&self.name, &self.backup(&1))
    }

    /// Moves content that began at `begun` to `NAME.STAMP`, and removes the oldest backups that are too many.
    pub(super) fn move_by_time(&self, schedule: &Schedule, begun: i64, zone: Zone<'_>) -> io::Result<()> {
        if schedule.backups == 0 {
            return self.remove(&self.name);
        }
        let stamp = schedule.stamp(begun, zone);
        // Clocks that are set back, at the end of summer for one, show a time twice.
        let names =
            std::iter::once(self.backup(&stamp)).chain((1..TWINS).map(|n| self.backup(&format!("{stamp}.{n}"))));
        let free = names.into_iter().find(|name| !self.exists(name)).ok_or(io::ErrorKind::AlreadyExists)?;
        self.rename(&self.name, &free)?;
        self.prune(schedule)
    }

    fn prune(&self, schedule: &Schedule) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(age) = self.age(&name, schedule.stamp_length()) {
                found.push((age, name));
            }
        }
        found.sort_unstable();
        let surplus = found.len().saturating_sub(schedule.backups as usize);
        found.iter().take(surplus).try_for_each(|(_, name)| self.remove(name))
    }

    /// What a backup's name is ordered by; none if it is no backup's.
    fn age(&self, name: &OsStr, stamp_length: usize) -> Option<(u64, u32)> {
        let rest = name.as_bytes().strip_prefix(self.name.as_bytes())?.strip_prefix(b".")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let (stamp, twin) = rest.split_once('.').map_or((rest, None), |(stamp, twin)| (stamp, Some(twin)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if stamp.len() != stamp_length || !digits(stamp) || !twin.is_none_or(digits) {
            return None;
        }
        Some((stamp.parse().ok()?, twin.map_or(Ok(0), str::parse).ok()?))
    }

    fn backup(&self, suffix: &dyn std::fmt::Display) -> OsString {
        let mut name = self.name.clone().into_vec();
        name.extend_from_slice(format!(".{suffix}").as_bytes());
        OsString::from_vec(name)
    }

    fn exists(&self, name: &OsStr) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What is not there needs not be moved.
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        unless_gone(rustix::fs::renameat(&self.fd, from, &self.fd, to))
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        unless_gone(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))
    }
}

fn unless_gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
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
mod tests {
    use super::*;
    use crate::output::Unit;
    use std::fs;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("fs-rotate-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn log(&self) -> Folder {
            Folder::of(&self.0.join("log")).unwrap()
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        /// Every file and what is in it.
        fn all(&self) -> Vec<(String, String)> {
            let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
            let read = |entry: fs::DirEntry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            };
            let mut all: Vec<_> = entries.map(read).collect();
            all.sort();
            all
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn by_size_the_newest_backup_is_1_and_the_oldest_goes() {
        let scratch = Scratch::new("size");
        for text in ["a", "b", "c", "d"] {
            scratch.put("log", text);
            scratch.log().move_by_size(3).unwrap();
        }
        assert_eq!(scratch.all(), pairs(&[("log.1", "d"), ("log.2", "c"), ("log.3", "b")]));
        scratch.put("log", "e");
        scratch.log().move_by_size(0).unwrap();
        assert_eq!(scratch.all().len(), 3, "none kept: the content goes");
    }

    #[test]
    fn a_rotation_by_size_that_was_cut_short_costs_no_backup() {
        let scratch = Scratch::new("gap");
        for (name, text) in [("log", "c"), ("log.2", "b"), ("log.3", "a")] {
            scratch.put(name, text);
        }
        scratch.log().move_by_size(3).unwrap();
        assert_eq!(scratch.all(), pairs(&[("log.1", "c"), ("log.2", "b"), ("log.3", "a")]));
        scratch.log().move_by_size(3).unwrap();
    }

    #[test]
    fn by_time_backups_bear_stamps_and_nothing_is_overwritten() {
        let scratch = Scratch::new("time");
        let schedule = Schedule { interval: 1, unit: Unit::Hours, utc: true, backups: 3 };
        for (name, text) in [("log.2024022911x", "mine"), ("log.20240229", "mine"), ("other.2024022911", "mine")] {
            scratch.put(name, text);
        }
        for (begun, text) in [(1_709_200_000, "a"), (1_709_210_096, "b"), (1_709_210_097, "c"), (1_709_214_000, "d")] {
            scratch.put("log", text);
            scratch.log().move_by_time(&schedule, begun, &|_| 0).unwrap();
        }
        let mut expected = pairs(&[("log.2024022912", "b"), ("log.2024022912.1", "c"), ("log.2024022913", "d")]);
        expected.extend(pairs(&[("log.2024022911x", "mine"), ("log.20240229", "mine"), ("other.2024022911", "mine")]));
        expected.sort();
        assert_eq!(scratch.all(), expected);
        scratch.put("log", "e");
        scratch.log().move_by_time(&Schedule { backups: 0, ..schedule }, 0, &|_| 0).unwrap();
        assert_eq!(scratch.all(), expected);
    }

    #[test]
    fn links_are_followed_in_private_folders_only() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("link");
        std::os::unix::fs::symlink("target", scratch.0.join("log")).unwrap();
        scratch.log().open().unwrap();
        assert!(scratch.0.join("target").exists());
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o1777)).unwrap();
        let error = scratch.log().open().unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
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
