//! A log file: opened, appended to, rotated. What goes wrong with it is told once, its lines are counted as lost, and
//! every further line tries again. Used by the writer's loop by way of `Sink`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{fstat, ftruncate, FileType, Stat};

use super::calendar::zone;
use super::lines::{Join, Seam};
use super::rotate::{fits, Folder, Turns};
use crate::output::{self, Rotation};
use crate::say::{plain, say};

pub(super) struct LogFile {
    log: &'static output::LogFile,
    open: Option<Open>,
    seam: Seam,
    /// So many bytes were lost since it stopped working.
    lost: Option<u64>,
    /// It could not be rotated: it grows until the next attempt.
    not_before: Option<Instant>,
    turns: Turns,
}

struct Open {
    fd: OwnedFd,
    size: u64,
    /// It is a file, and no FIFO or terminal, which nobody can move away.
    regular: bool,
    /// When the content began: what is there at the opening was last written then.
    begun: i64,
    /// When it is to move away.
    due: i64,
    /// How much of its last line is there.
    line: u64,
}

/// A line that is longer than this is parted by a rotation: a stream without newlines must not fill the disk.
const LONGEST_WHOLE: u64 = 1 << 20;
/// Between two attempts to rotate.
const PATIENCE: Duration = Duration::from_secs(1);

impl LogFile {
    pub(super) fn new(log: &'static output::LogFile) -> LogFile {
        LogFile { log, open: None, seam: Seam::default(), lost: None, not_before: None, turns: Turns::default() }
    }

    /// Appends a run of lines of one pipe.
    pub(super) fn put(&mut self, from: u64, run: &[u8]) {
        let mut rest = run;
        while !rest.is_empty() {
            match self.put_some(from, rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => return self.lose(rest.len(), &error),
            }
        }
        self.works();
    }

    /// Nothing more comes from this pipe.
    pub(super) fn closes(&mut self, from: u64) {
        self.seam.closes(from);
    }

    fn put_some(&mut self, from: u64, rest: &[u8]) -> io::Result<usize> {
        self.look()?;
        let mut length = self.room(from, rest);
        if length == 0 {
            length = if self.rotate() { self.room(from, rest) } else { rest.len() };
        }
        self.append(from, &rest[..length])
    }

    /// Opens the file, if it is not open or was removed behind the back of the writer.
    fn look(&mut self) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            let stat = fstat(&open.fd)?;
            if stat.st_nlink > 0 || !open.regular {
                open.size = stat.st_size as u64;
                return Ok(());
            }
        }
        self.open = None;
        self.seam.is_whole();
        let folder = Folder::of(self.log)?;
        let open = Open::new(folder.open()?, &self.log.rotation)?;
        // The last writer may have been killed in the middle of a line.
        if open.regular && open.size > 0 && folder.is_torn(open.size) {
            self.seam.is_torn();
        }
        self.open = Some(open);
        Ok(())
    }

    /// How much of a run may be written before a rotation; none: the rotation is due.
    fn room(&mut self, from: u64, run: &[u8]) -> usize {
        let Some(open) = self.open.as_mut().filter(|open| open.regular) else { return run.len() };
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return run.len();
        }
        let begun = self.seam.join(from) == Join::GoesOn && open.line < LONGEST_WHOLE;
        match &self.log.rotation {
            Rotation::Never => run.len(),
            Rotation::Size { max_bytes, .. } => fits(*max_bytes, open.size, run, begun),
            Rotation::Time(_) => {
                let due = !begun && now() >= open.due;
                if due && open.size > 0 {
                    return 0;
                }
                if due {
                    // Nothing was written in all that time.
                    open.begins(now(), &self.log.rotation);
                }
                run.len()
            }
        }
    }

    /// Moves the content away. Says whether that was done.
    fn rotate(&mut self) -> bool {
        let begun = self.open.as_ref().map_or(0, |open| open.begun);
        let moved = Folder::of(self.log).and_then(|folder| folder.rotate(self.log, begun, &self.turns.take()));
        self.open = None;
        let moved = moved.and_then(|()| self.look());
        if let Err(error) = &moved {
            if self.not_before.is_none() {
                let path = self.log.path.display();
                say(format_args!("log {path}: rotate: {}; it grows until that can be done", plain(error)));
            }
            self.not_before = Some(Instant::now() + PATIENCE);
            // Should it not open, that is told of by whoever appends.
            let _ = self.look();
        } else {
            self.not_before = None;
        }
        moved.is_ok()
    }

    /// Appends, and takes back a part of a line that cannot be finished.
    fn append(&mut self, from: u64, bytes: &[u8]) -> io::Result<usize> {
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        if self.seam.join(from) == Join::Parts {
            open.write(b"\n")?;
            self.seam.is_whole();
        }
        let mut written = 0;
        while written < bytes.len() {
            match open.write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(error) => {
                    let whole = length_of_lines(&bytes[..written]);
                    self.seam.wrote(from, &bytes[..whole]);
                    if !open.take_back((written - whole) as u64) {
                        self.seam.is_torn();
                    }
                    return if whole > 0 { Ok(whole) } else { Err(error) };
                }
            }
        }
        let whole = length_of_lines(bytes);
        open.line = if whole > 0 { 0 } else { open.line } + (bytes.len() - whole) as u64;
        self.seam.wrote(from, bytes);
        Ok(written)
    }

    fn lose(&mut self, bytes: usize, error: &io::Error) {
        if self.lost.is_none() {
            let (path, cause) = (self.log.path.display(), plain(error));
            say(format_args!("log {path}: {cause}; what is written to it is lost until that is mended"));
        }
        *self.lost.get_or_insert(0) += bytes as u64;
    }

    fn works(&mut self) {
        if let Some(lost) = self.lost.take() {
            say(format_args!("log {}: works again; {lost} bytes were lost", self.log.path.display()));
        }
    }
}

impl Open {
    fn new(fd: OwnedFd, rotation: &Rotation) -> io::Result<Open> {
        let stat = fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let begun = if stat.st_size > 0 { modified(&stat) } else { now() };
        let mut open = Open { fd, size: stat.st_size as u64, regular, begun, due: i64::MAX, line: 0 };
        open.begins(begun, rotation);
        Ok(open)
    }

    fn begins(&mut self, begun: i64, rotation: &Rotation) {
        self.begun = begun;
        if let Rotation::Time(schedule) = rotation {
            self.due = schedule.due(begun, zone(schedule.utc));
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = rustix::io::write(&self.fd, bytes)?;
        self.size += written as u64;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(written)
    }

    /// Cuts the last bytes off; false if they stay.
    fn take_back(&mut self, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let cut = self.regular && ftruncate(&self.fd, self.size - bytes).is_ok();
        if cut {
            self.size -= bytes;
        }
        cut
    }
}

fn length_of_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

fn modified(stat: &Stat) -> i64 {
    stat.st_mtime
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
