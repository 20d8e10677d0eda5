//! From Einhorn's options to a configuration: the group of the command, and the group that serves the command socket.
//! Called by the room's `run`, before there is a keeper, so names may be looked up and paths be looked at.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::{Ack, Backoff, GroupSpec, Restart, Share, Signal, Start, Surge};
use serde::{Deserialize, Serialize};

use super::options::{Bind, BindPlace, Options};
use crate::accounts::System;
use crate::config::words::Word;
use crate::config::{self, Address, Config, Group, Launch, Output, SocketSpec, Surroundings};
use crate::place::{self, Place};
use crate::say::plain;

/// The most workers a group can have.
pub(super) const MOST_WORKERS: u32 = firestarter_core::MAX_COUNT;
/// The longest time that an option can name, and how long is waited where Einhorn waits for ever: ten years.
pub(super) const LONGEST_S: f64 = 315_360_000.0;
const LONGEST: Duration = Duration::from_secs(315_360_000);
/// So many sockets fit where a worker's descriptors are staged.
const MOST_SOCKETS: usize = 48;
/// The first descriptor of a worker's sockets.
const FIRST: usize = 3;

/// The group of the command if it has no name of its own.
const NAME: &str = "einhorn";
/// The group that serves the command socket.
pub(super) const SHELL: &str = "einhornsh";
/// How many clients of the command socket may wait.
const SHELL_BACKLOG: i32 = 512;
/// A group's name is that long at most.
const LONGEST_NAME: usize = 40;

/// What is to be started.
pub(super) struct Built {
    pub(super) config: Config,
    /// Where Firestarter's own control socket is.
    pub(super) control: Place,
    pub(super) pid_file: PathBuf,
}

/// What the process that serves the command socket is told, as its one argument. No secrets: everybody sees arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Briefing {
    /// The group of the command.
    pub(super) group: String,
    /// Firestarter's own control socket.
    pub(super) control: PathBuf,
    /// `-c`.
    pub(super) name: Option<String>,
    pub(super) command: Vec<String>,
    /// Addresses as they were written.
    pub(super) binds: Vec<String>,
    pub(super) backlog: i32,
    /// Seconds; none: manual.
    pub(super) ack_after: Option<f64>,
    pub(super) respawn_after: f64,
    pub(super) signal_timeout: Option<f64>,
    /// How many workers an upgrade renews at a time.
    pub(super) at_a_time: u32,
    pub(super) socket: PathBuf,
    pub(super) pid_file: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("current directory: {}", plain(.0))]
    Cwd(io::Error),
    #[error("{0}: no such program in PATH; write its path, or correct PATH")]
    NoProgram(String),
    #[error("{}: no such file; write the path of a program", .0.display())]
    NoFile(PathBuf),
    #[error("-b {address}: look up: {}; write an IP address", plain(source))]
    LookUp { address: String, source: io::Error },
    #[error("-b {0}: that name has no address; write an IP address")]
    NoAddress(String),
    #[error("-b {0}: named twice; each address can be bound once")]
    Twice(String),
    #[error("{0} sockets, and a worker can have {MOST_SOCKETS}")]
    TooMany(usize),
    #[error("control socket: {0}")]
    Folder(#[from] place::FolderError),
}

pub(super) fn build(options: &Options) -> Result<Built, BuildError> {
    let cwd = std::env::current_dir().map_err(BuildError::Cwd)?;
    find_program(&options.command[0], &cwd)?;
    let files = Files::of(options, &cwd);
    let control = control(options, &files, &cwd)?;
    let (sockets, command) = sockets(options)?;
    let name = group_name(options);
    let briefing = Briefing {
        group: name.clone(),
        control: control.path.clone(),
        name: options.name.clone(),
        command: options.command.clone(),
        binds: sockets.iter().map(|socket| socket.written.clone()).collect(),
        backlog: options.backlog,
        ack_after: options.ack_after.map(|after| after.as_secs_f64()),
        respawn_after: options.respawn_after.as_secs_f64(),
        signal_timeout: options.signal_timeout.map(|timeout| timeout.as_secs_f64()),
        at_a_time: at_a_time(options),
        socket: files.socket.clone(),
        pid_file: files.pid_file.clone(),
    };
    let worker = base(&name, "einhorn", &cwd);
    let launch = Launch { exec: exec(options, &command), ..worker.launch };
    let worker = Group { spec: spec(options, worker.spec), launch, sockets };
    // Nobody is killed at the end who would not be under Einhorn.
    let stop_timeout = options.signal_timeout.map_or(LONGEST, |timeout| timeout + Duration::from_secs(5));
    let groups = vec![worker, shell(&briefing, &cwd)];
    let (path, text, stop_timeout) = (PathBuf::from(NAME), String::new(), Some(stop_timeout));
    let config = Config { path, text, files: Vec::new(), groups, stop_timeout, kill_strangers: false };
    Ok(Built { config, control, pid_file: files.pid_file })
}

