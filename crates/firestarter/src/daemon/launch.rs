//! What a group's workers are made from: words expanded, the environment put together, the program looked for. Made once
//! a daemon, used for each spawn. The variables are those of firestarter and of systemd's
//! socket activation (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use firestarter_core::event::{SpawnError, SpawnStep};

use super::Setup;
use crate::config::{words, Group, Output};
use crate::sys::clone::Image;

/// All that a spawn needs.
pub(super) struct Recipe {
    /// The process, or why there cannot be one.
    pub(super) image: Result<Image, SpawnError>,
    /// Numbers that workers get as 3, 4, …: the listeners, then the group's connected socket.
    pub(super) sockets: Vec<RawFd>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) null: RawFd,
}

/// What the daemon may have been given itself and must not pass on: it would be taken for the worker's own.
const NOT_PASSED_ON: [&str; 12] = [
    "LISTEN_",
    "NOTIFY_SOCKET",
    "WATCHDOG_",
    "FDSTORE",
    "EINHORN_",
    "SERVER_STARTER_",
    "FIRESTARTER_",
    "GUNICORN_PID",
    "GUNICORN_FD",
    "NGINX",
    "PUMA_INHERIT_",
    "MAINPID",
];

/// The first descriptor of a worker's sockets: systemd's `SD_LISTEN_FDS_START`.
const FIRST: usize = 3;

pub(super) fn recipe(
    setup: &Setup,
    group: &Group,
    index: u32,
    listeners: &[RawFd],
    pair: RawFd,
    null: RawFd,
) -> Recipe {
    let env = environment(setup, group, index, listeners.len());
    let image = image(setup, group, &env, !listeners.is_empty());
    let sockets = listeners.iter().copied().chain([pair]).collect();
    let (stdout, stderr) = (group.launch.stdout.clone(), group.launch.stderr.clone());
    Recipe { image, sockets, stdout, stderr, null }
}

fn image(setup: &Setup, group: &Group, env: &BTreeMap<OsString, OsString>, listens: bool) -> Result<Image, SpawnError> {
    let invalid = SpawnError { step: SpawnStep::Prepare, errno: libc::EINVAL };
    let words = words::expand(&group.launch.exec, |name| env.get(OsStr::new(name)).cloned()).map_err(|_| invalid)?;
    let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let programs = programs(words.first().ok_or(invalid)?, &path);
    let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| invalid);
    let argv = words.into_iter().map(|word| c_string(word.into_vec())).collect::<Result<_, _>>()?;
    let assign = |(name, value): (&OsString, &OsString)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat());
    let assignments = env.iter().map(assign).collect::<Result<_, _>>()?;
    let programs = programs.into_iter().map(|p| c_string(p.into_vec())).collect::<Result<_, _>>()?;
    let directory = c_string(group.launch.working_directory.clone().into_os_string().into_vec())?;
    Ok(Image::new(programs, argv, assignments, directory, setup.open_files, listens))
}

/// Where a program may be: itself if it has a slash, else in each folder of PATH.
fn programs(word: &OsStr, path: &OsStr) -> Vec<OsString> {
    if word.as_bytes().contains(&b'/') {
        return vec![word.to_owned()];
    }
    std::env::split_paths(path).map(|folder| in_folder(&folder, word)).collect()
}

fn in_folder(folder: &Path, word: &OsStr) -> OsString {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.join(word).into_os_string()
}

/// The daemon's own environment without what is meant for the daemon, then the group's, then what the contracts say.
fn environment(setup: &Setup, group: &Group, index: u32, listeners: usize) -> BTreeMap<OsString, OsString> {
    let passes = |name: &OsStr| !NOT_PASSED_ON.iter().any(|taboo| name.as_bytes().starts_with(taboo.as_bytes()));
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().filter(|(name, _)| passes(name)).collect();
    for (name, value) in &group.launch.environments {
        env.insert(name.into(), value.into());
    }
    let prefix = &group.launch.base_name;
    let mut set = |name: String, value: OsString| env.insert(name.into(), value);
    if listeners > 0 {
        set("LISTEN_FDS".into(), listeners.to_string().into());
        set("LISTEN_FDNAMES".into(), vec![group.spec.name.as_str(); listeners].join(":").into());
        set(format!("{prefix}_FD_COUNT"), listeners.to_string().into());
        for listener in 0..listeners {
            set(format!("{prefix}_FD_{listener}"), (FIRST + listener).to_string().into());
        }
    }
    set(format!("{prefix}_SOCK_PATH"), setup.runtime.worker_socket(index).into_os_string());
    set(format!("{prefix}_SOCK_FD"), (FIRST + listeners).to_string().into());
    set(format!("{prefix}_MASTER_PID"), setup.keeper.as_raw_nonzero().to_string().into());
    env
}
