//! One hook's life: a command of the configuration that runs once and ends. Its process is spawned, watched and killed
//! as a worker's is, under an id of the same kind, but it belongs to no slot.
//!
//! ```text
//!  run              Spawned              kill_at, or it is not wanted any more
//!    │   ┌──────────┐     ┌─────────┐      ┌─────────┐
//!    └──▶│ Spawning │────▶│ Running │─────▶│ Killing │
//!        └──────────┘     └─────────┘      └─────────┘
//! ```
//! - **Spawning**: the shell was asked to start it. One that is not wanted any more, or whose program has not begun to
//!   run by `kill_at`, is *doomed*: a process that there is already is killed now, any other at the answer.
//! - **Running**: until `kill_at`, which counts from when it was asked for.
//! - **Killing**: it got SIGKILL; only its exit follows.
//!
//! A hook is never run twice for one cause: what a crash leaves in doubt is found in the shell's table of processes.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::event::{Exit, Failure, HookKind};
use crate::ids::{GroupId, Pid, WorkerId};
use crate::time::{Duration, Instant};
use crate::worker::{Crew, Waits};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) group: GroupId,
    pub(crate) kind: HookKind,
    /// The workers that it is about.
    pub(crate) pids: Vec<Pid>,
    /// The worker that it asks for.
    pub(crate) about: Option<WorkerId>,
    /// How long it may take, and until when that is.
    timeout: Duration,
    kill_at: Instant,
    pub(crate) state: HookState,
    /// It was killed because its time was over.
    overdue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HookState {
    Spawning { doomed: bool },
    Running,
    Killing,
}

impl Hook {
    /// How it failed; none if it ended with exit code 0.
    pub(crate) fn verdict(&self, end: Failure) -> Option<Failure> {
        match end {
            _ if self.overdue => Some(Failure::Silent(self.timeout)),
            Failure::Exit(Exit::Code(0)) => None,
            Failure::Exit(_) | Failure::Spawn(_) | Failure::Silent(_) | Failure::Watchdog(_) | Failure::Unwell => {
                Some(end)
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            HookState::Spawning { doomed: false } | HookState::Running => Some(self.kill_at),
            HookState::Spawning { doomed: true } | HookState::Killing => None,
        }
    }
}

impl Crew {
    /// A new hook, on its way.
    pub(crate) fn run_hook(
        &mut self,
        group: GroupId,
        kind: HookKind,
        pids: Vec<Pid>,
        about: Option<WorkerId>,
        timeout: Duration,
        now: Instant,
    ) -> WorkerId {
        let id = self.workers.next_id_without_place();
        self.act(Action::RunHook { hook: id, group, kind, pids: pids.clone() });
        let state = HookState::Spawning { doomed: false };
        let kill_at = now + timeout;
        self.wait_until(kill_at, Waits::Hook(id));
        self.hooks.insert(id, Hook { group, kind, pids, about, timeout, kill_at, state, overdue: false });
        id
    }

    /// The hook's process runs; which hook that is, if it is news.
    pub(crate) fn hook_spawned(&mut self, id: WorkerId) -> Option<HookKind> {
        let hook = self.hooks.get_mut(&id)?;
        let HookState::Spawning { doomed } = hook.state else { return None };
        let kind = hook.kind;
        if doomed {
            hook.state = HookState::Killing;
            self.act(Action::Kill { worker: id });
        } else {
            hook.state = HookState::Running;
        }
        Some(kind)
    }

    /// The hook's time is over.
    pub(crate) fn hook_overdue(&mut self, id: WorkerId) {
        if let Some(hook) = self.hooks.get_mut(&id) {
            hook.overdue = true;
            self.kill_hook(id);
        }
    }

    /// SIGKILL, now and, if it is still being spawned, again as soon as that is known.
    pub(crate) fn kill_hook(&mut self, id: WorkerId) {
        let Some(hook) = self.hooks.get_mut(&id) else { return };
        hook.state = match hook.state {
            HookState::Spawning { doomed: false } => HookState::Spawning { doomed: true },
            HookState::Running => HookState::Killing,
            HookState::Spawning { doomed: true } | HookState::Killing => return,
        };
        let at = hook.kill_at;
        self.no_longer(Some(at), Waits::Hook(id));
        self.act(Action::Kill { worker: id });
    }

    /// A hook's end: it is known no more.
    pub(crate) fn remove_hook(&mut self, id: WorkerId) -> Option<Hook> {
        let hook = self.hooks.remove(&id)?;
        self.no_longer(hook.deadline(), Waits::Hook(id));
        Some(hook)
    }
}
