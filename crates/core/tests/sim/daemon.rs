//! The daemon of the simulation: the core, and its journal as the bytes that survive a crash.

use firestarter_core::action::Action;
use firestarter_core::event::Event;
use firestarter_core::journal;
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;

pub struct Daemon {
    pub core: Supervisor,
    snapshot: Vec<u8>,
    entries: Vec<u8>,
}

impl Daemon {
    pub fn new(core: Supervisor) -> Daemon {
        let snapshot = journal::write_snapshot(&core);
        Daemon { core, snapshot, entries: Vec::new() }
    }

    /// Journals an event, then handles it; returns what is to be done.
    pub fn take(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut space = [0; journal::MAX_ENTRY];
        let length = journal::write_entry(now, &event, &mut space).expect("an entry fits");
        self.entries.extend_from_slice(&space[..length]);
        self.core.handle(now, event);
        drain(&mut self.core)
    }

    /// A new snapshot makes the entries before it superfluous.
    pub fn snapshot(&mut self) {
        self.snapshot = journal::write_snapshot(&self.core);
        self.entries.clear();
    }

    /// Loses the core and replays another one, which must be its equal. Returns the actions of the last entry: those
    /// alone are in doubt.
    pub fn recover(&mut self) -> Vec<Action> {
        let mut core = journal::read_snapshot(&self.snapshot).expect("a snapshot reads back");
        let mut rest = self.entries.as_slice();
        let mut last = Vec::new();
        while !rest.is_empty() {
            let (now, event, after) = journal::read_entry(rest).expect("an entry reads back");
            core.handle(now, event);
            last = drain(&mut core);
            rest = after;
        }
        assert_eq!(core, self.core, "the replayed state is another one");
        self.core = core;
        last
    }

    pub fn bytes(&self) -> Vec<u8> {
        journal::write_snapshot(&self.core)
    }
}

fn drain(core: &mut Supervisor) -> Vec<Action> {
    std::iter::from_fn(|| core.poll_action()).collect()
}
