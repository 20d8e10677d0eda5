//! From the configuration's outputs to what the writer and the spawn thread are to do with them. Called once by `start`,
//! before anything is opened.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{accessat, fstat, Access, AtFlags, FileType, CWD};

use crate::config::{Config, Form, Group, LogFile, Output};
use crate::daemon::open::OpenError;
use crate::daemon::Outputs;
use crate::writer::{Outlet, OwnStyle, Plan, Way};

/// What is to be done with the outputs. Without a plan there is no need for a writer.
///
/// # Errors
/// A log cannot be written where it should be.
pub(super) fn plan(config: &Config) -> Result<(Outputs, Option<Plan>), OpenError> {
    let mut logs = Logs::default();
    for group in &config.groups {
        for (key, output) in [("stdout_log", &group.launch.stdout), ("stderr_log", &group.launch.stderr)] {
            if let Output::File(log) = output {
                check_place(&group.spec.name, key, log)?;
            }
        }
    }
    // Who passes nothing on is mistaken for nobody.
    let passes_on = |group: &&Group| {
        [&group.launch.stdout, &group.launch.stderr].iter().any(|output| matches!(output, Output::PassOn(_)))
    };
    let several = config.groups.iter().filter(passes_on).count() > 1;
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()].map(|stream| Own::of(stream, several));
    let (mut outputs, mut outlets, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for group in &config.groups {
        let streams = [&group.launch.stdout, &group.launch.stderr];
        outputs.push([0, 1].map(|stream| match streams[stream] {
            Output::PassOn(form) => own[stream].takes_pipe(*form),
            Output::Null => false,
            Output::File(_) => true,
        }));
        let ways = streams.map(|output| match output {
            Output::PassOn(form) => Way::Own(*form),
            Output::Null => Way::Own(Form::Plain),
            Output::File(log) => Way::Log(logs.place(log)),
        });
        files.push(ways.map(|way| match way {
            Way::Log(log) => Some(log),
            Way::Own(_) => None,
        }));
        outlets.push(Outlet { name: group.spec.name.clone(), streams: ways });
    }
    let own_piped = [own[0].piped, own[1].piped];
    let hooks = config.groups.iter().any(|group| group.launch.exec_stop.is_some() || group.launch.upgrader.is_some());
    let needed = outputs.as_flattened().contains(&true) || hooks && own_piped.contains(&true);
    let plan = Plan { groups: outlets, logs: logs.all, own: [own[0].style, own[1].style] };
    Ok((Outputs { workers: outputs, files, own: own_piped }, needed.then_some(plan)))
}

/// How lines stand on one of the streams that Firestarter was started with.
pub(super) fn style(stream: BorrowedFd<'_>, several_groups: bool) -> OwnStyle {
    OwnStyle::of(stream, &|name| std::env::var_os(name), several_groups)
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
    /// Nobody reads it, now or later.
    null: bool,
    /// Workers that had it themselves could be held up by whoever reads it, or could not be told apart.
    piped: bool,
    /// How workers' lines stand there.
    style: OwnStyle,
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
            return Own { null: true, piped: false, style: OwnStyle::default() };
        };
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let style = style(stream, several_groups);
        Own { null: false, piped: style.marked || !file, style }
    }

    /// Whether what a group passes on goes by way of the writer.
    fn takes_pipe(&self, form: Form) -> bool {
        !self.null && (self.piped || form != Form::Plain)
    }
}

/// Looks whether a log may be written, and makes nothing yet: another fault may keep everything from being started. What
/// stands at its path was looked at when the configuration was read.
fn check_place(group: &str, key: &'static str, log: &LogFile) -> Result<(), OpenError> {
    let folders = || log.path.ancestors().skip(1);
    let checked = if log.path.exists() {
        accessat(CWD, &log.path, Access::WRITE_OK, AtFlags::EACCESS)
    } else {
        // What is missing of a path is made in the nearest folder that is there.
        let nearest = folders().find(|folder| !log.create_parents || folder.exists());
        let folder = nearest.unwrap_or(Path::new("/"));
        accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    };
    checked.map_err(|errno| OpenError::LogPlace {
        group: group.to_owned(),
        key,
        path: log.path.clone(),
        source: io::Error::from(errno),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rotation;

    fn checked(path: &str, create_parents: bool) -> Result<(), OpenError> {
        let log = LogFile { create_parents, ..LogFile::new(path.into(), Rotation::Never) };
        check_place("web", "stdout_log", &log)
    }

    #[test]
    fn folders_that_are_to_be_made_may_be_missing() {
        let folder = std::env::temp_dir().join(format!("firestarter-logs-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("file"), "").expect("a file");
        let at = |below: &str| folder.join(below).display().to_string();
        let found = [
            checked(&at("a.log"), false).is_ok(),
            checked(&at("a/b/c.log"), true).is_ok(),
            checked(&at("a/b/c.log"), false).is_ok(),
            checked(&at("file/b/c.log"), true).is_ok(),
        ];
        std::fs::remove_file(folder.join("file")).expect("the file");
        std::fs::remove_dir(&folder).expect("nothing was made in it");
        assert_eq!(found, [true, true, false, false]);
    }
}