/// A group as an otherwise empty configuration has it, whose workers are spoken to by one contract.
fn base(name: &str, contract: &str, cwd: &Path) -> Group {
    let env = |_: &str| None;
    let around = Surroundings::here(cwd, &env, &System);
    let text = format!("[\"{name}\"]\nexec_start = ['x']\ncontracts = ['{contract}']\n");
    let (config, _) = config::parse(Path::new(NAME), &text, &around).expect("these keys and names are valid");
    config.groups.into_iter().next().expect("a configuration has at least one group")
}

/// The group that serves the command socket: nothing runs before somebody connects, and nothing of it is passed on.
fn shell(briefing: &Briefing, cwd: &Path) -> Group {
    let shell = base(SHELL, "systemd", cwd);
    let spec = GroupSpec { start: Start::OnConnection, restart: Restart::Always, ack: Ack::None, ..shell.spec };
    let written = briefing.socket.display().to_string();
    let listener = socket(Address::Unix(briefing.socket.clone()), written, SHELL_BACKLOG, Some(0o600));
    let briefing = serde_json::to_string(briefing).expect("it has nothing but strings for keys, and no NaN");
    let exec = ["/proc/self/exe", "einhorn-socket", &briefing].map(Word::literal).to_vec();
    let launch = Launch { exec, stdout: Output::Null, stderr: Output::Null, ..shell.launch };
    Group { spec, launch, sockets: vec![listener] }
}

/// How Einhorn keeps its workers, in Firestarter's words.
fn spec(options: &Options, base: GroupSpec) -> GroupSpec {
    let timeout = options.signal_timeout.unwrap_or(LONGEST);
    let backoff = Backoff { max: options.respawn_after.max(base.backoff.max), ..base.backoff };
    let ack = options.ack_after.map_or(Ack::Manual, Ack::Timer);
    GroupSpec {
        count: NonZeroU32::new(options.number).unwrap_or(NonZeroU32::MIN),
        restart: Restart::Always,
        backoff,
        give_up: None,
        start: Start::AtOnce,
        ack,
        // A timer that is slower than the rest of an upgrade would abort each.
        start_timeout: base.start_timeout + options.ack_after.unwrap_or_default(),
        stop_signal: Signal::TERM,
        stop_timeout: timeout,
        ack_signal: Signal::USR2,
        drain_timeout: timeout,
        surge: NonZeroU32::new(at_a_time(options)).map_or(base.surge, |most| Surge::Fixed(Share::Count(most.get()))),
        ..base
    }
}

/// How many workers an upgrade renews at a time: as Einhorn, one a processor unless told otherwise.
fn at_a_time(options: &Options) -> u32 {
    let processors = || std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let unacked = options.max_unacked.unwrap_or_else(processors);
    unacked.min(options.max_additional.unwrap_or(u32::MAX))
}

/// The command's words. A niceness of its own is taken on by nice(1), which becomes the command.
fn exec(options: &Options, command: &[String]) -> Vec<Word> {
    let nice = options.nice.1.map(|level| level - niceness()).filter(|by| *by != 0);
    let nice = nice.map(|by| ["nice".to_owned(), "-n".to_owned(), by.to_string(), "--".to_owned()]);
    nice.into_iter().flatten().chain(command.iter().cloned()).map(|word| Word::literal(&word)).collect()
}

/// This process's own.
fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// The shared sockets, and the command with `srv:…` replaced by their numbers.
fn sockets(options: &Options) -> Result<(Vec<SocketSpec>, Vec<String>), BuildError> {
    let mut sockets: Vec<SocketSpec> = Vec::new();
    for bind in &options.binds {
        let spec = resolve(bind, options.backlog)?;
        if sockets.iter().any(|socket| socket.address == spec.address && !any_port(&spec.address)) {
            return Err(BuildError::Twice(spec.written));
        }
        sockets.push(spec);
    }
    let mut command = options.command.clone();
    for word in command.iter_mut().skip(1) {
        let Some((before, bind)) = service(word) else { continue };
        let spec = resolve(&bind, options.backlog)?;
        // Every -b with port 0 is another port.
        let same = |(place, socket): (usize, &SocketSpec)| {
            socket.address == spec.address && (place >= options.binds.len() || !any_port(&spec.address))
        };
        let place = sockets.iter().enumerate().position(same).unwrap_or(sockets.len());
        if place == sockets.len() {
            sockets.push(spec);
        }
        *word = format!("{before}{}", FIRST + place);
    }
    if sockets.len() > MOST_SOCKETS {
        return Err(BuildError::TooMany(sockets.len()));
    }
    Ok((sockets, command))
}

