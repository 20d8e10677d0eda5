//! A log file: opened, looked at, appended to, rotated. Says how long it is before each write, so that `sink` can record
//! it. Knows no lines but where a rotation may fall; never retries by itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{fstat, FileType, OFlags};

use super::calendar::zone;
use super::compress::Compressor;
use super::lines::part_for_pipe;
use super::rotate::{fits, Folder};
use crate::journal::SinkRow;
use crate::output::{self, Rotation};
use crate::say::{plain, say};

pub(super) struct LogFile {
    log: &'static output::LogFile,
    row: SinkRow<'static>,
    /// Who compresses the backups, and the place of this log there.
    compressor: (&'static Compressor, usize),
    open: Option<Open>,
    /// It could not be rotated: it grows until the next attempt.
    rotates_at: Option<Instant>,
    /// A backup could not be removed: it stays until the next attempt.
    prunes_at: Option<Instant>,
    /// How many bytes its backups have together at most, where that is limited. None: not known yet.
    backups: Option<u64>,
    /// So often was it asked to open the file anew when it opened it.
    opened_at: u64,
}

struct Open {
    fd: OwnedFd,
    inode: u64,
    size: u64,
    /// It is a file, and no FIFO or terminal, which nobody can move away.
    regular: bool,
    /// When the content began: what is there at the first opening was last written then.
    begun: i64,
    /// When it is to move away.
    due: i64,
}

/// What is found at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Its inode and its length; none where there is no length.
    pub(super) file: Option<(u64, u64)>,
    /// It was opened just now, and ends within a line, or does not.
    pub(super) torn: Option<bool>,
}

/// Between two attempts to rotate, or to remove a backup.
const PATIENCE: Duration = Duration::from_secs(1);

impl LogFile {
    pub(super) fn new(
        log: &'static output::LogFile,
        row: SinkRow<'static>,
        compressor: (&'static Compressor, usize),
    ) -> LogFile {
        LogFile { log, row, compressor, open: None, rotates_at: None, prunes_at: None, backups: None, opened_at: 0 }
    }

    pub(super) fn log(&self) -> &'static output::LogFile {
        self.log
    }

