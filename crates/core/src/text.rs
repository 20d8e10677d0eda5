//! Events, actions, replies and notices in one line each: what `replay` prints, the transcript of a story, the log of a
//! failed simulation. Nothing decides by these words.

mod state;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::action::{Action, Next, Notice, Spent};
use crate::command::{AbortCause, Command, Done, Failed, Refusal, Reply, Verb};
use crate::event::{Answer, Event, Exit, Failure, HookKind};
use crate::ids::{GroupId, Pid, RequestId, Slot, WorkerId};
use crate::supervisor::Supervisor;
use crate::time::Duration;
pub use state::state_lines;

/// What ids are called. A worker is learnt from the action that spawns it and is remembered after its end.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The groups, in the order of the configuration.
    pub groups: Vec<String>,
    /// The workers.
    pub places: BTreeMap<WorkerId, (GroupId, Slot)>,
    /// The hooks.
    pub hooks: BTreeMap<WorkerId, GroupId>,
}

impl Names {
    /// Of these groups, which have no workers yet.
    pub fn new(groups: Vec<String>) -> Names {
        Names { groups, ..Names::default() }
    }

    /// Of what a state knows already.
    pub fn of(core: &Supervisor) -> Names {
        let place = |id| core.worker(id).map(|(group, slot, _, _)| (id, (group, slot)));
        Names {
            groups: core.group_names().map(String::from).collect(),
            places: core.workers().filter_map(|(id, _)| place(id)).collect(),
            hooks: core.hooks().collect(),
        }
    }

    /// Takes in who is to be spawned.
    pub fn learn(&mut self, action: &Action) {
        if let Action::Spawn { worker, group, slot, .. } = action {
            self.places.insert(*worker, (*group, *slot));
        }
        if let Action::RunHook { hook, group, .. } = action {
            self.hooks.insert(*hook, *group);
        }
    }

    /// What a group is called.
    pub fn group(&self, group: GroupId) -> String {
        self.groups.get(group.0 as usize).cloned().unwrap_or_else(|| format!("group {group}"))
    }

    /// What a worker or a hook is called.
    pub fn worker(&self, worker: WorkerId) -> String {
        match self.places.get(&worker) {
            Some((group, slot)) => format!("{}/{slot} #{worker}", self.group(*group)),
            None => match self.hooks.get(&worker) {
                Some(group) => format!("{}/hook #{worker}", self.group(*group)),
                None => format!("#{worker}"),
            },
        }
    }

    fn place(&self, group: GroupId, slot: Slot) -> String {
        format!("{}/{slot}", self.group(group))
    }

    /// What has happened.
    pub fn event(&self, event: &Event) -> String {
        match event {
            Event::Begin => "begin".into(),
            Event::Spawned { worker, pid } => format!("spawned {} pid {pid}", self.worker(*worker)),
            Event::SpawnFailed { worker, error } => {
                format!("spawn failed {}: {:?} errno {}", self.worker(*worker), error.step, error.errno)
            }
            Event::Exited { worker, exit } => format!("exited {} {}", self.worker(*worker), exit_text(*exit)),
            Event::Acked { worker, signal: None } => format!("acked {}", self.worker(*worker)),
            Event::Acked { worker, signal: Some(signal) } => format!("acked {} {signal}", self.worker(*worker)),
            Event::Looked { worker, mark, ago } => {
                format!("looked {} mark {mark}, {} ago", self.worker(*worker), duration_text(*ago))
            }
            Event::Notified { worker, said } => format!("notified {} {said:?}", self.worker(*worker)),
            Event::Probed { worker, answer } => format!("probed {} {}", self.worker(*worker), answer_text(*answer)),
            Event::Measured { group, fits } => format!("measured {}: {fits} fit", self.group(*group)),
            Event::Heavy { worker, bytes } => format!("heavy {} {bytes} bytes", self.worker(*worker)),
            Event::Program { group, print, changed } => {
                let what = if *changed { "changed to" } else { "is" };
                format!("program {} {what} {print}", self.group(*group))
            }
            Event::Connection { group } => format!("connection {}", self.group(*group)),
            Event::Request { request, command } => {
                format!("request {} {}", request_text(*request), self.command(command))
            }
            Event::StopSignal { signal, nth, with } => {
                let with = with.map_or(String::new(), |with| format!(", workers get {with}"));
                format!("stop signal {signal}, number {nth}{with}")
            }
            Event::Order { signal, nth, command } => {
                format!("order {signal}, number {nth}: {}", self.command(command))
            }
            Event::Deadline => "deadline".into(),
        }
    }

