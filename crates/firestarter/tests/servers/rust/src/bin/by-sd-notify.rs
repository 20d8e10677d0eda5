//! Takes its socket by the crate `sd-notify`, and says by it that it is ready.

use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() -> io::Result<()> {
    let first = sd_notify::listen_fds()?.next();
    let first = first.ok_or_else(|| io::Error::other("take the socket: there is none in LISTEN_FDS"))?;
    // SAFETY: the descriptor was passed for this, and nobody else here has it.
    let listener = unsafe { TcpListener::from_raw_fd(first) };
    servers::serve(listener, || sd_notify::notify(false, &[sd_notify::NotifyState::Ready]).expect("say READY=1"))
}
