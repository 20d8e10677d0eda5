//! An upgrade of Firestarter itself, as the daemon sees it. The new program is first asked whether it could take over: it gets
//! a copy of the record and of the state, in a process that has nothing else. If so the daemon ends at a quiet point, with
//! a snapshot that stands alone; the keeper does the rest. The first daemon that is at work afterwards, of the new program or
//! again of this one, answers whoever asked: the request stands in its client's socket until then.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

use firestarter_core::journal::write_snapshot;
use firestarter_core::spec::Signal;
use rustix::event::{epoll, eventfd, EventfdFlags};
use rustix::fs::{fcntl_setfl, memfd_create, open, FileType, MemfdFlags, Mode, OFlags};
use rustix::process::Pid;
use serde_json::Value;

use super::{now, Daemon, Shared, Source};
use crate::api::Outcome;
use crate::journal::{Handover, Part, Reason};
use crate::say::{plain, plain_errno, say};
use crate::sys::clone::exit_now;
use crate::sys::exec::is_own_program;
use crate::sys::fds;
use crate::sys::signals::signal_group;

/// What asks for it, beside a request: a signal to the keeper.
pub(crate) const SIGNAL: Signal = Signal::USR2;

/// How far it is, in this daemon.
#[derive(Default)]
pub(super) enum Succession {
    #[default]
    Rest,
    /// The new program is being asked.
    Asking { asker: Option<u64>, program: Program, answer: Answer, bell: OwnedFd },
    /// It could take over: the next quiet point is the end of this daemon. From then on nobody who does not take a reply
    /// is waited for.
    Ready { asker: Option<u64>, program: Program, since: Instant },
}

/// The one that is to take this one's place.
pub(super) struct Program {
    /// Where it was found: the one after it is looked for there.
    path: PathBuf,
    file: OwnedFd,
}

type Answer = Receiver<Result<(), String>>;

impl Succession {
    /// Ends the asking, if that is what it is at; a bell that rings once more changes nothing.
    fn answered(&mut self) -> Option<(Option<u64>, Program, Answer, OwnedFd)> {
        match std::mem::take(self) {
            Succession::Asking { asker, program, answer, bell } => Some((asker, program, answer, bell)),
            other @ (Succession::Rest | Succession::Ready { .. }) => {
                *self = other;
                None
            }
        }
    }

    /// Who wants it, nobody for a signal; none: it is at rest.
    fn asker(&self) -> Option<Option<u64>> {
        match self {
            Succession::Rest => None,
            Succession::Asking { asker, .. } | Succession::Ready { asker, .. } => Some(*asker),
        }
    }
}

/// So long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(5);
/// So long clients are waited for that do not take their replies.
const LAST_REPLIES: Duration = Duration::from_secs(1);
/// What the answer of a program begins with that could take over.
const YES: &str = "firestarter ";