    fn command(&self, command: &Command) -> String {
        match command {
            Command::Group { group, verb, signal, slot } => {
                let slot = slot.map_or(String::new(), |slot| format!("/{slot}"));
                let signal = signal.map_or(String::new(), |signal| format!(" {signal}"));
                format!("{verb} {}{slot}{signal}", self.group(*group))
            }
            Command::Shutdown => "shutdown".into(),
        }
    }

    /// What is asked of the shell.
    pub fn action(&self, action: &Action) -> String {
        match action {
            Action::Spawn { worker, generation, edition, .. } => {
                let edition = if edition.0 == generation.0 { String::new() } else { format!(" edition {edition}") };
                format!("spawn {} generation {generation}{edition}", self.worker(*worker))
            }
            Action::Probe { worker } => format!("probe {}", self.worker(*worker)),
            Action::Measure { group } => format!("measure {}", self.group(*group)),
            Action::Weigh { group, limit } => format!("weigh {} against {limit}", self.group(*group)),
            Action::Discard { group, from } => format!("discard {} from slot {from}", self.group(*group)),
            Action::RunHook { hook, kind, pids, .. } => {
                format!("run {} {} for {}", self.worker(*hook), hook_text(*kind), pids_text(pids))
            }
            Action::Tell { worker, signal } => format!("tell {} {signal}", self.worker(*worker)),
            Action::Look { worker } => format!("look {}", self.worker(*worker)),
            Action::WatchProgram { group, known } => {
                let known = known.map_or("what is there".into(), |print| print.to_string());
                format!("watch program {} against {known}", self.group(*group))
            }
            Action::Signal { worker, signal, uncaught } => {
                let instead = uncaught.map(|s| format!(", {s} if uncaught")).unwrap_or_default();
                format!("signal {} {signal}{instead}", self.worker(*worker))
            }
            Action::Kill { worker } => format!("kill {}", self.worker(*worker)),
            Action::Watch { group, on: true } => format!("watch {}", self.group(*group)),
            Action::Watch { group, on: false } => format!("unwatch {}", self.group(*group)),
            Action::Reply { request, reply } => format!("reply {} {}", request_text(*request), reply_text(reply)),
            Action::Notice(notice) => format!("notice {}", self.notice(notice)),
            Action::Halt { code } => format!("halt {code}"),
        }
    }

