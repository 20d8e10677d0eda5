//! Notices as lines for people. What a group could not start is named as the configuration has it, since who reads the
//! line has seen neither.

use std::time::Duration;

use firestarter_core::action::{Next, Notice, Spent};
use firestarter_core::command::{AbortCause, Verb};
use firestarter_core::event::{Answer, Exit, Failure, HookKind, SpawnError, SpawnStep};
use firestarter_core::ids::{Generation, GroupId, Pid, Slot};
use firestarter_core::spec::Signal;

use crate::config::{Group, Health, Launch, Output};
use crate::say::{plain_errno, say};

/// Says what happened in these groups.
pub(super) fn tell(notice: &Notice, groups: &[Group]) {
    let of = |group: GroupId| groups.get(group.0 as usize);
    let name = |group: GroupId| of(group).map_or("", |group| group.spec.name.as_str());
    let describe = |failure: &Failure, group, hook| describe(failure, of(group).map(|group| &group.launch), hook);
    let line = match notice {
        Notice::WorkerExited { group, slot, pid, failure, next } => {
            let (ended, next) = (describe(failure, *group, None), describe_next(*next));
            format!("{}/{slot}: pid {pid} {ended}; {next}", name(*group))
        }
        Notice::NotSpawned { group, slot, failure, next } => {
            let failed = describe(failure, *group, None);
            format!("{}/{slot}: {failed}; {}", name(*group), describe_next(*next))
        }
        Notice::Silent { group, slot, pid, silence } => {
            let (of, silence) = (name(*group), seconds(*silence));
            format!("{of}/{slot}: {} gave no sign of life for {silence} and gets SIGKILL", worker(*slot, *pid))
        }
        Notice::GaveUp { group } => format!("{0}: gave up; to try again: firestarter ctrl {0} start", name(*group)),
        Notice::ProgramChanged { group } => format!("{}: its program has changed", name(*group)),
        Notice::HookBegan { group, kind, pid } => format!("{}: {} runs, pid {pid}", name(*group), hook_key(*kind)),
        Notice::HookEnded { group, kind, failure } => {
            let how = failure.map(|failure| describe(&failure, *group, Some(*kind)));
            format!("{}: {} {}", name(*group), hook_key(*kind), how.as_deref().unwrap_or(DONE))
        }
        Notice::Overdue { group, slot, pid } => {
            format!("{}/{slot}: {} did not end in time and gets SIGKILL", name(*group), worker(*slot, *pid))
        }
        Notice::Unwell { group, slot, pid, failure } => {
            let (worker, why) = (worker(*slot, *pid), describe(failure, *group, None));
            format!("{}/{slot}: {worker} {why} and gets SIGABRT", name(*group))
        }
        Notice::Replacing { group, slot, pid, why } => {
            let why = describe_spent(why, |failure| describe(failure, *group, None));
            format!("{}/{slot}: {} {why}; starting its successor", name(*group), worker(*slot, *pid))
        }
        Notice::NotReplaced { group, slot, cause, again } => {
            let (cause, again) = (describe_abort(cause, |failure| describe(failure, *group, None)), seconds(*again));
            format!("{}/{slot}: not replaced: {cause}; it serves on, next try in {again}", name(*group))
        }
        Notice::Limited { group, at_a_time, workers } => {
            format!("{}: the memory holds {at_a_time} of {workers} new workers at a time", name(*group))
        }
        Notice::BatchCommitted { group, done, workers, .. } => {
            format!("{}: {done} of {workers} workers are new", name(*group))
        }
        Notice::RolloutBegan { group, verb, generation, workers } => {
            format!("{}: {}", name(*group), began(*verb, *generation, *workers))
        }
        Notice::RolloutCommitted { group, verb: _, generation, took } => {
            let (group, took) = (name(*group), seconds(*took));
            format!("{group}: generation {generation} serves after {took}; the old workers drain")
        }
        Notice::RolloutAborted { group, verb, generation, committed, workers, cause } => {
            let after = after_abort(name(*group), *verb, cause, (*committed, *workers));
            let cause = describe_abort(cause, |failure| describe(failure, *group, None));
            format!("{}: {}: {cause}{after}", name(*group), aborted(*verb, *generation))
        }
        Notice::GroupEnded { group, watched } => {
            format!("{}: all workers have ended; {}", name(*group), after_the_end(*watched))
        }
        Notice::GroupActivated { group } => format!("{}: started by a connection", name(*group)),
        Notice::ShuttingDown { signal, workers } => stopping(*signal, *workers),
        Notice::KillingAll { signal, workers } => killing(*signal, *workers),
        Notice::LeftBehind { processes } => format!("{processes} processes cannot be killed and stay behind"),
        Notice::ExitWhen { group } => format!("{}, and --exit-when says to end then", reason_to_exit(group.map(name))),
    };
    say(format_args!("{line}"));
}

