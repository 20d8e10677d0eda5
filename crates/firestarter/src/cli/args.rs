//! The command line: words in, an `Invocation` or a `Usage` out. Called by `cli::main`. What it accepts is in `table.rs`;
//! it reads neither the environment nor a file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::command::Verb;
use firestarter_core::spec::Signal;
use lexopt::{Arg, Parser};

use super::render::plain;
use super::table::{self, CommandRow, Opt, OptionRow, Word, COMMANDS, OPTIONS};
use crate::api::{Call, Order, Question};
use crate::nearest::nearest;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Run the daemon.
    Run {
        /// `-c`.
        config: Option<PathBuf>,
        /// `-d`.
        socket: Option<PathBuf>,
    },
    /// Check a configuration.
    Check {
        /// `-c`.
        config: Option<PathBuf>,
    },
    /// Show what Firestarter does.
    Demo,
    /// Be a worker of the demo; hidden, all that follows is its own.
    DemoWorker {
        /// The words after it.
        args: Vec<OsString>,
    },
    /// Ask a daemon.
    Errand(Errand),
    /// Print this and end.
    Print(String),
}

/// Something for a daemon, and how to tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    /// What.
    pub(crate) wanted: Wanted,
    /// `-d`.
    pub(crate) socket: Option<PathBuf>,
    /// `--timeout`.
    pub(crate) timeout: Option<Duration>,
    /// `-q`.
    pub(crate) quiet: bool,
    /// `--json`.
    pub(crate) json: bool,
}

/// What is wanted of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `list`.
    List,
    /// `status`.
    Status,
    /// `stop`.
    Stop,
    /// `ctrl NAME status`.
    GroupStatus {
        /// The group.
        group: String,
    },
    /// `ctrl NAME VERB`.
    Ctrl {
        /// The group.
        group: String,
        /// What.
        verb: Verb,
        /// `-s`.
        signal: Option<Signal>,
    },
}

/// A command line that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\nsee firestarter help{}{}", if topic.is_empty() { "" } else { " " }, topic)]
pub(crate) struct Usage {
    /// What is wrong.
    pub(crate) message: String,
    /// The command whose help tells more; empty for the whole.
    pub(crate) topic: &'static str,
}

/// What `ctrl` does to a group, in the order of its help.
const VERBS: [Verb; 7] = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Upgrade, Verb::Inc, Verb::Dec, Verb::Killall];

/// Reads the words after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let mut parser = Parser::from_args(args);
    let row = match parser.next().map_err(|error| usage("", error.to_string()))? {
        None => return Err(usage("", "a command is missing")),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Invocation::Print(table::help())),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            return Ok(Invocation::Print(format!("firestarter {}\n", env!("CARGO_PKG_VERSION"))))
        }
        Some(Arg::Short(letter)) => return Err(usage("", format!("-{letter}: options stand after the command"))),
        Some(Arg::Long(name)) => return Err(usage("", format!("--{name}: options stand after the command"))),
        Some(Arg::Value(word)) => command(&word.to_string_lossy())?,
    };
    if row.word == Word::DemoWorker {
        let args = parser.raw_args().map(Iterator::collect).unwrap_or_default();
        return Ok(Invocation::DemoWorker { args });
    }
    let given = Given::read(row, &mut parser)?;
    if given.has(Opt::Help) {
        return Ok(Invocation::Print(row.help()));
    }
    given.invocation()
}

fn command(word: &str) -> Result<&'static CommandRow, Usage> {
    if let Some(row) = COMMANDS.iter().find(|row| row.name == word) {
        return Ok(row);
    }
    Err(usage("", format!("unknown command {word:?}{}", meant(word, table::shown().map(|row| row.name)))))
}

/// What stands after the command.
struct Given {
    row: &'static CommandRow,
    operands: Vec<String>,
    options: Vec<(Opt, OsString)>,
}

