//! The keys that say when workers start, start again and stop. Called by `keys`.

use firestarter_core::spec::Restart;

use super::super::{command, signals, value};
use super::{set, Default, Key, Reader, COMMAND, DURATION, FLAG, SIGNAL};

const NO_RESET: &str = "a worker that fails at once would be respawned without end and without a pause";

const RESTART: &[(&str, Restart)] =
    &[("none", Restart::None), ("on-failure", Restart::OnFailure), ("always", Restart::Always)];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "autostart",
        aliases: &[],
        default: Default::Value("true"),
        form: FLAG,
        example: "false",
        about: "With `false` the group waits for `ctrl NAME start`.",
        read: Reader::Group(|d, i, l| set(&mut d.autostart, value::flag(i, l))),
    },
    Key {
        name: "start_immediate",
        aliases: &[],
        default: Default::Value("false"),
        form: FLAG,
        example: "true",
        about: "With `false` a group that has sockets is started by the first connection, and again so after all its \
            workers have ended for good. Without sockets a group starts at once in any case.",
        read: Reader::Group(|d, i, l| set(&mut d.start_immediate, value::flag(i, l))),
    },
    Key {
        name: "warmup_delay",
        aliases: &[],
        default: Default::Value("0"),
        form: DURATION,
        example: "5",
        about: "How long after Firestarter the group starts, or begins to wait for a connection.",
        read: Reader::Group(|d, i, l| set(&mut d.warmup, value::duration(i, l))),
    },
    Key {
        name: "restart",
        aliases: &[],
        default: Default::Value("\"none\""),
        form: "`\"none\"`, `\"on-failure\"` or `\"always\"`",
        example: "\"always\"",
        about: "What follows when a worker ends by itself: nothing, a new one if it failed (an exit code that is not 0, or \
            a signal), or a new one in any case. The first comes at once, the next after 0.1 s doubling to `backoff_max`, \
            each ± 25 %, counted for each slot.",
        read: Reader::Group(|d, i, l| set(&mut d.restart, value::choice(i, RESTART, l))),
    },
    Key {
        name: "backoff_max",
        aliases: &[],
        default: Default::Value("10"),
        form: DURATION,
        example: "\"1m\"",
        about: "The longest pause before a respawn.",
        read: Reader::Group(|d, i, l| set(&mut d.backoff.max, value::duration(i, l))),
    },
    Key {
        name: "backoff_reset",
        aliases: &[],
        default: Default::Value("10"),
        form: "a duration above 0",
        example: "\"30s\"",
        about: "A worker that lived so long did not fail, and its slot's pauses begin anew. So do they at any command of \
            the operator.",
        read: Reader::Group(|d, i, l| set(&mut d.backoff.reset, value::some_time(i, NO_RESET, l))),
    },
    Key {
        name: "giveup",
        aliases: &[],
        default: Default::Value("0"),
        form: "a whole number",
        example: "5",
        about: "After so many failures in a row (a failed spawn, or an end within `backoff_reset`) the group gives up, until \
            a command starts it. 0: never.",
        read: Reader::Group(|d, i, l| set(&mut d.give_up, value::whole(i, 0..=1_000_000, l))),
    },
    Key {
        name: "stop_signal",
        aliases: &[],
        default: Default::Value("\"SIGTERM\""),
        form: SIGNAL,
        example: "\"SIGQUIT\"",
        about: "What asks a worker to end. SIGSTOP is a fault. `-s` of stop, restart and dec takes its place.",
        read: Reader::Group(|d, i, l| set(&mut d.stop_signal, signals::stop_signal(i, l))),
    },
    Key {
        name: "stop_timeout",
        aliases: &[],
        default: Default::Value("10"),
        form: DURATION,
        example: "\"30s\"",
        about: "How long a worker may then take, before SIGKILL.",
        read: Reader::Group(|d, i, l| set(&mut d.stop_timeout, value::duration(i, l))),
    },
    Key {
        name: "exec_stop",
        aliases: &[],
        default: Default::Else("none"),
        form: COMMAND,
        example: "\"./stop --pid $MAINPID\"",
        about: "A command that is run once to stop or restart the whole group, in place of `stop_signal`. It runs in the \
            daemon's folder, environment and user, with `MAINPID` (a worker) and `FIRESTARTER_PIDS` (all, with blanks \
            between). Workers that remain after `stop_timeout` are killed. It is not run for an upgrade, unless `ack` is \
            `\"none\"`.",
        read: Reader::Group(|d, i, l| d.exec_stop = command::read(d, i, l)),
    },
    Key {
        name: "live_check_timeout",
        aliases: &["livechecktimeout"],
        default: Default::Value("0"),
        form: DURATION,
        example: "60",
        about: "A worker must touch the file named in `FIRESTARTER_WATCH_FILE` at least so often, else it is killed, and \
            `restart` decides. 0: it need not.",
        read: Reader::Group(|d, i, l| set(&mut d.live_check, value::duration(i, l))),
    },
    Key {
        name: "watchdog_timeout",
        aliases: &[],
        default: Default::Value("0"),
        form: DURATION,
        example: "30",
        about: "A worker that is ready must say `WATCHDOG=1` by sd_notify(3) at least so often, else it gets SIGABRT, SIGKILL \
            after `stop_timeout`, and `restart` decides. It finds the time in `WATCHDOG_USEC`. 0: it need not.",
        read: Reader::Group(|d, i, l| set(&mut d.watchdog, value::duration(i, l))),
    },
];
