//! The options of all commands. Called by `table`.

use super::{Opt, OptionRow};

/// All options.
pub(in crate::cli) const OPTIONS: [OptionRow; 21] = [
    OptionRow {
        opt: Opt::Config,
        short: Some('c'),
        long: "config",
        value: Some("FILE"),
        about: "the configuration; without it firestarter.toml here",
    },
    OptionRow { opt: Opt::Binary, short: None, long: "binary", value: Some("PATH"), about: "the new program" },
    OptionRow {
        opt: Opt::Signal,
        short: Some('s'),
        long: "signal",
        value: Some("SIGNAL"),
        about:
            "in place of stop_signal in stop, restart and dec, of ack_signal in upgrade and rollback; what signal sends",
    },
    OptionRow {
        opt: Opt::NoWait,
        short: None,
        long: "no-wait",
        value: None,
        about: "return when it has begun; a refusal is still told",
    },
    OptionRow {
        opt: Opt::Progress,
        short: None,
        long: "progress",
        value: None,
        about: "tell how far an upgrade, a rollback or a restart is; on a terminal that is done in any case",
    },
    OptionRow {
        opt: Opt::ExitWhen,
        short: None,
        long: "exit-when",
        value: Some("WHEN"),
        about: "end by itself: done (all groups have ended), failed (a group has), never; as PID 1 failed, else never",
    },
    OptionRow { opt: Opt::Follow, short: Some('f'), long: "follow", value: None, about: "show what comes, too" },
    OptionRow {
        opt: Opt::Lines,
        short: Some('n'),
        long: "lines",
        value: Some("LINES"),
        about: "of each log only so many of the last lines that are wanted, or all",
    },
    OptionRow {
        opt: Opt::Since,
        short: None,
        long: "since",
        value: Some("TIME"),
        about: "nothing older: 10m, 2h, 1d, or 2026-01-31T12:00:00Z; where lines bear no time, no older backups",
    },
    OptionRow { opt: Opt::Stdout, short: None, long: "stdout", value: None, about: "only of standard output" },
    OptionRow { opt: Opt::Stderr, short: None, long: "stderr", value: None, about: "only of standard error" },
    OptionRow {
        opt: Opt::Slot,
        short: None,
        long: "slot",
        value: Some("SLOT"),
        about: "only of the worker in this slot",
    },
    OptionRow {
        opt: Opt::Grep,
        short: None,
        long: "grep",
        value: Some("REGEX"),
        about: "only lines that match, by a regular expression",
    },
    OptionRow { opt: Opt::Quiet, short: Some('q'), long: "quiet", value: None, about: "leave out the heading line" },
    OptionRow {
        opt: Opt::Verbose,
        short: Some('v'),
        long: "verbose",
        value: None,
        about: "in a status, how the log files are, and what was last said of a failure",
    },
    OptionRow {
        opt: Opt::Json,
        short: None,
        long: "json",
        value: None,
        about: "print the result, or the error, as one JSON document",
    },
    OptionRow {
        opt: Opt::Timeout,
        short: None,
        long: "timeout",
        value: Some("TIME"),
        about: "wait at most so long: seconds, or 500ms, 2m; without it 10 for a question, for ever for an order",
    },
    OptionRow {
        opt: Opt::Socket,
        short: Some('d'),
        long: "socket-path",
        value: Some("SOCKET"),
        about: "the control socket; without it $FIRESTARTER_SOCKET, then the runtime folder",
    },
    OptionRow {
        opt: Opt::Output,
        short: Some('o'),
        long: "output",
        value: Some("FILE"),
        about: "where to; it must not exist",
    },
    OptionRow {
        opt: Opt::Force,
        short: None,
        long: "force",
        value: None,
        about: "even if another build of the same format wrote it",
    },
    OptionRow { opt: Opt::Help, short: Some('h'), long: "help", value: None, about: "show this" },
];
