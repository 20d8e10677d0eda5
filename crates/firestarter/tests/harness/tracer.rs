//! Kills a process at its n-th step: before or after a system call that changes something outside of it, or before a store
//! to the journal, which a debug build shows as a system call of its own (`journal/steps.rs`). Its threads are traced, so
//! nothing in the program knows of it, and every call that it makes is a step, also one that nobody thought of.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::proc::{self, Sig};

/// A process that is traced, by a thread of its own: the kernel lets only that one do it.
pub(crate) struct Tracer {
    thread: JoinHandle<Traced>,
    /// Who is poked when it is over.
    poked: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced {
    /// So many steps were begun.
    pub(crate) steps: u32,
    /// At which one it was killed.
    pub(crate) killed: Option<String>,
}

impl Tracer {
    /// Traces a process from now on, and kills it at this step, counted from 0.
    pub(crate) fn of(victim: u32, at: u32) -> Tracer {
        Tracer::begin(victim, Some(victim), at)
    }

    /// Traces the next process that this one forks, from its first instruction on.
    pub(crate) fn of_next(parent: u32, at: u32) -> Tracer {
        Tracer::begin(parent, None, at)
    }

    fn begin(seized: u32, victim: Option<u32>, at: u32) -> Tracer {
        let (tell, told) = mpsc::channel();
        let mut tracing =
            Tracing { over: false, parent: seized, victim, at, tasks: BTreeMap::new(), traced: Traced::default() };
        let thread = std::thread::spawn(move || {
            tracing.seize(seized);
            drop(tell);
            tracing.run()
        });
        // Ends with the sender: everything is traced now.
        let _: Result<(), _> = told.recv();
        Tracer { thread, poked: seized }
    }

    /// Waits until it has killed.
    pub(crate) fn killed(self) -> Traced {
        self.thread.join().expect("the tracing thread")
    }

    /// Lets go of whoever still lives.
    pub(crate) fn end(self) -> Traced {
        // Nobody can block it; it never arrives, as the stop that it makes is taken for a word to the tracing thread.
        if !self.thread.is_finished() {
            proc::signal(self.poked, Sig::STOP);
        }
        self.thread.join().expect("the tracing thread")
    }
}

struct Tracing {
    /// All are let go of.
    over: bool,
    parent: u32,
    /// None: it is not born yet.
    victim: Option<u32>,
    at: u32,
    /// The threads that are traced, and whether each is in a system call.
    tasks: BTreeMap<i32, bool>,
    traced: Traced,
}

impl Tracing {
    fn seize(&mut self, pid: u32) {
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let pid = Pid::from_raw(task);
            if ptrace::seize(pid, options).is_ok() && ptrace::interrupt(pid).is_ok() {
                self.tasks.insert(task, false);
            }
        }
    }

    fn run(mut self) -> Traced {
        // Only whom this thread traces: what else this process has started is others' to wait for.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => {
                    _ = self.tasks.remove(&pid.as_raw())
                }
                Ok(status) => self.stopped(status),
                Err(Errno::EINTR) => {}
                Err(_) => break self.traced,
            }
        }
    }

    /// One thread has stopped: sees to it and lets it go on.
    fn stopped(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        let mut signal = None;
        match status {
            WaitStatus::PtraceSyscall(_) => self.call(pid),
            WaitStatus::Stopped(_, Signal::SIGSTOP) => self.over = true,
            WaitStatus::Stopped(_, sent) => signal = Some(sent),
            WaitStatus::PtraceEvent(..) => self.born(pid),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        if self.over {
            self.tasks.remove(&pid.as_raw());
            let _ = ptrace::detach(pid, signal);
            let others: Vec<i32> = self.tasks.keys().copied().collect();
            others.into_iter().for_each(|task| _ = ptrace::interrupt(Pid::from_raw(task)));
        } else if self.is_victims(pid) {
            let _ = ptrace::syscall(pid, signal);
        } else if pid.as_raw() as u32 == self.parent {
            let _ = ptrace::cont(pid, signal);
        } else {
            // A process that the victim has started.
            self.tasks.remove(&pid.as_raw());
            let _ = ptrace::detach(pid, signal);
        }
    }

    fn is_victims(&self, task: Pid) -> bool {
        let group = || proc::status(task.as_raw() as u32, "Tgid").parse().ok();
        self.victim.is_some() && (self.victim == Some(task.as_raw() as u32) || self.victim == group())
    }

    /// A thread stops for the first time, or one has been begun by another.
    fn born(&mut self, pid: Pid) {
        self.tasks.entry(pid.as_raw()).or_insert(false);
        let by_parent = self.victim.is_none() && pid.as_raw() as u32 != self.parent;
        if by_parent {
            self.victim = Some(pid.as_raw() as u32);
        }
    }

    /// At the begin or the end of a system call.
    fn call(&mut self, pid: Pid) {
        let Some(within) = self.tasks.get_mut(&pid.as_raw()) else { return };
        *within = !*within;
        let begins = *within;
        let Ok(registers) = ptrace::getregs(pid) else { return };
        let number = registers.orig_rax as i64;
        if !self.is_victims(pid) || !is_step(number) || number == libc::SYS_getppid && !begins {
            return;
        }
        if self.traced.steps == self.at && self.traced.killed.is_none() {
            let when = if begins { "before" } else { "after" };
            self.traced.killed = Some(format!("step {}, {when} system call {number}", self.at));
            self.victim.into_iter().for_each(|victim| proc::signal(victim, Sig::KILL));
        }
        self.traced.steps += 1;
    }
}

/// Whether a system call may change something outside of the process. What is not named here does.
fn is_step(number: i64) -> bool {
    !matches!(
        number,
        libc::SYS_brk
            | libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mprotect
            | libc::SYS_madvise
            | libc::SYS_mremap
            | libc::SYS_futex
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_fstat
            | libc::SYS_newfstatat
            | libc::SYS_statx
            | libc::SYS_getrandom
            | libc::SYS_getpid
            | libc::SYS_gettid
            | libc::SYS_getdents64
            | libc::SYS_pread64
            | libc::SYS_readlink
            | libc::SYS_readlinkat
            | libc::SYS_clock_gettime
            | libc::SYS_sigaltstack
            | libc::SYS_rt_sigprocmask
            | libc::SYS_rt_sigaction
            | libc::SYS_rt_sigreturn
            | libc::SYS_restart_syscall
            | libc::SYS_sched_yield
            | libc::SYS_sched_getaffinity
            | libc::SYS_set_robust_list
            | libc::SYS_rseq
            | libc::SYS_getsockopt
            | libc::SYS_getsockname
            | libc::SYS_getpeername
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
    )
}
