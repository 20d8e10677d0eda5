//! Servers that are known by their command: what signals do to them. Each was tried with a request under way: whether it
//! was served, and whether the server then ended.
//!
//! Called by `signals` for its warnings, and by `init`. Never starts anything.

use firestarter_core::spec::Signal;

/// What a signal does to a server with a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It finishes what it has begun, and ends.
    Finishes,
    /// It ends at once. How, after the server's name.
    Cuts(&'static str),
    /// It goes on. What it does, after the server's name.
    Stays(&'static str),
    /// It does not catch it, and so dies.
    Dies,
    /// It ignores it.
    Ignores,
    /// Not known here.
    Unknown,
}

/// The servers that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    Gunicorn,
    Uvicorn,
    Hypercorn,
    Node,
    Puma,
    Nginx,
    Haproxy,
    Caddy,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Which.
    pub(crate) kind: Kind,
    /// As its people write it.
    pub(crate) name: &'static str,
    /// Its programs, as a command names them.
    programs: &'static [&'static str],
    /// The signal that lets it finish.
    pub(crate) finish: &'static str,
    /// What signals do to it.
    effects: &'static [(&'static str, Effect)],
    /// Arguments with which other rows count first.
    mode: Option<Mode>,
}

/// A way to run a server in which signals do something else.
#[derive(Debug)]
struct Mode {
    arguments: &'static [&'static str],
    effects: &'static [(&'static str, Effect)],
}

use Effect::{Cuts, Dies, Finishes, Ignores, Stays};

/// The table.
pub(crate) const SERVERS: &[Server] = &[
    Server {
        kind: Kind::Gunicorn,
        name: "gunicorn",
        programs: &["gunicorn"],
        finish: "SIGTERM",
        effects: &[
            ("TERM", Finishes),
            ("INT", Cuts("cuts off its requests")),
            ("QUIT", Cuts("cuts off its requests")),
            ("HUP", Stays("reloads")),
            ("USR1", Stays("opens its logs anew")),
            ("USR2", Stays("starts a second master beside itself")),
            ("WINCH", Stays("does nothing or stops its own workers")),
        ],
        mode: None,
    },
    Server {
        kind: Kind::Uvicorn,
        name: "uvicorn",
        programs: &["uvicorn"],
        finish: "SIGTERM",
        effects: &[
            ("TERM", Finishes),
            ("INT", Finishes),
            ("QUIT", Dies),
            ("HUP", Dies),
            ("USR1", Dies),
            ("USR2", Dies),
        ],
        mode: Some(Mode {
            arguments: &["--workers", "-w"],
            effects: &[
                ("QUIT", Stays("with --workers catches it and does nothing")),
                ("HUP", Stays("restarts its own workers")),
                ("USR1", Stays("with --workers catches it and does nothing")),
                ("USR2", Stays("with --workers catches it and does nothing")),
            ],
        }),
    },
    Server {
        kind: Kind::Hypercorn,
        name: "hypercorn",
        programs: &["hypercorn"],
        finish: "SIGTERM",
        effects: &[
            ("TERM", Finishes),
            ("INT", Finishes),
            ("QUIT", Dies),
            ("HUP", Stays("restarts its own workers")),
            ("USR1", Dies),
            ("USR2", Dies),
        ],
        mode: None,
    },
    Server {
        kind: Kind::Node,
        name: "Node",
        programs: &["node", "nodejs"],
        finish: "SIGTERM",
        // TERM and INT are the application's to handle, so nothing can be said of them.
        effects: &[("QUIT", Dies), ("HUP", Dies), ("USR1", Stays("starts its debugger")), ("USR2", Dies)],
        mode: None,
    },
    Server {
        kind: Kind::Puma,
        name: "Puma",
        programs: &["puma"],
        finish: "SIGTERM",
        effects: &[
            ("TERM", Finishes),
            ("INT", Finishes),
            ("QUIT", Cuts("cuts off its requests")),
            ("USR1", Stays("restarts itself")),
            ("USR2", Stays("restarts itself")),
        ],
        mode: None,
    },
    Server {
        kind: Kind::Nginx,
        name: "nginx",
        programs: &["nginx"],
        finish: "SIGQUIT",
        effects: &[
            ("QUIT", Finishes),
            ("TERM", Cuts("cuts off its requests")),
            ("INT", Cuts("cuts off its requests")),
            ("HUP", Stays("reloads")),
            ("USR1", Stays("opens its logs anew")),
            ("USR2", Stays("starts a second master beside itself")),
            ("WINCH", Stays("stops its own workers alone")),
        ],
        mode: None,
    },
    Server {
        kind: Kind::Haproxy,
        name: "HAProxy",
        programs: &["haproxy"],
        finish: "SIGUSR1",
        effects: &[
            ("USR1", Finishes),
            ("TERM", Cuts("cuts off its connections")),
            ("INT", Cuts("cuts off its connections")),
            ("HUP", Stays("writes its state to the log")),
            ("QUIT", Stays("writes its memory pools to the log")),
            ("USR2", Ignores),
        ],
        mode: Some(Mode {
            arguments: &["-W", "-Ws"],
            effects: &[("QUIT", Ignores), ("HUP", Stays("reloads")), ("USR2", Stays("reloads"))],
        }),
    },
    Server {
        kind: Kind::Caddy,
        name: "Caddy",
        programs: &["caddy"],
        finish: "SIGTERM",
        effects: &[
            ("TERM", Finishes),
            ("INT", Finishes),
            ("QUIT", Cuts("cuts off its requests")),
            ("HUP", Stays("catches it and does nothing")),
            ("USR1", Stays("goes on")),
            ("USR2", Stays("catches it and does nothing")),
        ],
        mode: None,
    },
];

