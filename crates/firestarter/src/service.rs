//! The service manager that has started Firestarter, if one has: systemd, or who speaks as it does (sd_notify(3)). Made
//! by `start`. The process that it has started speaks to it and no other, which is the keeper: so `NotifyAccess=main`
//! suffices. Nothing here waits for it but for a moment at the start, where it says so, and for one that does not read no
//! more than once.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::net::{
    self, sendmsg_addr, sockopt, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pipe::{pipe_with, PipeFlags};

/// At the start it is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Service {
    socket: OwnedFd,
    address: SocketAddrUnix,
    /// Whether it has been in time whenever it was waited for.
    in_time: Cell<bool>,
    /// It must hear so often that all is well; none: it need not.
    pub(crate) watchdog: Option<Duration>,
    /// So many descriptors it keeps for us.
    pub(crate) room: usize,
}

impl Service {
    /// Finds it by the environment. Its descriptor has a number of at least `above`.
    pub(crate) fn find(env: impl Fn(&str) -> Option<OsString>, above: i32) -> Option<Service> {
        let address = address(&env("NOTIFY_SOCKET")?)?;
        let number = |name: &str| env(name)?.to_str()?.trim().parse::<u64>().ok();
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
        let socket = fcntl_dupfd_cloexec(&socket, above).ok()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE)).ok()?;
        // A watchdog of who has started us, and has not thought of us, is not ours.
        let ours = env("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        let room = number("FDSTORE").map_or(0, |room| usize::try_from(room).unwrap_or(usize::MAX));
        Some(Service { socket, address, in_time: Cell::new(true), watchdog, room })
    }

    /// Tells it something, unless it has too much to read already.
    ///
    /// # Errors
    /// `EAGAIN`: it has. Others: it is not there.
    pub(crate) fn tell(&self, text: &str) -> Result<(), Errno> {
        self.send(text, &[], SendFlags::DONTWAIT)
    }

    /// Has it keep a descriptor under a name, also one whose other end is gone. May wait for a moment if `patient`.
    ///
    /// # Errors
    /// It was not told. `EAGAIN`: it has too much to read.
    pub(crate) fn keep(&self, fd: BorrowedFd<'_>, name: &str, patient: bool) -> Result<(), Errno> {
        let flags = if patient { self.patiently() } else { SendFlags::DONTWAIT };
        self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), &[fd], flags)
    }

    /// Has it close what it keeps under a name.
    ///
    /// # Errors
    /// It was not told.
    pub(crate) fn forget(&self, name: &str) -> Result<(), Errno> {
        self.remove(name, SendFlags::DONTWAIT)
    }

    /// Has it close what it keeps under these names, and waits for a moment until it has.
    pub(crate) fn let_go(&self, names: &[String]) {
        let told = |name: &String| self.remove(name, self.patiently()).is_ok();
        // The end of a pipe that comes after all this is closed after it too (sd_notify_barrier(3)).
        if names.iter().filter(|name| told(name)).count() == 0 {
            return;
        }
        let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC) else { return };
        if self.send("BARRIER=1", &[write.as_fd()], self.patiently()).is_ok() {
            drop(write);
            let mut fds = [PollFd::new(&read, PollFlags::empty())];
            let ended = poll(&mut fds, Timespec::try_from(PATIENCE).ok().as_ref());
            self.in_time.set(ended != Ok(0));
        }
    }

    fn remove(&self, name: &str, flags: SendFlags) -> Result<(), Errno> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[], flags)
    }

    /// How to tell what can be waited for: who was not in time once is not waited for again.
    fn patiently(&self) -> SendFlags {
        if self.in_time.get() {
            SendFlags::empty()
        } else {
            SendFlags::DONTWAIT
        }
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>], flags: SendFlags) -> Result<(), Errno> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL);
        }
        let text = [IoSlice::new(text.as_bytes())];
        let sent = sendmsg_addr(&self.socket, &self.address, &text, &mut control, flags | SendFlags::NOSIGNAL);
        if sent == Err(Errno::AGAIN) && !flags.contains(SendFlags::DONTWAIT) {
            self.in_time.set(false);
        }
        sent.map(|_| ())
    }
}

impl AsFd for Service {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A path, or behind `@` an abstract name.
fn address(written: &OsString) -> Option<SocketAddrUnix> {
    match written.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddrUnix::new_abstract_name(name).ok(),
        [b'/', ..] => SocketAddrUnix::new(written.as_bytes()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn found(variables: &[(&str, &str)]) -> Option<Service> {
        let find = |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| OsString::from(value));
        Service::find(find, 64)
    }

    #[test]
    fn it_is_found_by_a_path_or_a_name_and_told() {
        let own = std::process::id();
        let path = std::env::temp_dir().join(format!("firestarter-service-{own}"));
        let name = format!("firestarter-service-{own}");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, at) in [(by_path, path.to_str().unwrap()), (by_name, &format!("@{name}"))] {
            let service = found(&[("NOTIFY_SOCKET", at)]).unwrap();
            service.tell("READY=1").unwrap();
            let mut buffer = [0; 64];
            let read = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..read], b"READY=1");
            socket.set_nonblocking(true).unwrap();
            let full = (0..100_000).find_map(|_| service.tell("STATUS=").err());
            assert_eq!(full, Some(Errno::AGAIN), "a full queue is not waited for");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_that_does_not_read_is_waited_for_once_though_its_queue_has_room() {
        let path = std::env::temp_dir().join(format!("firestarter-service-silent-{}", std::process::id()));
        let silent = UnixDatagram::bind(&path).unwrap();
        let service = found(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
        assert!(service.patiently().is_empty());
        service.let_go(&["one".to_owned(), "two".to_owned()]);
        assert_eq!(service.patiently(), SendFlags::DONTWAIT);
        service.keep(silent.as_fd(), "three", true).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_an_address_there_is_none_and_a_watchdog_may_be_anothers() {
        for nowhere in ["", "@", "relative", "vsock:2:1"] {
            assert!(found(&[("NOTIFY_SOCKET", nowhere)]).is_none(), "{nowhere:?}");
        }
        assert!(found(&[("WATCHDOG_USEC", "1000000")]).is_none());
        let own = std::process::id().to_string();
        let watchdog = |usec, pid: Option<&str>| {
            let pid = pid.map(|pid| ("WATCHDOG_PID", pid));
            let rest = [("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", usec)];
            found(&rest.into_iter().chain(pid).collect::<Vec<_>>()).unwrap().watchdog
        };
        assert_eq!(watchdog("1500000", None), Some(Duration::from_millis(1500)));
        assert_eq!(watchdog("1500000", Some(&own)), Some(Duration::from_millis(1500)));
        for (usec, pid) in [("1500000", Some("1")), ("1500000", Some("")), ("0", None), ("-1", None), ("x", None)] {
            assert_eq!(watchdog(usec, pid), None, "{usec} {pid:?}");
        }
        let room = |room| found(&[("NOTIFY_SOCKET", "@x"), ("FDSTORE", room)]).unwrap().room;
        assert_eq!([room("12"), room("none")], [12, 0]);
    }
}
