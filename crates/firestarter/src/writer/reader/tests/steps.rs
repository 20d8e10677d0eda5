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
        1 => Just(Act::Quiet),
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
        Act::Flood(..) | Act::Quiet | Act::Read | Act::Take | Act::Work | Act::PutBack | Act::TooLong => false,
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
    assert_eq!(found.kept_lines + found.dropped_lines, lines, "{found:?}, kills: {}", world.kills);
    world.counts_are_those_of(&found);
}

/// Two workers write, one stops within a line, the disk is full for a while; a few writes go out at a time.
fn script() -> Vec<Act> {
    let turns = || [Act::Read, Act::Read, Act::Take, Act::Work, Act::PutBack, Act::Work, Act::PutBack];
    let mut script = vec![Act::Line(0, 50), Act::Line(1, 30), Act::Line(0, 3), Act::Begin(1, 10)];
    script.extend(turns());
    script.extend([Act::Room(Some(12)), Act::Line(0, 40), Act::Line(1, 0)]);
    script.extend(turns());
    script.push(Act::Room(None));
    script.extend(turns());
    script
}

/// A worker writes so much that its stage begins anew.
fn long_script() -> [Act; 8] {
    [Act::Line(0, 5000), Act::Read, Act::Take, Act::Work, Act::PutBack, Act::Line(0, 9), Act::Read, Act::Line(0, 5)]
}

fn kill_at_every_step(script: &[Act], max_bytes: u64, part: usize, least: u32) {
    let rotation = Rotation::Size { max_bytes, backups: 1000 };
    for steps in 0.. {
        let mut world = World::new("every", rotation, Overflow::Wait);
        deaths::set_part(part);
        let done = deaths::after(steps, || script.iter().for_each(|act| world.act(act)));
        world.kill();
        let found = world.finish();
        deaths::set_part(usize::MAX);
        let written = world.written();
        assert_eq!((found.kept, found.kept_lines), written, "killed after {steps} steps: {found:?}");
        assert_eq!((found.dropped, found.cut), (0, 0));
        world.counts_are_those_of(&found);
        if done.is_some() {
            assert!(steps > least, "it has only {steps} steps");
            break;
        }
    }
}

#[test]
fn killed_at_every_step_nothing_is_lost_and_nothing_doubled() {
    for (part, size) in [(usize::MAX, 1000), (usize::MAX, 60), (7, 60)] {
        kill_at_every_step(&script(), size, part, 60);
    }
    kill_at_every_step(&long_script(), 1 << 20, usize::MAX, 20);
}

/// A disk is full over the telling of what is missing, and stays so for too long.
fn two_gaps() -> World {
    let mut world = World::new("gaps", Rotation::Never, Overflow::Wait);
    let fill = [Act::Flood(0, 60), Act::TooLong, Act::Flood(0, 30)];
    world.act(&Act::Room(Some(0)));
    fill.iter().for_each(|act| world.act(act));
    // Room for what is before the gap, and for a piece of the count.
    let kept = world.reader().feeds.values().find_map(|feed| feed.source.row.gap()).unwrap();
    world.act(&Act::Room(Some(kept.from as usize + 20)));
    turns(&mut world, 40);
    let gap = world.reader().feeds.values().find_map(|feed| feed.source.row.gap()).unwrap();
    assert!(gap.to.is_some(), "it has not ended: this test shows nothing");
    fill.iter().for_each(|act| world.act(act));
    let gaps = world.reader().feeds.values().map(|feed| feed.source.row.gaps().len()).max();
    assert_eq!(gaps, Some(2), "no second gap: this test shows nothing");
    world
}

fn turns(world: &mut World, times: u32) {
    for _ in 0..times {
        for act in [Act::Read, Act::Read, Act::Take, Act::Work, Act::PutBack, Act::Work, Act::PutBack, Act::Read] {
            world.act(&act);
        }
    }
}

#[test]
fn a_gap_that_was_not_told_of_is_followed_by_another_whenever_the_writer_is_killed() {
    for steps in 0.. {
        let mut world = two_gaps();
        world.act(&Act::Room(None));
        let done = deaths::after(steps, || turns(&mut world, 6));
        world.kill();
        let found = world.finish();
        let (bytes, lines) = world.written();
        let all = (found.kept + found.dropped, found.kept_lines + found.dropped_lines);
        assert_eq!(all, (bytes, lines), "killed after {steps} steps: {found:?}");
        assert_eq!(world.text().matches("firestarter: ").count(), 2);
        world.counts_are_those_of(&found);
        if done.is_some() {
            assert!(steps > 60, "it has only {steps} steps");
            break;
        }
    }
}

