//! The command line: reads the arguments, asks the daemon, prints, and says with which code to end. Called by `main.rs`,
//! which does itself what is no client's work (`Next`). The only room that prints; it never touches the daemon's inside.

mod args;
mod counts;
mod errand;
mod flight;
mod logs;
mod overview;
mod progress;
mod render;
mod table;
mod trouble;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firestarter_core::spec::ExitWhen;

use crate::place::{self, check_own, FolderError, Place};

use crate::api::{Answer, Call, Order, Outcome, Received};
use crate::client::{Client, ClientError};
use crate::logs::Order as Reading;
use crate::sys::signals;
use args::Invocation;
use errand::{Errand, Wanted};
pub(crate) use flight::Replay;
use flight::{take, Take};
pub(crate) use logs::show as show_logs;
use progress::{Form, Show};

pub(crate) mod code;

/// How long a question may take without `--timeout`, and the beginning of an order. Its end may take as long as it takes.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

const USUAL_WIDTH: usize = 80;

/// What is left to do for `main.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: end with this code.
    Exit(u8),
    /// Run the daemon.
    Run {
        /// The configuration, if one was named.
        config: Option<PathBuf>,
        /// Where its control socket belongs.
        socket: Place,
        /// When it ends by itself, if that was said.
        exit_when: Option<ExitWhen>,
    },
    /// Check a configuration.
    Check {
        /// The configuration, if one was named.
        config: Option<PathBuf>,
    },
    /// Write a configuration.
    Init {
        /// Where to; `-` is the standard output.
        config: Option<PathBuf>,
        /// For which command; at least one word.
        command: Vec<String>,
    },
    /// Run a command as Einhorn would.
    Einhorn {
        /// Einhorn's own words.
        args: Vec<OsString>,
    },
    /// Serve Einhorn's command socket, as a worker.
    EinhornSocket {
        /// What it is told.
        args: Vec<OsString>,
    },
    /// Say whether this program can take over from the one whose state stands on the standard input.
    CheckHandover,
    /// Show logs, though no daemon runs.
    Logs {
        /// What of them.
        order: Reading,
        /// The configuration, if one was named.
        config: Option<PathBuf>,
        /// What to say if there is none.
        no_daemon: String,
    },
    /// Show what Firestarter does.
    Demo,
    /// Be start_server.
    StartServer {
        /// Its own words.
        args: Vec<OsString>,
    },
    /// Replay a journal.
    Replay(Replay),
    /// Be a worker of the demo.
    DemoWorker {
        /// Its own words.
        args: Vec<OsString>,
    },
}

/// Reads the words after the program's name and does what a client can do.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> Next {
    let mut page = Page {
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        width: terminal_width(&io::stdout()),
        terminal: terminal_width(&io::stderr()),
    };
    let invocation = match args::parse(args) {
        Ok(invocation) => invocation,
        Err(usage) => {
            page.complain(&format!("firestarter: {usage}\n"));
            return Next::Exit(code::USAGE);
        }
    };
    match invocation {
        Invocation::Run { config, socket, exit_when } => match place(socket.as_deref()) {
            Ok(socket) => Next::Run { config, socket, exit_when },
            Err(error) => {
                page.complain(&format!("firestarter: {error}\n"));
                Next::Exit(code::FAILED)
            }
        },
        Invocation::Check { config } => Next::Check { config },
        Invocation::Init { config, command } => Next::Init { config, command },
        Invocation::Einhorn { args } => Next::Einhorn { args },
        Invocation::CheckHandover => Next::CheckHandover,
        Invocation::EinhornSocket { args } => Next::EinhornSocket { args },
        Invocation::Demo => Next::Demo,
        Invocation::StartServer { args } => Next::StartServer { args },
        Invocation::DemoWorker { args } => Next::DemoWorker { args },
        Invocation::Replay(replay) => Next::Replay(replay),
        Invocation::Take(wanted) => match place(wanted.socket.as_deref()) {
            Ok(place) => Next::Exit(page.take(&wanted, &place.path)),
            Err(error) => {
                page.complain(&format!("firestarter: {error}\n"));
                Next::Exit(code::FAILED)
            }
        },
        Invocation::Print(text) => Next::Exit(page.say(&text, code::DONE)),
        Invocation::Logs { order, config, socket } => match place(socket.as_deref()) {
            Ok(place) => logs::run(order, config, &place.path),
            Err(error) => {
                page.complain(&format!("firestarter: {error}\n"));
                Next::Exit(code::FAILED)
            }
        },
        Invocation::Errand(errand) => match place(errand.socket.as_deref()) {
            Ok(place) => Next::Exit(page.run(&errand, &place.path)),
            Err(error) => {
                page.complain(&format!("firestarter: {error}\n"));
                Next::Exit(code::FAILED)
            }
        },
    }
}

