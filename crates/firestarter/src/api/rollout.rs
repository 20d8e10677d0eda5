//! A rollout under way: a part of the status, and what a client is told meanwhile that asked to be. Made by the daemon, read
//! by `cli/` and by everybody who reads JSON. It holds no handle on anything.

use firestarter_core::command::Verb;
use firestarter_core::ids::Generation;
use firestarter_core::view::{RolloutAwaits, RolloutView};
use serde::{Deserialize, Serialize};

use super::status::millis;
use super::word;

/// An upgrade, a rollback or a restart in steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    /// Which of these; none in the words of an older daemon.
    #[serde(default, with = "word::verb")]
    pub(crate) verb: Option<Verb>,
    /// The generation that it starts.
    pub(crate) generation: Generation,
    /// How many new workers have a process.
    #[serde(default)]
    pub(crate) spawned: u32,
    /// How many new workers are ready.
    pub(crate) ready: u32,
    /// How many new workers have taken their places.
    #[serde(default)]
    pub(crate) committed: u32,
    /// How many old workers have ended.
    #[serde(default)]
    pub(crate) retired: u32,
    /// How many new workers there will be.
    pub(crate) wanted: u32,
    /// How many are started at a time, as the memory holds no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_a_time: Option<u32>,
    /// What it waits for.
    #[serde(flatten)]
    pub(crate) awaits: Option<Awaits>,
}

/// What a rollout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "awaits", rename_all = "snake_case")]
pub(crate) enum Awaits {
    /// How much memory there is.
    Memory,
    /// Old workers that must end before their successors start.
    Room,
    /// New workers that are not ready.
    Ready,
    /// That the new workers stay ready.
    Soak {
        /// For how long yet.
        left_ms: u64,
    },
}

/// How far a group's rollout is, told before the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Whose.
    pub(crate) group: String,
    /// How far.
    #[serde(flatten)]
    pub(crate) rollout: Rollout,
}

impl Rollout {
    /// Whether there is something new to tell; time that passes is none.
    pub(crate) fn is_news(&self, before: Option<&Rollout>) -> bool {
        let timeless = |rollout: &Rollout| {
            let awaits = rollout.awaits.map(|awaits| match awaits {
                Awaits::Soak { .. } => Awaits::Soak { left_ms: 0 },
                Awaits::Memory | Awaits::Room | Awaits::Ready => awaits,
            });
            Rollout { awaits, ..rollout.clone() }
        };
        before.map(timeless) != Some(timeless(self))
    }
}

impl From<RolloutView> for Rollout {
    fn from(rollout: RolloutView) -> Rollout {
        let RolloutView { generation, verb, spawned, ready, committed, retired, wanted, at_a_time, awaits } = rollout;
        let awaits = Some(match awaits {
            RolloutAwaits::Memory => Awaits::Memory,
            RolloutAwaits::Room => Awaits::Room,
            RolloutAwaits::Ready => Awaits::Ready,
            RolloutAwaits::Soak(left) => Awaits::Soak { left_ms: millis(left) },
        });
        Rollout { verb: Some(verb), generation, spawned, ready, committed, retired, wanted, at_a_time, awaits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn view(awaits: RolloutAwaits) -> RolloutView {
        RolloutView {
            generation: Generation(3),
            verb: Verb::Rollback,
            spawned: 3,
            ready: 2,
            committed: 1,
            retired: 1,
            wanted: 4,
            at_a_time: Some(2),
            awaits,
        }
    }

    #[test]
    fn what_it_waits_for_on_the_wire() {
        let soak = RolloutAwaits::Soak(Duration::from_millis(2500));
        for (awaits, want) in [
            (RolloutAwaits::Memory, r#""awaits":"memory"}"#),
            (RolloutAwaits::Room, r#""awaits":"room"}"#),
            (RolloutAwaits::Ready, r#""awaits":"ready"}"#),
            (soak, r#""awaits":"soak","left_ms":2500}"#),
        ] {
            let rollout = Rollout::from(view(awaits));
            let json = serde_json::to_string(&rollout).expect("strings for keys");
            let all = r#"{"verb":"rollback","generation":3,"spawned":3,"ready":2,"committed":1,"retired":1,"wanted":4,"at_a_time":2,"#;
            assert_eq!(json, format!("{all}{want}"));
            assert_eq!(serde_json::from_str::<Rollout>(&json).expect("what we write we read"), rollout);
        }
        let older =
            serde_json::from_str::<Rollout>(r#"{"generation":2,"ready":1,"wanted":2}"#).expect("an older daemon's");
        assert_eq!((older.verb, older.awaits, older.ready), (None, None, 1));
    }

    #[test]
    fn time_that_passes_is_no_news() {
        let soak = |ms| Rollout::from(view(RolloutAwaits::Soak(Duration::from_millis(ms))));
        assert!(!soak(10).is_news(Some(&soak(20))));
        assert!(soak(10).is_news(Some(&Rollout::from(view(RolloutAwaits::Ready)))));
        assert!(soak(10).is_news(None));
    }
}