impl Given {
    fn read(row: &'static CommandRow, parser: &mut Parser) -> Result<Given, Usage> {
        let mut given = Given { row, operands: Vec::new(), options: Vec::new() };
        let wrong = |error: lexopt::Error| usage(row.name, error.to_string());
        while let Some(arg) = parser.next().map_err(wrong)? {
            let (spelled, found) = match arg {
                Arg::Value(word) => {
                    let word = word.into_string().map_err(|word| given.wrong(format!("{word:?}: not UTF-8")))?;
                    given.operands.push(word);
                    continue;
                }
                Arg::Short(letter) => (format!("-{letter}"), OPTIONS.iter().find(|row| row.short == Some(letter))),
                Arg::Long(name) => (format!("--{name}"), OPTIONS.iter().find(|row| row.long == name)),
            };
            let option = given.known(&spelled, found)?;
            let value = match option.value {
                Some(value) => parser.value().map_err(|_| given.wrong(format!("{spelled}: {value} is missing")))?,
                None => OsString::new(),
            };
            if option.value.is_some() && value.is_empty() {
                return Err(given.wrong(format!("{spelled}: the value is empty")));
            }
            given.options.push((option.opt, value));
        }
        Ok(given)
    }

    fn known(&self, spelled: &str, found: Option<&'static OptionRow>) -> Result<&'static OptionRow, Usage> {
        match found {
            Some(option) if self.row.options.contains(&option.opt) => Ok(option),
            Some(_) => Err(self.wrong(format!("{} does not take {spelled}", self.row.name))),
            None => {
                let choices = OPTIONS.iter().filter(|row| self.row.options.contains(&row.opt)).map(|row| row.long);
                let meant = match spelled.strip_prefix("--").and_then(|name| nearest(name, choices)) {
                    Some(name) => format!("; did you mean --{name}?"),
                    None => String::new(),
                };
                Err(self.wrong(format!("unknown option {spelled}{meant}")))
            }
        }
    }

    fn invocation(self) -> Result<Invocation, Usage> {
        match self.row.word {
            Word::Run => {
                self.no_operands("")?;
                Ok(Invocation::Run { config: self.path(Opt::Config), socket: self.path(Opt::Socket) })
            }
            Word::Check => {
                self.no_operands("")?;
                Ok(Invocation::Check { config: self.path(Opt::Config) })
            }
            Word::List => {
                self.no_operands("")?;
                self.errand(Wanted::List)
            }
            Word::Status => {
                self.no_operands("; of one group: firestarter ctrl NAME status")?;
                self.errand(Wanted::Status)
            }
            Word::Stop => {
                self.no_operands(": it stops everything and the daemon; one group: firestarter ctrl NAME stop")?;
                self.errand(Wanted::Stop)
            }
            Word::Ctrl => {
                let wanted = self.ctrl()?;
                self.errand(wanted)
            }
            Word::Demo => {
                self.no_operands("")?;
                Ok(Invocation::Demo)
            }
            Word::DemoWorker => Ok(Invocation::DemoWorker { args: Vec::new() }),
            Word::Help => match self.operands.as_slice() {
                [] => Ok(Invocation::Print(table::help())),
                [topic] => Ok(Invocation::Print(command(topic)?.help())),
                [_, more, ..] => Err(self.wrong(format!("unexpected {more:?}"))),
            },
        }
    }

    fn ctrl(&self) -> Result<Wanted, Usage> {
        let (group, word) = match self.operands.as_slice() {
            [] => return Err(self.wrong("NAME and VERB are missing")),
            [name] => return Err(self.wrong(format!("VERB is missing: what shall {name:?} do?"))),
            [group, verb] => (group, verb.as_str()),
            [_, _, more, ..] => return Err(self.wrong(format!("unexpected {more:?} after NAME and VERB"))),
        };
        let signal = self.signal()?;
        let verb = VERBS.into_iter().find(|verb| verb.word() == word);
        match verb {
            Some(verb) if signal.is_some() && !verb.takes_signal() => {
                Err(self.wrong(format!("{verb} takes no signal; stop, restart, dec and upgrade do")))
            }
            Some(verb) => Ok(Wanted::Ctrl { group: group.clone(), verb, signal }),
            None if word == "status" && signal.is_some() => Err(self.wrong("status takes no signal")),
            None if word == "status" => Ok(Wanted::GroupStatus { group: group.clone() }),
            None => {
                let words = || VERBS.into_iter().map(Verb::word).chain(["status"]);
                let meant = match words().any(|verb| verb == group) {
                    true => format!("; did you mean firestarter ctrl {word} {group}?"),
                    false => meant(word, words()),
                };
                Err(self.wrong(format!("unknown verb {word:?}{meant}")))
            }
        }
    }

    fn errand(&self, wanted: Wanted) -> Result<Invocation, Usage> {
        let timeout = match self.value(Opt::Timeout) {
            None => None,
            Some(text) => match duration(&text.to_string_lossy()) {
                Some(timeout) => Some(timeout),
                None => {
                    return Err(self.wrong(format!("--timeout: {text:?} is no time; write 10, 500ms, 30s, 2m or 1h")))
                }
            },
        };
        Ok(Invocation::Errand(Errand {
            wanted,
            socket: self.path(Opt::Socket),
            timeout,
            quiet: self.has(Opt::Quiet),
            json: self.has(Opt::Json),
        }))
    }

    fn signal(&self) -> Result<Option<Signal>, Usage> {
        let Some(text) = self.value(Opt::Signal) else { return Ok(None) };
        match Signal::parse(&text.to_string_lossy()) {
            Some(signal) => Ok(Some(signal)),
            None => Err(self.wrong(format!("unknown signal {text:?}; write SIGTERM, TERM or 15"))),
        }
    }

    fn no_operands(&self, instead: &str) -> Result<(), Usage> {
        match self.operands.first() {
            None => Ok(()),
            Some(_) if !instead.is_empty() => Err(self.wrong(format!("{} takes no name{instead}", self.row.name))),
            Some(word) => Err(self.wrong(format!("unexpected {word:?}"))),
        }
    }

    /// The last one counts, so a script can append its own.
    fn value(&self, opt: Opt) -> Option<&OsString> {
        self.options.iter().rev().find(|(given, _)| *given == opt).map(|(_, value)| value)
    }

    fn path(&self, opt: Opt) -> Option<PathBuf> {
        self.value(opt).map(PathBuf::from)
    }

    fn has(&self, opt: Opt) -> bool {
        self.value(opt).is_some()
    }

    fn wrong(&self, message: impl Into<String>) -> Usage {
        usage(self.row.name, message)
    }
}

impl Errand {
    /// What goes over the socket.
    pub(crate) fn call(&self) -> Call {
        match &self.wanted {
            Wanted::List => Call::Ask(Question::List),
            Wanted::Status => Call::Ask(Question::Status { group: None }),
            Wanted::GroupStatus { group } => Call::Ask(Question::Status { group: Some(group.clone()) }),
            Wanted::Stop => Call::Do(Order::Shutdown),
            Wanted::Ctrl { group, verb, signal } => {
                Call::Do(Order::Group { group: group.clone(), verb: *verb, signal: *signal, slot: None })
            }
        }
    }
}

fn usage(topic: &'static str, message: impl Into<String>) -> Usage {
    Usage { message: plain(&message.into()), topic }
}

fn meant<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, choices).map_or_else(String::new, |choice| format!("; did you mean {choice}?"))
}

