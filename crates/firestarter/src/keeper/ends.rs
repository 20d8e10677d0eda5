//! How ends are told and zombies reaped, by the rules that stand above `keeper`. Called by its loop; decides nothing, and
//! leaves the ends of the daemon and the writer to those who look after them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{epoll, poll, PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::link::{read_exit_key, Told, TOLD};
use super::{Daemon, Keeper};
use crate::sys::wait;

/// So many exits are told in one write, which a pipe takes whole or not at all.
const BATCH: usize = 64;
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Keeper {
    pub(super) fn tell_exits(&mut self) {
        let Some(Daemon { joint, full, .. }) = &mut self.daemon else { return };
        *full = !writable(joint.told.as_fd());
        if *full {
            return;
        }
        let mut ready = [const { MaybeUninit::uninit() }; BATCH];
        let Ok((ready, _)) = epoll::wait(&joint.exits, &mut ready, Some(&NO_WAIT)) else { return };
        let mut message = [0u8; BATCH * TOLD];
        let mut length = 0;
        for event in ready {
            let Some((row, pid)) = read_exit_key(event.data.u64()) else { continue };
            // One that a debugger holds is nobody's zombie yet; `reap_unnamed` finds it later.
            if let Some(ended) = wait::peek(pid) {
                message[length..length + TOLD].copy_from_slice(&Told::Exit(row, pid, ended).write());
                length += TOLD;
            }
        }
        // There is room for a whole page, and nobody else writes.
        let _ = rustix::io::write(&joint.told, &message[..length]);
        self.watch.told(self.journal.header);
    }

    /// The daemon has journalled these exits. A number that is no pid says something else: 0 that there is a report, one
    /// below that a listener has come or gone.
    pub(super) fn reap_journalled(&mut self) {
        let mut bytes = [0u8; 4096];
        while let Some(daemon) = &self.daemon {
            let Ok(read) = rustix::io::read(&daemon.joint.reap, &mut bytes) else { return };
            let numbers = bytes[..read].chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            for number in numbers {
                match Pid::from_raw(number.max(0)) {
                    Some(pid) if self.journal.table.find(pid).is_none() => self.reap_one(pid),
                    Some(_) => {}
                    None if number < 0 => self.shelve(-number),
                    None => {}
                }
            }
            if read < bytes.len() {
                break;
            }
        }
    }

    /// Those that it hid are looked for now: no signal tells of them any more.
    fn reap_one(&mut self, pid: Pid) {
        if wait::reap(pid).is_some() && std::mem::take(&mut self.hidden) {
            self.look_soon();
        }
    }

    /// Reaps what no row names: orphans, and workers whose exit was journalled by a daemon that then died. A zombie that
    /// stands hides those behind it until it is reaped itself; it is told of again, in case it was not when it ended.
    pub(super) fn reap_unnamed(&mut self) {
        while let Some(pid) = wait::peek_any() {
            if self.is_own(pid) {
                return;
            }
            let Some((row, _)) = self.journal.table.find(pid) else {
                wait::reap(pid);
                continue;
            };
            if let Some(ended) = wait::peek(pid) {
                self.tell(Told::Exit(row, pid, ended));
            }
            self.hidden = true;
            return;
        }
    }
}

fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    poll(&mut fds, Some(&NO_WAIT)).is_ok_and(|ready| ready > 0)
}
