//! New processes: the daemon, forked by the keeper without an exec, and workers, spawned by the daemon's spawn thread as
//! the keeper's children.
//!
//! Both share the parent's descriptor table at first. A daemon goes on sharing it; that is what lets its descriptors
//! outlive it. A worker's process gives itself a copy of the stage alone before it does anything else, which costs the
//! same however many descriptors are open.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;

use crate::sys::fds::STAGE_END;

/// Forks a process that shares the table of descriptors and runs `body`. The calling process must have one thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM`: no room for a process.
pub(crate) fn fork_sharing_descriptors(body: impl FnOnce()) -> io::Result<Pid> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork: the child goes on with a copy of all memory on a copy of this stack. The
    // process has one thread, so no lock is held by another that does not exist in the child. The C library's idea of
    // the thread's id stays the parent's; nothing here or in the standard library relies on it.
    let pid = super::check(unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) })?;
    match Pid::from_raw(pid as i32) {
        Some(child) => Ok(child),
        None => {
            body();
            exit_now(0)
        }
    }
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

/// What a worker's process will be: strings and pointers to them, made once per group and used for each spawn.
pub(crate) struct Image {
    programs: Vec<CString>,
    argv: Strings,
    env: Strings,
    directory: CString,
    open_files: libc::rlimit64,
    /// The text behind `LISTEN_PID=`, which only the new process can know.
    listen_pid: Option<Box<[u8; PID_TEXT]>>,
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
const PID_TEXT: usize = LISTEN_PID.len() + 11;

/// C strings and the null-terminated array of pointers to them.
struct Strings {
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into the heap memory of the strings beside them, which nothing changes or frees before
// `self` goes; they are of no thread.
unsafe impl Send for Image {}

impl Strings {
    fn new(strings: Vec<CString>, extra: Option<*const libc::c_char>) -> Strings {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain(extra).chain([std::ptr::null()]).collect();
        Strings { _owned: strings, pointers }
    }
}

impl Image {
    /// `programs` are tried in turn, as a search along PATH does. With `listen_pid` the environment gets
    /// `LISTEN_PID=` and the new process's pid. `open_files` are the soft and hard limit that the worker gets.
    pub(crate) fn new(
        programs: Vec<CString>,
        argv: Vec<CString>,
        env: Vec<CString>,
        directory: CString,
        open_files: (u64, u64),
        listen_pid: bool,
    ) -> Image {
        let listen_pid = listen_pid.then(|| {
            let mut text = Box::new([0; PID_TEXT]);
            text[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID);
            text
        });
        let extra = listen_pid.as_ref().map(|text| text.as_ptr().cast());
        Image {
            programs,
            argv: Strings::new(argv, None),
            env: Strings::new(env, extra),
            directory,
            open_files: libc::rlimit64 { rlim_cur: open_files.0, rlim_max: open_files.1 },
            listen_pid,
        }
    }
}

/// Where a spawn is recorded, in memory that outlives the daemon.
pub(crate) struct Record<'a> {
    /// The kernel writes the pid here before the child runs and before anybody can die in between.
    pub(crate) pid: &'a AtomicU64,
    /// The child writes here how far it came; see [`Progress`].
    pub(crate) progress: &'a AtomicU64,
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
    progress: &'a AtomicU64,
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
    pub(crate) fn spawn(&mut self, image: &mut Image, streams: [RawFd; 3], record: &Record<'_>) -> io::Result<Pid> {
        record.progress.store(0, Ordering::Release);
        let mut child = Child { image, progress: record.progress, streams };
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
        let limits = (&raw const self.image.open_files) as usize;
        call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, limits, 0]).map_err(|e| (Step::Limits, e))?;
        let directory = self.image.directory.as_ptr() as usize;
        call(libc::SYS_chdir, [directory, 0, 0, 0]).map_err(|e| (Step::Directory, e))?;
        if let Some(text) = &mut self.image.listen_pid {
            write_pid(&mut text[LISTEN_PID.len()..], call(libc::SYS_getpid, [0; 4]).unwrap_or(0));
        }
        let none = 0u64;
        let mask = [libc::SIG_SETMASK as usize, (&raw const none) as usize, 0, size_of::<u64>()];
        call(libc::SYS_rt_sigprocmask, mask).map_err(|e| (Step::Limits, e))?;
        Err((Step::Exec, self.exec()))
    }

    /// Tries one program after the other; returns the error that says most.
    fn exec(&self) -> i32 {
        let mut found = libc::ENOENT;
        for program in &self.image.programs {
            let program: &CStr = program;
            let (argv, env) = (self.image.argv.pointers.as_ptr(), self.image.env.pointers.as_ptr());
            match call(libc::SYS_execve, [program.as_ptr() as usize, argv as usize, env as usize, 0]) {
                Err(libc::ENOENT | libc::ENOTDIR) | Ok(_) => {}
                Err(libc::EACCES) => found = libc::EACCES,
                Err(other) => return other,
            }
        }
        found
    }
}

/// A raw system call: no cancellation point, no lock.
fn call(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> Result<usize, i32> {
    // SAFETY: the callers pass addresses of live memory of the types that each call wants. errno is this thread's and
    // the parent's, which sleeps.
    unsafe {
        match libc::syscall(number, a, b, c, d) {
            -1 => Err(*libc::__errno_location()),
            result => Ok(result as usize),
        }
    }
}

/// Decimal digits and a zero byte.
fn write_pid(text: &mut [u8], pid: usize) {
    let mut digits = [0; 10];
    let mut rest = pid;
    let mut first = digits.len();
    while first > 0 && (rest > 0 || first == digits.len()) {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let len = digits.len() - first;
    for (to, from) in text.iter_mut().zip(digits[first..].iter().chain([&0])) {
        *to = *from;
    }
    debug_assert!(len < text.len(), "eleven bytes hold ten digits and a zero");
}
