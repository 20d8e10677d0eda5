//! The files that a log consists of, found while they are being renamed: which of them are newer than one that is being
//! read. Used by `file` and `tail`. It renames nothing.
//!
//! The log is opened first, then the folder is listed, then backups are opened, the newest first. At the end the first of
//! them must still be where it was, as a rotation moves it, and the list must be the same: a name that is given while a
//! folder is listed may be left out, and so may both names of a file that gets another one. If it is not so, or a name is
//! gone when it is opened, or a file that has links is not found: then again.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::piece::{identity, Identity, Piece};
use crate::backups::{self, Backup};
use crate::output::{LogFile, Rotation};

/// A log and its backups.
pub(super) struct Chain {
    log: LogFile,
    folder: PathBuf,
    /// Backups are kept: one that is gone may have been followed by others that are gone.
    keeps: bool,
}

/// What comes after a file.
#[derive(Default)]
pub(super) struct Newer {
    /// The oldest first, and no more than so many of them.
    pub(super) pieces: VecDeque<Piece>,
    /// The file was removed, so others between it and these may have been too.
    pub(super) gap: bool,
}

/// What whoever walks wants next.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    Older,
    Enough,
}

/// So many are held open.
const OPEN: usize = 64;
/// So often a list is made anew that was old when it was used.
const TRIES: u32 = 100;

impl Chain {
    pub(super) fn new(path: &Path, rotation: Rotation) -> Chain {
        let keeps = match rotation {
            Rotation::Never => true,
            Rotation::Size { backups, .. } => backups > 0,
            Rotation::Time(schedule) => schedule.backups > 0,
        };
        // An outside logrotate numbers its backups too; 0: it counts as one only while none before it is missing.
        let outside = Rotation::Size { max_bytes: 1, backups: 0 };
        let names = if rotation == Rotation::Never { outside } else { rotation };
        let folder = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        Chain { log: LogFile::new(path.to_owned(), names), folder, keeps }
    }

    pub(super) fn path(&self) -> &Path {
        &self.log.path
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the log's path leads to this file.
    pub(super) fn is_live(&self, piece: &Piece) -> io::Result<bool> {
        match fs::metadata(&self.log.path) {
            Ok(meta) => Ok(identity(&meta) == piece.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is newer than this file; none: all there is.
    pub(super) fn newer_than(&self, current: Option<&Piece>) -> io::Result<Newer> {
        for _ in 0..TRIES {
            if let Some(newer) = self.try_newer_than(current)? {
                return Ok(newer);
            }
            thread::sleep(Duration::from_millis(1));
        }
        // It stands in the folder under a name that no backup has: somebody else has moved it, and may just have moved it back.
        let live = existing(Piece::open(&self.log.path, None))?;
        let other = live.filter(|live| current.is_none_or(|current| current.identity != live.identity));
        Ok(Newer { pieces: other.into_iter().collect(), gap: false })
    }

    fn try_newer_than(&self, current: Option<&Piece>) -> io::Result<Option<Newer>> {
        let mut newer = Newer::default();
        let Some(current) = current else {
            let whole = self.walk(|piece| {
                keep(&mut newer.pieces, piece);
                Ok(Step::Older)
            });
            return Ok(whole?.map(|()| newer));
        };
        let before = current.meta()?;
        let removed = before.nlink() == 0;
        let modified = (before.mtime(), before.mtime_nsec());
        let mut found = false;
        let whole = self.walk(|mut piece| {
            if piece.identity == current.identity {
                found = true;
                return Ok(Step::Enough);
            }
            if removed {
                let meta = piece.meta()?;
                let its = (meta.mtime(), meta.mtime_nsec());
                // A compressed backup has the times of what it was made of.
                found = its == modified && piece.compression.is_some() && piece.holds(current)?;
                if found || its < modified {
                    return Ok(Step::Enough);
                }
            }
            keep(&mut newer.pieces, piece);
            Ok(Step::Older)
        });
        let whole = whole?.is_some();
        newer.gap = !found && self.keeps;
        // If it was not found and not removed before, it is where the list did not show it, or was removed meanwhile.
        Ok(Some(newer).filter(|_| whole && (found || removed)))
    }

    /// Shows all files, the newest first. None: the list was old, and so is what was made of it.
    pub(super) fn walk(&self, mut visit: impl FnMut(Piece) -> io::Result<Step>) -> io::Result<Option<()>> {
        let mut first: Option<Held> = None;
        let mut show = |piece: Piece| {
            if first.is_none() {
                first = Some(Held::of(&piece)?);
            }
            visit(piece)
        };
        let live = existing(Piece::open(&self.log.path, None))?;
        let mut step = live.map_or(Ok(Step::Older), &mut show)?;
        let mut listed = None;
        if step == Step::Older {
            let backups = listed.insert(self.backups()?);
            for backup in backups.iter().rev() {
                let opened = Piece::open(&self.folder.join(&backup.name), backup.compression);
                let Some(piece) = existing(opened)? else { return Ok(None) };
                step = show(piece)?;
                if step == Step::Enough {
                    break;
                }
            }
        }
        let moved = !first.is_none_or(|first| first.is_there());
        let same = listed.map_or(Ok(true), |listed| self.backups().map(|now| now == listed))?;
        Ok((same && !moved).then_some(()))
    }

    fn backups(&self) -> io::Result<Vec<Backup>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        Ok(backups::of(&self.log, names))
    }
}

/// A file and where it was. While it is held no other gets its inode.
struct Held {
    path: PathBuf,
    identity: Identity,
    _file: File,
}

impl Held {
    fn of(piece: &Piece) -> io::Result<Held> {
        Ok(Held { path: piece.path.clone(), identity: piece.identity, _file: piece.hold()? })
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| identity(&meta) == self.identity)
    }
}

/// Puts an older one before those that are there, and lets go of the newest if there are too many.
fn keep(pieces: &mut VecDeque<Piece>, piece: Piece) {
    pieces.push_front(piece);
    pieces.truncate(OPEN);
}

/// None: there is no such file.
fn existing(opened: io::Result<Piece>) -> io::Result<Option<Piece>> {
    match opened {
        Ok(piece) => Ok(Some(piece)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
