//! Where the control socket is: one rule for the daemon and its clients. Called by `cli::main`, and by the daemon before it opens the socket; the environment comes as an
//! argument. It creates nothing: making the folder and its socket is the daemon's.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The place of the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The socket's absolute path.
    pub(crate) path: PathBuf,
    /// Whether its folder stands where anybody may make one, so that it counts only if it is one's own: the daemon makes
    /// it, and both check it with `check_own`.
    pub(crate) shared_parent: bool,
}

/// Why the folder of the socket cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It belongs to somebody who may listen in our place.
    #[error("{} belongs to uid {owner}, not to us", path.display())]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may put a socket of theirs there, or it is a link to elsewhere.
    #[error("{} must be a folder that nobody else can write to", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("stat {}: {source}", path.display())]
    Stat {
        /// The folder.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

/// The first of: `given` (`-d`), `$FIRESTARTER_SOCKET`, root's, the user's runtime folder, the temporary folder. A variable
/// that is empty counts as unset; a relative path counts from `cwd`.
pub(crate) fn socket_path(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    uid: u32,
    cwd: &Path,
) -> Place {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let sure = |path: PathBuf| Place { path: cwd.join(path), shared_parent: false };
    if let Some(path) = given.map(Path::to_owned).or_else(|| variable("FIRESTARTER_SOCKET")) {
        return sure(path);
    }
    if uid == 0 {
        return sure(PathBuf::from("/run/firestarter/control.sock"));
    }
    // A relative XDG_RUNTIME_DIR is invalid and to be ignored: XDG Base Directory Specification.
    if let Some(runtime) = variable("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
        return sure(runtime.join("firestarter/control.sock"));
    }
    let temporary = variable("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let path = cwd.join(temporary).join(format!("firestarter-{uid}")).join("control.sock");
    Place { path, shared_parent: true }
}

/// Checks that the folder of `place` is `uid`'s own. A folder that is not there is no error here: then there is no socket.
pub(crate) fn check_own(place: &Place, uid: u32) -> Result<(), FolderError> {
    let (true, Some(folder)) = (place.shared_parent, place.path.parent()) else { return Ok(()) };
    let path = folder.to_owned();
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FolderError::Stat { path, source }),
        Ok(found) if found.uid() != uid => Err(FolderError::Owner { path, owner: found.uid() }),
        Ok(found) if !found.is_dir() || found.mode() & 0o022 != 0 => Err(FolderError::Open { path }),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at(given: Option<&str>, environment: &[(&str, &str)], uid: u32) -> (String, bool) {
        let variable =
            |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let place = socket_path(given.map(Path::new), variable, uid, Path::new("/here"));
        (place.path.display().to_string(), place.shared_parent)
    }

    #[test]
    fn the_first_that_is_set_wins() {
        let all = [("FIRESTARTER_SOCKET", "/e"), ("XDG_RUNTIME_DIR", "/x"), ("TMPDIR", "/t")];
        assert_eq!(at(Some("/d"), &all, 7), ("/d".into(), false));
        assert_eq!(at(None, &all, 7), ("/e".into(), false));
        assert_eq!(at(None, &all, 0), ("/e".into(), false));
        assert_eq!(at(None, &all[1..], 0), ("/run/firestarter/control.sock".into(), false));
        assert_eq!(at(None, &all[1..], 7), ("/x/firestarter/control.sock".into(), false));
        assert_eq!(at(None, &all[2..], 7), ("/t/firestarter-7/control.sock".into(), true));
        assert_eq!(at(None, &[], 7), ("/tmp/firestarter-7/control.sock".into(), true));
    }

    #[test]
    fn empty_counts_as_unset_and_relative_from_here() {
        let empty = [("FIRESTARTER_SOCKET", ""), ("XDG_RUNTIME_DIR", ""), ("TMPDIR", "")];
        assert_eq!(at(None, &empty, 7), ("/tmp/firestarter-7/control.sock".into(), true));
        assert_eq!(at(Some("s.sock"), &empty, 7), ("/here/s.sock".into(), false));
        assert_eq!(at(None, &[("FIRESTARTER_SOCKET", "e")], 7), ("/here/e".into(), false));
        assert_eq!(at(None, &[("XDG_RUNTIME_DIR", "run")], 7), ("/tmp/firestarter-7/control.sock".into(), true));
        assert_eq!(at(None, &[("TMPDIR", "t")], 7), ("/here/t/firestarter-7/control.sock".into(), true));
    }

    #[test]
    fn a_folder_of_somebody_else_or_open_to_all_is_not_trusted() {
        let folder = std::env::temp_dir().join(format!("firestarter-own-{}", std::process::id()));
        let place = Place { path: folder.join("control.sock"), shared_parent: true };
        let own = rustix::process::geteuid().as_raw();
        assert!(check_own(&place, own).is_ok(), "not there");
        fs::create_dir(&folder).expect("a new folder");
        let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("chmod");
        mode(0o711);
        assert!(check_own(&place, own).is_ok());
        assert!(matches!(check_own(&place, own + 1), Err(FolderError::Owner { .. })));
        mode(0o777);
        assert!(matches!(check_own(&place, own), Err(FolderError::Open { .. })));
        assert!(check_own(&Place { shared_parent: false, ..place.clone() }, own).is_ok());
        fs::remove_dir(&folder).expect("rmdir");
        std::os::unix::fs::symlink("/", &folder).expect("a link");
        assert!(check_own(&place, own).is_err(), "a link");
        fs::remove_file(&folder).expect("unlink");
    }
}
