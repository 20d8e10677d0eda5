//! Whether a file is being written, as the kernel knows it: it grants a lease for reading only while nobody has the file
//! open for writing. That is what an exec would stumble over (`ETXTBSY`), asked without an exec.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// File systems that refuse a lease for reasons of their own, so that a refusal says nothing: NFS, and the three
/// numbers of SMB.
const REFUSE_ALWAYS: [u32; 4] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x517b];

/// From the kernel's `asm-generic/fcntl.h`; the crate libc has it for Android only.
const F_SETSIG: libc::c_int = 10;

/// Whether somebody has this regular file open for writing. False where it cannot be told: a file that may not be read,
/// one of another owner without the capability CAP_LEASE, a file system without leases.
pub(crate) fn is_open_for_writing(path: &Path) -> bool {
    let Ok(file) = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) else {
        return false;
    };
    if rustix::fs::fstatfs(&file).is_ok_and(|kind| REFUSE_ALWAYS.contains(&(kind.f_type as u32))) {
        return false;
    }
    // SAFETY: fcntl with these commands takes an integer and touches no memory; the descriptor is open.
    unsafe {
        // Should somebody open the file for writing in the very moment of the lease, its holder gets a signal: one that
        // is ignored by default in place of SIGIO, which ends a process.
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
        let refused = super::check(libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK).into()).err();
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK);
        refused.is_some_and(|error| error.raw_os_error() == Some(libc::EAGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_open_for_writing_is_noticed_and_who_reads_it_is_not() {
        let path = std::env::temp_dir().join(format!("firestarter-lease-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        assert!(is_open_for_writing(&path));
        drop(writer);
        let reader = File::open(&path).unwrap();
        assert!(!is_open_for_writing(&path));
        // The lease was given back: who writes now does not wait for it.
        let writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert!(writer.is_ok() && is_open_for_writing(&path));
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        assert!(!is_open_for_writing(&path), "nobody writes what is not there");
    }
}
