//! Tells clients that asked for it how far a rollout is, before their reply. Called by the loop when nothing is more urgent.
//! Nobody is waited for: who does not read misses what was told meanwhile, and gets the reply all the same.

use std::time::Duration;

use firestarter_core::ids::GroupId;
use firestarter_core::time::Instant;

use super::{now, Daemon};
use crate::api::{self, Rollout};

/// People read no faster, and looking at a rollout costs as much as it has workers.
const PAUSE: Duration = Duration::from_millis(50);

/// Who follows which rollout.
#[derive(Default)]
pub(super) struct Progress {
    followers: Vec<Follower>,
    /// When they were last told.
    told: Option<Instant>,
    /// Something may have happened since.
    stale: bool,
}

struct Follower {
    client: u64,
    group: GroupId,
    name: String,
    knows: Option<Rollout>,
}

impl Progress {
    /// When the loop is to look again although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.told.filter(|_| self.stale && !self.followers.is_empty()).map(|told| told + PAUSE)
    }
}

impl Daemon<'_> {
    /// Tells followers what is new.
    pub(super) fn tell_progress(&mut self) {
        for client in std::mem::take(&mut self.control.followers) {
            let found = self.control.followed(client).and_then(|name| Some((self.core.group_named(name)?, name)));
            if let Some((group, name)) = found {
                let name = name.to_owned();
                self.progress.followers.push(Follower { client, group, name, knows: None });
            }
        }
        if self.progress.followers.is_empty() {
            return;
        }
        let now = now();
        self.progress.stale = self.progress.told.is_some_and(|told| now < told + PAUSE);
        if self.progress.stale {
            return;
        }
        self.progress.told = Some(now);
        let (core, control) = (&self.core, &self.control);
        self.progress.followers.retain_mut(|follower| {
            if let Some(rollout) = core.rollout(follower.group, now).map(Rollout::from) {
                if rollout.is_news(follower.knows.as_ref()) {
                    let progress = api::Progress { group: follower.name.clone(), rollout };
                    if control.tell(follower.client, &api::progress_line(&progress)) {
                        follower.knows = Some(progress.rollout);
                    }
                }
            }
            control.followed(follower.client).is_some()
        });
    }
}
