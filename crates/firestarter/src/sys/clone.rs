//! New processes: the daemon and the writer, forked by the keeper without an exec, and workers, spawned by the daemon's
//! spawn thread as the keeper's children.
//!
//! Daemon and workers share the parent's descriptor table at first. A daemon goes on sharing it; that is what lets its
//! descriptors outlive it. A worker's process gives itself a copy of the stage alone before it does anything else, which costs the
//! same however many descriptors are open.

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;

use crate::sys::fds::STAGE_END;
use crate::sys::image::{Aim, Image, Numbers, Program, User};

/// Forks a process that shares the table of descriptors and runs `body`. The calling process must have one thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM`: no room for a process.
pub(crate) fn fork_sharing_descriptors(body: impl FnOnce()) -> io::Result<Pid> {
    fork(libc::CLONE_FILES, body)
}

/// Forks a process that has a copy of the table of descriptors and runs `body`. The calling process must have one thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM`: no room for a process.
pub(crate) fn fork_copying_descriptors(body: impl FnOnce()) -> io::Result<Pid> {
    fork(0, body)
}

fn fork(sharing: libc::c_int, body: impl FnOnce()) -> io::Result<Pid> {
    match go_on_twice(sharing)? {
        Some(child) => Ok(child),
        None => {
            body();
            exit_now(0)
        }
    }
}

/// Forks a process that has a copy of the table of descriptors; returns in both, with none in the new one. The calling
/// process must have one thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM`: no room for a process.
pub(crate) fn fork_and_go_on() -> io::Result<Option<Pid>> {
    go_on_twice(0)
}

fn go_on_twice(sharing: libc::c_int) -> io::Result<Option<Pid>> {
    let flags = sharing | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork: the child goes on with a copy of all memory on a copy of this stack. The
    // process has one thread, so no lock is held by another that does not exist in the child. The C library's idea of
    // the thread's id stays the parent's; nothing here or in the standard library relies on it.
    let pid = super::check(unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) })?;
    Ok(Pid::from_raw(pid as i32))
}

/// Ends the process at once: no destructors, no handlers, since its memory and descriptors are also others'.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe { libc::_exit(code) }
}

/// Gives this process a table of descriptors of its own.
#[cfg(test)]
pub(crate) fn unshare_descriptors() {
    // SAFETY: touches no memory.
    unsafe { libc::unshare(libc::CLONE_FILES) };
}

/// Where a spawn is recorded, in memory that outlives the daemon.
pub(crate) struct Record<'a> {
    /// The kernel writes the pid here before the child runs and before anybody can die in between.
    pub(crate) pid: &'a AtomicU64,
    /// The child writes here how far it came; see [`Progress`].
    pub(crate) progress: &'a AtomicU64,
    /// Its lowest byte is the last signal that was to make it end. Once that is SIGKILL, no program begins.
    pub(crate) signalled: &'a AtomicU64,
    /// The record's own number.
    pub(crate) number: u32,
    /// See [`Number`](crate::sys::image::Number).
    pub(crate) index: u32,
    pub(crate) attempt: u32,
}

/// How far a spawn came, as its process wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It may still share the stage: nobody may change that.
    Sharing,
    /// It has a stage of its own, and runs its program or is about to.
    Apart,
    /// It failed at a step, with an error number.
    Failed(Step, i32),
}

/// The steps that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Descriptors = 1,
    Directory = 2,
    Limits = 3,
    Exec = 4,
    User = 5,
}

const APART: u64 = 1 << 63;

impl Progress {
    /// Reads what was recorded.
    pub(crate) fn read(word: u64) -> Progress {
        let errno = (word & 0xffff_ffff) as i32;
        match (word & !APART) >> 32 {
            0 if word & APART == 0 => Progress::Sharing,
            0 => Progress::Apart,
            1 => Progress::Failed(Step::Descriptors, errno),
            2 => Progress::Failed(Step::Directory, errno),
            3 => Progress::Failed(Step::Limits, errno),
            5 => Progress::Failed(Step::User, errno),
            _ => Progress::Failed(Step::Exec, errno),
        }
    }
}

/// The stack of a spawning child and what it needs to see.
pub(crate) struct Spawner {
    stack: Box<[u8; STACK]>,
}

const STACK: usize = 64 * 1024;

struct Child<'a> {
    image: &'a mut Image,
    aim: &'a Aim,
    progress: &'a AtomicU64,
    signalled: &'a AtomicU64,
    numbers: Numbers,
    /// Numbers on the stage that become 0, 1 and 2.
    streams: [RawFd; 3],
}

impl Spawner {
    pub(crate) fn new() -> Spawner {
        Spawner { stack: Box::new([0; STACK]) }
    }

