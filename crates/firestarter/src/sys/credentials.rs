//! Who sent a message, and who is at the other end of a connection: the kernel's word for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// A message that was looked at and still stands in its socket.
#[derive(Debug)]
pub(crate) struct Peeked {
    /// How many bytes of it were read.
    pub(crate) read: usize,
    /// It has more bytes than that.
    pub(crate) longer: bool,
    /// Which process sent it; none for one that has no number here.
    pub(crate) sender: Option<Pid>,
    /// Copies of descriptors that came with it.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// More descriptors came with it than there was room for.
    pub(crate) more_descriptors: bool,
}

/// So much room takes the sender, in words of eight bytes; in that there is none for a descriptor.
const FOR_SENDER: usize = 4;
/// And so much more all the descriptors that one message can bring, 253.
const FOR_DESCRIPTORS: usize = 2 + 127;

/// Looks at the next message without taking it, or any descriptor that comes with it. The socket must have
/// `SO_PASSCRED`.
///
/// # Errors
/// `EAGAIN` if there is none.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Peeked> {
    look(socket, buffer, &mut [MaybeUninit::uninit(); FOR_SENDER])
}

/// As `peek`, with copies of the descriptors. To look again makes new ones.
///
/// # Errors
/// `EAGAIN` if there is none.
pub(crate) fn peek_with_descriptors(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Peeked> {
    look(socket, buffer, &mut [MaybeUninit::uninit(); FOR_SENDER + FOR_DESCRIPTORS])
}

fn look(socket: BorrowedFd<'_>, buffer: &mut [u8], control: &mut [MaybeUninit<u64>]) -> io::Result<Peeked> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: an all-zero msghdr is valid; it then points to one iovec over `buffer` and to an aligned control buffer,
    // both alive until the call returns. The control messages are walked within what the kernel says it wrote. The
    // descriptors in them are new and nobody else's.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(control);
        let read = super::check(libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) as libc::c_long)?;
        let (mut sender, mut descriptors) = (None, Vec::new());
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while let Some(part) = header.as_ref() {
            let payload = libc::CMSG_DATA(header);
            if part.cmsg_level == libc::SOL_SOCKET && part.cmsg_type == libc::SCM_CREDENTIALS {
                sender = Pid::from_raw(payload.cast::<libc::ucred>().read_unaligned().pid);
            }
            if part.cmsg_level == libc::SOL_SOCKET && part.cmsg_type == libc::SCM_RIGHTS {
                let bytes = part.cmsg_len - (payload as usize - header as usize);
                let number = |index| payload.cast::<i32>().add(index).read_unaligned();
                descriptors.extend((0..bytes / size_of::<i32>()).map(|index| OwnedFd::from_raw_fd(number(index))));
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        let flag = |flag| message.msg_flags & flag != 0;
        let (longer, more_descriptors) = (flag(libc::MSG_TRUNC), flag(libc::MSG_CTRUNC));
        Ok(Peeked { read: read as usize, longer, sender, descriptors, more_descriptors })
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
            let peeked = peek(here.as_fd(), &mut buffer).unwrap();
            assert_eq!((peeked.read, &buffer, peeked.sender), (3, b"hel", Some(rustix::process::getpid())));
        }
        let mut taken = [0; 5];
        here.read_exact(&mut taken).unwrap();
        assert_eq!(&taken, b"hello");
    }

    #[test]
    fn descriptors_are_copied_only_when_they_are_asked_for() {
        use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
        let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&here, true).unwrap();
        let sent = std::fs::File::open("/dev/null").unwrap();
        for count in [1, 253] {
            let fds = vec![sent.as_fd(); count];
            let mut space = vec![MaybeUninit::uninit(); 8 + 4 * count + 64];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&there, &[io::IoSlice::new(b"four")], &mut control, SendFlags::empty()).unwrap();
            let without = peek(here.as_fd(), &mut [0; 3]).unwrap();
            assert_eq!((without.read, without.longer, without.descriptors.len()), (3, true, 0));
            assert!(without.more_descriptors);
            let with = peek_with_descriptors(here.as_fd(), &mut [0; 4]).unwrap();
            assert_eq!((with.longer, with.descriptors.len(), with.more_descriptors), (false, count, false));
            assert!(with.sender.is_some());
            let flags = rustix::io::fcntl_getfd(&with.descriptors[count - 1]).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            assert!(super::super::fds::same_file(&sent, &with.descriptors[0]));
            here.recv(&mut [0; 8]).unwrap();
        }
    }
}
