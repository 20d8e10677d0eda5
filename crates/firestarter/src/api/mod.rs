//! The control protocol: requests and replies as types, and as lines of newline-delimited JSON-RPC 2.0.
//! Called by the daemon's control room (`parse`, `reply_line`, `fault_line`) and by `client.rs` and `cli/` (`request_line`,
//! `parse_reply`). Pure: bytes in, messages out. It never opens a socket, never holds a descriptor and decides nothing.
//!
//! A request, one line: `{"jsonrpc":"2.0","id":1,"method":"upgrade","params":{"group":"web","signal":"SIGUSR2"}}`.
//! Its reply, one line: `{"jsonrpc":"2.0","id":1,"result":{...}}` or `{...,"error":{"code","message","data"}}`.
//!
//! - Methods: `list`, `status` and `logs` ask; `start stop restart upgrade rollback cancel inc dec killall signal` want `group` and may name a
//!   `signal` (`"SIGTERM"`, `"term"` or `15`); `shutdown` stops everything and the daemon; `reopen` opens log files anew, those of
//!   one `group` or all, and is answered when they are open; `upgrade_daemon` puts another program, the `binary`, in this
//!   one's place, and is answered when it is at work or has failed to be.
//! - `logs` asks for the lines of a `group` that are kept in memory: those after `"after": next` in `"ring": ring`, both of
//!   the reply before, else from the oldest on. One reply has about 64 KiB of text: ask on until it has no entries.
//! - `status` may name a `group`, and one worker of it by its `slot`, from 0; so may `signal`.
//! - `journal` asks for a piece of the journal, `from` a byte on; see `piece.rs`. A daemon that cannot read its journal answers
//!   this, `list` and `shutdown` as ever, and all else by the error `journal_unreadable`.
//! - Every request is answered exactly once, so a notification (no `id`) is refused; so are batches. An order is answered
//!   when it is done; with `"wait": false` when it has begun, by `{"done":"begun",...}`, unless it is done or fails at once.
//! - With `"progress": true` an order that is waited for is preceded by notifications, lines without an `id`, whenever the
//!   group's rollout has come further: `{"jsonrpc":"2.0","method":"progress","params":{"group":"web","ready":1,...}}`.
//! - `data.code` of an error is the machine's word for it and what a program should look at; `message` is for logs.
//! - All keys are snake_case; a time in a key ends in `_ms`; a signal is its name, or its number if it has none.

mod codes;
mod convert;
mod logs;
mod outcome;
mod outputs;
mod piece;
mod reply;
mod request;
mod rollout;
mod status;
mod wire;
mod word;

pub(crate) use logs::{LogStatus, LogStream, Stuck};
pub(crate) use outputs::{Cursor, Entry, Form, Lines, Output, Rotation, Stream, To, Unit};
pub(crate) use piece::{Piece, UNREADABLE};
pub(crate) use reply::{Answer, Cause, Done, Failure, Names, Outcome, Probed, Problem, Step, Trouble, What};
pub(crate) use request::{parse, request_line, Call, Fault, Id, Order, Question, Request};
pub(crate) use rollout::{Awaits, Progress, Rollout};
pub(crate) use status::{
    Condition, Facts, GroupStatus, Hook, LastFailure, Listener, Said, Stage, State, Status, Worker,
};
pub(crate) use wire::{fault_line, parse_progress, parse_reply, progress_line, reply_line, Garbled, Received};

#[cfg(test)]
pub(crate) use status::tests::example as status_example;
#[cfg(test)]
pub(crate) use status::GaveUp;
#[cfg(test)]
pub(crate) use wire::tests::any_reply as any_core_reply;
