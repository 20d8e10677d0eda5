//! Compresses backups in a thread of its own, which is there while there is something to do and yields to everything
//! else. Told by who rotates a log that there may be something; looks by itself when the writer starts. Never touches the
//! log itself, and never a backup that nobody compresses.
//!
//! A backup is compressed into a temporary file beside it. Meanwhile rotations go on: the backup may get another name or
//! be removed, so it is known by its inode, and only for the last two steps no rotation may come between: the temporary
//! file gets the name that the backup has by then, with `.gz` or `.zst` behind it, and the backup goes. A writer that is
//! killed before the first step leaves the backup, and a temporary file that the next look removes; between the two it
//! leaves both, of which the plain one counts (`backups`); so there is always one, and only one that is read.
//!
//! No fsync: after a crash of the machine a compressed backup may be worth no more than the plain one would have been.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use flate2::GzBuilder;
use rustix::fs::{fchmod, fchown, fstat, futimens, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use zstd::stream::write::Encoder;

use super::rotate::{is_file, Folder, Turn, Turns};
use crate::output::{Compression, LogFile};
use crate::say::{plain, say};

/// Compresses the backups of all logs, one at a time.
pub(super) struct Compressor {
    shared: Arc<Shared>,
}

struct Shared {
    logs: &'static [LogFile],
    /// Of each log.
    states: Vec<State>,
    /// The thread is there, and will look once more before it ends.
    running: AtomicBool,
}

#[derive(Default)]
struct State {
    /// There may be backups to compress.
    wanted: AtomicBool,
    turns: Turns,
    /// What keeps its backups from being compressed was told, and has not ended.
    told: AtomicBool,
}

/// So much is read at a time.
const PIECE: usize = 64 * 1024;
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// A window of 512 KiB: 1 MiB would save 1 % of a log, and 2 MiB nothing more.
const ZSTD_WINDOW_LOG: u32 = 19;
/// Only what is touched of it takes memory.
const STACK: usize = 512 * 1024;
/// As the thread is called in lists of threads.
const NAME: &str = "firestarter-zip";

impl Compressor {
    /// Looks at once whether earlier writers left something to do. So whatever those left half done in a backup itself
    /// must have been put right before.
    pub(super) fn new(logs: &'static [LogFile]) -> Compressor {
        let states = logs.iter().map(|_| State::default()).collect();
        let compressor = Compressor { shared: Arc::new(Shared { logs, states, running: AtomicBool::new(false) }) };
        (0..logs.len()).for_each(|log| compressor.look(log));
        compressor
    }

    /// There may be backups of this log to compress. Returns at once, whatever the disk does.
    pub(super) fn look(&self, log: usize) {
        if self.shared.logs[log].compress.is_none() {
            return;
        }
        self.shared.states[log].wanted.store(true, Ordering::SeqCst);
        if self.shared.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let begun = thread::Builder::new().name(NAME.to_owned()).stack_size(STACK).spawn(move || {
            // A test would wait for all others on a loaded machine.
            #[cfg(not(test))]
            crate::sys::idle::yield_to_all();
            shared.work();
        });
        if let Err(error) = begun {
            self.shared.running.store(false, Ordering::SeqCst);
            self.shared.fails(log, &error);
        }
    }

    /// Waits until nobody else changes the names of this log's backups. For [`Folder::rotate`] and [`Folder::prune`].
    pub(super) fn turn(&self, log: usize) -> Turn<'_> {
        self.shared.states[log].turns.take()
    }
}

impl Shared {
    fn work(&self) {
        loop {
            match self.states.iter().position(|state| state.wanted.swap(false, Ordering::SeqCst)) {
                Some(log) => self.compress_all(log),
                None => {
                    self.running.store(false, Ordering::SeqCst);
                    // Who wanted something a moment ago took this thread to be still there.
                    let wanted = self.states.iter().any(|state| state.wanted.load(Ordering::SeqCst));
                    if !wanted || self.running.swap(true, Ordering::SeqCst) {
                        return;
                    }
                }
            }
        }
    }

    fn compress_all(&self, log: usize) {
        let Some(compression) = self.logs[log].compress else { return };
        let state = &self.states[log];
        match compress_all(&self.logs[log], compression, &state.turns) {
            Ok(()) => state.told.store(false, Ordering::SeqCst),
            Err(error) => self.fails(log, &error),
        }
    }

