//! Descriptors by number. Keeper and daemon share one table, so a number is enough to find what another daemon
//! opened; the journal's ledger says which numbers mean something.
//!
//! Numbers below [`STAGE_END`] are the *stage*: what a spawn will inherit is put there under the number that the worker
//! will see, and the new process keeps a copy of the stage alone. Every free number of the stage is taken by a
//! placeholder, so that no other open can land there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The first number above the stage.
pub(crate) const STAGE_END: RawFd = 64;

/// Makes what a number means one's own again. The caller knows from the ledger that the number is open and whose it is.
pub(crate) fn adopt(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD touches no memory. An open number that the ledger names belongs to the daemon that reads the
    // ledger: the one that opened it is dead, and the keeper never closes a number that it did not open.
    unsafe {
        let open = libc::fcntl(number, libc::F_GETFD) >= 0;
        open.then(|| OwnedFd::from_raw_fd(number))
    }
}

/// Puts a copy under a given number, in place of what was there.
///
/// # Errors
/// The kernel's: `EBADF` if the number is above the limit.
pub(crate) fn place(fd: impl AsRawFd, number: RawFd, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: dup3 touches no memory. It closes what was under `number`; only numbers of the stage are given, and
    // nothing owns those.
    super::check(unsafe { libc::dup3(fd.as_raw_fd(), number, flags) }.into()).map(|_| ())
}

/// Takes every free number below [`STAGE_END`] with copies of `placeholder`, and closes what was inherited above the
/// standard streams.
///
/// # Errors
/// The kernel's.
pub(crate) fn prepare_stage(placeholder: BorrowedFd<'_>) -> io::Result<()> {
    let own = placeholder.as_raw_fd();
    (3..STAGE_END).filter(|number| *number != own).try_for_each(|number| place(placeholder, number, true))
}

/// Takes the first `count` numbers after the standard streams, which were inherited for a purpose, to numbers above the
/// stage, and closes everything else that was. To be called before anything is opened. None where there was nothing.
pub(crate) fn take_inherited(count: usize) -> Vec<Option<OwnedFd>> {
    let take = |number: RawFd| {
        // SAFETY: nothing owns what was inherited. The copy's number is new; one that is not open gives an error.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_dupfd_cloexec(inherited, STAGE_END).ok()
    };
    let taken: Vec<Option<OwnedFd>> = (3..).take(count).map(take).collect();
    let mut kept: Vec<RawFd> = taken.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    close_from(3, kept.into_iter());
    taken
}

/// Closes every number above the stage that `named` does not hold. `named` is in ascending order.
pub(crate) fn close_all_but(named: impl Iterator<Item = RawFd>) {
    close_from(STAGE_END, named);
}

/// Closes every number above the standard streams, those of the stage too, that `kept` does not hold. `kept` is in
/// ascending order. For a process that has a table of its own, which it was given with everything in it.
pub(crate) fn keep_only(kept: impl Iterator<Item = RawFd>) {
    close_from(3, kept);
}

fn close_from(first: RawFd, kept: impl Iterator<Item = RawFd>) {
    let mut next = first;
    for keep in kept.filter(|number| *number >= first) {
        if keep > next {
            close_range(next, keep - 1);
        }
        next = keep + 1;
    }
    close_range(next, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: closes numbers that nothing in this process owns: before anything was opened, or such as no ledger entry
    // names. No memory is touched.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Whether a number is an open unix socket that is connected to somebody, and not one that listens.
pub(crate) fn is_unix_connection(number: RawFd) -> bool {
    // SAFETY: the number is only asked about while nobody else opens or closes any; one that is not open gives an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let unix = rustix::net::sockopt::socket_domain(fd).is_ok_and(|domain| domain == rustix::net::AddressFamily::UNIX);
    unix && rustix::net::sockopt::socket_acceptconn(fd).is_ok_and(|listens| !listens)
}

/// Another descriptor of what this number is.
///
/// # Errors
/// The number is not open; no descriptor.
pub(crate) fn copy(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only copied; one that is not open gives an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, STAGE_END)?)
}

/// The position of the file of this number: how far whoever has it open has come.
///
/// # Errors
/// The number is not open, or is no file.
pub(crate) fn position(number: RawFd) -> io::Result<u64> {
    // SAFETY: the number is only looked at; one that is not open gives an error.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::fs::tell(file)?)
}

/// How long the file of this number is.
///
/// # Errors
/// The number is not open.
pub(crate) fn length(number: RawFd) -> io::Result<u64> {
    // SAFETY: the number is only looked at; one that is not open gives an error.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::fs::fstat(file)?.st_size as u64)
}