    fn notice(&self, notice: &Notice) -> String {
        match notice {
            Notice::WorkerExited { group, slot, pid, failure, next } => {
                format!("{} pid {pid} {}; {}", self.place(*group, *slot), failure_text(*failure), next_text(*next))
            }
            Notice::NotSpawned { group, slot, failure, next } => {
                format!("{} not spawned: {}; {}", self.place(*group, *slot), failure_text(*failure), next_text(*next))
            }
            Notice::Silent { group, slot, pid, silence } => {
                let place = self.place(*group, *slot);
                format!("{place} {} silent for {}, killed", pid_text(*pid), duration_text(*silence))
            }
            Notice::GaveUp { group } => format!("{} gave up", self.group(*group)),
            Notice::ProgramChanged { group } => format!("{} program changed", self.group(*group)),
            Notice::HookBegan { group, kind, pid } => {
                format!("{} {} began, pid {pid}", self.group(*group), hook_text(*kind))
            }
            Notice::HookEnded { group, kind, failure } => {
                let how = failure.map_or("well".into(), failure_text);
                format!("{} {} ended: {how}", self.group(*group), hook_text(*kind))
            }
            Notice::KillingAll { signal, workers } => {
                let why = signal.map_or("time is over".into(), |signal| signal.to_string());
                format!("killing all, {why}, {workers} workers")
            }
            Notice::LeftBehind { processes } => format!("{processes} left behind"),
            Notice::ExitWhen { group: None } => "exit: all are done".into(),
            Notice::ExitWhen { group: Some(group) } => format!("exit: {} has failed", self.group(*group)),
            Notice::Overdue { group, slot, pid } => {
                format!("{} {} overdue, killed", self.place(*group, *slot), pid_text(*pid))
            }
            Notice::Unwell { group, slot, pid, failure } => {
                format!("{} {} {}", self.place(*group, *slot), pid_text(*pid), failure_text(*failure))
            }
            Notice::Replacing { group, slot, pid, why } => {
                format!("replacing {} {}: {}", self.place(*group, *slot), pid_text(*pid), spent_text(*why))
            }
            Notice::NotReplaced { group, slot, cause, again } => {
                let (place, again) = (self.place(*group, *slot), duration_text(*again));
                format!("{place} not replaced: {}; again in {again}", cause_text(cause))
            }
            Notice::Limited { group, at_a_time, workers } => {
                format!("{} limited to {at_a_time} of {workers} at a time", self.group(*group))
            }
            Notice::BatchCommitted { group, generation, done, workers } => {
                format!("{} {done} of {workers} are generation {generation}", self.group(*group))
            }
            Notice::RolloutBegan { group, verb, generation, workers } => {
                let what = if *verb == Verb::Upgrade { "rollout" } else { verb.word() };
                format!("{} {what} of generation {generation} began, {workers} workers", self.group(*group))
            }
            Notice::RolloutCommitted { group, verb: _, generation, took } => {
                format!("{} generation {generation} committed after {}", self.group(*group), duration_text(*took))
            }
            Notice::RolloutAborted { group, verb: _, generation, committed, workers, cause } => {
                let kept = kept_text(*committed, *workers);
                format!("{} generation {generation} aborted{kept}: {}", self.group(*group), cause_text(cause))
            }
            Notice::GroupEnded { group, watched: true } => format!("{} ended, will be watched", self.group(*group)),
            Notice::GroupEnded { group, watched: false } => format!("{} ended", self.group(*group)),
            Notice::GroupActivated { group } => format!("{} activated", self.group(*group)),
            Notice::ShuttingDown { signal: None, workers } => format!("shutting down, {workers} workers"),
            Notice::ShuttingDown { signal: Some(signal), workers } => {
                format!("shutting down by {signal}, {workers} workers")
            }
        }
    }
}

fn hook_text(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Stop => "stop hook",
        HookKind::Upgrader => "upgrader",
        HookKind::Probe { .. } => "probe",
    }
}

/// Which request.
pub fn request_text(request: RequestId) -> String {
    format!("r{}", request.seq)
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Done(done) => done_text(done),
        Reply::Failed(Failed::NotStarted { slot, failure }) => {
            format!("failed: slot {slot} not started: {}", failure_text(*failure))
        }
        Reply::Failed(Failed::Aborted { generation, committed, workers, cause }) => {
            let kept = kept_text(*committed, *workers);
            format!("failed: generation {generation} aborted{kept}: {}", cause_text(cause))
        }
        Reply::Failed(Failed::Upgrader { failure }) => format!("failed: upgrader {}", failure_text(*failure)),
        Reply::Failed(Failed::Superseded { by }) => format!("failed: superseded by {}", by_text(*by)),
        Reply::Refused(refusal) => format!("refused: {}", refusal_text(*refusal)),
    }
}

fn kept_text(committed: u32, workers: u32) -> String {
    if committed == 0 {
        String::new()
    } else {
        format!(", {committed} of {workers} stay")
    }
}

fn done_text(done: &Done) -> String {
    match done {
        Done::Started { pids } => format!("started {}", pids_text(pids)),
        Done::Stopped { signal, pids } => {
            let by = signal.map_or("the hook".into(), |signal| signal.to_string());
            format!("stopped {} with {by}", pids_text(pids))
        }
        Done::Signalled { signal, pids } => format!("told {} {signal}", pids_text(pids)),
        Done::Restarted { new, old } => format!("restarted {} for {}", pids_text(new), pids_text(old)),
        Done::Upgraded { generation, new, old } => {
            format!("upgraded to generation {generation}: {} for {}", pids_text(new), pids_text(old))
        }
        Done::RolledBack { generation, new, old } => {
            format!("rolled back to generation {generation}: {} for {}", pids_text(new), pids_text(old))
        }
        Done::Cancelled { generation, committed, workers } => {
            format!("cancelled{}, generation {generation} serves", kept_text(*committed, *workers))
        }
        Done::Incremented { pid, count } => format!("incremented to {count} by pid {pid}"),
        Done::Decremented { pid, count } => format!("decremented to {count}, {} gone", pid_text(*pid)),
        Done::Killed { pids } => format!("killed {}", pids_text(pids)),
        Done::ShutDown => "shut down".into(),
    }
}

