//! From the configuration's outputs to what the writer and the spawn thread are to do with them. Called once by `start`,
//! before anything is opened.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{accessat, fstat, Access, AtFlags, FileType, CWD};

use crate::config::{Config, Form, Group, LogFile, Output};
use crate::daemon::open::OpenError;
use crate::daemon::Outputs;
use crate::writer::{Outlet, Plan, Way};

/// What is to be done with the outputs. Without a plan there is no need for a writer.
///
/// # Errors
/// A log cannot be written where it should be.
pub(super) fn plan(config: &Config) -> Result<(Outputs, Option<Plan>), OpenError> {
    let mut logs = Logs::default();
    for group in &config.groups {
        for (key, output) in [("stdout_log", &group.launch.stdout), ("stderr_log", &group.launch.stderr)] {
            if let Output::File(log) = output {
                check_place(&group.spec.name, key, &log.path)?;
            }
        }
    }
    // Who passes nothing on is mistaken for nobody.
    let passes_on = |group: &&Group| {
        [&group.launch.stdout, &group.launch.stderr].iter().any(|output| matches!(output, Output::PassOn(_)))
    };
    let several = config.groups.iter().filter(passes_on).count() > 1;
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()].map(|stream| Own::of(stream, several));
    let (mut outputs, mut outlets) = (Vec::new(), Vec::new());
    for group in &config.groups {
        let streams = [&group.launch.stdout, &group.launch.stderr];
        outputs.push([0, 1].map(|stream| match streams[stream] {
            Output::PassOn(form) => own[stream].piped || *form != Form::Plain,
            Output::Null => false,
            Output::File(_) => true,
        }));
        let ways = streams.map(|output| match output {
            Output::PassOn(form) => Way::Own(*form),
            Output::Null => Way::Own(Form::Plain),
            Output::File(log) => Way::Log(logs.place(log)),
        });
        outlets.push(Outlet { name: group.spec.name.clone(), streams: ways });
    }
    let own_piped = [own[0].piped, own[1].piped];
    let hooks = config.groups.iter().any(|group| group.launch.exec_stop.is_some() || group.launch.upgrader.is_some());
    let needed = outputs.as_flattened().contains(&true) || hooks && own_piped.contains(&true);
    let plan = Plan { groups: outlets, logs: logs.all, marked: [own[0].marked, own[1].marked] };
    Ok((Outputs { workers: outputs, own: own_piped }, needed.then_some(plan)))
}

/// How much is kept of what each group passes on: only what goes by way of the writer can be kept.
pub(super) fn rings(config: &Config, outputs: &Outputs) -> Vec<u32> {
    let groups = config.groups.iter().zip(&outputs.workers);
    let sizes = groups.map(|(group, piped)| {
        let streams = [&group.launch.stdout, &group.launch.stderr];
        let passes_on = |stream: usize| piped[stream] && matches!(streams[stream], Output::PassOn(_));
        if passes_on(0) || passes_on(1) {
            group.launch.log_ring
        } else {
            0
        }
    });
    sizes.collect()
}

/// A number that no other start's rings have: the time, in microseconds, which JSON passes on exactly.
pub(super) fn name_of_rings() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One of the streams that Firestarter was started with.
struct Own {
    /// Workers that had it themselves could be held up by whoever reads it, or could not be told apart.
    piped: bool,
    /// Lines are marked with whose they are.
    marked: bool,
}

impl Own {
    fn of(stream: BorrowedFd<'_>, several_groups: bool) -> Own {
        // Major 1, minor 3 is /dev/null on every Linux.
        let null = rustix::fs::makedev(1, 3);
        let is_null = |stat: &rustix::fs::Stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            kind == FileType::CharacterDevice && stat.st_rdev == null
        };
        let Some(stat) = fstat(stream).ok().filter(|stat| !is_null(stat)) else {
            return Own { piped: false, marked: false };
        };
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let marked = several_groups || stream.is_terminal();
        Own { piped: marked || !file, marked }
    }
}

/// Looks whether a log could be opened, and makes nothing yet: another fault may keep everything from being started.
fn check_place(group: &str, key: &'static str, path: &Path) -> Result<(), OpenError> {
    let writable = |path: &Path| Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?);
    let folder = path.parent().unwrap_or(Path::new("/"));
    let checked = match (fs::metadata(folder), fs::metadata(path)) {
        (Err(error), _) => Err(error),
        (Ok(folder), _) if !folder.is_dir() => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        (Ok(_), Ok(there)) if there.is_dir() => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        (Ok(_), Ok(_)) => writable(path),
        (Ok(_), Err(_)) => writable(folder),
    };
    checked.map_err(|source| OpenError::LogPlace { group: group.to_owned(), key, path: path.to_owned(), source })
}

/// The files, each path once.
#[derive(Default)]
struct Logs {
    all: Vec<LogFile>,
    places: BTreeMap<PathBuf, usize>,
}

impl Logs {
    /// A path that several outputs name is one file: the configuration has made sure that they write it alike.
    fn place(&mut self, log: &LogFile) -> usize {
        *self.places.entry(log.path.clone()).or_insert_with(|| {
            self.all.push(log.clone());
            self.all.len() - 1
        })
    }
}
