//! Einhorn's options: words in, [`Options`] or a [`Usage`] out. Called by the room's `run`. What it accepts stands in one
//! table, from which the help is written too. It reads neither the environment nor a file.
//!
//! Options stand before the command and may be shortened as long as one is meant (`--num 3`), both as in Einhorn.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser};

use super::values;
use crate::nearest::nearest;

/// What Einhorn was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// The program and its arguments. At least one word.
    pub(super) command: Vec<String>,
    /// `-b`, in order.
    pub(super) binds: Vec<Bind>,
    /// `-n`.
    pub(super) number: u32,
    /// `-l`.
    pub(super) backlog: i32,
    /// `-m SECONDS`; none: `-m manual`.
    pub(super) ack_after: Option<Duration>,
    /// `-s`: how long a respawn waits.
    pub(super) respawn_after: Duration,
    /// `-t`: SIGKILL follows a signal after so long; none: never.
    pub(super) signal_timeout: Option<Duration>,
    /// `--max-unacked`.
    pub(super) max_unacked: Option<u32>,
    /// `--max-upgrade-additional`.
    pub(super) max_additional: Option<u32>,
    /// `-c`.
    pub(super) name: Option<String>,
    /// `-d`.
    pub(super) socket: Option<PathBuf>,
    /// `-e`.
    pub(super) pid_file: Option<PathBuf>,
    /// `--drop-env-var`.
    pub(super) dropped: Vec<String>,
    /// The niceness of all, and of workers if it is another one.
    pub(super) nice: (Option<i32>, Option<i32>),
    /// What was asked for and changes nothing here.
    pub(super) without_effect: Vec<&'static str>,
}

/// One `-b`, or one `srv:` among the command's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    /// Where.
    pub(super) place: BindPlace,
    /// `n`: accept does not wait.
    pub(super) nonblocking: bool,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BindPlace {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// A path.
    Unix(PathBuf),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Run the command.
    Run(Box<Options>),
    /// Print this and end.
    Print(String),
}

/// A command line that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}\nsee firestarter einhorn --help")]
pub(super) struct Usage(pub(super) String);

/// How an option is written, what it does, and how it is read.
struct Row {
    short: Option<char>,
    long: &'static str,
    value: Option<&'static str>,
    about: &'static str,
    read: Read,
}

