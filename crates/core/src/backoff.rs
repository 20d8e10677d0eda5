//! How long to wait before a slot's next respawn, and the seeded randomness that keeps a thousand slots from respawning
//! in step.

use serde::{Deserialize, Serialize};

use crate::spec::Backoff;
use crate::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// The delay after so many failures in a row of one slot: none after the first, then 0.1 s doubling to the maximum,
/// each ± 25 %.
pub(crate) fn delay(spec: &Backoff, failures: u32, rng: &mut Rng) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let base = FIRST.saturating_mul(factor).min(spec.max);
    let nanos = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX / 4);
    let spread = nanos / 2;
    let low = nanos - nanos / 4;
    Duration::from_nanos(low.saturating_add(rng.below(spread.saturating_add(1))))
}

/// A small generator (splitmix64) whose state is part of the core's, so that a replay draws the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// A duration of at most `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        z.checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_at_once_then_doubling_to_the_maximum_within_a_quarter() {
        let spec = Backoff { max: Duration::from_secs(10), reset: Duration::from_secs(10) };
        let mut rng = Rng::new(7);
        assert_eq!(delay(&spec, 0, &mut rng), Duration::ZERO);
        for (failures, base_ms) in
            [(1, 100), (2, 200), (3, 400), (7, 6400), (8, 10_000), (40, 10_000), (u32::MAX, 10_000)]
        {
            for _ in 0..200 {
                let got = delay(&spec, failures, &mut rng).as_millis();
                assert!(got >= base_ms * 3 / 4 && got <= base_ms * 5 / 4, "{failures}: {got} ms");
            }
        }
    }

    #[test]
    fn a_maximum_of_zero_means_no_delay() {
        let spec = Backoff { max: Duration::ZERO, reset: Duration::ZERO };
        assert_eq!(delay(&spec, 9, &mut Rng::new(1)), Duration::ZERO);
    }
}
