//! From the configuration's outputs to what the writer and the spawn thread are to do with them. Called once by `start`,
//! before anything is opened.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{accessat, fstat, Access, AtFlags, FileType, CWD};

use crate::config::{Config, Group, LogFile, Output, Rotation, RotationUnit};
use crate::daemon::open::OpenError;
use crate::daemon::Outputs;
use crate::writer::{self, Outlet, Plan, Schedule, Unit};

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
                logs.add(log);
            }
        }
    }
    // Who passes nothing on is mistaken for nobody.
    let passes_on = |group: &&Group| [&group.launch.stdout, &group.launch.stderr].contains(&&Output::Inherit);
    let several = config.groups.iter().filter(passes_on).count() > 1;
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()].map(|stream| Own::of(stream, several));
    let (mut outputs, mut outlets) = (Vec::new(), Vec::new());
    for group in &config.groups {
        let streams = [&group.launch.stdout, &group.launch.stderr];
        let rotated = streams.map(|output| logs.of(output));
        let piped = [0, 1].map(|stream| match streams[stream] {
            Output::Inherit => own[stream].piped,
            Output::Null => false,
            Output::File(_) => rotated[stream].is_some(),
        });
        outputs.push(piped);
        outlets.push(Outlet { name: group.spec.name.clone(), streams: rotated });
    }
    let own_piped = [own[0].piped, own[1].piped];
    let hooks = config.groups.iter().any(|group| group.launch.exec_stop.is_some() || group.launch.upgrader.is_some());
    let needed = outputs.as_flattened().contains(&true) || hooks && own_piped.contains(&true);
    let plan = Plan { groups: outlets, logs: logs.all, marked: [own[0].marked, own[1].marked] };
    Ok((Outputs { workers: outputs, own: own_piped }, needed.then_some(plan)))
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

/// The files that rotate, each path once.
#[derive(Default)]
struct Logs {
    all: Vec<writer::Log>,
    places: BTreeMap<PathBuf, usize>,
}

impl Logs {
    /// A path that several outputs name is one file: the configuration has made sure that they rotate it alike.
    fn add(&mut self, log: &LogFile) {
        let Some(rotation) = rotation(log.rotation) else { return };
        if !self.places.contains_key(&log.path) {
            self.places.insert(log.path.clone(), self.all.len());
            self.all.push(writer::Log { path: log.path.clone(), rotation });
        }
    }

    /// The place of an output among the files that rotate. One that does not rotate itself may be a file that another
    /// output rotates: then it is the writer's too.
    fn of(&self, output: &Output) -> Option<usize> {
        match output {
            Output::File(log) => self.places.get(&log.path).copied(),
            Output::Inherit | Output::Null => None,
        }
    }
}

fn rotation(rotation: Rotation) -> Option<writer::Rotation> {
    Some(match rotation {
        Rotation::Never => return None,
        Rotation::Size { max_bytes, backups } => writer::Rotation::Size { max_bytes, backups },
        Rotation::Time { interval, unit, utc, backups } => {
            let unit = match unit {
                RotationUnit::Seconds => Unit::Seconds,
                RotationUnit::Minutes => Unit::Minutes,
                RotationUnit::Hours => Unit::Hours,
                RotationUnit::Days => Unit::Days,
                RotationUnit::Midnight => Unit::Midnight,
            };
            writer::Rotation::Time(Schedule { interval, unit, utc, backups })
        }
    })
}
