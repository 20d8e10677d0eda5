//! `init`: writes a first configuration for a command, with comments on what one will want to change. Called by `main`.
//! It reads nothing but the command and never overwrites a file.
//!
//! `recipe` knows how the known servers take their sockets; `text` writes that down.

mod arguments;
mod recipe;
#[cfg(test)]
mod tests;
mod text;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::code;
use crate::say::{plain, say};

/// Where a configuration is written that nobody named: where `run` looks first.
const PLACE: &str = "firestarter.toml";

/// Writes the configuration for a command; returns the exit code.
pub(crate) fn run(file: Option<PathBuf>, command: &[String]) -> u8 {
    let text = text::written(&recipe::recipe(command));
    let path = file.unwrap_or_else(|| PathBuf::from(PLACE));
    let printed = path.as_os_str() == "-";
    let written = if printed { io::stdout().write_all(text.as_bytes()) } else { write_new(&path, &text) };
    match written {
        Ok(()) if printed => code::DONE,
        Ok(()) => {
            let named = if path.as_os_str() == PLACE { String::new() } else { format!(" -c {}", path.display()) };
            println!("wrote {}; next: firestarter check{named}, then firestarter run{named}", path.display());
            code::DONE
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            say(format_args!("{} exists and is not overwritten; name another file with -c FILE", path.display()));
            code::FAILED
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code::DONE,
        Err(error) => {
            say(format_args!("write {}: {}", path.display(), plain(&error)));
            code::FAILED
        }
    }
}

/// Makes the file, whole or not at all. What stands at the path already, be it a link, is left alone.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}
