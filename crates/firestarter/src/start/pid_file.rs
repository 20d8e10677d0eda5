//! A file that holds the keeper's pid as long as it runs. Called by `start`. Its folder may be everybody's: the file comes
//! whole in place of what stands there, and no link is followed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::daemon::open::OpenError;

/// A pid file; dropped, it is removed, if it is still this process's.
pub(super) struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// It cannot be written there.
    pub(super) fn write(path: &Path) -> Result<PidFile, OpenError> {
        let pid = std::process::id();
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{pid}"));
        let fresh = PathBuf::from(fresh);
        let written = write_new(&fresh, pid).and_then(|()| {
            fs::rename(&fresh, path).inspect_err(|_| {
                let _ = fs::remove_file(&fresh);
            })
        });
        match written {
            Ok(()) => Ok(PidFile { path: path.to_owned(), pid }),
            Err(source) => Err(OpenError::File { what: "write the pid file", path: path.to_owned(), source }),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = fs::read_to_string(&self.path).is_ok_and(|text| text == self.pid.to_string());
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a file that was not there, with the pid and nothing else, as Einhorn does.
fn write_new(path: &Path, pid: u32) -> io::Result<()> {
    let mut file = match File::options().write(true).create_new(true).open(path) {
        // Left by a process of the same number, which is no more.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::options().write(true).create_new(true).open(path)?
        }
        opened => opened?,
    };
    file.write_all(pid.to_string().as_bytes()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_a_link_and_goes_only_while_it_is_ours() {
        let folder = std::env::temp_dir().join(format!("firestarter-pid-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (path, other) = (folder.join("pid"), folder.join("other"));
        fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert!(fs::symlink_metadata(&path).unwrap().is_file() && fs::read_to_string(&other).unwrap() == "kept");
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1", "a later one's is left");
        assert!(PidFile::write(&folder.join("no/pid")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
