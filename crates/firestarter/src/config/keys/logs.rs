//! The keys that say where what workers write goes, and those of the table that a log can be. Called by `keys`.

use super::super::{output, size};
use super::{set, Default, Key, Part, Reader, FLAG, SIZE};

/// The most that `log_ring` can be: 16 MiB.
const RING_MOST: u64 = 16 << 20;

const LOG: &str =
    "a path, `\"null\"`, `\"size:MAX_BYTES:BACKUPS:PATH\"`, `\"time:INTERVAL:UNIT:ZONE:BACKUPS:PATH\"`, or a table";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "stdout_log",
        aliases: &["stdoutlog"],
        default: Default::Else("the daemon's own output"),
        form: LOG,
        example: "\"size:10485760:5:/var/log/web.log\"",
        about: "Where a worker's output goes. Passed on to the daemon's own output, a line is marked with group and slot \
            if there are several groups or a terminal reads it; what is not read in time (a worker waits for half a second at most) is dropped and counted. \
            `\"/dev/stdout\"` means the same. `\"null\"` drops all. A path is a file, to whose end lines are written. `size:` begins a new file before a line would bring it to MAX_BYTES, which may have a unit \
            (`10MiB`), and keeps BACKUPS old ones as `PATH.1` (the newest), `PATH.2` and so on. `time:` begins a new file \
            every INTERVAL units (`S`, `M`, `H` or `D`), or at every `MIDNIGHT`, whatever INTERVAL is, by the clock of ZONE (`U` or `UTC`; `L` or \
            `LOCAL`: as `TZ` says that Firestarter was started with, else `/etc/localtime`), and keeps BACKUPS old ones as `PATH.` with the time at which they began, as fine as the unit: \
            `PATH.20240229` for days, `PATH.20240229123456` for seconds. Letters may be small; PATH may contain `:`. \
            While the file cannot take lines, as on a full disk, workers wait, but not longer than 5 s in all; then lines \
            are dropped and counted, and a line of the log says how many. Several logs may go to one file if all that is \
            said of it is the same. PATH's folder must exist, unless a table says otherwise.",
        read: Reader::Group(|d, i, l| set(&mut d.stdout, output::read(d.around, i, l))),
    },
    Key {
        name: "stderr_log",
        aliases: &["stderrlog"],
        default: Default::Else("the daemon's own standard error"),
        form: LOG,
        example: "\"time:1:D:U:7:/var/log/web.err\"",
        about: "The same for a worker's errors, with the same table.",
        read: Reader::Group(|d, i, l| set(&mut d.stderr, output::read(d.around, i, l))),
    },
    Key {
        name: "log_ring",
        aliases: &[],
        default: Default::Value("\"64KiB\""),
        form: SIZE,
        example: "\"1MiB\"",
        about: "How much of the end of what the group's workers write is kept in memory for `firestarter logs`, as far as \
            it is passed on to the daemon's own output; what goes to a file is read from there. 0: nothing. Else \
            at least 4 KiB, at most 16 MiB. What is read at once takes 32 bytes more, so of short lines that come one by one \
            much less is kept.",
        read: Reader::Group(|d, i, l| {
            let bytes = size::read(i, 0..=RING_MOST, "64KiB", l);
            set(&mut d.log_ring, bytes.and_then(|bytes| u32::try_from(bytes).ok()));
        }),
    },
];

/// What stands in the table of `stdout_log` and `stderr_log`.
pub(crate) const TABLE: &[Part] = &[
    Part {
        name: "path",
        form: "a path",
        default: "none, it must be there without `pass_on`",
        about: "The file, without the rotation in front.",
    },
    Part {
        name: "pass_on",
        form: FLAG,
        default: "`false`",
        about: "Whether it goes to the daemon's own output instead of a file, as without the key. Beside it only `form` \
            and `nested_json` may stand.",
    },
    Part {
        name: "rotate",
        form: "`\"size:MAX_BYTES:BACKUPS\"` or `\"time:INTERVAL:UNIT:ZONE:BACKUPS\"`",
        default: "never",
        about: "When a new file begins, and how many old ones are kept under which names: as above.",
    },
    Part {
        name: "compress",
        form: "`\"gzip\"` or `\"zstd\"`",
        default: "not at all",
        about: "How backups are compressed, which happens beside the writing of logs. `.gz` or `.zst` is added to their \
            names: `PATH.1.gz`, `PATH.20240229.zst`. Only with `rotate`.",
    },
    Part {
        name: "max_total",
        form: SIZE,
        default: "no limit",
        about: "The file and its backups together are kept below so much: the oldest backups are removed, even if there \
            are fewer than BACKUPS. The file itself stays, however large it is before a rotation by time. Only with \
            `rotate`; more than MAX_BYTES.",
    },
    Part {
        name: "form",
        form: "`\"plain\"`, `\"timed\"` or `\"json\"`",
        default: "`\"plain\"`",
        about: "What a line becomes: `plain`, what it is; `timed`, the same behind the time at which it was read, in UTC \
            (RFC 3339); `json`, a JSON object with the time, the group, the worker and the `message`. The line that a \
            worker leaves open when it ends is closed with a newline, so that no two are one: at once if `form` is not \
            `plain` or the line is passed on behind a mark, else when somebody else writes to the file, such as its successor.",
    },
    Part {
        name: "nested_json",
        form: FLAG,
        default: "`false`",
        about: "Whether a line that is a JSON object or array itself stands in `message` as such, and not as a string. \
            Only with `form = \"json\"`.",
    },
    Part {
        name: "on_overflow",
        form: "`\"wait\"`, `\"block\"` or `\"drop\"`",
        default: "`\"wait\"`",
        about: "What becomes of lines while the file cannot take them, because the disk is full or its folder is gone. \
            `wait`: they are held, and once there is no more room for them a worker that writes waits, but not longer \
            than 5 s in all; then lines are dropped and counted. `block`: workers wait for as long as it takes, and \
            nothing is dropped. `drop`: no worker waits longer than half a second; what finds no room then is \
            dropped and counted. When the file works \
            again, a line stands in their place: `firestarter: 12 lines (3456 bytes) of workers could not be written`.",
    },
    Part {
        name: "line_max",
        form: SIZE,
        default: "`\"1MiB\"`",
        about: "A longer line becomes several, each but the last with ` [split]` at its end, where streams share the \
            file or `form` is not `plain`. From 1 KiB to 16 MiB.",
    },
    Part {
        name: "create_parents",
        form: FLAG,
        default: "`false`",
        about: "Whether folders on the path that do not exist are made when the file is opened. Otherwise they are a \
            fault.",
    },
];
