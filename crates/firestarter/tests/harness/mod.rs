//! A Firestarter in a folder of its own, for tests on real processes: started, asked, waited for, and removed with all
//! that it has started. Tests wait for conditions; the one limit here is there to fail a test that waits in vain.
//! Each test file uses its part of it.
#![allow(dead_code)]

mod built;
pub(crate) mod dice;
pub(crate) mod disk;
pub(crate) mod einhornsh;
mod folder;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod proc;
pub(crate) mod superior;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tracer;
pub(crate) mod wire;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

pub(crate) use built::{asked, notifier, worker};
pub(crate) use folder::Folder;
use proc::Sig;
use wire::Wire;

/// What is waited for has come long before, on any machine that works.
const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_firestarter");

/// What a command printed, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A Firestarter that runs.
pub(crate) struct Fire {
    keeper: Child,
    /// Also when it has been reaped.
    pub(crate) keeper_pid: u32,
    pub(crate) folder: Folder,
}

impl Fire {
    /// Starts one and waits until it answers.
    pub(crate) fn start(toml: &str) -> Fire {
        Fire::start_in(Folder::new(), toml)
    }

    pub(crate) fn start_in(folder: Folder, toml: &str) -> Fire {
        Fire::start_with(folder, toml, |_| {})
    }

    /// `adjust` may change how the keeper is started.
    pub(crate) fn start_with(folder: Folder, toml: &str, adjust: impl FnOnce(&mut Command)) -> Fire {
        let mut command = run_command(&folder, toml);
        adjust(&mut command);
        Fire::watch(folder, command.spawn().expect("start firestarter"))
    }

    /// Waits until a Firestarter that was just started answers.
    pub(crate) fn watch(folder: Folder, keeper: Child) -> Fire {
        let mut fire = Fire { keeper_pid: keeper.id(), keeper, folder };
        let begun = Instant::now();
        while fire.try_status().is_none() {
            if let Some(status) = fire.keeper.try_wait().expect("wait") {
                panic!("firestarter ended at once ({status}): {}", fire.stderr());
            }
            assert!(begun.elapsed() < LIMIT, "no answer: {}", fire.stderr());
            pause();
        }
        fire
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("c")
    }

    /// What Firestarter and its workers wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        self.folder.read("stderr")
    }

    pub(crate) fn stdout(&self) -> String {
        self.folder.read("stdout")
    }

    /// Runs a client command; `-d SOCKET` is added.
    pub(crate) fn ctl(&self, words: &[&str]) -> Said {
        said(self.client(words))
    }

    /// As `ctl`, begun and not waited for.
    pub(crate) fn begin(&self, words: &[&str]) -> Child {
        self.client(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a client")
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = self.folder.command(BIN);
        command.args(words).arg("-d").arg(self.socket());
        command
    }

    /// The file of the program that is the keeper.
    pub(crate) fn program(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/exe", self.keeper_pid)).expect("a program")
    }

    /// A command about a group that must succeed; its last line.
    pub(crate) fn order(&self, group: &str, verb: &str) -> String {
        let said = self.ctl(&["ctrl", group, verb]);
        assert_eq!(said.code, 0, "{verb} {group}: {said:?}\n{}", self.stderr());
        said.out.lines().last().unwrap_or_default().to_owned()
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::connect(&self.socket()).expect("connect to the control socket")
    }

    pub(crate) fn try_status(&self) -> Option<Value> {
        let mut wire = Wire::connect(&self.socket()).ok()?;
        wire.send("status", json!({})).ok()?;
        wire.reply()?.get("result").cloned()
    }

    pub(crate) fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("no status: {}", self.stderr()))
    }

    /// One group of the status.
    pub(crate) fn group(&self, name: &str) -> Value {
        group_of(&self.status(), name)
    }

    /// Waits until the status is as wanted, and returns it.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.try_status();
            match status {
                Some(status) if wanted(&status) => return status,
                Some(_) | None if begun.elapsed() > LIMIT => {
                    panic!("waited in vain for {what}: {status:#?}\n{}", self.stderr())
                }
                Some(_) | None => pause(),
            }
        }
    }

    /// Waits until a group has so many ready workers, no other worker, and nothing under way; their pids by slot.
    pub(crate) fn settled(&self, name: &str, count: usize) -> Vec<u32> {
        let status = self.wait_for(&format!("{count} ready workers of {name}"), |status| {
            let group = group_of(status, name);
            let workers = group["workers"].as_array().cloned().unwrap_or_default();
            group["state"] == "running"
                && workers.len() == count
                && workers.iter().all(|worker| worker["state"] == "ready")
        });
        pids(&group_of(&status, name))
    }

    /// Waits until a group is in this state; its status then.
    pub(crate) fn in_state(&self, name: &str, state: &str) -> Value {
        let status = self.wait_for(&format!("{name} {state}"), |status| group_of(status, name)["state"] == state);
        group_of(&status, name)
    }

    /// Waits until this stands on stderr.
    pub(crate) fn hears(&self, text: &str) {
        until(&format!("{text:?} on stderr"), || self.stderr().contains(text));
    }

    /// Waits until so many lines with this text stand on stderr.
    pub(crate) fn wait_for_lines(&self, text: &str, count: usize) {
        until(&format!("{count} times {text:?} on stderr"), || self.stderr().matches(text).count() >= count);
    }

    pub(crate) fn daemon(&self) -> u32 {
        number(&self.status()["daemon_pid"])
    }

    /// Kills the daemon that lives now, and returns when it is dead.
    pub(crate) fn kill_daemon(&self) {
        let begun = Instant::now();
        let daemon = loop {
            assert!(begun.elapsed() < LIMIT, "no daemon to kill: {}", self.stderr());
            if let Some(daemon) = proc::daemon(self.keeper_pid) {
                break daemon;
            }
        };
        proc::signal(daemon, Sig::KILL);
        until("the daemon's death", || !proc::alive(daemon));
    }

    /// Lets the daemon live for long enough to count as one that has begun well, so that the next is forked at once.
    pub(crate) fn good_life(&self) {
        self.wait_for("a daemon", |_| true);
        std::thread::sleep(Duration::from_millis(1050));
    }

    pub(crate) fn signal_keeper(&self, signal: Sig) {
        proc::signal(self.keeper_pid, signal);
    }

    /// Waits for the end of the keeper.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            match self.keeper.try_wait().expect("wait") {
                Some(status) => return status,
                None => assert!(begun.elapsed() < LIMIT, "the keeper does not end: {}", self.stderr()),
            }
            pause();
        }
    }

    /// The folder with all that is in it, for another one, when this one has ended.
    pub(crate) fn into_folder(mut self) -> Folder {
        std::mem::replace(&mut self.folder, Folder::none())
    }

    /// Stops everything by command; nothing may be left, neither process nor file.
    pub(crate) fn stop(mut self) {
        let said = self.ctl(&["stop"]);
        assert_eq!((said.code, self.ended().code()), (0, Some(0)), "{said:?} {}", self.stderr());
        self.nothing_left();
    }

    /// After the end: no process and no socket of it is left.
    pub(crate) fn nothing_left(&self) {
        until("no process left", || self.folder.processes().is_empty());
        for name in ["c", "c.d", "c.lock"] {
            assert!(!self.folder.join(name).exists(), "{name} is left");
        }
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        if std::thread::panicking() {
            let stderr = self.stderr();
            let last: Vec<&str> = stderr.lines().rev().take(20).collect();
            eprintln!("the last of stderr, newest first:\n{}", last.join("\n"));
        }
    }
}

