//! The daemon of the simulation: the core, and its journal as the bytes that survive a crash. A second core follows, which
//! knows nothing but these bytes: what a successor would be after every single event, whether there is a crash or not.

use firestarter_core::action::Action;
use firestarter_core::event::Event;
use firestarter_core::journal::{self, Checksum, Reader};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;

pub struct Daemon {
    pub core: Supervisor,
    journal: Vec<u8>,
    checksum: Checksum,
    /// What the journal leads to so far.
    successor: Supervisor,
}

impl Daemon {
    pub fn new(core: Supervisor) -> Daemon {
        let (journal, checksum) = journal::write_snapshot(&core);
        let successor = journal::read_snapshot(&journal).expect("a snapshot reads back");
        Daemon { core, journal, checksum, successor }
    }

    /// Journals an event, then handles it; returns what is to be done.
    pub fn take(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut space = [0; journal::MAX_ENTRY];
        let (length, checksum) = journal::write_entry(self.checksum, now, &event, &mut space).expect("an entry fits");
        let before = (self.journal.len(), self.checksum);
        self.journal.extend_from_slice(&space[..length]);
        self.checksum = checksum;
        self.core.handle(now, event);
        let actions = drain(&mut self.core);
        let entry = Reader::resume(&self.journal, before).entry().expect("an entry reads back");
        let (read_now, read_event) = entry.expect("an entry");
        self.successor.handle(read_now, read_event);
        assert_eq!(drain(&mut self.successor), actions, "the replayed actions are others");
        assert_eq!(self.successor, self.core, "the replayed state is another one");
        actions
    }

    /// A new snapshot makes the entries before it superfluous.
    pub fn snapshot(&mut self) {
        (self.journal, self.checksum) = journal::write_snapshot(&self.core);
        self.successor = journal::read_snapshot(&self.journal).expect("a snapshot reads back");
        assert_eq!(self.successor, self.core, "the state of the snapshot is another one");
    }

    /// Loses the core and replays another one, which must be its equal. Returns the actions of the last entry: those
    /// alone are in doubt.
    pub fn recover(&mut self) -> Vec<Action> {
        let (mut core, mut reader) = Reader::open(&self.journal).expect("a journal reads back");
        let mut last = Vec::new();
        while let Some((now, event)) = reader.entry().expect("an entry reads back") {
            core.handle(now, event);
            last = drain(&mut core);
        }
        assert_eq!(reader.checksum(), self.checksum, "the journal is not read to its end");
        assert_eq!(core, self.core, "the replayed state is another one");
        self.core = core;
        last
    }

    pub fn bytes(&self) -> Vec<u8> {
        journal::write_snapshot(&self.core).0
    }
}

fn drain(core: &mut Supervisor) -> Vec<Action> {
    std::iter::from_fn(|| core.poll_action()).collect()
}
