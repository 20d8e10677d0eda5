//! Opens everything once, before the keeper forks the first daemon: the lock, the control socket, the workers' sockets,
//! the shared sockets. Each is named in the ledger, where every daemon finds it. What cannot be opened is an error of the
//! start, told with its reason; then nothing was started and nothing is left behind.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use firestarter_core::event::Event;
use firestarter_core::Supervisor;
use rustix::fs::{flock, FlockOperation};
use rustix::net::{self, sockopt, AddressFamily, SocketFlags, SocketType};

use super::shelf::Shelf;
use super::{bind, identity, live, paths, slots, Setup};
use crate::config::{Address, Config, Group, SocketSpec};
use crate::journal::{Log, LogError, Meaning, Records};
use crate::place::{check_own, FolderError, Place};
use crate::say::plain;

/// Where the files of a running Firestarter are.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    place: Place,
    /// Holds what workers use: their sockets and watch files.
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
    #[error("{}: the process that is named there runs and has it locked; stop it, or name another file", .0.display())]
    PidFile(PathBuf),
    #[error("{group}: bind {address}: {}{}", plain(source), advice(address, source))]
    Bind { group: String, address: String, source: io::Error },
    #[error("{group}: {fault}")]
    Of { group: String, fault: Box<OpenError> },
    #[error("{group}: no socket {name:?} was inherited, or not so often; inherited are: {there} (FileDescriptorName= in a socket unit)")]
    NotInherited { group: String, name: String, there: String },
    #[error("{group}: the inherited socket {name:?} does not listen at any address; a socket unit with Accept=yes cannot be used")]
    NoListener { group: String, name: String },
    #[error("bind {}: another program listens there", .0.display())]
    Live(PathBuf),
    #[error("bind {}: there is something that is no socket; remove it or name another place", .0.display())]
    NoSocket(PathBuf),
    #[error("bind {}: longer than the 107 bytes that a socket's path can have; name a shorter place", .0.display())]
    TooLong(PathBuf),
    #[error("control socket: {0}")]
    Folder(#[from] FolderError),
    #[error("open {what}: {}", plain(source))]
    Kernel { what: &'static str, source: io::Error },
    #[error("{name} is {most}, and this configuration needs {needed}: raise it ({remedy})")]
    Limit { name: String, most: u64, needed: u64, remedy: String },
    #[error("{group}: run workers as uid {uid}, gid {gid}: {}{}", plain(source), identity::advice(source))]
    Identity { group: String, uid: u32, gid: u32, source: io::Error },
    #[error(
        "{group}: uid {uid} does not reach its watch files in {}: {}; name another place with -d", path.display(),
        plain(source)
    )]
    Unreachable { group: String, uid: u32, path: PathBuf, source: io::Error },
    #[error("{group}: {key} {}: {}; {}", path.display(), plain(source), log_advice(source))]
    LogPlace { group: String, key: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
}

fn advice(address: &str, error: &io::Error) -> &'static str {
    let path = address.contains('/');
    match error.raw_os_error() {
        Some(libc::ENOENT) if path => " (create its folder, or name another path)",
        Some(libc::EACCES) if path => " (let this user write to its folder, or name another path)",
        Some(libc::EADDRINUSE) => " (another program has it: `ss -tulnp` shows which)",
        Some(libc::EACCES) => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
        Some(libc::EADDRNOTAVAIL) => " (no interface of this machine has that address)",
        _ => "",
    }
}

fn log_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EISDIR) => "name a file in it",
        Some(libc::EACCES) => "let this user write there, or name another file",
        _ => "create the folder, or name another file",
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

    /// Whether the folder of the control socket stands where anybody may make one.
    pub(crate) fn shared_parent(&self) -> bool {
        self.place.shared_parent
    }

    /// Where the workers of a group connect.
    pub(super) fn worker_socket(&self, group: &Group, index: u32) -> PathBuf {
        let here = || self.folder.join(format!("worker-{index}.sock"));
        group.launch.control_socket.clone().unwrap_or_else(here)
    }

    /// Where the spare links of shared sockets are.
    pub(super) fn spares(&self) -> PathBuf {
        self.folder.join("spares")
    }

    /// Where the workers of a group tell how they are.
    pub(super) fn notify_socket(&self, index: u32) -> PathBuf {
        self.folder.join(format!("notify-{index}.sock"))
    }

    /// Where the watch files of a group's workers are, if it has any.
    pub(super) fn watch_folder(&self, index: u32) -> PathBuf {
        self.folder.join(format!("watch-{index}"))
    }
}