/// A hook's end without a failure.
const DONE: &str = "ended with exit code 0";

fn began(verb: Verb, generation: Generation, workers: u32) -> String {
    match verb == Verb::Restart {
        true => format!("restart: replacing {} step by step", so_many(workers, "worker")),
        false => format!("{verb} to generation {generation}: starting {}", so_many(workers, "new worker")),
    }
}

fn aborted(verb: Verb, generation: Generation) -> String {
    match verb == Verb::Restart {
        true => "restart aborted".to_owned(),
        false => format!("{verb} to generation {generation} aborted"),
    }
}

/// What is there after an abort. What becomes of the workers by another command is for that to say.
fn after_abort(group: &str, verb: Verb, cause: &AbortCause, (committed, workers): (u32, u32)) -> String {
    match (cause, committed) {
        (AbortCause::Command { by }, _) if *by != Some(Verb::Cancel) => String::new(),
        (_, 0) if verb == Verb::Restart => "; all slots run what they ran before".to_owned(),
        (_, 0) => "; the old workers serve on".to_owned(),
        (_, new) => {
            let are = if new == 1 { "is new and stays" } else { "are new and stay" };
            format!("; {new} of {workers} workers {are}; to take that back: firestarter ctrl {group} rollback")
        }
    }
}

fn after_the_end(watched: bool) -> &'static str {
    match watched {
        true => "the next connection starts them again",
        false => "the group is stopped",
    }
}

fn reason_to_exit(group: Option<&str>) -> String {
    group.map_or_else(|| "all groups are done".to_owned(), |group| format!("{group} has failed"))
}

fn stopping(signal: Option<Signal>, workers: u32) -> String {
    let why = signal.map_or_else(String::new, |signal| format!("{signal}: "));
    let all = if workers > 1 { "all " } else { "" };
    format!("{why}stopping {all}{}", so_many(workers, "worker"))
}

fn killing(signal: Option<Signal>, workers: u32) -> String {
    let why = signal.map_or_else(|| "the time for stopping is over".to_owned(), |signal| format!("{signal} once more"));
    format!("{why}: killing what is left: {}", so_many(workers, "worker"))
}

