//! Where the loop leaves what is to be spawned, and finds what came of it; between it and the threads of `spawner`. Keeps
//! whose turn it is. Starts no thread and touches no descriptor but its bell.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use firestarter_core::event::{SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, WorkerId};

use super::spawner::{Job, Outcome};

/// Where the loop leaves jobs and finds outcomes.
pub(super) struct Yard {
    inside: Mutex<Inside>,
    work: Condvar,
    /// Wakes the loop.
    pub(super) bell: OwnedFd,
}

#[derive(Default)]
struct Inside {
    jobs: VecDeque<Job>,
    outcomes: Vec<Outcome>,
    /// Whose turn it is.
    turn: u64,
    /// What the thread whose turn it is has in hand.
    in_hand: Option<Job>,
    /// It only looks at files for that job: what is on the stage is nothing to it.
    aside: bool,
    /// Groups whose exec hangs, and what waits for it.
    held: BTreeMap<GroupId, VecDeque<Job>>,
    /// Whose jobs threads are at, also those that have lost their turn, and whether they are wanted still.
    in_work: BTreeMap<WorkerId, bool>,
}

/// What comes of a job that was taken back.
pub(super) const TAKEN_BACK: SpawnError = SpawnError { step: SpawnStep::Prepare, errno: libc::ECANCELED };

