//! Follows a path to a program as the kernel would, step by step through every link, and watches whatever could make it
//! lead elsewhere. It watches first and looks then, so nothing that changes in between goes unnoticed.
//!
//! - A folder that the path leads through is watched for its own renaming. What else goes on in it, which may be a lot,
//!   wakes nobody.
//! - Where a step is a link, or missing, or the file itself, its folder is watched for names that come and go. So a link
//!   that is switched and a folder that comes back are seen.
//! - The file itself is watched for writes.
//! - A folder can be removed only after what is in it, so as long as there is a program that needs no watch. Where there
//!   is none, the names of all folders on the way are watched: the removal of one that a process has as its working
//!   directory is told nowhere else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::inotify::{add_watch, WatchFlags};
use rustix::fs::{access, readlink, statx, Access, AtFlags, FileType, Statx, StatxFlags, CWD};
use rustix::io::Errno;

use super::print;
use crate::say::plain;

/// Something that is watched because the path leads through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    watch: i32,
    /// The name in a folder that matters; none if only the folder itself, or the file, does.
    name: Option<OsString>,
}

impl Place {
    pub(super) fn watch(&self) -> i32 {
        self.watch
    }

    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// Whether an event may have changed where the path leads. An event without a name is about what is watched itself.
    pub(super) fn is_touched(&self, watch: i32, name: Option<&OsStr>) -> bool {
        self.watch == watch && (name.is_none() || name == self.name.as_deref())
    }
}

/// What was found, and what is to be watched.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The file, and its print; none if there is no such program, or none that can be executed.
    pub(super) program: Option<(PathBuf, u64)>,
    pub(super) places: Vec<Place>,
    /// The path changed again and again while it was followed.
    pub(super) unsteady: bool,
    /// What could not be looked at or watched.
    pub(super) trouble: Option<String>,
}

/// A path that changes while it is followed is followed anew so many times.
const ATTEMPTS: usize = 8;
/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// Looks for the first of several programs that is there and can be executed, and watches the way to it and to those
/// that were not.
pub(super) fn look(inotify: &OwnedFd, programs: &[PathBuf]) -> Look {
    let mut look = Look::default();
    for program in programs {
        look.program = look.find(inotify, program);
        if look.program.is_some() {
            break;
        }
    }
    look
}

/// The path changed while it was followed.
struct Moved;

impl Look {
    fn find(&mut self, inotify: &OwnedFd, program: &Path) -> Option<(PathBuf, u64)> {
        let mut every_name = false;
        for _ in 0..ATTEMPTS {
            match self.follow(inotify, program, every_name) {
                Ok(None) if every_name => return None,
                Ok(None) => every_name = true,
                Ok(found) => return found,
                Err(Moved) => {}
            }
        }
        self.unsteady = true;
        None
    }

    fn follow(&mut self, inotify: &OwnedFd, program: &Path, every_name: bool) -> Result<Option<(PathBuf, u64)>, Moved> {
        let mut steps = Steps { left: Vec::new(), folder: PathBuf::from("/"), links: 0 };
        steps.lead_to(program);
        while let Some(name) = steps.left.pop() {
            if name == ".." {
                steps.folder.pop();
                continue;
            }
            let path = steps.folder.join(&name);
            let on_the_way = !steps.left.is_empty();
            if on_the_way && self.kind(&path) == Some(FileType::Directory) {
                if every_name {
                    self.watch(inotify, &steps.folder, NAMES, Some(&name))?;
                }
                self.watch(inotify, &path, SELF, None)?;
                steps.folder = path;
                continue;
            }
            self.watch(inotify, &steps.folder, NAMES, Some(&name))?;
            match self.kind(&path) {
                Some(FileType::Symlink) if steps.links < LINKS => {
                    steps.links += 1;
                    steps.lead_to(&target(&path)?);
                }
                Some(FileType::RegularFile) if !on_the_way => return self.arrive(inotify, path),
                Some(FileType::Directory) if on_the_way => return Err(Moved),
                // Missing, or something that no program can be, or be in.
                None | Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// At the file, which must be the one whose writes are watched.
    fn arrive(&mut self, inotify: &OwnedFd, path: PathBuf) -> Result<Option<(PathBuf, u64)>, Moved> {
        self.watch(inotify, &path, WRITES, None)?;
        match self.stat(&path) {
            Some(stat) if kind(&stat) == FileType::RegularFile => {
                let executable = access(&path, Access::EXEC_OK).is_ok();
                Ok(executable.then(|| (path.clone(), print::of(&path, &stat))))
            }
            Some(_) | None => Err(Moved),
        }
    }

    /// Adds a watch. What is already watched is from now on watched for this as well.
    fn watch(&mut self, inotify: &OwnedFd, path: &Path, flags: WatchFlags, name: Option<&OsStr>) -> Result<(), Moved> {
        match add_watch(inotify, path, flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD) {
            Ok(watch) => {
                let place = Place { watch, name: name.map(OsStr::to_owned) };
                if !self.places.contains(&place) {
                    self.places.push(place);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Moved),
            Err(errno) => {
                let advice = if errno == Errno::NOSPC { " (the limit is fs.inotify.max_user_watches)" } else { "" };
                let cause = if errno == Errno::NOSPC { "too many watches".into() } else { plain(&errno.into()) };
                let path = path.display();
                self.trouble = Some(format!("watch {path}: {cause}{advice}; changes there go unnoticed"));
            }
        }
        Ok(())
    }

    fn kind(&mut self, path: &Path) -> Option<FileType> {
        self.stat(path).map(|stat| kind(&stat))
    }

    fn stat(&mut self, path: &Path) -> Option<Statx> {
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
            Ok(stat) => Some(stat),
            // Who may not search a folder can run nothing in it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => None,
            Err(errno) => {
                self.trouble = Some(format!("look at {}: {}", path.display(), plain(&io::Error::from(errno))));
                None
            }
        }
    }
}

fn kind(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// Where a link leads. No link any more: it was switched.
fn target(link: &Path) -> Result<PathBuf, Moved> {
    let target = readlink(link, Vec::new()).map_err(|_| Moved)?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// Where one stands on a path, and what is left of it.
struct Steps {
    /// Names to come, the next one last.
    left: Vec<OsString>,
    /// Absolute, without links.
    folder: PathBuf,
    links: usize,
}

impl Steps {
    /// Goes a path before all that is left.
    fn lead_to(&mut self, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.left.push(name.to_owned()),
                Component::ParentDir => self.left.push("..".into()),
                Component::RootDir => self.folder = PathBuf::from("/"),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }
}

/// Of a folder, that it is renamed. That it is no more is told as the end of the watch, without being asked for.
const SELF: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::ONLYDIR);
/// Of a folder, that names come and go too, and that modes change.
const NAMES: WatchFlags =
    SELF.union(WatchFlags::CREATE).union(WatchFlags::DELETE).union(WatchFlags::MOVE).union(WatchFlags::ATTRIB);
/// Of a file, that it is written, and that its mode or its times change.
const WRITES: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::CLOSE_WRITE).union(WatchFlags::ATTRIB);
