//! What the demo plays, act by act, each under load and each with a check of what it claims. Called by the demo's `main`.
//! An act ends with an error as soon as a claim does not hold; requests that fail are counted, told and do not end it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use firestarter_core::ids::Pid;

use super::load::{Load, CLIENTS};
use super::screen::{summary, Ink, Screen};
use super::stage::{kill, lives, Stage, View, GLANCE, PATIENCE, WORKERS};
use super::worker::BROKEN;
use super::DemoError;
use crate::api::{Answer, Call, Cause, Done, Failure, Order, Outcome, Problem, Trouble, What};

/// What an act lasts at least: time to read, and to see the load before and after.
const ACT: Duration = Duration::from_secs(3);

/// Of which this much before anything is done.
const BEFORE: Duration = Duration::from_millis(800);

/// All that an act needs.
pub(super) struct Play<'a> {
    pub(super) stage: &'a Stage,
    pub(super) screen: &'a Screen,
    pub(super) load: &'a Load,
}

/// Waits until all workers are ready; where they listen.
pub(super) fn opening(stage: &Stage, screen: &Screen) -> Result<SocketAddr, DemoError> {
    let began = Instant::now();
    screen.say(Ink::Title, format_args!("firestarter demo: {WORKERS} workers of its own behind one shared socket"));
    let view = stage.until_ready()?;
    let took = began.elapsed().as_millis();
    let address = view.group.listeners.first().map(|listener| listener.address.as_str()).unwrap_or_default();
    let target = address.parse().map_err(|_| DemoError::claim(format!("status shows no address: {address:?}")))?;
    screen
        .say(Ink::Plain, format_args!("   pids {} on {address}, ready {took} ms after the start", list(&view.pids())));
    screen
        .say(Ink::Plain, format_args!("   load: {CLIENTS} clients without a pause, a new connection for each request"));
    Ok(target)
}

