//! A log as a source of lines: from where it is to begin, through all its backups, to its end, and on from there while it
//! grows, is renamed and is begun anew. Used by `reading`.
//!
//! A file whose path leads elsewhere by now is read to its end once more before its successor is begun, and not before its
//! successor has something in it: until then whoever writes may not have noticed.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::chain::Chain;
use super::cut::{Cutter, Part};
use super::line::Line;
use super::piece::Piece;
use super::sieve::Sieve;
use super::tail::{self, Wanted};
use crate::api::Form;
use crate::output::Rotation;
use crate::say::plain;

/// A log that is read.
pub(super) struct FileSource {
    chain: Chain,
    form: Form,
    sieve: Sieve,
    cutter: Cutter,
    current: Option<Piece>,
    newer: VecDeque<Piece>,
    /// What is newer than the current one was known before that was read to its end.
    at_last: bool,
    /// So many lines that pass are still passed over.
    skip: u64,
    /// Of the last line that had one: what follows without one belongs there.
    time: Option<i64>,
    /// Whether the line that is being cut is shown, from its first part on.
    shown: bool,
    /// What that says of itself, without its text.
    whose: Line,
    buffer: Vec<u8>,
}

/// What a look at a source has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There may be more.
    More,
    /// Not now.
    Idle,
}

/// Whom a source gives its lines, and tells what a reader should know.
pub(super) trait Taker {
    /// A line, and when it was written.
    fn line(&mut self, time: Option<i64>, line: Line);
    /// A remark about the log.
    fn remark(&mut self, remark: String);
    /// A part of the log cannot be read; the rest is.
    fn fails(&mut self, remark: String);
}

/// The libraries that unpack have no words for people.
fn why_not_unpacked(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (Some(_), _) => plain(error),
        (None, io::ErrorKind::UnexpectedEof) => "it ends too early".to_owned(),
        (None, _) => "it is damaged, or not compressed as its name says".to_owned(),
    }
}

impl FileSource {
    pub(super) fn new(path: &Path, form: Form, rotation: Rotation, sieve: Sieve) -> FileSource {
        FileSource {
            chain: Chain::new(path, rotation),
            form,
            sieve,
            cutter: Cutter::new(0),
            current: None,
            newer: VecDeque::new(),
            at_last: false,
            skip: 0,
            time: None,
            shown: false,
            whose: Line::default(),
            buffer: vec![0; 64 << 10],
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.chain.path()
    }

    pub(super) fn folder(&self) -> &Path {
        self.chain.folder()
    }

    /// Goes to where the last lines begin that are wanted; none: to the oldest there is. Says whether there is a file.
    pub(super) fn begin(&mut self, lines: Option<u64>) -> io::Result<bool> {
        let wanted = Wanted { form: self.form, sieve: &self.sieve, lines };
        let start = tail::start(&self.chain, &wanted)?;
        if let Some(start) = start {
            self.cutter = Cutter::new(start.piece.at);
            self.skip = start.skip;
            self.current = Some(start.piece);
        }
        Ok(self.current.is_some())
    }

    /// Reads some.
    pub(super) fn look(&mut self, taker: &mut dyn Taker) -> io::Result<Look> {
        let Some(current) = &mut self.current else { return self.first() };
        match current.read(&mut self.buffer) {
            Ok(0) => self.at_end(taker),
            Ok(read) => {
                let bytes = std::mem::take(&mut self.buffer);
                self.cut(Some(&bytes[..read]), taker);
                self.buffer = bytes;
                Ok(Look::More)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Look::More),
            Err(error) if current.compression.is_some() => {
                let (path, cause) = (current.path.display(), why_not_unpacked(&error));
                // It is come by again until there is a newer one that can be read.
                if !std::mem::replace(&mut self.at_last, true) {
                    taker.fails(format!("read {path}: {cause}; the rest of it is left out"));
                }
                self.at_end(taker)
            }
            Err(error) => Err(error),
        }
    }

    /// Nobody waits for more: the line that has no end is one.
    pub(super) fn finish(&mut self, taker: &mut dyn Taker) {
        self.cut(None, taker);
    }

    /// There was no file yet.
    fn first(&mut self) -> io::Result<Look> {
        self.newer = self.chain.newer_than(None)?.pieces;
        self.current = self.newer.pop_front();
        Ok(if self.current.is_some() { Look::More } else { Look::Idle })
    }

    fn at_end(&mut self, taker: &mut dyn Taker) -> io::Result<Look> {
        let Some(current) = &self.current else { return Ok(Look::Idle) };
        let listed_before = !self.newer.is_empty();
        if !listed_before {
            if current.compression.is_none() && self.chain.is_live(current)? {
                return self.at_end_of_live(taker);
            }
            let newer = self.chain.newer_than(Some(current))?;
            if newer.gap && !newer.pieces.is_empty() {
                let path = self.chain.path().display();
                taker.remark(format!("{path}: a backup was removed while it was read; lines may be missing here"));
            }
            self.newer = newer.pieces;
        }
        let begun = match (self.newer.front(), self.newer.len()) {
            (None, _) => false,
            (Some(only), 1) => only.meta()?.len() > 0,
            (Some(_), _) => true,
        };
        if !begun {
            self.newer.clear();
            // Since the list was made there may be more.
            return Ok(if listed_before { Look::More } else { Look::Idle });
        }
        if std::mem::replace(&mut self.at_last, true) {
            self.cut(None, taker);
            (self.current, self.at_last, self.skip) = (self.newer.pop_front(), false, 0);
        }
        Ok(Look::More)
    }

    /// At the end of the file that is written to. One that is shorter now was emptied, and begins anew.
    fn at_end_of_live(&mut self, taker: &mut dyn Taker) -> io::Result<Look> {
        let Some(current) = &mut self.current else { return Ok(Look::Idle) };
        if current.meta()?.len() >= current.at {
            return Ok(Look::Idle);
        }
        current.start_over()?;
        self.cut(None, taker);
        Ok(Look::More)
    }

    /// Gives out the lines that these bytes end; none: the last one, which has no end.
    fn cut(&mut self, bytes: Option<&[u8]>, taker: &mut dyn Taker) {
        let FileSource { form, sieve, cutter, skip, time, shown, whose, .. } = self;
        let each = |part: Part<'_>| {
            let line = if part.begins {
                let line = Line::read(*form, part.bytes, part.ends);
                *time = line.time.or(*time);
                *shown = sieve.passes(&line);
                if *shown && *skip > 0 {
                    (*skip, *shown) = (*skip - 1, false);
                }
                if !part.ends {
                    *whose = line.part(b"", false);
                }
                line
            } else {
                whose.part(part.bytes, part.ends)
            };
            if *shown {
                taker.line(*time, line);
            }
        };
        match bytes {
            Some(bytes) => cutter.feed(bytes, each),
            None => cutter.finish(each),
        }
    }
}