/// How many characters a line of the terminal has that is printed to; none if it is no terminal. Some do not say.
fn terminal_width(out: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let told = || rustix::termios::tcgetwinsize(out).map_or(0, |size| size.ws_col.into());
    out.is_terminal().then(told).map(|width| if width == 0 { USUAL_WIDTH } else { width })
}

/// Where the control socket is, checked as far as a client must.
fn place(given: Option<&Path>) -> Result<Place, PlaceError> {
    let uid = rustix::process::geteuid().as_raw();
    let cwd = match given {
        Some(path) if path.is_absolute() => PathBuf::from("/"),
        // Only a relative path needs it, and the folder may have been removed.
        Some(_) => std::env::current_dir().map_err(PlaceError::Cwd)?,
        None => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    };
    let place = place::socket_path(given, |name| std::env::var_os(name), uid, &cwd);
    check_own(&place, uid)?;
    Ok(place)
}

/// Why the place of the control socket is not known.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error("current directory: {0}")]
    Cwd(io::Error),
    #[error("control socket: {0}")]
    Folder(#[from] FolderError),
}

/// Where to print.
struct Page<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Of a line, in characters, if `out` is a terminal.
    width: Option<usize>,
    /// The same of `err`.
    terminal: Option<usize>,
}

impl Page<'_> {
    /// Asks the daemon and tells what came of it; the exit code.
    fn run(&mut self, errand: &Errand, path: &Path) -> u8 {
        let received = match self.ask(errand, path) {
            Ok(received) => received,
            Err(error) if errand.json => {
                return self.say(&format!("{}\n", trouble::no_reply_json(&error)), code::of_error(&error));
            }
            Err(error) => {
                self.complain(&trouble::no_reply(&errand.wanted, errand.wait, &error));
                if let ClientError::Interrupted { signal } = error {
                    signals::die_of(signal);
                }
                return code::of_error(&error);
            }
        };
        let code = code::of_outcome(&received.outcome);
        if errand.json {
            return self.say(&format!("{}\n", received.raw), code);
        }
        match &received.outcome {
            Outcome::Answer(answer) => self.answer(errand, answer, code),
            Outcome::Problem(problem) => {
                self.complain(&trouble::problem(&errand.wanted, problem));
                code
            }
            Outcome::Other { code: _, message, machine } => {
                self.complain(&trouble::other(message, machine));
                code
            }
        }
    }

    /// Writes the daemon's journal to a file; the exit code.
    fn take(&mut self, wanted: &Take, path: &Path) -> u8 {
        match take(wanted, path) {
            Ok(bytes) => self.say(&format!("{bytes} bytes written to {}\n", wanted.file.display()), code::DONE),
            Err(error) => {
                self.complain(&format!("firestarter: {error}\n"));
                error.client().map_or(code::FAILED, code::of_error)
            }
        }
    }

    fn ask(&mut self, errand: &Errand, path: &Path) -> Result<Received, ClientError> {
        let default = match errand.wanted {
            Wanted::List | Wanted::Status | Wanted::GroupStatus { .. } | Wanted::Reopen { .. } => {
                Some(QUESTION_TIMEOUT)
            }
            Wanted::Stop | Wanted::Ctrl { .. } => (!errand.wait).then_some(QUESTION_TIMEOUT),
            Wanted::UpgradeDaemon { .. } => None,
        };
        let client = Client::connect(path, errand.timeout.or(default))?;
        let announcement = match &errand.wanted {
            Wanted::Ctrl { group, slot, verb, signal: _ } => render::announcement(verb.word(), group, *slot),
            Wanted::GroupStatus { group, slot } => render::announcement("status", group, *slot),
            Wanted::Reopen { group: Some(group) } => render::announcement("reopen", group, None),
            Wanted::List
            | Wanted::Status
            | Wanted::Stop
            | Wanted::UpgradeDaemon { .. }
            | Wanted::Reopen { group: None } => String::new(),
        };
        if !errand.quiet && !errand.json {
            // Whether anybody reads it or not: the order is what counts.
            self.say(&announcement, code::DONE);
        }
        let call = errand.call();
        match &call {
            Call::Do(order) if errand.shows_progress(self.terminal) => self.follow(errand, client, order.clone()),
            Call::Ask(_) | Call::Reopen { .. } | Call::Do(_) | Call::Follow(_) | Call::Begin(_) => client.ask(&call),
        }
    }

    /// Asks, and shows how far it is until the reply is there.
    fn follow(&mut self, errand: &Errand, client: Client, order: Order) -> Result<Received, ClientError> {
        let (out, form): (&mut dyn Write, Form) = match (errand.json, self.terminal) {
            (true, _) => (self.out, Form::Json),
            (false, Some(width)) => (self.err, Form::Redrawn { width }),
            (false, None) => (self.err, Form::Lines),
        };
        let mut show = Show::new(out, form);
        let received = client.follow(&Call::Follow(order), &mut show);
        show.end();
        received
    }

    fn answer(&mut self, errand: &Errand, answer: &Answer, code: u8) -> u8 {
        let text = match (&errand.wanted, answer) {
            (Wanted::List, Answer::Names(names)) => render::names(names, errand.quiet),
            (Wanted::Status, Answer::Status(status)) => match self.width {
                Some(width) => overview::overview(status, errand.quiet, width),
                None => render::blocks(status),
            },
            (Wanted::GroupStatus { slot: None, .. }, Answer::Status(status)) => render::blocks(status),
            (Wanted::GroupStatus { slot: Some(slot), .. }, Answer::Status(status)) => {
                render::worker_block(status, *slot)
            }
            (
                Wanted::Stop | Wanted::UpgradeDaemon { .. } | Wanted::Ctrl { .. } | Wanted::Reopen { .. },
                Answer::Done(done),
            ) => render::done(done),
            (
                Wanted::List
                | Wanted::Status
                | Wanted::GroupStatus { .. }
                | Wanted::Stop
                | Wanted::UpgradeDaemon { .. }
                | Wanted::Reopen { .. }
                | Wanted::Ctrl { .. },
                Answer::Names(_) | Answer::Status(_) | Answer::Done(_) | Answer::Lines(_) | Answer::Piece(_),
            ) => {
                self.complain(&trouble::wrong_answer());
                return code::FAILED;
            }
        };
        if let Answer::Status(status) = answer {
            self.complain(&render::warnings(status));
            // On a terminal that stands below the group.
            if errand.wanted != Wanted::Status || self.width.is_none() {
                self.complain(&counts::warnings(status));
            }
            if errand.verbose {
                return self.say(&(text + &counts::all(status)), code);
            }
        }
        self.say(&text, code)
    }

    /// Prints to stdout. Nobody reading (`| head`) is no failure; a full disk is.
    fn say(&mut self, text: &str, code: u8) -> u8 {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => code,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
            Err(error) => {
                self.complain(&format!("firestarter: write to stdout: {error}\n"));
                code.max(code::FAILED)
            }
        }
    }

    /// Prints to stderr; if that does not work there is nobody left to tell.
    fn complain(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }
}

