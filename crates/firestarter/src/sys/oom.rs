//! Whom the kernel kills when memory runs out: rather a worker than who respawns it. Called at the start; workers get
//! back what was inherited.

use std::{fs, io};

const FILE: &str = "/proc/self/oom_score_adj";
/// Not -1000, which would exempt it: should it eat all memory itself, it must go.
const LOW: i32 = -900;

/// Makes this process, and what it forks, as unlikely a victim as it may be, without a word if it may not. Returns what
/// the score was, if it is lower now.
pub(crate) fn lower_score() -> Option<i32> {
    let inherited = read().ok()?;
    let score = lowest(inherited, |score| fs::write(FILE, score.to_string()));
    (score < inherited).then_some(inherited)
}

fn read() -> io::Result<i32> {
    fs::read_to_string(FILE)?.trim().parse().map_err(io::Error::other)
}

/// Sets the score to the lowest that `set` allows and returns it. Without the privilege that is what somebody who had it
/// set last (proc(5)), a number that cannot be read.
fn lowest(inherited: i32, set: impl Fn(i32) -> io::Result<()>) -> i32 {
    let (mut refused, mut allowed) = (LOW - 1, inherited);
    while allowed - refused > 1 {
        // The best first: mostly it is all or nothing.
        let next = if refused < LOW { LOW } else { refused + (allowed - refused) / 2 };
        match set(next) {
            Ok(()) => allowed = next,
            Err(_) => refused = next,
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_score_is_found_with_few_attempts() {
        for (inherited, least) in [(0, -1000), (0, 0), (0, -1), (200, 100), (1000, -333), (-900, -900), (-1000, -1000)]
        {
            let attempts = std::cell::Cell::new(0);
            let allow = |score: i32| {
                attempts.set(attempts.get() + 1);
                if score >= least {
                    Ok(())
                } else {
                    Err(io::ErrorKind::PermissionDenied.into())
                }
            };
            let wanted = if inherited < LOW { inherited } else { least.max(LOW) };
            assert_eq!(lowest(inherited, allow), wanted, "{inherited} {least}");
            assert!(attempts.get() <= 12, "{}", attempts.get());
        }
    }
}