    /// Where to wait for room; none while it is not open.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.fd.as_fd())
    }

    /// Opens the file, if it is not open, was removed behind the back of the writer or is to be opened anew.
    ///
    /// # Errors
    /// There is no such folder, no permission, no room.
    pub(super) fn look(&mut self) -> io::Result<End> {
        let asked = self.row.reopen().0;
        if let Some(open) = self.open.as_mut().filter(|_| asked == self.opened_at) {
            let stat = fstat(&open.fd)?;
            if stat.st_nlink > 0 || !open.regular {
                open.size = stat.st_size as u64;
                return Ok(End { file: open.place(), torn: None });
            }
        }
        self.open = None;
        let folder = Folder::of(self.log)?;
        let open = Open::new(folder.open()?, &self.log.rotation, self.row)?;
        let torn = open.regular && open.size > 0 && folder.is_torn(open.size);
        let end = End { file: open.place(), torn: Some(torn) };
        self.open = Some(open);
        self.opened_at = asked;
        self.row.set_reopened(asked);
        Ok(end)
    }

    /// Opens the file anew, if that was asked for; one that nothing was written to needs not be there.
    ///
    /// # Errors
    /// As `look`.
    pub(super) fn reopen(&mut self) -> io::Result<End> {
        if self.open.is_none() && self.row.errno() == 0 {
            self.row.set_reopened(self.row.reopen().0);
            return Ok(End { file: None, torn: None });
        }
        self.look()
    }

    /// Opens the file that a batch was begun in, wherever it has gone meanwhile, and says how long it is. None: it is gone.
    ///
    /// # Errors
    /// As `look`.
    pub(super) fn look_for(&mut self, inode: u64) -> io::Result<Option<u64>> {
        if let Some(open) = self.open.as_ref().filter(|open| open.inode == inode) {
            let stat = fstat(&open.fd)?;
            if stat.st_nlink > 0 {
                return Ok(Some(stat.st_size as u64));
            }
        }
        let folder = Folder::of(self.log)?;
        let mut open = Open::new(folder.open()?, &self.log.rotation, self.row)?;
        if open.inode != inode {
            let Some(name) = folder.find(inode)? else {
                self.look()?;
                return Ok(None);
            };
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK;
            open = Open::new(folder.open_other(&name, flags)?.into(), &self.log.rotation, self.row)?;
            if open.inode != inode {
                self.look()?;
                return Ok(None);
            }
        }
        let size = open.size;
        self.open = Some(open);
        // What comes after the batch goes to the path again. Only then has the file been opened anew.
        self.opened_at = u64::MAX;
        Ok(Some(size))
    }

    /// How much of this may be appended before a rotation; none: it is due. `goes_on`: the first line has begun in the file.
    pub(super) fn room(&mut self, lines: &[u8], goes_on: bool) -> usize {
        let Some(open) = self.open.as_mut().filter(|open| open.regular) else { return lines.len() };
        let room = match &self.log.rotation {
            Rotation::Never => lines.len(),
            _ if is_to_come(self.rotates_at) => lines.len(),
            Rotation::Size { max_bytes, .. } => fits(*max_bytes, open.size, lines, goes_on),
            Rotation::Time(schedule) => {
                let due = !goes_on && now() >= open.due;
                if due && open.size > 0 {
                    return 0;
                }
                if due {
                    // Nothing was written in all that time.
                    open.begins(now(), &Rotation::Time(*schedule), self.row);
                }
                lines.len()
            }
        };
        let size = open.size + room as u64;
        self.make_room(size);
        room
    }

    /// Removes the oldest backups as far as they would be too large together with a file of this size.
    fn make_room(&mut self, size: u64) {
        let Some(max_total) = self.log.max_total else { return };
        let fits = self.backups.is_some_and(|backups| backups == 0 || backups.saturating_add(size) <= max_total);
        if fits || is_to_come(self.prunes_at) {
            return;
        }
        let (compressor, log) = self.compressor;
        match Folder::of(self.log).and_then(|folder| folder.prune(self.log, size, &compressor.turn(log))) {
            Ok(kept) => (self.backups, self.prunes_at) = (Some(kept), None),
            Err(error) => {
                put_off(&mut self.prunes_at, self.log, "remove a backup", &error, "there is more than max_total");
            }
        }
    }

    /// Moves the content away; should that fail, it stays for now, which is said once.
    pub(super) fn rotate(&mut self) {
        let begun = self.open.as_ref().map_or(0, |open| open.begun);
        let (compressor, log) = self.compressor;
        let moved = Folder::of(self.log).and_then(|folder| folder.rotate(self.log, begun, &compressor.turn(log)));
        match moved {
            Ok(backups) => {
                self.open = None;
                self.rotates_at = None;
                self.backups = Some(backups);
                self.row.count_rotation();
                compressor.look(log);
            }
            Err(error) => put_off(&mut self.rotates_at, self.log, "rotate", &error, "it grows"),
        }
    }

    /// Appends as much as is taken.
    ///
    /// # Errors
    /// The disk's. `WouldBlock`: a FIFO is full.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let length = if open.regular { bytes.len() } else { part_for_pipe(bytes) };
        let written = rustix::io::write(&open.fd, &bytes[..length])?;
        open.size += written as u64;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(written)
    }
}

impl Open {
    fn new(fd: OwnedFd, rotation: &Rotation, row: SinkRow<'_>) -> io::Result<Open> {
        let stat = fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let begun = match stat.st_size {
            0 => now(),
            _ => row.begun(stat.st_ino).unwrap_or(stat.st_mtime),
        };
        let mut open = Open { fd, inode: stat.st_ino, size: stat.st_size as u64, regular, begun, due: i64::MAX };
        open.begins(begun, rotation, row);
        Ok(open)
    }

    fn place(&self) -> Option<(u64, u64)> {
        self.regular.then_some((self.inode, self.size))
    }

