//! What a group's workers are made from: words expanded, the environment put together, the program looked for. Made once
//! a daemon, used for each spawn. The variables are those of firestarter, of Einhorn, of Server::Starter and of systemd's
//! socket activation (sd_listen_fds(3)), as far as the group speaks these contracts.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use firestarter_core::event::{HookKind, SpawnError, SpawnStep};
use firestarter_core::ids::{Pid, Slot};

use super::live::Signs;
use super::{envdir, identity, Setup};
use crate::config::contracts::{self, EINHORN};
use crate::config::{
    passed_on, probe_variables, words, Account, Address, Contract, Group, Health, Identity, Launch, Output, SocketSpec,
    WATCH_FILE,
};
use crate::sys::image::{Image, Number, Parts};

/// All that a spawn needs.
pub(super) struct Recipe {
    /// The process, or why there cannot be one.
    pub(super) image: Result<Image, SpawnError>,
    /// The listeners, then the group's connected socket: as which number workers get it, and its own.
    pub(super) sockets: Vec<(RawFd, RawFd)>,
    /// How workers find the listeners named.
    pub(super) names: Vec<String>,
    /// Behind the listeners, before the connected socket, is room for so many descriptors that workers store.
    pub(super) room: RawFd,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) null: RawFd,
    /// What workers get as 0: a place among the sockets; none: `null`.
    pub(super) stdin: Option<usize>,
    /// Slots have sockets of their own, which take the place of the first slot's.
    pub(super) divided: bool,
    /// Makes the worker's watch file, if the group has any.
    pub(super) signs: Option<Signs>,
}

impl Recipe {
    /// The number of the first stored descriptor.
    pub(super) fn first_stored(&self) -> RawFd {
        (FIRST + self.names.len()) as RawFd
    }
}

/// Where programs are looked for if nobody says: systemd's choice too.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first descriptor of a worker's sockets: systemd's `SD_LISTEN_FDS_START`.
const FIRST: usize = 3;

/// What is added to an environment; no value: taken away.
type Extra = [(OsString, Option<OsString>)];

pub(super) fn recipe(
    setup: &Setup,
    group: &Group,
    index: u32,
    listeners: &[RawFd],
    pair: RawFd,
    null: RawFd,
) -> Recipe {
    let signs = Signs::of(group, index, &setup.runtime);
    let image = image(setup, group, index, signs.as_ref(), &[]);
    let acks = group.launch.contracts.hear_acks().then_some(pair);
    let (names, room) = (names(group), group.launch.fd_store as RawFd);
    let sockets = numbers(group).chain([(FIRST + listeners.len()) as RawFd + room]);
    let sockets = sockets.zip(listeners.iter().copied().chain(acks)).collect();
    let (stdout, stderr) = (group.launch.stdout.clone(), group.launch.stderr.clone());
    let (stdin, divided) = (group.launch.stdin_socket, group.sockets.iter().any(|socket| socket.reuseport));
    Recipe { image, sockets, names, room, stdout, stderr, null, stdin, divided, signs }
}

/// As which number workers get each listener.
fn numbers(group: &Group) -> impl Iterator<Item = RawFd> + '_ {
    let number = |at: usize| group.launch.numbers.get(at).copied().unwrap_or((FIRST + at) as RawFd);
    (0..group.sockets.len()).map(number)
}

/// Makes a group's process anew, if its environment may have changed.
///
/// # Errors
/// The folder of its variables cannot be read.
pub(super) fn refresh(setup: &Setup, group: &Group, index: u32, recipe: &mut Recipe) -> io::Result<()> {
    if let Some(folder) = &group.launch.envdir {
        let extra = envdir::read(folder)?;
        recipe.image = image(setup, group, index, recipe.signs.as_ref(), &extra);
    }
    Ok(())
}

/// Where a group's program may be, absolute, in the order in which a spawn looks for it.
///
/// # Errors
/// Its name cannot be made out; a spawn would say the same.
pub(super) fn program(setup: &Setup, group: &Group, index: u32) -> Result<Vec<PathBuf>, SpawnError> {
    let env = environment(setup, group, index, std::env::vars_os());
    let first = group.launch.exec.get(..1).unwrap_or_default();
    let words = words::expand(first, |name| env.get(OsStr::new(name)).cloned()).map_err(|_| INVALID)?;
    let programs = programs(words.first().ok_or(INVALID)?, &env);
    Ok(programs.into_iter().map(|program| group.launch.working_directory.join(program)).collect())
}

