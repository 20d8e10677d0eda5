//! `firestarter logs`: shows what groups have written, and follows it. A client's room: it reads files itself, as the user
//! who runs it, and asks the daemon for what is kept in memory. Called by `cli`, which has asked where groups write to, and by
//! `start`, which has read it from a configuration where no daemon runs. It changes nothing, and the daemon does not wait for it.
//!
//! A *source* is a log with its backups (`file`, over `chain` and `piece`) or a group's ring (`ring`). Each gives lines
//! (`cut`, `line`) that pass (`sieve`), from where the last ones begin that are wanted (`tail`); `merge` puts them in order
//! and `show` prints them.

mod chain;
mod cut;
mod file;
mod line;
mod merge;
mod piece;
mod plan;
mod reading;
mod ring;
mod show;
mod sieve;
mod since;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::io;

use crate::api::Stream;
pub(crate) use plan::Group;
pub(crate) use reading::{read, Page};
pub(crate) use since::Since;

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Of these groups, and there of this slot; empty: of all.
    pub(crate) names: Vec<(String, Option<u32>)>,
    /// Of this slot, where a name has none.
    pub(crate) slot: Option<u32>,
    /// Of this stream.
    pub(crate) stream: Option<Stream>,
    /// So many of the last lines of each source; none: all.
    pub(crate) lines: Option<u64>,
    /// Not older.
    pub(crate) since: Option<Since>,
    /// Only what matches this; `is_pattern` has said that it is one.
    pub(crate) grep: Option<String>,
    /// And what comes, until somebody ends it.
    pub(crate) follow: bool,
}

/// Why it cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// No group has this name.
    #[error("unknown group {group}")]
    UnknownGroup {
        /// The name.
        group: String,
        /// Those that exist.
        groups: Vec<String>,
    },
    /// It is not kept, or does not tell what is asked for.
    #[error("{what}")]
    Refused {
        /// What is wrong.
        what: String,
        /// What to do.
        next: String,
    },
    /// Something could not be read; that has been said.
    #[error("a log could not be read")]
    Told,
    /// Nobody takes what is shown, and not since he has gone.
    #[error("write to stdout: {0}")]
    Output(io::Error),
}

/// Whether this is a regular expression; if not, why.
///
/// # Errors
/// In the words of the library.
pub(crate) fn is_pattern(text: &str) -> Result<(), String> {
    regex_lite::Regex::new(text).map(|_| ()).map_err(|error| error.to_string())
}
