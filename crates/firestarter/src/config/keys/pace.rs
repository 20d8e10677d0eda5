//! The keys of how fast upgrades go, and of workers that are replaced while they serve. Called by `keys`.

use super::super::{pace, value};
use super::{set, Default, Key, Reader, DURATION, SIZE};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "surge",
        aliases: &[],
        default: Default::Value("\"auto\""),
        form: "`\"auto\"`, a number of workers, or a percentage of them",
        example: "\"25%\"",
        about: "How many new workers an upgrade may have beside the old ones at a time. `auto`: all of them if the memory \
            holds so many, else as many as it holds, at least one. A percentage is rounded up. When the new workers of a \
            batch are ready, the old workers of their slots are let go and the next batch begins; a batch that was \
            committed stays if a later one fails. 0 needs `max_unavailable`.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.surge, pace::surge(i, l))),
    },
    Key {
        name: "max_unavailable",
        aliases: &[],
        default: Default::Value("0"),
        form: "a number of workers, or a percentage of them",
        example: "1",
        about: "How many workers an upgrade may stop before their successors are there, at a time. A percentage is rounded \
            down. If it allows any, `restart` and an upgrade with `ack = \"none\"` go through the group in such steps too, \
            instead of stopping all and then starting all.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.max_unavailable, pace::share(i, l))),
    },
    Key {
        name: "soak",
        aliases: &[],
        default: Default::Value("0"),
        form: DURATION,
        example: "\"30s\"",
        about: "How long the new workers must stay ready before the old ones are let go. The old ones serve beside them \
            until then, so a release that dies after a while costs nothing. A fault with `ack = \"none\"`.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.soak, value::duration(i, l))),
    },
    Key {
        name: "kill_old_delay",
        aliases: &[],
        default: Default::Value("0"),
        form: DURATION,
        example: "5",
        about: "How long after the new workers have taken over the old ones are told to go. They serve meanwhile. A fault \
            with `ack = \"none\"`.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.kill_old_delay, value::duration(i, l))),
    },
    Key {
        name: "max_age",
        aliases: &[],
        default: Default::Value("0"),
        form: DURATION,
        example: "\"1d\"",
        about: "A worker that is older is replaced: a new one starts beside it, and it is let go when that is ready. Each \
            worker's limit is a little shorter, by a random part, so that they do not all come to it at once. 0: never.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.max_age, value::duration(i, l))),
    },
    Key {
        name: "max_memory",
        aliases: &[],
        default: Default::Value("0"),
        form: SIZE,
        example: "\"512M\"",
        about: "A worker that has more of it resident in memory is replaced in the same way. It is looked at every 30 s. \
            At least 1 MiB. 0: no limit.",
        read: Reader::Group(|d, i, l| set(&mut d.pace.max_memory, pace::size(i, l))),
    },
];