fn image(setup: &Setup, group: &Group, index: u32, signs: Option<&Signs>, extra: &Extra) -> Result<Image, SpawnError> {
    let launch = &group.launch;
    let mut env = environment(setup, group, index, std::env::vars_os());
    for (name, value) in extra.iter().filter(|(name, _)| passed_on(name.as_bytes(), &launch.base_name)) {
        match value {
            Some(value) => env.insert(name.clone(), value.clone()),
            None => env.remove(name),
        };
    }
    let words = words::expand(&launch.exec, |name| env.get(OsStr::new(name)).cloned()).map_err(|_| INVALID)?;
    Ok(Image::new(Parts {
        numbered: numbered(group, signs)?,
        directory: c_string(launch.working_directory.clone().into_os_string().into_vec())?,
        user: identity::change(group),
        umask: launch.umask,
        ..parts(setup, words, &env)?
    }))
}

/// What workers and hooks have in common: a command, an environment, limits.
fn parts(setup: &Setup, words: Vec<OsString>, env: &Environment) -> Result<Parts, SpawnError> {
    let programs = programs(words.first().ok_or(INVALID)?, env);
    let assign = |(name, value): (&OsString, &OsString)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat());
    Ok(Parts {
        programs: programs.into_iter().map(|program| c_string(program.into_vec())).collect::<Result<_, _>>()?,
        argv: words.into_iter().map(|word| c_string(word.into_vec())).collect::<Result<_, _>>()?,
        env: env.iter().map(assign).collect::<Result<_, _>>()?,
        numbered: Vec::new(),
        directory: CString::default(),
        open_files: setup.open_files,
        oom_score: setup.oom_score,
        user: None,
        umask: None,
    })
}

/// The process of a hook: as Firestarter itself runs, in its folder, environment and user. Its command may mention the
/// variables of the group's workers too.
///
/// # Errors
/// There is no such command, or it mentions a variable that is not set.
pub(super) fn hook(
    setup: &Setup,
    group: &Group,
    index: u32,
    kind: HookKind,
    pids: &[Pid],
) -> Result<Image, SpawnError> {
    let command = match kind {
        HookKind::Stop => group.launch.exec_stop.as_ref(),
        HookKind::Upgrader => group.launch.upgrader.as_ref(),
        HookKind::Probe { slot } => return probe(setup, group, index, slot, pids),
    };
    let mut env: Environment = std::env::vars_os().filter(|(name, _)| passed_on(name.as_bytes(), "")).collect();
    if kind == HookKind::Stop {
        let pids: Vec<String> = pids.iter().map(|pid| pid.to_string()).collect();
        env.extend(pids.first().map(|main| ("MAINPID".into(), main.into())));
        env.insert("FIRESTARTER_PIDS".into(), pids.join(" ").into());
    }
    let of_workers = environment(setup, group, index, std::env::vars_os());
    let look_up = |name: &str| env.get(OsStr::new(name)).or_else(|| of_workers.get(OsStr::new(name))).cloned();
    let words = words::expand(command.ok_or(INVALID)?, look_up).map_err(|_| INVALID)?;
    Ok(Image::new(Parts { directory: c_string(b".".to_vec())?, ..parts(setup, words, &env)? }))
}

/// The command that asks a worker whether it serves: in its folder, environment and user, without its descriptors.
fn probe(setup: &Setup, group: &Group, index: u32, slot: Slot, pids: &[Pid]) -> Result<Image, SpawnError> {
    let launch = &group.launch;
    let Some(Health::Command(command)) = &launch.health else { return Err(INVALID) };
    let mut env = of_worker(setup, group, index);
    env.retain(|name, _| !is_workers_alone(name, launch));
    let pid = pids.first().map(|pid| pid.to_string()).unwrap_or_default();
    let values = [slot.to_string(), pid.clone(), pid];
    env.extend(
        probe_variables(&launch.base_name).into_iter().zip(values).map(|(name, value)| (name.into(), value.into())),
    );
    let words = words::expand(command, |name| env.get(OsStr::new(name)).cloned()).map_err(|_| INVALID)?;
    Ok(Image::new(Parts {
        directory: c_string(launch.working_directory.clone().into_os_string().into_vec())?,
        user: identity::change(group),
        umask: launch.umask,
        ..parts(setup, words, &env)?
    }))
}

