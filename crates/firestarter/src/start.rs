//! `run` and `check`: from a configuration file to a keeper that runs. Called by `main`.

mod fault;
mod logs;
mod record;
pub(crate) mod resume;
mod service;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::{ExitWhen, GroupSpec, Policy, Signal};

use crate::accounts::System;
use crate::cli::code;
use crate::config::{self, Config, Surroundings, Warnings};
use crate::daemon::open::{self, OpenError, Runtime};
use crate::daemon::{self, inherit, limits, Setup, Signals};
use crate::front::Served;
use crate::journal::{self, Log, Meaning, Part, Records};
use crate::keeper;
use crate::place::Place;
use crate::say::{self, say};
use crate::service::Service;
use crate::sys::{self, fds, maps, oom};
use crate::writer::{self, Plan};

/// Where a configuration is looked for that nobody named.
const PLACES: [&str; 2] = ["firestarter.toml", "/etc/firestarter/config.toml"];

/// How long a stop of everything may take if the configuration does not say.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// As PID 1: `docker stop` sends SIGKILL after 10 s.
const STOP_TIMEOUT_OF_INIT: Duration = Duration::from_secs(8);
/// What the end itself may take, when all workers have gone.
const PARTING: Duration = Duration::from_secs(2);

/// A stop that may take so long has no end that anybody waits for.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// On this signal log files are opened anew, as other servers do it.
const REOPEN: i32 = libc::SIGUSR1;

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

/// Shows logs though no daemon runs: the files that a configuration names. Returns the exit code.
pub(crate) fn read_logs(order: &crate::logs::Order, config: Option<PathBuf>, no_daemon: &str) -> u8 {
    if config.is_none() && !PLACES.iter().any(|place| Path::new(place).exists()) {
        eprint!("{no_daemon}");
        return code::NO_DAEMON;
    }
    match load(config) {
        Ok((config, _)) => {
            say(format_args!("no daemon runs; reading the files that {} names", config.path.display()));
            let outputs = daemon::reading::outputs(&config.groups, None);
            let of = |(group, outputs): (&config::Group, _)| crate::logs::Group {
                name: group.spec.name.clone(),
                outputs,
                slots: group.spec.count.get(),
            };
            let groups: Vec<_> = config.groups.iter().zip(outputs).map(of).collect();
            crate::cli::show_logs(order, &groups, None)
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
    say_faults(config::load(path, &Surroundings::here(cwd, &|name| std::env::var_os(name), &System)))
}

fn say_faults(loaded: Result<(Config, Warnings), config::Faults>) -> Result<(Config, Warnings), u8> {
    loaded.map_err(|faults| {
        eprintln!("{faults}");
        code::USAGE
    })
}

fn start(served: Served) -> Result<u8, OpenError> {
    let Served { config, socket, exit_when, signals, pid_file, status_file, shelf, ready } = served;
    let hangup_ignored = sys::signals::block_and_reset();
    let open_files = fds::raise_limit();
    let (outputs, plan) = logs::plan(&config)?;
    limits::check(&config, &outputs, open_files.1)?;
    let oom_score = oom::lower_score();
    let voice = prepare()?;
    let service = service::find();
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
        shelved: shelf.is_some() && service::has_room(service.as_ref()),
        reports: service.is_some(),
        pid_file,
        status_file,
        before: None,
        cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
    };
    let setup = Box::leak(Box::new(setup));
    let (records, log) = journal::create().map_err(kernel("the journal"))?;
    name_voice(records, voice)?;
    let records = with_outputs(records, setup, plan.as_ref())?;
    service::open_all(setup, records, log, u64::from_le_bytes(seed), (shelf, service.as_ref()))?;
    if let Some(pid_file) = &setup.pid_file {
        let locked = open::claim_pid_file(pid_file).inspect_err(|_| open::remove_all_but_pid_file(setup))?;
        records.ledger.name(&locked, Meaning::Keeper).map_err(kernel("the pid file"))?;
        std::mem::forget(locked);
    }
    for remark in remarks(&setup.config, policy, init) {
        say(format_args!("{remark}"));
    }
    resume::record(setup, exit_when, hangup_ignored, records);
    if let Some(ready) = ready {
        let _ = rustix::io::write(&ready, b"1");
    }
    keep(setup, records, log, (plan, service), hangup_ignored)
}

fn kernel(what: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Kernel { what, source }
}

/// Makes the low numbers the stage of spawns, and finds the voice. Nothing was opened before.
fn prepare() -> Result<Option<BorrowedFd<'static>>, OpenError> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(kernel("/dev/null"))?;
    fds::prepare_stage(null.as_fd()).map_err(kernel("the stage"))?;
    // Its number is one of the stage's; the placeholders are copies of it.
    std::mem::forget(null);
    Ok(say::prepare(logs::style(rustix::stdio::stderr(), false).levelled))
}

