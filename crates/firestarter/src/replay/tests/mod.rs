//! A recording made here, told in both forms, whole and damaged.

use super::*;
use firestarter_core::event::{Event, Exit};
use firestarter_core::ids::{Pid, WorkerId};
use firestarter_core::journal::{write_entry, write_snapshot, Checksum, MAX_ENTRY};
use firestarter_core::spec::{GroupSpec, Policy, Restart};

/// A journal of these events, one a second from the given one on; the core is the state before, and is led on.
fn journal(core: &mut Supervisor, from: u64, events: &[Event]) -> Vec<u8> {
    let (mut bytes, mut checksum): (Vec<u8>, Checksum) = write_snapshot(core);
    for (event, second) in events.iter().zip(from..) {
        let (now, mut space) = (Instant(second * 1_000_000_000), [0; MAX_ENTRY]);
        let (length, after) = write_entry(checksum, now, event, &mut space).unwrap();
        bytes.extend_from_slice(&space[..length]);
        checksum = after;
        core.handle(now, *event);
        while core.poll_action().is_some() {}
    }
    bytes
}

/// A worker is spawned, and killed after the snapshot between the two parts. Returns the head, and the parts.
fn recorded() -> (Recording, [Vec<u8>; 2]) {
    let spec = GroupSpec { restart: Restart::Always, ..GroupSpec::new("web") };
    let mut core = Supervisor::new(vec![spec], Policy::default(), 1, Instant(0));
    let worker = WorkerId::new(1, 0);
    let older = journal(&mut core, 10, &[Event::Begin, Event::Spawned { worker, pid: Pid(41) }]);
    let newer = journal(&mut core, 12, &[Event::Exited { worker, exit: Exit::Code(3) }]);
    let mut head = Recording::new(Instant(20_000_000_000), 1_764_091_210_000_000_000, 0, 0);
    (head.older, head.newer) = (older.len() as u64, newer.len() as u64);
    head.notes.push("recoveries: 1".into());
    (head, [older, newer])
}

fn file(head: &Recording, parts: &[Vec<u8>; 2]) -> Vec<u8> {
    [head.write().as_bytes(), &parts[0], &parts[1]].concat()
}

fn told(bytes: &[u8], json: bool) -> (bool, String) {
    let mut out = Vec::new();
    let whole = tell(bytes, json, &mut out).unwrap();
    (whole, String::from_utf8(out).unwrap())
}

#[test]
fn a_recording_is_told_event_by_event_and_ends_with_the_state() {
    let (head, parts) = recorded();
    let (whole, text) = told(&file(&head, &parts), false);
    let want = format!(
        "build {BUILD}, format {FORMAT}, taken 2025-11-25T17:20:10.000000Z
note: recoveries: 1
      0.000000 2025-11-25T17:20:00.000000Z <- begin
                                              -> spawn web/0 #1 generation 1
      1.000000 2025-11-25T17:20:01.000000Z <- spawned web/0 #1 pid 41
      2.000000 2025-11-25T17:20:02.000000Z <- exited web/0 #1 code 3
                                              -> notice web/0 pid 41 code 3; respawn at once
                                              -> spawn web/0 #2 generation 1
after 3 events, at 2025-11-25T17:20:02.000000Z:
web running 0/1 generation 1, 1 restarts, last failure code 3 0ms ago
  web/0 no pid generation 1 spawning 0ms
outstanding: spawn web/0 #2 generation 1
"
    );
    assert_eq!((whole, text), (true, want));
}

#[test]
fn as_json_each_line_is_an_event() {
    let (head, parts) = recorded();
    let (_, text) = told(&file(&head, &parts), true);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["build"], BUILD);
    assert_eq!(lines[3]["event"]["Exited"]["exit"]["Code"], 3);
    assert_eq!(lines[3]["since_start_ns"], 2_000_000_000);
    assert_eq!(lines[3]["actions"][1], "spawn web/0 #2 generation 1");
    assert_eq!(lines[4]["end"]["events"], 3);
    assert_eq!(lines[4]["end"]["faults"], serde_json::json!([]));
}

