//! Einhorn's commands: a request's record in, one answer or several out. Called by `serve`, with one client each. Every
//! command that changes something becomes an ordinary order to the daemon; nothing is decided here.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use firestarter_core::command::Verb;
use firestarter_core::spec::Signal;
use serde_json::Value;

use super::build::Briefing;
use super::record::{self, Record};
use super::state;
use crate::api::{Answer, Call, GroupStatus, Order, Outcome, Question, State, Status, What};
use crate::cli;
use crate::client::Client;

/// How long a question, or the beginning of an order, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether an order has begun.
const GLANCE: Duration = Duration::from_millis(5);
/// What should not be: the answer of a daemon of another version.
const STRANGE: &str = "The daemon answered something else";
/// Einhorn's own limit for `set_workers`.
const MOST: u32 = 100;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Close,
}

/// One client.
pub(super) struct Talk<'a> {
    stream: &'a UnixStream,
    briefing: &'a Briefing,
}

/// The commands that people are told of.
const COMMANDS: [(&str, &str); 14] = [
    ("config", "Refused: options are those of the command line"),
    ("dec", "Decrement the number of child processes"),
    ("die", "Send SIGNAL (default: SIGUSR2) to all workers, start none, and end when all have (args: [SIGNAL])"),
    ("ehlo", "Say who is speaking"),
    ("help", "Print out available commands"),
    ("inc", "Increment the number of child processes"),
    ("louder", "No effect: the log has one level"),
    ("quieter", "No effect: the log has one level"),
    ("reload", "Refused: Firestarter does not run itself anew"),
    ("set_workers", "Set the number of child processes (args: NUMBER)"),
    ("signal", "Send one or more signals to all workers (args: SIG1 [SIG2 ...])"),
    ("state", "Print the current state"),
    ("upgrade", "Upgrade all workers, a few at a time"),
    ("upgrade_fleet", "Upgrade all workers, a few at a time"),
];

