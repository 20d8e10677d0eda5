//! How a process lives that the keeper forks and forks again: when the next one may begin, after lives that were short.

use std::io;
use std::time::{Duration, Instant};

use crate::say::{plain, say};
use crate::sys::wait::Ended;

/// A process that lived this long had begun well.
const GOOD_LIFE: Duration = Duration::from_secs(1);
/// So many short lives in a row may be an accident; after more the next one is waited for a little.
const ACCIDENTS: u32 = 16;
/// A life that ended before its process got to work counts for so many.
pub(super) const STILLBORN: u32 = 4;
/// After so many in a row nobody believes in the next one.
const HOPELESS: u32 = 32;

pub(super) struct Lives {
    name: &'static str,
    /// What becomes of the workers meanwhile.
    meanwhile: &'static str,
    born: Instant,
    /// None is forked before this.
    not_before: Instant,
    short: u32,
    /// This life counts as one that was short, however long it was.
    vain: bool,
}

impl Lives {
    pub(super) fn new(name: &'static str, meanwhile: &'static str) -> Lives {
        let now = Instant::now();
        Lives { name, meanwhile, born: now, not_before: now, short: 0, vain: false }
    }

    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    pub(super) fn may_begin(&self) -> bool {
        self.not_before <= Instant::now()
    }

    pub(super) fn begins(&mut self) {
        self.born = Instant::now();
    }

    /// Its process has died.
    pub(super) fn died(&mut self, ended: Ended, weight: u32) {
        let how = if ended.code == libc::CLD_EXITED { "exit code" } else { "signal" };
        say(format_args!(
            "the {} died ({how} {}); {} and the next one takes over",
            self.name, ended.status, self.meanwhile
        ));
        self.ended(weight);
    }

    /// It has done nothing in all its life.
    pub(super) fn is_vain(&mut self) {
        self.vain = true;
    }

    /// A life is over. `weight`: what it counts for if it was short.
    pub(super) fn ended(&mut self, weight: u32) {
        let vain = std::mem::take(&mut self.vain);
        self.count(if vain || self.born.elapsed() < GOOD_LIFE { weight } else { 0 });
    }

    /// None could be forked.
    pub(super) fn not_forked(&mut self, error: &io::Error) {
        if !self.hopeless() {
            say(format_args!("fork the {}: {}; trying again", self.name, plain(error)));
        }
        self.count(STILLBORN);
    }

    /// Nobody believes in the next one.
    pub(super) fn hopeless(&self) -> bool {
        self.short >= HOPELESS
    }

    /// Counts a life that was short, or forgets all for one that was not, and says when the next may begin.
    fn count(&mut self, weight: u32) {
        let hopeful = !self.hopeless();
        self.short = if weight == 0 { 0 } else { self.short.saturating_add(weight) };
        self.not_before = Instant::now()
            + match self.short {
                0..=ACCIDENTS => Duration::ZERO,
                few if few < HOPELESS => Duration::from_millis(50),
                _ => Duration::from_secs(1),
            };
        if hopeful && self.hopeless() {
            let (name, meanwhile) = (self.name, self.meanwhile);
            say(format_args!("no {name} stays alive; trying on, once a second; {meanwhile} meanwhile"));
        }
    }
}
