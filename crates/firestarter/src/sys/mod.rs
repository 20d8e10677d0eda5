//! The only room with `unsafe`: what no safe crate offers. Each block says why it is sound, and each function has a
//! test. Used by the keeper, the daemon, the writer and the journal; it knows nothing of them.

pub(crate) mod clone;
pub(crate) mod credentials;
pub(crate) mod exec;
pub(crate) mod fds;
pub(crate) mod idle;
pub(crate) mod image;
pub(crate) mod leases;
pub(crate) mod maps;
pub(crate) mod oom;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod wait;

#[cfg(target_endian = "big")]
compile_error!("the kernel writes pids into the low half of 64-bit words: little-endian machines only");

use std::io;

/// Turns the C library's -1 into the error that goes with it.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
