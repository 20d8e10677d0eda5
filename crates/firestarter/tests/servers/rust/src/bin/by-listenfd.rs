//! Takes its socket by the crate `listenfd`.

use std::io;

fn main() -> io::Result<()> {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    servers::serve(listener.ok_or_else(|| io::Error::other("take the socket: there is none in LISTEN_FDS"))?, || {})
}
