//! The command line: words in, an `Invocation` or a `Usage` out. Called by `cli::main`. What it accepts is in `table.rs`;
//! it reads neither the environment nor a file.

mod ctrl;
mod logs;

use std::ffi::OsString;
use std::path::PathBuf;

use firestarter_core::command::Verb;
use firestarter_core::spec::{ExitWhen, Signal};
use lexopt::{Arg, Parser};

use super::errand::{duration, Errand, Wanted};
use super::flight::{Replay, Take};
use super::render::plain;
use super::table::{self, CommandRow, Opt, OptionRow, Word, COMMANDS, OPTIONS};
use crate::config::page;
use crate::logs::Order;
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
        /// `--exit-when`.
        exit_when: Option<ExitWhen>,
    },
    /// Check a configuration.
    Check {
        /// `-c`.
        config: Option<PathBuf>,
    },
    /// Write a configuration.
    Init {
        /// `-c`.
        config: Option<PathBuf>,
        /// The command that it is for; at least one word.
        command: Vec<String>,
    },
    /// Run a command as Einhorn would; all that follows is Einhorn's.
    Einhorn {
        /// The words after it.
        args: Vec<OsString>,
    },
    /// Say whether this program can take over from another; hidden.
    CheckHandover,
    /// Serve Einhorn's command socket; hidden, all that follows is its own.
    EinhornSocket {
        /// The words after it.
        args: Vec<OsString>,
    },
    /// Show what Firestarter does.
    Demo,
    /// Server::Starter's command line; all that follows is its own.
    StartServer {
        /// The words after it.
        args: Vec<OsString>,
    },
    /// Be a worker of the demo; hidden, all that follows is its own.
    DemoWorker {
        /// The words after it.
        args: Vec<OsString>,
    },
    /// Show logs.
    Logs {
        /// What of them.
        order: Order,
        /// `-c`.
        config: Option<PathBuf>,
        /// `-d`.
        socket: Option<PathBuf>,
    },
    /// Ask a daemon.
    Errand(Errand),
    /// Take a daemon's journal.
    Take(Take),
    /// Replay one.
    Replay(Replay),
    /// Print this and end.
    Print(String),
}

/// What `ctrl` takes beside the core's verbs.
const QUESTIONS: [&str; 2] = ["status", "reopen"];

/// A command line that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\nsee firestarter help{}{}", if topic.is_empty() { "" } else { " " }, topic)]
pub(crate) struct Usage {
    /// What is wrong.
    pub(crate) message: String,
    /// The command whose help tells more; empty for the whole.
    pub(crate) topic: &'static str,
}

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
    let mut rest = || parser.raw_args().map(Iterator::collect).unwrap_or_default();
    match row.word {
        Word::DemoWorker => return Ok(Invocation::DemoWorker { args: rest() }),
        Word::StartServer => return Ok(Invocation::StartServer { args: rest() }),
        Word::Einhorn => return Ok(Invocation::Einhorn { args: rest() }),
        Word::CheckHandover => return Ok(Invocation::CheckHandover),
        Word::EinhornSocket => return Ok(Invocation::EinhornSocket { args: rest() }),
        Word::Run
        | Word::Check
        | Word::Init
        | Word::List
        | Word::Status
        | Word::Stop
        | Word::UpgradeDaemon
        | Word::Reopen
        | Word::Ctrl
        | Word::Logs
        | Word::Demo
        | Word::Debug
        | Word::Replay
        | Word::Help => {}
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
    if verb(word) {
        return Err(usage("ctrl", format!("{word} is for one group: firestarter ctrl NAME {word}")));
    }
    Err(usage("", format!("unknown command {word:?}{}", meant(word, table::shown().map(|row| row.name)))))
}

/// Whether it is a verb of `ctrl`.
fn verb(word: &str) -> bool {
    Verb::ALL.iter().any(|verb| verb.word() == word)
}

/// What `help` says of a command, of a key of the configuration, or of all keys.
fn topic_help(topic: &str) -> Result<String, Usage> {
    if topic == "configuration" {
        return Ok(page::whole());
    }
    let name = if COMMANDS.iter().all(|row| row.name != topic) && verb(topic) { "ctrl" } else { topic };
    let command = COMMANDS.iter().find(|row| row.name == name).map(CommandRow::help);
    command.or_else(|| page::of_key(topic)).ok_or_else(|| {
        let topics = table::shown().map(|row| row.name).chain(page::keys());
        usage("", format!("neither a command nor a key: {topic:?}{}", meant(topic, topics)))
    })
}

