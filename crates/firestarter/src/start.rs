//! `run` and `check`: from a configuration file to a keeper that runs. Called by `main`.

mod logs;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::{ExitWhen, GroupSpec, Policy, Signal};

use crate::accounts::System;
use crate::cli::code;
use crate::config::{self, Config, Surroundings, Warnings};
use crate::daemon::open::{self, OpenError, Runtime};
use crate::daemon::shelf::Shelf;
use crate::daemon::{self, inherit, limits, report, Setup, Signals};
use crate::front::Served;
use crate::journal::{self, Log, Meaning, Records};
use crate::keeper;
use crate::place::Place;
use crate::say::{self, say};
use crate::service::Service;
use crate::sys::{self, fds, maps, oom};
use crate::writer;

/// Where a configuration is looked for that nobody named.
const PLACES: [&str; 2] = ["firestarter.toml", "/etc/firestarter/config.toml"];

/// How long a stop of everything may take if the configuration does not say.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// As PID 1: `docker stop` sends SIGKILL after 10 s.
const STOP_TIMEOUT_OF_INIT: Duration = Duration::from_secs(8);
/// What the end itself may take, when all workers have gone.
const PARTING: Duration = Duration::from_secs(2);

/// A service manager is told of so much more than a start or a stop may take.
const LEEWAY: Duration = Duration::from_secs(15);

/// A stop that may take so long has no end that anybody waits for.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// So many groups are named in a remark.
const NAMED: usize = 3;

/// Runs until all is over; returns the exit code.
pub(crate) fn run(config: Option<PathBuf>, socket: Place, exit_when: Option<ExitWhen>) -> u8 {
    let inherited = inherit::take();
    let mut config = match load(config) {
        Ok((config, _)) => config,
        Err(code) => return code,
    };
    let shelf = match inherit::resolve(&mut config, inherited) {
        Ok(shelf) => Some(shelf),
        Err(error) => {
            say(format_args!("{error}"));
            return code::FAILED;
        }
    };
    let signals = Signals::only_stops();
    serve(Served { config, socket, exit_when, signals, pid_file: None, status_file: None, shelf, ready: None })
}

/// Runs what a front end wants served; returns the exit code. Whoever calls this has called `inherit::take`.
pub(crate) fn serve(served: Served) -> u8 {
    match start(served) {
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
        Ok((config, warnings)) => {
            eprint!("{warnings}");
            let names: Vec<&str> = config.groups.iter().map(|group| group.spec.name.as_str()).collect();
            println!("{}: no faults; groups: {}", config.path.display(), names.join(", "));
            code::DONE
        }
        Err(code) => code,
    }
}