impl Daemon<'_> {
    /// A client wants another program in place of this one; or this is the answer to that.
    pub(super) fn succession_asked(&mut self, client: u64, binary: Option<&str>) {
        let words = self.shared.header.handover();
        if words.client() == Some(client) && matches!(words.state(), Handover::Kept | Handover::Failed(_)) {
            let outcome = self.succession_outcome();
            words.set(Handover::Rest);
            return self.answer(client, &outcome);
        }
        if let Err(reason) = self.begin_succession(Some(client), binary.map(Path::new)) {
            say(format_args!("not replaced: {reason}"));
            self.answer(client, &Outcome::not_replaced(reason));
        }
    }

    /// Signals that ask for it may stand in the header.
    pub(super) fn hear_succession(&mut self) {
        if !self.shared.setup.signals.succession {
            return;
        }
        // What it wanted is seen to when that has come to its end: until then another daemon would begin anew.
        let under_way = self.succession.asker() == Some(None);
        if !under_way && self.shared.header.handover().has_signals(self.signals_asked()) {
            if let Err(reason) = self.begin_succession(None, None) {
                self.not_replaced(None, reason);
            }
        }
    }

    fn signals_asked(&self) -> u32 {
        self.shared.header.orders_asked(SIGNAL.number())
    }

    fn begin_succession(&mut self, asker: Option<u64>, binary: Option<&Path>) -> Result<(), String> {
        if self.succession.asker().is_some() {
            return Err("another upgrade of Firestarter itself is under way".to_owned());
        }
        if self.core.is_shutting_down() {
            return Err(STOPS.to_owned());
        }
        if self.children.keeper.is_none() {
            return Err(KEEPERLESS.to_owned());
        }
        let record = record(self.shared)?;
        let program = match binary {
            Some(path) => self.shared.setup.cwd.join(path),
            None => PathBuf::from(record["program"].as_str().unwrap_or_default()),
        };
        let opened = look_at(&program)?;
        let input = question(&record, &write_snapshot(&self.core).0).map_err(|error| plain(&error))?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| plain(&error.into()))?;
        let data = epoll::EventData::new_u64(Source::Successor.key());
        epoll::add(&self.epoll, &bell, data, epoll::EventFlags::IN).map_err(|error| plain(&error.into()))?;
        let (sender, answer) = channel();
        let ring = bell.try_clone().map_err(|error| plain(&error))?;
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        std::thread::Builder::new().spawn(move || ask(&path, input, &sender, &ring)).map_err(|error| plain(&error))?;
        let same = if is_own_program(rustix::fs::fstat(&opened)) { ", the file that runs already," } else { "" };
        say(format_args!("asking {}{same} whether it could take over", program.display()));
        let program = Program { path: program, file: opened };
        self.succession = Succession::Asking { asker, program, answer, bell };
        Ok(())
    }

    /// The new program has answered.
    pub(super) fn hear_successor(&mut self) {
        let Some((asker, program, answer, bell)) = self.succession.answered() else { return };
        let said = answer.try_recv().unwrap_or_else(|_| Err("nobody has asked it".to_owned()));
        // Closing it would not silence it: the thread that rang it may still have it open.
        let _ = epoll::delete(&self.epoll, &bell);
        match said {
            Ok(()) => self.succession = Succession::Ready { asker, program, since: Instant::now() },
            Err(reason) => self.not_replaced(asker, reason),
        }
    }

    /// It comes to nothing, and whoever asked for it is told so.
    fn not_replaced(&mut self, asker: Option<u64>, reason: String) {
        say(format_args!("not replaced: {reason}"));
        match asker {
            Some(client) => {
                self.answer(client, &Outcome::not_replaced(reason));
                self.serve(client);
            }
            None => self.shared.header.handover().take_signals(self.signals_asked()),
        }
    }

    /// All is over.
    pub(super) fn end_succession(&mut self) {
        if let Some(asker) = std::mem::take(&mut self.succession).asker() {
            self.not_replaced(asker, STOPS.to_owned());
        }
    }

    /// Nothing is to be done at the moment: the time for a handover, if one is wanted. Returns when to look again.
    pub(super) fn hand_over(&mut self) -> Option<Duration> {
        let Succession::Ready { since, .. } = &self.succession else { return None };
        let press = since.elapsed() >= LAST_REPLIES;
        if !press && self.children.yard.is_busy() || !self.control.owes_no_rest(press) {
            return Some(LOOK);
        }
        // The kernel knows first: without a keeper, nobody would begin what this one ends for.
        let alone = rustix::process::getppid() != Some(self.shared.setup.keeper);
        let written = match alone {
            true => Err(KEEPERLESS.to_owned()),
            false => self.log.snapshot(&self.core).map_err(|error| error.to_string()),
        };
        let Succession::Ready { asker, program, .. } = std::mem::take(&mut self.succession) else { return None };
        let ledger = self.shared.ledger;
        let name = |()| name_next(self.shared, &program.path);
        let keep = |()| ledger.keep(Part::Next, program.file).map_err(|error| plain(&error));
        match written.and_then(name).and_then(keep) {
            Ok(_) => {
                let words = self.shared.header.handover();
                words.ask(asker, now().0);
                if asker.is_none() {
                    words.take_signals(self.signals_asked());
                }
                exit_now(0)
            }
            Err(reason) => self.not_replaced(asker, reason),
        }
        // What the client asks next may be in the inbox by now.
        Some(Duration::ZERO)
    }

    /// This daemon is at work: the first of a new program, or of the one whose place was given back.
    pub(super) fn tell_of_succession(&mut self) {
        let words = self.shared.header.handover();
        match words.state() {
            Handover::Trial => words.set(Handover::Kept),
            Handover::Failed(_) => {}
            Handover::Rest | Handover::Asked | Handover::Kept => return,
        }
        match words.state() {
            Handover::Failed(reason) => say(format_args!("not replaced: {}", describe(reason))),
            Handover::Rest | Handover::Asked | Handover::Trial | Handover::Kept => {
                let took = now().0.saturating_sub(words.begun()) / 1_000_000;
                let own = env!("CARGO_PKG_VERSION");
                say(format_args!("firestarter {own} took the place of {} within {took} ms", self.before()));
            }
        }
        if words.client().is_none() {
            words.set(Handover::Rest);
        }
    }

    fn succession_outcome(&self) -> Outcome {
        let words = self.shared.header.handover();
        match words.state() {
            Handover::Failed(reason) => Outcome::not_replaced(describe(reason)),
            Handover::Rest | Handover::Asked | Handover::Trial | Handover::Kept => {
                let took = self.took_over.saturating_sub(words.begun()) / 1_000_000;
                Outcome::replaced(self.before(), env!("CARGO_PKG_VERSION").to_owned(), took)
            }
        }
    }

    fn before(&self) -> String {
        self.shared.setup.before.clone().unwrap_or_default()
    }
}

