//! Tests of the room: what each key gives, what each fault says and where, and properties of the parsers.

#![allow(clippy::unwrap_used)]

mod contracts;
mod faults;
mod health;
mod identity;
mod keys;
mod loading;
mod logs;
mod original;
mod pace;
mod page;
mod properties;
mod shares;
mod warnings;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::{parse, Account, Accounts, Config, Faults, Group, Surroundings, User, Warnings};

/// The environment of all tests.
fn env(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/me".into()),
        "NOTIFY_SOCKET" => Some("/run/n".into()),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    }
}

/// The files of all tests.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("/srv/app/a.env") => Ok(b"A=1\nB=2\n".to_vec()),
        Some("/etc/b.env") => Ok(b"\xef\xbb\xbf# comment\r\nB=3\r\nC=4\r\n".to_vec()),
        Some("/etc/bad.env") => {
            Ok(b"OK=s3cret\ns3cret\n1s3cret=x\nX=\"s3cret\ns3cret x=1\nY=s3cret\xff\nZ=s3cret\0\n".to_vec())
        }
        Some("/etc/own.env") => Ok(b"LISTEN_FDS=s3cret\nEINHORN_FD_0=s3cret\n".to_vec()),
        Some("/etc/denied.env") => Err(io::Error::from_raw_os_error(13)),
        _ => Err(io::Error::from_raw_os_error(2)),
    }
}

/// What stands at the paths of all tests: a file, unless it is said here.
fn is_folder(path: &Path) -> io::Result<bool> {
    let path = path.to_str().unwrap();
    let error = |number| Err(io::Error::from_raw_os_error(number));
    match path.split('/').nth(1).unwrap() {
        "" => Ok(true),
        "folder" if path == "/folder" || path.ends_with("/inner") => Ok(true),
        "folder" | "none" => error(2),
        "file" if path == "/file" => Ok(false),
        "file" => error(20),
        "denied" => error(13),
        _ => Ok(false),
    }
}

/// Where paths of all tests lead: `link` is a link to `srv`.
fn real(path: &Path) -> std::path::PathBuf {
    path.strip_prefix("/link").map_or_else(|_| path.to_owned(), |rest| Path::new("/srv").join(rest))
}

/// The users and groups of all tests. A look-up of what has `broken` in its name fails.
struct Lists;

impl Accounts for Lists {
    fn user(&self, name: &str) -> io::Result<Option<User>> {
        match name {
            "broken" => Err(io::Error::from_raw_os_error(5)),
            "me" => self.uid(1000),
            "www" => self.uid(33),
            _ => Ok(None),
        }
    }

    fn uid(&self, uid: u32) -> io::Result<Option<User>> {
        let user = |name: &str, gid| {
            let account = Account { name: name.to_owned(), home: format!("/home/{name}").into() };
            Ok(Some(User { uid, gid, account }))
        };
        match uid {
            1000 => user("me", 100),
            33 => user("www", 34),
            7 => user("stranger", 7),
            _ => Ok(None),
        }
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        match name {
            "broken" => Err(io::Error::from_raw_os_error(5)),
            "staff" => Ok(Some(50)),
            _ => Ok(None),
        }
    }

    fn groups_of(&self, name: &str, primary: u32) -> io::Result<Vec<u32>> {
        match name {
            "me" => Ok(vec![primary, 4, 27]),
            "www" => Ok(vec![primary]),
            _ => Err(io::Error::from_raw_os_error(5)),
        }
    }

    fn own_uid(&self) -> u32 {
        1000
    }
}

fn around(cwd: &str) -> Surroundings<'_> {
    Surroundings { cwd: Path::new(cwd), env: &env, read: &read, is_folder: &is_folder, real: &real, accounts: &Lists }
}

/// Parses as if the daemon was started in `/srv/app` and the file named `f.toml`.
fn parsed_with_warnings(text: &str) -> Result<(Config, Warnings), Faults> {
    parse(Path::new("f.toml"), text, &around("/srv/app"))
}

fn parsed(text: &str) -> Result<Config, Faults> {
    parsed_with_warnings(text).map(|(config, _)| config)
}

/// The group of a file with nothing but one `[web]` of these lines and a command.
fn web(lines: &str) -> Group {
    let text = format!("[web]\nexec_start = \"run\"\n{lines}\n");
    let config = parsed(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    config.groups.into_iter().next().unwrap()
}

/// The faults of a file, each as `LINE:COLUMN MESSAGE` and, if there is advice, ` = ADVICE`.
fn faults(text: &str) -> Vec<String> {
    let Err(faults) = parsed(text) else { panic!("no fault in:\n{text}") };
    let one = |fault: &super::Fault| {
        let advice = fault.advice.as_ref().map(|advice| format!(" = {advice}")).unwrap_or_default();
        format!("{}:{} {}{advice}", fault.line, fault.column, fault.message)
    };
    faults.iter().map(one).collect()
}

/// The only fault of `[web]` with a command and these lines, which begin on line 3.
#[track_caller]
fn web_fault(lines: &str) -> String {
    let found = faults(&format!("[web]\nexec_start = \"run\"\n{lines}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.concat()
}