impl Play<'_> {
    /// All acts.
    pub(super) fn all(&self) -> Result<(), DemoError> {
        self.act("1. an upgrade to release 2: its four workers boot while the old ones serve", |_| self.upgrade())?;
        self.act("2. an upgrade to a release that dies: release 3 ends before it is ready", |_| self.bad_upgrade())?;
        self.act("3. kill -9 of a worker", |view| self.kill_worker(view))?;
        self.act("4. kill -9 of the daemon, which started the workers and decides about them", |view| {
            self.kill_daemon(view)
        })
    }

    /// One act with its announcement and its summary.
    fn act(&self, title: &str, play: impl FnOnce(&View) -> Result<(), DemoError>) -> Result<(), DemoError> {
        self.load.begin_act();
        let (began, failed_before) = (Instant::now(), self.load.tally().whole.failed);
        self.screen.say(Ink::Title, format_args!("\n{title}"));
        let view = self.stage.status()?;
        thread::sleep(BEFORE);
        play(&view)?;
        let view = self.stage.status()?;
        thread::sleep(ACT.saturating_sub(began.elapsed()).max(BEFORE));
        self.unchanged_since(&view)?;
        let tally = self.load.tally();
        let ink = if tally.whole.failed > failed_before { Ink::Bad } else { Ink::Plain };
        self.say(ink, summary(&tally.act));
        Ok(())
    }

    fn upgrade(&self) -> Result<(), DemoError> {
        let (log, before) = (self.stage.log_length(), self.stage.status()?);
        self.stage.release("2\n")?;
        let outcome = self.stage.upgrade()?;
        let Outcome::Answer(Answer::Done(Done { what: What::Upgraded { new, old, .. }, .. })) = outcome else {
            return Err(DemoError::claim(format!("the upgrade was not done: {outcome:?}")));
        };
        self.quote(log, &["generation", "serves after"]);
        let after = self.stage.until("the old workers have ended", View::complete)?;
        claim(sorted(old) == before.pids(), || format!("the upgrade replaced others than {}", list(&before.pids())))?;
        claim(sorted(new) == after.pids(), || format!("others than the new workers serve: {}", list(&after.pids())))?;
        let (gone, came) = (before.pids(), after.pids());
        claim(!came.iter().any(|pid| gone.contains(pid)), || format!("not all pids are new: {}", list(&came)))?;
        gone_for_good(&gone)?;
        self.say(Ink::Plain, format_args!("all pids are new: {} became {}", list(&gone), list(&came)));
        self.served_by(2)
    }

    fn bad_upgrade(&self) -> Result<(), DemoError> {
        let (log, before) = (self.stage.log_length(), self.stage.status()?);
        self.stage.release("3 broken\n")?;
        let outcome = self.stage.upgrade()?;
        // What a worker that is respawned later would boot.
        self.stage.release("2\n")?;
        let Outcome::Problem(Problem { trouble: Trouble::Aborted { cause, .. }, .. }) = outcome else {
            return Err(DemoError::claim(format!("the upgrade was not aborted: {outcome:?}")));
        };
        let Cause::Worker { slot, pid: Some(pid), failure: Failure::Exit { exit_code: BROKEN } } = cause else {
            return Err(DemoError::claim(format!("aborted for another reason: {cause:?}")));
        };
        self.quote(log, &["demo-worker: release 3"]);
        self.quote(log, &["upgrade to generation", "aborted"]);
        let after = self.stage.until("the new workers have ended", View::complete)?;
        same_pids(&before, &after)?;
        let why = format!("the new worker in slot {slot} (pid {pid}) ended with exit code {BROKEN}");
        self.say(Ink::Plain, format_args!("aborted, because {why}"));
        self.say(Ink::Plain, format_args!("old pids unchanged: {}", list(&after.pids())));
        self.served_by(2)
    }

    fn kill_worker(&self, before: &View) -> Result<(), DemoError> {
        let log = self.stage.log_length();
        let victim = *before.pids().first().ok_or_else(|| DemoError::claim("there is no worker to kill"))?;
        self.load.forgive_cut();
        let killed = Instant::now();
        kill(victim)?;
        let others = |view: &View| view.pids().into_iter().filter(|pid| *pid != victim).collect::<Vec<_>>();
        let replaced = |view: &View| view.group.workers.iter().filter_map(|w| w.pid).all(|pid| pid != victim);
        let next = |view: &View| replaced(view) && view.group.workers.iter().all(|worker| worker.pid.is_some());
        self.stage.until("the next worker is started", |view| {
            next(view) && view.group.workers.len() == before.group.workers.len()
        })?;
        let started = killed.elapsed().as_millis();
        let after = self.stage.until("the next worker is ready", |view| view.complete() && replaced(view))?;
        let ready = killed.elapsed().as_millis();
        self.quote(log, &[&format!("pid {victim} "), "SIGKILL"]);
        let (stayed, now) = (others(before), after.pids());
        let new: Vec<Pid> = now.iter().copied().filter(|pid| !stayed.contains(pid)).collect();
        let kept = stayed.iter().all(|pid| now.contains(pid));
        claim(kept && new.len() == 1, || format!("{} became {}", list(&before.pids()), list(&now)))?;
        let new = list(&new);
        self.say(Ink::Plain, format_args!("{victim} became {new}: started after {started} ms, ready after {ready} ms"));
        self.say(Ink::Plain, format_args!("the others are unchanged: {}", list(&stayed)));
        self.say(
            Ink::Plain,
            match self.load.tally().act.cut {
                0 => "it had no request in hand; what waited in the shared queue went to the others",
                _ => "cut, as any kill -9 would: the one request it had in hand; the shared queue lost none",
            },
        );
        Ok(())
    }

    fn kill_daemon(&self, before: &View) -> Result<(), DemoError> {
        let (log, dead) = (self.stage.log_length(), before.status.daemon_pid);
        let killed = Instant::now();
        kill(dead)?;
        let after = self.stage.until("another daemon answers", |view| view.status.daemon_pid != dead)?;
        let back = killed.elapsed().as_millis();
        self.quote(log, &["the daemon died"]);
        same_pids(before, &after)?;
        let recoveries = (before.status.recoveries, after.status.recoveries);
        claim(recoveries.1 == recoveries.0 + 1, || format!("recoveries: {} became {}", recoveries.0, recoveries.1))?;
        claim(before.status.keeper_pid == after.status.keeper_pid, || "the keeper is another".to_owned())?;
        let daemon = after.status.daemon_pid;
        self.say(Ink::Plain, format_args!("back in {back} ms: daemon {dead} became {daemon}, and status is answered"));
        self.say(Ink::Plain, format_args!("same worker pids: {}", list(&after.pids())));
        Ok(())
    }

    /// From now on, all requests are answered by that release and by no other.
    fn served_by(&self, release: u32) -> Result<(), DemoError> {
        self.load.mark();
        thread::sleep(BEFORE);
        let releases = self.load.tally().releases;
        let only = releases.keys().copied().eq([release]);
        claim(only, || format!("not release {release} alone has answered (release: answers): {releases:?}"))?;
        self.say(Ink::Plain, format_args!("every request that began since then was answered by release {release}"));
        Ok(())
    }

    /// The workers and the daemon are still those of `before`: the act left nothing that ends later.
    fn unchanged_since(&self, before: &View) -> Result<(), DemoError> {
        let after = self.stage.status()?;
        same_pids(before, &after)?;
        claim(after.status.daemon_pid == before.status.daemon_pid, || "the daemon died after the act".to_owned())
    }

    fn say(&self, ink: Ink, line: impl std::fmt::Display) {
        self.screen.say(ink, format_args!("   {line}"));
    }

    /// Shows what the log says since then with these words.
    fn quote(&self, from: usize, words: &[&str]) {
        if let Some(line) = self.stage.said_since(from, words) {
            self.say(Ink::Quoted, format_args!("| {line}"));
        }
    }
}

