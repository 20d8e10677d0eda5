//! How the processes of the simulated world behave: they boot, ack, crash, ignore signals and hang, as badly as their
//! group's temper says.

use std::collections::BTreeSet;

use firestarter_core::event::{Answer, Event, Exit, HookKind, Said, SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, WorkerId};
use firestarter_core::spec::{Ack, Signal};
use firestarter_core::time::Duration;

use crate::plan::Temper;
use crate::world::{Process, World};

impl World {
    pub fn spawn(&mut self, worker: WorkerId, group: GroupId) {
        let temper = self.tempers[group.0 as usize];
        let takes = match () {
            () if self.rng.chance(temper.spawn_hangs) => self.rng.within(200_000),
            () if self.rng.chance(temper.spawn_slow) => self.rng.within(2_000),
            () => self.rng.within(30),
        };
        let stubborn = self.rng.chance(temper.stubborn);
        let unkillable = self.rng.chance(temper.unkillable);
        let silent = self.rng.chance(temper.silent);
        let (sick, fat) = (self.rng.chance(temper.sick), self.rng.chance(temper.fat));
        let process = Process { stubborn, unkillable, silent, sick, fat, ..Process::of(group) };
        assert!(self.processes.insert(worker, process).is_none(), "spawned twice");
        if self.rng.chance(temper.spawn_fails) {
            let error = SpawnError { step: SpawnStep::Exec, errno: 2 };
            self.plan(takes, Event::SpawnFailed { worker, error });
            return;
        }
        let pid = Pid(1000 + worker.ordinal() as u32);
        let place = self.plan(takes, Event::Spawned { worker, pid });
        self.processes.get_mut(&worker).unwrap().spawned = Some(place);
        if self.specs[group.0 as usize].ack == Ack::Manual || self.rng.chance(50) {
            self.plan_ack(worker, takes, temper);
        }
        if let Some(timeout) = self.specs[group.0 as usize].watchdog {
            self.plan(takes + timeout / 2, Event::Notified { worker, said: Said::Well });
        }
        self.plan_words(worker, takes);
        if self.rng.chance(temper.crashes) {
            let lives = self.rng.pick(&[1, 100, 20_000]);
            let lives = self.rng.within(lives);
            let exit = self.rng.pick(&[Exit::Code(0), Exit::Code(1), Exit::Signal(Signal::QUIT, true), Exit::Unknown]);
            self.plan_exit(worker, takes + lives, exit);
        }
    }

    /// What a worker says of itself now and then.
    fn plan_words(&mut self, worker: WorkerId, takes: Duration) {
        if self.rng.chance(100) {
            let extend = Said::Extend(self.rng.within(5_000));
            let said = self.rng.pick(&[Said::Reloading, Said::Stopping, Said::Unwell, extend]);
            let after = takes + self.rng.within(3_000);
            self.plan(after, Event::Notified { worker, said });
        }
    }

    /// Who says that it is well says so again.
    pub fn plan_well(&mut self, event: &Event) {
        let Event::Notified { worker, said: Said::Well } = *event else { return };
        let Some(process) = self.processes.get(&worker).filter(|process| !process.silent) else { return };
        if let Some(timeout) = self.specs[process.group.0 as usize].watchdog {
            self.plan(timeout / 2, *event);
        }
    }

    /// A connection asks a worker.
    pub fn probe(&mut self, worker: WorkerId) {
        let Some(sick) = self.processes.get(&worker).map(|process| process.sick) else { return };
        let bad = [Answer::Status(500), Answer::Late, Answer::Unreachable(111), Answer::Garbled];
        let answer = if sick { self.rng.pick(&bad) } else { Answer::Good };
        let after = self.rng.within(900);
        self.plan(after, Event::Probed { worker, answer });
    }

    /// A command asks a worker.
    fn ask(&mut self, hook: WorkerId, pids: &[Pid], takes: Duration) {
        let asked = |id: &WorkerId| pids.iter().any(|pid| id.ordinal() == u64::from(pid.0) - 1000);
        let sick = self.processes.iter().any(|(id, process)| asked(id) && process.sick);
        let after = takes + self.rng.within(700);
        self.plan_exit(hook, after, Exit::Code(sick.into()));
    }

    /// Workers that are too large are told of.
    pub fn weigh(&mut self, group: GroupId) {
        let fat = |(_, process): &(&WorkerId, &Process)| process.group == group && process.fat;
        let heavy: Vec<WorkerId> = self.processes.iter().filter(fat).map(|(id, _)| *id).collect();
        for worker in heavy {
            self.plan(Duration::ZERO, Event::Heavy { worker, bytes: 2000 });
        }
    }