    fn fails(&self, log: usize, error: &io::Error) {
        if !self.states[log].told.swap(true, Ordering::SeqCst) {
            let (path, cause) = (self.logs[log].path.display(), plain(error));
            say(format_args!("log {path}: compress: {cause}; backups stay plain until that can be done"));
        }
    }
}

/// Compresses every plain backup, the oldest first. Returns the first error; one that has nothing to do with the disk's
/// room does not keep other backups from being compressed.
fn compress_all(log: &LogFile, compression: Compression, turns: &Turns) -> io::Result<()> {
    let folder = match Folder::of(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folder => folder?,
    };
    let temporary = temporary(folder.name());
    folder.remove(&temporary)?;
    let (mut tried, mut result) = (BTreeSet::new(), Ok(()));
    while let Some((name, inode)) = next(&folder, log, &tried)? {
        tried.insert(inode);
        if let Err(error) = compress(&folder, log, compression, &name, turns) {
            // This may fail as well; then the next look does it.
            let _ = folder.remove(&temporary);
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            result = result.and(Err(error));
            if full {
                break;
            }
        }
    }
    result
}

/// The oldest plain backup that was not tried yet, and its inode. What is no file is nobody's to compress.
fn next(folder: &Folder, log: &LogFile, tried: &BTreeSet<u64>) -> io::Result<Option<(OsString, u64)>> {
    let plain = folder.backups(log)?.into_iter().filter(|backup| backup.compression.is_none());
    let mut files = plain.filter_map(|backup| {
        let stat = folder.stat(&backup.name).filter(is_file)?;
        Some((backup.name, stat.st_ino))
    });
    Ok(files.find(|(_, inode)| !tried.contains(inode)))
}