/// Whether a variable that the daemon sets tells of what is the worker's alone: its descriptors, and that it is heard.
fn is_workers_alone(name: &OsStr, launch: &Launch) -> bool {
    let Some(name) = name.to_str() else { return false };
    let known = ["LISTEN_FDS", "SERVER_STARTER_PORT", "NOTIFY_SOCKET", "WATCHDOG_USEC", "FDSTORE"].contains(&name);
    let tells = known || name.ends_with("_SOCK_FD") || name.contains("_FD_");
    tells && !launch.environments.iter().any(|(configured, _)| configured == name)
}

const INVALID: SpawnError = SpawnError { step: SpawnStep::Prepare, errno: libc::EINVAL };

fn c_string(bytes: Vec<u8>) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|_| INVALID)
}

/// The variables that only the spawn can complete.
fn numbered(group: &Group, signs: Option<&Signs>) -> Result<Vec<(CString, Number)>, SpawnError> {
    let mut numbered = Vec::new();
    let speaks = |contract| group.launch.contracts.speak(contract);
    // Where workers are asked, each needs an address of its own.
    if speaks(Contract::Firestarter) || group.launch.health.is_some() {
        numbered.push((c_string(format!("{}_SLOT=", group.launch.base_name).into())?, Number::Slot));
    }
    let by_hand = |name| contracts::set_by_hand(&group.launch.environments, name);
    if speaks(Contract::Systemd) && group.launch.listen_pid {
        if !group.sockets.is_empty() || group.launch.fd_store > 0 {
            numbered.push((c_string(b"LISTEN_PID=".to_vec())?, Number::Pid));
        }
        if group.spec.watchdog.is_some() {
            numbered.push((c_string(b"WATCHDOG_PID=".to_vec())?, Number::Pid));
        }
    }
    if speaks(Contract::Einhorn) && !by_hand(contracts::CHILD_INDEX) {
        numbered.push((c_string(format!("{}=", contracts::CHILD_INDEX).into())?, Number::Index));
    }
    if speaks(Contract::ServerStarter) && !by_hand(contracts::ATTEMPT) {
        numbered.push((c_string(format!("{}=", contracts::ATTEMPT).into())?, Number::Attempt));
    }
    if let Some(signs) = signs {
        for name in [&format!("{}_WATCH_FILE", group.launch.base_name), WATCH_FILE] {
            let path = signs.beginning().into_os_string().into_vec();
            numbered.push((c_string([name.as_bytes(), b"=", &path].concat())?, Number::Record));
        }
    }
    Ok(numbered)
}

/// Where a program may be: itself if it has a slash, else in each folder of PATH.
fn programs(word: &OsStr, env: &BTreeMap<OsString, OsString>) -> Vec<OsString> {
    if word.as_bytes().contains(&b'/') {
        return vec![word.to_owned()];
    }
    let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| PATH.into());
    std::env::split_paths(&path).map(|folder| in_folder(&folder, word)).collect()
}

fn in_folder(folder: &Path, word: &OsStr) -> OsString {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.join(word).into_os_string()
}

pub(super) type Environment = BTreeMap<OsString, OsString>;

/// The environment of a group's workers, as far as it is the same for all.
pub(super) fn of_worker(setup: &Setup, group: &Group, index: u32) -> Environment {
    environment(setup, group, index, std::env::vars_os())
}

/// `own`, the daemon's environment, without what is meant for the daemon, then what follows from the user, then the
/// group's, then what the contracts say.
fn environment(
    setup: &Setup,
    group: &Group,
    index: u32,
    own: impl Iterator<Item = (OsString, OsString)>,
) -> Environment {
    let launch = &group.launch;
    let inherited =
        |(name, _): &(OsString, OsString)| launch.inherit_env && passed_on(name.as_bytes(), &launch.base_name);
    let mut env: Environment = own.filter(inherited).collect();
    if let Some(Identity { account, .. }) = &launch.identity {
        follow(account.as_ref(), &mut env);
    }
    for (name, value) in &launch.environments {
        env.insert(name.into(), value.into());
    }
    if !launch.inherit_env {
        env.entry("PATH".into()).or_insert_with(|| PATH.into());
    }
    speak(setup, group, index, &mut env);
    env
}

/// The home and the name of the user that workers run as, never those of another.
fn follow(account: Option<&Account>, env: &mut Environment) {
    for name in ["HOME", "USER", "LOGNAME"] {
        env.remove(OsStr::new(name));
    }
    if let Some(Account { name, home }) = account {
        env.insert("HOME".into(), home.into());
        env.insert("USER".into(), name.into());
        env.insert("LOGNAME".into(), name.into());
    }
}

