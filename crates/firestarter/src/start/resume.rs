//! One program in place of another, in the process of the keeper: what the new one does to take over, what it is asked before
//! that, and how the place is given up. Called by `main` and, for the last, by the keeper.
//!
//! The number of the ledger comes in a variable; everything else is found in the ledger. Whatever goes wrong before a daemon
//! is at work, the program before gets its place back: nothing that it needs is changed until then.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::journal::read_snapshot;
use firestarter_core::spec::ExitWhen;
use firestarter_core::time::Instant;

use super::record::{exit_to_word, Record};
use super::{fault, keep, kernel, logs, name_voice, policy, prepare, say_faults, service, with_outputs};
use crate::accounts::System;
use crate::cli::code;
use crate::config::{self, Config, Surroundings};
use crate::daemon::open::{OpenError, Runtime};
use crate::daemon::{inherit, Setup, Signals};
use crate::journal::{self, Handover, Ledger, Part, Reason, Records, LAYOUT};
use crate::keeper;
use crate::say::{plain, say};
use crate::sys;
use crate::sys::exec;

/// Between two attempts of a program that cannot go on.
const AGAIN: Duration = Duration::from_secs(5);

/// The variable with the number of the ledger.
const VARIABLE: &str = "FIRESTARTER_HANDOVER";

/// Takes over, if this program was executed in place of another; then it returns the exit code.
pub(crate) fn resume() -> Option<u8> {
    let number = std::env::var(VARIABLE).ok()?;
    // Nothing of this is meant for workers. There is one thread yet.
    std::env::remove_var(VARIABLE);
    let Ok(ledger) = number.parse::<RawFd>() else {
        say(format_args!("{VARIABLE}={number}: no number of a descriptor; Firestarter sets this variable itself"));
        return Some(code::USAGE);
    };
    let ledger = match journal::adopt(ledger) {
        Ok(ledger) => ledger,
        Err(error) => {
            say(format_args!("take over: {}; the workers run on alone", plain(&error)));
            return Some(code::FAILED);
        }
    };
    // As they are in a keeper; what comes before it has to be told of a stop too.
    sys::signals::block_and_reset();
    ledger.named().for_each(|(number, _)| exec::set_close_on_exec(number, true));
    let (records, log) = match journal::of(ledger) {
        Ok(found) => found,
        Err((ledger, error)) => {
            say(format_args!("take over: {}", plain(&error)));
            return Some(do_without(ledger));
        }
    };
    // Else the place was given back to this program.
    let on_trial = records.header.handover().state() == Handover::Trial;
    let ended = take_over(records, log, on_trial);
    Some(ended.unwrap_or_else(|error| {
        say(format_args!("take over: {error}"));
        match on_trial {
            true => refuse(records),
            false => wait_for_help(records),
        }
    }))
}

/// What stands in the ledger becomes this program's, and it the keeper.
fn take_over(records: Records, log: &mut journal::Log, on_trial: bool) -> Result<u8, OpenError> {
    if fault::refuses(records) {
        return Err(kernel("a fault of the test")(io::ErrorKind::Other.into()));
    }
    let record = records.ledger.copy_kept(Part::Record).and_then(Record::read_file);
    let record = record.map_err(kernel("the record of the start"))?;
    let mut config = load(&record).map_err(kernel("the configuration"))?;
    inherit::resume(&mut config, records.ledger)?;
    let (outputs, plan) = logs::plan(&config)?;
    [Part::Voice, Part::Signals, Part::Service, Part::Next].into_iter().for_each(|part| records.ledger.let_go(part));
    name_voice(records, prepare()?)?;
    let service = service::find();
    let keeper = rustix::process::getpid();
    let setup = Setup {
        policy: policy(&config, record.exit_when(), keeper.is_init()),
        config,
        runtime: Runtime::new(record.place()),
        keeper,
        open_files: record.open_files,
        oom_score: record.oom_score,
        since: Instant(record.since),
        outputs,
        signals: Signals::only_stops(),
        shelved: service::has_room(service.as_ref()),
        reports: service.is_some(),
        pid_file: None,
        status_file: None,
        before: Some(record.release.clone()),
        cwd: record.cwd.clone(),
    };
    let setup = Box::leak(Box::new(setup));
    let records = with_outputs(records, setup, plan.as_ref())?;
    refresh(&record, records, on_trial).map_err(kernel("the record of the start"))?;
    if !on_trial {
        records.ledger.let_go(Part::Before);
    }
    keep(setup, records, log, (plan, service), record.hangup_ignored)
}

/// Reads the configuration as it was at the start, and what it names: neither a file that has changed since nor a log's
/// folder that has gone is a reason to be another.
fn load(record: &Record) -> io::Result<Config> {
    let read = |path: &Path| {
        let kept = record.files.iter().find(|(read, _)| read == path);
        kept.map_or_else(|| config::read(path), |(_, text)| Ok(text.clone().into_bytes()))
    };
    let env = |name: &str| std::env::var_os(name);
    let (is_folder, real) = (|_: &Path| Ok(false), Path::to_owned);
    let around = Surroundings {
        read: &read,
        is_folder: &is_folder,
        real: &real,
        ..Surroundings::here(&record.cwd, &env, &System)
    };
    say_faults(config::parse(&record.config, &record.text, &around)).map(|(config, _)| config).map_err(|_| {
        io::Error::other(format!("{} is no configuration to {}", record.config.display(), env!("CARGO_PKG_VERSION")))
    })
}

