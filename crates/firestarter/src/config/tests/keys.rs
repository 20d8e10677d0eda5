//! Every key that is read: its default, its forms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use firestarter_core::spec::{Ack, Backoff, Restart, Share, Signal, Start, Surge};

use super::super::words::{expand, parse as words, Piece, Word};
use super::super::{Address, Form, LogFile, Output, Rotation};
use super::{parsed, web, web_fault};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn exec(line: &str) -> Vec<Word> {
    parsed(&format!("[web]\n{line}\n")).unwrap_or_else(|f| panic!("{f}")).groups.remove(0).launch.exec
}

#[test]
fn defaults() {
    let group = web("");
    assert_eq!(group.spec.name, "web");
    assert_eq!(group.spec.count.get(), 1);
    assert_eq!(group.spec.restart, Restart::None);
    assert_eq!(group.spec.backoff, Backoff { max: seconds(10), reset: seconds(10) });
    assert_eq!(group.spec.start, Start::AtOnce);
    assert_eq!(group.spec.ack, Ack::Timer(seconds(1)));
    assert_eq!(group.spec.start_timeout, seconds(300));
    assert_eq!(group.spec.ack_signal, Signal::USR2);
    assert_eq!(group.spec.drain_timeout, seconds(30));
    assert_eq!(group.spec.stop_signal, Signal::TERM);
    assert_eq!(group.spec.stop_timeout, seconds(10));
    assert_eq!((group.spec.surge, group.spec.max_unavailable), (Surge::Auto, Share::Count(0)));
    assert_eq!((group.spec.max_age, group.spec.max_memory), (None, None));
    assert_eq!(group.launch.working_directory.as_os_str(), "/srv/app");
    assert_eq!(group.launch.base_name, "FIRESTARTER");
    assert_eq!((group.launch.stdout, group.launch.stderr), (Output::PassOn(Form::Plain), Output::PassOn(Form::Plain)));
    assert!(group.launch.environments.is_empty() && group.sockets.is_empty());
}

#[test]
fn groups_keep_the_order_of_the_file() {
    let config = parsed("[z]\nexec_start='a'\n[\"a.b\"]\nexec_start='b'\n[M-1]\nexec_start='c'\n").unwrap();
    let names: Vec<_> = config.groups.iter().map(|group| group.spec.name.as_str()).collect();
    assert_eq!(names, ["z", "a.b", "M-1"]);
    assert_eq!(config.path.as_os_str(), "f.toml");
}

#[test]
fn exec_start_as_string_and_as_array() {
    let literal = |text: &str| Word(vec![Piece::Literal(text.into())]);
    assert_eq!(exec("exec_start = \"a b  c\"")[..], [literal("a"), literal("b"), literal("c")]);
    assert_eq!(
        exec("exec_start = ['a b', '$X', '', '|']")[..],
        [literal("a b"), literal("$X"), Word(vec![]), literal("|")]
    );
    assert_eq!(exec("exec_start = 'a $HOME'")[1], Word(vec![Piece::Variable("HOME".into())]));
}

#[test]
fn variables_that_a_worker_will_have() {
    web("environments = ['MINE=1']");
    exec("exec_start = 'a $MINE ${HOME} $EMPTY'\nenvironments = ['MINE=1']");
    exec("exec_start = 'a $FIRESTARTER_SOCK_PATH $FIRESTARTER_SOCK_FD $FIRESTARTER_MASTER_PID'");
    exec(
        "exec_start = 'a $FIRESTARTER_FD_0 $FIRESTARTER_FD_1 $FIRESTARTER_FD_COUNT $LISTEN_FDS \
          $LISTEN_FDNAMES'\nsocket_address = [1, 2]",
    );
}

#[test]
fn numprocesses() {
    assert_eq!(web("numprocesses = 1").spec.count.get(), 1);
    assert_eq!(web("numprocesses = 10_000").spec.count.get(), 10_000);
    assert_eq!(web("numprocesses = 0x10").spec.count.get(), 16);
}

#[test]
fn words_for_restart_and_ack() {
    assert_eq!(web("restart = 'none'").spec.restart, Restart::None);
    assert_eq!(web("restart = 'on-failure'").spec.restart, Restart::OnFailure);
    assert_eq!(web("restart = 'always'").spec.restart, Restart::Always);
    assert_eq!(web("ack = 'timer'\nack_timeout = 3").spec.ack, Ack::Timer(seconds(3)));
    assert_eq!(web("ack_timeout = 3\nack = 'manual'").spec.ack, Ack::Manual);
    assert_eq!(web("ack = 'none'").spec.ack, Ack::None);
}

