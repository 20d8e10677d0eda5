//! The commands and their options: one table, from which `args.rs` parses and the help is written, so the two cannot
//! disagree. Called by `args.rs`. Words only: it does nothing.

mod options;

pub(super) use options::OPTIONS;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Word {
    Run,
    Check,
    Init,
    List,
    Status,
    Stop,
    UpgradeDaemon,
    Reopen,
    Ctrl,
    Logs,
    Demo,
    Debug,
    Replay,
    StartServer,
    DemoWorker,
    Einhorn,
    EinhornSocket,
    CheckHandover,
    Help,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Opt {
    Config,
    Socket,
    Signal,
    Quiet,
    Verbose,
    Json,
    JsonLines,
    Timeout,
    NoWait,
    Progress,
    Binary,
    ExitWhen,
    Follow,
    Lines,
    Since,
    Stdout,
    Stderr,
    Slot,
    Grep,
    Output,
    Force,
    Help,
}

/// How a command is written, and what it does.
#[derive(Debug)]
pub(super) struct CommandRow {
    pub(super) word: Word,
    pub(super) name: &'static str,
    pub(super) operands: &'static str,
    pub(super) options: &'static [Opt],
    pub(super) about: &'static str,
    more: &'static str,
}

/// How an option is written, and what it does.
#[derive(Debug)]
pub(super) struct OptionRow {
    pub(super) opt: Opt,
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    /// What its value is called; none for a flag.
    pub(super) value: Option<&'static str>,
    about: &'static str,
}

/// All commands.
pub(super) const COMMANDS: [CommandRow; 19] = [
    CommandRow {
        word: Word::Run,
        name: "run",
        operands: "",
        options: &[Opt::Config, Opt::ExitWhen, Opt::Socket, Opt::Help],
        about: "run the daemon, in the foreground",
        more: "INT, TERM and QUIT stop it, and all workers with it; HUP too, unless it is ignored. What has not ended
when stop_timeout of [firestarter] is over is killed; without that key after 30 s, as PID 1 after 8 s.
Without -c, and without firestarter.toml here, it takes /etc/firestarter/config.toml.",
    },
    CommandRow {
        word: Word::Check,
        name: "check",
        operands: "",
        options: &[Opt::Config, Opt::Help],
        about: "check a configuration and say all that is wrong with it",
        more: "Nothing is started. Exit code 2 if there is a fault.
Without -c, and without firestarter.toml here, it takes /etc/firestarter/config.toml.",
    },
    CommandRow {
        word: Word::Init,
        name: "init",
        operands: " -- COMMAND",
        options: &[Opt::Config, Opt::Help],
        about: "write a configuration for a command, to begin with",
        more: "It is written to firestarter.toml here, or to -c FILE; -c - prints it. No file is overwritten.
Known: gunicorn, uvicorn, hypercorn, node, puma, nginx, haproxy, caddy; each gets its sockets and
signals as it needs them. An address in COMMAND (-b 0.0.0.0:8000, --port 8000) becomes socket_address.",
    },
    CommandRow {
        word: Word::List,
        name: "list",
        operands: "",
        options: &[Opt::Quiet, Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help],
        about: "list the groups",
        more: "",
    },
    CommandRow {
        word: Word::Status,
        name: "status",
        operands: "",
        options: &[Opt::Quiet, Opt::Verbose, Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help],
        about: "show how all groups are",
        more: "A table on a terminal; in a pipe three lines for each group, as of `ctrl NAME status`.",
    },
    CommandRow {
        word: Word::Stop,
        name: "stop",
        operands: "",
        options: &[Opt::NoWait, Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help],
        about: "stop everything and the daemon",
        more: "To stop one group: firestarter ctrl NAME stop",
    },
    CommandRow {
        word: Word::UpgradeDaemon,
        name: "upgrade-daemon",
        operands: "",
        options: &[Opt::Binary, Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help],
        about: "replace firestarter itself by a new version",
        more: "Workers, listeners and clients notice nothing. The new program is asked first whether it can take over, and if it
does not come to work the old one goes on. Without --binary: the file that firestarter was started from.
The signal USR2 does the same.",
    },
    CommandRow {
        word: Word::Reopen,
        name: "reopen",
        operands: "",
        options: &[Opt::Json, Opt::Timeout, Opt::Socket, Opt::Help],
        about: "open all log files anew, after something has moved them away",
        more: "It returns when they are open; nothing is lost. For logrotate, as is SIGUSR1 to `firestarter run`, which does not
wait. The files of one group: firestarter ctrl NAME reopen",
    },
    CommandRow {
        word: Word::Ctrl,
        name: "ctrl",
        operands: " NAME VERB",
        options: &[
            Opt::Signal,
            Opt::NoWait,
            Opt::Progress,
            Opt::Quiet,
            Opt::Verbose,
            Opt::Json,
            Opt::Timeout,
            Opt::Socket,
            Opt::Help,
        ],
        about: "ask or order something of one group",
        more: "VERB is one of:
  status    whether it runs, its processes, since when
  start     start what does not run
  stop      stop all workers
  restart   stop all, then start all; listeners stay open
  upgrade   replace all workers by new ones without a gap
  rollback  back to the generation before, with the program that it ran; ends an upgrade that is under way
  cancel    end the upgrade under way: the old workers serve on
  inc       one worker more
  dec       one worker fewer
  killall   SIGKILL to all; the group is then stopped
  signal    SIGNAL to all workers and nothing else: firestarter ctrl NAME signal HUP
  reopen    open its log files anew, after something has moved them away

NAME/SLOT is one worker, for status and signal; slots count from 0: firestarter ctrl web/2 signal HUP
Without --no-wait it returns when all is done: an upgrade when the new workers serve, or have failed to.
Ctrl-C ends the waiting and nothing else; `cancel` ends the upgrade.",
    },
    CommandRow {
        word: Word::Logs,
        name: "logs",
        operands: " [NAME...]",
        options: &[
            Opt::Follow,
            Opt::Lines,
            Opt::Since,
            Opt::Stdout,
            Opt::Stderr,
            Opt::Slot,
            Opt::Grep,
            Opt::Config,
            Opt::Socket,
            Opt::Help,
        ],
        about: "show what groups have written, and follow it",
        more: "Of log files with all their backups, plain or compressed; of what is passed on, what is kept in memory.
NAME/SLOT is one worker, where lines tell that. Lines of several groups stand behind whose they are.
Without -n it shows all, with -f the last 10 lines of each log and what comes, over rotations and restarts.
Where no daemon runs, files are found by the configuration: by -c, firestarter.toml here or
/etc/firestarter/config.toml.",
    },
    CommandRow {
        word: Word::Einhorn,
        name: "einhorn",
        operands: " COMMAND",
        options: &[],
        about: "run a command with Einhorn's options",
        more: "Its options stand before COMMAND: firestarter einhorn --help. einhornsh works with it.",
    },
    CommandRow { word: Word::CheckHandover, name: "check-handover", operands: "", options: &[], about: "", more: "" },
    CommandRow { word: Word::EinhornSocket, name: "einhorn-socket", operands: "", options: &[], about: "", more: "" },
    CommandRow {
        word: Word::Demo,
        name: "demo",
        operands: "",
        options: &[Opt::Help],
        about: "show what firestarter does, with workers of its own",
        more: "",
    },
    CommandRow {
        word: Word::StartServer,
        name: "start-server",
        operands: " [OPTION...] -- COMMAND",
        options: &[],
        about: "run one server by the command line of Server::Starter",
        more: "All that follows is read as start_server reads it: firestarter start-server --help",
    },
    CommandRow { word: Word::DemoWorker, name: "demo-worker", operands: "", options: &[], about: "", more: "" },
    CommandRow {
        word: Word::Debug,
        name: "debug",
        operands: " journal",
        options: &[Opt::Output, Opt::Socket, Opt::Help],
        about: "write the daemon's journal to a file, for firestarter replay",
        more: "What has happened lately, and what was done about it. Environments and other secrets are not in it.
No file is overwritten. A daemon that cannot read its journal gives it nevertheless.",
    },
    CommandRow {
        word: Word::Replay,
        name: "replay",
        operands: " FILE",
        options: &[Opt::JsonLines, Opt::Force, Opt::Help],
        about: "tell what happened by a journal, event by event",
        more: "FILE was written by firestarter debug journal. Nothing is started; no daemon is needed.
Exit code 1 if it is damaged: what stands before the damage is told.",
    },
    CommandRow {
        word: Word::Help,
        name: "help",
        operands: " [COMMAND|KEY]",
        options: &[Opt::Help],
        about: "show this, or the help of one command or key",
        more: "firestarter help KEY shows what a key of the configuration means; help configuration shows all.",
    },
];

/// The commands that people are told of.
pub(super) fn shown() -> impl Iterator<Item = &'static CommandRow> {
    COMMANDS.iter().filter(|row| !row.about.is_empty())
}

