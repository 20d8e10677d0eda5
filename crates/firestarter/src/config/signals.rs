//! Reads the signals that a group's workers get, and warns of those that harm the server that runs there.
//!
//! Called by `keys`, and by `group` for the warnings. What signals do to a server stands in `servers`.

use firestarter_core::spec::Signal;

use super::draft::{AckKind, Draft};
use super::fault::Ledger;
use super::servers::{self, Effect, Server};
use super::value::{self, Item};
use super::words::{Piece, Word};

/// Reads `stop_signal`.
pub(crate) fn stop_signal(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Signal> {
    let signal = value::signal(item, ledger)?;
    if is_stop(signal) {
        item.note("SIGSTOP pauses a worker and does not end it", ledger).advise("write stop_signal = \"SIGTERM\"");
        return None;
    }
    Some(signal)
}

/// Reads `ack_signal`.
pub(crate) fn ack_signal(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Signal> {
    let signal = value::signal(item, ledger)?;
    if is_stop(signal) || signal == Signal::KILL {
        let message = format!("{signal} leaves a worker no chance to finish its requests");
        item.note(&message, ledger).advise("write ack_signal = \"SIGUSR2\", or one that the worker catches");
        return None;
    }
    Some(signal)
}

/// Whether it is SIGSTOP.
fn is_stop(signal: Signal) -> bool {
    Some(signal) == Signal::parse("STOP")
}

/// Warns where the server that the group runs is known and a signal would harm it. To be called when the whole group is
/// read.
pub(crate) fn warn(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let words: Vec<String> = draft.exec.iter().flatten().map(literal).collect();
    let Some((server, rest)) = servers::recognise(&words) else { return };
    let place_of = |key: &str| draft.places.get(key).or(draft.places.get("exec_start")).cloned().unwrap_or_default();
    let mut warn = |key: &str, signal: Signal, what: String| {
        let default = if draft.places.contains_key(key) { "" } else { " by default" };
        let message = format!("{key}: {signal}{default}: {what}");
        ledger.warn(place_of(key), message).advise(format!("write {key} = \"{}\"", server.finish));
    };
    // A hook takes the place of the signal only when the whole group stops.
    if let Some(what) = harm(server, rest, draft.stop_signal) {
        warn("stop_signal", draft.stop_signal, what);
    }
    if draft.ack == AckKind::None || draft.ack_signal == draft.stop_signal {
        return;
    }
    match server.effect(draft.ack_signal, rest) {
        Effect::Dies | Effect::Ignores => {
            let what =
                format!("{} does not catch it, so in an upgrade it gets {} instead", server.name, draft.stop_signal);
            warn("ack_signal", draft.ack_signal, what);
        }
        Effect::Finishes | Effect::Cuts(_) | Effect::Stays(_) | Effect::Unknown => {
            if let Some(what) = harm(server, rest, draft.ack_signal) {
                warn("ack_signal", draft.ack_signal, what);
            }
        }
    }
}

/// What a signal that is to end a server does instead of letting it finish.
fn harm(server: &Server, rest: &[String], signal: Signal) -> Option<String> {
    match server.effect(signal, rest) {
        Effect::Cuts(how) => Some(format!("{} {how}", server.name)),
        Effect::Stays(how) => {
            Some(format!("{} {how}; it does not end, and is killed when its time is over", server.name))
        }
        Effect::Dies => Some(format!("{} does not catch it and dies in the middle of its requests", server.name)),
        Effect::Ignores => Some(format!("{} ignores it, and is killed when its time is over", server.name)),
        Effect::Finishes | Effect::Unknown => None,
    }
}

/// A word as far as it is known; a variable may be anything.
fn literal(word: &Word) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Literal(text) => text.clone(),
        Piece::Variable(name) => format!("${name}"),
    };
    word.0.iter().map(piece).collect()
}