#[test]
fn durations_of_every_key() {
    let spec = web("backoff_max = '1m30s'\nbackoff_reset = 0.25\nstart_timeout = 600\nstop_timeout = '500ms'\n\
         drain_timeout = '1.5h'\nack_timeout = 0")
    .spec;
    assert_eq!(spec.backoff, Backoff { max: seconds(90), reset: Duration::from_millis(250) });
    assert_eq!(spec.start_timeout, seconds(600));
    assert_eq!(spec.stop_timeout, Duration::from_millis(500));
    assert_eq!(spec.drain_timeout, seconds(5400));
    assert_eq!(spec.ack, Ack::Timer(Duration::ZERO));
    assert_eq!(web("stop_timeout = '3650d'").spec.stop_timeout, seconds(315_360_000));
    assert_eq!(web("stop_timeout = 315360000").spec.stop_timeout, seconds(315_360_000));
}

#[test]
fn signals() {
    for written in ["'SIGQUIT'", "'QUIT'", "'sigquit'", "'Quit'", "3", "'3'"] {
        assert_eq!(web(&format!("stop_signal = {written}")).spec.stop_signal, Signal::QUIT, "{written}");
        assert_eq!(web(&format!("ack_signal = {written}")).spec.ack_signal, Signal::QUIT, "{written}");
    }
    assert_eq!(web("stop_signal = 'KILL'").spec.stop_signal, Signal::KILL);
    assert_eq!(web("stop_signal = 40").spec.stop_signal.number(), 40);
}

#[test]
fn socket_addresses() {
    let tcp = |text: &str| Address::Tcp(text.parse::<SocketAddr>().unwrap());
    let unix = |text: &str| Address::Unix(PathBuf::from(text));
    let group =
        web("socket_address = ['0.0.0.0:80', '[::1]:81', '82', 83, 'tcp::84', 'tcp::10.0.0.1:85', '/run/a.sock', \
         './b.sock', 'sub/c', 'unix::d', 'UNIX::/e', 0, '0']");
    let addresses: Vec<_> = group.sockets.iter().map(|socket| socket.address.clone()).collect();
    assert_eq!(
        addresses,
        [
            tcp("0.0.0.0:80"),
            tcp("[::1]:81"),
            tcp("127.0.0.1:82"),
            tcp("127.0.0.1:83"),
            tcp("127.0.0.1:84"),
            tcp("10.0.0.1:85"),
            unix("/run/a.sock"),
            unix("/srv/app/b.sock"),
            unix("/srv/app/sub/c"),
            unix("/srv/app/d"),
            unix("/e"),
            tcp("127.0.0.1:0"),
            tcp("127.0.0.1:0"),
        ]
    );
    assert_eq!(group.sockets[3].written, "83");
    assert_eq!(group.sockets[7].written, "./b.sock");
    assert_eq!(web("socket_address = '80'").sockets[0].address, tcp("127.0.0.1:80"));
    assert_eq!(web("socket_address = 80").sockets[0].address, tcp("127.0.0.1:80"));
    let longest = format!("/{}", "x".repeat(106));
    assert_eq!(web(&format!("socket_address = '{longest}'")).sockets[0].address, unix(&longest));
    let most: Vec<String> = (1..=48).map(|port| port.to_string()).collect();
    assert_eq!(web(&format!("socket_address = [{}]", most.join(","))).sockets.len(), 48);
}

#[test]
fn start() {
    assert_eq!(web("socket_address = 80").spec.start, Start::OnConnection);
    assert_eq!(web("socket_address = 80\nstart_immediate = true").spec.start, Start::AtOnce);
    assert_eq!(web("start_immediate = false").spec.start, Start::AtOnce);
    assert_eq!(web("socket_address = []").spec.start, Start::AtOnce);
}

