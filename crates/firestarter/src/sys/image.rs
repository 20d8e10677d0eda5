//! What a worker's process will be, prepared: strings and pointers to them, made once a group and used for each spawn,
//! because a new process that shares its parent's memory may not allocate. Made by the daemon, read by `clone`.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::sync::Arc;

/// All that makes a process, as values that are easy to make.
pub(crate) struct Parts {
    /// Tried in turn, as a search along PATH does.
    pub(crate) programs: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// Variables that end in a number which only the spawn knows: `NAME=BEGINNING`, and which number.
    pub(crate) numbered: Vec<(CString, Number)>,
    pub(crate) directory: CString,
    /// The soft and the hard limit.
    pub(crate) open_files: (u64, u64),
    /// What it gets back as `oom_score_adj`; none: it keeps what Firestarter has.
    pub(crate) oom_score: Option<i32>,
    /// Who it runs as; none: as Firestarter does.
    pub(crate) user: Option<User>,
    pub(crate) umask: Option<u32>,
}

/// A user and groups, as the kernel knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// A number that only the spawn knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// The new process's pid.
    Pid,
    /// The number of its record.
    Record,
    /// The smallest index that no living process of its group has.
    Index,
    /// How many processes its group has had, itself counted.
    Attempt,
    /// Its slot: known before the process is made, see [`Image::set_slot`].
    Slot,
}

/// All of them, of one spawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) pid: usize,
    pub(crate) record: u32,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
}

/// Ready to be spawned from.
pub(crate) struct Image {
    pub(super) programs: Vec<CString>,
    pub(super) argv: Strings,
    pub(super) env: Strings,
    numbered: Vec<Numbered>,
    /// Variables that are set anew for each spawn.
    late: Vec<CString>,
    pub(super) directory: CString,
    pub(super) open_files: libc::rlimit64,
    /// As it is written.
    pub(super) oom_score: Option<Box<[u8]>>,
    pub(super) user: Option<User>,
    pub(super) umask: Option<u32>,
}

/// What a spawn runs where that is known already: it is not looked for by the image's paths. Numbers are of the stage.
#[derive(Default)]
pub(crate) struct Aim {
    /// The folder to start in; none: the image's, by its path.
    pub(crate) folder: Option<RawFd>,
    /// The program; none: the image's, looked for anew.
    pub(crate) program: Option<Program>,
    /// Should it turn out not to be one that the user may run: the first of the image's programs to try in its place.
    pub(crate) others: usize,
    /// The arguments; none: the image's.
    pub(crate) argv: Option<Arc<Strings>>,
}

/// A program that was found.
pub(crate) enum Program {
    /// It is still there, under this path.
    Path(CString),
    /// It is no more under any path that is known, but this is it.
    Staged(RawFd),
}

/// A variable with room for the number at its end.
struct Numbered {
    text: Box<[u8]>,
    at: usize,
    number: Number,
}

/// Ten digits and a zero byte.
const ROOM: usize = 11;

/// C strings and the null-terminated array of pointers to them.
pub(crate) struct Strings {
    owned: Vec<CString>,
    pub(super) pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into the heap memory of the strings beside them, or of the image that has both; nothing
// writes through them, and nothing frees or moves it before `self` goes.
unsafe impl Send for Strings {}
// SAFETY: as above; what is shared is only read.
unsafe impl Sync for Strings {}

// SAFETY: the pointers point into the heap memory of the strings and texts beside them, which nothing frees or moves
// before `self` goes, and which changes only through `&mut self`; they are of no thread.
unsafe impl Send for Image {}

impl Strings {
    /// Arguments.
    pub(crate) fn of(strings: Vec<CString>) -> Strings {
        Strings::new(strings, std::iter::empty())
    }

    fn new(strings: Vec<CString>, extra: impl Iterator<Item = *const libc::c_char>) -> Strings {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain(extra).chain([std::ptr::null()]).collect();
        Strings { owned: strings, pointers }
    }
}

impl Image {
    pub(crate) fn new(parts: Parts) -> Image {
        let numbered: Vec<Numbered> = parts.numbered.into_iter().map(Numbered::new).collect();
        let texts = numbered.iter().map(|variable| variable.text.as_ptr().cast());
        Image {
            programs: parts.programs,
            argv: Strings::new(parts.argv, std::iter::empty()),
            env: Strings::new(parts.env, texts),
            numbered,
            late: Vec::new(),
            directory: parts.directory,
            open_files: libc::rlimit64 { rlim_cur: parts.open_files.0, rlim_max: parts.open_files.1 },
            oom_score: parts.oom_score.map(|score| score.to_string().into_bytes().into()),
            user: parts.user,
            umask: parts.umask,
        }
    }

    /// Writes the slot of the next worker into the environment.
    pub(crate) fn set_slot(&mut self, slot: u32) {
        for variable in self.numbered.iter_mut().filter(|variable| variable.number == Number::Slot) {
            write_number(&mut variable.text[variable.at..], slot as usize);
        }
    }

    /// The paths that are tried in turn; relative ones count from the folder.
    pub(crate) fn programs(&self) -> &[CString] {
        &self.programs
    }

    /// The folder to start in.
    pub(crate) fn directory(&self) -> &CStr {
        &self.directory
    }

    /// The arguments.
    pub(crate) fn arguments(&self) -> &[CString] {
        &self.argv.owned
    }

    /// Puts variables at the end of the environment, in place of those that this put there before.
    pub(crate) fn set_late(&mut self, variables: Vec<CString>) {
        let own = self.env.pointers.len() - 1 - self.late.len();
        self.env.pointers.truncate(own);
        self.env.pointers.extend(variables.iter().map(|variable| variable.as_ptr()));
        self.env.pointers.push(std::ptr::null());
        self.late = variables;
    }

    /// Writes the numbers into the environment. Allocates nothing: called in the new process.
    pub(super) fn number(&mut self, numbers: Numbers) {
        for variable in &mut self.numbered {
            let number = match variable.number {
                Number::Pid => numbers.pid,
                Number::Record => numbers.record as usize,
                Number::Index => numbers.index as usize,
                Number::Attempt => numbers.attempt as usize,
                Number::Slot => continue,
            };
            write_number(&mut variable.text[variable.at..], number);
        }
    }
}

impl Numbered {
    fn new((beginning, number): (CString, Number)) -> Numbered {
        let mut text = beginning.into_bytes();
        let at = text.len();
        text.resize(at + ROOM, 0);
        Numbered { text: text.into(), at, number }
    }
}

/// Decimal digits and a zero byte.
fn write_number(text: &mut [u8], number: usize) {
    let mut digits = [0; ROOM - 1];
    let mut rest = number;
    let mut first = digits.len();
    while first > 0 && (rest > 0 || first == digits.len()) {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    for (to, from) in text.iter_mut().zip(digits[first..].iter().chain([&0])) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_place_of_the_ones_before() {
        let mut variable = Numbered::new((c"LISTEN_PID=".to_owned(), Number::Pid));
        for number in [0, 7, 4_194_304, 4_294_967_295, 10] {
            write_number(&mut variable.text[variable.at..], number);
            let text = std::ffi::CStr::from_bytes_until_nul(&variable.text).unwrap();
            assert_eq!(text.to_str().unwrap(), format!("LISTEN_PID={number}"));
        }
    }
}