#[test]
fn a_long_line_that_a_full_disk_cuts_goes_on_after_its_worker_has_ended() {
    let mut world = World::new("long", Rotation::Never, Overflow::Wait);
    let turns = [Act::Read, Act::Read, Act::Take, Act::Work, Act::PutBack];
    // Alone, so that the line is written in pieces.
    world.workers[1].write = None;
    turns.iter().for_each(|act| world.act(act));
    let mut write = |times: usize| {
        for act in [Act::Begin(0, 30_000), Act::Read].iter().cycle().take(2 * times) {
            world.act(act);
        }
        if times > 1 {
            world.act(&Act::Room(Some(30_000)));
        }
        turns.iter().for_each(|act| world.act(act));
    };
    write(5);
    write(1);
    world.workers[0].write = None;
    let found = world.finish();
    assert_eq!((found.kept, found.cut, found.dropped), (world.written().0, 0, 0), "{found:?}");
}

#[test]
fn who_has_a_file_for_each_line_lets_others_write_in_between() {
    let mut world = World::new("fair", Rotation::Size { max_bytes: 1, backups: 1000 }, Overflow::Wait);
    (0..200).for_each(|_| world.act(&Act::Line(0, 5)));
    let turns = [Act::Read, Act::Line(1, 5), Act::Read, Act::Take, Act::Work, Act::PutBack, Act::Work, Act::PutBack];
    turns.iter().for_each(|act| world.act(act));
    let text = world.text();
    assert!(text.contains("1:0 "), "the other one waits for all of that: {text}");
    assert!(!text.contains("0:199 "), "there was nothing to wait for: this test shows nothing");
    let found = world.finish();
    assert_eq!((found.kept, found.cut), (world.written().0, 0), "{found:?}");
}

#[test]
fn a_line_that_its_stage_cannot_hold_is_split() {
    let mut world = World::new("small", Rotation::Never, Overflow::Block);
    let origin = Origin { group: 0, speaker: Speaker::Slot(2), stream: Stream::Stdout };
    let newborn = Newborn { worker: WorkerId(9), row: Row(9), generation: 1 };
    let opened = world.pipes.open(origin, &newborn).unwrap();
    world.pipes.stage(opened.standing.number).unwrap().set_ring(128 * 1024);
    world.reader().hear();
    let mut left = 69_999;
    while left > 0 {
        left -= rustix::io::write(&opened.write, &vec![b'x'; left.min(10_000)]).unwrap();
        turns(&mut world, 1);
    }
    rustix::io::write(&opened.write, b"\n").unwrap();
    turns(&mut world, 3);
    assert!(world.text().contains("x [split]\nx"), "nothing of it was written");
    assert_eq!(world.text().matches('x').count(), 69_999);
}

#[test]
fn a_writer_that_dies_over_giving_up_a_pipe_counts_it_once() {
    for steps in 0.. {
        let mut world = World::new("once", Rotation::Never, Overflow::Wait);
        world.act(&Act::Room(Some(0)));
        for _ in 0..4 {
            for act in [Act::Line(0, 9), Act::Respawn(0), Act::Read, Act::Read, Act::Take, Act::Work, Act::PutBack] {
                world.act(&act);
            }
        }
        world.act(&Act::TooLong);
        world.act(&Act::Line(0, 9));
        world.act(&Act::Respawn(0));
        let done = deaths::after(steps, || (0..2).for_each(|_| world.act(&Act::Read)));
        world.kill();
        let found = world.finish();
        let (bytes, lines) = world.written();
        assert_eq!((found.kept + found.dropped, found.kept_lines + found.dropped_lines), (bytes, lines), "{steps}");
        world.counts_are_those_of(&found);
        if done.is_some() {
            assert!(found.dropped > 0 && steps > 10, "nothing was given up in {steps} steps: {found:?}");
            break;
        }
    }
}

#[test]
fn of_many_ended_pipes_few_are_kept_while_nothing_can_be_written() {
    let mut world = World::new("many", Rotation::Never, Overflow::Wait);
    world.act(&Act::Room(Some(0)));
    for turn in 0..60 {
        for act in [Act::Line(0, turn), Act::Respawn(0), Act::Read, Act::Read, Act::Take, Act::Work, Act::PutBack] {
            world.act(&act);
        }
        world.act(&Act::TooLong);
    }
    assert!(world.reader().feeds.len() < 8, "{} pipes are open", world.reader().feeds.len());
    world.act(&Act::Room(None));
    let found = world.finish();
    let (bytes, lines) = world.written();
    assert_eq!((found.kept + found.dropped, found.kept_lines + found.dropped_lines), (bytes, lines), "{found:?}");
    assert!(found.kept_lines >= 2 && found.dropped_lines > 40, "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn what_is_written_is_kept_or_counted(acts in acts(), size in prop::option::of(1u64..2000), drop in any::<bool>()) {
        let rotation = size.map_or(Rotation::Never, |max_bytes| Rotation::Size { max_bytes, backups: 100_000 });
        live(&acts, rotation, if drop { Overflow::Drop } else { Overflow::Wait });
    }
}

/// How many, unless the environment says so: `CASES=10000 cargo test --release -p firestarter what_is_written`.
fn cases() -> u32 {
    std::env::var("CASES").map_or(40, |text| text.parse().unwrap())
}