    /// Starts a process as a sibling of this one and waits until its program runs or it has failed. `streams` are
    /// numbers on the stage that the worker shall have as 0, 1 and 2; what else is on the stage without close-on-exec
    /// it gets under its number. How it went stands in the record; the pid there is a zombie's after a failure.
    ///
    /// # Errors
    /// There is no new process: `EAGAIN` or `ENOMEM`.
    pub(crate) fn spawn(
        &mut self,
        image: &mut Image,
        aim: &Aim,
        streams: [RawFd; 3],
        record: &Record<'_>,
    ) -> io::Result<Pid> {
        record.progress.store(0, Ordering::Release);
        let numbers = Numbers { pid: 0, record: record.number, index: record.index, attempt: record.attempt };
        let Record { progress, signalled, .. } = *record;
        let mut child = Child { image, aim, progress, signalled, numbers, streams };
        let flags = libc::CLONE_VM
            | libc::CLONE_VFORK
            | libc::CLONE_FILES
            | libc::CLONE_PARENT
            | libc::CLONE_PARENT_SETTID
            | libc::SIGCHLD;
        // SAFETY: the child runs `child_main` on a stack of its own while this thread sleeps until it has exec'd or
        // exited (CLONE_VFORK), so `child` and the stack outlive it, and nothing else uses them: `&mut self`. It shares
        // this thread's memory and thread-local storage, and makes raw system calls only: no allocation, no lock, no
        // unwinding. All signals are blocked, so no handler runs in it. The kernel writes a pid_t to the first half of
        // an aligned 64-bit word in little-endian order, which any later atomic load sees as the number itself.
        let pid = super::check(
            unsafe {
                let top = self.stack.as_mut_ptr().add(STACK) as usize & !15;
                libc::clone(
                    child_main,
                    top as *mut libc::c_void,
                    flags,
                    (&raw mut child).cast(),
                    record.pid.as_ptr().cast::<libc::pid_t>(),
                    std::ptr::null_mut::<libc::c_void>(),
                    std::ptr::null_mut::<libc::pid_t>(),
                )
            }
            .into(),
        )?;
        Pid::from_raw(pid as i32).ok_or_else(|| io::ErrorKind::Other.into())
    }
}

/// The new process, until its program runs.
extern "C" fn child_main(child: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a `Child` that outlives this function and that nothing else touches meanwhile.
    let child = unsafe { &mut *child.cast::<Child<'_>>() };
    let (step, errno) = match child.become_worker() {
        Err(failed) => failed,
        Ok(never) => match never {},
    };
    child.progress.fetch_or((step as u64) << 32 | errno as u64, Ordering::Release);
    127
}

impl Child<'_> {
    fn become_worker(&mut self) -> Result<std::convert::Infallible, (Step, i32)> {
        let unshare = libc::CLOSE_RANGE_UNSHARE as usize;
        call(libc::SYS_close_range, [STAGE_END as usize, u32::MAX as usize, unshare, 0])
            .map_err(|e| (Step::Descriptors, e))?;
        self.progress.store(APART, Ordering::Release);
        call(libc::SYS_setpgid, [0; 4]).map_err(|e| (Step::Limits, e))?;
        for (number, staged) in self.streams.iter().enumerate() {
            call(libc::SYS_dup3, [*staged as usize, number, 0, 0]).map_err(|e| (Step::Descriptors, e))?;
        }
        self.set_limits().map_err(|e| (Step::Limits, e))?;
        if let Some(user) = &self.image.user {
            become_user(user).map_err(|e| (Step::User, e))?;
        }
        let directory = self.image.directory.as_ptr() as usize;
        match self.aim.folder {
            Some(staged) => call(libc::SYS_fchdir, [staged as usize, 0, 0, 0]),
            None => call(libc::SYS_chdir, [directory, 0, 0, 0]),
        }
        .map_err(|e| (Step::Directory, e))?;
        self.image.number(Numbers { pid: call(libc::SYS_getpid, [0; 4]).unwrap_or(0), ..self.numbers });
        let none = 0u64;
        let mask = [libc::SIG_SETMASK as usize, (&raw const none) as usize, 0, size_of::<u64>()];
        call(libc::SYS_rt_sigprocmask, mask).map_err(|e| (Step::Limits, e))?;
        // Who wants it killed says so first and looks for a pid then. The pid was written before this is read: so either it
        // is found, or this is, and none is left in an exec that hangs.
        if self.signalled.load(Ordering::SeqCst) as u8 == libc::SIGKILL as u8 {
            return Err((Step::Exec, libc::ECANCELED));
        }
        Err((Step::Exec, self.exec()))
    }

    /// Gives back what Firestarter took for itself. The score comes first: while it is written one more descriptor is
    /// open, and afterwards another user may not open that file.
    fn set_limits(&self) -> Result<(), i32> {
        if let Some(score) = &self.image.oom_score {
            let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
            let path = c"/proc/self/oom_score_adj".as_ptr() as usize;
            let file = call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags, 0])?;
            call(libc::SYS_write, [file, score.as_ptr() as usize, score.len(), 0])?;
        }
        let open_files = (&raw const self.image.open_files) as usize;
        call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, open_files, 0])?;
        if let Some(umask) = self.image.umask {
            call(libc::SYS_umask, [umask as usize, 0, 0, 0])?;
        }
        Ok(())
    }

    /// Runs the program that was found, or tries one after the other; returns the error that says most.
    fn exec(&self) -> i32 {
        let (mut found, mut first) = (libc::ENOENT, 0);
        if let Some(program) = &self.aim.program {
            match self.exec_found(program) {
                libc::EACCES => (found, first) = (libc::EACCES, self.aim.others),
                other => return other,
            }
        }
        for program in self.image.programs.iter().skip(first) {
            match self.exec_path(program) {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => found = libc::EACCES,
                other => return other,
            }
        }
        found
    }

    fn exec_found(&self, program: &Program) -> i32 {
        let staged = match program {
            Program::Path(path) => return self.exec_path(path),
            Program::Staged(staged) => *staged as usize,
        };
        match self.exec_staged(staged) {
            // A script: what interprets it will open it under this number.
            libc::ENOENT => match call(libc::SYS_fcntl, [staged, libc::F_SETFD as usize, 0, 0]) {
                Ok(_) => self.exec_staged(staged),
                Err(errno) => errno,
            },
            other => other,
        }
    }

    fn exec_path(&self, program: &CStr) -> i32 {
        let (argv, env) = self.strings();
        failed(call(libc::SYS_execve, [program.as_ptr() as usize, argv, env, 0]))
    }

    fn exec_staged(&self, staged: usize) -> i32 {
        let (argv, env) = self.strings();
        let flags = libc::AT_EMPTY_PATH as usize;
        failed(call_with(libc::SYS_execveat, [staged, c"".as_ptr() as usize, argv, env], flags))
    }

    fn strings(&self) -> (usize, usize) {
        let argv = self.aim.argv.as_ref().map_or(&self.image.argv, |argv| argv);
        (argv.pointers.as_ptr() as usize, self.image.env.pointers.as_ptr() as usize)
    }
}

