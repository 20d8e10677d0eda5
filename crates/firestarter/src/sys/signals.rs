//! Signals as things to read. Firestarter runs no signal handler: everything is blocked, the keeper reads what it wants
//! to know from a descriptor, and workers start with an empty mask and default dispositions.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// Blocks every signal and sets every disposition to its default (a Rust program starts with SIGPIPE ignored, and what
/// is ignored stays so over an exec). Returns whether SIGHUP was ignored, as under `nohup`.
pub(crate) fn block_and_reset() -> bool {
    let mut hangup_ignored = false;
    // SAFETY: rt_sigaction and sigprocmask only read and write the given structs; a default disposition runs no code.
    unsafe {
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
        // Not by the C library, which keeps two signals for itself and leaves them as they were inherited. The kernel's
        // struct begins with the handler and is at most four words; all zero it is the default.
        for signal in 1..=64 {
            let (default, mut before) = ([0u64; 4], [0u64; 4]);
            let (new, old) = (default.as_ptr(), before.as_mut_ptr());
            let known = libc::syscall(libc::SYS_rt_sigaction, signal, new, old, size_of::<u64>()) == 0;
            if known && signal == libc::SIGHUP {
                hangup_ignored = before[0] == libc::SIG_IGN as u64;
            }
        }
    }
    hangup_ignored
}

/// Whether whoever started this program has it ignore a signal, as a shell does with SIGINT of what it starts in the
/// background.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction only writes the struct, which is valid as zeroes too.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Blocks these signals beside those that are blocked.
pub(crate) fn block(signals: &[i32]) {
    change_mask(libc::SIG_BLOCK, signals);
}

/// Ends this process by a signal whose disposition is the default, so that whoever waits for it sees that; returns if it is
/// another.
pub(crate) fn die_of(signal: i32) {
    change_mask(libc::SIG_UNBLOCK, &[signal]);
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn change_mask(how: libc::c_int, signals: &[i32]) {
    // SAFETY: sigprocmask only reads the set.
    unsafe { libc::sigprocmask(how, &set_of(signals), std::ptr::null_mut()) };
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialized by sigemptyset before anything else is done with it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Waits for one of these signals, which must be blocked, and takes it; says whether one has come. Needs no descriptor.
pub(crate) fn wait_for(signals: &[i32], patience: Duration) -> bool {
    let (set, end) = (set_of(signals), Instant::now() + patience);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // SAFETY: a time is valid as zeroes, and sigtimedwait only reads it and the set; what came is not wanted.
        let came = unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            (time.tv_sec, time.tv_nsec) = (left.as_secs() as _, left.subsec_nanos() as _);
            libc::sigtimedwait(&set, std::ptr::null_mut(), &time) > 0
        };
        if came {
            return true;
        }
        if left.is_zero() || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

/// Blocked signals, to be read.
pub(crate) struct SignalFd(OwnedFd);

impl SignalFd {
    /// Reads these signals, which must be blocked.
    ///
    /// # Errors
    /// No descriptor.
    pub(crate) fn new(signals: &[i32]) -> io::Result<SignalFd> {
        // SAFETY: signalfd only reads the set; a new descriptor is nobody else's.
        unsafe {
            let fd = libc::signalfd(-1, &set_of(signals), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            super::check(fd.into())?;
            Ok(SignalFd(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next pending signal's number, and the process that it is about or comes from. Signals of one number that come
    /// before the first of them is read are one.
    pub(crate) fn read(&self) -> Option<(i32, Option<Pid>)> {
        let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::read(&self.0, &mut buffer).ok()?;
        let word = |at: usize| buffer[at..].first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let pid = std::mem::offset_of!(libc::signalfd_siginfo, ssi_pid);
        Some((word(0).filter(|_| read == buffer.len())?, word(pid).and_then(Pid::from_raw)))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// Sends a signal to every process of a group. Only for groups whose leader's zombie or life keeps the number taken.
///
/// # Errors
/// The kernel's; `ESRCH` if there is no such group.
pub(crate) fn signal_group(leader: Pid, signal: u8) -> io::Result<()> {
    // SAFETY: kill touches no memory.
    super::check(unsafe { libc::kill(-leader.as_raw_nonzero().get(), signal.into()) }.into()).map(|_| ())
}

/// Sends a signal to the process that a pidfd names.
///
/// # Errors
/// The kernel's; `ESRCH` if it has ended and was reaped.
pub(crate) fn signal_process(pidfd: &OwnedFd, signal: u8) -> io::Result<()> {
    let (fd, signal) = (pidfd.as_raw_fd(), i32::from(signal));
    // SAFETY: no memory is passed: the third argument, a siginfo, is null.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0usize, 0u32) };
    super::check(result).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    #[test]
    fn a_signal_reaches_a_process_by_its_pidfd_and_a_group_by_its_leader() {
        for by_group in [false, true] {
            let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
            if by_group {
                signal_group(pid, 9).unwrap();
            } else {
                signal_process(&pidfd, 9).unwrap();
            }
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            assert!(signal_process(&pidfd, 9).is_err());
        }
    }

    #[test]
    fn a_signal_is_waited_for_and_taken() {
        // In a thread of its own: the mask is the thread's, and the signal is sent to the thread alone.
        std::thread::spawn(|| {
            change_mask(libc::SIG_BLOCK, &[libc::SIGURG]);
            assert!(!wait_for(&[libc::SIGURG], Duration::from_millis(1)));
            // SAFETY: the signal is blocked, and nobody else's in this thread.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGURG) };
            assert!(wait_for(&[libc::SIGURG], Duration::from_secs(60)));
            assert!(!wait_for(&[libc::SIGURG], Duration::ZERO), "it was taken");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_is_ignored_is_told_apart() {
        // The one is, in every Rust program.
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGURG));
    }

    #[test]
    fn a_pending_signal_is_read_once() {
        // In a thread of its own: the mask is the thread's, and the signal is sent to the thread alone.
        std::thread::spawn(|| {
            // SAFETY: blocks and raises a signal that nobody else uses in this thread.
            unsafe {
                let mut set = MaybeUninit::uninit();
                libc::sigemptyset(set.as_mut_ptr());
                libc::sigaddset(set.as_mut_ptr(), libc::SIGURG);
                libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
                let fd = SignalFd::new(&[libc::SIGURG]).unwrap();
                assert_eq!(fd.read(), None);
                libc::pthread_kill(libc::pthread_self(), libc::SIGURG);
                assert_eq!(fd.read(), Some((libc::SIGURG, Some(rustix::process::getpid()))));
                assert_eq!(fd.read(), None);
            }
        })
        .join()
        .unwrap();
    }
}