/// From now on it is this program that the next one replaces.
fn refresh(record: &Record, records: Records, on_trial: bool) -> io::Result<()> {
    let program = match (on_trial, &record.next) {
        (true, Some(next)) => next.clone(),
        (true, None) => real_path(),
        (false, _) => record.before.clone().unwrap_or_else(|| record.program.clone()),
    };
    let own = Record { release: env!("CARGO_PKG_VERSION").to_owned(), program, next: None, ..record.clone() };
    records.ledger.keep(Part::Record, own.write()?).map(|_| ())
}

/// Where this program was found, and its successor will be: the path that it was started by, which may lead over a link that
/// is switched, if that is it.
fn own_path(cwd: &Path) -> PathBuf {
    let named = cwd.join(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
    match exec::is_own_program(rustix::fs::stat(&named)) && !named.starts_with("/proc") {
        true => named,
        false => real_path(),
    }
}

/// Where the file of this program is; where it has been replaced since, the path of its successor.
fn real_path() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_default().into_os_string().into_vec();
    let path = path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path);
    PathBuf::from(OsString::from_vec(path))
}

/// Writes down what a successor will want to know. Without it there is no handover.
pub(super) fn record(setup: &Setup, exit_when: Option<ExitWhen>, hangup_ignored: bool, records: Records) {
    if setup.config.text.is_empty() {
        return;
    }
    let record = Record {
        layout: LAYOUT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        program: own_path(&setup.cwd),
        next: None,
        before: None,
        config: setup.config.path.clone(),
        text: setup.config.text.clone(),
        files: setup.config.files.clone(),
        cwd: setup.cwd.clone(),
        socket: setup.runtime.control().to_owned(),
        shared_parent: setup.runtime.shared_parent(),
        exit_when: exit_when.map(exit_to_word),
        open_files: setup.open_files,
        oom_score: setup.oom_score,
        since: setup.since.0,
        hangup_ignored,
    };
    if let Err(error) = record.write().and_then(|file| records.ledger.keep(Part::Record, file)) {
        say(format_args!("upgrade-daemon will not be able to replace this program in its place: {}", plain(&error)));
    }
}

/// Executes a program in place of this one, with all that the ledger names. Returns what went wrong.
pub(super) fn execute(program: BorrowedFd<'_>, ledger: &Ledger) -> io::Error {
    if fault::in_execution() {
        return io::Error::from_raw_os_error(libc::ENOEXEC);
    }
    let Some(number) = ledger.kept(Part::Descriptors) else { return io::ErrorKind::NotFound.into() };
    let args: Vec<OsString> = std::env::args_os().collect();
    let assign = |(name, value): (OsString, OsString)| {
        let mut line = name;
        line.push("=");
        line.push(value);
        line
    };
    let mut variables: Vec<OsString> = std::env::vars_os().map(assign).collect();
    variables.push(format!("{VARIABLE}={number}").into());
    let kept: Vec<RawFd> = ledger.named().map(|(number, _)| number).collect();
    exec::execute(program, &args, &variables, &kept)
}

/// This program cannot keep the place that it was given.
fn refuse(records: Records) -> u8 {
    records.header.handover().set(Handover::Failed(Reason::Refused));
    give_back(records.ledger)
}

/// Not even the journal can be had, by this program and so perhaps by none: there may be no memory for the moment.
fn do_without(ledger: &'static Ledger) -> u8 {
    if let Ok(header) = journal::header_of(ledger) {
        header.handover().set(Handover::Failed(Reason::Refused));
    }
    say(format_args!("workers run on alone; the program before tries to take over in {} s", AGAIN.as_secs()));
    match keeper::stop_is_asked(AGAIN) {
        true => code::FAILED,
        false => give_back(ledger),
    }
}

/// This program has got its place back, and cannot go on where it was. It tries again, now and then, until somebody asks it
/// to stop.
fn wait_for_help(records: Records) -> u8 {
    say(format_args!("workers run on alone; it is tried again in {} s; SIGTERM stops them all", AGAIN.as_secs()));
    keeper::stop_if_asked(records, AGAIN).unwrap_or_else(|| execute_before(exec::own_program(), records.ledger))
}

/// The program before gets its place back. Returns only if even that cannot be done.
fn give_back(ledger: &'static Ledger) -> u8 {
    execute_before(ledger.copy_kept(Part::Before), ledger)
}

fn execute_before(before: io::Result<OwnedFd>, ledger: &'static Ledger) -> u8 {
    let error = before.map_or_else(|error| error, |before| execute(before.as_fd(), ledger));
    say(format_args!("give the place back to the program before: {}; the workers run on alone", plain(&error)));
    code::FAILED
}

/// Says whether this program could take over from the one whose record and state stand on the standard input: prints its
/// version if so, and else why not. Returns the exit code.
pub(crate) fn check_handover() -> u8 {
    fault::in_answer();
    let mut bytes = Vec::new();
    let checked = io::stdin().lock().read_to_end(&mut bytes).and_then(|_| check(&bytes));
    match checked {
        Ok(()) => {
            let _ = writeln!(io::stdout(), "firestarter {} takes over", env!("CARGO_PKG_VERSION"));
            code::DONE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", plain(&error));
            code::FAILED
        }
    }
}

fn check(bytes: &[u8]) -> io::Result<()> {
    let short =
        || io::Error::other("what is to be taken over comes on the standard input: run `firestarter upgrade-daemon`");
    let (length, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (record, snapshot) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(short)?;
    let record = Record::read(record)?;
    read_snapshot(snapshot).map_err(io::Error::other)?;
    load(&record)?;
    Ok(())
}
