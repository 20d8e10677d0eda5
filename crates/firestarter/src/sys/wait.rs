//! Exits: looked at without taking them, and taken. A zombie that stands is the durable record of its status.

use std::io;
use std::mem::MaybeUninit;

use rustix::process::Pid;

/// How a child ended, as `waitid` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) code: i32,
    /// The exit code or the signal.
    pub(crate) status: i32,
}

/// How that child ended; its zombie stays.
pub(crate) fn peek(pid: Pid) -> Option<Ended> {
    let id = pid.as_raw_nonzero().get() as libc::id_t;
    waitid(libc::P_PID, id, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).ok()?.map(|(_, ended)| ended)
}

/// Some child that has ended; its zombie stays, and hides those that come after it.
pub(crate) fn peek_any() -> Option<Pid> {
    waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).ok()?.map(|(pid, _)| pid)
}

/// Takes the zombie of a child away, if it has ended.
pub(crate) fn reap(pid: Pid) -> Option<Ended> {
    let id = pid.as_raw_nonzero().get() as libc::id_t;
    waitid(libc::P_PID, id, libc::WEXITED | libc::WNOHANG).ok()?.map(|(_, ended)| ended)
}

/// Waits for a child's end and takes its zombie away.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn reap_blocking(pid: Pid) -> io::Result<Option<Ended>> {
    let id = pid.as_raw_nonzero().get() as libc::id_t;
    Ok(waitid(libc::P_PID, id, libc::WEXITED)?.map(|(_, ended)| ended))
}

fn waitid(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<(Pid, Ended)>> {
    let mut siginfo = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: waitid writes at most one siginfo to the given address; an all-zero one is valid and means "nobody".
    let (pid, ended) = unsafe {
        super::check(libc::waitid(kind, id, siginfo.as_mut_ptr(), options).into())?;
        let siginfo = siginfo.assume_init();
        (siginfo.si_pid(), Ended { code: siginfo.si_code, status: siginfo.si_status() })
    };
    Ok(Pid::from_raw(pid).map(|pid| (pid, ended)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peek_leaves_the_zombie_and_a_reap_takes_it() {
        let pid = crate::sys::clone::fork_sharing_descriptors(|| crate::sys::clone::exit_now(3)).unwrap();
        let ended = loop {
            if let Some(ended) = peek(pid) {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(ended, Ended { code: libc::CLD_EXITED, status: 3 });
        assert_eq!(peek(pid), Some(ended));
        assert_eq!(reap(pid), Some(ended));
        assert_eq!(peek(pid), None);
    }
}
