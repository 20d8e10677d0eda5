//! The deciding half of Firestarter: what *should* happen, and nothing of how.
//!
//! A [`Supervisor`] is a state machine without clock, syscall, path or randomness of its own. The shell around it, the
//! `firestarter` program, tells it facts and asks what to do:
//!
//! 1. [`Supervisor::handle`] takes one [`event::Event`] and the time.
//! 2. [`Supervisor::poll_action`] is drained: each [`action::Action`] is one effect for the shell. Results come back as
//!    later events, never from within.
//! 3. [`Supervisor::next_deadline`] says when to hand in [`event::Event::Deadline`] if nothing happens before.
//!
//! [`Supervisor::view`] is the picture for people. The same events at the same times lead to an equal state, so the
//! journal of events ([`journal`]) is all that a new daemon needs to go on where a killed one was.
//!
//! All functions are total: a refusal is a value, and there is no input that panics.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod action;
mod backoff;
mod care;
pub mod command;
pub mod event;
mod group;
mod hook;
pub mod ids;
#[cfg(debug_assertions)]
mod invariants;
pub mod journal;
mod live;
mod shutdown;
pub mod spec;
mod supervisor;
pub mod text;
pub mod time;
pub mod view;
mod worker;

pub use group::obey::MAX_COUNT;
pub use supervisor::Supervisor;
