//! The file itself: what `load` says when it cannot be read.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{load, Config, Faults};
use super::around;

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("firestarter-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.0.join("f.toml");
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn loaded(path: &Path) -> Result<Config, Faults> {
    load(path, &around("/srv/app")).map(|(config, _)| config)
}

#[test]
fn a_file() {
    let folder = Folder::new("file");
    let path = folder.file(b"\xef\xbb\xbf[web]\r\nexec_start = 'a'\r\n");
    let config = loaded(&path).unwrap();
    assert_eq!(config.path, path);
    assert_eq!(config.groups.len(), 1);
}

#[test]
fn no_file() {
    let shown = loaded(Path::new("/no/such/f.toml")).unwrap_err().to_string();
    assert_eq!(
        shown,
        "cannot read /no/such/f.toml: no such file or directory\n      = help: create it, or name another file with -c \
         FILE\n1 fault in /no/such/f.toml; nothing was started"
    );
}

#[test]
fn a_folder() {
    let folder = Folder::new("folder");
    let shown = loaded(&folder.0).unwrap_err().to_string();
    assert!(shown.starts_with(&format!("cannot read {}: is a directory\n", folder.0.display())), "{shown}");
}

#[test]
fn too_large() {
    let folder = Folder::new("large");
    let mut content = b"[web]\nexec_start = 'a'\n".to_vec();
    content.resize(1 << 20, b'\n');
    assert!(loaded(&folder.file(&content)).is_ok());
    content.push(b'\n');
    let shown = loaded(&folder.file(&content)).unwrap_err().to_string();
    assert!(shown.contains(": larger than 1 MiB\n"), "{shown}");
}

#[test]
fn not_utf8() {
    let folder = Folder::new("utf8");
    let path = folder.file(b"[web]\nexec_start = '\xc3\xa9\xff'\n");
    let faults = loaded(&path).unwrap_err();
    let fault = faults.iter().next().unwrap();
    assert_eq!((fault.line, fault.column, fault.message.as_str()), (2, 16, "the byte 0xff is not UTF-8"));
    let shown = faults.to_string();
    assert!(shown.contains("    2 | exec_start = 'é\u{fffd}'\n      |                ^\n"), "{shown}");
}
