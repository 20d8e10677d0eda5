//! Another program in place of this one, in the same process: pid, children and descriptors stay. Used by the keeper.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{open, stat, Mode, OFlags, Stat};
use rustix::io::{fcntl_getfd, fcntl_setfd, FdFlags};

/// The file of the program that runs.
const OWN: &str = "/proc/self/exe";

/// Executes the program behind `program`, which may be opened by `O_PATH`, with these arguments and variables. Descriptors
/// of `kept` stay open, all others above the standard streams are closed. Returns only what went wrong; then all is as it
/// was.
pub(crate) fn execute(program: BorrowedFd<'_>, args: &[OsString], variables: &[OsString], kept: &[RawFd]) -> io::Error {
    let (args, variables) = match (c_strings(args), c_strings(variables)) {
        (Some(args), Some(variables)) => (args, variables),
        _ => return io::ErrorKind::InvalidInput.into(),
    };
    kept.iter().for_each(|number| set_close_on_exec(*number, false));
    let (args_at, variables_at) = (pointers(&args), pointers(&variables));
    // SAFETY: both arrays end with a null pointer and point to strings that end with a zero and live until the call is
    // over; the path is empty, so the descriptor alone says what is executed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args_at.as_ptr(),
            variables_at.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    let error = io::Error::last_os_error();
    kept.iter().for_each(|number| set_close_on_exec(*number, true));
    error
}

/// The program that runs, to be executed again. Who may execute a file may not be one to read it.
///
/// # Errors
/// There is no `/proc`, or no descriptor.
pub(crate) fn own_program() -> io::Result<OwnedFd> {
    Ok(open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether a file is that of the program that runs.
pub(crate) fn is_own_program(file: rustix::io::Result<Stat>) -> bool {
    let place = |stat: Stat| (stat.st_dev, stat.st_ino);
    let own = stat(OWN).map(place);
    own.is_ok() && own == file.map(place)
}

/// Whether a descriptor is closed when a program is executed.
pub(crate) fn set_close_on_exec(number: RawFd, close: bool) {
    // SAFETY: only a flag of the number is changed; one that is not open gives an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if let Ok(flags) = fcntl_getfd(fd) {
        let mut flags = flags;
        flags.set(FdFlags::CLOEXEC, close);
        let _ = fcntl_setfd(fd, flags);
    }
}

fn c_strings(strings: &[OsString]) -> Option<Vec<CString>> {
    strings.iter().map(|string| CString::new(string.clone().into_vec()).ok()).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::{exit_now, fork_copying_descriptors};
    use rustix::pipe::{pipe_with, PipeFlags};
    use std::os::fd::AsFd;

    #[test]
    fn a_program_takes_this_ones_place_with_what_is_kept() {
        let shell = rustix::fs::open("/bin/sh", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (_, closed) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (kept, closed_too) = (write.as_raw_fd(), closed.as_raw_fd());
        let own = "/proc/self/fd";
        let script = format!("echo $$ $A >{own}/{kept}; [ -e {own}/{closed_too} ] && exit 1; exit 7");
        let child = fork_copying_descriptors(|| {
            let args = ["sh", "-c", &script].map(OsString::from);
            execute(shell.as_fd(), &args, &["A=b".into()], &[write.as_raw_fd()]);
            exit_now(1)
        })
        .unwrap();
        let ended = crate::sys::wait::reap_blocking(child).unwrap().unwrap();
        assert_eq!(ended.status, 7, "a descriptor that is not kept was open");
        let mut said = [0; 64];
        let length = rustix::io::read(&read, &mut said).unwrap();
        assert_eq!(std::str::from_utf8(&said[..length]).unwrap(), format!("{} b\n", child.as_raw_nonzero()));
    }

    #[test]
    fn what_cannot_be_executed_changes_nothing() {
        let (_, kept) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = execute(file.as_fd(), &["x".into()], &[], &[kept.as_raw_fd()]);
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        assert!(fcntl_getfd(&kept).unwrap().contains(FdFlags::CLOEXEC));
        let error = execute(file.as_fd(), &[OsString::from_vec(b"a\0b".into())], &[], &[]);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