impl Server {
    /// What a signal does, given the words after the program.
    pub(crate) fn effect(&self, signal: Signal, rest: &[String]) -> Effect {
        let in_mode = self.mode.iter().filter(|mode| rest.iter().any(|word| mode.is_asked_for(word)));
        let mut rows = in_mode.flat_map(|mode| mode.effects).chain(self.effects);
        rows.find(|(name, _)| Signal::parse(name) == Some(signal)).map_or(Effect::Unknown, |(_, effect)| *effect)
    }
}

impl Mode {
    fn is_asked_for(&self, word: &str) -> bool {
        self.arguments.iter().any(|argument| {
            word == *argument
                || argument.starts_with("--") && word.strip_prefix(argument).is_some_and(|r| r.starts_with('='))
        })
    }
}

/// Programs that run the words after them, and how many words stand between.
const WRAPPERS: [(&str, &[&str]); 10] = [
    ("env", &[]),
    ("bundle", &["exec"]),
    ("poetry", &["run"]),
    ("pipenv", &["run"]),
    ("uv", &["run"]),
    ("pdm", &["run"]),
    ("ruby", &["-S"]),
    ("nice", &[]),
    ("setpriv", &[]),
    ("npx", &[]),
];

/// Nobody wraps a server in more than this.
const DEEPEST: usize = 8;

/// The server that a command runs, and the words after its program.
pub(crate) fn recognise(words: &[String]) -> Option<(&'static Server, &[String])> {
    let mut words = words;
    for _ in 0..DEEPEST {
        let (first, rest) = words.split_first()?;
        let program = first.rsplit('/').next().unwrap_or(first);
        if let Some(server) = SERVERS.iter().find(|server| server.programs.contains(&program)) {
            return Some((server, rest));
        }
        words = if is_python(program) { behind_python(rest)? } else { behind_wrapper(program, rest)? };
    }
    None
}

/// The module that Python runs, and its arguments.
fn behind_python(rest: &[String]) -> Option<&[String]> {
    let options = rest.iter().take_while(|word| word.starts_with('-') && *word != "-m").count();
    rest[options..].strip_prefix(&["-m".to_owned()])
}

/// The command that a wrapper runs. A value that stands apart from its option ends the search.
fn behind_wrapper<'w>(program: &str, rest: &'w [String]) -> Option<&'w [String]> {
    let (_, between) = WRAPPERS.iter().find(|(name, _)| *name == program)?;
    let agrees = rest.len() >= between.len() && rest.iter().zip(*between).all(|(word, expected)| word == expected);
    let rest = agrees.then(|| &rest[between.len()..])?;
    let skipped = rest.iter().take_while(|word| word.starts_with('-') || word.contains('=')).count();
    Some(&rest[skipped..])
}

/// `python`, `python3`, `python3.12`, `pypy3`.
fn is_python(program: &str) -> bool {
    let version = program.strip_prefix("python").or_else(|| program.strip_prefix("pypy"));
    version.is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}