/// `firestarter run` in a folder, not started yet.
pub(crate) fn run_command(folder: &Folder, toml: &str) -> Command {
    run_command_of(BIN.as_ref(), folder, toml)
}

/// The same of a program at another place.
pub(crate) fn run_command_of(program: &Path, folder: &Folder, toml: &str) -> Command {
    let mut command = folder.command(program);
    let output = |name: &str| File::options().append(true).create(true).open(folder.join(name)).expect("a file");
    command.arg("run").arg("-c").arg(folder.config(toml)).arg("-d").arg(folder.join("c"));
    command.stdout(output("stdout")).stderr(output("stderr"));
    command
}

/// The same, by a shell that waits first until somebody reads a FIFO.
pub(crate) fn run_command_behind(gate: &Path, folder: &Folder, toml: &str) -> Command {
    let run = run_command(folder, toml);
    let mut command = folder.command("sh");
    command.args(["-c", "exec 3>\"$0\" 3>&-; exec \"$@\""]).arg(gate).arg(run.get_program()).args(run.get_args());
    let output = |name: &str| File::options().append(true).open(folder.join(name)).expect("a file");
    command.stdout(output("stdout")).stderr(output("stderr"));
    command
}

/// Runs a Firestarter that is expected to end by itself, and returns what it said.
pub(crate) fn run_to_the_end(folder: &Folder, toml: &str) -> Said {
    to_the_end(folder, run_command(folder, toml))
}

/// As `run_to_the_end`, however it is started; what it says it writes to the folder's `stdout` and `stderr`.
pub(crate) fn to_the_end(folder: &Folder, mut command: Command) -> Said {
    let mut keeper = command.spawn().expect("start firestarter");
    let begun = Instant::now();
    let status = loop {
        match keeper.try_wait().expect("wait") {
            Some(status) => break status,
            None if begun.elapsed() > LIMIT => panic!("it does not end: {}", folder.read("stderr")),
            None => pause(),
        }
    };
    Said { code: status.code().unwrap_or(-1), out: folder.read("stdout"), err: folder.read("stderr") }
}

/// Runs a command to its end.
pub(crate) fn said(mut command: Command) -> Said {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a command"))
}

/// Waits for a command whose output is piped, and not for ever.
pub(crate) fn finish(child: Child) -> Said {
    let (pid, (sender, ended)) = (child.id(), std::sync::mpsc::channel());
    std::thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(LIMIT * 2) else {
        let command = proc::arguments(pid).join(" ");
        proc::signal(pid, Sig::KILL);
        panic!("it does not end: {command}");
    };
    let output = output.expect("wait for a command");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LIMIT, "waited in vain for {what}");
        pause();
    }
}

/// Between two looks.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

pub(crate) fn group_of(status: &Value, name: &str) -> Value {
    let mut groups = status["groups"].as_array().into_iter().flatten();
    groups.find(|group| group["name"] == name).cloned().unwrap_or(Value::Null)
}

/// The pids of a group's workers, by slot.
pub(crate) fn pids(group: &Value) -> Vec<u32> {
    let workers = group["workers"].as_array().into_iter().flatten();
    workers.filter(|worker| !worker["pid"].is_null()).map(|worker| number(&worker["pid"])).collect()
}

pub(crate) fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

/// The pids between the brackets of a line: `start processes pid [1, 2]`.
pub(crate) fn listed(text: &str) -> Vec<u32> {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
    inside.split(", ").filter(|pid| !pid.is_empty()).map(|pid| pid.parse().expect("a pid")).collect()
}
