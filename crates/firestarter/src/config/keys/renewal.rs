//! The keys of upgrades. Called by `keys`.

use super::super::draft::AckKind;
use super::super::{command, health, signals, value};
use super::{set, Default, Key, Reader, COMMAND, DURATION, FLAG, SIGNAL};

const NO_START: &str = "every upgrade would be aborted before it begins";
const NO_PAUSE: &str = "the upgrader would run without a pause";
const NO_TIME: &str = "every upgrader would be killed at once, and there would be no upgrade";

const ACK: &[(&str, AckKind)] = &[
    ("timer", AckKind::Timer),
    ("manual", AckKind::Manual),
    ("notify", AckKind::Notify),
    ("http", AckKind::Http),
    ("tcp", AckKind::Tcp),
    ("exec", AckKind::Exec),
    ("none", AckKind::None),
];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "ack",
        aliases: &[],
        default: Default::Value("\"timer\""),
        form: "`\"timer\"`, `\"manual\"`, `\"notify\"`, `\"http\"`, `\"tcp\"`, `\"exec\"` or `\"none\"`",
        example: "\"manual\"",
        about: "How a new worker becomes ready in an upgrade. `timer`: it has lived for `ack_timeout`. `manual`: it says \
            so, in any way that its `contracts` have. `notify`: it says `READY=1` by sd_notify(3), and nothing else counts. \
            `http`, `tcp`, `exec`: it answers well when it is asked, see `health`. \
            `none`: there is nothing to wait for; an upgrade stops all workers and then starts all. Outside an upgrade a \
            missing ack harms nobody.",
        read: Reader::Group(|d, i, l| set(&mut d.ack, value::choice(i, ACK, l))),
    },
    Key {
        name: "ack_timeout",
        aliases: &[],
        default: Default::Value("1"),
        form: DURATION,
        example: "5",
        about: "How long a new worker must live to count as ready, with `ack = \"timer\"`. Must be shorter than \
            `start_timeout`.",
        read: Reader::Group(|d, i, l| set(&mut d.ack_timeout, value::duration(i, l))),
    },
    Key {
        name: "start_timeout",
        aliases: &[],
        default: Default::Value("300"),
        form: "a duration above 0",
        example: "\"1m\"",
        about: "An upgrade whose new workers are not all ready by then is aborted: the new ones go, the old ones never \
            noticed.",
        read: Reader::Group(|d, i, l| set(&mut d.start_timeout, value::some_time(i, NO_START, l))),
    },
    Key {
        name: "ack_signal",
        aliases: &[],
        default: Default::Value("\"SIGUSR2\""),
        form: SIGNAL,
        example: "\"SIGTERM\"",
        about: "What tells an old worker that its successors serve. A worker that does not catch it would die in the middle \
            of a request and gets `stop_signal` instead. SIGKILL and SIGSTOP are faults. Servers differ: `firestarter \
            check` warns where the command is that of a known one and the signal harms it.",
        read: Reader::Group(|d, i, l| set(&mut d.ack_signal, signals::ack_signal(i, l))),
    },
    Key {
        name: "health",
        aliases: &[],
        default: Default::Else("nobody is asked"),
        form: "a table",
        example: "{ command = \"./ask $FIRESTARTER_WORKER_PID\", liveness = true }",
        about: "How a worker is asked whether it serves, in one of three ways. `url`: a request over HTTP, whose answer must \
            have a `status` of `\"200-399\"`, or what is written; redirects are not followed, and https is not spoken. \
            `address`: a connection is made. `command`: a command ends with exit code 0; it runs as the worker's user, in \
            its folder and environment, and what it writes is dropped. For both sorts of address `unix:PATH` is one too \
            (`unix:PATH:/health` for a url). Variables may stand in each, as in `exec_start`, and beside them \
            `FIRESTARTER_SLOT`, `FIRESTARTER_WORKER_PID` and `MAINPID`, the pid as well. At an address that workers share \
            it cannot be chosen who answers, so one of these must stand in `url` and `address`. In an upgrade the old and \
            the new worker of a slot run side by side: with `FIRESTARTER_SLOT` alone both must be able to listen there, and \
            the new one must be the one who is reached, as with the path of a unix socket that it binds anew. \
            A worker is asked every `interval` (1 s), and an answer that takes longer than `timeout` (3 s) is a bad one. \
            `healthy_after` (1) good ones in a row make a new worker ready, with `ack = \"http\"`, `\"tcp\"` or \
            `\"exec\"`. With `liveness = true`, which goes with any `ack`, ready workers are asked on, and one with \
            `unhealthy_after` (3) bad ones in a row is replaced: its successor starts first.",
        read: Reader::Group(|d, i, l| d.health = health::read(d, i, l)),
    },
    Key {
        name: "drain_timeout",
        aliases: &[],
        default: Default::Value("30"),
        form: DURATION,
        example: "\"5m\"",
        about: "How long an old worker may then take to finish, before SIGKILL.",
        read: Reader::Group(|d, i, l| set(&mut d.drain_timeout, value::duration(i, l))),
    },
    Key {
        name: "auto_upgrade",
        aliases: &[],
        default: Default::Value("false"),
        form: FLAG,
        example: "true",
        about: "With `true` the group is upgraded when its program's file changes, or when a symlink on the way to it is \
            switched, once that has settled.",
        read: Reader::Group(|d, i, l| set(&mut d.auto_upgrade, value::flag(i, l))),
    },
    Key {
        name: "upgrader",
        aliases: &[],
        default: Default::Else("none"),
        form: COMMAND,
        example: "\"./fetch-release\"",
        about: "A command that decides whether there is an upgrade: only if it ends with exit code 0. It runs when an upgrade \
            is asked for, or instead every `upgrader_active_sec`, in the daemon's folder, environment and user.",
        read: Reader::Group(|d, i, l| d.upgrader = command::read(d, i, l)),
    },
    Key {
        name: "upgrader_active_sec",
        aliases: &["upgraderactivesec"],
        default: Default::Else("none"),
        form: "a duration above 0",
        example: "60",
        about: "How often the upgrader runs by itself. An upgrade that is asked for then begins without it. Without this \
            key the upgrader runs only when an upgrade is asked for. A fault without `upgrader`.",
        read: Reader::Group(|d, i, l| d.upgrader_every = value::some_time(i, NO_PAUSE, l)),
    },
    Key {
        name: "upgrader_timeout",
        aliases: &[],
        default: Default::Value("300"),
        form: "a duration above 0",
        example: "60",
        about: "How long the upgrader may take before it is killed, and there is no upgrade. A fault without `upgrader`.",
        read: Reader::Group(|d, i, l| set(&mut d.upgrader_timeout, value::some_time(i, NO_TIME, l))),
    },
];
