//! The first minute: `firestarter demo` shows on a machine with nothing else installed what Firestarter does, under load,
//! and checks what it claims, so that it is a test as well. Called by `main`, as is its worker. It plays with a Firestarter
//! of its own in a private folder; it never touches one that runs already.

mod acts;
mod load;
mod screen;
mod stage;
pub(crate) mod worker;

use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::Signal;

use crate::cli::code;
use crate::client::ClientError;
use crate::sys::signals::{self, SignalFd};
use acts::Play;
use load::{Load, Tally};
use screen::{live_line, summary, Ink, Rate, Screen};
use stage::{Stage, GROUP};

/// The live line is drawn so often.
const REDRAW: Duration = Duration::from_millis(100);

/// So many lines of the log are shown when the demo fails.
const LAST_LINES: usize = 10;

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// The demo's own doings.
    #[error("{operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// Firestarter does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something that the demo says of Firestarter is not so.
    #[error("{0}")]
    Claim(String),
}

impl DemoError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DemoError {
        let path = path.to_owned();
        move |source| DemoError::Io { operation, path, source }
    }

    fn claim(what_is_so: impl Into<String>) -> DemoError {
        DemoError::Claim(what_is_so.into())
    }
}

/// Plays; the exit code: 0 only if all that is claimed was so and no request failed.
pub(crate) fn main() -> u8 {
    // Before there are threads: signals that ask to end are read by one of them.
    let hangup_ignored = signals::block_and_reset();
    let screen = Arc::new(Screen::new());
    let stage = match Stage::set() {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            screen.say(Ink::Bad, format_args!("demo: {error}"));
            return code::FAILED;
        }
    };
    clear_up_after_a_panic(&stage);
    match clear_up_on_a_signal(&stage, &screen, hangup_ignored).and_then(|()| play(&stage, &screen)) {
        Ok(tally) => {
            epilogue(&stage, &screen, &tally);
            if tally.whole.failed == 0 {
                code::DONE
            } else {
                code::FAILED
            }
        }
        Err(error) => {
            screen.say(Ink::Bad, format_args!("\ndemo: {error}"));
            screen.say(Ink::Plain, "the last lines of its log:");
            for line in stage.last_said(LAST_LINES) {
                screen.say(Ink::Quoted, format_args!("   | {line}"));
            }
            if let Err(error) = stage.strike() {
                screen.say(Ink::Bad, format_args!("demo: {error}"));
            }
            code::FAILED
        }
    }
}

/// From the opening to the end of all processes; what came of the requests.
fn play(stage: &Stage, screen: &Arc<Screen>) -> Result<Tally, DemoError> {
    let target = acts::opening(stage, screen)?;
    let threads = DemoError::io("start threads of", Path::new("the demo"));
    let mut load = Load::start(target).map_err(threads)?;
    let line = LiveLine::start(&load, screen);
    let played = Play { stage, screen, load: &load }.all();
    load.stop();
    line.stop();
    let tally = load.tally();
    screen.say(if tally.whole.failed > 0 { Ink::Bad } else { Ink::Title }, format_args!("\n{}", summary(&tally.whole)));
    for fault in &tally.faults {
        screen.say(Ink::Bad, format_args!("   failed: {fault}"));
    }
    played.and_then(|()| acts::closing(stage, screen)).map(|()| tally)
}

/// What was configured, what was ordered, and what to do next.
fn epilogue(stage: &Stage, screen: &Screen, tally: &Tally) {
    screen.say(Ink::Title, "\nthe configuration, demo.toml:");
    for line in stage.configuration.lines() {
        screen.say(Ink::Plain, format_args!("   {line}"));
    }
    screen.say(Ink::Title, "\nthe commands:");
    for (command, what) in [
        ("firestarter run -c demo.toml", "start it"),
        ("firestarter status", "pids of the workers and of the daemon, address, generation"),
        (&format!("firestarter ctrl {GROUP} upgrade"), "acts 1 and 2"),
        ("kill -9 PID", "acts 3 and 4"),
        ("firestarter stop", "stop it"),
    ] {
        screen.say(Ink::Plain, format_args!("   {command:<30} # {what}"));
    }
    let next = "put your own server in exec_start and its address in socket_address";
    screen.say(Ink::Title, format_args!("\nnext: {next}; what can be said: firestarter help"));
    if tally.whole.failed > 0 {
        screen.say(Ink::Bad, format_args!("demo: {} requests failed, and none should have", tally.whole.failed));
    }
}

/// The thread that draws the live line.
struct LiveLine {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LiveLine {
    fn start(load: &Load, screen: &Arc<Screen>) -> LiveLine {
        let over = Arc::new(AtomicBool::new(false));
        let (done, gauge, screen, screen_live) = (Arc::clone(&over), load.gauge(), Arc::clone(screen), screen.live);
        let draw = move || {
            let mut rate = Rate::default();
            while !done.load(Ordering::SeqCst) {
                let tally = gauge();
                screen.draw(&live_line(rate.at(Instant::now(), tally.whole.answered), &tally.act));
                thread::sleep(REDRAW);
            }
        };
        // Without a thread the demo goes on without a live line.
        let thread =
            screen_live.then(|| thread::Builder::new().name("live line".to_owned()).spawn(draw).ok()).flatten();
        LiveLine { over, thread }
    }

    fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

/// A panic ends the process at once: what was started is stopped first.
fn clear_up_after_a_panic(stage: &Arc<Stage>) {
    let (stage, tell) = (Arc::clone(stage), panic::take_hook());
    panic::set_hook(Box::new(move |what| {
        tell(what);
        let _ = stage.strike();
    }));
}

/// Ends the demo on Ctrl-C and its like, with all that it has started.
fn clear_up_on_a_signal(stage: &Arc<Stage>, screen: &Arc<Screen>, hangup_ignored: bool) -> Result<(), DemoError> {
    let failed = || DemoError::io("watch for signals in", Path::new("the demo"));
    let mut stops = vec![Signal::INT, Signal::TERM, Signal::QUIT];
    if !hangup_ignored {
        stops.push(Signal::HUP);
    }
    let numbers: Vec<i32> = stops.into_iter().map(Signal::as_raw).collect();
    let asked = SignalFd::new(&numbers).map_err(failed())?;
    let (stage, screen) = (Arc::clone(stage), Arc::clone(screen));
    let watch = move || loop {
        let _ = poll(&mut [PollFd::new(asked.fd(), PollFlags::IN)], None);
        if let Some((number, _)) = asked.read() {
            // The acts see a Firestarter that goes away, and shall not complain.
            let _curtain = screen.curtain();
            let _ = stage.strike();
            // As a shell words it: ended by that signal.
            process::exit(128 + number);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(failed())
}
