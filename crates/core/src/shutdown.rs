//! The stop of everything: by a signal, by a request, or by `exit_when`. It has a time of its own, and ends at it with
//! whoever cannot be killed left behind. Called by `supervisor`.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Notice};
use crate::command::{Done, Reply};
use crate::group::{reconcile, Finish, Group, Intent};
use crate::ids::RequestId;
use crate::spec::{ExitWhen, Signal};
use crate::supervisor::Supervisor;
use crate::time::{Duration, Instant};
use crate::worker::Waits;

/// Everything is being stopped. At `kill_at` what is left is killed; who cannot even be killed by `leave_at` is left
/// behind, so that the stop fits into the time that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shutdown {
    pub(crate) requests: Vec<RequestId>,
    pub(crate) code: u8,
    kill_at: Instant,
    leave_at: Instant,
    killed: bool,
    pub(crate) halted: bool,
}

/// How long before the end of the time for stopping what is left is killed; for a short time, an eighth of it.
const FOR_DYING: Duration = Duration::from_secs(1);

impl Supervisor {
    /// A signal asks to stop; a second Ctrl-C says that there is no more patience.
    pub(crate) fn stop_signal(&mut self, signal: Signal, nth: u32, with: Option<Signal>, now: Instant) {
        let told_again = nth <= self.stops_asked;
        self.stops_asked = nth.max(self.stops_asked);
        match &self.shutdown {
            Some(_) if signal == Signal::INT && !told_again => self.kill_all(Some(signal)),
            Some(_) => {}
            None => self.shut_down(Some(signal), with, 0, now),
        }
    }

    /// `signal` asked for it; `with` is what workers get in place of `stop_signal`.
    pub(crate) fn shut_down(&mut self, signal: Option<Signal>, with: Option<Signal>, code: u8, now: Instant) {
        if self.shutdown.is_some() {
            return;
        }
        let whole = self.policy.stop_timeout;
        let leave_at = now + whole;
        let kill_at = now + (whole - FOR_DYING.min(whole / 8));
        self.shutdown = Some(Shutdown { requests: Vec::new(), code, kill_at, leave_at, killed: false, halted: false });
        self.crew.wait_until(kill_at, Waits::Shutdown);
        let workers = self.crew.workers.len() as u32;
        self.crew.act(Action::Notice(Notice::ShuttingDown { signal, workers }));
        for group in &mut self.groups {
            let farewell = reconcile::group_farewell(group, with, &self.crew);
            group.stop(None, farewell, &mut self.crew, now);
        }
    }

    /// The time for stopping is over: first for those who have not ended, then for those who cannot even be killed.
    pub(crate) fn shutdown_deadline(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if !shutdown.killed {
            return self.kill_all(None);
        }
        shutdown.code = 1;
        let left = (self.crew.workers.len() + self.crew.hooks.len()) as u32;
        self.crew.act(Action::Notice(Notice::LeftBehind { processes: left }));
        self.groups.iter_mut().for_each(|group| group.send_waiters_home(&mut self.crew));
        self.halt();
    }

    /// Kills what is left; what is still being spawned too.
    fn kill_all(&mut self, signal: Option<Signal>) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if shutdown.halted || core::mem::replace(&mut shutdown.killed, true) {
            return;
        }
        self.crew.no_longer(Some(shutdown.kill_at), Waits::Shutdown);
        self.crew.wait_until(shutdown.leave_at, Waits::Shutdown);
        let workers = self.crew.workers.len() as u32;
        self.crew.act(Action::Notice(Notice::KillingAll { signal, workers }));
        for (id, _) in self.workers().collect::<Vec<_>>() {
            self.crew.kill(id);
        }
        for (id, _) in self.hooks().collect::<Vec<_>>() {
            self.crew.kill_hook(id);
        }
    }

    pub(crate) fn halt_if_all_gone(&mut self) {
        if self.shutdown.is_some() && self.crew.workers.is_empty() && self.crew.hooks.is_empty() {
            self.halt();
        }
    }

    fn halt(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        for request in core::mem::take(&mut shutdown.requests) {
            self.crew.act(Action::Reply { request, reply: Reply::Done(Done::ShutDown) });
        }
        if !core::mem::replace(&mut shutdown.halted, true) {
            let at = if shutdown.killed { shutdown.leave_at } else { shutdown.kill_at };
            self.crew.no_longer(Some(at), Waits::Shutdown);
            self.crew.act(Action::Halt { code: shutdown.code });
        }
    }

    /// Stops everything when groups have ended in the way that `exit_when` names.
    pub(crate) fn exit_if_due(&mut self, now: Instant) {
        if self.shutdown.is_some() || self.policy.exit_when == ExitWhen::Never {
            return;
        }
        let failed = self.groups.iter().find(|group| group.finish == Some(Finish::Failed)).map(|group| group.id);
        let done = || {
            let rests = |group: &Group| group.intent == Intent::Stopped && !group.is_ending();
            self.groups.iter().all(rests) && self.groups.iter().any(|group| group.finish.is_some())
        };
        let due = match self.policy.exit_when {
            ExitWhen::Done => done(),
            ExitWhen::Failed => failed.is_some(),
            ExitWhen::Never => false,
        };
        if due {
            let group = failed.filter(|_| self.policy.exit_when == ExitWhen::Failed);
            self.crew.act(Action::Notice(Notice::ExitWhen { group }));
            self.shut_down(None, None, failed.is_some().into(), now);
        }
    }

    /// Until when the stop of everything waits.
    #[cfg(debug_assertions)]
    pub(crate) fn shutdown_deadline_at(&self) -> Option<Instant> {
        let shutdown = self.shutdown.as_ref().filter(|shutdown| !shutdown.halted)?;
        Some(if shutdown.killed { shutdown.leave_at } else { shutdown.kill_at })
    }
}
