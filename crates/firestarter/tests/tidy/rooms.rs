//! The borders between the rooms: the table of the design, and what is imported in the sources.

use crate::source::Source;

/// A room, the rooms that it may import, and the modules of the core that it may.
struct Room {
    name: &'static str,
    rooms: &'static [&'static str],
    core: &'static [&'static str],
}

const ALL: &[&str] = &["*"];

/// The table of ARCHITECTURE.md. A single file beside `main.rs` is a room as well.
const ROOMS: &[Room] = &[
    // Entry points: they bring the others together and decide nothing.
    Room { name: "main", rooms: ALL, core: &[] },
    Room { name: "start", rooms: ALL, core: &["spec"] },
    // What should be, and what is said.
    Room { name: "config", rooms: &["output"], core: &["spec"] },
    Room { name: "accounts", rooms: &["config"], core: &[] },
    Room { name: "init", rooms: &["config"], core: &[] },
    Room { name: "api", rooms: &[], core: &["ids", "command", "event", "view", "spec"] },
    // Processes.
    Room {
        name: "daemon",
        rooms: &["config", "api", "journal", "service", "sys", "say"],
        core: &["action", "command", "event", "ids", "spec", "time", "view", "Supervisor"],
    },
    Room { name: "writer", rooms: &["sys", "journal", "output", "backups"], core: &[] },
    Room { name: "keeper", rooms: &["sys", "journal", "service"], core: &[] },
    Room { name: "sys", rooms: &[], core: &[] },
    Room { name: "journal", rooms: &["sys"], core: &["journal"] },
    // People.
    Room { name: "client", rooms: &["api"], core: &[] },
    Room { name: "cli", rooms: &["client", "api", "config", "logs"], core: &["command", "ids", "spec"] },
    Room { name: "logs", rooms: &["client", "api", "output", "backups"], core: &[] },
    Room { name: "tui", rooms: &["client", "api"], core: &["command", "ids", "spec"] },
    Room { name: "http", rooms: &["client", "api"], core: &["command", "ids", "spec"] },
    // The command lines of other programs.
    Room { name: "demo", rooms: &["client", "api"], core: &["command", "ids", "spec"] },
    Room { name: "replay", rooms: &[], core: &["event", "journal", "text", "time", "Supervisor"] },
    // Other programs' command lines.
    Room {
        name: "front",
        rooms: &["accounts", "api", "client", "config", "nearest", "place", "say"],
        core: &["command", "ids", "spec", "MAX_COUNT"],
    },
    // Small things that several rooms need and that import nothing of ours, or one such thing.
    Room { name: "say", rooms: &[], core: &[] },
    Room { name: "service", rooms: &[], core: &[] },
    Room { name: "output", rooms: &[], core: &[] },
    Room { name: "backups", rooms: &["output"], core: &[] },
    Room { name: "place", rooms: &[], core: &[] },
    Room { name: "nearest", rooms: &[], core: &[] },
];

/// Who crosses a border, whereto, and why that is right.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("daemon", "keeper", "the two sides of one pipe: its messages and its keys are the keeper's"),
    ("daemon", "place", "where the control socket is, checked alike by daemon and client"),
    ("cli", "place", "where the control socket is, checked alike by daemon and client"),
    ("config", "say", "one wording of the system's errors"),
    ("cli", "say", "one wording of the system's errors"),
    ("keeper", "say", "the keeper has no other voice"),
    ("writer", "say", "the writer has no other voice"),
    ("logs", "say", "remarks about a log stand beside its lines, not among them"),
    ("config", "nearest", "suggestions for misspelt keys"),
    ("init", "say", "one wording of the system's errors"),
    ("init", "cli", "it ends with the codes of the command line"),
    ("cli", "sys", "Ctrl-C ends the waiting of a client that shows how far it is, and nothing else"),
    ("cli", "nearest", "suggestions for misspelt commands"),
    ("journal", "core::Supervisor", "it holds the core's events and snapshots"),
    ("daemon", "core::journal", "a program that is to take over is asked with a snapshot of the state"),
    ("start", "core::journal", "a program that takes over looks whether it can read the state"),
    ("start", "core::time", "the time of the start outlives the program that began"),
    ("journal", "core::event", "it holds the core's events and snapshots"),
    ("journal", "core::ids", "its table names workers"),
    ("journal", "core::time", "its entries bear the time"),
    ("front", "cli", "it ends with the codes of the command line, and words what went wrong as that does"),
    (
        "front",
        "daemon",
        "what signals to the keeper stand for is a table of the daemon's, and so are inherited sockets",
    ),
    ("replay", "cli", "what it is told stands on the command line, and it ends with that one's codes"),
    ("replay", "say", "one wording of the system's errors"),
    ("daemon", "core::journal", "the head of a journal that is taken; entries and snapshots are the journal room's"),
    ("front", "sys", "a command socket's listener is taken by number, and who goes to the background forks"),
    ("demo", "cli", "it ends with the codes of the command line"),
    ("demo", "sys", "it plays the operator who kills processes, and clears up on a signal"),
];

