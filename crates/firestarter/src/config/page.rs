//! The reference of the configuration as text: of one key, or `docs/configuration.md` as a whole, both from `keys`.
//!
//! Called by the command line (`help KEY`) and by a test that keeps the page as it should be.

use super::keys::{self, Default, Key, Part, Scope, DAEMON_KEYS, TOPICS};
use super::sockets::BACKLOG;

/// What stands before the keys and between them, by heading.
const INTRODUCTION: &str = include_str!("page/introduction.md");
const LOGS: &str = include_str!("page/logs.md");
const SOCKETS: &str = include_str!("page/sockets.md");
const REST: &str = include_str!("page/rest.md");

/// The whole page, in Markdown.
pub(crate) fn whole() -> String {
    let mut text = String::from(INTRODUCTION);
    for topic in TOPICS {
        text.push_str(&format!("\n## {}\n", topic.title));
        topic.keys.iter().for_each(|key| entry(&mut text, key));
        if topic.keys.iter().any(|key| !keys::parts(key).is_empty()) {
            text.push_str(&format!("\n{LOGS}"));
        }
        if topic.keys.iter().any(|key| key.name == "socket_address") {
            text.push_str(&format!("\n{}", SOCKETS.replace("@BACKLOG@", &BACKLOG.to_string())));
        }
    }
    text.push_str("\n## [firestarter]\n\n");
    text.push_str("Settings of the daemon itself. A table of that name with `exec_start` is a group like any other.\n");
    DAEMON_KEYS.iter().for_each(|key| entry(&mut text, key));
    text.push_str(&format!("\n{REST}"));
    text
}

/// A key's part of the page.
fn entry(text: &mut String, key: &Key) {
    text.push_str(&format!(
        "\n### {}\n\n{}\n\n- Form: {}.\n- Default: {}.\n",
        key.name,
        filled(key.about, 118),
        key.form,
        default(key)
    ));
    text.push_str(&format!("- Example: `{} = {}`\n", key.name, key.example));
    if !key.aliases.is_empty() {
        text.push_str(&format!("- Also spelled: `{}`.\n", key.aliases.join("`, `")));
    }
    let parts = keys::parts(key);
    if !parts.is_empty() {
        text.push_str(&format!("\nThe table of `{}` may hold:\n\n", key.name));
        for Part { name, form, default, about } in parts {
            let row = filled(&format!("`{name}`: {form}; default: {default}. {about}"), 116);
            text.push_str(&format!("- {}\n", row.replace('\n', "\n  ")));
        }
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Default::Required => "none, it must be there".to_owned(),
        Default::Value(value) => format!("`{value}`"),
        Default::Else(words) => words.to_owned(),
    }
}

/// The names of all keys.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    Scope::Group.keys().into_iter().map(|key| key.name)
}

/// What is known of one key, in plain text for a terminal; none if there is no such key.
pub(crate) fn of_key(written: &str) -> Option<String> {
    let found: Vec<(Scope, &Key)> =
        [Scope::Group, Scope::Daemon].into_iter().filter_map(|scope| Some((scope, scope.find(written)?))).collect();
    let shown = |(scope, key): &(Scope, &Key)| {
        let place = if *scope == Scope::Daemon { ", in [firestarter]" } else { "" };
        let mut text = format!("{}{place}\n\n{}\n\n", key.name, filled(key.about, 80));
        text.push_str(&format!(
            "form:     {}\ndefault:  {}\nexample:  {} = {}\n",
            key.form,
            default(key),
            key.name,
            key.example
        ));
        if !key.aliases.is_empty() {
            text.push_str(&format!("aliases:  {}\n", key.aliases.join(", ")));
        }
        for Part { name, form, default, about } in keys::parts(key) {
            let about = filled(about, 76).replace('\n', "\n    ");
            text.push_str(&format!("\nin a table, {name}: {form}\n    default: {default}\n    {about}\n"));
        }
        text
    };
    (!found.is_empty()).then(|| found.iter().map(shown).collect::<Vec<_>>().join("\n").replace('`', ""))
}

/// Breaks text into lines of at most so many characters.
fn filled(text: &str, width: usize) -> String {
    let (mut filled, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            filled.push('\n');
            column = 0;
        } else if column > 0 {
            filled.push(' ');
            column += 1;
        }
        filled.push_str(word);
        column += length;
    }
    filled
}
