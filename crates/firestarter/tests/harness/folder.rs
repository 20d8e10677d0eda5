//! The folder of a test, and the mark of all that is started there.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::proc::{self, Sig};
use super::{asked, notifier, pause, worker, LIMIT};

/// In the environment of all that a test starts, with the test's folder as its value.
const MARK: &str = "FS_TEST_FOLDER";

/// A folder, short enough for sockets, gone at the end together with every process that bears its mark.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fs{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new("/tmp").join(name);
        fs::DirBuilder::new().mode(0o711).create(&path).expect("a new folder");
        Folder(path)
    }

    /// In the place of one that is given away: no folder.
    pub(super) fn none() -> Folder {
        Folder(PathBuf::new())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What stands in a file; nothing if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.join(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).expect("write a file of the test");
        path
    }

    /// An executable file.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// The processes that bear the mark: keeper, daemon, workers and what these have started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.0.display());
        let bears = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        };
        proc::all().into_iter().filter(bears).collect()
    }

    /// A command in this folder whose processes bear the mark, in a process group of its own.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(MARK, &self.0).env_remove("FIRESTARTER_SOCKET").current_dir(&self.0);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Writes a configuration; `@DIR@` becomes the folder, `@WORKER@` the tests' worker.
    pub(crate) fn config(&self, toml: &str) -> PathBuf {
        let mut toml = toml.replace("@DIR@", &self.0.display().to_string());
        if toml.contains("@WORKER@") {
            toml = toml.replace("@WORKER@", worker());
        }
        if toml.contains("@NOTIFIER@") {
            toml = toml.replace("@NOTIFIER@", notifier());
        }
        if toml.contains("@ASKED@") {
            toml = toml.replace("@ASKED@", asked());
        }
        self.write("config.toml", &toml)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let begun = Instant::now();
        // Whoever is killed first may have started somebody meanwhile, so again until nobody is left.
        loop {
            let left = self.processes();
            if left.is_empty() || begun.elapsed() > LIMIT {
                break;
            }
            left.into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
            pause();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
