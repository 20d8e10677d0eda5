//! Who workers run as: found out at the start, by trying, whether Firestarter can make processes of that user and whether
//! these reach what is theirs. Called by `open` and `launch`; looks no name up.

use std::io;
use std::path::Path;

use rustix::fs::{access, Access};
use rustix::process::{getegid, geteuid};
use rustix::thread::{capabilities, CapabilitySet};

use super::open::{OpenError, Runtime};
use super::Setup;
use crate::config::{Group, Identity};
use crate::say::{plain, say};
use crate::sys::clone::as_user;
use crate::sys::image::User;

/// The user that the workers' processes must become; none if they are it from birth.
pub(super) fn change(group: &Group) -> Option<User> {
    let Identity { uid, gid, groups, .. } = group.launch.identity.as_ref()?;
    let own = *uid == geteuid().as_raw() && *gid == getegid().as_raw();
    // Who may not set groups has those that such a process should have.
    let stays = own && !capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETGID));
    (!stays).then(|| User { uid: *uid, gid: *gid, groups: groups.clone() })
}

/// Whether processes of the groups' users can be made.
///
/// # Errors
/// They cannot: without a start there is no worker that fails again and again.
pub(super) fn check(groups: &[Group]) -> Result<(), OpenError> {
    let mut tried = Vec::new();
    for group in groups {
        let Some(user) = change(group).filter(|user| !tried.contains(user)) else { continue };
        as_user(&user, || 0).map_err(|source| OpenError::Identity {
            group: group.spec.name.clone(),
            uid: user.uid,
            gid: user.gid,
            source,
        })?;
        tried.push(user);
    }
    Ok(())
}

/// What follows an error of [`check`].
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "; start Firestarter as root (CAP_SETUID, CAP_SETGID and CAP_CHOWN are enough), or remove uid, gid, user and \
             group to run workers as the user who starts it"
        }
        Some(libc::EINVAL) => "; this container or user namespace has no such id",
        _ => "",
    }
}

/// Whether the groups' users reach their worker sockets, which they can do without, and their watch files, without which
/// they would be killed.
///
/// # Errors
/// A user does not reach a watch file.
pub(super) fn check_reach(setup: &Setup) -> Result<(), OpenError> {
    let runtime: &Runtime = &setup.runtime;
    for (group, index) in setup.config.groups.iter().zip(0..) {
        let Some(user) = change(group) else { continue };
        let name = &group.spec.name;
        for (what, socket, keys) in [
            ("worker", runtime.worker_socket(group, index), "`control_socket` or -d"),
            ("notify", runtime.notify_socket(index), "-d"),
        ] {
            let Some(error) = refused(&user, &socket, Access::WRITE_OK) else { continue };
            say(format_args!(
                "{name}: uid {} cannot connect to its {what} socket {}: {}; {keys} can name a place whose folders it may \
                 enter",
                user.uid,
                socket.display(),
                plain(&error)
            ));
        }
        let folder = runtime.watch_folder(index);
        if let Some(source) = refused(&user, &folder, Access::EXEC_OK).filter(|_| group.spec.live_check.is_some()) {
            return Err(OpenError::Unreachable { group: name.clone(), uid: user.uid, path: folder, source });
        }
    }
    Ok(())
}

fn refused(user: &User, path: &Path, wanted: Access) -> Option<io::Error> {
    let tried = as_user(user, || match access(path, wanted) {
        Ok(()) => 0,
        Err(rustix::io::Errno::ACCESS) => libc::EACCES as u8,
        Err(_) => libc::ENOENT as u8,
    });
    match tried {
        Ok(0) => None,
        Ok(errno) => Some(io::Error::from_raw_os_error(errno.into())),
        Err(error) => Some(error),
    }
}