#[test]
fn environments() {
    let pairs = |lines: &str| web(lines).launch.environments;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(pairs("environments = ['B=1', 'A=x=y', 'C=']"), [pair("B", "1"), pair("A", "x=y"), pair("C", "")]);
    assert_eq!(pairs("environments = { B = '1', A = '' }"), [pair("B", "1"), pair("A", "")]);
    assert_eq!(pairs("[web.environments]\nB = '1'"), [pair("B", "1")]);
    assert_eq!(pairs("environments = ['FIRESTARTERS=1', 'LISTEN=1']").len(), 2);
}

#[test]
fn paths() {
    assert_eq!(web("working_directory = '/tmp'").launch.working_directory.as_os_str(), "/tmp");
    assert_eq!(web("working_directory = './a/./b/'").launch.working_directory.as_os_str(), "/srv/app/a/b");
    assert_eq!(web("working_directory = '../x'").launch.working_directory.as_os_str(), "/srv/app/../x");
    for key in ["stdout_log", "stdoutlog"] {
        assert_eq!(web(&format!("{key} = 'null'")).launch.stdout, Output::Null);
        assert_eq!(web(&format!("{key} = 'o.log'")).launch.stdout, plain("/srv/app/o.log"));
    }
    for key in ["stderr_log", "stderrlog"] {
        assert_eq!(web(&format!("{key} = '/e:1.log'")).launch.stderr, plain("/e:1.log"));
    }
}

#[test]
fn words_by_the_grammar() {
    let expanded = |text: &str| {
        let arguments = expand(&words(text).unwrap(), |name| Some(format!("<{name}>").into())).unwrap();
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(expanded(" a\tb\r\n c\n"), ["a", "b", "c"]);
    assert_eq!(expanded("a\"b c\"d"), ["ab cd"]);
    assert_eq!(expanded("a'b \"c'd"), ["ab \"cd"]);
    assert_eq!(expanded("\"it's\" '' \"\""), ["it's", "", ""]);
    assert_eq!(expanded("$A ${B}c x$D_1/e \"$F\" '${G}'"), ["<A>", "<B>c", "x<D_1>/e", "$F", "${G}"]);
    assert_eq!(expanded("$ a$ $/ $- $$A ''$A''"), ["$", "a$", "$/", "$-", "$<A>", "<A>"]);
    assert_eq!(
        expanded(r"\n # ~ * ( & {} a=b } { é$É"),
        [r"\n", "#", "~", "*", "(", "&", "{}", "a=b", "}", "{", "é$É"]
    );
    assert_eq!(expanded("'|' \"<>;\""), ["|", "<>;"]);
    assert_eq!(expanded("1 2\n3 \"\n  4\" {}"), ["1", "2", "3", "\n  4", "{}"], "the original's own test");
    assert!(words(" \n").unwrap().is_empty());
}

#[test]
fn a_variable_is_never_split_and_must_be_set() {
    let value = |name: &str| (name == "A").then(|| "x y \"z".into());
    assert_eq!(expand(&words("p -$A-").unwrap(), value).unwrap(), ["p", "-x y \"z-"]);
    assert_eq!(expand(&words("p $NO").unwrap(), value).unwrap_err().to_string(), "the variable NO is not set");
}

fn plain(path: &str) -> Output {
    Output::File(LogFile::new(path.into(), Rotation::Never))
}

#[test]
fn what_is_told_by_notify() {
    let none = web("");
    assert_eq!((none.launch.ack_by_notify, none.launch.fd_store, none.spec.fd_store), (false, 0, false));
    assert_eq!(none.spec.watchdog, None);
    let group = web("ack = 'notify'\nwatchdog_timeout = '1500ms'\nfd_store = 3");
    assert_eq!((group.spec.ack, group.launch.ack_by_notify), (Ack::Manual, true));
    assert_eq!(group.spec.watchdog, Some(Duration::from_millis(1500)));
    assert_eq!((group.launch.fd_store, group.spec.fd_store), (3, true));
    assert!(!web("ack = 'manual'").launch.ack_by_notify);
    let sockets: Vec<String> = (1..=48).map(|port| port.to_string()).collect();
    let with = |stored: u32| format!("fd_store = {stored}\nsocket_address = {sockets:?}");
    assert_eq!(web(&with(6)).launch.fd_store, 6);
    let fault = web_fault(&with(7));
    assert_eq!(fault, "3:1 fd_store: 7 descriptors and 48 sockets are more than 54 = write fd_store = 6");
    assert!(web_fault("fd_store = 49").starts_with("3:12 fd_store: expected a whole number from 0 to 48"));
}