    fn begins(&mut self, begun: i64, rotation: &Rotation, row: SinkRow<'_>) {
        self.begun = begun;
        row.set_begun(self.inode, begun);
        if let Rotation::Time(schedule) = rotation {
            self.due = schedule.due(begun, zone(schedule.utc));
        }
    }
}

fn is_to_come(attempt: Option<Instant>) -> bool {
    attempt.is_some_and(|at| Instant::now() < at)
}

/// Says once what cannot be done for now, and sets the next attempt.
fn put_off(attempt: &mut Option<Instant>, log: &output::LogFile, what: &str, error: &io::Error, so: &str) {
    if attempt.is_none() {
        let path = log.path.display();
        say(format_args!("log {path}: {what}: {}; {so} until that can be done", plain(error)));
    }
    *attempt = Some(Instant::now() + PATIENCE);
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;
    use std::fs;

    #[test]
    fn what_was_begun_in_a_file_that_was_moved_away_is_finished_there_before_it_counts_as_opened_anew() {
        let folder = std::env::temp_dir().join(format!("firestarter-reopen-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("moved"));
        let (records, _) = journal::create().unwrap();
        let row = records.with_pipes(1).unwrap().pipes.unwrap().sinks().row(0);
        let logs: &'static [output::LogFile] =
            Box::leak(Box::new([output::LogFile::new(path.clone(), Rotation::Never)]));
        let (log, compressor) = (&logs[0], &*Box::leak(Box::new(Compressor::new(logs))));
        let mut file = LogFile::new(log, row, (compressor, 0));
        let (inode, _) = file.look().unwrap().file.unwrap();
        file.write(b"half ").unwrap();
        fs::rename(&path, &moved).unwrap();
        row.ask_to_reopen();
        assert_eq!(file.look_for(inode).unwrap(), Some(5));
        file.write(b"a li").unwrap();
        assert!(row.reopen() == (1, 0) && !path.exists());
        let mut next = LogFile::new(log, row, (compressor, 0));
        assert_eq!(next.look_for(inode).unwrap(), Some(9), "another writer");
        next.write(b"ne\n").unwrap();
        assert_eq!(row.reopen(), (1, 0));
        next.reopen().unwrap();
        next.write(b"new\n").unwrap();
        assert_eq!(row.reopen(), (1, 1));
        assert_eq!(
            (fs::read(&moved).unwrap(), fs::read(&path).unwrap()),
            (b"half a line\n".to_vec(), b"new\n".to_vec())
        );
        fs::remove_file(&moved).unwrap();
        assert_eq!(next.look_for(inode).unwrap(), None, "it is gone");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn backups_go_while_the_file_grows_where_all_together_are_limited() {
        let folder = std::env::temp_dir().join(format!("firestarter-grows-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("log");
        for (name, text) in [("log.20260101", "333"), ("log.20260102", "22")] {
            fs::write(folder.join(name), text).unwrap();
        }
        let (records, _) = journal::create().unwrap();
        let row = records.with_pipes(1).unwrap().pipes.unwrap().sinks().row(0);
        let schedule = output::Schedule { interval: 1, unit: output::Unit::Days, utc: true, backups: 9 };
        let log =
            output::LogFile { max_total: Some(8), ..output::LogFile::new(path.clone(), Rotation::Time(schedule)) };
        let logs: &'static [output::LogFile] = Box::leak(Box::new([log]));
        let compressor = &*Box::leak(Box::new(Compressor::new(logs)));
        let mut file = LogFile::new(&logs[0], row, (compressor, 0));
        let there = || ["log.20260101", "log.20260102"].map(|name| folder.join(name).exists());
        for (line, left) in [(&b"1\n\n"[..], [true, true]), (b"\n", [false, true]), (b"1234\n", [false, false])] {
            file.look().unwrap();
            assert_eq!(file.room(line, false), line.len());
            file.write(line).unwrap();
            assert_eq!(there(), left, "{line:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"1\n\n\n1234\n", "the file itself stays");
        fs::remove_dir_all(&folder).unwrap();
    }
}