/// How an option is read.
#[derive(Clone, Copy)]
enum Read {
    /// Its value changes the options, or is wrong.
    Value(fn(&mut Options, &str) -> Result<(), String>),
    /// It says what this Firestarter does anyway, or has nothing to do with.
    NoEffect,
    /// It cannot be done, for this reason.
    Refused(&'static str),
    Help,
    Version,
}

const PRELOAD: &str =
    "a Ruby program cannot be loaded before the fork, since Firestarter is no Ruby: leave the option \
                       out and let the command itself load the code";
const INTERNAL: &str = "Einhorn calls itself with it and nobody else does: leave it out";

/// All options, in Einhorn's order.
const ROWS: &[Row] = &[
    row(
        Some('b'),
        "bind",
        Some("ADDR"),
        "listen at IP:PORT or /PATH, with ,r (reuse) and ,n (accept does not wait)",
        Read::Value(values::bind),
    ),
    row(
        Some('c'),
        "command-name",
        Some("NAME"),
        "the group's name; it is part of the default paths",
        Read::Value(values::name),
    ),
    row(
        Some('d'),
        "socket-path",
        Some("PATH"),
        "the command socket; without it einhorn[-NAME].sock in $TMPDIR or /tmp",
        Read::Value(values::socket),
    ),
    row(
        Some('e'),
        "pidfile",
        Some("PATH"),
        "the pid file; without it einhorn[-NAME].pid in $TMPDIR or /tmp",
        Read::Value(values::pid_file),
    ),
    row(
        Some('f'),
        "lockfile",
        Some("PATH"),
        "no effect: Firestarter has a lock of its own beside its control socket",
        Read::Value(values::lock_file),
    ),
    row(Some('g'), "command-socket-as-fd", None, "no effect: workers always get EINHORN_SOCK_FD", Read::NoEffect),
    row(Some('h'), "help", None, "show this", Read::Help),
    row(
        Some('k'),
        "kill-children-on-exit",
        None,
        "no effect: workers are stopped whenever Firestarter ends",
        Read::NoEffect,
    ),
    row(Some('l'), "backlog", Some("N"), "how many connections may wait, 100 without it", Read::Value(values::backlog)),
    row(
        Some('m'),
        "ack-mode",
        Some("MODE"),
        "seconds after which a new worker serves, or manual: it says so; 1 without it",
        Read::Value(values::ack),
    ),
    row(Some('n'), "number", Some("N"), "how many workers, 1 without it", Read::Value(values::number)),
    row(Some('p'), "preload", Some("PATH"), "refused: for Ruby only", Read::Refused(PRELOAD)),
    row(Some('q'), "quiet", None, "no effect: the log has one level", Read::NoEffect),
    row(
        Some('s'),
        "seconds",
        Some("N"),
        "how long a respawn may be put off when workers keep dying, at least 10",
        Read::Value(values::seconds),
    ),
    row(
        Some('t'),
        "signal-timeout",
        Some("T"),
        "SIGKILL follows if a worker has not ended so many seconds after a signal",
        Read::Value(values::signal_timeout),
    ),
    row(Some('v'), "verbose", None, "no effect: the log has one level", Read::NoEffect),
    row(None, "drop-env-var", Some("NAME"), "workers do not inherit this variable", Read::Value(values::drop_variable)),
    row(None, "gc-before-fork", None, "no effect: for Ruby only", Read::NoEffect),
    row(
        None,
        "max-unacked",
        Some("N"),
        "so many new workers at a time in an upgrade; without it one a processor",
        Read::Value(values::max_unacked),
    ),
    row(
        None,
        "max-upgrade-additional",
        Some("N"),
        "so many workers more than -n during an upgrade",
        Read::Value(values::max_additional),
    ),
    row(None, "nice", Some("ALL[:WORKERS]"), "the niceness of Firestarter, and of workers", Read::Value(values::nice)),
    row(None, "reexec-as", Some("COMMAND"), "no effect: an upgrade runs no Einhorn anew", Read::Value(values::reexec)),
    row(None, "with-state-fd", Some("FD"), "refused: internal", Read::Refused(INTERNAL)),
    row(None, "upgrade-check", None, "refused: internal", Read::Refused(INTERNAL)),
    row(None, "version", None, "show the version", Read::Version),
];

const fn row(
    short: Option<char>,
    long: &'static str,
    value: Option<&'static str>,
    about: &'static str,
    read: Read,
) -> Row {
    Row { short, long, value, about, read }
}

/// Reads the words after `firestarter einhorn`.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Wanted, Usage> {
    let mut parser = Parser::from_args(args);
    let mut options = Options::new();
    loop {
        let (spelled, row) = match parser.next().map_err(|error| Usage(error.to_string()))? {
            None => return Err(Usage("a command is missing: firestarter einhorn [OPTIONS] COMMAND".to_owned())),
            Some(Arg::Value(first)) => {
                let rest = parser.raw_args().map(Iterator::collect).unwrap_or_else(|_| Vec::new());
                options.command = std::iter::once(first).chain(rest).map(text).collect::<Result<_, _>>()?;
                if options.command.first().is_some_and(String::is_empty) {
                    return Err(Usage("the command is the empty word".to_owned()));
                }
                return Ok(Wanted::Run(Box::new(options)));
            }
            Some(Arg::Short(letter)) => {
                let row = ROWS.iter().find(|row| row.short == Some(letter));
                (format!("-{letter}"), row.ok_or_else(|| Usage(format!("unknown option -{letter}")))?)
            }
            Some(Arg::Long(long)) => (format!("--{long}"), meant(long)?),
        };
        let value = match row.value {
            None => String::new(),
            Some(value) => text(parser.value().map_err(|_| Usage(format!("{spelled}: {value} is missing")))?)?,
        };
        match row.read {
            Read::Value(read) => read(&mut options, &value).map_err(|fault| Usage(format!("{spelled}: {fault}")))?,
            Read::NoEffect => options.without_effect.push(row.long),
            Read::Refused(reason) => return Err(Usage(format!("{spelled}: {reason}"))),
            Read::Help => return Ok(Wanted::Print(help())),
            Read::Version => return Ok(Wanted::Print(format!("firestarter {}\n", env!("CARGO_PKG_VERSION")))),
        }
    }
}

/// The option of that name, which may be shortened.
fn meant(long: &str) -> Result<&'static Row, Usage> {
    if let Some(row) = ROWS.iter().find(|row| row.long == long) {
        return Ok(row);
    }
    let mut begun = ROWS.iter().filter(|row| row.long.starts_with(long));
    match (begun.next(), begun.next()) {
        (Some(row), None) => Ok(row),
        (Some(one), Some(two)) => Err(Usage(format!("--{long} may mean --{} or --{}", one.long, two.long))),
        (None, _) => {
            let advice = nearest(long, ROWS.iter().map(|row| row.long));
            let advice = advice.map_or_else(String::new, |name| format!("; did you mean --{name}?"));
            Err(Usage(format!("unknown option --{long}{advice}")))
        }
    }
}

fn text(word: OsString) -> Result<String, Usage> {
    word.into_string().map_err(|word| Usage(format!("{word:?}: not UTF-8")))
}

/// `firestarter einhorn --help`.
fn help() -> String {
    let mut text = String::from("usage: firestarter einhorn [OPTIONS] COMMAND [ARGUMENTS]\n\n");
    text.push_str(
        "Runs COMMAND as Einhorn would: shared sockets, workers, upgrades, and its command socket for einhornsh.\n",
    );
    text.push_str("srv:IP:PORT among the arguments becomes the number of a shared socket.\n\noptions:\n");
    for row in ROWS {
        let short = row.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let value = row.value.map_or_else(String::new, |value| format!(" {value}"));
        text.push_str(&format!("  {:<34}{}\n", format!("{short}--{}{value}", row.long), row.about));
    }
    text
}

