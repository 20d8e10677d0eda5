//! Where the last lines begin: found from the end backwards, so that no more is read than needed. Used by `file`.
//!
//! A plain file is looked at in regions of whole lines, each twice as long as the one after it. A compressed one can only
//! be read forwards: its lines are counted, and those that are too many are passed over when it is read.

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::Duration;

use super::chain::{Chain, Step};
use super::cut::{Cutter, Part};
use super::line::Line;
use super::piece::Piece;
use super::sieve::Sieve;
use super::since::nanoseconds;
use crate::api::Form;

/// What is wanted of a log.
pub(super) struct Wanted<'a> {
    pub(super) form: Form,
    pub(super) sieve: &'a Sieve,
    /// So many of the last lines that pass; none: all.
    pub(super) lines: Option<u64>,
}

/// Where to begin.
pub(super) struct Start {
    /// From where it stands on.
    pub(super) piece: Piece,
    /// So many of the lines that pass are passed over.
    pub(super) skip: u64,
}

const FIRST_REGION: u64 = 16 << 10;
const LONGEST_REGION: u64 = 1 << 20;
/// So often a walk begins anew because files were renamed.
const TRIES: u32 = 100;

/// Where what is wanted begins. None: there is no file yet.
///
/// # Errors
/// A file cannot be read; or the files are renamed all the time.
pub(super) fn start(chain: &Chain, wanted: &Wanted<'_>) -> io::Result<Option<Start>> {
    for _ in 0..TRIES {
        let mut search = Search { wanted, needed: wanted.lines, start: None };
        if chain.walk(|piece| search.visit(piece))?.is_some() {
            return Ok(search.start);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("its backups are renamed faster than they can be looked at"))
}

/// A walk from the newest file to older ones.
struct Search<'a> {
    wanted: &'a Wanted<'a>,
    /// So many lines more; none: all.
    needed: Option<u64>,
    /// The oldest place so far.
    start: Option<Start>,
}

/// What one file has of what is wanted.
enum Place {
    /// It begins here, behind so many lines that pass.
    Here { at: u64, skip: u64 },
    /// All of it is wanted, and what is older may be too.
    Before,
}

impl Search<'_> {
    fn visit(&mut self, mut piece: Piece) -> io::Result<Step> {
        if self.is_too_old(&piece)? {
            if self.start.is_none() {
                // How far a compressed one goes is not known: all of its lines are passed over.
                let (at, skip) = if piece.compression.is_none() { (piece.meta()?.len(), 0) } else { (0, u64::MAX) };
                piece.at = at;
                self.start = Some(Start { piece, skip });
            }
            return Ok(Step::Enough);
        }
        let by_time = self.wanted.sieve.since.is_some() && self.wanted.form != Form::Plain;
        let place = match piece.compression {
            _ if self.needed.is_none() && !by_time => Place::Before,
            None => self.look_backwards(&piece)?,
            Some(_) => {
                // One that is damaged is told of when it is shown.
                let place = self.count(&mut piece).unwrap_or(Place::Before);
                piece.start_over()?;
                place
            }
        };
        let (step, skip) = match place {
            Place::Here { at, skip } => {
                piece.at = at;
                (Step::Enough, skip)
            }
            Place::Before => (Step::Older, 0),
        };
        self.start = Some(Start { piece, skip });
        Ok(step)
    }

    /// A file that was last written to before what is wanted has nothing of it.
    fn is_too_old(&self, piece: &Piece) -> io::Result<bool> {
        let modified = piece.meta()?.modified()?;
        Ok(self.wanted.sieve.is_too_old(Some(nanoseconds(modified))))
    }

    fn look_backwards(&mut self, piece: &Piece) -> io::Result<Place> {
        let mut end = piece.meta()?.len();
        if self.needed == Some(0) {
            return Ok(Place::Here { at: end, skip: 0 });
        }
        let mut length = FIRST_REGION;
        while end > 0 {
            let begin = boundary(piece, end.saturating_sub(length))?;
            let mut passing = VecDeque::new();
            let mut tally = Tally::default();
            let mut at = begin;
            let read = |buffer: &mut [u8]| {
                let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                let read = piece.read_at(&mut buffer[..most], at)?;
                at += read as u64;
                Ok(read)
            };
            self.sift(begin, read, &mut tally, |at| passing.push_back(at))?;
            match self.needed {
                Some(needed) if tally.passing >= needed => {
                    let at = passing.get(passing.len().saturating_sub(needed as usize)).copied().unwrap_or(end);
                    return Ok(Place::Here { at, skip: 0 });
                }
                Some(needed) => self.needed = Some(needed - tally.passing),
                None => {}
            }
            if tally.old {
                return Ok(Place::Here { at: passing.front().copied().unwrap_or(end), skip: 0 });
            }
            end = begin;
            length = (length * 2).min(LONGEST_REGION);
        }
        Ok(Place::Before)
    }

    fn count(&mut self, piece: &mut Piece) -> io::Result<Place> {
        if self.needed == Some(0) {
            return Ok(Place::Here { at: 0, skip: u64::MAX });
        }
        let mut tally = Tally::default();
        self.sift(0, |buffer| piece.read(buffer), &mut tally, |_| {})?;
        match self.needed {
            Some(needed) if tally.passing >= needed => {
                return Ok(Place::Here { at: 0, skip: tally.passing - needed });
            }
            Some(needed) => self.needed = Some(needed - tally.passing),
            None => {}
        }
        Ok(if tally.old { Place::Here { at: 0, skip: 0 } } else { Place::Before })
    }

    /// Looks at lines from a line's beginning on, and tells where those begin that pass.
    fn sift(
        &self,
        begin: u64,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
        tally: &mut Tally,
        mut passes: impl FnMut(u64),
    ) -> io::Result<()> {
        let Wanted { form, sieve, .. } = *self.wanted;
        let mut each = |part: Part<'_>| {
            if !part.begins {
                return;
            }
            let line = Line::read(form, part.bytes, part.ends);
            tally.old |= sieve.is_too_old(line.time);
            if sieve.passes(&line) {
                tally.passing += 1;
                passes(part.at);
            }
        };
        let (mut cutter, mut buffer) = (Cutter::new(begin), vec![0; 64 << 10]);
        loop {
            match read(&mut buffer)? {
                0 => break,
                read => cutter.feed(&buffer[..read], &mut each),
            }
        }
        cutter.finish(&mut each);
        Ok(())
    }
}

/// What was found in some lines.
#[derive(Default)]
struct Tally {
    passing: u64,
    /// One was older than what is wanted.
    old: bool,
}

/// The last beginning of a line at this place or before it.
fn boundary(piece: &Piece, at: u64) -> io::Result<u64> {
    let (mut end, mut buffer) = (at, vec![0; 16 << 10]);
    while end > 0 {
        let begin = end.saturating_sub(buffer.len() as u64);
        let piece_of_it = &mut buffer[..(end - begin) as usize];
        let read = piece.read_at(piece_of_it, begin)?;
        if let Some(newline) = piece_of_it[..read].iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + newline as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}
