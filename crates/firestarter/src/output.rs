//! What is done with what a worker writes: the words that the configuration and the writer share. Made by `config`, acted
//! upon by `writer`; knows no file and no process.

use std::path::PathBuf;

/// Where what a worker writes to one of its streams goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// To the daemon's own output.
    PassOn(Form),
    /// Nowhere.
    Null,
    /// To the end of this file.
    File(LogFile),
}

/// A log file, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFile {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// When its content moves to a backup.
    pub(crate) rotation: Rotation,
    /// How backups are compressed; none: they are not.
    pub(crate) compress: Option<Compression>,
    /// The file and its backups together are kept below so many bytes, at the cost of the oldest backups.
    pub(crate) max_total: Option<u64>,
    /// What a line becomes.
    pub(crate) form: Form,
    /// What becomes of lines while the file cannot take them.
    pub(crate) overflow: Overflow,
    /// A line that is longer is split, in bytes, where streams share the file or lines are transformed.
    pub(crate) line_max: u32,
    /// Folders on its path that do not exist are made.
    pub(crate) create_parents: bool,
}

impl LogFile {
    /// The longest line, if nobody says otherwise: 1 MiB.
    pub(crate) const LINE_MAX: u32 = 1 << 20;

    /// A file of which only this is said.
    pub(crate) fn new(path: PathBuf, rotation: Rotation) -> LogFile {
        LogFile {
            path,
            rotation,
            compress: None,
            max_total: None,
            form: Form::Plain,
            overflow: Overflow::Wait,
            line_max: LogFile::LINE_MAX,
            create_parents: false,
        }
    }
}

/// When a log's content moves to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// Never.
    Never,
    /// When it would grow to `max_bytes`: to `PATH.1`, the newest, up to `PATH.BACKUPS`.
    Size {
        /// A line that would bring the file to this length or beyond goes into a new one. Above 0.
        max_bytes: u64,
        /// So many are kept.
        backups: u32,
    },
    /// Every so often: to `PATH.` and the time at which the content began.
    Time(Schedule),
}

/// How often, and how many backups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// How many units one file holds; 1 for midnight. Above 0.
    pub(crate) interval: u32,
    /// The unit.
    pub(crate) unit: Unit,
    /// Whether UTC counts, or the local time.
    pub(crate) utc: bool,
    /// So many are kept.
    pub(crate) backups: u32,
}

/// `S`, `M`, `H`, `D` and `MIDNIGHT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Midnight,
}

/// How a backup is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As gzip(1) does: RFC 1952. Its name ends in `.gz`.
    Gzip,
    /// As zstd(1) does: RFC 8878. Its name ends in `.zst`.
    Zstd,
}

/// What a line becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the worker wrote it.
    Plain,
    /// Behind the time, in UTC (RFC 3339).
    Timed,
    /// A JSON object. `nested`: what is JSON already stands in it as a value.
    Json {
        /// A line that is JSON is a value, and no string.
        nested: bool,
    },
}

/// What becomes of lines while a sink cannot take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// Workers wait, but not longer than 5 s in all; then lines are dropped and counted.
    Wait,
    /// Workers wait.
    Block,
    /// Lines are dropped and counted at once.
    Drop,
}
