//! The commands about the journal as a recording: `debug journal` takes one from a daemon and writes it to a file; what
//! `replay` is told is read here. Called by `args` and `cli::main`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Given, Usage};
use super::table::Opt;
use crate::api::{Answer, Call, Outcome, Piece, Question};
use crate::client::{Client, ClientError};
use crate::say;

/// Take the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Take {
    /// `-o`.
    pub(super) file: PathBuf,
    /// `-d`.
    pub(super) socket: Option<PathBuf>,
}

/// Replay one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// The file.
    pub(crate) file: PathBuf,
    /// `--json`.
    pub(crate) json: bool,
    /// `--force`.
    pub(crate) force: bool,
}

impl Given {
    pub(super) fn take(&self) -> Result<Take, Usage> {
        match (self.operands.as_slice(), self.path(Opt::Output)) {
            ([what], Some(file)) if what == "journal" => Ok(Take { file, socket: self.path(Opt::Socket) }),
            ([what], None) if what == "journal" => Err(self.wrong("-o FILE is missing: where to")),
            ([], _) => Err(self.wrong("what? there is: firestarter debug journal -o FILE")),
            ([what, ..], _) => Err(self.wrong(format!("{what:?}? there is: firestarter debug journal -o FILE"))),
        }
    }

    pub(super) fn replay(&self) -> Result<Replay, Usage> {
        match self.operands.as_slice() {
            [file] => Ok(Replay { file: file.into(), json: self.has(Opt::JsonLines), force: self.has(Opt::Force) }),
            [] => Err(self.wrong("FILE is missing: one that firestarter debug journal -o FILE wrote")),
            [_, more, ..] => Err(self.wrong(format!("unexpected {more:?}"))),
        }
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeError {
    #[error("write {}: {}", file.display(), say::plain(.source))]
    File { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the daemon has no journal to give: {0}")]
    Refused(String),
    #[error("the journal begins anew faster than it can be read; try again")]
    Restless,
}

impl TakeError {
    /// That there is no reply.
    pub(super) fn client(&self) -> Option<&ClientError> {
        match self {
            TakeError::Client(error) => Some(error),
            TakeError::File { .. } | TakeError::Refused(_) | TakeError::Restless => None,
        }
    }
}

/// How long the daemon may take for a piece.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So many times the log may begin anew meanwhile.
const TRIES: u32 = 20;

/// Asks for the journal piece by piece, and writes each to the file, which is removed again if it does not become whole.
/// Returns how many bytes it has.
///
/// # Errors
/// There is such a file already, it cannot be written, or there is no daemon.
pub(super) fn take(take: &Take, socket: &Path) -> Result<u64, TakeError> {
    let failed = |error| TakeError::File { file: take.file.clone(), source: error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&take.file).map_err(failed)?;
    let taken = fill(&mut file, socket, &failed);
    if taken.is_err() {
        let _ = fs::remove_file(&take.file);
    }
    taken
}

fn fill(file: &mut File, socket: &Path, failed: &dyn Fn(io::Error) -> TakeError) -> Result<u64, TakeError> {
    for _ in 0..TRIES {
        let first = ask(socket, 0)?;
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        file.write_all(first.head.as_deref().unwrap_or_default().as_bytes()).map_err(failed)?;
        let (serial, length) = (first.serial, first.length);
        let (mut at, mut piece) = (0, first);
        while piece.serial == serial {
            let bytes = piece.bytes().ok_or_else(|| TakeError::Refused("its bytes are none".to_owned()))?;
            // What was added since the head was made is not part of it.
            let new = bytes.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
            file.write_all(&bytes[..new]).map_err(failed)?;
            at += new as u64;
            if at == length {
                return file.stream_position().map_err(failed);
            }
            if new == 0 {
                return Err(TakeError::Refused("it ends before its end".to_owned()));
            }
            piece = ask(socket, at)?;
        }
    }
    Err(TakeError::Restless)
}

fn ask(socket: &Path, from: u64) -> Result<Piece, TakeError> {
    let client = Client::connect(socket, Some(TIMEOUT))?;
    match client.ask(&Call::Ask(Question::Journal { from }))?.outcome {
        Outcome::Answer(Answer::Piece(piece)) => Ok(piece),
        Outcome::Answer(_) => Err(TakeError::Refused("its answer is of another kind than the question".to_owned())),
        Outcome::Problem(problem) => Err(TakeError::Refused(problem.label().to_owned())),
        Outcome::Other { message, .. } => Err(TakeError::Refused(message)),
    }
}
