//! `firestarter start-server`: Server::Starter's command line. `options` reads it, `ports` its addresses, `remote` is what
//! `--restart` and `--stop` do; here they become a group that the daemon runs. `docs/server-starter.md` says what differs.

mod options;
mod ports;
mod remote;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use firestarter_core::command::{Command, Verb};
use firestarter_core::ids::GroupId;
use firestarter_core::spec::{Ack, Restart, Signal, Start, Upgrader};
use rustix::process::getpid;

use super::{Next, Served};
use crate::accounts::System;
use crate::cli::code;
use crate::config::{self, words::Word, Config, Contract, Contracts, Group, Surroundings};
use crate::daemon::{inherit, Signals};
use crate::place::{self, Place};
use crate::say::{plain, say};
use crate::sys::{clone, fds, wait};
use options::{Options, Wanted};

/// The group's name in `status` and `ctrl`.
const GROUP: &str = "server";
/// As good as for ever: Server::Starter kills nobody.
const PATIENCE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How much longer than `--interval` a new worker may take to begin.
const START: Duration = Duration::from_secs(300);
/// How long the command may take that says yes to an automatic restart.
const YES: Duration = Duration::from_secs(10);

/// Reads the words after `start-server` and does what they say, up to the daemon.
pub(crate) fn main(args: Vec<OsString>) -> Next {
    let env = |name: &str| std::env::var(name).ok();
    let wanted = match options::read(args, &env) {
        Ok(wanted) => wanted,
        Err(error) => {
            say(format_args!("start-server: {error}\nsee firestarter start-server --help"));
            return Next::Exit(code::USAGE);
        }
    };
    match wanted {
        Wanted::Print(text) => {
            print!("{text}");
            Next::Exit(code::DONE)
        }
        Wanted::Restart { pid_file, status_file } => Next::Exit(remote::restart(&pid_file, &status_file)),
        Wanted::Stop { pid_file } => Next::Exit(remote::stop(&pid_file)),
        Wanted::Start(options) => begin(*options).unwrap_or_else(|(code, message)| {
            say(format_args!("start-server: {message}"));
            Next::Exit(code)
        }),
    }
}

/// An exit code, and what to say.
type Fault = (u8, String);

fn begin(options: Options) -> Result<Next, Fault> {
    drop(inherit::take());
    let cwd = std::env::current_dir().map_err(|error| failed("current directory", &error))?;
    let config = config(&options, &cwd)?;
    let mut ready = None;
    if options.daemonize {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| failed("pipe", &errno.into()))?;
        match clone::fork_and_go_on().map_err(|error| failed("fork", &error))? {
            Some(child) => {
                drop(write);
                return Ok(Next::Exit(await_start(&read, child)));
            }
            None => {
                let _ = rustix::process::setsid();
                // The numbers below are the stage's.
                let above = rustix::io::fcntl_dupfd_cloexec(&write, fds::STAGE_END);
                ready = Some(above.map_err(|errno| failed("pipe", &errno.into()))?);
            }
        }
    }
    direct_output(&options)?;
    let pid = getpid().as_raw_nonzero().get();
    say(format_args!("start-server (pid:{pid}) starting now"));
    Ok(Next::Serve(Box::new(Served {
        config,
        socket: control_place(pid, &cwd),
        exit_when: None,
        signals: signals(),
        pid_file: options.pid_file.map(|path| cwd.join(path)),
        status_file: options.status_file.map(|path| cwd.join(path)),
        shelf: None,
        ready,
    })))
}

fn failed(what: &str, error: &io::Error) -> Fault {
    (code::FAILED, format!("{what}: {}", plain(error)))
}

/// HUP is an upgrade. TERM passes on what `--signal-on-term` says; what else stops, a TERM.
fn signals() -> Signals {
    let (group, verb) = (GroupId(0), Verb::Upgrade);
    let upgrade = Command::Group { group, verb, signal: None, slot: None };
    let term = Some(Signal::TERM);
    Signals {
        stops: vec![(Signal::TERM, None), (Signal::INT, term), (Signal::QUIT, term)],
        orders: vec![(Signal::HUP, upgrade)],
        succession: false,
    }
}

