//! One program in place of another, in the process of the keeper: what the new one does to take over, what it is asked before
//! that, and how the place is given up. Called by `main` and, for the last, by the keeper.
//!
//! The number of the ledger comes in a variable; everything else is found in the ledger. Whatever goes wrong before a daemon
//! is at work, the program before gets its place back: nothing that it needs is changed until then.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use firestarter_core::journal::read_snapshot;
use firestarter_core::spec::ExitWhen;
use firestarter_core::time::Instant;

use super::record::{exit_to_word, Record};
use super::{fault, keep, kernel, load_text, logs, name_voice, policy, prepare, service, with_outputs};
use crate::cli::code;
use crate::config::Config;
use crate::daemon::open::{OpenError, Runtime};
use crate::daemon::{inherit, Setup, Signals};
use crate::journal::{self, Handover, Ledger, Part, Reason, Records, LAYOUT};
use crate::say::{plain, say};
use crate::sys;
use crate::sys::exec;

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
    let adopted = journal::adopt(ledger);
    let (records, log) = match adopted {
        Ok(adopted) => adopted,
        Err(error) => {
            say(format_args!("take over: {}", plain(&error)));
            return Some(code::FAILED);
        }
    };
    records.ledger.named().for_each(|(number, _)| exec::set_close_on_exec(number, true));
    let ended = take_over(records, log);
    Some(ended.unwrap_or_else(|error| {
        say(format_args!("take over: {error}"));
        records.header.handover().set(Handover::Failed(Reason::Refused));
        give_back(records.ledger)
    }))
}

/// What stands in the ledger becomes this program's, and it the keeper.
fn take_over(records: Records, log: &mut journal::Log) -> Result<u8, OpenError> {
    if fault::refuses(records) {
        return Err(kernel("a fault of the test")(io::ErrorKind::Other.into()));
    }
    let record = records.ledger.copy_kept(Part::Record).and_then(Record::read_file);
    let record = record.map_err(kernel("the record of the start"))?;
    let mut config = load(&record).map_err(kernel("the configuration"))?;
    inherit::resume(&mut config, records.ledger)?;
    sys::signals::block_and_reset();
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
    refresh(&record, records).map_err(kernel("the record of the start"))?;
    keep(setup, records, log, (plan, service), record.hangup_ignored)
}

fn load(record: &Record) -> io::Result<Config> {
    load_text(&record.config, &record.text, &record.cwd).map(|(config, _)| config).map_err(|_| {
        io::Error::other(format!("{} is no configuration to {}", record.config.display(), env!("CARGO_PKG_VERSION")))
    })
}

/// From now on it is this program that the next one replaces.
fn refresh(record: &Record, records: Records) -> io::Result<()> {
    let own = Record { release: env!("CARGO_PKG_VERSION").to_owned(), program: own_path(), ..record.clone() };
    records.ledger.keep(Part::Record, own.write()?).map(|_| ())
}

/// Where this program was found; where it has been replaced since, the path of its successor.
fn own_path() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_default().into_os_string().into_vec();
    let path = path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path);
    PathBuf::from(OsString::from_vec(path))
}

/// Writes down what a successor will want to know. Without it there is no handover, and that is said when one is asked for.
pub(super) fn record(setup: &Setup, exit_when: Option<ExitWhen>, hangup_ignored: bool, records: Records) {
    if setup.config.text.is_empty() {
        return;
    }
    let record = Record {
        layout: LAYOUT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        program: own_path(),
        config: setup.config.path.clone(),
        text: setup.config.text.clone(),
        cwd: setup.cwd.clone(),
        socket: setup.runtime.control().to_owned(),
        shared_parent: setup.runtime.shared_parent(),
        exit_when: exit_when.map(exit_to_word),
        open_files: setup.open_files,
        oom_score: setup.oom_score,
        since: setup.since.0,
        hangup_ignored,
    };
    let _ = record.write().and_then(|file| records.ledger.keep(Part::Record, file));
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

/// The program before gets its place back. Returns only if even that cannot be done.
fn give_back(ledger: &'static Ledger) -> u8 {
    let before = ledger.copy_kept(Part::Before);
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
