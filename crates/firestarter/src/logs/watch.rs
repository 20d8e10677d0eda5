//! Waits until something may have changed at a log, or nobody reads what is shown any more. Used by `reading` where somebody
//! follows. It reads no log.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// What has changed in a folder: content, and names; or it has another name itself.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Folders that are watched.
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    /// One that is to be watched cannot be: it is looked at every now and then.
    blind: bool,
}

impl Watch {
    pub(super) fn new() -> Watch {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Watch { inotify, blind: false }
    }

    /// Watches a log's folder. To be called before the log is looked at, so that no change falls between the two, and each
    /// time again: another folder may have taken its place.
    pub(super) fn add(&mut self, log: &Path, folder: &Path) {
        // What a link leads to is written to in another folder.
        let link = std::fs::symlink_metadata(log).is_ok_and(|meta| meta.is_symlink());
        let added = self.inotify.as_ref().is_some_and(|fd| inotify::add_watch(fd, folder, CHANGES).is_ok());
        self.blind |= !added || link;
    }

    /// Waits; no longer than `pause`, if something cannot be watched or is to be asked for. False: nobody reads `out`.
    pub(super) fn wait(&mut self, out: BorrowedFd<'_>, pause: Duration, asked: bool) -> io::Result<bool> {
        let pause = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        let pause = (asked || std::mem::take(&mut self.blind)).then_some(&pause);
        let mut fds = vec![PollFd::from_borrowed_fd(out, PollFlags::empty())];
        fds.extend(self.inotify.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, pause) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let open = !fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
        if let Some(inotify) = &self.inotify {
            // What it was is of no matter: every log is looked at.
            let mut events = [0_u8; 16 << 10];
            while matches!(rustix::io::read(inotify, &mut events), Ok(1..)) {}
        }
        Ok(open)
    }
}