fn compress(folder: &Folder, log: &LogFile, compression: Compression, name: &OsStr, turns: &Turns) -> io::Result<()> {
    let source = match folder.open_other(name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY) {
        // A rotation was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let as_begun = fstat(&source)?;
    let temporary = temporary(folder.name());
    let file = folder.open_other(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW)?;
    pack(&source, Sink(&file), compression, &as_begun)?;
    look_like(&file, &as_begun)?;

    let _turn = turns.take();
    let mut plain = folder.backups(log)?.into_iter().filter(|backup| backup.compression.is_none());
    let is_source = |name: &OsStr| folder.stat(name).is_some_and(|stat| same_content(&stat, &as_begun));
    let Some(backup) = plain.find(|backup| is_source(&backup.name)) else {
        // It was removed meanwhile, or somebody has written to it.
        return folder.remove(&temporary);
    };
    for other in [Compression::Gzip, Compression::Zstd].into_iter().filter(|other| *other != compression) {
        folder.remove(&backup.compressed(other))?;
    }
    let compressed = backup.compressed(compression);
    folder.rename(&temporary, &compressed)?;
    // Two writers of one log would take each other's temporary file, half written as it is.
    let ours = fstat(&file)?.st_ino;
    if folder.stat(&compressed).is_none_or(|stat| stat.st_ino != ours) {
        return Err(io::Error::other("the temporary file was taken: does somebody else write this log too?"));
    }
    folder.remove(&backup.name)
}

fn same_content(stat: &Stat, other: &Stat) -> bool {
    let content = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    content(stat) == content(other)
}

/// Not a name that a pattern such as `LOG.*` finds.
fn temporary(own: &OsStr) -> OsString {
    let mut name = OsString::from(".");
    name.push(own);
    name.push(".firestarter-zip");
    name
}

/// Writes all of a file, compressed.
///
/// # Errors
/// Of reading and writing; the file is not as long as it was.
fn pack(source: impl Read, sink: impl Write, compression: Compression, stat: &Stat) -> io::Result<()> {
    let size = stat.st_size as u64;
    match compression {
        Compression::Gzip => {
            // Its field for the time has 32 bits.
            let time = u32::try_from(stat.st_mtime).unwrap_or(0);
            let mut packer = GzBuilder::new().mtime(time).write(sink, flate2::Compression::new(GZIP_LEVEL));
            copy(source, &mut packer, size)?;
            packer.finish()?.flush()
        }
        Compression::Zstd => {
            let mut packer = Encoder::new(sink, ZSTD_LEVEL)?;
            packer.window_log(ZSTD_WINDOW_LOG)?;
            packer.include_checksum(true)?;
            packer.set_pledged_src_size(Some(size))?;
            copy(source, &mut packer, size)?;
            packer.finish()?.flush()
        }
    }
}

fn copy(source: impl Read, packer: &mut impl Write, size: u64) -> io::Result<()> {
    let mut source = source.take(size);
    let (mut piece, mut copied) = (vec![0; PIECE], 0);
    loop {
        match source.read(&mut piece)? {
            0 if copied < size => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(()),
            read => {
                packer.write_all(&piece[..read])?;
                copied += read as u64;
            }
        }
    }
}

/// Gives a file the owner, the mode and the time of another. Where the owner cannot be had, nobody else may read it, as
/// who may read the one might not be who may read the other.
fn look_like(file: &File, stat: &Stat) -> io::Result<()> {
    let owned = fchown(file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let mode = stat.st_mode & if owned.is_ok() { 0o777 } else { 0o700 };
    fchmod(file, Mode::from_raw_mode(mode))?;
    let last_access = Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 };
    let last_modification = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Ok(futimens(file, &Timestamps { last_access, last_modification })?)
}

/// The temporary file.
struct Sink<'f>(&'f File);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        super::stops::write(bytes.len())?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rotate::tests::Scratch;
    use super::super::stops;
    use super::*;
    use crate::output::{Rotation, Schedule, Unit};
    use std::fs;
    use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
    use std::time::{Duration, Instant, SystemTime};

    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn scratch(name: &str, backups: u32, compression: Compression) -> Scratch {
        let mut scratch =
            Scratch::new(&format!("zip-{name}-{compression:?}"), Rotation::Size { max_bytes: 5, backups });
        scratch.log.compress = Some(compression);
        scratch
    }

    /// One log, for as long as a thread may want it.
    fn compressor(scratch: &Scratch) -> Compressor {
        let compressor = Compressor::new(Box::leak(Box::new([scratch.log.clone()])));
        // The first look is over: what a test puts there is not taken before it says so.
        done(&compressor);
        compressor
    }

    fn whole(scratch: &Scratch) -> io::Result<()> {
        compress_all(&scratch.log, scratch.log.compress.unwrap(), &Turns::default())
    }

    fn until(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "waited a minute for {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn done(compressor: &Compressor) {
        until("the end of the thread", || !compressor.shared.running.load(Ordering::SeqCst));
    }

    /// What a reader finds in the backups, oldest first, and how many of them are plain.
    fn read(scratch: &Scratch) -> (Vec<Vec<u8>>, usize) {
        let backups = scratch.folder().backups(&scratch.log).unwrap();
        let plain = backups.iter().filter(|backup| backup.compression.is_none()).count();
        let text = |name: &OsString, compression| {
            let bytes = fs::read(scratch.path.join(name)).unwrap();
            let mut text = Vec::new();
            match compression {
                None => text = bytes,
                Some(Compression::Gzip) => {
                    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
                }
                Some(Compression::Zstd) => text = zstd::stream::decode_all(&bytes[..]).unwrap(),
            }
            text
        };
        (backups.iter().map(|backup| text(&backup.name, backup.compression)).collect(), plain)
    }

    fn names(scratch: &Scratch) -> Vec<String> {
        let entries = fs::read_dir(&scratch.path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Lines that differ from each other as those of a log do.
    fn lines(seed: u64, bytes: usize) -> Vec<u8> {
        let (mut text, mut number) = (Vec::with_capacity(bytes + 100), seed + 1);
        while text.len() < bytes {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.extend(format!("GET /path/{} took {} us\n", number >> 44, number >> 50).bytes());
        }
        text
    }

    #[test]
    fn what_is_compressed_is_what_was_there() {
        for compression in BOTH {
            for size in [0, 1, PIECE - 50, PIECE, 3_000_000] {
                let scratch = scratch(&format!("bytes-{size}"), 3, compression);
                let text = lines(size as u64, size);
                fs::write(scratch.path.join("log.1"), &text).unwrap();
                scratch.put("log", "live");
                whole(&scratch).unwrap();
                let name = format!("log.1{}", if compression == Compression::Gzip { ".gz" } else { ".zst" });
                assert_eq!(names(&scratch), ["log", &name]);
                assert!(read(&scratch) == (vec![text], 0), "{compression:?} {size}");
                let length = fs::metadata(scratch.path.join(name)).unwrap().len() as usize;
                assert!(size < 3_000_000 || length < size / 2, "{compression:?}: {length} of {size}");
            }
        }
    }

    #[test]
    fn owner_mode_and_time_are_those_of_the_backup() {
        let scratch = scratch("looks", 3, Compression::Gzip);
        scratch.put("log.1", "text");
        let path = scratch.path.join("log.1");
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(&path, Some(4711), Some(4712)).unwrap();
        } else {
            eprintln!("not root: nothing is seen of owners");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o642)).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        whole(&scratch).unwrap();
        let found = fs::metadata(scratch.path.join("log.1.gz")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.modified().unwrap()), (0o642, time));
        assert!(!root || (found.uid(), found.gid()) == (4711, 4712));
    }

    #[test]
    fn it_may_be_killed_anywhere() {
        for compression in BOTH {
            let scratch = scratch("killed", 3, compression);
            let texts = vec![lines(1, 200_000), lines(2, 10)];
            for steps in 0.. {
                names(&scratch).iter().for_each(|name| fs::remove_file(scratch.path.join(name)).unwrap());
                for (name, text) in ["log.2", "log.1"].iter().zip(&texts) {
                    fs::write(scratch.path.join(name), text).unwrap();
                }
                // Half of one that was compressed in another way.
                scratch.put(if compression == Compression::Gzip { "log.1.zst" } else { "log.1.gz" }, "half");
                let (came_through, result) = stops::after(steps, || whole(&scratch));
                assert_eq!(result.is_ok(), came_through, "{result:?}");
                assert!(read(&scratch).0 == texts, "{compression:?}, {steps} steps: {:?}", names(&scratch));
                whole(&scratch).unwrap();
                assert!(read(&scratch) == (texts.clone(), 0), "{compression:?}, {steps} steps, then whole");
                assert_eq!(names(&scratch).len(), 2, "nothing else is left: {:?}", names(&scratch));
                if came_through {
                    assert!(steps > 8, "only {steps} steps");
                    break;
                }
            }
        }
    }

    #[test]
    fn a_full_disk_leaves_the_backups_and_is_told_once() {
        let scratch = scratch("full", 3, Compression::Zstd);
        let texts = vec![lines(1, 200_000), lines(2, 10)];
        fs::write(scratch.path.join("log.2"), &texts[0]).unwrap();
        fs::write(scratch.path.join("log.1"), &texts[1]).unwrap();
        let logs: &'static [LogFile] = Box::leak(Box::new([scratch.log.clone()]));
        let shared = Shared { logs, states: vec![State::default()], running: AtomicBool::new(false) };
        let told = || shared.states[0].told.load(Ordering::SeqCst);
        for _ in 0..2 {
            stops::with_room(1000, || shared.compress_all(0));
            assert!(told());
            assert_eq!(names(&scratch), ["log.1", "log.2"], "nor is the second one tried, which would fit");
        }
        assert!(read(&scratch).0 == texts);
        shared.compress_all(0);
        assert!(!told());
        assert!(read(&scratch) == (texts, 0));
    }

    #[test]
    fn one_that_cannot_be_compressed_keeps_no_other_from_it() {
        let scratch = scratch("odd", 5, Compression::Gzip);
        scratch.put("log.1", "text");
        fs::create_dir(scratch.path.join("log.2")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", scratch.path.join("log.3")).unwrap();
        whole(&scratch).unwrap();
        assert_eq!(names(&scratch), ["log.1.gz", "log.2", "log.3"]);
        scratch.put("log.1", "text");
        // Where the compressed one should be there is something that cannot be replaced.
        scratch.put("log.4", "text");
        fs::create_dir(scratch.path.join("log.4.gz")).unwrap();
        whole(&scratch).unwrap_err();
        assert_eq!(names(&scratch), ["log.1.gz", "log.2", "log.3", "log.4", "log.4.gz"]);
    }

    #[test]
    fn no_rotation_comes_between_the_last_steps_and_none_waits_for_the_others() {
        let scratch = scratch("turn", 3, Compression::Gzip);
        scratch.put("log.1", "text");
        let turns: &'static Turns = Box::leak(Box::default());
        let work = || compress_all(&scratch.log, Compression::Gzip, turns);
        let (taken, result) = stops::watched(|| turns.is_taken(), work);
        result.unwrap();
        // One of the other form goes, the temporary file gets its name, the backup goes.
        let (before, last) = taken.split_at(taken.len() - 3);
        assert!(before.len() > 3 && !before.contains(&true) && !last.contains(&false), "{taken:?}");
    }

    /// While a test holds the turn, the thread comes as far as the whole temporary file.
    fn until_packed(scratch: &Scratch, compressor: &Compressor) {
        compressor.look(0);
        let temporary = scratch.path.join(".log.firestarter-zip");
        until("the temporary file", || {
            // It gets its mode when it is whole.
            fs::metadata(&temporary).is_ok_and(|found| found.mode() & 0o777 == 0o604)
        });
    }

    fn put_odd(scratch: &Scratch, name: &str, text: &str) {
        scratch.put(name, text);
        fs::set_permissions(scratch.path.join(name), fs::Permissions::from_mode(0o604)).unwrap();
    }

    #[test]
    fn a_backup_that_moves_meanwhile_is_compressed_where_it_is_then() {
        let scratch = scratch("moves", 3, Compression::Gzip);
        let compressor = compressor(&scratch);
        put_odd(&scratch, "log.1", "older");
        scratch.put("log", "newer");
        let turn = compressor.turn(0);
        until_packed(&scratch, &compressor);
        scratch.folder().rotate(&scratch.log, 0, &turn).unwrap();
        drop(turn);
        done(&compressor);
        assert_eq!(names(&scratch), ["log.1.gz", "log.2.gz"]);
        assert_eq!(read(&scratch).0, [b"older", b"newer"]);
    }

    #[test]
    fn a_backup_that_goes_or_is_written_to_meanwhile_is_let_be() {
        let scratch = scratch("goes", 3, Compression::Zstd);
        let compressor = compressor(&scratch);
        for gone in [true, false] {
            put_odd(&scratch, "log.1", "text");
            let turn = compressor.turn(0);
            until_packed(&scratch, &compressor);
            if gone {
                fs::remove_file(scratch.path.join("log.1")).unwrap();
            } else {
                scratch.put("log.1", "more text");
            }
            drop(turn);
            done(&compressor);
            assert_eq!(names(&scratch), if gone { vec![] } else { vec!["log.1"] });
        }
        assert_eq!(read(&scratch).0, [b"more text"]);
    }

    #[test]
    fn rotations_go_on_meanwhile() {
        for compression in BOTH {
            for (at, (keeps, rotation)) in [
                (100, Rotation::Size { max_bytes: 5, backups: 100 }),
                (3, Rotation::Size { max_bytes: 5, backups: 3 }),
                (100, Rotation::Time(Schedule { interval: 1, unit: Unit::Days, utc: true, backups: 100 })),
                (3, Rotation::Time(Schedule { interval: 1, unit: Unit::Days, utc: true, backups: 3 })),
            ]
            .into_iter()
            .enumerate()
            {
                let mut scratch = scratch(&format!("on-{at}"), 1, compression);
                scratch.log.rotation = rotation;
                let compressor = compressor(&scratch);
                let texts: Vec<_> = (0..40).map(|seed| lines(seed, 30_000)).collect();
                for text in &texts {
                    fs::write(scratch.path.join("log"), text).unwrap();
                    scratch.folder().rotate(&scratch.log, 0, &compressor.turn(0)).unwrap();
                    compressor.look(0);
                    thread::yield_now();
                }
                until("all to be compressed", || {
                    let backups = scratch.folder().backups(&scratch.log).unwrap();
                    backups.iter().all(|backup| backup.compression.is_some())
                });
                done(&compressor);
                let kept = texts.len().min(keeps);
                assert!(read(&scratch) == (texts[texts.len() - kept..].to_vec(), 0), "{:?}", names(&scratch));
                assert_eq!(names(&scratch).len(), kept, "nothing else is left: {:?}", names(&scratch));
            }
        }
    }

    #[test]
    fn what_an_earlier_writer_left_is_found_at_the_start() {
        let mut scratch = scratch("start", 3, Compression::Zstd);
        scratch.put("log.1", "text");
        scratch.put(".log.firestarter-zip", "half");
        compressor(&scratch);
        assert_eq!(names(&scratch), ["log.1.zst"]);
        // A log without compression is left alone, and so is one that is not there yet.
        scratch.log.compress = None;
        scratch.put("log.1", "text");
        compressor(&scratch);
        assert_eq!(names(&scratch), ["log.1", "log.1.zst"]);
        scratch.log.compress = Some(Compression::Gzip);
        scratch.log.path = scratch.path.join("nowhere/log");
        whole(&scratch).unwrap();
    }
}