/// `firestarter help`.
pub(crate) fn help() -> String {
    let mut text = String::from("firestarter: a process and shared socket manager\n\n");
    text.push_str("usage: firestarter COMMAND [OPTIONS]\n\ncommands:\n");
    let spelled = |row: &CommandRow| format!("{}{}", row.name, row.operands);
    let width = shown().map(|row| spelled(row).len()).max().unwrap_or(0) + 2;
    for row in shown() {
        text.push_str(&format!("  {:<width$}{}\n", spelled(row), row.about));
    }
    for (option, about) in [("-h, --help", "show this"), ("-V, --version", "show the version")] {
        let before = if option.starts_with("-h") { "\n" } else { "" };
        text.push_str(&format!("{before}  {option:<width$}{about}\n"));
    }
    text.push_str("\nOptions stand after the command: firestarter help COMMAND\n\n");
    text.push_str("exit codes: 0 done, 1 failed or refused, 2 usage or configuration, 3 no daemon,\n");
    text.push_str("            4 unknown group, 5 timed out while the work goes on\n");
    text
}

impl CommandRow {
    /// `firestarter help COMMAND`.
    pub(super) fn help(&self) -> String {
        let mut text = format!("usage: firestarter {}{}", self.name, self.operands);
        let options = || OPTIONS.iter().filter(|row| self.options.contains(&row.opt));
        for row in options().filter(|row| row.opt != Opt::Help) {
            text.push_str(&format!(" [{}]", row.usage()));
        }
        text.push_str(&format!("\n\n{}\n", self.about));
        if !self.more.is_empty() {
            text.push_str(&format!("\n{}\n", self.more));
        }
        text.push_str("\noptions:\n");
        for row in options() {
            text.push_str(&format!("  {:<26}{}\n", row.spelled(), row.about));
        }
        text
    }
}