/// What came of an order that did not go well, in words for people.
pub(crate) fn words(call: &Call, outcome: &Outcome) -> String {
    let text = match (call, outcome) {
        (_, Outcome::Answer(_)) => String::new(),
        (Call::Do(order) | Call::Begin(order) | Call::Follow(order), Outcome::Problem(problem)) => {
            trouble::problem(&Wanted::of(order), problem)
        }
        (Call::Ask(_), Outcome::Problem(problem)) => trouble::problem(&Wanted::Status, problem),
        (Call::Reopen { group }, Outcome::Problem(problem)) => {
            trouble::problem(&Wanted::Reopen { group: group.clone() }, problem)
        }
        (_, Outcome::Other { code: _, message, machine }) => trouble::other(message, machine),
    };
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{self, Done, Problem, Question, Trouble, What};
    use firestarter_core::command::Verb;
    use firestarter_core::ids::{Pid, Slot};
    use firestarter_core::spec::Signal;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    const WIDE: Option<usize> = Some(200);

    /// What a command printed, and its code.
    struct Printed {
        out: String,
        err: String,
        code: u8,
        asked: Call,
    }

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("firestarter-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).expect("a new folder");
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn errand(line: &str) -> Errand {
        let parsed = args::parse(line.split(' ').map(OsString::from));
        let Ok(Invocation::Errand(errand)) = parsed else { panic!("{line}: no errand") };
        errand
    }

    /// Runs the command against a daemon that replies `outcome`.
    fn run_onto(line: &str, outcome: Outcome, width: Option<usize>, out: &mut dyn Write) -> (u8, String, Call) {
        let folder = Folder::new();
        let path = folder.0.join("s");
        let listener = UnixListener::bind(&path).expect("bind");
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).expect("a request");
            let request = api::parse(request.as_bytes()).expect("a valid request");
            stream.write_all(api::reply_line(&request.id, &outcome).as_bytes()).expect("write");
            request.call
        });
        let mut err = Vec::new();
        let code = Page { out, err: &mut err, width, terminal: None }.run(&errand(line), &path);
        (code, String::from_utf8(err).expect("UTF-8"), daemon.join().expect("no panic"))
    }

    fn run(line: &str, outcome: Outcome, width: Option<usize>) -> Printed {
        let mut out = Vec::new();
        let (code, err, asked) = run_onto(line, outcome, width, &mut out);
        Printed { out: String::from_utf8(out).expect("UTF-8"), err, code, asked }
    }

    fn killed() -> Outcome {
        let what = What::Killed { pids: vec![Pid(5)] };
        Outcome::Answer(Answer::Done(Done { group: Some("web".into()), what }))
    }

    fn trouble(trouble: Trouble) -> Outcome {
        Outcome::Problem(Problem { group: Some("web".into()), trouble })
    }

    #[test]
    fn an_order_with_and_without_its_first_line() {
        let printed = run("ctrl web killall", killed(), None);
        assert_eq!(printed.out, "send ctrl command [killall] to [web] worker\nkill processes pid [5]\n");
        assert_eq!((printed.err.as_str(), printed.code), ("", code::DONE));
        let verb = Verb::Killall;
        assert_eq!(printed.asked, Call::Do(Order::Group { group: "web".into(), verb, signal: None, slot: None }));
        assert_eq!(run("ctrl web killall -q", killed(), None).out, "kill processes pid [5]\n");
    }

    #[test]
    fn the_status_of_one_group_as_the_original_prints_it() {
        let status = api::status_example().only("web").expect("there is one");
        let printed = run("ctrl web status", Outcome::status(status), WIDE);
        let want = "send ctrl command [status] to [web] worker\n[web] active\nprocesses [101, 100]\ntime 01:01:06\n";
        assert_eq!(printed.out, want);
        assert_eq!(printed.asked, Call::Ask(Question::GroupStatus { group: "web".into(), slot: None }));
    }

    #[test]
    fn status_is_a_table_on_a_terminal_and_blocks_in_a_pipe() {
        let answer = || Outcome::status(api::status_example());
        assert!(run("status", answer(), WIDE).out.starts_with("group   state"));
        assert!(run("status -q", answer(), WIDE).out.starts_with("web     upgrading"));
        assert!(run("status", answer(), None).out.starts_with("[web] active\n"));
        let narrow = run("status", answer(), Some(40)).out;
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }

    #[test]
    fn one_worker() {
        let status = api::status_example().only("web").and_then(|status| status.only_slot(Slot(1)));
        let printed = run("ctrl web/1 status", Outcome::status(status.expect("there is one")), WIDE);
        let want = "send ctrl command [status] to [web/1] worker\n[web/1] active\nprocesses [100]\ntime 01:01:06\n";
        assert_eq!(printed.out, want);
        let what = What::Signalled { signal: Signal::HUP, pids: vec![Pid(5)] };
        let signalled = Outcome::Answer(Answer::Done(Done { group: Some("web".into()), what }));
        let printed = run("ctrl web/1 signal HUP", signalled, None);
        assert_eq!(printed.out, "send ctrl command [signal] to [web/1] worker\nsend signal SIGHUP pid [5]\n");
        let (verb, signal, slot) = (Verb::Signal, Some(Signal::HUP), Some(Slot(1)));
        assert_eq!(printed.asked, Call::Do(Order::Group { group: "web".into(), verb, signal, slot }));
        let printed = run("ctrl web/9 status -q", trouble(Trouble::NoWorker { slot: Slot(9) }), None);
        assert_eq!((printed.out.as_str(), printed.code), ("", code::FAILED));
        assert!(printed.err.starts_with("firestarter: web: status refused: no worker runs in slot 9\n"));
    }

    #[test]
    fn a_beginning_is_all_that_is_waited_for() {
        let order = Order::Group { group: "web".into(), verb: Verb::Upgrade, signal: None, slot: None };
        let printed = run("ctrl web upgrade --no-wait", Outcome::begun(&order), None);
        let want = "send ctrl command [upgrade] to [web] worker\nupgrade begun; see: firestarter status\n";
        assert_eq!((printed.out.as_str(), printed.err.as_str(), printed.code), (want, "", code::DONE));
        assert_eq!(printed.asked, Call::Begin(order.clone()));
        let printed = run("ctrl web upgrade --no-wait --json", Outcome::begun(&order), None);
        assert_eq!(printed.out, "{\"done\":\"begun\",\"group\":\"web\",\"verb\":\"upgrade\"}\n");
        let printed = run("stop --no-wait", Outcome::begun(&Order::Shutdown), None);
        assert_eq!((printed.out.as_str(), printed.code), ("stop begun; see: firestarter status\n", code::DONE));
        let printed = run("ctrl web upgrade --no-wait", trouble(Trouble::NotRunning), None);
        assert_eq!(printed.code, code::FAILED);
        assert!(printed.err.contains("upgrade refused"), "{}", printed.err);
    }

    #[test]
    fn json_is_one_document_and_nothing_else() {
        let printed = run("status --json", Outcome::status(api::status_example()), WIDE);
        let value: serde_json::Value = serde_json::from_str(&printed.out).expect("JSON");
        assert_eq!(value["groups"][0]["state"], "upgrading");
        let printed = run("ctrl web inc --json", trouble(Trouble::NotRunning), None);
        let value: serde_json::Value = serde_json::from_str(&printed.out).expect("JSON");
        assert_eq!(value["data"]["code"], "not_running");
        assert_eq!((printed.err.as_str(), printed.code), ("", code::FAILED));
    }

    #[test]
    fn that_nobody_answers_is_one_document_too() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut page = Page { out: &mut out, err: &mut err, width: None, terminal: None };
        let code = page.run(&errand("ctrl web stop --json"), Path::new("/nowhere/c.sock"));
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["data"]["code"], "no_daemon");
        assert!(value["message"].as_str().is_some_and(|message| message.contains("/nowhere/c.sock")), "{value}");
        assert_eq!((err.as_slice(), code), (&b""[..], code::NO_DAEMON));
    }

    #[test]
    fn failures_go_to_stderr_with_their_code() {
        for (outcome, want) in [
            (trouble(Trouble::AtLeastOne), code::FAILED),
            (trouble(Trouble::UnknownGroup { groups: vec!["api".into()] }), code::UNKNOWN_GROUP),
            (Outcome::Other { code: -1, message: "m".into(), machine: "new".into() }, code::FAILED),
            (Outcome::names(vec![]), code::FAILED),
        ] {
            let printed = run("ctrl web dec -q", outcome, None);
            assert_eq!((printed.out.as_str(), printed.code), ("", want), "{}", printed.err);
            assert!(printed.err.starts_with("firestarter: "), "{}", printed.err);
        }
    }

    #[test]
    fn no_daemon_is_said_and_nothing_else() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut page = Page { out: &mut out, err: &mut err, width: None, terminal: None };
        assert_eq!(page.run(&errand("ctrl web stop"), Path::new("/nowhere/s")), code::NO_DAEMON);
        assert!(out.is_empty());
        assert!(String::from_utf8_lossy(&err).starts_with("firestarter: no daemon at /nowhere/s: "));
    }

    #[test]
    fn silence_ends_with_timed_out() {
        let folder = Folder::new();
        let path = folder.0.join("s");
        let _listener = UnixListener::bind(&path).expect("bind");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut page = Page { out: &mut out, err: &mut err, width: None, terminal: None };
        assert_eq!(page.run(&errand("ctrl web stop --timeout 20ms"), &path), code::TIMED_OUT);
        assert!(String::from_utf8_lossy(&err).contains("web: stop not finished within 20ms; the work goes on"));
    }

    #[test]
    fn nobody_reading_does_not_hinder_the_order_and_a_full_disk_is_told() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (code, err, asked) = run_onto("ctrl web killall", killed(), None, &mut Broken(io::ErrorKind::BrokenPipe));
        assert_eq!((code, err.as_str()), (code::DONE, ""));
        assert!(matches!(asked, Call::Do(_)));
        let (code, err, _) = run_onto("list", Outcome::names(vec![]), None, &mut Broken(io::ErrorKind::StorageFull));
        assert_eq!(code, code::FAILED);
        assert!(err.starts_with("firestarter: write to stdout: "), "{err}");
    }
}
