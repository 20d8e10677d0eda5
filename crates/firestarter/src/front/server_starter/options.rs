//! Reads Server::Starter's options as Getopt::Long does: `--name=value` or `--name value`, any beginning of a name that is
//! no other's, up to the first word that is no option. Called by `server_starter`; it opens nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::spec::Signal;

use crate::nearest::nearest;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Print(String),
    Restart { pid_file: PathBuf, status_file: PathBuf },
    Stop { pid_file: PathBuf },
    Start(Box<Options>),
}

/// How a server is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) ports: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) interval: Duration,
    pub(super) signal_on_hup: Signal,
    pub(super) signal_on_term: Signal,
    pub(super) backlog: Option<i32>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) status_file: Option<PathBuf>,
    pub(super) log_file: Option<String>,
    pub(super) daemonize: bool,
    pub(super) dir: Option<PathBuf>,
    pub(super) envdir: Option<PathBuf>,
    /// How often it is restarted without being asked.
    pub(super) auto_restart: Option<Duration>,
    /// How long old workers are let be when the new one serves.
    pub(super) kill_old_delay: Duration,
    pub(super) command: Vec<String>,
}

/// The options that have a value, and those that have none.
const VALUED: [&str; 14] = [
    "port",
    "path",
    "interval",
    "signal-on-hup",
    "signal-on-term",
    "backlog",
    "pid-file",
    "status-file",
    "log-file",
    "dir",
    "envdir",
    "auto-restart-interval",
    "kill-old-delay",
    ENABLE,
];
const FLAGS: [&str; 5] = ["daemonize", "restart", "stop", "help", "version"];
/// Its value may be left out.
const ENABLE: &str = "enable-auto-restart";

const AUTO_RESTART: &str = "360";

const HELP: &str = "\
usage: firestarter start-server [OPTION...] -- COMMAND [ARGUMENT...]

Server::Starter's command line, for the daemon of firestarter.

  --port=[HOST:]PORT[=FD]      listen there; uPORT for UDP; FD is the number that the worker gets it as
  --path=PATH                  listen at a unix socket
  --backlog=N                  how many connections may wait
  --interval=SECONDS           a new worker that lives so long serves (1)
  --signal-on-hup=SIGNAL       what old workers get when a new one serves (TERM)
  --signal-on-term=SIGNAL      what workers get when TERM stops everything (TERM)
  --dir=PATH                   the worker's folder
  --envdir=PATH                a folder of files, each a variable; read for each worker anew
  --pid-file=PATH, --status-file=PATH
  --log-file=PATH, --log-file='| COMMAND'
  --daemonize                  go into the background; with --log-file
  --enable-auto-restart, --auto-restart-interval=SECONDS (360), --kill-old-delay=SECONDS
  --restart                    have the server of --pid-file and --status-file replaced, and wait for it
  --stop                       stop the server of --pid-file, and wait for it
  --help, --version

HUP replaces the worker; TERM, INT and QUIT stop all.
";

