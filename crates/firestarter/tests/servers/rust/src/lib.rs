//! A web server of the two programs beside it: answers with its process id, a little late, or two seconds late at /slow,
//! and finishes what it has begun on SIGTERM.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags};

/// Serves until SIGTERM. `ready` is called once when it is handled.
pub fn serve(listener: TcpListener, ready: impl FnOnce()) -> io::Result<()> {
    let (asked_to_end, written_by_signal) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, written_by_signal)?;
    listener.set_nonblocking(true)?;
    ready();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let mut fds = [PollFd::new(&asked_to_end, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            break;
        }
        match listener.accept() {
            Ok((stream, _)) => threads.push(std::thread::spawn(move || drop(answer(stream)))),
            // Another worker was faster.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        threads.retain(|thread| !thread.is_finished());
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
    let slow = request.starts_with(b"GET /slow ");
    std::thread::sleep(Duration::from_millis(if slow { 2000 } else { 5 }));
    let body = std::process::id().to_string();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
