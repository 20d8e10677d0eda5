//! What must hold after anything has happened in any order.

use super::*;

fn act() -> impl Strategy<Value = Act> {
    let slot = || 0..SLOTS;
    prop_oneof![
        4 => (slot(), 0usize..200).prop_map(|(slot, length)| Act::Line(slot, length)),
        2 => (slot(), 0usize..20).prop_map(|(slot, length)| Act::Begin(slot, length)),
        2 => (slot(), 20usize..60).prop_map(|(slot, lines)| Act::Flood(slot, lines)),
        1 => slot().prop_map(Act::Respawn),
        6 => Just(Act::Read),
        6 => Just(Act::Take),
        6 => Just(Act::Work),
        6 => Just(Act::PutBack),
        3 => Just(Act::TooLong),
        2 => prop_oneof![Just(0usize), 1usize..300, 1000usize..100_000].prop_map(|room| Act::Room(Some(room))),
        1 => Just(Act::Room(None)),
    ]
}

fn acts() -> impl Strategy<Value = Vec<(Act, Option<u32>)>> {
    let killed = prop::option::weighted(0.15, 0u32..40);
    prop::collection::vec((act(), killed), 1..80)
}

fn never_killed(act: &Act) -> bool {
    match act {
        Act::Line(..) | Act::Begin(..) | Act::Respawn(_) | Act::Room(_) => true,
        Act::Flood(..) | Act::Read | Act::Take | Act::Work | Act::PutBack | Act::TooLong => false,
    }
}

fn live(acts: &[(Act, Option<u32>)], rotation: Rotation, overflow: Overflow) {
    let mut world = World::new("any", rotation, overflow);
    for (act, killed) in acts {
        match killed.filter(|_| !never_killed(act)) {
            None => world.act(act),
            Some(steps) => {
                let _ = deaths::after(steps, || world.act(act));
                world.kill();
            }
        }
    }
    let found = world.finish();
    let (bytes, lines) = world.written();
    assert_eq!(found.kept + found.dropped, bytes, "{found:?}, kills: {}", world.kills);
    assert!(found.kept_lines + found.dropped_lines >= lines, "{found:?} of {lines} lines");
    if world.kills == 0 {
        assert_eq!(found.kept_lines + found.dropped_lines, lines, "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn what_is_written_is_kept_or_counted(acts in acts(), size in prop::option::of(1u64..2000), drop in any::<bool>()) {
        let rotation = size.map_or(Rotation::Never, |max_bytes| Rotation::Size { max_bytes, backups: 100_000 });
        live(&acts, rotation, if drop { Overflow::Drop } else { Overflow::Wait });
    }
}

/// How many, unless the environment says so: `CASES=10000 cargo test --release -p firestarter what_is_written`.
fn cases() -> u32 {
    std::env::var("CASES").map_or(60, |text| text.parse().unwrap())
}
