//! `run` and `check`: from a configuration file to a keeper that runs. Called by `main`.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use firestarter_core::spec::Policy;

use crate::cli::code;
use crate::config::{self, Config, Surroundings};
use crate::daemon::open::{self, OpenError, Runtime};
use crate::daemon::{self, limits, Setup};
use crate::journal::{self, Meaning};
use crate::keeper;
use crate::place::Place;
use crate::say::{self, say};
use crate::sys::{fds, maps, oom, signals};

/// Where a configuration is looked for that nobody named.
const PLACES: [&str; 2] = ["firestarter.toml", "/etc/firestarter/config.toml"];

/// Runs until all is over; returns the exit code.
pub(crate) fn run(config: Option<PathBuf>, socket: Place) -> u8 {
    fds::close_inherited();
    let config = match load(config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match start(config, socket) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("{error}"));
            code::FAILED
        }
    }
}

/// Reads a configuration and says what is wrong with it; returns the exit code.
pub(crate) fn check(config: Option<PathBuf>) -> u8 {
    match load(config) {
        Ok(config) => {
            let names: Vec<&str> = config.groups.iter().map(|group| group.spec.name.as_str()).collect();
            println!("{}: no faults; groups: {}", config.path.display(), names.join(", "));
            code::DONE
        }
        Err(code) => code,
    }
}

fn load(named: Option<PathBuf>) -> Result<Config, u8> {
    let path = named.or_else(|| PLACES.map(PathBuf::from).into_iter().find(|path| path.exists()));
    let Some(path) = path else {
        say(format_args!("no configuration: name one with -c FILE, or write {} or {}", PLACES[0], PLACES[1]));
        return Err(code::USAGE);
    };
    let cwd = std::env::current_dir().map_err(|error| {
        say(format_args!("current directory: {}", say::plain(&error)));
        code::FAILED
    })?;
    load_from(&path, &cwd)
}

fn load_from(path: &Path, cwd: &Path) -> Result<Config, u8> {
    let env = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    config::load(path, &Surroundings { cwd, env: &env }).map_err(|faults| {
        eprintln!("{faults}");
        code::USAGE
    })
}

fn start(config: Config, socket: Place) -> Result<u8, OpenError> {
    let kernel = |what| move |source| OpenError::Kernel { what, source };
    let hangup_ignored = signals::block_and_reset();
    let open_files = fds::raise_limit();
    limits::check(&config, open_files.1)?;
    let oom_score = oom::lower_score();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(kernel("/dev/null"))?;
    fds::prepare_stage(null.as_fd()).map_err(kernel("the stage"))?;
    // Its number is one of the stage's; the placeholders are copies of it.
    std::mem::forget(null);
    let voice = say::prepare();
    let mut seed = [0; 8];
    let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    let (runtime, keeper, since) = (Runtime::new(socket), rustix::process::getpid(), daemon::now());
    let policy = Policy::default();
    let setup = Box::leak(Box::new(Setup { config, runtime, keeper, open_files, oom_score, policy, since }));
    let (records, log) = journal::create().map_err(kernel("the journal"))?;
    if let Some(voice) = voice {
        records.ledger.name(&voice, Meaning::Keeper).map_err(kernel("standard error"))?;
    }
    open::open(setup, records, log, u64::from_le_bytes(seed))?;
    maps::give_back_text();
    keeper::run(records, hangup_ignored, |link| daemon::live(setup, records, log, link))
        .inspect_err(|_| open::remove_files(setup))
        .map_err(kernel("the keeper"))
}