fn load(named: Option<PathBuf>) -> Result<(Config, Warnings), u8> {
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

fn load_from(path: &Path, cwd: &Path) -> Result<(Config, Warnings), u8> {
    let env = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let around = Surroundings { cwd, env: &env, read: &config::read, accounts: &System };
    config::load(path, &around).map_err(|faults| {
        eprintln!("{faults}");
        code::USAGE
    })
}

fn start(served: Served) -> Result<u8, OpenError> {
    let Served { config, socket, exit_when, signals, pid_file, status_file, shelf, ready } = served;
    let kernel = |what| move |source| OpenError::Kernel { what, source };
    let hangup_ignored = sys::signals::block_and_reset();
    let open_files = fds::raise_limit();
    let (outputs, plan) = logs::plan(&config)?;
    limits::check(&config, &outputs, open_files.1)?;
    let oom_score = oom::lower_score();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(kernel("/dev/null"))?;
    fds::prepare_stage(null.as_fd()).map_err(kernel("the stage"))?;
    // Its number is one of the stage's; the placeholders are copies of it.
    std::mem::forget(null);
    let voice = say::prepare();
    let service = Service::find(|name| std::env::var_os(name), fds::STAGE_END);
    let mut seed = [0; 8];
    let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    let (runtime, keeper, since) = (Runtime::new(socket), rustix::process::getpid(), daemon::now());
    let init = keeper.is_init();
    let policy = policy(&config, exit_when, init);
    let setup = Setup {
        config,
        runtime,
        keeper,
        open_files,
        oom_score,
        policy,
        since,
        outputs,
        signals,
        shelved: shelf.is_some() && service.as_ref().is_some_and(|service| service.room > 0),
        reports: service.is_some(),
        pid_file,
        status_file,
    };
    let setup = Box::leak(Box::new(setup));
    let (mut records, log) = journal::create().map_err(kernel("the journal"))?;
    if let Some(voice) = voice {
        records.ledger.name(&voice, Meaning::Keeper).map_err(kernel("standard error"))?;
    }
    if let Some(plan) = &plan {
        records = records.with_pipes(plan.sinks()).map_err(kernel("a socket to the writer"))?;
    }
    open_all(setup, records, log, u64::from_le_bytes(seed), (shelf, service.as_ref()))?;
    if let Some(pid_file) = &setup.pid_file {
        let locked = open::claim_pid_file(pid_file).inspect_err(|_| open::remove_all_but_pid_file(setup))?;
        records.ledger.name(&locked, Meaning::Keeper).map_err(kernel("the pid file"))?;
        std::mem::forget(locked);
    }
    for remark in remarks(&setup.config, policy, init) {
        say(format_args!("{remark}"));
    }
    maps::give_back_text();
    let plan: Option<&writer::Plan> = plan.map(|plan| &*Box::leak(Box::new(plan)));
    let voice = voice.map(|voice| voice.as_raw_fd());
    let writer = || {
        if let (Some(plan), Some(pipes)) = (plan, records.pipes) {
            writer::live(plan, pipes, voice);
        }
    };
    if let Some(ready) = ready {
        let _ = rustix::io::write(&ready, b"1");
    }
    let heard = heard(&setup.signals, hangup_ignored);
    let service = service.map(|service| (service, longest(&setup.config, policy)));
    keeper::run(records, heard, service, |link| daemon::live(setup, records, log, link), writer)
        .inspect_err(|_| open::remove_files(setup))
        .map_err(kernel("the keeper"))
}

/// Opens everything, but for the listeners that the service manager has kept; the others it keeps from now on.
fn open_all(
    setup: &Setup,
    records: Records,
    log: &mut Log,
    seed: u64,
    (shelf, service): (Option<Shelf>, Option<&Service>),
) -> Result<(), OpenError> {
    let mut shelf = shelf.unwrap_or_default();
    let unwanted = shelf.sort(&setup.config);
    if let Some(service) = service {
        service.let_go(&unwanted);
    }
    open::open(setup, records, log, seed, &mut shelf)?;
    if let Some(service) = service.filter(|_| setup.shelved) {
        shelf.fill(service, setup, records.ledger);
    }
    Ok(())
}

/// What a service manager is to know, so that it does not take a long start or stop for one that has failed.
fn longest(config: &Config, policy: Policy) -> keeper::Longest {
    let more = |time: Duration| time.min(FOR_EVER) + LEEWAY;
    keeper::Longest { start: more(report::longest_start(config)), stop: more(policy.stop_timeout) }
}

/// Who was started with HUP ignored, as by nohup, means to be left alone by it, unless it stands for a command.
fn heard(signals: &Signals, hangup_ignored: bool) -> keeper::Heard {
    let number = |signal: &Signal| i32::from(signal.number());
    let ignored = |signal: &&Signal| hangup_ignored && **signal == Signal::HUP;
    let stops = signals.stops.iter().map(|(signal, _)| signal).filter(|signal| !ignored(signal)).map(number);
    keeper::Heard { stops: stops.collect(), orders: signals.orders.iter().map(|(signal, _)| number(signal)).collect() }
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
    if init && whole < FOR_EVER {
        let (whole, docker) = (whole.as_secs_f64(), docker(whole));
        remarks.push(format!(
            "PID 1: a stop may take {whole} s, then what is left is killed: {docker} gives it that time"
        ));
    }
    let longer = config.groups.iter().map(|group| &group.spec).filter(|spec| spec.stop_timeout > whole);
    let longer: Vec<&GroupSpec> = longer.collect();
    if let Some(longest) = longer.iter().map(|spec| spec.stop_timeout).max() {
        let named = longer.iter().take(NAMED).map(|s| format!("{} ({} s)", s.name, s.stop_timeout.as_secs_f64()));
        let mut named = named.collect::<Vec<_>>().join(", ");
        if longer.len() > NAMED {
            named.push_str(&format!(" and {} more", longer.len() - NAMED));
        }
        let docker = if init { format!(", and stop the container by {}", docker(longest)) } else { String::new() };
        let (whole, longest) = (whole.as_secs_f64(), longest.as_secs_f64());
        remarks.push(format!(
            "a stop of everything may take {whole} s, less than the stop_timeout of {named}: \
             for more set stop_timeout = {longest} in [firestarter]{docker}"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups whose workers may take 10 s and 30.5 s to end.
    fn config(name: &str, stop_timeout: Option<u64>) -> Config {
        let path = std::env::temp_dir().join(format!("firestarter-{name}-{}.toml", std::process::id()));
        let toml = "[api]\nexec_start = 'a'\n[web]\nexec_start = 'a'\nstop_timeout = 30.5\n";
        std::fs::write(&path, toml).expect("write");
        let (config, _) = load_from(&path, Path::new("/")).expect("no faults");
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
        let none: [&str; 0] = [];
        assert_eq!(said(Some(60), false), none);
        let advice = "for more set stop_timeout = 30.5 in [firestarter]";
        let of_web = "a stop of everything may take 30 s, less than the stop_timeout of web (30.5 s): ";
        assert_eq!(said(None, false), [format!("{of_web}{advice}")]);
        let minute = "PID 1: a stop may take 60 s, then what is left is killed: docker stop -t 62 gives it that time";
        assert_eq!(said(Some(60), true), [minute]);
        assert_eq!(said(Some(FOR_EVER.as_secs()), true), none);
        let usual = "PID 1: a stop may take 8 s, then what is left is killed: docker stop -t 10 gives it that time";
        let of_both = "a stop of everything may take 8 s, less than the stop_timeout of api (10 s), web (30.5 s): ";
        let docker = ", and stop the container by docker stop -t 33";
        assert_eq!(said(None, true), [usual.to_owned(), format!("{of_both}{advice}{docker}")]);
        let mut many = config("many", Some(1));
        many.groups.extend(many.groups.clone());
        let named = "less than the stop_timeout of api (10 s), web (30.5 s), api (10 s) and 1 more: ";
        assert!(remarks(&many, policy(&many, None, false), false)[0].contains(named));
    }
}
