//! Work that nobody waits for: a thread that gets what the others leave of the processors and the disks. Called by the
//! thread that compresses backups.

/// Gives the calling thread, and no other, the lowest priority that it may have. What is not allowed is left as it is.
pub(crate) fn yield_to_all() {
    let _ = rustix::process::setpriority_process(None, 19);
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; the call reads the one structure, which is alive.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const no_priority) };
    // SAFETY: numbers only; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT) };
}

// From linux/ioprio.h, which the C library does not have.
const WHO_PROCESS: libc::c_int = 1;
const CLASS_IDLE: libc::c_int = 3;
const CLASS_SHIFT: libc::c_int = 13;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nice value, scheduling policy, class of the disk.
    fn standing() -> (i32, i32, i64) {
        let nice = rustix::process::getpriority_process(None).unwrap();
        // SAFETY: numbers only; 0 is the calling thread.
        unsafe {
            (nice, libc::sched_getscheduler(0), libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) >> CLASS_SHIFT)
        }
    }

    #[test]
    fn only_the_thread_that_asks_yields() {
        let before = standing();
        let there = std::thread::spawn(|| {
            yield_to_all();
            standing()
        });
        assert_eq!(there.join().unwrap(), (19, libc::SCHED_IDLE, CLASS_IDLE.into()));
        assert_eq!(standing(), before);
    }
}