fn any_port(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if address.port() == 0)
}

/// What stands before the `srv:` of a word, and what it names.
fn service(word: &str) -> Option<(String, Bind)> {
    let at = if word.starts_with("srv:") { 0 } else { word.rfind("=srv:")? + 1 };
    let bind = Bind::parse(&word[at + 4..]).ok()?;
    matches!(bind.place, BindPlace::Tcp(..)).then(|| (word[..at].to_owned(), bind))
}

fn resolve(bind: &Bind, backlog: i32) -> Result<SocketSpec, BuildError> {
    let (address, written) = match &bind.place {
        BindPlace::Unix(path) => (Address::Unix(path.clone()), path.display().to_string()),
        BindPlace::Tcp(host, port) => (Address::Tcp(look_up(host, *port)?), format!("{host}:{port}")),
    };
    Ok(SocketSpec { nonblocking: bind.nonblocking, ..socket(address, written, backlog, None) })
}

/// An address of that host, of IPv4 if it has one: Einhorn knows no other.
fn look_up(host: &str, port: u16) -> Result<SocketAddr, BuildError> {
    let address = || format!("{host}:{port}");
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs();
    let found: Vec<SocketAddr> = found.map_err(|source| BuildError::LookUp { address: address(), source })?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| BuildError::NoAddress(address()))
}

fn socket(address: Address, written: String, backlog: i32, mode: Option<u32>) -> SocketSpec {
    SocketSpec { backlog, mode, ..SocketSpec::at(written, address) }
}

/// Looks for the program, as Einhorn does before it begins.
fn find_program(program: &str, cwd: &Path) -> Result<(), BuildError> {
    if program.contains('/') {
        let path = cwd.join(program);
        return if path.exists() { Ok(()) } else { Err(BuildError::NoFile(path)) };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).any(|folder| cwd.join(folder).join(program).is_file());
    found.then_some(()).ok_or_else(|| BuildError::NoProgram(program.to_owned()))
}

/// The group's name: Einhorn takes any.
fn group_name(options: &Options) -> String {
    let Some(name) = &options.name else { return NAME.to_owned() };
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' };
    let name: String = name.chars().map(allowed).take(LONGEST_NAME).collect();
    if name == SHELL || name == "firestarter" {
        NAME.to_owned()
    } else {
        name
    }
}

/// The files that Einhorn makes, absolute.
struct Files {
    socket: PathBuf,
    pid_file: PathBuf,
}

impl Files {
    fn of(options: &Options, cwd: &Path) -> Files {
        let name = options.name.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        let usual = |suffix: &str| temporary().join(format!("einhorn{name}.{suffix}"));
        let path = |given: &Option<PathBuf>, suffix| cwd.join(given.clone().unwrap_or_else(|| usual(suffix)));
        Files { socket: path(&options.socket, "sock"), pid_file: path(&options.pid_file, "pid") }
    }
}