fn refusal_text(refusal: Refusal) -> String {
    match refusal {
        Refusal::UnknownGroup => "unknown group".into(),
        Refusal::NotRunning => "not running".into(),
        Refusal::AtLeastOne => "at least one".into(),
        Refusal::AtMost(most) => format!("at most {most}"),
        Refusal::NoSignal(verb) => format!("{verb} takes no signal"),
        Refusal::SignalMissing(verb) => format!("{verb} wants a signal"),
        Refusal::WholeGroup(verb) => format!("{verb} is for the whole group"),
        Refusal::NoWorker(slot) => format!("nobody in slot {slot}"),
        Refusal::NothingBefore => "nothing before".into(),
        Refusal::NothingToCancel => "nothing to cancel".into(),
        Refusal::ShuttingDown => "shutting down".into(),
    }
}

fn cause_text(cause: &AbortCause) -> String {
    match cause {
        AbortCause::Worker { slot, pid, failure } => {
            format!("slot {slot} {} {}", pid_text(*pid), failure_text(*failure))
        }
        AbortCause::Timeout { slot, pid, unready, answer } => {
            let answer = answer.map_or(String::new(), |answer| format!(", answered {}", answer_text(answer)));
            format!("timeout, {unready} unready, first slot {slot} {}{answer}", pid_text(*pid))
        }
        AbortCause::Unhealthy { slot, pid, answer } => {
            format!("slot {slot} {} unhealthy: {}", pid_text(*pid), answer_text(*answer))
        }
        AbortCause::Command { by } => format!("by {}", by_text(*by)),
    }
}

fn by_text(by: Option<Verb>) -> &'static str {
    by.map_or("shutdown", Verb::word)
}

fn next_text(next: Next) -> String {
    match next {
        Next::Respawn(delay) if delay.is_zero() => "respawn at once".into(),
        Next::Respawn(delay) => format!("respawn in {}", duration_text(delay)),
        Next::Nothing => "no respawn".into(),
        Next::GiveUp { times, within } => format!("given up after {times} in {}", duration_text(within)),
        Next::Replaced => "replaced".into(),
        Next::Abort => "abort".into(),
    }
}

/// How a worker or a hook failed.
pub fn failure_text(failure: Failure) -> String {
    match failure {
        Failure::Exit(exit) => exit_text(exit),
        Failure::Silent(silence) => format!("silent for {}", duration_text(silence)),
        Failure::Watchdog(silence) => format!("watchdog silent for {}", duration_text(silence)),
        Failure::Unwell => "unwell".into(),
        Failure::Spawn(error) => format!("{:?} errno {}", error.step, error.errno),
    }
}

fn answer_text(answer: Answer) -> String {
    match answer {
        Answer::Status(status) => format!("status {status}"),
        Answer::Unreachable(errno) => format!("unreachable, errno {errno}"),
        Answer::Command(failure) => format!("command {}", failure_text(failure)),
        Answer::Good | Answer::Garbled | Answer::Closed | Answer::Late => format!("{answer:?}").to_lowercase(),
    }
}

fn spent_text(why: Spent) -> String {
    match why {
        Spent::Age(age) => format!("{} old", duration_text(age)),
        Spent::Memory(bytes) => format!("{bytes} bytes"),
        Spent::Unhealthy(answer) => format!("unhealthy: {}", answer_text(answer)),
    }
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal, false) => format!("{signal}"),
        Exit::Signal(signal, true) => format!("{signal} with core"),
        Exit::Unknown => "exit unknown".into(),
    }
}

fn pid_text(pid: Option<Pid>) -> String {
    pid.map_or("no pid".into(), |pid| format!("pid {pid}"))
}

fn pids_text(pids: &[Pid]) -> String {
    if pids.is_empty() {
        return "nobody".into();
    }
    pids.iter().map(Pid::to_string).collect::<Vec<_>>().join("+")
}

/// Whole milliseconds: the jitter of delays below that is nobody's business.
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms >= 1000 && ms % 100 == 0 {
        format!("{}s", ms as f64 / 1000.0)
    } else {
        format!("{ms}ms")
    }
}
