//! The keys that say what a worker's process is. Called by `keys`.

use std::num::NonZeroU32;

use super::super::{command, identity, octal, output, value};
use super::{set, Default, Key, Reader, COMMAND};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "exec_start",
        aliases: &[],
        default: Default::Required,
        form: COMMAND,
        example: "\"./server --port $PORT\"",
        about: "The program of the workers and its arguments. A program without `/` is looked for in the worker's `PATH`. \
            No shell takes part. A table with this key is a group.",
        read: Reader::Group(|d, i, l| d.exec = command::read(d, i, l)),
    },
    Key {
        name: "numprocesses",
        aliases: &[],
        default: Default::Value("1"),
        form: "a whole number from 1 to 10000",
        example: "4",
        about: "How many workers run. `ctrl NAME inc` and `dec` change the number until Firestarter ends.",
        read: Reader::Group(|d, i, l| set(&mut d.count, value::whole(i, 1..=10_000, l).and_then(NonZeroU32::new))),
    },
    Key {
        name: "working_directory",
        aliases: &[],
        default: Default::Value("\"./\""),
        form: "a path",
        example: "\"/srv/web\"",
        about: "The folder in which workers start. Like every relative path in the file it counts from the folder in \
            which Firestarter was started.",
        read: Reader::Group(|d, i, l| set(&mut d.working_directory, output::folder(d.around.cwd, i, l))),
    },
    Key {
        name: "uid",
        aliases: &[],
        default: Default::Else("the daemon's own"),
        form: "a number",
        example: "1000",
        about: "The user that workers run as. Alone it brings the user's primary group along; a number that no user has \
            needs `gid` too. The user's supplementary groups are set, those of the daemon are never kept. `HOME`, `USER` \
            and `LOGNAME` follow, unless `environments` sets them.",
        read: Reader::Group(|d, i, l| d.parts.uid = identity::number(i, l)),
    },
    Key {
        name: "gid",
        aliases: &[],
        default: Default::Else("the user's primary group; without a user the daemon's own"),
        form: "a number",
        example: "1000",
        about: "The primary group that workers run as. Alone it leaves the user as the daemon's own.",
        read: Reader::Group(|d, i, l| d.parts.gid = identity::number(i, l)),
    },
    Key {
        name: "user",
        aliases: &[],
        default: Default::Else("see `uid`"),
        form: "a name, or a number",
        example: "\"www-data\"",
        about: "As `uid`, by name. It is looked up once, when the file is read. Both together are a fault.",
        read: Reader::Group(|d, i, l| d.parts.user = identity::who(i, l)),
    },
    Key {
        name: "group",
        aliases: &[],
        default: Default::Else("see `gid`"),
        form: "a name, or a number",
        example: "\"www-data\"",
        about: "As `gid`, by name. Both together are a fault.",
        read: Reader::Group(|d, i, l| d.parts.group = identity::who(i, l)),
    },
    Key {
        name: "umask",
        aliases: &[],
        default: Default::Else("the daemon's own"),
        form: "octal digits in quotes, or a number that begins with `0o`",
        example: "\"027\"",
        about: "The permissions that a worker's new files do not get. A plain number is a fault, as 22 is not 022.",
        read: Reader::Group(|d, i, l| d.umask = octal::read(i, l)),
    },
];
