//! Signs of life: for each worker of a group with `live_check_timeout` a file that it touches, named in its environment.
//!
//! The file belongs to the worker's user, its folder to the daemon's, so that a worker can touch its file and put nothing
//! in its place. It is made before each spawn, anew, by the thread that spawns, and removed when the worker is buried.
//! Whether a sign is too old is the core's to decide.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::event::Event;
use firestarter_core::ids::{GroupId, WorkerId};
use rustix::fs::{AtFlags, CWD};
use rustix::time::{clock_gettime, ClockId};

use super::open::Runtime;
use super::Setup;
use crate::config::Group;
use crate::journal::Row;

/// Of a file that is not there the last sign came this long ago: the longest time whose nanoseconds fit into 64 bits.
const NEVER: Duration = Duration::from_nanos(u64::MAX);

/// Where the files of a group are made, and whose.
pub(super) struct Signs {
    folder: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Signs {
    /// None if the group is not checked.
    pub(super) fn of(group: &Group, index: u32, runtime: &Runtime) -> Option<Signs> {
        group.spec.live_check?;
        let owner = super::identity::change(group).map(|user| (user.uid, user.gid));
        Some(Signs { folder: runtime.watch_folder(index), owner })
    }

    /// The path of a worker's file, but for the number of its row.
    pub(super) fn beginning(&self) -> PathBuf {
        self.folder.join("")
    }

    /// Makes the file of the worker in this row. What is left there of one before is removed.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn make(&self, row: Row) -> io::Result<()> {
        let path = path(&self.folder, row);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let new =
            File::options().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path)?;
        match self.owner {
            Some((uid, gid)) => std::os::unix::fs::fchown(new, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

/// What the file of the worker in this row says.
pub(super) fn look(runtime: &Runtime, group: GroupId, row: Row, worker: WorkerId) -> Event {
    let path = path(&runtime.watch_folder(group.0), row);
    let Ok(found) = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) else {
        return Event::Looked { worker, mark: 0, ago: NEVER };
    };
    let since_epoch = |seconds: i64, nanoseconds: i64| Duration::new(seconds.max(0) as u64, nanoseconds as u32);
    let touched = since_epoch(found.st_mtime, found.st_mtime_nsec as i64);
    let now = clock_gettime(ClockId::Realtime);
    let ago = since_epoch(now.tv_sec, now.tv_nsec).saturating_sub(touched);
    Event::Looked { worker, mark: touched.as_nanos() as u64, ago: ago.min(NEVER) }
}

/// The worker in this row has ended.
pub(super) fn forget(setup: &Setup, group: GroupId, row: Row) {
    let checked = setup.config.groups.get(group.0 as usize).is_some_and(|group| group.spec.live_check.is_some());
    if checked {
        let _ = fs::remove_file(path(&setup.runtime.watch_folder(group.0), row));
    }
}

/// Removes a group's files and their folder. Only the daemon's user can have put anything there.
pub(super) fn remove_all(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    files.flatten().for_each(|file| drop(fs::remove_file(file.path())));
    let _ = fs::remove_dir(folder);
}

fn path(folder: &Path, row: Row) -> PathBuf {
    folder.join(row.0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::time::SystemTime;

    use crate::place::Place;

    struct Scene {
        runtime: Runtime,
        signs: Signs,
    }

    const ROW: Row = Row(7);

    fn scene(name: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("firestarter-live-{name}-{}", std::process::id()));
        let runtime = Runtime::new(Place { path: folder.join("c"), shared_parent: false });
        let folder = runtime.watch_folder(3);
        fs::create_dir_all(&folder).unwrap();
        Scene { signs: Signs { folder, owner: None }, runtime }
    }

    impl Scene {
        fn looked(&self) -> (u64, Duration) {
            let Event::Looked { mark, ago, .. } = look(&self.runtime, GroupId(3), ROW, WorkerId(1)) else {
                panic!("a look tells of something else")
            };
            (mark, ago)
        }

        fn touch(&self, at: SystemTime) {
            File::options().write(true).open(path(&self.signs.folder, ROW)).unwrap().set_modified(at).unwrap();
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            remove_all(&self.signs.folder);
            let _ = fs::remove_dir_all(self.runtime.control().parent().unwrap());
        }
    }

    #[test]
    fn each_touch_is_another_mark_and_its_age_is_told() {
        let scene = scene("touch");
        assert_eq!(scene.looked(), (0, NEVER), "no file");
        scene.signs.make(ROW).unwrap();
        let (born, ago) = scene.looked();
        assert!(born != 0 && ago < Duration::from_secs(60), "{ago:?}");
        scene.touch(SystemTime::now() - Duration::from_secs(100));
        let (before, ago) = scene.looked();
        assert!(before != born && ago >= Duration::from_secs(100) && ago < Duration::from_secs(160), "{ago:?}");
        scene.touch(SystemTime::now() + Duration::from_secs(100));
        assert_eq!(scene.looked().1, Duration::ZERO, "the clock was set back");
        scene.touch(SystemTime::UNIX_EPOCH - Duration::from_secs(5));
        assert!(scene.looked().1 > Duration::from_secs(1 << 30), "before all time");
        fs::remove_file(path(&scene.signs.folder, ROW)).unwrap();
        assert_eq!(scene.looked(), (0, NEVER), "removed");
    }

    #[test]
    fn a_file_is_new_and_a_link_in_its_place_is_not_followed() {
        let scene = scene("link");
        let (precious, there) = (scene.runtime.control().with_file_name("precious"), path(&scene.signs.folder, ROW));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &there).unwrap();
        let old = SystemTime::now() - Duration::from_secs(1000);
        File::options().write(true).open(&precious).unwrap().set_modified(old).unwrap();
        assert!(scene.looked().1 < Duration::from_secs(500), "the link's own time");
        scene.signs.make(ROW).unwrap();
        let found = fs::symlink_metadata(&there).unwrap();
        assert!(found.is_file() && found.permissions().mode() & 0o777 == 0o600, "{found:?}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        let old = found.ino();
        fs::hard_link(&there, scene.runtime.control()).unwrap();
        scene.signs.make(ROW).unwrap();
        assert_ne!(fs::metadata(&there).unwrap().ino(), old, "never the file of a worker before");
    }
}