/// So many bytes from this position of the file of this number, or as many as there are.
///
/// # Errors
/// The number is not open, or nothing that can be read from there.
pub(crate) fn read_at(number: RawFd, position: u64, length: usize) -> io::Result<Vec<u8>> {
    // SAFETY: the number is only read from; one that is not open gives an error.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    let mut bytes = vec![0; length];
    let read = rustix::io::pread(file, &mut bytes, position)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What stands in a pipe, which it stays in. Nothing if it is at its end, or no pipe.
///
/// # Errors
/// The kernel's.
pub(crate) fn peek_pipe(number: RawFd) -> io::Result<Vec<u8>> {
    use rustix::pipe::{pipe_with, tee, PipeFlags, SpliceFlags};
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // SAFETY: the number is only read from; one that is not open, or no pipe, gives an error.
    let pipe = unsafe { BorrowedFd::borrow_raw(number) };
    let mut bytes = vec![0; tee(pipe, &write, 64 << 10, SpliceFlags::NONBLOCK)?];
    let length = rustix::io::read(&read, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Whether two descriptors are of one open file: what is done to one is done to the other.
pub(crate) fn same_file(one: &impl AsRawFd, other: &impl AsRawFd) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    let (pid, one, other) = (rustix::process::getpid().as_raw_nonzero().get(), one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: kcmp touches no memory.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, one, other) } {
        -1 => is_alike(one, other).unwrap_or(false),
        order => order == 0,
    }
}

/// Where the kernel does not tell (it is built without kcmp, or a container forbids it): the same inode, opened in the
/// same way. Only devices can be opened twice to see different things.
fn is_alike(one: RawFd, other: RawFd) -> rustix::io::Result<bool> {
    use rustix::fs::{fcntl_getfl, fstat, FileType};
    // SAFETY: the caller owns both and keeps them open.
    let (one, other) = unsafe { (BorrowedFd::borrow_raw(one), BorrowedFd::borrow_raw(other)) };
    let (a, b) = (fstat(one)?, fstat(other)?);
    let device = FileType::from_raw_mode(a.st_mode) == FileType::CharacterDevice;
    let same_inode = (a.st_dev, a.st_ino, a.st_mode) == (b.st_dev, b.st_ino, b.st_mode);
    Ok(same_inode && !device && fcntl_getfl(one)? == fcntl_getfl(other)?)
}

/// Raises the soft limit of open files to the hard one and returns what it was, for the workers.
pub(crate) fn raise_limit() -> (u64, u64) {
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: before.maximum, maximum: before.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    (before.current.unwrap_or(libc::RLIM_INFINITY), before.maximum.unwrap_or(libc::RLIM_INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::{exit_now, fork_sharing_descriptors};

    /// In a process of its own with a table of its own: the functions change the whole table.
    fn apart(test: impl FnOnce()) {
        let child = fork_sharing_descriptors(|| {
            crate::sys::clone::unshare_descriptors();
            test();
            exit_now(0)
        });
        let ended = crate::sys::wait::reap_blocking(child.unwrap()).unwrap();
        assert_eq!(ended.map(|e| (e.code, e.status)), Some((libc::CLD_EXITED, 0)));
    }

    /// Without a heap: another thread of the test may hold its lock in the moment of the fork.
    fn open(number: RawFd) -> bool {
        adopt(number).map(std::mem::forget).is_some()
    }

    #[test]
    fn the_sweep_closes_all_that_is_not_named_and_nothing_else() {
        apart(|| {
            let null = std::fs::File::open("/dev/null").unwrap();
            for number in [100, 101, 102, 150, 200] {
                place(null.as_raw_fd(), number, true).unwrap();
            }
            close_all_but([5, 101, 150].into_iter());
            if [100, 101, 102, 150, 200].map(open) != [false, true, false, true, false] {
                exit_now(1);
            }
            std::mem::forget(null);
        });
    }

    #[test]
    fn copies_are_of_one_open_file_and_others_are_not() {
        let one = std::fs::File::open("/proc/self/stat").unwrap();
        let (copy, other) = (one.try_clone().unwrap(), std::fs::File::open("/proc/self/status").unwrap());
        assert!(same_file(&one, &copy) && !same_file(&one, &other));
        let alike = |other: &std::fs::File| is_alike(one.as_raw_fd(), other.as_raw_fd()).unwrap();
        assert!(alike(&copy) && !alike(&other));
        let null = || std::fs::File::open("/dev/null").unwrap();
        assert!(!is_alike(null().as_raw_fd(), null().as_raw_fd()).unwrap_or(false));
    }

    #[test]
    fn after_the_stage_is_prepared_new_numbers_are_above_it() {
        apart(|| {
            drop(take_inherited(0));
            let null = std::fs::File::open("/dev/null").unwrap();
            prepare_stage(std::os::fd::AsFd::as_fd(&null)).unwrap();
            let next = std::fs::File::open("/dev/null").unwrap();
            if next.as_raw_fd() != STAGE_END || adopt(STAGE_END + 1).is_some() {
                exit_now(1);
            }
            std::mem::forget((null, next));
        });
    }
}