/// An exec that returns has failed.
fn failed(exec: Result<usize, i32>) -> i32 {
    exec.err().unwrap_or(libc::ENOENT)
}

/// Makes this process, which has one thread, another user's: by raw calls, because those of the C library would do it to
/// every thread of the process that memory is shared with.
///
/// While memory is shared with root, that user could reach into it by `ptrace` or /proc. The kernel forbids it before the
/// ids change: it marks the memory as not dumpable (prctl(2), PR_SET_DUMPABLE), and so the daemon's, unless somebody has
/// set the sysctl fs.suid_dumpable to 1, which is for debugging.
fn become_user(user: &User) -> Result<(), i32> {
    let (uid, gid) = (user.uid as usize, user.gid as usize);
    call(SETGROUPS, [user.groups.len(), user.groups.as_ptr() as usize, 0, 0])?;
    call(SETRESGID, [gid, gid, gid, 0])?;
    call(SETRESUID, [uid, uid, uid, 0])?;
    // From one user who is not root to another, ambient capabilities would be passed on.
    let clear = [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0, 0];
    call(libc::SYS_prctl, clear).map(|_| ())
}

/// The calls that take ids of 32 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};

/// Tries in a process of its own what it is to be a user: runs `body` there, which returns an exit code below 100. The
/// calling process must have one thread.
///
/// # Errors
/// There is no new process; or `EPERM` or `EINVAL`: it cannot become that user.
pub(crate) fn as_user(user: &User, body: impl FnOnce() -> u8) -> io::Result<u8> {
    let child = fork_sharing_descriptors(|| match become_user(user) {
        Ok(()) => exit_now(body().into()),
        Err(errno) => exit_now(NOT_THAT_USER + errno),
    })?;
    let ended = super::wait::reap_blocking(child)?.filter(|ended| ended.code == libc::CLD_EXITED);
    match ended.map(|ended| ended.status) {
        Some(code) if code < NOT_THAT_USER => Ok(code as u8),
        Some(code) => Err(io::Error::from_raw_os_error(code - NOT_THAT_USER)),
        None => Err(io::ErrorKind::Other.into()),
    }
}

/// Exit codes from here on are an error number, which is at most 133, above this.
const NOT_THAT_USER: i32 = 100;

/// A raw system call: no cancellation point, no lock. A fifth argument, where there is one, is 0.
fn call(number: libc::c_long, arguments: [usize; 4]) -> Result<usize, i32> {
    call_with(number, arguments, 0)
}

/// The same, with a fifth argument.
fn call_with(number: libc::c_long, [a, b, c, d]: [usize; 4], e: usize) -> Result<usize, i32> {
    // SAFETY: the callers pass addresses of live memory of the types that each call wants. errno is this thread's and
    // the parent's, which sleeps.
    unsafe {
        match libc::syscall(number, a, b, c, d, e) {
            -1 => Err(*libc::__errno_location()),
            result => Ok(result as usize),
        }
    }
}