/// Several start-servers run side by side, and `--restart` knows no more than a pid.
fn control_place(pid: i32, cwd: &Path) -> Place {
    let not_chosen = |name: &str| std::env::var_os(name).filter(|_| name != "FIRESTARTER_SOCKET");
    let place = place::socket_path(None, not_chosen, rustix::process::geteuid().as_raw(), cwd);
    Place { path: place.path.with_file_name(format!("start-server-{pid}.sock")), ..place }
}

/// The one group, with everything that Server::Starter has no word for as it is by default.
fn config(options: &Options, cwd: &Path) -> Result<Config, Fault> {
    let env = |name: &str| std::env::var_os(name);
    let around = Surroundings::here(cwd, &env, &System);
    let text = format!("[{GROUP}]\nexec_start = ['true']\n");
    let path = PathBuf::from("start-server");
    let (mut config, _) = config::parse(&path, &text, &around).map_err(|faults| (code::USAGE, faults.to_string()))?;
    for group in &mut config.groups {
        fill(group, options, cwd)?;
    }
    config.stop_timeout = (!getpid().is_init()).then_some(PATIENCE);
    Ok(config)
}

fn fill(group: &mut Group, options: &Options, cwd: &Path) -> Result<(), Fault> {
    let Group { spec, launch, sockets } = group;
    spec.restart = Restart::Always;
    spec.start = Start::AtOnce;
    spec.ack = Ack::Timer(options.interval);
    spec.start_timeout = options.interval + START;
    (spec.stop_signal, spec.stop_timeout) = (options.signal_on_term, PATIENCE);
    (spec.ack_signal, spec.drain_timeout) = (options.signal_on_hup, PATIENCE);
    spec.kill_old_delay = options.kill_old_delay;
    if let Some(every) = options.auto_restart {
        spec.upgrader = Some(Upgrader { every: Some(every), timeout: YES });
        launch.upgrader = Some(vec![Word::literal("true")]);
    }
    launch.exec = options.command.iter().map(|word| Word::literal(word)).collect();
    if let Some(dir) = &options.dir {
        launch.working_directory = cwd.join(dir);
    }
    launch.envdir = options.envdir.as_ref().map(|dir| cwd.join(dir));
    launch.contracts = Contracts::only(&[Contract::ServerStarter]);
    launch.listen_pid = false;
    (*sockets, launch.numbers) = ports::read(options, cwd).map_err(|message| (code::USAGE, message))?;
    Ok(())
}

/// Output and errors go to `--log-file`; without it they stay, but a process in the background has none.
fn direct_output(options: &Options) -> Result<(), Fault> {
    let to = |what: &str| {
        let what = format!("open {what}");
        move |error: io::Error| failed(&what, &error)
    };
    let log: Option<OwnedFd> = match &options.log_file {
        None => None,
        Some(log) => match log.trim_start().strip_prefix('|') {
            Some(command) => {
                let logger = logger(command, options.daemonize).map_err(to(log))?;
                Some(logger)
            }
            None => Some(std::fs::File::options().append(true).create(true).open(log).map_err(to(log))?.into()),
        },
    };
    if options.daemonize {
        let null = std::fs::File::open("/dev/null").map_err(to("/dev/null"))?;
        fds::place(null.as_raw_fd(), 0, false).map_err(to("/dev/null"))?;
    }
    if let Some(log) = log {
        for number in [1, 2] {
            fds::place(log.as_raw_fd(), number, false).map_err(to("the log"))?;
        }
    }
    Ok(())
}

/// A command that reads the output; it ends when nobody has the other end any more. Ctrl-C is not meant for it. In the
/// background it keeps nothing open of who started it.
fn logger(command: &str, background: bool) -> io::Result<OwnedFd> {
    use std::os::unix::process::CommandExt;
    let mut shell = Program::new("sh");
    shell.arg("-c").arg(command.trim()).process_group(0).stdin(Stdio::piped());
    if background {
        shell.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let input = shell.spawn()?.stdin.take();
    input.map(OwnedFd::from).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
}

/// Waits until the one in the background has begun, or has ended; returns its exit code.
fn await_start(ready: &OwnedFd, child: rustix::process::Pid) -> u8 {
    loop {
        match rustix::io::read(ready, &mut [0]) {
            Ok(1) => return code::DONE,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let ended = wait::reap_blocking(child).ok().flatten().filter(|ended| ended.code == libc::CLD_EXITED);
    let code = ended.map_or(code::FAILED, |ended| ended.status as u8);
    say(format_args!("start-server: it has not started (exit code {code}): see its log"));
    code
}
