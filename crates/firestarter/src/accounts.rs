//! The system's lists of users and groups, for `config`. Called when a configuration is read and never later: a look-up
//! may read files or ask the network, and so take as long as it likes.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{getgrouplist, Gid, Group, Uid};

use crate::config::{Account, Accounts, User};

/// The lists of the running system, by whatever nsswitch.conf(5) says.
pub(crate) struct System;

impl Accounts for System {
    fn user(&self, name: &str) -> io::Result<Option<User>> {
        found(nix::unistd::User::from_name(name)).map(|entry| entry.map(user))
    }

    fn uid(&self, uid: u32) -> io::Result<Option<User>> {
        found(nix::unistd::User::from_uid(Uid::from_raw(uid))).map(|entry| entry.map(user))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        found(Group::from_name(name)).map(|entry| entry.map(|group| group.gid.as_raw()))
    }

    fn groups_of(&self, name: &str, primary: u32) -> io::Result<Vec<u32>> {
        let name = CString::new(name)?;
        let groups = getgrouplist(&name, Gid::from_raw(primary))?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }

    fn own_uid(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }
}

/// Some lists have an error of their own for "not here": getpwnam(3).
fn found<T>(entry: nix::Result<Option<T>>) -> io::Result<Option<T>> {
    match entry {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => Ok(other?),
    }
}

fn user(entry: nix::unistd::User) -> User {
    let account = Account { name: entry.name, home: entry.dir };
    User { uid: entry.uid.as_raw(), gid: entry.gid.as_raw(), account }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_there_and_a_stranger_is_not() {
        let root = System.user("root").expect("a look-up").expect("an entry");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(System.uid(0).expect("a look-up").expect("an entry"), root);
        assert!(System.groups_of("root", 0).expect("a look-up").contains(&0));
        assert_eq!(System.group("root").expect("a look-up"), Some(0));
        for name in ["no such user", "", "a\0b"] {
            assert_eq!(System.user(name).expect("a look-up"), None, "{name:?}");
            assert_eq!(System.group(name).expect("a look-up"), None, "{name:?}");
        }
        assert_eq!(System.uid(u32::MAX - 7).expect("a look-up"), None);
        assert_eq!(System.groups_of("root", 4711).expect("a look-up")[0], 4711, "the primary one comes first");
    }
}
