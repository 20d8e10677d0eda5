//! What a reply must say to what was asked.

use std::collections::BTreeMap;

use firestarter_core::action::Action;
use firestarter_core::command::{Command, Done, Failed, Refusal, Reply, Verb};
use firestarter_core::ids::{GroupId, Pid, RequestId, WorkerId};
use firestarter_core::spec::{Ack, GroupSpec};
use firestarter_core::time::Instant;

use crate::checks::{Seen, Wish};

#[derive(Debug)]
pub struct Asked {
    pub command: Command,
    pub at: Instant,
    /// The youngest worker at the time.
    pub newest: Option<WorkerId>,
}

type Crew = BTreeMap<WorkerId, Seen>;

pub fn refused(request: RequestId, actions: &[Action]) -> bool {
    let refusal = |a: &Action| matches!(a, Action::Reply { request: r, reply: Reply::Refused(_) } if *r == request);
    actions.iter().any(refusal)
}

pub fn fits(asked: &Asked, reply: &Reply, seen: &Crew, groups: &[Wish], left_behind: bool) {
    let Command::Group { group, verb, .. } = asked.command else {
        assert!(left_behind || seen.values().all(|worker| worker.ended), "shut down while workers live");
        return assert_eq!(*reply, Reply::Done(Done::ShutDown));
    };
    match reply {
        Reply::Done(done) => done_fits(asked, group, verb, done, seen, &groups[group.0 as usize].spec),
        Reply::Failed(Failed::Superseded { by: None }) if left_behind => {}
        Reply::Failed(failed) => failed_fits(verb, failed, &groups[group.0 as usize]),
        Reply::Refused(Refusal::UnknownGroup) => assert!(group.0 as usize >= groups.len()),
        Reply::Refused(_) => {}
    }
}

fn done_fits(asked: &Asked, group: GroupId, verb: Verb, done: &Done, seen: &Crew, spec: &GroupSpec) {
    let (in_steps, kill_old_delay) = (!spec.max_unavailable.is_none(), spec.kill_old_delay);
    let before = |(id, worker): &(&WorkerId, &Seen)| worker.group == group && asked.newest.is_some_and(|n| **id <= n);
    let gone = || seen.iter().filter(before).all(|(_, worker)| worker.ended);
    match (verb, done) {
        (Verb::Stop, Done::Stopped { .. }) | (Verb::Killall, Done::Killed { .. }) => {
            assert!(gone(), "{verb} is answered while workers live");
        }
        (Verb::Restart, Done::Restarted { new, old }) if in_steps => {
            fresh(new, group, seen);
            if kill_old_delay.is_zero() {
                told(old, seen);
            }
        }
        (Verb::Restart, Done::Restarted { new, old }) => {
            assert!(gone() || old.is_empty(), "restart is answered while old workers live");
            fresh(new, group, seen);
        }
        (Verb::Upgrade, Done::Upgraded { generation, new, old }) => {
            fresh(new, group, seen);
            for pid in new.iter().filter_map(|pid| worker(*pid, seen)) {
                assert_eq!(pid.version.0, *generation, "a new worker of another generation");
            }
            if kill_old_delay.is_zero() {
                told(old, seen);
            }
        }
        // Where all end and then all start, a later rollback may have renewed a slot before the last one started.
        (Verb::Rollback, Done::RolledBack { new, old, .. }) => {
            fresh(new, group, seen);
            if kill_old_delay.is_zero() {
                told(old, seen);
            }
        }
        (Verb::Cancel, Done::Cancelled { .. }) => {}
        (Verb::Start, Done::Started { pids }) => fresh(pids, group, seen),
        (Verb::Inc, Done::Incremented { pid, .. }) => fresh(&[*pid], group, seen),
        (Verb::Signal, Done::Signalled { pids, .. }) => fresh(pids, group, seen),
        (Verb::Dec, Done::Decremented { pid, .. }) => {
            let lives = pid.and_then(|pid| worker(pid, seen)).is_some_and(|worker| !worker.ended);
            assert!(!lives, "dec is answered while its worker lives");
        }
        _ => panic!("{done:?} is no answer to {verb}"),
    }
}

/// The old workers that a reply names were told to go.
fn told(pids: &[Pid], seen: &Crew) {
    let early = pids.iter().filter_map(|pid| worker(*pid, seen)).any(|w| !w.ended && !w.leaving);
    assert!(!early, "an old worker was not told to go");
}

/// The workers that a reply names belong to the group and had a process.
fn fresh(pids: &[Pid], group: GroupId, seen: &Crew) {
    for pid in pids {
        let worker = worker(*pid, seen).expect("a pid of a worker");
        assert!(worker.group == group && worker.spawned.is_some(), "pid {pid} is none of this group");
    }
}

/// The world gives pids by the ids of workers.
fn worker(pid: Pid, seen: &Crew) -> Option<&Seen> {
    seen.iter().find(|(id, _)| id.ordinal() == u64::from(pid.0) - 1000).map(|(_, worker)| worker)
}

fn failed_fits(verb: Verb, failed: &Failed, wish: &Wish) {
    let fits = match failed {
        Failed::NotStarted { .. } => match verb {
            // A rollback may find all workers ending, and then waits for the start of all.
            Verb::Start | Verb::Restart | Verb::Inc | Verb::Rollback => true,
            Verb::Upgrade => wish.spec.ack == Ack::None,
            Verb::Stop | Verb::Dec | Verb::Killall | Verb::Signal | Verb::Cancel => false,
        },
        Failed::Upgrader { .. } => verb == Verb::Upgrade && wish.spec.upgrader.is_some(),
        Failed::Aborted { .. } => match verb {
            Verb::Restart => !wish.spec.max_unavailable.is_none(),
            verb => matches!(verb, Verb::Upgrade | Verb::Rollback),
        },
        Failed::Superseded { .. } => {
            matches!(verb, Verb::Start | Verb::Restart | Verb::Inc | Verb::Upgrade | Verb::Rollback)
        }
    };
    assert!(fits, "{failed:?} is no answer to {verb}");
}