/// Opens everything and writes the journal's beginning.
///
/// # Errors
/// The first thing that could not be opened; what had been made is removed.
pub(crate) fn open(
    setup: &Setup,
    journal: Records,
    log: &mut Log,
    seed: u64,
    shelf: &mut Shelf,
) -> Result<(), OpenError> {
    let runtime = &setup.runtime;
    identity::check(&setup.config.groups)?;
    let lock = lock(runtime)?;
    name(journal, lock.into(), Meaning::Keeper)?;
    let mut made = vec![runtime.lock.clone()];
    let opened = open_sockets(setup, journal, &mut made, shelf).and_then(|()| identity::check_reach(setup));
    opened.inspect_err(|_| {
        made.iter().for_each(|path| drop(fs::remove_file(path)));
        paths::remove_folder(&runtime.spares());
        (0..setup.config.groups.len() as u32).for_each(|index| live::remove_all(&runtime.watch_folder(index)));
        let _ = fs::remove_dir(&runtime.folder);
    })?;
    let specs = setup.config.groups.iter().map(|group| group.spec.clone()).collect();
    let core = Supervisor::new(specs, setup.policy, seed, super::now());
    log.snapshot(&core)?;
    log.append(super::now(), &Event::Begin, &core)?;
    Ok(())
}

/// Every path that is bound is added to `made`.
fn open_sockets(setup: &Setup, journal: Records, made: &mut Vec<PathBuf>, shelf: &mut Shelf) -> Result<(), OpenError> {
    let runtime = &setup.runtime;
    let control = bind::private(&runtime.place.path, None)?.map_err(file("bind", &runtime.place.path))?;
    made.push(runtime.place.path.clone());
    name(journal, control, Meaning::Control)?;
    private_folder(&runtime.folder)?;
    paths::make_folder(&runtime.spares()).map_err(file("create", &runtime.spares()))?;
    for (group, index) in setup.config.groups.iter().zip(0..) {
        open_worker_socket(runtime, group, index, journal, made)?;
        open_notify_socket(runtime, group, index, journal, made)?;
        if group.spec.live_check.is_some() {
            private_folder(&runtime.watch_folder(index))?;
        }
        open_listeners(runtime, (group, index), journal, made, shelf)?;
    }
    Ok(())
}

/// A group's shared sockets, and those that slots have of their own.
fn open_listeners(
    runtime: &Runtime,
    (group, index): (&Group, u32),
    journal: Records,
    made: &mut Vec<PathBuf>,
    shelf: &mut Shelf,
) -> Result<(), OpenError> {
    let mut first = Vec::new();
    for (socket, place) in group.sockets.iter().zip(0..) {
        let (name_of_group, address) = (group.spec.name.clone(), socket.written.clone());
        let kept = shelf.find(group, 0, socket);
        let is_new = kept.is_none();
        let listener = kept.map_or_else(|| bind::shared(socket), |kept| Ok(Ok(kept))).map_err(of(group))?;
        let listener = listener.map_err(|source| OpenError::Bind { group: name_of_group, address, source })?;
        let mut inode = 0;
        if let (Address::Unix(path), None) = (&socket.address, socket.inherited) {
            // One that was kept would be of no use any more without its path.
            made.extend(is_new.then(|| path.clone()));
            let places = paths::places(&runtime.spares(), index, place, path);
            let (found, spare) = paths::keep(&places, path).map_err(file("link", path))?;
            made.extend(spare);
            inode = found;
        }
        let copy = listener.try_clone().map_err(|source| OpenError::Kernel { what: "a descriptor", source })?;
        let number = listener.as_raw_fd();
        name(journal, listener, Meaning::Listener { group: index, index: place })?;
        journal.ledger.set_mark(&number, inode);
        first.push(copy);
    }
    for slot in 1..group.spec.count.get() {
        let kept = |spec: &SocketSpec| shelf.find(group, slot, spec);
        let opened = slots::open(journal.ledger, (group, index), slot, &first, |_| false, kept).map_err(|source| {
            let address = group.sockets.iter().filter(|socket| socket.reuseport).map(|socket| socket.written.as_str());
            OpenError::Bind { group: group.spec.name.clone(), address: address.collect::<Vec<_>>().join(", "), source }
        })?;
        // From now on they belong to whoever reads the ledger.
        opened.into_iter().map(|(_, socket)| socket).for_each(std::mem::forget);
    }
    Ok(())
}

