//! The journal's parsers: whatever bytes they get they return, and what was written reads back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::num::NonZeroU32;
use std::panic::{catch_unwind, AssertUnwindSafe};

use firestarter_core::command::{Command, Verb};
use firestarter_core::event::{Event, Exit, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, RequestId, Slot, WorkerId};
use firestarter_core::journal::{
    read_entry, read_snapshot, write_entry, write_snapshot, Unreadable, FORMAT, MAX_ENTRY,
};
use firestarter_core::spec::{Ack, Backoff, GroupSpec, Policy, Restart, Signal, Start, Surge};
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

/// A state with something in every field: a rollout, a queue, waiters, deadlines, workers in all stages.
fn rich() -> Supervisor {
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
        surge: Surge::AtMost(NonZeroU32::MIN),
        ..GroupSpec::new(name)
    };
    let mut core = Supervisor::new(
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
    for (at, event) in (10..).zip(history) {
        core.handle(Instant(at), event);
        while core.poll_action().is_some() {}
    }
    core
}

#[test]
fn no_entry_is_longer_than_the_limit() {
    for event in longest() {
        let mut space = [0; MAX_ENTRY];
        let length = write_entry(Instant(u64::MAX), &event, &mut space).expect("fits");
        assert_eq!(read_entry(&space[..length]).unwrap(), (Instant(u64::MAX), event, &[][..]));
    }
}

#[test]
fn an_entry_that_does_not_fit_is_refused() {
    for event in longest() {
        let mut space = [0; MAX_ENTRY];
        let length = write_entry(Instant(u64::MAX), &event, &mut space).unwrap();
        assert_eq!(write_entry(Instant(u64::MAX), &event, &mut space[..length - 1]), None);
        assert_eq!(read_entry(&space[..length - 1]), Err(Unreadable::Damaged), "cut short");
    }
}

#[test]
fn a_snapshot_of_another_format_is_named() {
    let mut bytes = write_snapshot(&rich());
    bytes[0] ^= 0xff;
    assert_eq!(read_snapshot(&bytes), Err(Unreadable::Format(FORMAT ^ 0xff)));
    assert_eq!(read_snapshot(&bytes[..3]), Err(Unreadable::Damaged));
}

/// Any single flipped bit: reading returns. What decodes may be a state that never was, so what it does afterwards is
/// only counted: a damaged snapshot is kept out by whoever stores it.
#[test]
fn a_damaged_snapshot_never_panics_on_read() {
    let bytes = write_snapshot(&rich());
    let (mut refused, mut decoded, mut panicked) = (0, 0, 0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(read) = catch_unwind(|| read_snapshot(&damaged)) else { panic!("bit {bit}: panics on read") };
        match read {
            Err(_) => refused += 1,
            Ok(core) => {
                decoded += 1;
                panicked += usize::from(catch_unwind(AssertUnwindSafe(|| go_on(core))).is_err());
            }
        }
    }
    std::panic::set_hook(hook);
    println!("{} bits: {refused} refused, {decoded} decoded, of which {panicked} panic later", bytes.len() * 8);
    for cut in 0..bytes.len() {
        assert!(read_snapshot(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

fn go_on(mut core: Supervisor) {
    let mut now = Instant(1000);
    let workers: Vec<WorkerId> = core.workers().map(|(worker, _)| worker).collect();
    for worker in workers {
        core.handle(now, Event::Spawned { worker, pid: Pid(1) });
        core.handle(now, Event::Acked { worker, signal: None });
        core.handle(now, Event::Exited { worker, exit: Exit::Code(1) });
    }
    for (seq, verb) in (1..).zip(VERBS) {
        let command = Command::Group { group: GroupId(0), verb, signal: None, slot: None };
        core.handle(now, Event::Request { request: RequestId { client: 2, seq }, command });
        now = core.next_deadline().unwrap_or(now);
        core.handle(now, Event::Deadline);
        while core.poll_action().is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = read_snapshot(&bytes);
        let mut with_format = FORMAT.to_le_bytes().to_vec();
        with_format.extend(&bytes);
        let _ = read_snapshot(&with_format);
        let mut rest = bytes.as_slice();
        while let Ok((_, _, after)) = read_entry(rest) {
            prop_assert!(after.len() < rest.len(), "an entry of no length");
            rest = after;
        }
    }

    #[test]
    fn entries_read_back(entries in prop::collection::vec((any::<u64>(), event()), 0..20)) {
        let mut bytes = Vec::new();
        for (now, event) in &entries {
            let mut space = [0; MAX_ENTRY];
            let length = write_entry(Instant(*now), event, &mut space).expect("fits");
            bytes.extend_from_slice(&space[..length]);
        }
        let mut rest = bytes.as_slice();
        for (now, event) in entries {
            let (read_now, read_event, after) = read_entry(rest).unwrap();
            prop_assert_eq!((read_now, read_event), (Instant(now), event));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_events_at_any_times_are_handled(entries in prop::collection::vec((any::<u64>(), event()), 0..60)) {
        let mut core = rich();
        for (now, event) in entries {
            core.handle(Instant(now), event);
            while core.poll_action().is_some() {}
            let read = read_snapshot(&write_snapshot(&core));
            prop_assert_eq!(read.as_ref(), Ok(&core));
        }
    }
}
