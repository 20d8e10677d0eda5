//! What an edition of a group runs, held fast: the program and the working directory as they were found when the edition
//! was first spawned. Whatever is put under their paths later, a spawn of that edition runs what its first one ran. So a
//! respawn in the middle of a bad upgrade, and a rollback, start the program that served.
//!
//! A *pin* is two descriptors that stand for the folder and the file and hold neither their content nor a lock (O_PATH).
//! They are in the table that outlives the daemon, named in the ledger. Where a path still leads to the same file, that
//! path is run, so that a script, and a program that asks for its own path, see nothing unusual; the path as configured
//! comes first, then the one that the kernel knows the file by. A file that has none any more is run by its descriptor.
//!
//! Where a folder on the way is a symlink, as `current` in `/srv/app/current/server`, the words of the command that begin
//! with it are rewritten to where it led: what such a worker is given to read is of its own release.
//!
//! Made and used by the threads that spawn, as looking at files may take long; dropped by the loop when the core does not
//! name the edition any more. A program that cannot be looked at is not pinned: it is run by its path.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::symlink_metadata;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use firestarter_core::action::Notice;
use firestarter_core::ids::{Edition, GroupId};
use rustix::fs::{fstat, open, openat, readlink, statat, AtFlags, FileType, Mode, OFlags, Stat, CWD};

use crate::journal::{Ledger, Meaning};
use crate::sys::fds;
use crate::sys::image::{self, Image, Program, Strings};

/// The most descriptors that the pins of one group hold: two for each edition that the core names.
pub(super) const FILES: u64 = 6;

/// What the ledger names of pins.
pub(super) type Pinned = Vec<(Meaning, OwnedFd)>;

/// All pins.
pub(super) struct Pins {
    ledger: &'static Ledger,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    pins: BTreeMap<(GroupId, Edition), Arc<Pin>>,
    /// Groups that may have pins which the core does not name any more.
    unsettled: BTreeSet<GroupId>,
}

/// What one edition runs.
struct Pin {
    folder: Held,
    program: Held,
    /// Which of the image's programs it was.
    place: usize,
    /// Its command where folders on the way were symlinks; looked for when it is first wanted.
    followed: OnceLock<Followed>,
}

/// A descriptor that the ledger names for as long as it is open.
struct Held {
    fd: OwnedFd,
    file: File,
    ledger: &'static Ledger,
}

/// What tells one file from another for as long as one of them is held.
type File = (u64, u64);

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.forget(&self.fd);
    }
}

impl Pins {
    /// With those that the last daemon left; the core is asked later whether it still names them.
    pub(super) fn new(ledger: &'static Ledger, pinned: Pinned) -> Pins {
        let (mut folders, mut programs) = (BTreeMap::new(), BTreeMap::new());
        for (meaning, fd) in pinned {
            let Some(held) = Held::adopt(ledger, fd) else { continue };
            if let Meaning::PinnedFolder { group, edition } = meaning {
                folders.insert((GroupId(group), Edition(edition)), held);
            } else if let Meaning::PinnedProgram { group, edition, place } = meaning {
                programs.insert((GroupId(group), Edition(edition)), (held, place as usize));
            }
        }
        let whole = programs.into_iter().filter_map(|(key, (program, place))| {
            let folder = folders.remove(&key)?;
            Some((key, Arc::new(Pin { folder, program, place, followed: OnceLock::new() })))
        });
        let pins: BTreeMap<_, _> = whole.collect();
        let unsettled = pins.keys().map(|(group, _)| *group).collect();
        Pins { ledger, inside: Mutex::new(Inside { pins, unsettled }) }
    }

    /// What a spawn of this edition runs. Blocks for as long as the files' servers do.
    pub(super) fn aim(&self, group: GroupId, edition: Edition, image: &Image) -> Aim {
        let known = self.lock().pins.get(&(group, edition)).cloned();
        let Some(pin) = known.or_else(|| self.pin(group, edition, image)) else { return Aim::default() };
        let followed = pin.followed.get_or_init(|| Followed::new(&pin, image));
        let folder = leads_to(CWD, image.directory(), pin.folder.file);
        let program = match pin.path(image, followed) {
            Some(path) => Program::Path(path),
            None => Program::Staged(PROGRAM),
        };
        let (folder, argv) = ((!folder).then_some(FOLDER), followed.argv.clone());
        Aim { aim: image::Aim { folder, program: Some(program), others: pin.place + 1, argv }, pin: Some(pin) }
    }

