//! What a program that is executed in place of this one needs to know of the start: the configuration as it was read, and
//! what this process was like before Firestarter changed it. Written once, before the keeper runs.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use firestarter_core::spec::ExitWhen;
use rustix::fs::{memfd_create, MemfdFlags};
use serde::{Deserialize, Serialize};

use crate::journal::LAYOUT;
use crate::place::Place;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of the journal's memory; another one cannot be taken over.
    pub(super) layout: u32,
    /// The version that wrote it.
    pub(super) release: String,
    /// Where the program was found.
    pub(super) program: PathBuf,
    /// Where the one is that is to take its place.
    #[serde(default)]
    pub(super) next: Option<PathBuf>,
    /// Where the one was found whose place it takes.
    #[serde(default)]
    pub(super) before: Option<PathBuf>,
    pub(super) config: PathBuf,
    /// What stood in it.
    pub(super) text: String,
    /// What stood in the files that it names.
    #[serde(default)]
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) cwd: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) shared_parent: bool,
    pub(super) exit_when: Option<String>,
    pub(super) open_files: (u64, u64),
    pub(super) oom_score: Option<i32>,
    /// In nanoseconds since the machine was started.
    pub(super) since: u64,
    pub(super) hangup_ignored: bool,
}

impl Record {
    pub(super) fn place(&self) -> Place {
        Place { path: self.socket.clone(), shared_parent: self.shared_parent }
    }

    pub(super) fn exit_when(&self) -> Option<ExitWhen> {
        self.exit_when.as_deref().and_then(word_to_exit)
    }

    /// As a file in memory.
    ///
    /// # Errors
    /// A path is no UTF-8; no descriptor; no memory.
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("firestarter-record", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }

    /// # Errors
    /// It is none, or its memory has another layout.
    pub(super) fn read(bytes: &[u8]) -> io::Result<Record> {
        #[derive(Deserialize)]
        struct Beginning {
            layout: u32,
            release: String,
        }
        let Beginning { layout, release } = serde_json::from_slice(bytes)?;
        if layout != LAYOUT {
            let own = env!("CARGO_PKG_VERSION");
            return Err(io::Error::other(format!(
                "{release} keeps its memory in layout {layout}, {own} in layout {LAYOUT}: stop the one and start the other"
            )));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// What stands in a file in memory.
    ///
    /// # Errors
    /// As `read`.
    pub(super) fn read_file(file: OwnedFd) -> io::Result<Record> {
        let (mut file, mut bytes) = (File::from(file), Vec::new());
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Record::read(&bytes)
    }
}

/// The words of `--exit-when`.
const EXITS: [(&str, ExitWhen); 3] =
    [("never", ExitWhen::Never), ("failed", ExitWhen::Failed), ("done", ExitWhen::Done)];

fn word_to_exit(word: &str) -> Option<ExitWhen> {
    EXITS.iter().find(|(its, _)| *its == word).map(|(_, exit)| *exit)
}

pub(super) fn exit_to_word(exit: ExitWhen) -> String {
    EXITS.iter().find(|(_, its)| *its == exit).map_or("never", |(word, _)| word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            layout: LAYOUT,
            release: "9.9.9".to_owned(),
            program: "/usr/bin/firestarter".into(),
            next: Some("/opt/firestarter".into()),
            before: None,
            config: "/etc/firestarter/config.toml".into(),
            text: "[web]\nexec_start = 'x'\n".to_owned(),
            files: vec![("/etc/web.env".into(), "A=1\n".to_owned())],
            cwd: "/srv".into(),
            socket: "/run/firestarter.sock".into(),
            shared_parent: true,
            exit_when: Some(exit_to_word(ExitWhen::Failed)),
            open_files: (1024, u64::MAX),
            oom_score: Some(-900),
            since: u64::MAX,
            hangup_ignored: true,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let read = Record::read_file(record().write().unwrap()).unwrap();
        assert_eq!(read, record());
        assert_eq!(read.exit_when(), Some(ExitWhen::Failed));
    }

    #[test]
    fn another_layout_is_refused_whatever_else_it_has() {
        let error = Record::read(br#"{"layout": 999, "release": "8.0", "new": 1}"#).unwrap_err().to_string();
        assert!(error.starts_with("8.0 keeps its memory in layout 999, "), "{error}");
        for other in ["", "{}", "[]", r#"{"layout": "x"}"#] {
            assert!(Record::read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