#[test]
fn a_damaged_one_is_told_as_far_as_it_goes() {
    let (head, parts) = recorded();
    let mut torn = parts.clone();
    *torn[0].last_mut().unwrap() ^= 1;
    let (whole, text) = told(&file(&head, &torn), false);
    assert!(!whole && text.contains("<- begin") && !text.contains("<- spawned"), "{text}");
    assert!(text.contains("!! the older part, of") && text.contains("; what follows is lost"), "{text}");
    assert!(text.contains("<- exited web/0 #1 code 3"), "the newer part stands for itself: {text}");

    let mut cut = file(&head, &parts);
    cut.truncate(cut.len() - 3);
    let (whole, text) = told(&cut, false);
    assert!(!whole && text.contains("<- spawned") && !text.contains("<- exited"), "{text}");
    assert!(text.contains("3 bytes are missing") && text.contains("after 2 events"), "{text}");

    let whole_file = file(&head, &parts);
    for at in head.write().len()..whole_file.len() {
        assert!(!told(&whole_file[..at], true).0, "cut at {at}");
    }
}

#[test]
fn not_a_bit_of_a_real_recording_is_altered_unnoticed() {
    let taken = include_bytes!("../../../../core/tests/journals/an_upgrade_and_a_worker_killed.journal");
    let (head, rest) = Recording::read(taken).unwrap();
    let head = Recording { build: BUILD.into(), ..head };
    let bytes = [head.write().as_bytes(), rest].concat();
    let seems_whole = |bytes: &[u8]| check(bytes, "f", true).is_ok() && told(bytes, false).0;
    assert!(seems_whole(&bytes));
    // In the head, where one number passes for another, all values that a byte can have.
    let head_alone = head.write().len();
    for at in 0..bytes.len() {
        let any = (1..=u8::MAX).filter(|xor| at < head_alone || xor.is_power_of_two());
        for xor in any {
            let mut damaged = bytes.clone();
            damaged[at] ^= xor;
            assert!(!seems_whole(&damaged), "byte {at} altered by {xor:#x}");
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_told() {
    let (head, parts) = recorded();
    let once = file(&head, &parts);
    for more in [&once[..], b"\n"] {
        let (whole, text) = told(&[&once[..], more].concat(), false);
        let fault = format!("!! {} bytes stand behind the end of the journal", more.len());
        assert!(!whole && text.contains(&fault) && text.contains("after 3 events"), "{text}");
    }
}

#[test]
fn a_damaged_head_is_named_with_what_to_do() {
    let (head, parts) = recorded();
    let mut damaged = file(&head, &parts);
    let at = damaged.windows(6).position(|six| six == b"older ").unwrap() + 6;
    damaged[at] ^= 1;
    let refused = check(&damaged, "f", true).unwrap_err().to_string();
    assert!(
        refused.starts_with("read f: its head is not what was written") && refused.contains("copy it again"),
        "{refused}"
    );
    assert!(!told(&damaged, false).0);
    let refused = check(&damaged[..40], "f", true).unwrap_err().to_string();
    assert!(refused.starts_with("read f: ends within its head; copy it again"), "{refused}");
}

#[test]
fn a_part_that_does_not_follow_from_the_one_before_is_named() {
    let (head, mut parts) = recorded();
    parts.swap(0, 1);
    let head = Recording { older: head.newer, newer: head.older, ..head };
    let (whole, text) = told(&file(&head, &parts), false);
    assert!(!whole && text.contains("does not begin with the state that the older part leads to"), "{text}");
}

#[test]
fn another_build_is_refused_unless_forced_and_another_format_always() {
    let (mut head, parts) = recorded();
    head.build = "0.0.9-abc".into();
    let refused = check(&file(&head, &parts), "f", false).unwrap_err().to_string();
    assert!(refused.contains("0.0.9-abc") && refused.contains(BUILD), "{refused}");
    assert!(check(&file(&head, &parts), "f", true).is_ok());
    head.format += 1;
    assert!(check(&file(&head, &parts), "f", true).unwrap_err().to_string().contains("its format is"));
    assert!(check(b"[web]\n", "f", true).unwrap_err().to_string().contains("firestarter debug journal"));
}
