//! The journal's parsers: whatever bytes they get they return, and what was written reads back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::num::NonZeroU32;

use firestarter_core::command::{Command, Verb};
use firestarter_core::event::{Event, Exit, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, RequestId, Slot, WorkerId};
use firestarter_core::journal::{
    read_snapshot, write_entry, write_snapshot, Checksum, NoRecording, Reader, Recording, Unreadable, FORMAT, MAX_ENTRY,
};
use firestarter_core::spec::{Ack, Backoff, GroupSpec, Policy, Restart, Share, Signal, Start, Surge};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::Supervisor;
use proptest::prelude::*;

const VERBS: [Verb; 7] = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Upgrade, Verb::Inc, Verb::Dec, Verb::Killall];
const STEPS: [SpawnStep; 6] =
    [SpawnStep::Prepare, SpawnStep::Clone, SpawnStep::Directory, SpawnStep::Setup, SpawnStep::Exec, SpawnStep::Watch];

fn signal() -> impl Strategy<Value = Signal> {
    (1u8..=64).prop_map(|number| Signal::from_number(number).unwrap())
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<u8>().prop_map(Exit::Code),
        (signal(), any::<bool>()).prop_map(|(signal, core)| Exit::Signal(signal, core)),
        Just(Exit::Unknown),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let group = (any::<u32>(), prop::sample::select(&VERBS[..]), prop::option::of(signal()));
    prop_oneof![
        group.prop_map(|(group, verb, signal)| Command::Group { group: GroupId(group), verb, signal, slot: None }),
        Just(Command::Shutdown),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let worker = any::<u64>().prop_map(WorkerId);
    let error = (prop::sample::select(&STEPS[..]), any::<i32>()).prop_map(|(step, errno)| SpawnError { step, errno });
    prop_oneof![
        Just(Event::Begin),
        (worker.clone(), any::<u32>()).prop_map(|(worker, pid)| Event::Spawned { worker, pid: Pid(pid) }),
        (worker.clone(), error).prop_map(|(worker, error)| Event::SpawnFailed { worker, error }),
        (worker.clone(), exit()).prop_map(|(worker, exit)| Event::Exited { worker, exit }),
        (worker, prop::option::of(signal())).prop_map(|(worker, signal)| Event::Acked { worker, signal }),
        any::<u32>().prop_map(|group| Event::Connection { group: GroupId(group) }),
        (any::<u64>(), any::<u32>(), command())
            .prop_map(|(client, seq, command)| Event::Request { request: RequestId { client, seq }, command }),
        (signal(), any::<u32>(), prop::option::of(signal())).prop_map(|(signal, nth, with)| Event::StopSignal {
            signal,
            nth,
            with
        }),
        (signal(), any::<u32>(), command()).prop_map(|(signal, nth, command)| Event::Order { signal, nth, command }),
        Just(Event::Deadline),
    ]
}

/// Each variant with the values that take the most room.
fn longest() -> Vec<Event> {
    let worker = WorkerId(u64::MAX);
    let signal = Signal::from_number(64).unwrap();
    let group = GroupId(u32::MAX);
    let error = SpawnError { step: SpawnStep::Watch, errno: i32::MIN };
    let command = Command::Group { group, verb: Verb::Killall, signal: Some(signal), slot: Some(Slot(u32::MAX)) };
    vec![
        Event::Begin,
        Event::Spawned { worker, pid: Pid(u32::MAX) },
        Event::SpawnFailed { worker, error },
        Event::Exited { worker, exit: Exit::Signal(signal, true) },
        Event::Acked { worker, signal: Some(signal) },
        Event::Connection { group },
        Event::Request { request: RequestId { client: u64::MAX, seq: u32::MAX }, command },
        Event::StopSignal { signal, nth: u32::MAX, with: Some(signal) },
        Event::Order { signal, nth: u32::MAX, command },
        Event::Deadline,
    ]
}

/// A state before anything happens, and what then leads to one with something in every field: a rollout, a queue, waiters,
/// deadlines, workers in all stages.
fn before() -> (Supervisor, [(Instant, Event); 13]) {
    let spec = |name: &str, start| GroupSpec {
        count: NonZeroU32::new(2).unwrap(),
        restart: Restart::OnFailure,
        backoff: Backoff { max: Duration::from_secs(10), reset: Duration::from_secs(10) },
        start,
        ack: Ack::Manual,
        start_timeout: Duration::from_secs(30),
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(5),
        ack_signal: Signal::QUIT,
        drain_timeout: Duration::from_secs(60),
        surge: Surge::Fixed(Share::Count(1)),
        ..GroupSpec::new(name)
    };
    let core = Supervisor::new(
        vec![spec("web", Start::AtOnce), spec("jobs", Start::OnConnection)],
        Policy::default(),
        7,
        Instant(5),
    );
    let ask = |seq, verb| Event::Request {
        request: RequestId { client: 1, seq },
        command: Command::Group { group: GroupId(0), verb, signal: None, slot: None },
    };
    // The third worker takes the place of the second, the fourth the next one.
    let id = |ordinal| WorkerId::new(ordinal, [0, 1, 1, 2][ordinal as usize - 1]);
    let spawned = |ordinal| Event::Spawned { worker: id(ordinal), pid: Pid(ordinal as u32) };
    let acked = |ordinal| Event::Acked { worker: id(ordinal), signal: Some(Signal::HUP) };
    let failed = Event::Exited { worker: id(2), exit: Exit::Code(1) };
    let history = [
        Event::Begin,
        spawned(1),
        spawned(2),
        acked(1),
        acked(2),
        failed,
        spawned(3),
        ask(1, Verb::Upgrade),
        spawned(4),
        acked(4),
        ask(2, Verb::Upgrade),
        ask(3, Verb::Inc),
        ask(4, Verb::Start),
    ];
    let mut at = 9;
    let history = history.map(|event| {
        at += 1;
        (Instant(at), event)
    });
    (core, history)
}

fn take(core: &mut Supervisor, now: Instant, event: Event) {
    core.handle(now, event);
    while core.poll_action().is_some() {}
}

fn rich() -> Supervisor {
    let (mut core, history) = before();
    history.into_iter().for_each(|(now, event)| take(&mut core, now, event));
    core
}

/// A journal, and every state that it goes through, with the place in it where that is reached.
fn journal() -> (Vec<u8>, Vec<(usize, Supervisor)>) {
    let (mut core, history) = before();
    let (mut bytes, mut checksum) = write_snapshot(&core);
    let mut states = vec![(bytes.len(), core.clone())];
    for (now, event) in history {
        let mut space = [0; MAX_ENTRY];
        let (length, after) = write_entry(checksum, now, &event, &mut space).unwrap();
        bytes.extend_from_slice(&space[..length]);
        checksum = after;
        take(&mut core, now, event);
        states.push((bytes.len(), core.clone()));
    }
    (bytes, states)
}

/// The last state that a journal leads to as far as it can be read, where that is, and why no further.
fn replay(bytes: &[u8]) -> Result<(usize, Supervisor, Option<Unreadable>), Unreadable> {
    let (mut core, mut reader) = Reader::open(bytes)?;
    loop {
        match reader.entry() {
            Ok(Some((now, event))) => take(&mut core, now, event),
            Ok(None) => return Ok((reader.at(), core, None)),
            Err(why) => return Ok((reader.at(), core, Some(why))),
        }
    }
}

fn read_entry(bytes: &[u8]) -> Result<Option<(Instant, Event)>, Unreadable> {
    Reader::resume(bytes, (0, Checksum(0))).entry()
}

#[test]
fn no_entry_is_longer_than_the_limit() {
    for event in longest() {
        let mut space = [0; MAX_ENTRY];
        let (length, _) = write_entry(Checksum(0), Instant(u64::MAX), &event, &mut space).expect("fits");
        assert_eq!(read_entry(&space[..length]), Ok(Some((Instant(u64::MAX), event))));
    }
}

#[test]
fn an_entry_that_does_not_fit_is_refused() {
    for event in longest() {
        let mut space = [0; MAX_ENTRY];
        let (length, _) = write_entry(Checksum(0), Instant(u64::MAX), &event, &mut space).unwrap();
        for short in 0..length {
            assert_eq!(write_entry(Checksum(0), Instant(u64::MAX), &event, &mut [0; MAX_ENTRY][..short]), None);
        }
        assert_eq!(read_entry(&space[..length - 1]), Err(Unreadable::Damaged(0)), "cut short");
    }
}

#[test]
fn a_snapshot_of_another_format_is_named_before_anything_else_of_it_is_read() {
    let (mut bytes, _) = write_snapshot(&rich());
    bytes[0] ^= 0xff;
    assert_eq!(read_snapshot(&bytes), Err(Unreadable::Format(FORMAT ^ 0xff)));
    assert_eq!(read_snapshot(&bytes[..4]), Err(Unreadable::Format(FORMAT ^ 0xff)));
    assert_eq!(read_snapshot(&bytes[..3]), Err(Unreadable::Damaged(0)));
}

/// The state is one of those that the whole journal goes through, at its place, and it is said that more was there.
fn is_a_beginning(found: &(usize, Supervisor, Option<Unreadable>), states: &[(usize, Supervisor)], how: &str) {
    let (at, core, why) = found;
    let state = states.iter().find(|(place, _)| place == at).unwrap_or_else(|| panic!("{how}: no state at {at}"));
    assert!(*core == state.1, "{how}: another state at {at}");
    assert!(why.is_none_or(|why| why == Unreadable::Damaged(*at)), "{how}: {why:?} at {at}");
}

#[test]
fn a_journal_with_a_byte_altered_leads_to_a_beginning_of_it_or_to_nothing() {
    let (bytes, states) = journal();
    is_a_beginning(&replay(&bytes).unwrap(), &states, "whole");
    for at in 0..bytes.len() {
        for with in (0..8).map(|bit| 1 << bit).chain([0xff, 0x55]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= with;
            let how = format!("byte {at} ^ {with:#x}");
            match replay(&damaged) {
                Ok(found) => {
                    assert!(found.0 <= at && found.2.is_some(), "{how}: not noticed");
                    is_a_beginning(&found, &states, &how);
                }
                Err(_) => assert!(at < states[0].0, "{how}: the snapshot is whole"),
            }
        }
    }
}

#[test]
fn a_journal_cut_short_leads_to_a_beginning_of_it_or_to_nothing() {
    let (bytes, states) = journal();
    for length in 0..bytes.len() {
        let how = format!("cut at {length}");
        match replay(&bytes[..length]) {
            Ok(found) => {
                assert_eq!(found.2.is_none(), found.0 == length, "{how}");
                is_a_beginning(&found, &states, &how);
            }
            Err(_) => assert!(length < states[0].0, "{how}: the snapshot is whole"),
        }
    }
}

#[test]
fn an_entry_left_out_or_told_twice_is_noticed() {
    let (bytes, states) = journal();
    for pair in states.windows(2) {
        let (from, to) = (pair[0].0, pair[1].0);
        let without = [&bytes[..from], &bytes[to..]].concat();
        let twice = [&bytes[..to], &bytes[from..]].concat();
        let last = to == bytes.len();
        let found = replay(&without).unwrap();
        assert_eq!((found.0, found.2.is_some()), (from, !last), "left out");
        let found = replay(&twice).unwrap();
        assert_eq!((found.0, found.2), (to, Some(Unreadable::Damaged(to))), "told twice");
    }
}

#[test]
fn a_recording_reads_back_and_is_cut_where_the_file_is() {
    let mut recording = Recording::new(Instant(5), 17, 3, 4);
    recording.notes = vec!["one".into(), "two words\nand a line".into()];
    let bytes = [recording.write().as_bytes(), b"abcdefg"].concat();
    let (read, rest) = Recording::read(&bytes).unwrap();
    recording.notes[1] = "two words and a line".into();
    assert_eq!(read, recording);
    assert_eq!((read.parts(rest), read.missing(rest)), ([&b"abc"[..], b"defg"], 0));
    assert_eq!((read.parts(&rest[..5]), read.missing(&rest[..5])), ([&b"abc"[..], b"de"], 2));
    assert_eq!((read.parts(&rest[..2]), read.missing(&rest[..2])), ([&b"ab"[..], b""], 5));
    let more = b"abcdefgh";
    assert_eq!((read.parts(more), read.missing(more), read.surplus(more)), ([&b"abc"[..], b"defg"], 0, 1));
    assert_eq!((read.surplus(rest), read.surplus(&rest[..2])), (0, 0));
    for length in 0..bytes.len() - 7 {
        assert!(Recording::read(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert_eq!(Recording::read(b"#!/bin/sh\n"), Err(NoRecording::Mark));
}

#[test]
fn a_head_from_before_checksums_is_read_and_one_that_lost_its_own_is_not() {
    let recording = Recording::new(Instant(5), 17, 3, 4);
    let text = recording.write();
    let at = text.find("checksum ").unwrap();
    let without = |number| text[..at].replace("journal 2\n", number) + "\nabcdefg";
    assert_eq!(Recording::read(without("journal 1\n").as_bytes()), Ok((recording, &b"abcdefg"[..])));
    assert_eq!(Recording::read(without("journal 2\n").as_bytes()), Err(NoRecording::Damaged));
    assert_eq!(Recording::read(without("journal 3\n").as_bytes()), Err(NoRecording::Mark));
    let renamed = text.replace("journal 2\n", "journal 1\n");
    assert_eq!(Recording::read(renamed.as_bytes()), Err(NoRecording::Damaged), "it has a checksum all the same");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_a_head_is_altered_unnoticed(
        notes in prop::collection::vec(any::<String>(), 0..4), parts in prop::collection::vec(any::<u8>(), 0..16),
        at in any::<prop::sample::Index>(), xor in 1..=u8::MAX,
    ) {
        let mut recording = Recording::new(Instant(5), 17, parts.len() as u64, 0);
        recording.notes = notes;
        let head = recording.write();
        let mut bytes = [head.as_bytes(), &parts].concat();
        prop_assert!(Recording::read(&bytes).is_ok());
        bytes[at.index(head.len())] ^= xor;
        prop_assert!(Recording::read(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = read_snapshot(&bytes);
        let mut with_format = FORMAT.to_le_bytes().to_vec();
        with_format.extend(&bytes);
        let _ = read_snapshot(&with_format);
        let _ = Recording::read(&bytes);
        let _ = Recording::read(&[b"firestarter journal 2\n", &bytes[..], b"\n\n"].concat());
        let mut reader = Reader::resume(&bytes, (0, Checksum(0)));
        while let (before, Ok(Some(_))) = (reader.at(), reader.entry()) {
            prop_assert!(reader.at() > before, "an entry of no length");
        }
    }

    #[test]
    fn entries_read_back(entries in prop::collection::vec((any::<u64>(), event()), 0..20)) {
        let (mut bytes, mut checksum) = (Vec::new(), Checksum(0));
        for (now, event) in &entries {
            let mut space = [0; MAX_ENTRY];
            let (length, after) = write_entry(checksum, Instant(*now), event, &mut space).expect("fits");
            bytes.extend_from_slice(&space[..length]);
            checksum = after;
        }
        let mut reader = Reader::resume(&bytes, (0, Checksum(0)));
        for (now, event) in entries {
            prop_assert_eq!(reader.entry(), Ok(Some((Instant(now), event))));
        }
        prop_assert_eq!((reader.entry(), reader.checksum()), (Ok(None), checksum));
    }

    #[test]
    fn any_events_at_any_times_are_handled(entries in prop::collection::vec((any::<u64>(), event()), 0..60)) {
        let mut core = rich();
        for (now, event) in entries {
            core.handle(Instant(now), event);
            while core.poll_action().is_some() {}
            let read = read_snapshot(&write_snapshot(&core).0);
            prop_assert_eq!(read.as_ref(), Ok(&core));
        }
    }
}