fn name_voice(records: Records, voice: Option<BorrowedFd<'_>>) -> Result<(), OpenError> {
    let kept = Meaning::Kept { part: Part::Voice as u32 };
    voice.map_or(Ok(()), |voice| records.ledger.name(&voice, kept)).map_err(kernel("standard error"))
}

/// Makes or finds what the outputs need that go by way of the writer.
fn with_outputs(records: Records, setup: &Setup, plan: Option<&Plan>) -> Result<Records, OpenError> {
    let Some(plan) = plan else { return Ok(records) };
    let records = records.with_pipes(plan.sinks()).map_err(kernel("a socket to the writer"))?;
    let sizes = logs::rings(&setup.config, &setup.outputs);
    if sizes.iter().all(|size| *size == 0) {
        return Ok(records);
    }
    records.with_rings(&sizes, logs::name_of_rings()).map_err(kernel("memory for lines"))
}

/// Becomes the keeper. All is open.
fn keep(
    setup: &'static Setup,
    records: Records,
    log: &mut Log,
    (plan, service): (Option<Plan>, Option<Service>),
    hangup_ignored: bool,
) -> Result<u8, OpenError> {
    maps::give_back_text();
    let plan: Option<&writer::Plan> = plan.map(|plan| &*Box::leak(Box::new(plan)));
    let voice = records.ledger.kept(Part::Voice);
    let writer = || {
        if let (Some(plan), Some(pipes)) = (plan, records.pipes) {
            writer::live(plan, pipes, records.rings, voice);
        }
    };
    let heard = heard(&setup.signals, hangup_ignored);
    let next = |program: BorrowedFd<'_>| resume::execute(program, records.ledger);
    let daemon = |link| {
        fault::in_daemon(records);
        daemon::live(setup, records, log, link);
    };
    let policy = setup.policy;
    let service = service.map(|service| service::with_times(service, &setup.config, policy));
    keeper::run(records, heard, service, daemon, writer, next)
        .inspect_err(|_| open::remove_files(setup))
        .map_err(kernel("the keeper"))
}

/// Who was started with HUP ignored, as by nohup, means to be left alone by it, unless it stands for a command. What a
/// front end has a meaning for has that one.
fn heard(signals: &Signals, hangup_ignored: bool) -> keeper::Heard {
    let number = |signal: &Signal| i32::from(signal.number());
    let ignored = |signal: &&Signal| hangup_ignored && **signal == Signal::HUP;
    let stops = signals.stops.iter().map(|(signal, _)| signal).filter(|signal| !ignored(signal)).map(number);
    let stops: Vec<i32> = stops.collect();
    let orders =
        signals.orders.iter().map(|(signal, _)| signal).chain(signals.succession.then_some(&daemon::SUCCESSION));
    let orders: Vec<i32> = orders.map(number).collect();
    let free = |signal: &i32| !stops.contains(signal) && !orders.contains(signal);
    let reopen = Some(REOPEN).filter(free);
    keeper::Heard { stops, orders, reopen }
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
