//! Stories: each file in `stories/` is a script with the transcript that it leads to. `common/story.rs` says what the
//! commands are. `UPDATE=1 cargo test -p firestarter-core --test stories` writes the transcripts anew; read the
//! difference before you keep it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;
#[path = "common/story.rs"]
mod story;
#[path = "common/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use story::Story;

const RULE: &str = "----";

#[test]
fn every_story_goes_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut told = 0;
    let mut wrong = Vec::new();
    for path in files() {
        let written = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let found = tell(&name, &written);
        told += 1;
        if found == written {
            continue;
        }
        if update {
            fs::write(&path, found).unwrap();
        } else {
            wrong.push(format!("{name}:\n{}", difference(&written, &found)));
        }
    }
    assert!(told >= 25, "only {told} stories found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files
}

/// Plays a script and returns it with the transcripts that it really leads to.
///
/// A script is paragraphs: commands or `#` comments, a rule, and the transcript up to an empty line.
fn tell(name: &str, script: &str) -> String {
    let mut story = Story::new();
    let mut paragraphs = Vec::new();
    for paragraph in script.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
        let commands: Vec<&str> = paragraph.lines().take_while(|line| *line != RULE).collect();
        let mut text = String::new();
        let mut transcript = String::new();
        for command in commands {
            text.push_str(command);
            text.push('\n');
            if !command.starts_with('#') {
                let lines = story.obey(command).unwrap_or_else(|fault| panic!("{name}: {command}: {fault}"));
                transcript.extend(lines.iter().flat_map(|line| [line.as_str(), "\n"]));
            }
        }
        if !transcript.is_empty() || paragraph.lines().any(|line| line == RULE) {
            text.push_str(RULE);
            text.push('\n');
            text.push_str(if transcript.is_empty() { "nothing\n" } else { &transcript });
        }
        paragraphs.push(text);
    }
    paragraphs.join("\n")
}

/// The lines around the first that differs.
fn difference(written: &str, found: &str) -> String {
    let same = written.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| -> String {
        let from = same.saturating_sub(3);
        text.lines().skip(from).take(12).map(|line| format!("    {line}\n")).collect()
    };
    format!("  written (line {}):\n{}  found:\n{}", same + 1, part(written), part(found))
}
