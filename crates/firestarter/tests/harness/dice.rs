//! Numbers that are random enough. Every run prints its seed, and `SEED=n` gives the same numbers again.

use std::time::Duration;

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(salt: u64) -> Dice {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 8 | salt);
        println!("SEED={seed}");
        Dice::of(seed)
    }

    /// Dice whose seed was printed elsewhere.
    pub(crate) fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// One of several.
    pub(crate) fn among<T: Copy>(&mut self, several: &[T]) -> T {
        several[self.roll(several.len() as u64) as usize]
    }

    /// A moment within the next so many milliseconds.
    pub(crate) fn moment(&mut self, within_ms: u64) {
        std::thread::sleep(Duration::from_micros(self.roll(within_ms * 1000)));
    }
}