/// So many of a thing.
fn so_many(count: u32, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

fn worker(slot: Slot, pid: Option<Pid>) -> String {
    match pid {
        Some(pid) => format!("pid {pid}"),
        None => format!("the worker in slot {slot}"),
    }
}

/// How a worker failed, or a hook.
fn describe(failure: &Failure, launch: Option<&Launch>, hook: Option<HookKind>) -> String {
    match failure {
        Failure::Exit(Exit::Code(code)) => format!("ended with exit code {code}"),
        Failure::Exit(Exit::Signal(signal, false)) => format!("was ended by {signal}"),
        Failure::Exit(Exit::Signal(signal, true)) => format!("was ended by {signal} and left a core"),
        Failure::Exit(Exit::Unknown) => "ended".to_owned(),
        Failure::Silent(silence) => format!("was killed after {} without a sign of life", seconds(*silence)),
        Failure::Watchdog(silence) => format!("did not say for {} that it is well", seconds(*silence)),
        Failure::Unwell => "said that it is not well".to_owned(),
        Failure::Spawn(SpawnError { step, errno }) => {
            let what = launch.map_or_else(String::new, |launch| object(*step, launch, hook));
            let step = match step {
                SpawnStep::Prepare => "prepare its start",
                SpawnStep::Clone => "create a process",
                SpawnStep::Directory => "enter its working directory",
                SpawnStep::Setup => "set up user, limits or descriptors",
                SpawnStep::Exec => "run its program",
                SpawnStep::Watch => "watch its process",
            };
            format!("not started: {step}{what}: {}", plain_errno(*errno))
        }
    }
}

/// What a step failed with, behind a blank, if the configuration names it.
fn object(step: SpawnStep, launch: &Launch, hook: Option<HookKind>) -> String {
    match step {
        SpawnStep::Exec => {
            let command = match hook {
                None => Some(&launch.exec),
                Some(HookKind::Stop) => launch.exec_stop.as_ref(),
                Some(HookKind::Upgrader) => launch.upgrader.as_ref(),
                Some(HookKind::Probe { .. }) => match &launch.health {
                    Some(Health::Command(command)) => Some(command),
                    Some(Health::Http { .. } | Health::Tcp(_)) | None => None,
                },
            };
            command.and_then(|words| words.first()).map_or_else(String::new, |program| format!(" {program}"))
        }
        SpawnStep::Directory if matches!(hook, None | Some(HookKind::Probe { .. })) => {
            format!(" {}", launch.working_directory.display())
        }
        SpawnStep::Prepare if hook.is_none() => {
            let logs = [("stdout_log", &launch.stdout), ("stderr_log", &launch.stderr)];
            let named = logs.into_iter().filter_map(|(key, output)| match output {
                Output::File(log) => Some(format!("{key} {}", log.path.display())),
                Output::PassOn(_) | Output::Null => None,
            });
            let named = named.collect::<Vec<_>>().join(", ");
            if named.is_empty() {
                named
            } else {
                format!(" ({named})")
            }
        }
        SpawnStep::Prepare | SpawnStep::Clone | SpawnStep::Directory | SpawnStep::Setup | SpawnStep::Watch => {
            String::new()
        }
    }
}

fn describe_next(next: Next) -> String {
    match next {
        Next::Respawn(Duration::ZERO) => "respawning at once".to_owned(),
        Next::Respawn(delay) => format!("respawning in {}", seconds(delay)),
        Next::Nothing => "not respawned".to_owned(),
        Next::GiveUp { times, within } => format!("given up after {times} failures in {}", seconds(within)),
        Next::Replaced => "its successor has its place".to_owned(),
        Next::Abort => "the upgrade is aborted".to_owned(),
    }
}

fn describe_abort(cause: &AbortCause, describe: impl Fn(&Failure) -> String) -> String {
    match cause {
        AbortCause::Worker { slot, pid, failure } => {
            format!("{} (new, slot {slot}) {}", worker(*slot, *pid), describe(failure))
        }
        AbortCause::Timeout { slot, pid, unready, answer } => {
            let first = worker(*slot, *pid);
            let answer =
                answer.map_or_else(String::new, |answer| format!(", whose probe {}", probed(&answer, describe)));
            format!(
                "{} had not acked within start_timeout, the first of them {first}, slot {slot}{answer}",
                so_many(*unready, "new worker")
            )
        }
        AbortCause::Unhealthy { slot, pid, answer } => {
            format!("{} (new, slot {slot}) is unhealthy: its probe {}", worker(*slot, *pid), probed(answer, describe))
        }
        AbortCause::Command { by: Some(verb) } => format!("{verb} came in between"),
        AbortCause::Command { by: None } => "Firestarter is being stopped".to_owned(),
    }
}

fn describe_spent(why: &Spent, describe: impl Fn(&Failure) -> String) -> String {
    match why {
        Spent::Age(age) => format!("is {} old", seconds(*age)),
        Spent::Memory(bytes) => format!("has {} MiB in memory", bytes >> 20),
        Spent::Unhealthy(answer) => format!("is unhealthy: its probe {}", probed(answer, describe)),
    }
}

/// What a worker answered when it was asked whether it serves.
fn probed(answer: &Answer, describe: impl Fn(&Failure) -> String) -> String {
    match answer {
        Answer::Good => "succeeded".to_owned(),
        Answer::Status(status) => format!("got HTTP status {status}"),
        Answer::Unreachable(errno) => format!("got: {}", plain_errno(*errno)),
        Answer::Garbled => "got an answer that is no HTTP".to_owned(),
        Answer::Closed => "got no answer before the connection was closed".to_owned(),
        Answer::Late => "got no answer in time".to_owned(),
        Answer::Command(failure) => describe(failure),
    }
}

/// The configuration's key of a hook.
fn hook_key(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Stop => "exec_stop",
        HookKind::Upgrader => "upgrader",
        HookKind::Probe { .. } => "health.command",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