    /// The first spawn of an edition. None: what it runs cannot be held fast, or is not there.
    fn pin(&self, group: GroupId, edition: Edition, image: &Image) -> Option<Arc<Pin>> {
        let folder = open(image.directory(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let (place, program) = image.programs().iter().enumerate().find_map(|(place, program)| {
            let fd = openat(&folder, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
            is_program(&fstat(&fd).ok()?).then_some((place, fd))
        })?;
        let (group_number, edition_number) = (group.0, edition.0);
        // A daemon that dies between the two leaves a folder alone, which is no pin.
        let meaning = Meaning::PinnedFolder { group: group_number, edition: edition_number };
        let folder = Held::new(self.ledger, folder, meaning)?;
        let meaning = Meaning::PinnedProgram { group: group_number, edition: edition_number, place: place as u32 };
        let program = Held::new(self.ledger, program, meaning)?;
        let pin = Arc::new(Pin { folder, program, place, followed: OnceLock::new() });
        let mut inside = self.lock();
        inside.unsettled.insert(group);
        inside.pins.insert((group, edition), Arc::clone(&pin));
        Some(pin)
    }

    /// Something has happened after which the core may name fewer editions.
    pub(super) fn heed(&self, notice: &Notice) {
        if let Notice::RolloutCommitted { group, .. } | Notice::RolloutAborted { group, .. } = notice {
            self.lock().unsettled.insert(*group);
        }
    }

    /// Drops the pins of editions that are not named any more.
    pub(super) fn settle(&self, named: impl Fn(GroupId) -> Vec<Edition>) {
        let mut inside = self.lock();
        for group in std::mem::take(&mut inside.unsettled) {
            let named = named(group);
            let of_group = (group, Edition(0))..=(group, Edition(u32::MAX));
            let gone = inside.pins.range(of_group).map(|(key, _)| *key).filter(|(_, edition)| !named.contains(edition));
            for key in gone.collect::<Vec<_>>() {
                inside.pins.remove(&key);
            }
        }
    }

    /// A panic ends the process, so nobody sees a poisoned lock; its content would still be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// None: its number is too high for the ledger, or it cannot be looked at.
    fn new(ledger: &'static Ledger, fd: OwnedFd, meaning: Meaning) -> Option<Held> {
        let file = file_of(&fstat(&fd).ok()?);
        ledger.name(&fd, meaning).ok()?;
        Some(Held { fd, file, ledger })
    }

    /// One that the ledger names already.
    fn adopt(ledger: &'static Ledger, fd: OwnedFd) -> Option<Held> {
        match fstat(&fd) {
            Ok(stat) => Some(Held { fd, file: file_of(&stat), ledger }),
            Err(_) => {
                ledger.forget(&fd);
                None
            }
        }
    }

    /// The path that the kernel knows it by; of one that was removed it is none that leads to it.
    fn path(&self) -> Option<PathBuf> {
        let link = readlink(format!("/proc/self/fd/{}", self.fd.as_raw_fd()), Vec::new()).ok()?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes())))
    }
}

impl Pin {
    /// A path that leads to the program, seen from the working directory.
    fn path(&self, image: &Image, followed: &Followed) -> Option<CString> {
        let given = image.programs().get(self.place);
        let configured = [followed.program.as_ref(), given].into_iter().flatten();
        let leads = |path: &CStr| leads_to(self.folder.fd.as_fd(), path, self.program.file);
        let found = configured.into_iter().find(|path| leads(path)).cloned();
        found.or_else(|| c_path(self.program.path()?).filter(|path| leads(path)))
    }
}

/// What a spawn runs, before it is on the stage.
#[derive(Default)]
pub(super) struct Aim {
    aim: image::Aim,
    pin: Option<Arc<Pin>>,
}

/// Numbers on the stage, above those of sockets.
const FOLDER: RawFd = 58;
const PROGRAM: RawFd = 59;

impl Aim {
    /// Puts on the stage what is not run by its path. Whoever holds the pin keeps it open.
    pub(super) fn staged(self) -> io::Result<(image::Aim, Option<impl Sized>)> {
        let Aim { aim, pin } = self;
        if let Some(pin) = &pin {
            if aim.folder.is_some() {
                fds::place(pin.folder.fd.as_raw_fd(), FOLDER, true)?;
            }
            if matches!(aim.program, Some(Program::Staged(_))) {
                fds::place(pin.program.fd.as_raw_fd(), PROGRAM, true)?;
            }
        }
        Ok((aim, pin))
    }
}

/// Takes it away again. Numbers on the stage are open: nothing can go wrong.
pub(super) fn clear_stage(aim: &image::Aim, placeholder: RawFd) {
    if aim.folder.is_some() {
        let _ = fds::place(placeholder, FOLDER, true);
    }
    if matches!(aim.program, Some(Program::Staged(_))) {
        let _ = fds::place(placeholder, PROGRAM, true);
    }
}

