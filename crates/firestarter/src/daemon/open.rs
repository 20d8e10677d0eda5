//! Opens everything once, before the keeper forks the first daemon: the lock, the control socket, the workers' sockets,
//! the shared sockets. Each is named in the ledger, where every daemon finds it. What cannot be opened is an error of the
//! start, told with its reason; then nothing was started and nothing is left behind.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use firestarter_core::event::Event;
use firestarter_core::Supervisor;
use rustix::fs::{flock, FlockOperation, Mode};
use rustix::net::{self, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Setup;
use crate::config::{Address, Config};
use crate::journal::{Log, LogError, Meaning, Records};
use crate::place::{check_own, FolderError, Place};
use crate::say::plain;
use crate::sys::fds::STAGE_END;

/// Where the files of a running Firestarter are.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    place: Place,
    /// Holds the workers' sockets.
    folder: PathBuf,
    lock: PathBuf,
}

/// Why Firestarter cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{what} {}: {}", path.display(), plain(source))]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: another Firestarter runs here; `firestarter stop -d {}` ends it, `-d` names another place", .0.display(), .0.display())]
    Running(PathBuf),
    #[error("{group}: bind {address}: {}{}", plain(source), advice(source))]
    Bind { group: String, address: String, source: io::Error },
    #[error("bind {}: another program listens there", .0.display())]
    Live(PathBuf),
    #[error("bind {}: there is something that is no socket; remove it or name another place", .0.display())]
    NoSocket(PathBuf),
    #[error("bind {}: longer than the 107 bytes that a socket's path can have; name a shorter place with -d", .0.display())]
    TooLong(PathBuf),
    #[error("control socket: {0}")]
    Folder(#[from] FolderError),
    #[error("open {what}: {}", plain(source))]
    Kernel { what: &'static str, source: io::Error },
    #[error(
        "the limit of open files is {limit}, and this configuration needs {needed}: raise it (`ulimit -n {needed}`, or \
         LimitNOFILE= of systemd)"
    )]
    TooFewFiles { limit: u64, needed: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => " (another program has it: `ss -ltnp` shows which)",
        Some(libc::EACCES) => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
        Some(libc::EADDRNOTAVAIL) => " (no interface of this machine has that address)",
        _ => "",
    }
}

impl Runtime {
    pub(crate) fn new(place: Place) -> Runtime {
        let beside = |suffix: &str| {
            let mut path = place.path.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        Runtime { folder: beside(".d"), lock: beside(".lock"), place }
    }

    /// Where clients connect.
    pub(crate) fn control(&self) -> &Path {
        &self.place.path
    }

    /// Where the workers of a group connect.
    pub(crate) fn worker_socket(&self, group: u32) -> PathBuf {
        self.folder.join(format!("worker-{group}.sock"))
    }
}

/// What Firestarter keeps open for itself, and room for a few clients.
const OWN_FILES: u64 = 32;

/// Whether the limit of open files is high enough for all workers at once, with those that an upgrade starts beside them
/// left to chance.
///
/// # Errors
/// It is not; says how high it must be.
pub(crate) fn check_limit(config: &Config, limit: u64) -> Result<(), OpenError> {
    // For each group a worker socket and a pair, for each worker a pidfd.
    let of_group = |group: &crate::config::Group| 3 + group.sockets.len() as u64 + u64::from(group.spec.count.get());
    let needed = STAGE_END as u64 + OWN_FILES + config.groups.iter().map(of_group).sum::<u64>();
    if limit < needed {
        return Err(OpenError::TooFewFiles { limit, needed });
    }
    Ok(())
}

/// How many clients may wait to be taken in.
const CLIENT_BACKLOG: i32 = 512;
/// How many connections may wait at a shared socket; the kernel's `somaxconn` may be lower.
const BACKLOG: i32 = 4096;

/// Opens everything and writes the journal's beginning.
///
/// # Errors
/// The first thing that could not be opened; what had been made is removed.
pub(crate) fn open(setup: &Setup, journal: Records, log: &mut Log, seed: u64) -> Result<(), OpenError> {
    let runtime = &setup.runtime;
    let lock = lock(runtime)?;
    name(journal, lock.into(), Meaning::Keeper)?;
    let mut made = vec![runtime.lock.clone()];
    open_sockets(setup, journal, &mut made).inspect_err(|_| {
        made.iter().for_each(|path| drop(fs::remove_file(path)));
        let _ = fs::remove_dir(&runtime.folder);
    })?;
    let specs = setup.config.groups.iter().map(|group| group.spec.clone()).collect();
    let core = Supervisor::new(specs, setup.policy, seed, super::now());
    log.snapshot(&core)?;
    log.append(super::now(), &Event::Begin, &core)?;
    Ok(())
}

/// Every path that is bound is added to `made`.
fn open_sockets(setup: &Setup, journal: Records, made: &mut Vec<PathBuf>) -> Result<(), OpenError> {
    let runtime = &setup.runtime;
    let control = bind_private(&runtime.place.path)?;
    made.push(runtime.place.path.clone());
    net::listen(&control, CLIENT_BACKLOG).map_err(kernel("the control socket"))?;
    name(journal, control, Meaning::Control)?;
    private_folder(&runtime.folder)?;
    for (group, index) in setup.config.groups.iter().zip(0..) {
        let socket = bind_private(&runtime.worker_socket(index))?;
        made.push(runtime.worker_socket(index));
        net::listen(&socket, CLIENT_BACKLOG).map_err(kernel("a worker socket"))?;
        name(journal, socket, Meaning::WorkerSocket { group: index })?;
        let flags = SocketFlags::CLOEXEC;
        let (here, there) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(kernel("a socketpair for acks"))?;
        sockopt::set_socket_passcred(&here, true).map_err(kernel("a socketpair for acks"))?;
        name(journal, here, Meaning::PairHere { group: index })?;
        name(journal, there, Meaning::PairThere { group: index })?;
        for (socket, place) in group.sockets.iter().zip(0..) {
            let fd = match &socket.address {
                Address::Tcp(address) => tcp(*address),
                Address::Udp(_) | Address::Abstract(_) => Err(io::ErrorKind::Unsupported.into()),
                Address::Unix(path) => unix(path)?,
            };
            let address = socket.written.clone();
            let listener = fd.map_err(|source| OpenError::Bind { group: group.spec.name.clone(), address, source })?;
            if let Address::Unix(path) = &socket.address {
                made.push(path.clone());
            }
            name(journal, listener, Meaning::Listener { group: index, index: place })?;
        }
    }
    Ok(())
}

/// From now on the descriptor belongs to whoever reads the ledger.
fn name(journal: Records, fd: OwnedFd, meaning: Meaning) -> Result<(), OpenError> {
    let named = journal.ledger.name(&fd, meaning);
    let _ = fd.into_raw_fd();
    named.map_err(|source| OpenError::Kernel { what: "a descriptor", source })
}

fn kernel(what: &'static str) -> impl Fn(rustix::io::Errno) -> OpenError {
    move |errno| OpenError::Kernel { what, source: errno.into() }
}

fn file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::File { what, path: path.clone(), source }
}