impl Options {
    fn new() -> Options {
        Options {
            command: Vec::new(),
            binds: Vec::new(),
            number: 1,
            backlog: 100,
            ack_after: Some(Duration::from_secs(1)),
            respawn_after: Duration::from_secs(1),
            signal_timeout: None,
            max_unacked: None,
            max_additional: None,
            name: None,
            socket: None,
            pid_file: None,
            dropped: Vec::new(),
            nice: (None, None),
            without_effect: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(line: &str) -> Result<Options, String> {
        match parse(line.split(' ').map(OsString::from)) {
            Ok(Wanted::Run(options)) => Ok(*options),
            Ok(Wanted::Print(text)) => Err(text),
            Err(usage) => Err(usage.to_string()),
        }
    }

    fn tcp(host: &str, port: u16, nonblocking: bool) -> Bind {
        Bind { place: BindPlace::Tcp(host.to_owned(), port), nonblocking }
    }

    #[test]
    fn options_stand_before_the_command_and_nothing_of_the_command_is_one() {
        let options = run("-b 127.0.0.1:1234,r -b 0.0.0.0:80,R,o_nonblock -n 4 -m manual -- serve -n 7 -- x").unwrap();
        assert_eq!(options.command, ["serve", "-n", "7", "--", "x"]);
        assert_eq!(options.binds, [tcp("127.0.0.1", 1234, false), tcp("0.0.0.0", 80, true)]);
        assert_eq!((options.number, options.ack_after), (4, None));
        assert_eq!(run("-n3 -l 7 sleep 5").map(|o| (o.number, o.backlog, o.command.len())), Ok((3, 7, 2)));
        let plain = run("sleep").unwrap();
        assert_eq!(plain, Options { command: vec!["sleep".to_owned()], ..Options::new() });
    }

    #[test]
    fn every_option_can_be_written_in_full_and_short_and_shortened() {
        let long =
            "--bind /tmp/a,n --command-name web --socket-path /s --pidfile /p --lockfile /l --command-socket-as-fd \
                    --kill-children-on-exit --backlog 9 --ack-mode 0.5 --number 2 --quiet --seconds 30 --verbose \
                    --signal-timeout=4 --drop-env-var=A --gc-before-fork --max-unacked 2 --max-upgrade-additional 3 \
                    --nice 5:10:/bin/renice --reexec-as x c";
        let short = "-b /tmp/a,n -c web -d /s -e /p -f /l -g -k -l 9 -m .5 -n 2 -q -s 30 -v -t 4 --drop A --gc \
                     --max-un 2 --max-up 3 --ni 5:10 --ree x c";
        let options = run(long).unwrap();
        assert_eq!(run(short).unwrap(), options);
        assert_eq!(options.binds, [Bind { place: BindPlace::Unix("/tmp/a".into()), nonblocking: true }]);
        assert_eq!((options.nice, options.signal_timeout), ((Some(5), Some(10)), Some(Duration::from_secs(4))));
        let idle = ["lockfile", "command-socket-as-fd", "kill-children-on-exit", "quiet", "verbose", "gc-before-fork"];
        assert_eq!(options.without_effect[..6], idle);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        for (line, want) in [
            ("-n 0 x", "-n: \"0\": expected a whole number from 1 to"),
            ("-b 80 x", "-b: \"80\": expected IP:PORT or a path with /"),
            ("-b a:70000 x", "port 70000 is not from 0 to 65535"),
            ("-b a:1,z x", "unknown flag \"z\"; there are r and n"),
            ("-m never x", "-m: \"never\": expected a number of seconds, or manual"),
            ("-m nan x", "expected a number of seconds"),
            ("-t -1 x", "-t: \"-1\": expected a number of seconds"),
            ("-p app.rb x", "-p: a Ruby program cannot be loaded before the fork"),
            ("--max 1 x", "--max may mean --max-unacked or --max-upgrade-additional"),
            ("--numbre 1 x", "did you mean --number?"),
            ("-z x", "unknown option -z"),
            ("-n", "-n: N is missing"),
            ("-c a/b x", "expected a name without a slash"),
            ("--nice 99 x", "expected a niceness from -20 to 19"),
            ("-n 2", "a command is missing"),
        ] {
            let said = run(line).unwrap_err();
            assert!(said.contains(want), "{line}: {said}");
        }
        assert!(run("-h").unwrap_err().contains("-b, --bind ADDR"), "the help names every option");
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec("-{0,2}[a-z]{0,9}[=:,./0-9 ]{0,4}\\PC{0,4}", 0..6)) {
            let _ = parse(words.into_iter().map(OsString::from));
        }
    }
}
