//! How large keeper, daemon and writer are, measured at rest.

use std::fs;

use crate::harness::{proc, until};
use crate::stage::Stage;

/// So many descriptors more or fewer come and go: a client that leaves, a log file that no writer has opened yet.
const SLACK: usize = 8;
/// So many KiB: what an allocator keeps, and pages of a stack.
const SLACK_KIB: u64 = 1024;

#[derive(Clone, Debug)]
struct Size {
    name: &'static str,
    /// Beside those that each worker brings, and those that hold programs fast.
    descriptors: usize,
    /// Memory of its own, in KiB: what may leak.
    own: u64,
    /// With its share of what is shared with others, in KiB.
    share: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Sizes([Size; 3]);

impl Sizes {
    pub(crate) fn of(stage: &Stage) -> Sizes {
        let keeper = stage.fire.keeper_pid;
        stage.fire.wait_for("a daemon at work", |_| true);
        until("a writer", || proc::writer(keeper).is_some());
        let workers: usize = stage.counts.lock().expect("no panic").values().sum();
        let daemon = proc::daemon(keeper).expect("a daemon");
        let writer = proc::writer(keeper).expect("a writer");
        // A pidfd, and for each of two streams a pipe and its stage.
        let shared = 5 * workers + proc::standing_for_files(keeper);
        Sizes([
            Size::of("keeper", keeper, shared),
            Size::of("daemon", daemon, shared),
            Size::of("writer", writer, 4 * workers),
        ])
    }

    pub(crate) fn rows(&self, last: &Sizes) -> Vec<String> {
        let row = |(first, last): (&Size, &Size)| {
            format!(
                "{}: descriptors {:>4} {:>4}   own KiB {:>6} {:>6}   share KiB {:>6} {:>6}",
                first.name, first.descriptors, last.descriptors, first.own, last.own, first.share, last.share
            )
        };
        self.0.iter().zip(&last.0).map(row).collect()
    }

    /// Nothing has grown.
    pub(crate) fn flat(&self, last: &Sizes) {
        for (first, last) in self.0.iter().zip(&last.0) {
            assert!(last.descriptors <= first.descriptors + SLACK, "descriptors grow: {first:?} {last:?}");
            assert!(last.own <= first.own + SLACK_KIB, "memory grows: {first:?} {last:?}");
            assert!(last.share <= first.share + 4 * SLACK_KIB, "memory grows: {first:?} {last:?}");
        }
    }
}

impl Size {
    fn of(name: &'static str, pid: u32, brought: usize) -> Size {
        let kib = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let share = smaps.lines().find_map(|line| line.strip_prefix("Pss:")).map_or(0, kib);
        let descriptors = proc::descriptors(pid).len().saturating_sub(brought);
        Size { name, descriptors, own: kib(&proc::status(pid, "RssAnon")), share }
    }
}
