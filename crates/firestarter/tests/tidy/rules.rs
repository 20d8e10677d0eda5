//! The rules of style: each looks at one file and names what breaks it, where, and what to do.

use crate::source::{item_end, Source};

const LONGEST_FUNCTION: usize = 70;
const LONGEST_FILE: usize = 400;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] = ["handler", "manager", "helper", "helpers", "utils", "data", "info", "process"];

/// What holds for the program.
pub(crate) fn of_sources(source: &Source) -> Vec<String> {
    let mut faults = of_tests(source);
    if source.path.split('/').any(|part| part == "tests") {
        return faults;
    }
    for (line, code) in source.shipped() {
        if word(code, "unsafe") && !source.path.starts_with("crates/firestarter/src/sys/") {
            faults.push(source.fault(line, "unsafe outside sys/: give sys/ a safe function for it"));
        }
        if code.contains(".unwrap()") {
            faults.push(source.fault(line, "unwrap(): handle it, or expect() with why it cannot fail"));
        }
        if let Some(mark) = ["todo!", "unimplemented!", "dbg!"].iter().find(|mark| code.contains(*mark)) {
            faults.push(source.fault(line, &format!("{mark}: finish it")));
        }
    }
    faults
}

/// What holds for tests too.
pub(crate) fn of_tests(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        faults.push(source.fault(0, "does not begin with //!: say its job, who calls it, what it never does"));
    }
    if let Some(name) = source.path.split(['/', '.']).find(|part| EMPTY_NAMES.contains(part)) {
        faults.push(source.fault(0, &format!("{name:?} says nothing: name it after what it holds")));
    }
    let length = source.test.iter().filter(|test| !**test).count();
    let tests_of_the_program = source.path.contains("/src/") && source.path.contains("/tests/");
    if length > LONGEST_FILE && !tests_of_the_program {
        let what = format!("{length} lines without tests: at most {LONGEST_FILE} lines; cut it where two jobs meet");
        faults.push(source.fault(LONGEST_FILE, &what));
    }
    for (line, comment) in source.comments.iter().enumerate() {
        let ruler = |c: &str| comment.contains(&c.repeat(4)) && !comment.contains('|');
        if ruler("=") || ruler("-") || ruler("*") {
            faults.push(source.fault(line, "a banner in a comment: a section that needs one is a module"));
        }
        if let Some(mark) =
            ["TODO", "FIXME", "XXX"].into_iter().find(|mark| word(comment, mark) && !quoted(comment, mark))
        {
            faults.push(source.fault(line, &format!("{mark}: do it, or say in an issue what is to be done")));
        }
    }
    faults.extend(long_functions(source));
    faults
}

fn long_functions(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        if !word(code, "fn") || !code.contains('(') || code.trim_start().starts_with("type ") {
            continue;
        }
        let end = item_end(&source.code, line);
        let length = end + 1 - line;
        if length > LONGEST_FUNCTION && begins_function(code) {
            let what = format!("a function of {length} lines: at most {LONGEST_FUNCTION} lines; name its parts");
            faults.push(source.fault(line, &what));
        }
    }
    faults
}

fn begins_function(code: &str) -> bool {
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let qualifiers = ["pub", "crate", "super", "in", "const", "async", "unsafe", "extern", "C"];
    words.find(|word| !qualifiers.contains(word)) == Some("fn")
}

/// Whether a word stands in a text as a word of its own.
pub(crate) fn word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part) && !text[at + word.len()..].chars().next().is_some_and(part)
    })
}

fn quoted(text: &str, word: &str) -> bool {
    text.contains(&format!("\"{word}\"")) || text.contains(&format!("`{word}`"))
}

/// Whether a licence expression holds if these licences are had. `/` is the old way to write OR.
pub(crate) fn is_satisfied(expression: &str, had: impl Fn(&str) -> bool + Copy) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let satisfied = either(&words, &mut at, had);
    satisfied && at == words.len()
}

fn either(words: &[&str], at: &mut usize, had: impl Fn(&str) -> bool + Copy) -> bool {
    let mut satisfied = both(words, at, had);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        // Not short: what follows must be read in any case.
        satisfied |= both(words, at, had);
    }
    satisfied
}

fn both(words: &[&str], at: &mut usize, had: impl Fn(&str) -> bool + Copy) -> bool {
    let mut satisfied = one(words, at, had);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        satisfied &= one(words, at, had);
    }
    satisfied
}

fn one(words: &[&str], at: &mut usize, had: impl Fn(&str) -> bool + Copy) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word != "(" {
        // An exception only adds permissions.
        if words.get(*at) == Some(&"WITH") {
            *at += 2;
        }
        return had(word);
    }
    let satisfied = either(words, at, had);
    *at += 1;
    satisfied
}
