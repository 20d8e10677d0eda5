//! `run` and `check`: from a configuration file to a keeper that runs. Called by `main`.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::{ExitWhen, Policy};

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

/// How long a stop of everything may take if the configuration does not say.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// As PID 1: `docker stop` sends SIGKILL after 10 s.
const STOP_TIMEOUT_OF_INIT: Duration = Duration::from_secs(8);
/// What the end itself may take, when all workers have gone.
const PARTING: Duration = Duration::from_secs(2);

/// Runs until all is over; returns the exit code.
pub(crate) fn run(config: Option<PathBuf>, socket: Place, exit_when: Option<ExitWhen>) -> u8 {
    fds::close_inherited();
    let config = match load(config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match start(config, socket, exit_when) {
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

fn start(config: Config, socket: Place, exit_when: Option<ExitWhen>) -> Result<u8, OpenError> {
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
    let init = keeper.is_init();
    let policy = policy(&config, exit_when, init);
    let setup = Box::leak(Box::new(Setup { config, runtime, keeper, open_files, oom_score, policy, since }));
    let (records, log) = journal::create().map_err(kernel("the journal"))?;
    if let Some(voice) = voice {
        records.ledger.name(&voice, Meaning::Keeper).map_err(kernel("standard error"))?;
    }
    open::open(setup, records, log, u64::from_le_bytes(seed))?;
    for remark in remarks(&setup.config, policy, init) {
        say(format_args!("{remark}"));
    }
    maps::give_back_text();
    keeper::run(records, hangup_ignored, |link| daemon::live(setup, records, log, link))
        .inspect_err(|_| open::remove_files(setup))
        .map_err(kernel("the keeper"))
}

/// What holds for all groups. `init`: as PID 1, the end of Firestarter is the end of its container, so a container that has
/// failed ends unless told otherwise.
fn policy(config: &Config, exit_when: Option<ExitWhen>, init: bool) -> Policy {
    let (stop_timeout, by_itself) =
        if init { (STOP_TIMEOUT_OF_INIT, ExitWhen::Failed) } else { (STOP_TIMEOUT, ExitWhen::Never) };
    Policy { stop_timeout: config.stop_timeout.unwrap_or(stop_timeout), exit_when: exit_when.unwrap_or(by_itself) }
}

/// What is to be known of stopping before the first stop.
fn remarks(config: &Config, policy: Policy, init: bool) -> Vec<String> {
    let whole = policy.stop_timeout;
    let docker = |stop: Duration| format!("docker stop -t {}", (stop + PARTING).as_millis().div_ceil(1000));
    let mut remarks = Vec::new();
    if init {
        let (whole, docker) = (seconds(whole), docker(whole));
        remarks
            .push(format!("PID 1: a stop may take {whole}, then what is left is killed; give it that time: {docker}"));
    }
    let longer = |time: &Duration| *time > whole;
    for group in &config.groups {
        let (name, own) = (&group.spec.name, group.spec.stop_timeout);
        if longer(&own) {
            let docker = if init { format!(", and stop the container with {}", docker(own)) } else { String::new() };
            let (own, whole) = (seconds(own), seconds(whole));
            remarks.push(format!(
                "{name}: its stop_timeout is {own}, but a stop of everything may take {whole} only: \
                 set stop_timeout in [firestarter] to that or more{docker}"
            ));
        }
    }
    remarks
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups whose workers may take 10 s and 30.5 s to end.
    fn config(name: &str, stop_timeout: Option<u64>) -> Config {
        let path = std::env::temp_dir().join(format!("firestarter-{name}-{}.toml", std::process::id()));
        let toml = "[api]\nexec_start = 'a'\n[web]\nexec_start = 'a'\nstop_timeout = 30.5\n";
        std::fs::write(&path, toml).expect("write");
        let config = load_from(&path, Path::new("/")).expect("no faults");
        std::fs::remove_file(&path).expect("remove");
        Config { stop_timeout: stop_timeout.map(Duration::from_secs), ..config }
    }

    #[test]
    fn a_container_ends_sooner_and_when_it_has_failed() {
        let config_of = |stop_timeout| config("policy", stop_timeout);
        let policy = |stop_timeout, exit_when, init| {
            let policy = policy(&config_of(stop_timeout), exit_when, init);
            (policy.stop_timeout.as_secs(), policy.exit_when)
        };
        assert_eq!(policy(None, None, false), (30, ExitWhen::Never));
        assert_eq!(policy(None, None, true), (8, ExitWhen::Failed));
        for init in [false, true] {
            assert_eq!(policy(Some(60), Some(ExitWhen::Done), init), (60, ExitWhen::Done));
            assert_eq!(policy(Some(1), Some(ExitWhen::Never), init), (1, ExitWhen::Never));
        }
    }

    #[test]
    fn it_is_said_who_will_not_have_the_time_that_was_configured() {
        let said = |stop_timeout, init| {
            let config = config("remarks", stop_timeout);
            remarks(&config, policy(&config, None, init), init)
        };
        assert_eq!(said(Some(60), false), Vec::<String>::new());
        let web = "web: its stop_timeout is 30.5 s, but a stop of everything may take";
        let advice = "set stop_timeout in [firestarter] to that or more";
        assert_eq!(said(None, false), [format!("{web} 30 s only: {advice}")]);
        let init = |seconds, docker| {
            format!(
                "PID 1: a stop may take {seconds} s, then what is left is killed; give it that time: \
                 docker stop -t {docker}"
            )
        };
        assert_eq!(said(Some(60), true), [init(60, 62)]);
        let both = said(None, true);
        assert_eq!(both[0], init(8, 10));
        assert_eq!(
            both[1],
            format!(
                "api: its stop_timeout is 10 s, but a stop of everything may take 8 s only: {advice}, and stop the \
                     container with docker stop -t 12"
            )
        );
        assert_eq!(both[2], format!("{web} 8 s only: {advice}, and stop the container with docker stop -t 33"));
    }
}