    /// A stop hook that does its work makes the workers go that it was told of.
    pub fn run_hook(&mut self, hook: WorkerId, group: GroupId, kind: HookKind, pids: &[Pid]) {
        let temper = self.tempers[group.0 as usize];
        let process = Process::of(group);
        assert!(self.processes.insert(hook, process).is_none(), "a hook is run twice");
        let takes = self.rng.within(30);
        if self.rng.chance(temper.spawn_fails) {
            let error = SpawnError { step: SpawnStep::Exec, errno: 2 };
            self.plan(takes, Event::SpawnFailed { worker: hook, error });
            return;
        }
        let place = self.plan(takes, Event::Spawned { worker: hook, pid: Pid(1000 + hook.ordinal() as u32) });
        self.processes.get_mut(&hook).unwrap().spawned = Some(place);
        if self.rng.chance(temper.hook_hangs) {
            return;
        }
        if let HookKind::Probe { .. } = kind {
            return self.ask(hook, pids, takes);
        }
        let runs = takes + self.rng.within(800);
        let fails = self.rng.chance(temper.hook_fails);
        self.plan_exit(hook, runs, Exit::Code(fails.into()));
        let told: BTreeSet<u64> = pids.iter().map(|pid| u64::from(pid.0) - 1000).filter(|_| !fails).collect();
        let told: Vec<WorkerId> = self.processes.keys().copied().filter(|id| told.contains(&id.ordinal())).collect();
        for worker in told {
            if !self.processes[&worker].stubborn {
                let after = runs + self.rng.within(300);
                self.plan_exit(worker, after, Exit::Code(0));
            }
        }
    }

    pub fn look(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.signs += u64::from(!process.silent);
        let mark = process.signs;
        let ago = self.rng.within(2_500);
        let after = self.rng.within(3);
        self.plan(after, Event::Looked { worker, mark, ago });
    }

    /// Whether a process gives signs of life.
    pub fn is_silent(&self, worker: WorkerId) -> bool {
        self.processes.get(&worker).is_some_and(|process| process.silent)
    }

    /// The ack of a process may overtake the answer to its spawn.
    pub fn plan_ack(&mut self, worker: WorkerId, takes: Duration, temper: Temper) {
        if self.rng.chance(temper.never_acks) {
            return;
        }
        let boots = self.rng.pick(&[10, 200, 3_000]);
        let early = self.rng.chance(300);
        let after = self.rng.within(boots) + if early { takes / 2 } else { takes };
        let signal = self.rng.chance(200).then_some(Signal::HUP);
        self.plan(after, Event::Acked { worker, signal });
    }

    pub fn signal(&mut self, worker: WorkerId, signal: Signal) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        assert!(process.told.insert(signal) || process.told.len() > 1, "the same signal twice");
        if process.stubborn {
            return;
        }
        let slow = self.tempers[process.group.0 as usize].stubborn > 0;
        let after = self.rng.within(if slow { 8_000 } else { 300 });
        let exit = self.rng.pick(&[Exit::Code(0), Exit::Signal(signal, false)]);
        self.plan_exit(worker, after, exit);
    }

    /// The exit comes after the answer to the spawn, and not later than it would have come anyway.
    pub fn plan_exit(&mut self, worker: WorkerId, after: Duration, exit: Exit) {
        let Some(process) = self.processes.get(&worker) else { return };
        let before = process.exit;
        if before.is_some_and(|(at, _)| at <= self.now + after) {
            return;
        }
        if let Some(place) = before {
            self.agenda.remove(&place);
        }
        let place = self.plan(after, Event::Exited { worker, exit });
        self.processes.get_mut(&worker).unwrap().exit = Some(place);
    }

    /// Some things are told twice, or when nobody is there any more.
    pub fn plan_late(&mut self, event: &Event) {
        let Event::Exited { worker, exit } = *event else { return };
        if !self.rng.chance(100) {
            return;
        }
        let after = self.rng.within(1_000);
        let pid = Pid(1);
        let late = [
            Event::Exited { worker, exit },
            Event::Acked { worker, signal: None },
            Event::Spawned { worker, pid },
            Event::Acked { worker: WorkerId(u64::MAX), signal: None },
            Event::Connection { group: GroupId(77) },
        ];
        let event = self.rng.pick(&late);
        self.plan(after, event);
    }
}