impl<'a> Talk<'a> {
    pub(super) fn new(stream: &'a UnixStream, briefing: &'a Briefing) -> Talk<'a> {
        Talk { stream, briefing }
    }

    /// Sends one answer. Who gave its request an id is told whether another answer follows.
    pub(super) fn say(&self, message: &str, id: Option<&Value>, last: bool) -> io::Result<()> {
        let mut fields = vec![("message", Value::from(message))];
        if let Some(id) = id {
            fields.push(("request_id", id.clone()));
            if !last {
                fields.push(("wait", true.into()));
            }
        }
        let mut stream = self.stream;
        stream.write_all(record::write(&fields).as_bytes())
    }

    /// Does what a record asks for, and answers.
    pub(super) fn answer(&self, request: &Record) -> io::Result<Next> {
        let id = request.get("id").filter(|id| id.is_string() || id.is_number());
        let Some(command) = request.get("command").and_then(Value::as_str) else {
            self.say("No \"command\" parameter provided; not sure what you want me to do.", id, true)?;
            return Ok(Next::Stay);
        };
        let message = match command {
            "worker:ack" | "worker:ping" => {
                self.say("A worker speaks to the socket that EINHORN_SOCK_PATH names, not to this one", id, true)?;
                return Ok(Next::Close);
            }
            "upgrade" => return self.upgrade("Upgrading smoothly, as commanded", id),
            "upgrade_fleet" => return self.upgrade(&self.fleet(), id),
            "die" => return self.die(request, id),
            "ehlo" => self.welcome(request),
            "help" => Ok(format!(
                "You are speaking to the Einhorn command socket. You can run the following commands:\n\n{}\n",
                commands()
            )),
            "state" => self.status().map(|status| state::dump(self.briefing, &status)),
            "inc" => self.one_more(),
            "dec" => self.one_fewer(),
            "set_workers" => self.set_workers(request),
            "signal" => self.signal(request),
            "quieter" | "louder" => Ok("Verbosity stays as it is: the log of Firestarter has one level".to_owned()),
            "reload" => Err("Firestarter does not run itself anew; upgrade renews the workers".to_owned()),
            "config" => {
                Err("Options are those of the command line, and stay; the number is changed by set_workers".to_owned())
            }
            other => Err(format!("Unrecognized command: {other:?}\n\n{}\n", commands())),
        };
        self.say(&message.unwrap_or_else(|fault| fault), id, true)?;
        Ok(Next::Stay)
    }

    fn welcome(&self, request: &Record) -> Result<String, String> {
        let user = request.get("user").and_then(Value::as_str).unwrap_or("");
        let name = self.briefing.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let (pid, version) = (self.status()?.keeper_pid, env!("CARGO_PKG_VERSION"));
        Ok(format!(
            "Welcome, {user}! You are speaking to Einhorn Master Process {pid}{name}.\nThis is Firestarter {version}.\n"
        ))
    }

    /// The first answer comes at once, the last when the new workers serve. Who gave no id waits for the first only.
    fn upgrade(&self, begun: &str, id: Option<&Value>) -> io::Result<Next> {
        self.say(begun, id, false)?;
        let outcome = self.order(Verb::Upgrade, None, true);
        if id.is_some() {
            let message = match outcome {
                Ok(What::Upgraded { new, old, .. }) => {
                    format!("Upgrade done: {} new, {} old workers", new.len(), old.len())
                }
                Ok(_) => "Upgrade done".to_owned(),
                Err(fault) => format!("Upgrade failed: {fault}"),
            };
            self.say(&message, id, true)?;
        }
        Ok(Next::Stay)
    }

    /// All at a time is what the group's surge allows, or it is said that it is not.
    fn fleet(&self) -> String {
        let at_a_time = self.briefing.at_a_time;
        match self.group() {
            Ok(group) if group.wanted > at_a_time => {
                format!("Upgrading {at_a_time} at a time, as --max-unacked and --max-upgrade-additional say")
            }
            Ok(_) | Err(_) => "Upgrading fleet, as commanded".to_owned(),
        }
    }

    fn one_more(&self) -> Result<String, String> {
        let old = self.group()?.wanted;
        self.order(Verb::Inc, None, false)?;
        Ok(format!("Incrementing number of workers from {old} -> {}", old + 1))
    }

    fn one_fewer(&self) -> Result<String, String> {
        let status = self.status()?;
        let old = wanted(&status, &self.briefing.group)?;
        if old <= 1 {
            let pid = status.keeper_pid;
            return Err(format!(
                "Can't decrease number of workers (already at {old}).  Run kill {pid} if you really want to kill einhorn."
            ));
        }
        self.order(Verb::Dec, Some(Signal::USR2), false)?;
        Ok(format!("Decrementing number of workers from {old} -> {}", old - 1))
    }

    fn set_workers(&self, request: &Record) -> Result<String, String> {
        let args = args(request)?;
        let first = args.first().copied().unwrap_or("");
        let count = first.trim().parse().ok().filter(|count| (1..=MOST).contains(count));
        let Some(count) = count else {
            return Err(format!("Invalid count: '{first}'. Must be an integer in [1,{MOST}]."));
        };
        let old = self.group()?.wanted;
        for _ in old..count {
            self.order(Verb::Inc, None, false)?;
        }
        for _ in count..old {
            self.order(Verb::Dec, Some(Signal::USR2), false)?;
        }
        let will = if old < count { "spin up additional workers." } else { "gracefully terminate workers." };
        Ok(if old == count { String::new() } else { format!("Altering worker count, {old} -> {count}. Will {will}") })
    }

    fn signal(&self, request: &Record) -> Result<String, String> {
        let signals = args(request)?.into_iter().map(signal_named).collect::<Result<Vec<_>, _>>()?;
        let sent = |(name, signal): (String, Signal)| {
            let what = self.order(Verb::Signal, Some(signal), true)?;
            let What::Signalled { pids, .. } = what else { return Err(STRANGE.to_owned()) };
            Ok(told(&name, &pids))
        };
        signals.into_iter().map(sent).collect::<Result<Vec<_>, String>>().map(|lines| lines.join("\n"))
    }

    /// Stops the workers, and when all have ended, everything, this process too: not before the answer is sent.
    fn die(&self, request: &Record, id: Option<&Value>) -> io::Result<Next> {
        let (answered, may_end) = mpsc::channel::<()>();
        let message = self.stop(request, may_end).unwrap_or_else(|fault| fault);
        let said = self.say(&message, id, true);
        drop(answered);
        said.map(|()| Next::Stay)
    }

    /// Begins the stop; `may_end` closes when all may end.
    fn stop(&self, request: &Record, may_end: Receiver<()>) -> Result<String, String> {
        let named = args(request)?.first().map(|name| signal_named(name)).transpose()?;
        let (name, signal) = named.unwrap_or_else(|| ("USR2".to_owned(), Signal::USR2));
        let pids: Vec<_> = self.group()?.workers.iter().filter_map(|worker| worker.pid).collect();
        let briefing = self.briefing.clone();
        // One order that is waited for to its end, and none after it: who is asked twice to end may hurry.
        let stop = thread::Builder::new().spawn(move || {
            order(&briefing, Verb::Stop, Some(signal), true)?;
            let _ = may_end.recv();
            ask(&briefing, &Call::Do(Order::Shutdown), None)
        });
        let stop = stop.map_err(|error| format!("thread: {error}"))?;
        let limit = Instant::now() + TIMEOUT;
        let stands = || self.group().is_ok_and(|group| matches!(group.state, State::Running | State::Upgrading));
        while stands() && Instant::now() < limit {
            // Before the answer only a fault ends it.
            if stop.is_finished() {
                let fault = stop.join().ok().and_then(Result::err);
                return Err(fault.unwrap_or_else(|| "The stop broke off".to_owned()));
            }
            thread::sleep(GLANCE);
        }
        Ok(format!("Einhorn is going down! {}", told(&name, &pids)))
    }

    fn status(&self) -> Result<Status, String> {
        match ask(self.briefing, &Call::Ask(Question::Status), Some(TIMEOUT))? {
            Answer::Status(status) => Ok(status),
            Answer::Names(_) | Answer::Done(_) | Answer::Lines(_) | Answer::Piece(_) => Err(STRANGE.to_owned()),
        }
    }

    fn group(&self) -> Result<GroupStatus, String> {
        let mut groups = self.status()?.groups.into_iter();
        groups.find(|group| group.name == self.briefing.group).ok_or_else(|| "The group is gone".to_owned())
    }

    fn order(&self, verb: Verb, signal: Option<Signal>, to_the_end: bool) -> Result<What, String> {
        order(self.briefing, verb, signal, to_the_end)
    }
}

