//! The journal for people, piece by piece: answers the question for it, without the core. A client puts the pieces
//! together; should the log begin anew meanwhile, it sees another number and begins again. Called by `perform` and by
//! `stranded`. It changes nothing, and no piece is longer than [`PIECE`].

use std::time::{SystemTime, UNIX_EPOCH};

use firestarter_core::journal::Recording;

use super::{now, Shared};
use crate::api::{Outcome, Piece};
use crate::journal::{Contents, Log};

/// So many bytes of the log are in a reply.
const PIECE: usize = 64 << 10;

/// The piece of the log that begins at this byte; the first one with the head of the file that it becomes. `why`: it
/// cannot be read.
pub(super) fn piece(shared: Shared, log: &Log, from: u64, why: Option<&str>) -> Outcome {
    let Contents { serial, older, newer } = log.contents();
    let length = older.len() + newer.len();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(length);
    let to = (from + PIECE).min(length);
    let split = older.len();
    let bytes = [&older[from.min(split)..to.min(split)], &newer[from.max(split) - split..to.max(split) - split]];
    let head = (from == 0).then(|| {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut head = Recording::new(now(), unix as u64, older.len() as u64, newer.len() as u64);
        head.notes = notes(shared, why);
        head.write()
    });
    Outcome::piece(Piece::new(serial, length as u64, head, bytes))
}

/// What stands beside the log: which processes there are, and what is open.
fn notes(shared: Shared, why: Option<&str>) -> Vec<String> {
    let table = shared.table;
    let workers = table.rows().map(|(row, worker)| {
        let pid = table.pid(row).map_or_else(|| "no pid".to_owned(), |pid| format!("pid {}", pid.as_raw_nonzero()));
        let slot = table.slot(row).map_or_else(|| "hook".to_owned(), |slot| format!("slot {slot}"));
        format!("row {}: #{worker} of group {}, {slot}, {pid}", row.0, table.group(row))
    });
    let open = shared.ledger.named().map(|(number, meaning)| format!("descriptor {number}: {meaning:?}"));
    let recoveries = format!("recoveries: {}", shared.header.recoveries());
    why.map(str::to_owned).into_iter().chain([recoveries]).chain(workers).chain(open).collect()
}