impl OptionRow {
    /// As in a usage line: `-d SOCKET`.
    pub(super) fn usage(&self) -> String {
        let name = match self.short {
            Some(short) => format!("-{short}"),
            None => format!("--{}", self.long),
        };
        match self.value {
            Some(value) => format!("{name} {value}"),
            None => name,
        }
    }

    /// All spellings: `-d, --socket-path SOCKET`.
    fn spelled(&self) -> String {
        let short = self.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let value = self.value.map_or_else(String::new, |value| format!(" {value}"));
        format!("{short}--{}{value}", self.long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_reads_a_configuration_looks_for_it_elsewhere() {
        for row in COMMANDS.iter().filter(|row| row.options.contains(&Opt::Config)) {
            let elsewhere = row.help().contains("/etc/firestarter/config.toml");
            assert_eq!(elsewhere, row.word != Word::Init, "{}", row.help());
        }
        assert!(help().contains("help [COMMAND|KEY]"), "{}", help());
    }

    #[test]
    fn the_help_of_ctrl() {
        let row = COMMANDS.iter().find(|row| row.word == Word::Ctrl).expect("it is in the table");
        let want = "\
usage: firestarter ctrl NAME VERB [-s SIGNAL] [--no-wait] [--progress] [-q] [-v] [--json] [--timeout TIME] [-d SOCKET]

ask or order something of one group

VERB is one of:
  status    whether it runs, its processes, since when
  start     start what does not run
  stop      stop all workers
  restart   stop all, then start all; listeners stay open
  upgrade   replace all workers by new ones without a gap
  rollback  back to the generation before, with the program that it ran; ends an upgrade that is under way
  cancel    end the upgrade under way: the old workers serve on
  inc       one worker more
  dec       one worker fewer
  killall   SIGKILL to all; the group is then stopped
  signal    SIGNAL to all workers and nothing else: firestarter ctrl NAME signal HUP
  reopen    open its log files anew, after something has moved them away

NAME/SLOT is one worker, for status and signal; slots count from 0: firestarter ctrl web/2 signal HUP
Without --no-wait it returns when all is done: an upgrade when the new workers serve, or have failed to.
Ctrl-C ends the waiting and nothing else; `cancel` ends the upgrade.

options:
  -s, --signal SIGNAL       in place of stop_signal in stop, restart and dec, of ack_signal in upgrade and rollback; what signal sends
      --no-wait             return when it has begun; a refusal is still told
      --progress            tell how far an upgrade, a rollback or a restart is; on a terminal that is done in any case
  -q, --quiet               leave out the heading line
  -v, --verbose             in a status, how the log files are, and what was last said of a failure
      --json                print the result, or the error, as one JSON document
      --timeout TIME        wait at most so long: seconds, or 500ms, 2m; without it 10 for a question, for ever for an order
  -d, --socket-path SOCKET  the control socket; without it $FIRESTARTER_SOCKET, then the runtime folder
  -h, --help                show this
";
        assert_eq!(row.help(), want);
    }

    #[test]
    fn where_json_is_many_documents_the_help_says_so() {
        for row in COMMANDS.iter().filter(|row| row.help().contains("--json ")) {
            let help = row.help();
            let about: Vec<_> = help.lines().filter(|line| line.trim_start().starts_with("--json ")).collect();
            let each = about.iter().filter(|line| line.contains("one JSON document each")).count();
            assert_eq!((about.len(), each), (1, usize::from(row.word == Word::Replay)), "{help}");
        }
    }

    #[test]
    fn no_line_of_a_help_is_too_long_and_every_option_has_its_command() {
        for row in &COMMANDS {
            for line in row.help().lines().chain(help().lines()) {
                assert!(line.len() <= 140, "{line}");
            }
        }
        for option in &OPTIONS {
            assert!(COMMANDS.iter().any(|row| row.options.contains(&option.opt)), "{}", option.long);
        }
    }

    #[test]
    fn the_help_names_every_command_but_the_hidden_one() {
        let help = help();
        for row in shown() {
            assert!(help.contains(&format!("{}  ", row.operands)), "a gap before what it does: {help}");
        }
        for row in &COMMANDS {
            assert_eq!(
                help.contains(&format!("\n  {}", row.name)) && !row.about.is_empty(),
                !matches!(row.word, Word::DemoWorker | Word::EinhornSocket | Word::CheckHandover)
            );
        }
        assert!(!help.contains("demo-worker") && !help.contains("einhorn-socket"));
    }
}
