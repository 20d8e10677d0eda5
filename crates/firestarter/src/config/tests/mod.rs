//! Tests of the room: what each key gives, what each fault says and where, and properties of the parsers.

#![allow(clippy::unwrap_used)]

mod faults;
mod keys;
mod loading;
mod properties;

use std::ffi::OsString;
use std::path::Path;

use super::{parse, Config, Faults, Group, Surroundings};

/// The environment of all tests.
fn env(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/me".into()),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    }
}

/// Parses as if the daemon was started in `/srv/app` and the file named `f.toml`.
fn parsed(text: &str) -> Result<Config, Faults> {
    parse(Path::new("f.toml"), text, &Surroundings { cwd: Path::new("/srv/app"), env: &env })
}

/// The group of a file with nothing but one `[web]` of these lines and a command.
fn web(lines: &str) -> Group {
    let text = format!("[web]\nexec_start = \"run\"\n{lines}\n");
    let config = parsed(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    config.groups.into_iter().next().unwrap()
}

/// The faults of a file, each as `LINE:COLUMN MESSAGE` and, if there is advice, ` = ADVICE`.
fn faults(text: &str) -> Vec<String> {
    let Err(faults) = parsed(text) else { panic!("no fault in:\n{text}") };
    let one = |fault: &super::Fault| {
        let advice = fault.advice.as_ref().map(|advice| format!(" = {advice}")).unwrap_or_default();
        format!("{}:{} {}{advice}", fault.line, fault.column, fault.message)
    };
    faults.iter().map(one).collect()
}

/// The only fault of `[web]` with a command and these lines, which begin on line 3.
#[track_caller]
fn web_fault(lines: &str) -> String {
    let found = faults(&format!("[web]\nexec_start = \"run\"\n{lines}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.concat()
}
