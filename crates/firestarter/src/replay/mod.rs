//! `replay`: runs a journal that was taken from a daemon through the core, and tells event by event what happened, what the
//! core did, and the state at the end. Called by `main`. It performs nothing: no process, no socket, no daemon.
//!
//! A damaged file is told as far as it goes; an entry of another build is never guessed at unless that is asked for.

mod clock;
mod tale;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use firestarter_core::journal::{NoRecording, Reader, Recording, BUILD, FORMAT};
use firestarter_core::text::Names;
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;
use serde_json::{json, Value};

use crate::cli::{code, Replay};
use crate::say::plain;
use tale::Tale;

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("read {file}: {}", plain(.source))]
    File { file: String, source: io::Error },
    #[error("read {0}: {1}; a journal is written by: firestarter debug journal -o FILE")]
    NoRecording(String, NoRecording),
    #[error(
        "read {0}: {1}; copy it again from where it was taken, or take another: firestarter debug journal -o FILE"
    )]
    Head(String, NoRecording),
    #[error(
        "replay {file}: it was written by the build {written}, and this is {BUILD}: an entry may mean something else here; \
         use the program that wrote it, or --force"
    )]
    Build { file: String, written: String },
    #[error("replay {file}: its format is {written}, and this program's {FORMAT}: use the program that wrote it")]
    Format { file: String, written: u32 },
}

impl ReplayError {
    /// As one document, of the form that a daemon's errors have.
    fn json(&self) -> Value {
        let code = match self {
            ReplayError::File { .. } => "io",
            ReplayError::NoRecording(..) => "no_recording",
            ReplayError::Head(..) => "damaged",
            ReplayError::Build { .. } => "other_build",
            ReplayError::Format { .. } => "other_format",
        };
        json!({ "data": { "code": code }, "message": self.to_string() })
    }
}

/// Replays a file to the standard output; returns the exit code.
pub(crate) fn run(replay: &Replay) -> u8 {
    let out = &mut io::stdout().lock();
    let (told, unread) = match read(&replay.file, replay.force) {
        Ok(bytes) => (tell(&bytes, replay.json, out), code::DONE),
        Err(error) if replay.json => (writeln!(out, "{}", error.json()).map(|()| false), code::FAILED),
        Err(error) => {
            eprintln!("firestarter: {error}");
            return code::FAILED;
        }
    };
    match told {
        Ok(true) => code::DONE,
        Ok(false) => code::FAILED,
        // Nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => unread,
        Err(error) => {
            eprintln!("firestarter: write to stdout: {}", plain(&error));
            code::FAILED
        }
    }
}

/// A file that can be replayed by this build, or, if `force`, by its format.
fn read(path: &Path, force: bool) -> Result<Vec<u8>, ReplayError> {
    let file = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| ReplayError::File { file: file.clone(), source: error })?;
    check(&bytes, &file, force)?;
    Ok(bytes)
}

fn check(bytes: &[u8], file: &str, force: bool) -> Result<(), ReplayError> {
    let file = file.to_owned();
    match Recording::read(bytes) {
        Err(error @ NoRecording::Mark) => Err(ReplayError::NoRecording(file, error)),
        Err(error @ (NoRecording::Cut | NoRecording::Damaged | NoRecording::Line(_))) => {
            Err(ReplayError::Head(file, error))
        }
        Ok((head, _)) if head.format != FORMAT => Err(ReplayError::Format { file, written: head.format }),
        Ok((head, _)) if head.build != BUILD && !force => Err(ReplayError::Build { file, written: head.build }),
        Ok(_) => Ok(()),
    }
}

/// Tells all that a recording holds; says whether it was whole.
fn tell(bytes: &[u8], json: bool, out: &mut dyn Write) -> io::Result<bool> {
    let Ok((head, rest)) = Recording::read(bytes) else { return Ok(false) };
    let mut tale = Tale::new(out, json, &head)?;
    let [older, newer] = head.parts(rest);
    let (mut whole, mut core, mut names) = (true, None, Names::default());
    for (which, part) in [("older", older), ("newer", newer)] {
        if part.is_empty() {
            continue;
        }
        let before = core.take();
        let ran = run_part(part, &mut names, &mut tale, before.as_ref());
        let (after, fault) = ran?;
        if let Some(fault) = fault {
            whole = false;
            tale.fault(&format!("the {which} part, of {} bytes: {fault}", part.len()))?;
        }
        core = after;
    }
    let missing = head.missing(rest);
    if missing > 0 {
        whole = false;
        tale.fault(&format!("the file is cut short: {missing} bytes are missing"))?;
    }
    let surplus = head.surplus(rest);
    if surplus > 0 {
        whole = false;
        tale.fault(&format!("{surplus} bytes stand behind the end of the journal; they are not part of it"))?;
    }
    tale.end(core.as_ref(), &names)?;
    Ok(whole)
}

/// Runs a snapshot and its entries. `before` is the state that what came before has led to. Returns the state at the end,
/// and what is wrong.
fn run_part(
    part: &[u8],
    names: &mut Names,
    tale: &mut Tale<'_>,
    before: Option<&Supervisor>,
) -> io::Result<(Option<Supervisor>, Option<String>)> {
    let (mut core, mut reader) = match Reader::open(part) {
        Ok(opened) => opened,
        Err(why) => return Ok((before.cloned(), Some(format!("its snapshot: {why}; all of it is lost")))),
    };
    let other = before.is_some_and(|before| *before != core);
    let known = Names::of(&core);
    names.groups = known.groups;
    names.places.extend(known.places);
    names.hooks.extend(known.hooks);
    loop {
        let (now, event): (Instant, _) = match reader.entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(why) => return Ok((Some(core), Some(format!("{why}; what follows is lost")))),
        };
        core.handle(now, event);
        let mut actions = Vec::new();
        while let Some(action) = core.poll_action() {
            names.learn(&action);
            actions.push(names.action(&action));
        }
        tale.event(now, &event, &names.event(&event), &actions)?;
    }
    let fault = other.then(|| "it does not begin with the state that the older part leads to".to_owned());
    Ok((Some(core), fault))
}
