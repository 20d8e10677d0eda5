//! Stages whose workers wrote much at once have memory that they do not need any more: it is given back when nothing came for
//! a while. Called by the reading thread.

use super::*;

/// Which they are, and how much had come into each when it was looked at last.
#[derive(Default)]
pub(super) struct Fat {
    stages: BTreeMap<RawFd, Option<u64>>,
    look_at: Option<Instant>,
}

/// How long nothing comes, at least.
const WHILE: Duration = Duration::from_secs(1);

impl Fat {
    pub(super) fn insert(&mut self, number: RawFd) {
        self.stages.entry(number).or_default();
        self.look_at.get_or_insert_with(|| Instant::now() + WHILE);
    }

    pub(super) fn remove(&mut self, number: RawFd) {
        self.stages.remove(&number);
    }

    /// When to look at them.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Reader {
    pub(super) fn mind_memory(&mut self) {
        let now = Instant::now();
        if self.fat.look_at.is_none_or(|at| now < at) {
            return;
        }
        let feeds = &mut self.feeds;
        self.fat.stages.retain(|number, before| {
            let Some(feed) = feeds.get_mut(number) else { return false };
            let stands = *before == Some(feed.size);
            if stands {
                feed.give_back();
            }
            *before = Some(feed.size);
            !stands
        });
        self.fat.look_at = (!self.fat.stages.is_empty()).then(|| now + WHILE);
    }
}
