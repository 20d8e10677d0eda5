//! Options of sockets that no safe crate offers: the interface that a socket is bound to, and what becomes of the queue of
//! a socket that is closed while others listen at the same address.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Binds a socket to a network interface, by its name.
///
/// # Errors
/// `ENODEV`: there is no such interface.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    set_option(socket, libc::SO_BINDTODEVICE, name.as_bytes())
}

/// From now on, when one of the sockets of TCP that share this one's port (SO_REUSEPORT) is closed or shut down, the
/// connections that wait at it go to another one, chosen by the kernel. Without this they are reset, unless the sysctl
/// net.ipv4.tcp_migrate_req is 1. To be called when the socket is bound; holds for those that join later too.
///
/// # Errors
/// `EPERM`: it takes the capability CAP_BPF (and CAP_NET_ADMIN); `EINVAL`: the kernel is older than 5.14.
pub(crate) fn hand_on_when_closed(socket: BorrowedFd<'_>) -> io::Result<()> {
    let program = load_program()?;
    set_option(socket, SO_ATTACH_REUSEPORT_EBPF, &program.as_raw_fd().to_ne_bytes())
}

/// From the kernel's `asm-generic/socket.h`.
const SO_ATTACH_REUSEPORT_EBPF: libc::c_int = 52;

/// The members of the kernel's `union bpf_attr` for BPF_PROG_LOAD (`linux/bpf.h`), up to the one that matters here.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_SK_REUSEPORT: u32 = 21;
const BPF_SK_REUSEPORT_SELECT_OR_MIGRATE: u32 = 40;
/// `r0 = SK_PASS; exit`: chooses nothing, so the kernel goes on by its hash. What counts is the type.
const INSTRUCTIONS: [u64; 2] = [1 << 32 | 0xb7, 0x95];

fn load_program() -> io::Result<OwnedFd> {
    let load = Load {
        prog_type: BPF_PROG_TYPE_SK_REUSEPORT,
        insn_cnt: INSTRUCTIONS.len() as u32,
        insns: INSTRUCTIONS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type: BPF_SK_REUSEPORT_SELECT_OR_MIGRATE,
        ..Load::default()
    };
    // SAFETY: the kernel reads `load`, which is as long as it is told, and what it points to, which is static. The
    // descriptor that it returns is new, and nobody else's.
    unsafe {
        let loaded = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>());
        Ok(OwnedFd::from_raw_fd(super::check(loaded)? as i32))
    }
}

fn set_option(socket: BorrowedFd<'_>, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.as_ptr().cast(), length) };
    super::check(set.into()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use rustix::net::{self, sockopt, AddressFamily, SocketType};

    fn listener(port: u16) -> TcpListener {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&socket, true).unwrap();
        net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        net::listen(&socket, 512).unwrap();
        socket.into()
    }

    #[test]
    fn what_waits_at_a_socket_that_is_closed_goes_to_another() {
        let first = listener(0);
        let address = first.local_addr().unwrap();
        if let Err(error) = hand_on_when_closed(first.as_fd()) {
            return eprintln!("skipped: needs CAP_BPF and Linux 5.14: {error}");
        }
        let second = listener(address.port());
        let waiting: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        drop(second);
        first.set_nonblocking(true).unwrap();
        let accepted = std::iter::from_fn(|| first.accept().ok()).count();
        assert_eq!(accepted, waiting.len());
    }

    #[test]
    fn an_interface_must_be_there() {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let error = bind_to_interface(socket.as_fd(), "no-such-one").unwrap_err().raw_os_error();
        assert!(matches!(error, Some(libc::ENODEV | libc::EPERM)), "{error:?}");
    }
}