/// What was given, in order.
struct Given(Vec<(&'static str, String)>);

/// Reads the words. `env` is the environment, which has another way to say some options.
///
/// # Errors
/// What is wrong and what to write.
pub(super) fn read(args: Vec<OsString>, env: &dyn Fn(&str) -> Option<String>) -> Result<Wanted, String> {
    let words: Result<Vec<String>, OsString> = args.into_iter().map(OsString::into_string).collect();
    let words = words.map_err(|word| format!("{word:?}: not UTF-8"))?;
    let (given, command) = split(words)?;
    if given.has("help") {
        return Ok(Wanted::Print(HELP.to_owned()));
    }
    if given.has("version") {
        return Ok(Wanted::Print(format!("firestarter {}\n", env!("CARGO_PKG_VERSION"))));
    }
    if given.has("restart") {
        let needs = "--restart needs --pid-file and --status-file";
        let (pid_file, status_file) = (given.path("pid-file"), given.path("status-file"));
        let (pid_file, status_file) = (pid_file.ok_or(needs)?, status_file.ok_or(needs)?);
        return Ok(Wanted::Restart { pid_file, status_file });
    }
    if given.has("stop") {
        return Ok(Wanted::Stop { pid_file: given.path("pid-file").ok_or("--stop needs --pid-file")? });
    }
    start(&given, command, env).map(|options| Wanted::Start(Box::new(options)))
}

fn start(given: &Given, command: Vec<String>, env: &dyn Fn(&str) -> Option<String>) -> Result<Options, String> {
    if command.first().is_none_or(String::is_empty) {
        return Err("COMMAND is missing: firestarter start-server --port=8080 -- COMMAND".to_owned());
    }
    if given.has("daemonize") && given.last("log-file").is_none() {
        return Err("--daemonize needs --log-file".to_owned());
    }
    let or_env = |name: &str, variable: &str| given.last(name).map(str::to_owned).or_else(|| env(variable));
    let truth = |text: &String| !text.is_empty() && text != "0";
    let enabled = or_env(ENABLE, "ENABLE_AUTO_RESTART").filter(truth).is_some();
    let every = or_env("auto-restart-interval", "AUTO_RESTART_INTERVAL").unwrap_or_else(|| AUTO_RESTART.to_owned());
    let every = seconds("auto-restart-interval", &every)?;
    if every.is_zero() {
        return Err("--auto-restart-interval: it would be restarted all the time; write 1 or more".to_owned());
    }
    let delay =
        or_env("kill-old-delay", "KILL_OLD_DELAY").unwrap_or_else(|| if enabled { "5" } else { "0" }.to_owned());
    Ok(Options {
        ports: given.all("port"),
        paths: given.all("path"),
        interval: seconds("interval", given.last("interval").unwrap_or("1"))?,
        signal_on_hup: signal("signal-on-hup", given)?,
        signal_on_term: signal("signal-on-term", given)?,
        backlog: given.last("backlog").map(backlog).transpose()?,
        pid_file: given.path("pid-file"),
        status_file: given.path("status-file"),
        log_file: given.last("log-file").map(str::to_owned),
        daemonize: given.has("daemonize"),
        dir: given.path("dir"),
        envdir: given.path("envdir").or_else(|| env("ENVDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)),
        auto_restart: enabled.then_some(every),
        kill_old_delay: seconds("kill-old-delay", &delay)?,
        command,
    })
}

/// The options, and the command behind them.
fn split(words: Vec<String>) -> Result<(Given, Vec<String>), String> {
    let mut given = Given(Vec::new());
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| word.starts_with("--")) {
        let Some((written, value)) = word
            .strip_prefix("--")
            .filter(|rest| !rest.is_empty())
            .map(|rest| rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value.to_owned()))))
        else {
            break;
        };
        let name = known(written)?;
        let value = match value {
            Some(_) if FLAGS.contains(&name) => return Err(format!("--{name} has no value")),
            Some(value) => value,
            None if FLAGS.contains(&name) => String::new(),
            // A command is no number.
            None if name == ENABLE => {
                let digits = |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
                words.next_if(digits).unwrap_or_else(|| "1".to_owned())
            }
            None => words.next().ok_or_else(|| format!("--{name}: the value is missing"))?,
        };
        if value.is_empty() && !FLAGS.contains(&name) {
            return Err(format!("--{name}: the value is empty"));
        }
        if value.contains('\0') {
            return Err(format!("--{name}: there is a NUL in it"));
        }
        given.0.push((name, value));
    }
    if let Some(word) = words.peek().filter(|word| word.starts_with('-')) {
        return Err(format!("unknown option {word}"));
    }
    Ok((given, words.collect()))
}

/// The option of that name, or the only one that begins so.
fn known(written: &str) -> Result<&'static str, String> {
    let names = || VALUED.iter().chain(&FLAGS).copied();
    if let Some(name) = names().find(|name| *name == written) {
        return Ok(name);
    }
    let begun: Vec<&str> = names().filter(|name| name.starts_with(written)).collect();
    match begun.as_slice() {
        [name] => Ok(name),
        [] => {
            let meant = nearest(written, names()).map_or_else(String::new, |name| format!("; did you mean --{name}?"));
            Err(format!("unknown option --{written}{meant}"))
        }
        several => Err(format!("--{written}: which of --{}?", several.join(", --"))),
    }
}

fn seconds(name: &str, text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 315_360_000.0;
    let number = text.trim().parse::<f64>().ok().filter(|number| (0.0..=LONGEST).contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("--{name}: {text:?} is no number of seconds; write 1"))
}

fn signal(name: &str, given: &Given) -> Result<Signal, String> {
    let Some(text) = given.last(name) else { return Ok(Signal::TERM) };
    Signal::parse(text).ok_or_else(|| format!("--{name}: unknown signal {text:?}; write TERM or QUIT"))
}

fn backlog(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("--backlog: {text:?} is no number above 0; write 1024"))
}

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| *given == name)
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.clone()).collect()
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.last(name).map(PathBuf::from)
    }
}
