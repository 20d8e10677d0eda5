//! How the whole is, for a service manager: put into the header, from which the keeper tells it. Called by `run` whenever
//! the loop has done all that it knew of; where nothing has changed, or nobody wants to hear it, that is the end of it.
//!
//! **Ready** is the whole when each group that starts at once has as many ready workers as it wants, or will not have
//! them without somebody's doing, or had its `warmup_delay` and `start_timeout` for it: one group that does not come up
//! must not take the others down with it, which is what a service manager does with a start that takes too long.

use std::fmt::Write;
use std::time::Duration;

use firestarter_core::spec::GroupSpec;
use firestarter_core::time::Instant;
use firestarter_core::view::{Glance, Phase};

use super::{now, Daemon};
use crate::config::{Config, Group};

/// What was reported last.
#[derive(Default)]
pub(super) struct Reporter {
    glances: Vec<Glance>,
    stopping: bool,
    /// When what is not ready yet has had its time.
    until: Option<Instant>,
}

/// How long it may take until all groups are ready, or have had their time.
pub(crate) fn longest_start(config: &Config) -> Duration {
    config.groups.iter().map(|group| time_to_start(&group.spec)).max().unwrap_or_default()
}

fn time_to_start(spec: &GroupSpec) -> Duration {
    spec.warmup.saturating_add(spec.start_timeout)
}

impl Daemon<'_> {
    /// Reports what is new. Returns when to come again even if nothing is.
    pub(super) fn report(&mut self) -> Option<Instant> {
        if !self.shared.setup.reports {
            return None;
        }
        let (reporter, stopping) = (&mut self.reporter, self.core.is_shutting_down());
        let over = reporter.until.is_some_and(|until| until <= now());
        if !over && stopping == reporter.stopping && self.core.glance().eq(reporter.glances.iter().copied()) {
            return reporter.until;
        }
        reporter.glances.clear();
        reporter.glances.extend(self.core.glance());
        reporter.stopping = stopping;
        let (header, groups) = (self.shared.header, &self.shared.setup.config.groups);
        let before = header.report();
        reporter.until = None;
        if !before.ready && !stopping {
            let late =
                unready(groups, &reporter.glances).map(|spec| self.shared.setup.since + time_to_start(spec)).max();
            reporter.until = late.filter(|until| *until > now());
        }
        let ready = before.ready || (!stopping && reporter.until.is_none());
        let text = describe(groups, &reporter.glances, stopping);
        if (before.ready, before.stopping) != (ready, stopping) || header.report_text() != text {
            header.set_report(ready, stopping, &text);
            self.children.wake_keeper();
        }
        self.reporter.until
    }
}

/// The groups that are not ready yet and may become so by themselves.
fn unready<'a>(groups: &'a [Group], glances: &'a [Glance]) -> impl Iterator<Item = &'a GroupSpec> {
    let waits = |glance: &Glance| match glance.phase {
        Phase::Running | Phase::Upgrading | Phase::Restarting => glance.ready < glance.wanted,
        Phase::WarmingUp => true,
        Phase::Waiting | Phase::Stopping | Phase::Stopped | Phase::GaveUp => false,
    };
    groups.iter().zip(glances).filter(move |(_, glance)| waits(glance)).map(|(group, _)| &group.spec)
}

/// Says how many there are, and which are not as they should be.
fn describe(groups: &[Group], glances: &[Glance], stopping: bool) -> String {
    let runs = |glance: &&Glance| !matches!(glance.phase, Phase::Stopped | Phase::Waiting | Phase::GaveUp);
    let running = glances.iter().filter(runs);
    let (wanted, ready) =
        running.fold((0, 0), |(wanted, ready), g| (wanted + u64::from(g.wanted), ready + u64::from(g.ready)));
    let so_many = if groups.len() == 1 { "1 group".to_owned() } else { format!("{} groups", groups.len()) };
    let mut text = match (stopping, ready == wanted) {
        (true, _) => format!("{so_many}: stopping"),
        (false, true) => format!("{so_many}, {ready} workers ready"),
        (false, false) => format!("{so_many}, {ready} of {wanted} workers ready"),
    };
    for (group, glance) in groups.iter().zip(glances).filter(|_| !stopping) {
        let name = &group.spec.name;
        let _ = match glance.phase {
            Phase::GaveUp => write!(text, "; {name}: gave up"),
            Phase::Upgrading => write!(text, "; {name}: upgrading"),
            Phase::Restarting => write!(text, "; {name}: restarting"),
            Phase::Stopping => write!(text, "; {name}: stopping"),
            Phase::Running if glance.ready < glance.wanted => {
                write!(text, "; {name}: {} of {} ready", glance.ready, glance.wanted)
            }
            Phase::Running | Phase::WarmingUp | Phase::Waiting | Phase::Stopped => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load, Surroundings};
    use std::path::Path;

    fn groups() -> Vec<Group> {
        let path = std::env::temp_dir().join(format!("firestarter-report-{}.toml", std::process::id()));
        let toml = "[a]\nexec_start = 'a'\nstart_timeout = 7\n[b]\nexec_start = 'b'\nstart_timeout = 5\n";
        std::fs::write(&path, toml).unwrap();
        let env = |_: &str| None;
        let around = Surroundings::here(Path::new("/"), &env, &crate::accounts::System);
        let config = load(&path, &around).expect("no faults").0;
        std::fs::remove_file(path).unwrap();
        assert_eq!(longest_start(&config), Duration::from_secs(7));
        config.groups
    }

    #[test]
    fn what_is_wrong_is_named_and_what_will_not_come_is_not_waited_for() {
        let groups = groups();
        let seen = |phases: [(Phase, u32); 2]| {
            let glances = phases.map(|(phase, ready)| Glance { phase, wanted: 2, ready });
            let unready: Vec<&str> = unready(&groups, &glances).map(|spec| spec.name.as_str()).collect();
            (describe(&groups, &glances, false), unready.join(" "))
        };
        let told = |text: &str, unready: &str| (text.to_owned(), unready.to_owned());
        assert_eq!(seen([(Phase::Running, 2), (Phase::Waiting, 0)]), told("2 groups, 2 workers ready", ""));
        assert_eq!(
            seen([(Phase::Running, 1), (Phase::GaveUp, 0)]),
            told("2 groups, 1 of 2 workers ready; a: 1 of 2 ready; b: gave up", "a")
        );
        assert_eq!(
            seen([(Phase::Upgrading, 2), (Phase::WarmingUp, 0)]),
            told("2 groups, 2 of 4 workers ready; a: upgrading", "b")
        );
        assert_eq!(describe(&groups[..1], &[], true), "1 group: stopping");
    }
}