const KEEPERLESS: &str = "the keeper is dead: restart Firestarter";
const STOPS: &str = "Firestarter is being stopped";

/// What stands in the record of the start.
fn record(shared: Shared) -> Result<Value, String> {
    const NONE: &str = "einhorn and start-server are not replaced in place, nor what said at its start that it cannot \
                        be: restart it";
    let number = shared.ledger.kept(Part::Record).ok_or(NONE)?;
    let bytes = fds::read_at(number, 0, fds::length(number).unwrap_or(0) as usize).map_err(|error| plain(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Notes in the record where the next program is found, and where the one before it was; what is no UTF-8 cannot stand there.
fn name_next(shared: Shared, path: &Path) -> Result<(), String> {
    let mut record = record(shared)?;
    record["before"] = record["program"].clone();
    record["next"] = path.to_str().into();
    let written = memfd_create("firestarter-record", MemfdFlags::CLOEXEC).map_err(std::io::Error::from);
    let kept = written.map(File::from).and_then(|mut file| {
        file.write_all(record.to_string().as_bytes())?;
        shared.ledger.keep(Part::Record, file.into())
    });
    kept.map(|_| ()).map_err(|error| plain(&error))
}

/// Opens a program that is to be executed.
fn look_at(program: &Path) -> Result<OwnedFd, String> {
    let shown = program.display();
    let told = |errno: rustix::io::Errno| format!("{shown}: {}", plain(&errno.into()));
    let opened = open(program, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(told)?;
    let stat = rustix::fs::fstat(&opened).map_err(told)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("{shown}: no file"));
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(format!("{shown}: not executable"));
    }
    let mut magic = [0; 4];
    if rustix::io::pread(&opened, &mut magic, 0) != Ok(4) || magic != *b"\x7fELF" {
        return Err(format!("{shown}: no program that can be executed in the keeper's place (a script?)"));
    }
    Ok(opened)
}

/// What a program is asked, as a file in memory: the length of the record, the record, the state.
fn question(record: &Value, snapshot: &[u8]) -> std::io::Result<File> {
    let record = record.to_string();
    let mut file = File::from(memfd_create("firestarter-question", MemfdFlags::CLOEXEC)?);
    file.write_all(&(record.len() as u64).to_le_bytes())?;
    file.write_all(record.as_bytes())?;
    file.write_all(snapshot)?;
    file.rewind()?;
    Ok(file)
}

/// Asks in a thread: a program may take its time.
fn ask(path: &str, input: File, sender: &Sender<Result<(), String>>, bell: &OwnedFd) {
    let _ = sender.send(converse(path, input));
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

fn converse(path: &str, input: File) -> Result<(), String> {
    let mut command = Command::new(path);
    command.arg0("firestarter").arg("check-handover").stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    // With all that it starts, it is to end when its time is over.
    let mut child =
        command.process_group(0).spawn().map_err(|error| format!("it cannot be executed: {}", plain(&error)))?;
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = signal_group(Pid::from_child(&child), libc::SIGKILL as u8);
                let _ = child.wait();
                return Err(format!("it has not answered within {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(plain(&error)),
        }
    };
    let said = child.stdout.take().map(what_is_there).unwrap_or_default();
    let complained = child.stderr.take().map(what_is_there).unwrap_or_default();
    let complaint = complained.lines().next().unwrap_or_default();
    match (status.success(), said.starts_with(YES), complaint) {
        (true, true, _) => Ok(()),
        (_, _, "") => Err(format!("it is no Firestarter that could take over ({status})")),
        (_, _, complaint) => Err(format!("it cannot take over: {complaint}")),
    }
}

/// What was written into a pipe. Somebody else may have it open still, so its end is not waited for.
fn what_is_there(pipe: impl Read + AsFd) -> String {
    let mut text = Vec::new();
    let _ = fcntl_setfl(&pipe, OFlags::NONBLOCK);
    let _ = pipe.take(4096).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn describe(reason: Reason) -> String {
    match reason {
        Reason::Execute(errno) => {
            format!("it cannot be executed: {}", plain_errno(errno))
        }
        Reason::Refused => "it could not take over after all; its reason stands in the log".to_owned(),
        Reason::Died => "its daemons died before they were at work".to_owned(),
        Reason::Late => "its daemon was not at work in time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program { path: "/dev/null".into(), file: open_file() }
    }

    fn open_file() -> OwnedFd {
        File::open("/dev/null").expect("/dev/null").into()
    }

    #[test]
    fn a_bell_that_rings_twice_is_answered_once() {
        let (_sender, answer) = channel();
        let mut succession = Succession::Asking { asker: Some(7), program: program(), answer, bell: open_file() };
        let (asker, program, ..) = succession.answered().expect("it was asked");
        succession = Succession::Ready { asker, program, since: Instant::now() };
        assert!(succession.answered().is_none());
        assert!(matches!(succession, Succession::Ready { asker: Some(7), .. }), "what was found out is still known");
    }
}
