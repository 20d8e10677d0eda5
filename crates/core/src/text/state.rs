//! A whole state in lines: what `replay` ends with, and the `status` of a story.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{duration_text, failure_text, pid_text};
use crate::supervisor::Supervisor;
use crate::time::Instant;
use crate::view::{GroupView, WorkerView};

/// A whole state, a line a group and a worker.
pub fn state_lines(core: &Supervisor, now: Instant) -> Vec<String> {
    let of_group = |view: GroupView| {
        let workers = view.workers.iter().map(|worker| worker_line(&view.name, worker)).collect::<Vec<_>>();
        [group_line(&view)].into_iter().chain(workers)
    };
    core.view(now).groups.into_iter().flat_map(of_group).collect()
}

fn worker_line(group: &str, worker: &WorkerView) -> String {
    let (slot, pid, generation) = (worker.slot, pid_text(worker.pid), worker.generation);
    let stage = format!("{:?}", worker.stage).to_lowercase();
    let condition = worker.condition.map_or(String::new(), |condition| format!(" {condition:?}"));
    format!("  {group}/{slot} {pid} generation {generation} {stage} {}{condition}", duration_text(worker.uptime))
}

fn group_line(view: &GroupView) -> String {
    let phase = format!("{:?}", view.phase).to_lowercase();
    let mut text = format!("{} {phase} {}/{} generation {}", view.name, view.ready, view.wanted, view.generation);
    if view.restarts > 0 {
        text.push_str(&format!(", {} restarts", view.restarts));
    }
    if let Some((failure, ago)) = view.last_failure {
        text.push_str(&format!(", last failure {} {} ago", failure_text(failure), duration_text(ago)));
    }
    if let Some(up) = view.gave_up {
        text.push_str(&format!(", gave up after {} in {}", up.times, duration_text(up.within)));
    }
    if let Some(hook) = view.hook {
        text.push_str(&format!(", {hook:?} hook runs"));
    }
    if let Some(rollout) = view.rollout {
        text.push_str(&format!(", rollout of {} {}/{}", rollout.generation, rollout.ready, rollout.wanted));
        let (spawned, committed, retired) = (rollout.spawned, rollout.committed, rollout.retired);
        let awaits = format!("{:?}", rollout.awaits).to_lowercase();
        text.push_str(&format!(" ({spawned} spawned, {committed} committed, {retired} retired, awaits {awaits})"));
    }
    text
}