/// Stops everything, and checks that it is gone.
pub(super) fn closing(stage: &Stage, screen: &Screen) -> Result<(), DemoError> {
    let view = stage.status()?;
    let outcome = stage.ask(&Call::Do(Order::Shutdown))?;
    let done = matches!(outcome, Outcome::Answer(Answer::Done(Done { what: What::ShutDown, .. })));
    claim(done, || format!("stop: {outcome:?}"))?;
    let ended = stage.ended(PATIENCE);
    claim(ended.is_some_and(|status| status.success()), || match ended {
        Some(status) => format!("firestarter run ended with {status}"),
        None => "firestarter run did not end after it had stopped everything".to_owned(),
    })?;
    let mut all = view.pids();
    all.extend([view.status.daemon_pid, view.status.keeper_pid]);
    gone_for_good(&all)?;
    stage.strike()?;
    screen.say(Ink::Plain, "\nstopped: no process is left, and the demo's folder is removed");
    Ok(())
}

fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), DemoError> {
    if holds {
        return Ok(());
    }
    Err(DemoError::claim(otherwise()))
}

fn same_pids(before: &View, after: &View) -> Result<(), DemoError> {
    let (before, after) = (before.pids(), after.pids());
    claim(before == after, || format!("the workers' pids were {} and are {}", list(&before), list(&after)))
}

/// Waits until none of these processes is left. For a moment after its end a process still has its number, until the
/// keeper reaps it; numbers are not used again so soon.
fn gone_for_good(pids: &[Pid]) -> Result<(), DemoError> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let left: Vec<Pid> = pids.iter().copied().filter(|pid| lives(*pid)).collect();
        if left.is_empty() {
            return Ok(());
        }
        claim(Instant::now() < limit, || format!("still there: {}", list(&left)))?;
        thread::sleep(GLANCE);
    }
}

fn sorted(mut pids: Vec<Pid>) -> Vec<Pid> {
    pids.sort_unstable();
    pids
}

fn list(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    pids.join(" ")
}
