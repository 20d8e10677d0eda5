//! Reads a folder of files of which each is a variable, as envdir(8) of daemontools has it: the name is the file's, the
//! value its first line without blanks at its end; an empty file takes the variable away. Called by the thread that spawns,
//! for each worker anew: a disk that hangs holds up that group alone.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file is read no further: the kernel passes no longer variable on.
const LONGEST: u64 = 128 * 1024;

/// The variables, and their values; none: to be taken away. Files that begin with a dot, folders, and names that no
/// variable can have are passed over.
///
/// # Errors
/// The folder, or a file in it, cannot be read.
pub(super) fn read(folder: &Path) -> io::Result<Vec<(OsString, Option<OsString>)>> {
    let mut variables = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let no_name = name.as_bytes().first() == Some(&b'.') || name.as_bytes().contains(&b'=');
        if no_name || !fs::metadata(entry.path())?.is_file() {
            continue;
        }
        let mut content = Vec::new();
        // What was a file a moment ago may be a FIFO now, which nobody may wait for.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(entry.path())?;
        file.take(LONGEST).read_to_end(&mut content)?;
        variables.push((name, value(&content)));
    }
    Ok(variables)
}

fn value(content: &[u8]) -> Option<OsString> {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = OsStr::from_bytes(line).as_bytes().trim_ascii_end();
    // In place of a line's end, which a first line cannot have.
    let value = line.iter().map(|byte| if *byte == 0 { b'\n' } else { *byte });
    (!content.is_empty()).then(|| OsString::from_vec(value.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_and_an_empty_file_takes_away() {
        let of = |content: &[u8]| value(content).map(|value| value.into_string().unwrap());
        assert_eq!(of(b""), None);
        assert_eq!(of(b"\n").as_deref(), Some(""));
        assert_eq!(of(b"one \t\ntwo").as_deref(), Some("one"));
        assert_eq!(of(b" a\0b").as_deref(), Some(" a\nb"));
    }
}