/// Where a group's workers connect, and the connected pair that they inherit.
fn open_worker_socket(
    runtime: &Runtime,
    group: &Group,
    index: u32,
    journal: Records,
    made: &mut Vec<PathBuf>,
) -> Result<(), OpenError> {
    let path = runtime.worker_socket(group, index);
    let owner = identity::change(group).map(|user| (user.uid, user.gid));
    let socket = bind::private(&path, owner).map_err(of(group))?.map_err(|source| {
        let (group, address) = (group.spec.name.clone(), path.display().to_string());
        OpenError::Bind { group, address, source }
    })?;
    made.push(path);
    name(journal, socket, Meaning::WorkerSocket { group: index })?;
    let (here, there) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(kernel("a socketpair for acks"))?;
    sockopt::set_socket_passcred(&here, true).map_err(kernel("a socketpair for acks"))?;
    name(journal, here, Meaning::PairHere { group: index })?;
    name(journal, there, Meaning::PairThere { group: index })
}

/// Where a group's workers tell how they are.
fn open_notify_socket(
    runtime: &Runtime,
    group: &Group,
    index: u32,
    journal: Records,
    made: &mut Vec<PathBuf>,
) -> Result<(), OpenError> {
    let path = runtime.notify_socket(index);
    let owner = identity::change(group).map(|user| (user.uid, user.gid));
    let socket = bind::notify(&path, owner).map_err(of(group))?.map_err(|source| {
        let (group, address) = (group.spec.name.clone(), path.display().to_string());
        OpenError::Bind { group, address, source }
    })?;
    made.push(path);
    name(journal, socket, Meaning::Notify { group: index })
}

/// From now on the descriptor belongs to whoever reads the ledger.
fn name(journal: Records, fd: OwnedFd, meaning: Meaning) -> Result<(), OpenError> {
    let named = journal.ledger.name(&fd, meaning);
    let _ = fd.into_raw_fd();
    named.map_err(|source| OpenError::Kernel { what: "a descriptor", source })
}

/// An error that a group's configuration leads to.
fn of(group: &Group) -> impl Fn(OpenError) -> OpenError + '_ {
    |fault| OpenError::Of { group: group.spec.name.clone(), fault: Box::new(fault) }
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
        // Whatever the umask: workers of other users pass through.
        fs::set_permissions(parent, Permissions::from_mode(0o711)).map_err(file("chmod", parent))?;
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

/// A folder of one's own that others enter and nobody else writes to.
fn private_folder(path: &Path) -> Result<(), OpenError> {
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file("create", path)(error)),
        Ok(()) | Err(_) => {}
    }
    let inside = Place { path: path.join("socket"), shared_parent: true };
    check_own(&inside, rustix::process::geteuid().as_raw())?;
    fs::set_permissions(path, Permissions::from_mode(0o711)).map_err(file("chmod", path))
}

/// Removes what `open` made, at the end of everything.
pub(crate) fn remove_files(setup: &Setup) {
    remove_all_but_pid_file(setup);
    if let Some(pid_file) = &setup.pid_file {
        let _ = fs::remove_file(pid_file);
    }
}

/// As `remove_files`, where the pid file is another's.
pub(crate) fn remove_all_but_pid_file(setup: &Setup) {
    let Setup { config: Config { groups, .. }, runtime, .. } = setup;
    let _ = fs::remove_file(&runtime.place.path);
    for (group, index) in groups.iter().zip(0..) {
        let _ = fs::remove_file(runtime.worker_socket(group, index));
        let _ = fs::remove_file(runtime.notify_socket(index));
        live::remove_all(&runtime.watch_folder(index));
        for (socket, place) in group.sockets.iter().zip(0..) {
            if let (Address::Unix(path), None) = (&socket.address, socket.inherited) {
                let [_, beside] = paths::places(&runtime.spares(), index, place, path);
                paths::remove_beside(&beside, path);
                let _ = fs::remove_file(path);
            }
        }
    }
    paths::remove_folder(&runtime.spares());
    let _ = fs::remove_dir(&runtime.folder);
    let _ = fs::remove_file(&runtime.lock);
}

/// Writes this process's pid, and keeps the file locked as long as it or a daemon lives.
///
/// # Errors
/// Another process has it locked, or it cannot be written.
pub(crate) fn claim_pid_file(path: &Path) -> Result<OwnedFd, OpenError> {
    let options =
        File::options().write(true).create(true).truncate(false).mode(0o644).custom_flags(libc::O_NOFOLLOW).to_owned();
    let mut pid_file = options.open(path).map_err(file("open", path))?;
    flock(&pid_file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
        rustix::io::Errno::WOULDBLOCK => OpenError::PidFile(path.to_owned()),
        errno => file("lock", path)(errno.into()),
    })?;
    let written = pid_file.set_len(0).and_then(|()| writeln!(pid_file, "{}", std::process::id()));
    written.map_err(file("write", path))?;
    Ok(pid_file.into())
}