/// What stands after the command.
pub(super) struct Given {
    row: &'static CommandRow,
    pub(super) operands: Vec<String>,
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
                Arg::Short(letter) => (format!("-{letter}"), given.find(|row| row.short == Some(letter))),
                Arg::Long(name) => (format!("--{name}"), given.find(|row| row.long == name)),
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

    /// The option that is written so: the command's own, else another command's.
    fn find(&self, is: impl Fn(&OptionRow) -> bool) -> Option<&'static OptionRow> {
        let own = OPTIONS.iter().find(|row| self.row.options.contains(&row.opt) && is(row));
        own.or_else(|| OPTIONS.iter().find(|row| is(row)))
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
                let exit_when = self.exit_when()?;
                Ok(Invocation::Run { config: self.path(Opt::Config), socket: self.path(Opt::Socket), exit_when })
            }
            Word::Check => {
                self.no_operands("")?;
                Ok(Invocation::Check { config: self.path(Opt::Config) })
            }
            // The empty word is no program: what was written for it would be a fault at once.
            Word::Init => match self.operands.first().is_none_or(String::is_empty) {
                true => Err(self.wrong("COMMAND is missing: firestarter init -- COMMAND")),
                false => Ok(Invocation::Init { config: self.path(Opt::Config), command: self.operands }),
            },
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
            Word::UpgradeDaemon => {
                self.no_operands(": the new program is named by --binary")?;
                let binary = self.path(Opt::Binary);
                // What is relative counts from here, not from where the daemon was started.
                let binary = binary.map(|path| std::path::absolute(&path).unwrap_or(path));
                let binary = binary.map(|path| path.into_os_string().into_string());
                let binary = binary.transpose().map_err(|path| self.wrong(format!("{path:?}: not UTF-8")))?;
                self.errand(Wanted::UpgradeDaemon { binary })
            }
            Word::Reopen => {
                self.no_operands("; of one group: firestarter ctrl NAME reopen")?;
                self.errand(Wanted::Reopen { group: None })
            }
            Word::Ctrl => {
                let wanted = self.ctrl()?;
                self.errand(wanted)
            }
            Word::Logs => self.logs(),
            Word::Demo => {
                self.no_operands("")?;
                Ok(Invocation::Demo)
            }
            Word::Debug => self.take().map(Invocation::Take),
            Word::Replay => self.replay().map(Invocation::Replay),
            Word::DemoWorker => Ok(Invocation::DemoWorker { args: Vec::new() }),
            Word::Einhorn => Ok(Invocation::Einhorn { args: Vec::new() }),
            Word::CheckHandover => Ok(Invocation::CheckHandover),
            Word::EinhornSocket => Ok(Invocation::EinhornSocket { args: Vec::new() }),
            Word::StartServer => Ok(Invocation::StartServer { args: Vec::new() }),
            Word::Help => match self.operands.as_slice() {
                [] => Ok(Invocation::Print(table::help())),
                [topic] => topic_help(topic).map(Invocation::Print),
                [_, more, ..] => Err(self.wrong(format!("unexpected {more:?}"))),
            },
        }
    }

    fn exit_when(&self) -> Result<Option<ExitWhen>, Usage> {
        let Some(text) = self.value(Opt::ExitWhen) else { return Ok(None) };
        match text.to_str() {
            Some("done") => Ok(Some(ExitWhen::Done)),
            Some("failed") => Ok(Some(ExitWhen::Failed)),
            Some("never") => Ok(Some(ExitWhen::Never)),
            Some(_) | None => Err(self.wrong(format!("--exit-when: {text:?} is none of done, failed, never"))),
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
            wait: !self.has(Opt::NoWait),
            quiet: self.has(Opt::Quiet),
            verbose: self.has(Opt::Verbose),
            json: self.has(Opt::Json),
            progress: self.has(Opt::Progress),
        }))
    }

    fn signal(&self, operand: Option<&String>) -> Result<Option<Signal>, Usage> {
        let option = self.value(Opt::Signal).map(|text| text.to_string_lossy());
        let Some(text) = option.or(operand.map(|text| text.into())) else { return Ok(None) };
        match Signal::parse(&text) {
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

    pub(super) fn path(&self, opt: Opt) -> Option<PathBuf> {
        self.value(opt).map(PathBuf::from)
    }

    pub(super) fn has(&self, opt: Opt) -> bool {
        self.value(opt).is_some()
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> Usage {
        usage(self.row.name, message)
    }
}

fn usage(topic: &'static str, message: impl Into<String>) -> Usage {
    Usage { message: plain(&message.into()), topic }
}

fn meant<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, choices).map_or_else(String::new, |choice| format!("; did you mean {choice}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Call, Order, Question};
    use firestarter_core::ids::Slot;
    use std::time::Duration;

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
    fn an_empty_program_is_no_command() {
        let usage = parse(["init", "--", "", "x"].map(OsString::from)).expect_err("a usage");
        assert_eq!(usage.to_string(), message("init --"));
    }

    #[test]
    fn run_and_check() {
        let run = Invocation::Run { config: Some("a.toml".into()), socket: Some("s".into()), exit_when: None };
        for text in ["run -c a.toml -d s", "run --config a.toml --socket-path s", "run --socket-path=s -ca.toml"] {
            assert_eq!(line(text), Ok(run.clone()), "{text}");
        }
        for (word, exit_when) in [("done", ExitWhen::Done), ("failed", ExitWhen::Failed), ("never", ExitWhen::Never)] {
            let run = Invocation::Run { config: None, socket: None, exit_when: Some(exit_when) };
            assert_eq!(line(&format!("run --exit-when={word}")), Ok(run.clone()));
            assert_eq!(line(&format!("run --exit-when {word}")), Ok(run));
        }
        assert_eq!(line("run"), Ok(Invocation::Run { config: None, socket: None, exit_when: None }));
        assert_eq!(line("check -c a"), Ok(Invocation::Check { config: Some("a".into()) }));
        let init = |config: Option<&str>, words: &[&str]| {
            let command = words.iter().map(|word| (*word).to_owned()).collect();
            Ok(Invocation::Init { config: config.map(PathBuf::from), command })
        };
        assert_eq!(line("init -c - -- node a.js -c x --help"), init(Some("-"), &["node", "a.js", "-c", "x", "--help"]));
        assert_eq!(line("init node"), init(None, &["node"]));
        assert_eq!(line("demo"), Ok(Invocation::Demo));
        let args = vec!["-x".into(), "--help".into()];
        assert_eq!(line("demo-worker -x --help"), Ok(Invocation::DemoWorker { args }));
    }

    #[test]
    fn options_stand_anywhere_after_the_command() {
        let wanted = Wanted::Ctrl { group: "w".into(), slot: None, verb: Verb::Upgrade, signal: Some(Signal::HUP) };
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
        for verb in Verb::ALL {
            let wanted = |signal| Wanted::Ctrl { group: "w".into(), slot: None, verb, signal };
            if verb != Verb::Signal {
                assert_eq!(errand(&format!("ctrl w {verb}")).wanted, wanted(None));
                assert_eq!(errand(&format!("ctrl w {verb}")).call(), Call::Do(order(verb, None, None)));
            }
            let signalled = line(&format!("ctrl w {verb} -s 1"));
            assert_eq!(signalled.is_ok(), verb.takes_signal());
            if let Ok(Invocation::Errand(errand)) = signalled {
                assert_eq!(errand.wanted, wanted(Some(Signal::HUP)));
            }
            let hurried = errand(&format!("ctrl w {verb} --no-wait{}", if verb == Verb::Signal { " HUP" } else { "" }));
            let signal = (verb == Verb::Signal).then_some(Signal::HUP);
            assert_eq!(hurried.call(), Call::Begin(order(verb, signal, None)));
        }
        assert_eq!(errand("ctrl w status").wanted, Wanted::GroupStatus { group: "w".into(), slot: None });
        assert_eq!(errand("ctrl -- -w status").wanted, Wanted::GroupStatus { group: "-w".into(), slot: None });
        assert_eq!(errand("stop").call(), Call::Do(Order::Shutdown));
        assert_eq!(errand("stop --no-wait").call(), Call::Begin(Order::Shutdown));
    }

    fn order(verb: Verb, signal: Option<Signal>, slot: Option<Slot>) -> Order {
        Order::Group { group: "w".into(), verb, signal, slot }
    }

    #[test]
    fn one_worker_and_signals() {
        let slot = Some(Slot(2));
        for text in ["ctrl w/2 signal HUP", "ctrl w/2 signal sighup", "ctrl w/2 -s 1 signal", "ctrl w/02 signal 1"] {
            assert_eq!(errand(text).call(), Call::Do(order(Verb::Signal, Some(Signal::HUP), slot)), "{text}");
        }
        let all = order(Verb::Signal, Some(Signal::USR2), None);
        assert_eq!(errand("ctrl w signal USR2 --timeout 5").call(), Call::Do(all));
        let status = Question::GroupStatus { group: "w".into(), slot };
        assert_eq!(errand("ctrl w/2 status").call(), Call::Ask(status));
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
        assert_eq!(line("help rollback"), line("help ctrl"));
        let Ok(Invocation::Print(text)) = line("help stdoutlog") else { panic!("no help") };
        assert!(text.starts_with("stdout_log\n") && text.contains("aliases:  stdoutlog\n"), "{text}");
        let Ok(Invocation::Print(text)) = line("help configuration") else { panic!("no help") };
        assert!(text.contains("### exec_start\n"), "{text}");
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
            ("upgrade web", "upgrade is for one group: firestarter ctrl NAME upgrade\nsee firestarter help ctrl"),
            ("help lst", "neither a command nor a key: \"lst\"; did you mean list?\nsee firestarter help"),
            ("help umsk", "neither a command nor a key: \"umsk\"; did you mean umask?\nsee firestarter help"),
            ("init -c x", "COMMAND is missing: firestarter init -- COMMAND\nsee firestarter help init"),
            ("init --", "COMMAND is missing: firestarter init -- COMMAND\nsee firestarter help init"),
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
            ("run --exit-when", "--exit-when: WHEN is missing\nsee firestarter help run"),
            ("run --exit-when soon", "--exit-when: \"soon\" is none of done, failed, never\nsee firestarter help run"),
            ("list --no-wait", "list does not take --no-wait\nsee firestarter help list"),
            ("ctrl w status --no-wait", "status is answered at once: leave out --no-wait\nsee firestarter help ctrl"),
            ("ctrl w signal", "SIGNAL is missing: firestarter ctrl w signal HUP\nsee firestarter help ctrl"),
            ("ctrl w/1 signal", "SIGNAL is missing: firestarter ctrl w/1 signal HUP\nsee firestarter help ctrl"),
            ("ctrl w signal BOO", "unknown signal \"BOO\"; write SIGTERM, TERM or 15\nsee firestarter help ctrl"),
            ("ctrl w signal HUP now", "unexpected \"now\" after NAME and VERB\nsee firestarter help ctrl"),
            ("ctrl w signal HUP -s 2", "the signal is named twice: \"HUP\" and -s\nsee firestarter help ctrl"),
            ("ctrl w status HUP", "unexpected \"HUP\" after NAME and VERB\nsee firestarter help ctrl"),
            (
                "ctrl w/1 stop",
                "stop is for a whole group: firestarter ctrl w stop; for one worker are signal and status\n\
                 see firestarter help ctrl",
            ),
            ("ctrl w/x status", "\"w/x\": after the / stands a slot, a number from 0: w/0\nsee firestarter help ctrl"),
            ("ctrl w/ status", "\"w/\": after the / stands a slot, a number from 0: w/0\nsee firestarter help ctrl"),
            ("ctrl /1 status", "\"/1\": which group? a worker is written web/0\nsee firestarter help ctrl"),
            ("ctrl w stop now", "unexpected \"now\" after NAME and VERB\nsee firestarter help ctrl"),
            ("ctrl w stop -s X", "unknown signal \"X\"; write SIGTERM, TERM or 15\nsee firestarter help ctrl"),
            ("ctrl w status -s 1", "status takes no signal\nsee firestarter help ctrl"),
            (
                "ctrl w inc -s 1",
                "inc takes no signal; stop, restart, dec, upgrade, rollback and signal do\nsee firestarter help ctrl",
            ),
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
        for text in ["ctrl w/+1 status", "ctrl w/1/2 status", "ctrl w/4294967296 status", "ctrl w/-1 status"] {
            assert!(message(text).contains("after the / stands a slot"), "{text}");
        }
        assert!(message("list --json=1").ends_with("see firestarter help list"));
    }
}
