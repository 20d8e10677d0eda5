//! A death of the simulated daemon: what its successor does again, and what it must not.

use firestarter_core::action::Action;
use firestarter_core::event::{Event, Exit};
use firestarter_core::ids::WorkerId;
use firestarter_core::spec::Signal;
use firestarter_core::time::Duration;

use crate::world::{Line, World};

impl World {
    /// The daemon dies; its successor replays, does what is in doubt by its rules, and goes on.
    pub(crate) fn crash(&mut self) {
        self.log.push((self.now, Line::Note("the daemon dies and recovers")));
        let last = self.daemon.recover();
        self.watched.clear();
        for action in last.iter().filter(|action| matches!(action, Action::Reply { .. })) {
            self.perform(action);
        }
        for action in self.daemon.core.outstanding() {
            let lost = match &action {
                Action::Spawn { worker, .. } | Action::RunHook { hook: worker, .. } => {
                    self.processes.contains_key(worker)
                }
                Action::Signal { worker, signal, .. } => self.was_told(*worker, *signal) || self.rng.chance(500),
                Action::Kill { .. }
                | Action::Watch { .. }
                | Action::Look { .. }
                | Action::Probe { .. }
                | Action::Measure { .. }
                | Action::Discard { .. }
                | Action::WatchProgram { .. }
                | Action::Halt { .. } => false,
                Action::Reply { .. } | Action::Tell { .. } | Action::Weigh { .. } | Action::Notice(_) => {
                    panic!("not to be repeated: {action:?}")
                }
            };
            if lost {
                self.lose(&action);
            } else {
                self.perform(&action);
            }
        }
        self.checks.all_performed(&self.daemon.core.outstanding(), &self.watched);
    }

    fn was_told(&self, worker: WorkerId, signal: Signal) -> bool {
        self.processes.get(&worker).is_none_or(|process| process.told.contains(&signal))
    }

    /// A signal that is in doubt counts as sent, and a spawn whose pid is known as done. Rarely that process is dead.
    fn lose(&mut self, action: &Action) {
        let worker = match action {
            Action::Signal { worker, signal, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.told.insert(*signal);
                }
                return;
            }
            Action::Spawn { worker, .. } | Action::RunHook { hook: worker, .. } => *worker,
            Action::Kill { .. }
            | Action::Watch { .. }
            | Action::Tell { .. }
            | Action::Look { .. }
            | Action::Probe { .. }
            | Action::Measure { .. }
            | Action::Weigh { .. }
            | Action::Discard { .. }
            | Action::WatchProgram { .. }
            | Action::Halt { .. }
            | Action::Reply { .. }
            | Action::Notice(_) => return,
        };
        let Some(place) = self.processes.get(&worker).and_then(|process| process.spawned) else { return };
        if self.rng.chance(100) {
            if let Some(Event::Spawned { .. }) = self.agenda.get(&place) {
                self.agenda.remove(&place);
                self.plan_exit(worker, Duration::ZERO, Exit::Unknown);
            }
        }
    }
}