impl Yard {
    pub(super) fn new() -> io::Result<Yard> {
        use rustix::event::{eventfd, EventfdFlags};
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Yard { inside: Mutex::default(), work: Condvar::new(), bell })
    }

    /// Leaves a job; says whether others are before it.
    pub(super) fn put(&self, job: Job) -> bool {
        let mut inside = self.lock();
        match inside.held.get_mut(&job.group) {
            Some(held) => held.push_back(job),
            None => inside.jobs.push_back(job),
        }
        let waits = inside.in_hand.is_some() || inside.jobs.len() > 1;
        // Whoever is woken needs the lock first thing.
        drop(inside);
        self.work.notify_all();
        waits
    }

    /// Takes back a job: its worker is not wanted any more. One that waits, maybe behind an exec that hangs, would hang
    /// in its turn, and nobody would know of a process to kill.
    pub(super) fn take_back(&self, worker: WorkerId) {
        let mut inside = self.lock();
        let Inside { jobs, held, .. } = &mut *inside;
        let mut queues = std::iter::once(jobs).chain(held.values_mut());
        let found = queues.find_map(|queue| queue.remove(queue.iter().position(|job| job.worker == worker)?));
        match found {
            Some(job) => self.tell(&mut inside, Outcome { job, result: Err(TAKEN_BACK) }),
            // A thread is at it, which ends it before a process is made, if there is none yet.
            None => inside.in_work.get_mut(&worker).into_iter().for_each(|wanted| *wanted = false),
        }
    }

    /// Whether nobody has taken back a job that a thread is at.
    pub(super) fn is_wanted(&self, job: &Job) -> bool {
        self.lock().in_work.get(&job.worker) == Some(&true)
    }

    /// Whether somebody spawns at the moment.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().in_hand.is_some()
    }

    /// All that came since the last call.
    pub(super) fn take(&self) -> Vec<Outcome> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.lock().outcomes)
    }

    /// The job in hand, if others wait for it.
    pub(super) fn awaited(&self) -> Option<Job> {
        let inside = self.lock();
        inside.in_hand.clone().filter(|_| !inside.jobs.is_empty())
    }

    /// Whether the thread that has this job in hand looks at files for it.
    pub(super) fn is_aside(&self, job: &Job) -> bool {
        let inside = self.lock();
        inside.aside && inside.in_hand.as_ref() == Some(job)
    }

    /// Takes the turn from the thread that has this job in hand, if it has it still, and gives it to one that `start`
    /// starts. `apart`: the job's process has a stage of its own.
    ///
    /// # Errors
    /// That of `start`; then nothing has changed.
    pub(super) fn pass_turn(
        &self,
        stuck: &Job,
        apart: bool,
        start: impl FnOnce(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut inside = self.lock();
        if inside.in_hand.as_ref() != Some(stuck) || !(apart || inside.aside) {
            return Ok(());
        }
        start(inside.turn + 1)?;
        inside.turn += 1;
        inside.in_hand = None;
        let (held, others) = std::mem::take(&mut inside.jobs).into_iter().partition(|job| job.group == stuck.group);
        inside.jobs = others;
        inside.held.insert(stuck.group, held);
        Ok(())
    }

    /// Waits for the next job; none if it is another's turn.
    pub(super) fn next(&self, turn: u64) -> Option<Job> {
        let waits = |inside: &mut Inside| inside.turn == turn && inside.jobs.is_empty();
        let mut inside = self.work.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if inside.turn != turn {
            return None;
        }
        inside.in_hand = inside.jobs.pop_front();
        inside.aside = true;
        let job = inside.in_hand.clone()?;
        inside.in_work.insert(job.worker, true);
        Some(job)
    }

    /// From now on the thread that has this job in hand works on the stage. Says no if it is another's turn: then the job
    /// is left for that one, before the others of its group.
    pub(super) fn go_on_stage(&self, turn: u64, job: &Job) -> bool {
        let mut inside = self.lock();
        if inside.turn == turn {
            inside.aside = false;
            return true;
        }
        let held = inside.held.remove(&job.group).unwrap_or_default();
        match inside.in_work.remove(&job.worker) {
            Some(false) => self.tell(&mut inside, Outcome { job: job.clone(), result: Err(TAKEN_BACK) }),
            Some(true) | None => inside.jobs.push_back(job.clone()),
        }
        inside.jobs.extend(held);
        self.work.notify_all();
        false
    }

    /// Does something while nobody else gets the turn, if this one is not over.
    pub(super) fn while_on_turn(&self, turn: u64, act: impl FnOnce()) {
        let inside = self.lock();
        if inside.turn == turn {
            act();
        }
    }

    pub(super) fn done(&self, turn: u64, outcome: Outcome) {
        let mut inside = self.lock();
        if inside.turn == turn {
            inside.in_hand = None;
        } else if let Some(held) = inside.held.remove(&outcome.job.group) {
            inside.jobs.extend(held);
            self.work.notify_all();
        }
        inside.in_work.remove(&outcome.job.worker);
        self.tell(&mut inside, outcome);
    }

    fn tell(&self, inside: &mut Inside, outcome: Outcome) {
        inside.outcomes.push(outcome);
        if inside.outcomes.len() == 1 {
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// A panic ends the process, so nobody sees a poisoned lock; its content would still be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spawner::Role;
    use super::*;
    use crate::journal::Row;
    use firestarter_core::ids::{Edition, Generation, Slot};

    fn job(worker: u64, group: u32) -> Job {
        let role = Role::Worker { slot: Slot(0), generation: Generation(1), edition: Edition(1) };
        Job { worker: WorkerId(worker), group: GroupId(group), row: Row(worker as u32), role }
    }

    fn failed(job: Job) -> Outcome {
        Outcome { job, result: Err(SpawnError { step: SpawnStep::Prepare, errno: libc::EINVAL }) }
    }

    #[test]
    fn a_job_that_hangs_holds_up_its_group_alone() {
        let yard = Yard::new().unwrap();
        assert!(!yard.put(job(1, 0)));
        assert!(yard.put(job(2, 0)), "one waits behind another");
        assert!(yard.put(job(3, 1)));
        assert_eq!(yard.next(0), Some(job(1, 0)));
        assert_eq!(yard.awaited(), Some(job(1, 0)));
        let no_thread = |_| Err(io::ErrorKind::WouldBlock.into());
        assert!(yard.pass_turn(&job(1, 0), true, no_thread).is_err());
        assert_eq!(yard.awaited(), Some(job(1, 0)), "without a thread for it the turn is not passed");
        let mut next = 0;
        let start = |turn| {
            next = turn;
            Ok(())
        };
        yard.pass_turn(&job(1, 0), true, start).unwrap();
        assert_eq!(next, 1);
        yard.pass_turn(&job(1, 0), true, |_| unreachable!("a turn is passed once")).unwrap();
        assert_eq!(yard.next(1), Some(job(3, 1)));
        yard.done(1, failed(job(3, 1)));
        yard.put(job(4, 0));
        assert_eq!(yard.awaited(), None, "a held job waits for the hanging one, not for a thread");
        yard.done(0, failed(job(1, 0)));
        assert_eq!(yard.next(0), None, "the thread that hung has lost its turn");
        assert_eq!([yard.next(1), yard.next(1)], [Some(job(2, 0)), Some(job(4, 0))]);
        assert_eq!(yard.take().len(), 2);
    }
    #[test]
    fn a_look_at_files_that_hangs_holds_up_its_group_alone() {
        let yard = Yard::new().unwrap();
        for (worker, group) in [(1, 0), (2, 0), (3, 1)] {
            yard.put(job(worker, group));
        }
        assert_eq!(yard.next(0), Some(job(1, 0)));
        assert!(yard.is_aside(&job(1, 0)));
        yard.pass_turn(&job(1, 0), false, |_| Ok(())).unwrap();
        assert_eq!(yard.next(1), Some(job(3, 1)));
        assert!(!yard.go_on_stage(0, &job(1, 0)), "the stage is another's by now");
        assert!(yard.go_on_stage(1, &job(3, 1)) && !yard.is_aside(&job(3, 1)));
        yard.pass_turn(&job(3, 1), false, |_| unreachable!("it works on the stage")).unwrap();
        yard.done(1, failed(job(3, 1)));
        assert_eq!([yard.next(1), yard.next(1)], [Some(job(1, 0)), Some(job(2, 0))]);
    }
    #[test]
    fn a_job_that_is_taken_back_is_not_done() {
        let yard = Yard::new().unwrap();
        for (worker, group) in [(1, 0), (2, 0), (3, 1)] {
            yard.put(job(worker, group));
        }
        assert_eq!(yard.next(0), Some(job(1, 0)));
        yard.pass_turn(&job(1, 0), true, |_| Ok(())).unwrap();
        yard.take_back(WorkerId(2));
        yard.take_back(WorkerId(3));
        let outcomes = yard.take();
        let ended: Vec<_> = outcomes.iter().map(|outcome| (outcome.job.worker, outcome.result)).collect();
        assert_eq!(ended, [(WorkerId(2), Err(TAKEN_BACK)), (WorkerId(3), Err(TAKEN_BACK))]);
        assert!(yard.is_wanted(&job(1, 0)));
        yard.take_back(WorkerId(1));
        assert!(!yard.is_wanted(&job(1, 0)), "it is in hand: its thread tells of it");
        yard.put(job(4, 0));
        assert!(!yard.go_on_stage(0, &job(1, 0)), "it has lost its turn");
        assert!(matches!(yard.take()[..], [Outcome { result: Err(TAKEN_BACK), .. }]));
        assert_eq!(yard.next(1), Some(job(4, 0)));
        assert!(yard.is_wanted(&job(4, 0)));
        yard.take_back(WorkerId(1));
        assert!(yard.take().is_empty(), "it has ended");
    }
}
