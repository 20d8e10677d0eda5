//! Disks of a test's own: full, free again, frozen. They need root; without it a test says that it skips what needs one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A disk of the test's own, in the folder of the test. It must go before the folder does, which cannot be removed else, and
/// where a frozen one would hold up whoever tries: so it is declared behind the Firestarter that has the folder.
pub(crate) struct Disk(pub(crate) PathBuf);

pub(crate) fn run(program: &str, words: &[&str]) -> bool {
    let status = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Disk {
    /// None where none can be mounted.
    pub(crate) fn mount(place: &Path, words: &[&str]) -> Option<Disk> {
        fs::create_dir(place).expect("a folder");
        let mounted = run("mount", &[words, &[place.to_str().expect("a path")]].concat());
        if !mounted {
            eprintln!("skipped: no disk can be mounted here, which needs root");
        }
        mounted.then(|| Disk(place.to_owned()))
    }

    pub(crate) fn small(place: &Path) -> Option<Disk> {
        Disk::mount(place, &["-t", "tmpfs", "-o", "size=64k", "none"])
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.0.join("fill")).expect("a file");
        for size in [4096, 1] {
            while file.write(&vec![b'-'; size]).is_ok_and(|written| written > 0) {}
        }
    }

    /// There is room again, and much.
    pub(crate) fn free(&self) {
        let place = self.0.to_str().expect("a path");
        assert!(run("mount", &["-o", "remount,size=400m", place]), "remount");
        let _ = fs::remove_file(self.0.join("fill"));
    }

    pub(crate) fn freeze(&self, word: &str) -> bool {
        run("fsfreeze", &[word, self.0.to_str().expect("a path")])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.freeze("-u");
        run("umount", &["-l", self.0.to_str().expect("a path")]);
    }
}