/// A time above zero: seconds, or with a unit.
fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Invocation, Usage> {
        parse(text.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
    }

    fn errand(text: &str) -> Errand {
        let Ok(Invocation::Errand(errand)) = line(text) else { panic!("{text}: no errand") };
        errand
    }

    fn message(text: &str) -> String {
        line(text).expect_err(text).to_string()
    }

    #[test]
    fn run_and_check() {
        let run = Invocation::Run { config: Some("a.toml".into()), socket: Some("s".into()) };
        for text in ["run -c a.toml -d s", "run --config a.toml --socket-path s", "run --socket-path=s -ca.toml"] {
            assert_eq!(line(text), Ok(run.clone()), "{text}");
        }
        assert_eq!(line("run"), Ok(Invocation::Run { config: None, socket: None }));
        assert_eq!(line("check -c a"), Ok(Invocation::Check { config: Some("a".into()) }));
        assert_eq!(line("demo"), Ok(Invocation::Demo));
        let args = vec!["-x".into(), "--help".into()];
        assert_eq!(line("demo-worker -x --help"), Ok(Invocation::DemoWorker { args }));
    }

    #[test]
    fn options_stand_anywhere_after_the_command() {
        let wanted = Wanted::Ctrl { group: "w".into(), verb: Verb::Upgrade, signal: Some(Signal::HUP) };
        for text in ["ctrl -d s w upgrade -s HUP", "ctrl w -s 1 upgrade -d s", "ctrl w upgrade --signal=SIGHUP -ds"] {
            let errand = errand(text);
            assert_eq!(errand.wanted, wanted, "{text}");
            assert_eq!(errand.socket, Some("s".into()), "{text}");
        }
        assert_eq!(errand("stop -d s").wanted, Wanted::Stop);
        assert_eq!(errand("stop -d a -d b").socket, Some("b".into()), "the last one counts");
    }

    #[test]
    fn every_verb() {
        for verb in VERBS {
            let wanted = Wanted::Ctrl { group: "w".into(), verb, signal: None };
            assert_eq!(errand(&format!("ctrl w {verb}")).wanted, wanted);
            assert_eq!(line(&format!("ctrl w {verb} -s 9")).is_ok(), verb.takes_signal());
        }
        assert_eq!(errand("ctrl w status").wanted, Wanted::GroupStatus { group: "w".into() });
        assert_eq!(errand("ctrl -- -w status").wanted, Wanted::GroupStatus { group: "-w".into() });
    }

    #[test]
    fn flags_and_times() {
        let status = errand("status -q --json --timeout 2m");
        assert!(status.quiet && status.json);
        assert_eq!(status.timeout, Some(Duration::from_secs(120)));
        for (text, millis) in [("10", 10_000), ("0.5", 500), ("500ms", 500), ("3s", 3000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "-1", "ms", "5x", "1e400", "nan", "inf", "1 s", "99999999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn help_and_version() {
        assert_eq!(line("-h"), line("help"));
        assert_eq!(line("--help"), line("help"));
        assert_eq!(line("ctrl -h"), line("help ctrl"));
        assert_eq!(line("ctrl w --help"), line("help ctrl"));
        assert_eq!(line("-V"), line("--version"));
        assert_eq!(line("-V"), Ok(Invocation::Print(format!("firestarter {}\n", env!("CARGO_PKG_VERSION")))));
    }

    #[test]
    fn says_what_is_wrong_and_where_to_look() {
        for (text, want) in [
            ("", "a command is missing\nsee firestarter help"),
            ("-d s stop", "-d: options stand after the command\nsee firestarter help"),
            ("statsu", "unknown command \"statsu\"; did you mean status?\nsee firestarter help"),
            ("reload", "unknown command \"reload\"\nsee firestarter help"),
            ("help lst", "unknown command \"lst\"; did you mean list?\nsee firestarter help"),
            ("run x", "unexpected \"x\"\nsee firestarter help run"),
            ("run -c", "-c: FILE is missing\nsee firestarter help run"),
            ("run --config=", "--config: the value is empty\nsee firestarter help run"),
            ("run --confg x", "unknown option --confg; did you mean --config?\nsee firestarter help run"),
            ("run -x", "unknown option -x\nsee firestarter help run"),
            ("list -c x", "list does not take -c\nsee firestarter help list"),
            ("ctrl", "NAME and VERB are missing\nsee firestarter help ctrl"),
            ("ctrl w", "VERB is missing: what shall \"w\" do?\nsee firestarter help ctrl"),
            ("ctrl w upgade", "unknown verb \"upgade\"; did you mean upgrade?\nsee firestarter help ctrl"),
            (
                "ctrl upgrade w",
                "unknown verb \"w\"; did you mean firestarter ctrl w upgrade?\nsee firestarter help ctrl",
            ),
            ("ctrl w stop now", "unexpected \"now\" after NAME and VERB\nsee firestarter help ctrl"),
            ("ctrl w stop -s X", "unknown signal \"X\"; write SIGTERM, TERM or 15\nsee firestarter help ctrl"),
            ("ctrl w status -s 1", "status takes no signal\nsee firestarter help ctrl"),
            ("ctrl w inc -s 1", "inc takes no signal; stop, restart, dec and upgrade do\nsee firestarter help ctrl"),
            (
                "list --timeout x",
                "--timeout: \"x\" is no time; write 10, 500ms, 30s, 2m or 1h\nsee firestarter help list",
            ),
            (
                "status w",
                "status takes no name; of one group: firestarter ctrl NAME status\nsee firestarter help status",
            ),
        ] {
            assert_eq!(message(text), want, "{text}");
        }
        assert!(message("stop web").starts_with("stop takes no name: it stops everything and the daemon"));
        assert!(message("list --json=1").ends_with("see firestarter help list"));
    }
}
