//! Keeps the paths of unix sockets where they are. Programs that think that they have bound a path unlink it when they end
//! (Puma does), and then nobody could connect any more, though the socket is open. A bound socket's file cannot be made
//! anew, but it can have a second name: each has a *spare* link, which is made when the path is bound, and from which the
//! path is linked again. So the socket stays the same, with its queue.
//!
//! The spare stands in a folder of the runtime folder that nobody else enters, or, if that is another file system, beside
//! the path. A removal is told by inotify, which watches the file itself: nothing wakes the daemon but what happens to it.
//! What is linked is looked at first, by its inode, which the ledger knows: in a folder that others can write to, whatever
//! they put in its place is neither followed nor linked. Linking is a matter of the local file system's memory, so it is
//! done in the loop.

use std::fs::{self, DirBuilder};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, inotify, linkat, AtFlags, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::Shared;
use crate::config::{Address, Group};
use crate::say::{plain, say};

/// The paths of all groups.
#[derive(Default)]
pub(super) struct Paths {
    /// There only if a group has a socket with a path.
    pub(super) inotify: Option<OwnedFd>,
    kept: Vec<Kept>,
}

/// A path and its spare.
struct Kept {
    group: String,
    path: PathBuf,
    /// None if there cannot be one.
    spare: Option<PathBuf>,
    inode: u64,
    watch: i32,
    /// Something was said about it.
    said: bool,
}

/// Where spares may be, the best place first.
pub(super) fn places(folder: &Path, group: u32, place: u32, path: &Path) -> [PathBuf; 2] {
    let mut beside = std::ffi::OsString::from(".");
    beside.push(path.file_name().unwrap_or_default());
    beside.push(".spare");
    [folder.join(format!("{group}-{place}.sock")), path.with_file_name(beside)]
}

/// Makes the folder for spares, with nothing in it: the path's rights are those of its folder too, so nobody may come in
/// by another one.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    remove_folder(folder);
    DirBuilder::new().mode(0o700).create(folder)
}

/// Removes the folder for spares.
pub(super) fn remove_folder(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(folder);
}

/// Removes a spare beside its path, if it is that: the same file.
pub(super) fn remove_beside(spare: &Path, path: &Path) {
    if inode(spare).is_some_and(|there| Some(there) == inode(path)) {
        let _ = fs::remove_file(spare);
    }
}

/// Gives a path that was just bound its spare, if it can have one, and returns its inode and where that is.
///
/// # Errors
/// The path is not there.
pub(super) fn keep(places: &[PathBuf], path: &Path) -> io::Result<(u64, Option<PathBuf>)> {
    let (file, inode) = open(path)?;
    let made = places.iter().find(|place| {
        // One that a Firestarter which was killed has left.
        if fs::symlink_metadata(place).is_ok_and(|there| there.file_type().is_socket()) {
            let _ = fs::remove_file(place);
        }
        link(&file, place).is_ok()
    });
    Ok((inode, made.cloned()))
}

/// Opens a path as a name, whatever rights it has, if it is a socket's.
fn open(path: &Path) -> io::Result<(OwnedFd, u64)> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other("something else is in its place"));
    }
    Ok((file, found.st_ino))
}

/// Gives an open file one more name, which must not be there.
fn link(file: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, name, AtFlags::SYMLINK_FOLLOW)
}

/// The inode of a socket's path.
pub(super) fn inode_of_socket(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().filter(|there| there.file_type().is_socket()).map(|there| there.ino())
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|there| there.ino())
}

impl Paths {
    /// Watches all paths that were bound, and puts right what happened while no daemon lived.
    pub(super) fn find(shared: Shared, sockets: &[Vec<OwnedFd>]) -> Paths {
        let mut paths = Paths::default();
        let groups = shared.setup.config.groups.iter().zip(sockets).zip(0..);
        for ((group, sockets), index) in groups {
            for ((spec, socket), place) in group.sockets.iter().zip(sockets).zip(0..) {
                let inode = shared.ledger.mark(socket);
                if let (Address::Unix(path), true) = (&spec.address, inode != 0) {
                    let places = places(&shared.setup.runtime.spares(), index, place, path);
                    paths.watch(group, path, &places, inode);
                }
            }
        }
        paths
    }

    fn watch(&mut self, group: &Group, path: &Path, places: &[PathBuf], inode: u64) {
        let spare = places.iter().find(|place| self::inode(place) == Some(inode)).cloned();
        let flags = inotify::WatchFlags::ATTRIB | inotify::WatchFlags::MOVE_SELF | inotify::WatchFlags::DONT_FOLLOW;
        if self.inotify.is_none() {
            self.inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        }
        let watched = spare.as_deref().unwrap_or(path);
        let watch = self.inotify.as_ref().ok_or(Errno::MFILE).and_then(|fd| inotify::add_watch(fd, watched, flags));
        let (group, path) = (group.spec.name.clone(), path.to_owned());
        if let Err(errno) = watch {
            let cause = plain(&errno.into());
            say(format_args!("{group}: watch {}: {cause}; should it be removed, it is not restored", path.display()));
        }
        let mut kept = Kept { group, path, spare, inode, watch: watch.unwrap_or(-1), said: false };
        kept.restore();
        self.kept.push(kept);
    }

    /// Something has happened to paths.
    pub(super) fn hear(&mut self) {
        let Some(fd) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(fd, &mut buffer);
        let mut touched = Vec::new();
        // Restoring makes events too, so what comes while this goes on is for the next turn of the loop.
        while let Ok(event) = events.next() {
            touched.push((event.wd(), event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW)));
            if events.is_buffer_empty() {
                break;
            }
        }
        let all = touched.iter().any(|(_, overflow)| *overflow);
        let of = |kept: &&mut Kept| all || touched.iter().any(|(watch, _)| *watch == kept.watch);
        self.kept.iter_mut().filter(of).for_each(Kept::restore);
    }
}

impl Kept {
    /// Links whichever of the two names is missing from the other.
    fn restore(&mut self) {
        let (here, spare) = (inode(&self.path), self.spare.as_deref().and_then(inode));
        match (here, &self.spare) {
            (Some(here), Some(place)) if here == self.inode => {
                if spare.is_none() {
                    let _ = self.link_from(&self.path, place);
                }
            }
            (Some(here), None) if here == self.inode => {}
            (Some(_), _) => {
                self.say("something else has taken its place: what connects there does not reach the group")
            }
            (None, None) => self.say("it was removed and cannot be restored: restart Firestarter to bind it again"),
            (None, Some(place)) => match self.link_from(place, &self.path) {
                Ok(()) => self.say("it was removed, and is there again (this is said once)"),
                Err(error) => {
                    let what = format!("it was removed and cannot be restored: {}", plain(&error));
                    self.say(&what);
                }
            },
        }
    }

    fn link_from(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (file, found) = open(from)?;
        if found != self.inode {
            return Err(io::Error::other("somebody has put something else in the place of its spare link"));
        }
        Ok(link(&file, to)?)
    }

    /// A worker that removes it may be one of many, or do so again and again.
    fn say(&mut self, what: &str) {
        if !std::mem::replace(&mut self.said, true) {
            say(format_args!("{}: {}: {what}", self.group, self.path.display()));
        }
    }
}