/// The room of a file of the program: the folder below `src/`, or the file's own name.
fn room_of(path: &str) -> &str {
    let below = path.strip_prefix("crates/firestarter/src/").unwrap_or(path);
    below.split(['/', '.']).next().unwrap_or_default()
}

/// What is imported across a border that the table has not opened.
pub(crate) fn imports(source: &Source) -> Vec<String> {
    let name = room_of(&source.path);
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![source.fault(0, &format!("{name} is no room of the table: add it there, and to ARCHITECTURE.md"))];
    };
    let crossed = crossings(source).into_iter().filter(|(_, to)| !allowed(room, to));
    let crossed = crossed.filter(|(_, to)| !EXCEPTIONS.iter().any(|(from, there, _)| *from == name && there == to));
    let advice = "turn the dependency round, move what is shared, or name a reason in tests/tidy/rooms.rs";
    crossed.map(|(line, to)| source.fault(line, &format!("{name} may not import {to}: {advice}"))).collect()
}

/// Exceptions that nobody makes use of.
pub(crate) fn unused_exceptions(program: &[Source]) -> Vec<String> {
    let used = |from: &str, to: &str| {
        let of_room = program.iter().filter(|source| room_of(&source.path) == from);
        of_room.flat_map(crossings).any(|(_, there)| there == to)
    };
    let unused = EXCEPTIONS.iter().filter(|(from, to, _)| !used(from, to));
    unused
        .map(|(from, to, _)| format!("tests/tidy/rooms.rs: {from} does not import {to} any more: remove it"))
        .collect()
}

/// What the core imports beyond its own crate, `alloc`, `core`, serde and postcard.
pub(crate) fn core_imports(source: &Source) -> Vec<String> {
    const STRANGERS: [&str; 9] =
        ["std", "libc", "rustix", "serde_json", "toml", "thiserror", "lexopt", "httparse", "firestarter"];
    let mut faults = Vec::new();
    for (line, code) in source.shipped() {
        for stranger in STRANGERS {
            if paths_from(code, &format!("{stranger}::")) > 0 || code.trim() == format!("extern crate {stranger};") {
                let advice = "the core knows no world; make it an event, an action or an argument";
                faults.push(source.fault(line, &format!("core may not import {stranger}: {advice}")));
            }
        }
    }
    faults
}

fn allowed(room: &Room, to: &str) -> bool {
    match to.strip_prefix("core::") {
        Some(module) => room.core.contains(&module),
        None => to == room.name || room.rooms == ALL || room.rooms.contains(&to),
    }
}

/// Every other room, or module of the core, that is named, with the line.
fn crossings(source: &Source) -> Vec<(usize, String)> {
    if source.path.contains("/tests/") {
        return Vec::new();
    }
    let text: String = source
        .code
        .iter()
        .zip(&source.test)
        .map(|(code, test)| if *test { "\n".to_owned() } else { format!("{code}\n") })
        .collect();
    let mut found = Vec::new();
    let out = "super::".repeat(depth(&source.path));
    for (prefix, mark) in [("crate::", ""), ("firestarter_core::", "core::"), (&out, "")] {
        if prefix.is_empty() {
            continue;
        }
        for (at, _) in text.match_indices(prefix) {
            let before = &text[..at];
            let part_of_longer = before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.ends_with("::");
            if part_of_longer {
                continue;
            }
            let line = before.matches('\n').count();
            let names = first_names(&text[at + prefix.len()..]);
            found.extend(names.into_iter().filter(|name| name != "super").map(|name| (line, format!("{mark}{name}"))));
        }
    }
    found
}

/// How many `super::` lead out of the file's module to the crate's root.
fn depth(path: &str) -> usize {
    let below = path.strip_prefix("crates/firestarter/src/").unwrap_or(path);
    let parts: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
    match parts.last() {
        Some(&"main") if parts.len() == 1 => 0,
        Some(&"mod") => parts.len() - 1,
        Some(_) | None => parts.len(),
    }
}

/// The names at the beginning of the paths after a prefix: one, or those of a list in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(list) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&list[begin..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&list[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name: &String| !name.is_empty());
    names
}

/// How many paths begin so.
fn paths_from(code: &str, prefix: &str) -> usize {
    let starts = |at: &usize| {
        let before = &code[..*at];
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with("::")
    };
    code.match_indices(prefix).map(|(at, _)| at).filter(starts).count()
}