fn wanted(status: &Status, name: &str) -> Result<u32, String> {
    let group = status.groups.iter().find(|group| group.name == name);
    group.map(|group| group.wanted).ok_or_else(|| "The group is gone".to_owned())
}

/// Gives an order about the group of the command, and waits for its end or its beginning.
fn order(briefing: &Briefing, verb: Verb, signal: Option<Signal>, to_the_end: bool) -> Result<What, String> {
    let order = Order::Group { group: briefing.group.clone(), verb, signal, slot: None };
    let (call, timeout) = if to_the_end { (Call::Do(order), None) } else { (Call::Begin(order), Some(TIMEOUT)) };
    match ask(briefing, &call, timeout)? {
        Answer::Done(done) => Ok(done.what),
        Answer::Names(_) | Answer::Status(_) | Answer::Lines(_) | Answer::Piece(_) => Err(STRANGE.to_owned()),
    }
}

fn ask(briefing: &Briefing, call: &Call, timeout: Option<Duration>) -> Result<Answer, String> {
    let client = Client::connect(&briefing.control, timeout).map_err(|error| error.to_string())?;
    match client.ask(call).map_err(|error| error.to_string())?.outcome {
        Outcome::Answer(answer) => Ok(answer),
        outcome @ (Outcome::Problem(_) | Outcome::Other { .. }) => Err(cli::words(call, &outcome)),
    }
}

fn told(name: &str, pids: &[firestarter_core::ids::Pid]) -> String {
    let list = pids.iter().map(|pid| pid.to_string()).collect::<Vec<_>>().join(", ");
    format!("Successfully sent {name}s to {} processes: [{list}]", pids.len())
}

/// `USR2` and `SIGUSR2`, in letters of any case; its name without SIG.
fn signal_named(written: &str) -> Result<(String, Signal), String> {
    let upper = written.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let signal = Signal::parse(name).filter(|_| !name.starts_with(|c: char| c.is_ascii_digit()));
    signal.map(|signal| (name.to_owned(), signal)).ok_or_else(|| format!("Invalid signal: {name:?}"))
}

fn args(request: &Record) -> Result<Vec<&str>, String> {
    let args = match request.get("args") {
        None | Some(Value::Null) => return Err("No args provided".to_owned()),
        Some(Value::Array(args)) => args,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err("Args must be an array".to_owned())
        }
    };
    let text = |arg: &'_ Value| -> Result<(), String> {
        arg.is_string().then_some(()).ok_or_else(|| format!("Argument is not a string: {arg}"))
    };
    args.iter().try_for_each(text)?;
    Ok(args.iter().filter_map(Value::as_str).collect())
}

fn commands() -> String {
    COMMANDS.map(|(name, about)| format!("{name}: {about}")).join("\n")
}
