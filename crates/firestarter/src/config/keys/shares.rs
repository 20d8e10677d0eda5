//! The keys of what workers share and are told: sockets, variables. Called by `keys`.

use super::super::{contracts, environment, environment_file, sockets, value};
use super::{set, Default, Key, Reader, FLAG};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "socket_address",
        aliases: &[],
        default: Default::Value("[]"),
        form: "an array of addresses, or one address (see Sockets)",
        example: "[\"127.0.0.1:8000\", \"/run/web.sock\"]",
        about: "The sockets that the group's workers share. Each is opened once, before the first worker starts, and stays \
            open through restarts and upgrades. Workers find them from descriptor 3 on, in this order. At most 48; no \
            address twice in the file.",
        read: Reader::Group(sockets::read),
    },
    Key {
        name: "stdin_socket",
        aliases: &[],
        default: Default::Else("none: workers read from /dev/null"),
        form: "a socket's name, or its place in `socket_address`, from 0",
        example: "\"http\"",
        about: "The socket that workers get as descriptor 0 too, as programs written for inetd with `wait`, for FastCGI or \
            for Circus want it.",
        read: Reader::Group(sockets::stdin),
    },
    Key {
        name: "environments",
        aliases: &[],
        default: Default::Value("[]"),
        form: "an array of `\"NAME=VALUE\"`, or a table of strings",
        example: "[\"RAILS_ENV=production\"]",
        about: "Variables for the workers; they win over those inherited and those of `environment_file`. Nothing in them \
            is expanded. The names that the daemon itself sets are faults.",
        read: Reader::Group(environment::read),
    },
    Key {
        name: "environment_file",
        aliases: &[],
        default: Default::Else("none"),
        form: "a path, or an array of paths",
        example: "\"/etc/web.env\"",
        about: "Files with variables for the workers, read once with the configuration: lines `NAME=VALUE`, perhaps behind \
            `export`; blank lines and lines that begin with `#` are skipped. One pair of quotes around a value is \
            removed, nothing is expanded. Of a name that comes twice the last one counts. A missing file is a fault. \
            Messages never show what stands in the file.",
        read: Reader::Group(environment_file::read),
    },
    Key {
        name: "inherit_env",
        aliases: &[],
        default: Default::Value("true"),
        form: FLAG,
        example: "false",
        about: "Whether workers inherit the daemon's environment. What was meant for the daemon alone (`LISTEN_*`, \
            `NOTIFY_SOCKET` and their like) is never passed on. With `false` they get a plain `PATH`.",
        read: Reader::Group(|d, i, l| set(&mut d.inherit_env, value::flag(i, l))),
    },
    Key {
        name: "environment_base_name",
        aliases: &[],
        default: Default::Value("\"FIRESTARTER\""),
        form: "letters, digits and `_`, no digit in front",
        example: "\"EINHORN\"",
        about: "What the names of the daemon's variables begin with: `FIRESTARTER_FD_0` and so on. `EINHORN` makes those \
            that Einhorn's clients look for.",
        read: Reader::Group(|d, i, l| set(&mut d.base_name, environment::base_name(i, l))),
    },
    Key {
        name: "contracts",
        aliases: &[],
        default: Default::Value("[\"firestarter\", \"einhorn\", \"server-starter\", \"systemd\"]"),
        form: "an array of these names, which may be empty",
        example: "[\"systemd\"]",
        about: "Whose conventions workers are spoken to in, so that one written for any of the four runs unchanged. They \
            find their sockets in `FIRESTARTER_FD_0` and so on, `EINHORN_FD_0` and so on, `SERVER_STARTER_PORT`, or by \
            `LISTEN_FDS`. An ack counts if its contract is here: `firestarter` and `einhorn` have one, a line on the \
            worker socket. `EINHORN_CHILD_INDEX` is the smallest number that no living worker of the group has, \
            `SERVER_STARTER_GENERATION` counts the workers that the group has had. What `environments` says of a variable \
            of Einhorn or Server::Starter wins.",
        read: Reader::Group(|d, i, l| set(&mut d.contracts, contracts::read(i, l))),
    },
    Key {
        name: "listen_pid",
        aliases: &[],
        default: Default::Value("true"),
        form: FLAG,
        example: "false",
        about: "Whether workers get `LISTEN_PID`, which must be the pid of the process that takes the sockets. `false` is \
            for a program behind a wrapper that starts it as a child.",
        read: Reader::Group(|d, i, l| set(&mut d.listen_pid, value::flag(i, l))),
    },
    Key {
        name: "fd_store",
        aliases: &[],
        default: Default::Value("0"),
        form: "a whole number from 0 to 48",
        example: "4",
        about: "How many descriptors the workers of a slot may store for their successors, by `FDSTORE=1` of sd_notify(3). \
            The next worker in the slot gets them after its sockets, named in `LISTEN_FDNAMES`; restarts, upgrades and \
            the daemon's death lose none. Together with the sockets at most 54.",
        read: Reader::Group(|d, i, l| set(&mut d.fd_store, value::whole(i, 0..=48, l))),
    },
    Key {
        name: "control_socket",
        aliases: &[],
        default: Default::Else("in the runtime folder"),
        form: "a path",
        example: "\"/run/web.ctl\"",
        about: "Where the group's workers connect to ack; they find the path in `FIRESTARTER_SOCK_PATH`. At most 107 \
            bytes; no path of another group or of a `socket_address`.",
        read: Reader::Group(|d, i, l| set(&mut d.control_socket, sockets::control(d.around.cwd, i, l).map(Some))),
    },
];