/// What a command becomes where symlinks on the way have been followed; none: what it is.
struct Followed {
    program: Option<CString>,
    argv: Option<Arc<Strings>>,
}

impl Followed {
    fn new(pin: &Pin, image: &Image) -> Followed {
        let folder = Path::new(OsStr::from_bytes(image.directory().to_bytes()));
        let given = image.programs().get(pin.place);
        let program = given.map(|program| folder.join(OsStr::from_bytes(program.to_bytes())));
        // The program itself may be a link as well, but is no folder.
        let on_the_way = Link::find(folder.ancestors(), folder, &pin.folder);
        let to_program = program.and_then(|path| Link::find(path.ancestors().skip(1), &path, &pin.program));
        let links: Vec<Link> = on_the_way.into_iter().chain(to_program).collect();
        let follow = |word: &CString| links.iter().find_map(|link| link.follow(word));
        let words = image.arguments();
        let argv = words.iter().any(|word| follow(word).is_some()).then(|| {
            let words = words.iter().map(|word| follow(word).unwrap_or_else(|| word.clone()));
            Arc::new(Strings::of(words.collect()))
        });
        Followed { program: given.and_then(follow), argv }
    }
}

/// A folder that is a symlink, and where it led.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    link: PathBuf,
    target: PathBuf,
}

impl Link {
    /// The first of these folders that is one. They are on the way of a path to what is held, whose own path then says where
    /// the link led, also when it leads elsewhere by now. Links in the root, such as `/bin`, are the system's and stay.
    fn find<'p>(folders: impl Iterator<Item = &'p Path>, given: &Path, held: &Held) -> Option<Link> {
        let is_link = |folder: &&Path| symlink_metadata(folder).is_ok_and(|found| found.is_symlink());
        let deep = |folder: &&Path| folder.parent().is_some_and(|above| above.parent().is_some());
        let link = { folders }.filter(deep).find(is_link)?;
        let (rest, path) = (given.strip_prefix(link).ok()?, held.path()?);
        let target = without_end(&path, rest)?;
        let leads = leads_to(CWD, &c_path(target.join(rest))?, held.file);
        (leads && target != link).then(|| Link { link: link.to_owned(), target: target.to_owned() })
    }

    /// A word that begins with the link, with the target in its place.
    fn follow(&self, word: &CStr) -> Option<CString> {
        let rest = word.to_bytes().strip_prefix(self.link.as_os_str().as_bytes())?;
        let whole = rest.is_empty() || rest.starts_with(b"/");
        whole.then(|| CString::new([self.target.as_os_str().as_bytes(), rest].concat()).ok()).flatten()
    }
}

/// A path without its last components, if they are these.
fn without_end<'p>(path: &'p Path, end: &Path) -> Option<&'p Path> {
    path.ends_with(end).then(|| path.ancestors().nth(end.components().count())).flatten()
}

fn c_path(path: PathBuf) -> Option<CString> {
    CString::new(path.into_os_string().into_vec()).ok()
}

fn leads_to(folder: BorrowedFd<'_>, path: &CStr, file: File) -> bool {
    statat(folder, path, AtFlags::empty()).is_ok_and(|stat| file_of(&stat) == file)
}

fn file_of(stat: &Stat) -> File {
    (stat.st_dev, stat.st_ino)
}

/// Whether somebody may execute the file.
fn is_program(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(link: &str, target: &str) -> Link {
        Link { link: link.into(), target: target.into() }
    }

    #[test]
    fn words_that_begin_with_a_link_follow_it() {
        let current = link("/srv/app/current", "/srv/app/releases/42");
        for (word, want) in [
            (c"/srv/app/current", Some(c"/srv/app/releases/42")),
            (c"/srv/app/current/", Some(c"/srv/app/releases/42/")),
            (c"/srv/app/current/bin/x", Some(c"/srv/app/releases/42/bin/x")),
            (c"/srv/app/currently", None),
            (c"/srv/app", None),
            (c"--config=/srv/app/current/x", None),
            (c"", None),
        ] {
            assert_eq!(current.follow(word).as_deref(), want, "{word:?}");
        }
    }

    #[test]
    fn the_end_of_a_path_is_taken_off_by_components() {
        let without = |path: &'static str, end: &str| without_end(Path::new(path), Path::new(end)).map(Path::to_owned);
        assert_eq!(without("/srv/releases/42/sub/dir", "sub/dir"), Some("/srv/releases/42".into()));
        assert_eq!(without("/srv/releases/42", ""), Some("/srv/releases/42".into()));
        assert_eq!(without("/srv/releases/sub", "b"), None);
        assert_eq!(without("/usr/bin/node", "bin/server"), None);
    }
}