/// Where einhornsh looks: Ruby's rule.
fn temporary() -> PathBuf {
    let named = ["TMPDIR", "TMP", "TEMP"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.into_iter().find(|path| path.is_absolute() && path.is_dir()).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Where Firestarter's own control socket is: one for each command socket, since there may be many Einhorns.
fn control(options: &Options, files: &Files, cwd: &Path) -> Result<Place, BuildError> {
    let uid = rustix::process::geteuid().as_raw();
    let env = |name: &str| std::env::var_os(name);
    let mut place = place::socket_path(None, env, uid, cwd);
    if env("FIRESTARTER_SOCKET").is_none_or(|value| value.is_empty()) {
        let name = match (&options.name, &options.socket) {
            (None, None) => NAME.to_owned(),
            (Some(name), None) if group_name(options) == *name => format!("{NAME}-{name}"),
            (Some(_), None) | (_, Some(_)) => format!("{NAME}-{:016x}", hash(&files.socket)),
        };
        place.path.set_file_name(format!("{name}.sock"));
    }
    place::check_own(&place, uid)?;
    Ok(place)
}

/// FNV-1a of a path.
fn hash(path: &Path) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::super::options::{parse, Wanted};
    use super::*;
    use std::ffi::OsString;

    fn options(line: &str) -> Options {
        match parse(line.split(' ').map(OsString::from)) {
            Ok(Wanted::Run(options)) => *options,
            Ok(Wanted::Print(_)) | Err(_) => panic!("{line}"),
        }
    }

    fn built(line: &str) -> Config {
        build(&options(line)).map(|built| built.config).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn words(config: &Config) -> Vec<String> {
        config.groups[0].launch.exec.iter().map(Word::to_string).collect()
    }

    #[test]
    fn einhorns_rules_become_a_group() {
        let config = built("-n 3 -m manual -t 7 --max-unacked 5 --max-upgrade-additional 2 -c web -s 60 sh -c x");
        let spec = &config.groups[0].spec;
        assert_eq!((spec.name.as_str(), spec.count.get(), spec.restart), ("web", 3, Restart::Always));
        assert_eq!((spec.ack, spec.surge), (Ack::Manual, Surge::Fixed(Share::Count(2))));
        assert_eq!((spec.stop_timeout, spec.drain_timeout), (Duration::from_secs(7), Duration::from_secs(7)));
        assert_eq!((spec.ack_signal, spec.backoff.max), (Signal::USR2, Duration::from_secs(60)));
        assert_eq!(
            (config.groups[1].spec.start, words(&config)),
            (Start::OnConnection, vec!["sh".into(), "-c".into(), "x".into()])
        );
        let plain = built("sh");
        assert_eq!(plain.groups[0].spec.ack, Ack::Timer(Duration::from_secs(1)));
        assert_eq!((plain.groups[0].spec.stop_timeout, plain.stop_timeout), (LONGEST, Some(LONGEST)));
        let slow = built("-m 1000 sh").groups.remove(0).spec;
        assert!(slow.start_timeout > Duration::from_secs(1000), "a timer has its time");
        assert_eq!(built("-c a/b sh".replace('/', "&").as_str()).groups[0].spec.name, "a-b");
        assert_eq!(built("-c einhornsh sh").groups[0].spec.name, "einhorn");
    }

    #[test]
    fn sockets_have_numbers_in_their_order_and_srv_words_become_them() {
        let config = built(
            "-b 127.0.0.1:1234,n -b /tmp/x -l 9 sh srv:127.0.0.1:80,r --fd=srv:127.0.0.1:1234 a=srv:b srv:127.0.0.1:80",
        );
        let sockets = &config.groups[0].sockets;
        let written: Vec<&str> = sockets.iter().map(|socket| socket.written.as_str()).collect();
        assert_eq!(written, ["127.0.0.1:1234", "/tmp/x", "127.0.0.1:80"]);
        assert_eq!(
            sockets.iter().map(|s| (s.backlog, s.nonblocking)).collect::<Vec<_>>(),
            [(9, true), (9, false), (9, false)]
        );
        assert_eq!(words(&config), ["sh", "5", "--fd=3", "a=srv:b", "5"]);
        let fault = |line: &str| build(&options(line)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            fault("-b 127.0.0.1:80 -b 127.0.0.1:80,r sh"),
            "-b 127.0.0.1:80: named twice; each address can be bound once"
        );
        assert!(fault("no-such-program-anywhere").contains("no such program in PATH"));
        assert!(fault("/no/such/file").contains("no such file"));
    }

    #[test]
    fn nobody_but_the_owner_reaches_the_command_socket_and_each_has_a_control_socket_of_its_own() {
        let config = built("-d /tmp/somewhere.sock sh");
        let socket = &config.groups[1].sockets[0];
        assert_eq!((&socket.address, socket.mode), (&Address::Unix("/tmp/somewhere.sock".into()), Some(0o600)));
        let control = |line: &str| build(&options(line)).map(|built| built.control.path).unwrap();
        let names = ["sh", "-c web sh", "-c web -d /tmp/a sh", "-d /tmp/b sh", "-c w&b sh"].map(control);
        for (at, path) in names.iter().enumerate() {
            assert!(!names[..at].contains(path), "{names:?}");
        }
    }

    #[test]
    fn another_niceness_is_nices_work() {
        let more = niceness() + 3;
        assert_eq!(words(&built(&format!("--nice :{more} sh"))), ["nice", "-n", "3", "--", "sh"]);
        assert_eq!(words(&built(&format!("--nice :{} sh", niceness()))), ["sh"]);
    }
}