/// What the contracts say that the group speaks.
fn speak(setup: &Setup, group: &Group, index: u32, env: &mut Environment) {
    let (sockets, prefix, spoken) = (&group.sockets, &group.launch.base_name, group.launch.contracts);
    let [firestarter, systemd] = [Contract::Firestarter, Contract::Systemd].map(|contract| spoken.speak(contract));
    // With room for more they are completed for each worker.
    let known = !sockets.is_empty() && group.launch.fd_store == 0;
    if known && (firestarter || systemd) {
        env.insert("LISTEN_FDS".into(), sockets.len().to_string().into());
    }
    if known && systemd {
        env.insert("LISTEN_FDNAMES".into(), names(group).join(":").into());
    }
    if systemd {
        notify(setup, group, index, env);
    }
    let path = setup.runtime.worker_socket(group, index);
    if firestarter {
        env.extend(prefixed(prefix, setup, &path, group, prefix == EINHORN));
    }
    let mut add = |name: OsString, value| _ = env.entry(name).or_insert(value);
    if spoken.speak(Contract::Einhorn) {
        prefixed(EINHORN, setup, &path, group, true).into_iter().for_each(|(name, value)| add(name, value));
    }
    if spoken.speak(Contract::ServerStarter) {
        add(contracts::PORTS.into(), ports(group));
    }
}

/// What sd_notify(3) and its clients look for.
fn notify(setup: &Setup, group: &Group, index: u32, env: &mut Environment) {
    env.insert("NOTIFY_SOCKET".into(), setup.runtime.notify_socket(index).into_os_string());
    if let Some(timeout) = group.spec.watchdog {
        env.insert("WATCHDOG_USEC".into(), timeout.as_micros().to_string().into());
    }
    if group.launch.fd_store > 0 {
        env.insert("FDSTORE".into(), group.launch.fd_store.to_string().into());
    }
}

/// Einhorn's variables, or the original's, which are alike. Einhorn counts sockets that are not there, and tells of
/// their families.
fn prefixed(prefix: &str, setup: &Setup, path: &Path, group: &Group, einhorn: bool) -> Environment {
    let (sockets, room) = (&group.sockets, group.launch.fd_store as usize);
    let mut env = Environment::new();
    let mut set = |name: &str, value: OsString| env.insert(format!("{prefix}_{name}").into(), value);
    if !sockets.is_empty() || einhorn {
        set("FD_COUNT", sockets.len().to_string().into());
    }
    for (place, socket) in sockets.iter().enumerate() {
        set(&format!("FD_{place}"), (FIRST + place).to_string().into());
        if einhorn {
            set(&format!("FD_FAMILY_{place}"), family(&socket.address).into());
        }
    }
    set("SOCK_PATH", path.into());
    set("SOCK_FD", (FIRST + sockets.len() + room).to_string().into());
    set("MASTER_PID", setup.keeper.as_raw_nonzero().to_string().into());
    env
}

/// How workers find the listeners named.
fn names(group: &Group) -> Vec<String> {
    let name_of = |socket: &SocketSpec| socket.name.clone().unwrap_or_else(|| group.spec.name.clone());
    group.sockets.iter().map(name_of).collect()
}

/// What a worker is told of descriptors, where some may have been stored.
pub(super) fn passed(listeners: &[String], stored: &[&str]) -> Vec<CString> {
    let names: Vec<&str> = listeners.iter().map(String::as_str).chain(stored.iter().copied()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let told = [format!("LISTEN_FDS={}", names.len()), format!("LISTEN_FDNAMES={}", names.join(":"))];
    // No name has a zero byte: the configuration and the parser of messages see to that.
    told.into_iter().filter_map(|variable| CString::new(variable).ok()).collect()
}

fn family(address: &Address) -> &'static str {
    match address {
        Address::Tcp(address) | Address::Udp(address) if address.is_ipv4() => "AF_INET",
        Address::Tcp(_) | Address::Udp(_) => "AF_INET6",
        // What is inherited has got its address at the start.
        Address::Unix(_) | Address::Abstract(_) | Address::Inherited(_) => "AF_UNIX",
    }
}

/// Server::Starter's list of sockets: `ADDRESS=FD`, each address as it is configured, joined by `;`.
fn ports(group: &Group) -> OsString {
    let address = |written: &str| match written.split_once("::") {
        Some((prefix, rest)) if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_alphabetic()) => {
            rest.to_owned()
        }
        Some(_) | None => written.to_owned(),
    };
    let entry = |(socket, fd): (&SocketSpec, RawFd)| format!("{}={fd}", address(&socket.written));
    group.sockets.iter().zip(numbers(group)).map(entry).collect::<Vec<_>>().join(";").into()
}
