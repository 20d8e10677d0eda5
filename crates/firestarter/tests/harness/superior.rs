//! Plays the service manager that has started Firestarter: hears what it is told by sd_notify(3), and keeps descriptors.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::{pause, Folder, LIMIT};

pub(crate) struct Superior {
    pub(crate) path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Barriers are not answered until it is released.
    held: bool,
    heard: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
}

impl Superior {
    /// Listens in a folder, until the test ends.
    pub(crate) fn new(folder: &Folder) -> Superior {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || loop {
            hear(&socket, &shared);
        });
        Superior { path, state }
    }

    /// All messages so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.state.lock().expect("a lock").heard.clone()
    }

    /// How many messages had this line.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.heard().iter().filter(|message| message.lines().any(|its| its == line)).count()
    }

    /// Waits for a message with this text.
    pub(crate) fn hears(&self, text: &str) {
        let begun = Instant::now();
        while !self.heard().iter().any(|message| message.contains(text)) {
            assert!(begun.elapsed() < LIMIT, "waited in vain for {text:?}: {:#?}", self.heard());
            pause();
        }
    }

    /// The names of what it keeps.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().expect("a lock").kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Answers no barrier until it is told to go on.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().expect("a lock").held = held;
    }

    /// Copies of what it keeps, with their names.
    pub(crate) fn kept(&self) -> Vec<(String, OwnedFd)> {
        let copy = |(name, fd): &(String, OwnedFd)| (name.clone(), fd.try_clone().expect("a descriptor"));
        self.state.lock().expect("a lock").kept.iter().map(copy).collect()
    }
}

fn hear(socket: &UnixDatagram, state: &Mutex<State>) {
    let (mut buffer, mut room) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))]);
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let read = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let read = read.expect("a message").bytes;
    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
    let brought = control.drain().filter_map(|message| {
        let RecvAncillaryMessage::ScmRights(fds) = message else { return None };
        Some(fds.collect::<Vec<_>>())
    });
    let brought: Vec<OwnedFd> = brought.flatten().collect();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    while text == "BARRIER=1" && state.lock().expect("a lock").held {
        pause();
    }
    let mut state = state.lock().expect("a lock");
    let name = value("FDNAME=").unwrap_or_default();
    match (value("FDSTORE="), value("FDSTOREREMOVE=")) {
        (Some(_), _) => state.kept.extend(brought.into_iter().map(|fd| (name.clone(), fd))),
        (None, Some(_)) => state.kept.retain(|(its, _)| *its != name),
        // What comes with a barrier is closed, which is all that it asks.
        (None, None) => drop(brought),
    }
    state.heard.push(text);
}