/// One Firestarter at a place: whoever holds the lock. It is the kernel's, so it goes with the last of the processes.
fn lock(runtime: &Runtime) -> Result<File, OpenError> {
    let Runtime { place, lock: path, .. } = runtime;
    if let Some(parent) = place.path.parent().filter(|parent| !parent.exists()) {
        DirBuilder::new().mode(0o711).create(parent).map_err(file("create", parent))?;
    }
    check_own(place, rustix::process::geteuid().as_raw())?;
    loop {
        let nofollow = libc::O_NOFOLLOW;
        let options =
            File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).to_owned();
        let lock = options.open(path).map_err(file("open", path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Running(place.path.clone())),
            Err(errno) => return Err(file("lock", path)(errno.into())),
        }
        // The one before may have removed the file between the opening and the locking.
        let still_there =
            fs::symlink_metadata(path).is_ok_and(|there| lock.metadata().is_ok_and(|l| l.ino() == there.ino()));
        if still_there {
            return Ok(lock);
        }
    }
}

/// A folder of one's own that nobody else writes to.
fn private_folder(path: &Path) -> Result<(), OpenError> {
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file("create", path)(error)),
        Ok(()) | Err(_) => {}
    }
    let inside = Place { path: path.join("socket"), shared_parent: true };
    Ok(check_own(&inside, rustix::process::geteuid().as_raw())?)
}

/// A unix socket that only its owner, and root, can connect to.
fn bind_private(path: &Path) -> Result<OwnedFd, OpenError> {
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = unix_stream(path, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    rustix::process::umask(before);
    bound?.map_err(file("bind", path))
}

fn unix(path: &Path) -> Result<io::Result<OwnedFd>, OpenError> {
    Ok(unix_stream(path, SocketFlags::CLOEXEC)?.and_then(|socket| {
        net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }))
}

/// Binds a path. A socket that nobody listens at any more is replaced.
fn unix_stream(path: &Path, flags: SocketFlags) -> Result<io::Result<OwnedFd>, OpenError> {
    let address = SocketAddrUnix::new(path).map_err(|_| OpenError::TooLong(path.to_owned()))?;
    match fs::symlink_metadata(path) {
        Err(_) => {}
        Ok(there) if !there.file_type().is_socket() => return Err(OpenError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(file("remove", path))?;
            }
            Ok(_) | Err(_) => return Err(OpenError::Live(path.to_owned())),
        },
    }
    let bind = || {
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::bind(&socket, &address)?;
        Ok(socket)
    };
    Ok(bind())
}

/// A listening TCP socket. It blocks, as workers of any family expect.
fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(socket.as_fd(), true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Removes what `open` made, at the end of everything.
pub(crate) fn remove_files(setup: &Setup) {
    let Setup { config: Config { groups, .. }, runtime, .. } = setup;
    let _ = fs::remove_file(&runtime.place.path);
    for (group, index) in groups.iter().zip(0..) {
        let _ = fs::remove_file(runtime.worker_socket(index));
        for socket in &group.sockets {
            if let Address::Unix(path) = &socket.address {
                let _ = fs::remove_file(path);
            }
        }
    }
    let _ = fs::remove_dir(&runtime.folder);
    let _ = fs::remove_file(&runtime.lock);
}
