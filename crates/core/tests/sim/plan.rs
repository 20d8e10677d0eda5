//! What a seed draws before the world begins: the groups, how badly their processes behave, and what people will ask.

use firestarter_core::command::Verb;
use firestarter_core::spec::{
    Ack, Backoff, ExitWhen, GroupSpec, Policy, Probe, ProbeBy, Restart, Share, Signal, Start, Surge, Upgrader,
};
use firestarter_core::time::Duration;
use std::num::NonZeroU32;

use crate::rng::Rng;

/// How the processes of a group behave, each in times of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Temper {
    pub spawn_fails: u64,
    pub spawn_hangs: u64,
    pub spawn_slow: u64,
    pub never_acks: u64,
    pub crashes: u64,
    pub stubborn: u64,
    pub unkillable: u64,
    /// Gives no sign of life.
    pub silent: u64,
    /// Answers its probe badly.
    pub sick: u64,
    /// Has too much in memory.
    pub fat: u64,
    pub hook_fails: u64,
    pub hook_hangs: u64,
}

impl Temper {
    /// Nothing of it can hold up a reply beyond the time-outs of its own group.
    pub fn bounded(self) -> bool {
        self.spawn_hangs == 0 && self.unkillable == 0
    }
}

const SIGNALS: [Signal; 5] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::USR2, Signal::KILL];

pub fn spec(rng: &mut Rng, index: usize) -> GroupSpec {
    let positive = |n| NonZeroU32::new(n).unwrap();
    let mut spec = GroupSpec {
        count: positive(rng.below(4) as u32 + 1),
        restart: rng.pick(&[Restart::Always, Restart::Always, Restart::OnFailure, Restart::None]),
        backoff: Backoff { max: secs(rng.pick(&[0, 1, 10])), reset: secs(rng.pick(&[1, 10])) },
        start: rng.pick(&[Start::AtOnce, Start::AtOnce, Start::OnConnection]),
        ack: rng.pick(&[Ack::Timer(secs(0)), Ack::Timer(secs(1)), Ack::Manual, Ack::Manual, Ack::None]),
        start_timeout: secs(rng.pick(&[2, 10])),
        stop_signal: rng.pick(&SIGNALS),
        stop_timeout: secs(rng.pick(&[0, 1, 5])),
        ack_signal: rng.pick(&SIGNALS),
        drain_timeout: secs(rng.pick(&[0, 3, 60])),
        surge: match rng.below(5) {
            0 => Surge::Fixed(Share::Count(1)),
            1 => Surge::Fixed(Share::Count(2)),
            2 => Surge::Fixed(Share::Percent(rng.pick(&[0, 34, 50]))),
            3 => Surge::Auto,
            _ => Surge::Fixed(Share::Percent(100)),
        },
        give_up: rng.pick(&[None, None, NonZeroU32::new(1), NonZeroU32::new(3)]),
        autostart: !rng.chance(100),
        warmup: secs(rng.pick(&[0, 0, 0, 3])),
        stop_hook: rng.chance(250),
        upgrader: rng.pick(&[None, None, None, Some(None), Some(Some(secs(7)))]).map(|every| {
            let timeout = secs(rng.pick(&[1, 5]));
            Upgrader { every, timeout }
        }),
        auto_upgrade: rng.chance(250),
        live_check: rng.pick(&[None, None, None, None, None, Some(secs(8))]),
        ..GroupSpec::new(["web", "jobs", "mail"][index])
    };
    pace(&mut spec, rng);
    spec
}

/// How the group is renewed, and what its workers are asked while they serve.
fn pace(spec: &mut GroupSpec, rng: &mut Rng) {
    let positive = |n| NonZeroU32::new(n).unwrap();
    // A group that a hook stops is restarted at once, whatever else is said.
    if !spec.stop_hook {
        spec.max_unavailable = rng.pick(&[Share::Count(0), Share::Count(0), Share::Count(1), Share::Percent(50)]);
    }
    spec.soak = secs(rng.pick(&[0, 0, 0, 2]));
    spec.kill_old_delay = secs(rng.pick(&[0, 0, 0, 1]));
    spec.watchdog = rng.pick(&[None, None, None, None, Some(secs(10))]);
    spec.max_age = rng.pick(&[None, None, None, None, Some(secs(600))]);
    spec.max_memory = rng.pick(&[None, None, None, None, Some(1000)]);
    spec.fd_store = rng.chance(200);
    if rng.chance(250) {
        let ack = rng.chance(600);
        spec.ack = if ack { Ack::Probe } else { spec.ack };
        spec.probe = Some(Probe {
            by: rng.pick(&[ProbeBy::Connection, ProbeBy::Command]),
            interval: rng.pick(&[Duration::from_millis(500), spec.start_timeout / 4]),
            timeout: secs(1),
            healthy_after: positive(rng.pick(&[1, 2])),
            unhealthy_after: positive(rng.pick(&[1, 3])),
            liveness: !ack || rng.chance(500),
        });
    }
}

pub fn policy(rng: &mut Rng) -> Policy {
    let exit_when = [ExitWhen::Never, ExitWhen::Never, ExitWhen::Never, ExitWhen::Never, ExitWhen::Done];
    let exit_when = if rng.chance(100) { ExitWhen::Failed } else { rng.pick(&exit_when) };
    Policy { stop_timeout: secs(rng.pick(&[0, 1, 8, 30, 1000])), exit_when }
}

pub fn temper(rng: &mut Rng) -> Temper {
    let mut temper = Temper::default();
    if rng.chance(250) {
        return temper;
    }
    let strength = rng.pick(&[30, 150, 500]);
    for vice in [
        &mut temper.spawn_fails,
        &mut temper.spawn_slow,
        &mut temper.never_acks,
        &mut temper.crashes,
        &mut temper.stubborn,
        &mut temper.silent,
        &mut temper.sick,
        &mut temper.fat,
        &mut temper.hook_fails,
        &mut temper.hook_hangs,
    ] {
        if rng.chance(500) {
            *vice = strength;
        }
    }
    if rng.chance(250) {
        temper.spawn_hangs = strength;
    }
    if rng.chance(250) {
        temper.unkillable = strength;
    }
    temper
}

pub fn verb(rng: &mut Rng) -> Verb {
    rng.pick(&[
        Verb::Start,
        Verb::Start,
        Verb::Stop,
        Verb::Restart,
        Verb::Upgrade,
        Verb::Upgrade,
        Verb::Upgrade,
        Verb::Rollback,
        Verb::Rollback,
        Verb::Cancel,
        Verb::Inc,
        Verb::Inc,
        Verb::Dec,
        Verb::Dec,
        Verb::Killall,
        Verb::Signal,
    ])
}

pub fn signal(rng: &mut Rng) -> Option<Signal> {
    rng.chance(150).then(|| rng.pick(&SIGNALS))
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}
