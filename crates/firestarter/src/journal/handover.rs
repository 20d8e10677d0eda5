//! What is known of a handover of the keeper's process to another program: who asked, how far it is, and how the last one
//! ended. In the header's memory, so that both programs and all their daemons read it.
//!
//! **States.** *Rest*. *Asked*: the daemon has ended for it, and the keeper is to execute the program that the ledger names
//! as the next one. *Trial*: it runs, and is to bring a daemon to work; the program before it is named in the ledger and takes
//! the place back if that fails. *Kept* and *Failed* say how it ended, until whoever asked was told.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

use super::steps::put;

/// How far a handover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handover {
    Rest,
    Asked,
    Trial,
    Kept,
    Failed(Reason),
}

/// Why a program was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It could not be executed: the error's number.
    Execute(i32),
    /// It could not take over what it was given.
    Refused,
    /// No daemon of it got to work: they died.
    Died,
    /// Nor in time.
    Late,
}

/// The words that a handover is kept in.
pub(super) const WORDS: usize = 4;
const STATE: usize = 0;
const CLIENT: usize = 1;
const BEGUN: usize = 2;
const SIGNALS: usize = 3;

/// The part of the header that is about it.
#[derive(Clone, Copy)]
pub(crate) struct HandoverWords<'a>(pub(super) &'a [AtomicU64]);

impl HandoverWords<'_> {
    pub(crate) fn state(self) -> Handover {
        let word = self.0[STATE].load(Acquire);
        match word & 0xff {
            1 => Handover::Asked,
            2 => Handover::Trial,
            3 => Handover::Kept,
            4 => Handover::Failed(Reason::Execute((word >> 8) as i32)),
            5 => Handover::Failed(Reason::Refused),
            6 => Handover::Failed(Reason::Died),
            7 => Handover::Failed(Reason::Late),
            _ => Handover::Rest,
        }
    }

    pub(crate) fn set(self, state: Handover) {
        let word = match state {
            Handover::Rest => 0,
            Handover::Asked => 1,
            Handover::Trial => 2,
            Handover::Kept => 3,
            Handover::Failed(Reason::Execute(errno)) => 4 | (errno as u32 as u64) << 8,
            Handover::Failed(Reason::Refused) => 5,
            Handover::Failed(Reason::Died) => 6,
            Handover::Failed(Reason::Late) => 7,
        };
        put(&self.0[STATE], word);
    }

    /// A client, if it was one, asked at this time, in nanoseconds since the machine was started.
    pub(crate) fn ask(self, client: Option<u64>, now: u64) {
        put(&self.0[CLIENT], client.unwrap_or(0));
        put(&self.0[BEGUN], now);
        self.set(Handover::Asked);
    }

    /// So many signals have asked for a handover in all; says whether there is one more than was seen to.
    pub(crate) fn has_signals(self, asked: u32) -> bool {
        self.0[SIGNALS].load(Acquire) < u64::from(asked)
    }

    /// All of them are seen to, whatever came of it.
    pub(crate) fn take_signals(self, asked: u32) {
        put(&self.0[SIGNALS], asked.into());
    }

    /// Who asked; none: nobody waits for an answer.
    pub(crate) fn client(self) -> Option<u64> {
        Some(self.0[CLIENT].load(Acquire)).filter(|client| *client != 0)
    }

    /// When it was asked for.
    pub(crate) fn begun(self) -> u64 {
        self.0[BEGUN].load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::Header;
    use super::*;

    #[test]
    fn every_state_is_read_as_it_was_set() {
        let header = Header::new(Memory::Loose).unwrap();
        let words = header.handover();
        assert_eq!((words.state(), words.client()), (Handover::Rest, None));
        words.ask(Some(7), 9);
        assert_eq!((words.state(), words.client(), words.begun()), (Handover::Asked, Some(7), 9));
        let failed = [Reason::Execute(libc::ENOEXEC), Reason::Refused, Reason::Died, Reason::Late];
        for state in failed.map(Handover::Failed).into_iter().chain([Handover::Trial, Handover::Kept, Handover::Rest]) {
            words.set(state);
            assert_eq!(words.state(), state);
        }
    }
}
