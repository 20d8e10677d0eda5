//! `firestarter einhorn`: Einhorn's command line, for whoever has Einhorn's already. Called by `main`.
//!
//! [`main`] reads Einhorn's options and runs the daemon and keeper that every configuration gets. Einhorn's command socket
//! is a shared socket of a second group, `einhornsh`, whose one worker is [`socket`]: a client of the control socket that
//! speaks Einhorn's records. The first connection starts it. It decides nothing, so it may die at any time.

mod build;
mod options;
mod record;
mod scalar;
mod serve;
mod state;
mod talk;
mod values;

use std::ffi::OsString;

use firestarter_core::command::{Command, Verb};
use firestarter_core::ids::GroupId;
use firestarter_core::spec::{ExitWhen, Signal};
use rustix::process::setpriority_process;

use super::{Next, Served};
use crate::cli::code;
use crate::daemon::{inherit, Signals};
use crate::say::{plain, say};
use build::Built;
use options::{Options, Wanted};

/// Makes of Einhorn's command line what is to be served.
pub(crate) fn main(args: Vec<OsString>) -> Next {
    let options = match options::parse(args) {
        Ok(Wanted::Run(options)) => *options,
        Ok(Wanted::Print(text)) => {
            print!("{text}");
            return Next::Exit(code::DONE);
        }
        Err(usage) => {
            eprintln!("firestarter einhorn: {usage}");
            return Next::Exit(code::USAGE);
        }
    };
    match prepare(&options) {
        Ok(Built { config, control: socket, pid_file }) => {
            drop(inherit::take());
            let exit_when = Some(ExitWhen::Never);
            let (pid_file, status_file, ready) = (Some(pid_file), None, None);
            Next::Serve(Box::new(Served {
                config,
                socket,
                exit_when,
                signals: signals(),
                pid_file,
                status_file,
                shelf: None,
                ready,
            }))
        }
        Err(error) => {
            say(format_args!("einhorn: {error}"));
            Next::Exit(code::FAILED)
        }
    }
}

/// Serves Einhorn's command socket; returns the exit code. Only Firestarter itself calls it, as a worker.
pub(crate) fn socket(args: &[OsString]) -> u8 {
    match serve::serve(args) {
        Ok(()) => code::DONE,
        Err(error) => {
            say(format_args!("einhorn-socket: {error}"));
            code::FAILED
        }
    }
}

/// What signals to Einhorn mean: INT and USR2 ask workers to finish, TERM and QUIT are passed on as they are; HUP, and
/// ALRM as it was once, upgrade.
fn signals() -> Signals {
    let upgrade = Command::Group { group: GroupId(0), verb: Verb::Upgrade, signal: None, slot: None };
    let stops = [
        (Signal::INT, Signal::USR2),
        (Signal::USR2, Signal::USR2),
        (Signal::TERM, Signal::TERM),
        (Signal::QUIT, Signal::QUIT),
    ];
    let orders = [Some(Signal::HUP), Signal::parse("ALRM")].into_iter().flatten();
    Signals {
        stops: stops.map(|(signal, with)| (signal, Some(with))).into(),
        orders: orders.map(|signal| (signal, upgrade)).collect(),
        succession: false,
    }
}

/// Changes of this process that all others inherit, then the configuration. There is one thread, and nothing is open.
fn prepare(options: &Options) -> Result<Built, build::BuildError> {
    if let Some(level) = options.nice.0 {
        if let Err(errno) = setpriority_process(None, level) {
            // Einhorn goes on too.
            say(format_args!("einhorn: --nice {level}: {} (below 0 needs root or CAP_SYS_NICE)", plain(&errno.into())));
        }
    }
    options.dropped.iter().for_each(|name| std::env::remove_var(name));
    if !options.without_effect.is_empty() {
        say(format_args!("einhorn: of no effect here: --{}", options.without_effect.join(", --")));
    }
    build::build(options)
}
