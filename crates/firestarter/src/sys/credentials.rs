//! Who sent a message, and who is at the other end of a connection: the kernel's word for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::process::Pid;

/// Looks at the next message without taking it: how many bytes of it fit into `buffer`, and which process sent it. The
/// socket must have `SO_PASSCRED`. Descriptors that come with it are closed.
///
/// # Errors
/// `EAGAIN` if there is none.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<Pid>)> {
    let mut control = [MaybeUninit::<u64>::uninit(); 16];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: an all-zero msghdr is valid; it then points to one iovec over `buffer` and to an aligned control buffer,
    // both alive until the call returns. The control messages are walked within what the kernel says it wrote.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let read = super::check(libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) as libc::c_long)?;
        let mut sender = None;
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while let Some(part) = header.as_ref() {
            let payload = libc::CMSG_DATA(header);
            if part.cmsg_level == libc::SOL_SOCKET && part.cmsg_type == libc::SCM_CREDENTIALS {
                sender = Pid::from_raw(payload.cast::<libc::ucred>().read_unaligned().pid);
            }
            if part.cmsg_level == libc::SOL_SOCKET && part.cmsg_type == libc::SCM_RIGHTS {
                let bytes = part.cmsg_len - (payload as usize - header as usize);
                for index in 0..bytes / size_of::<i32>() {
                    libc::close(payload.cast::<i32>().add(index).read_unaligned());
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        Ok((read as usize, sender))
    }
}

/// The user at the other end of a connected unix socket. Its pid is not asked for: for whoever is outside our pid
/// namespace the kernel writes 0, which is no pid.
///
/// # Errors
/// It is no such socket.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `peer`, every content of which is valid.
    let got = unsafe {
        let (peer, length) = ((&raw mut peer).cast(), &raw mut length);
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, peer, length)
    };
    super::check(got.into())?;
    Ok(peer.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_connection_has_its_user_and_a_file_has_none() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(peer_uid(here.as_fd()).unwrap(), rustix::process::geteuid().as_raw());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_uid(file.as_fd()).is_err());
    }

    #[test]
    fn a_peek_names_the_sender_and_leaves_the_message() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&here, true).unwrap();
        assert!(peek(here.as_fd(), &mut [0; 8]).is_err());
        there.write_all(b"hello").unwrap();
        let mut buffer = [0; 3];
        for _ in 0..2 {
            let (read, sender) = peek(here.as_fd(), &mut buffer).unwrap();
            assert_eq!((read, &buffer, sender), (3, b"hel", Some(rustix::process::getpid())));
        }
        let mut taken = [0; 5];
        here.read_exact(&mut taken).unwrap();
        assert_eq!(&taken, b"hello");
    }
}
