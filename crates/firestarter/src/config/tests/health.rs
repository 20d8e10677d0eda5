//! `health` and the acks that ask by it: what they give, and each fault with its place and advice.

use std::time::Duration;

use firestarter_core::spec::{Ack, ProbeBy};

use super::super::endpoint::{address, url, Endpoint, EndpointFault};
use super::super::words::{Piece, Word};
use super::super::Health;
use super::{faults, web, web_fault};

const SLOT: &str = "health = { url = 'http://127.0.0.1:800$FIRESTARTER_SLOT/h' ";

fn with(rest: &str) -> String {
    format!("ack = 'http'\n{SLOT}{rest}}}")
}

#[test]
fn each_kind_is_asked_by_its_own_key() {
    let http = web(&with(""));
    let word = Word(vec![
        Piece::Literal("http://127.0.0.1:800".into()),
        Piece::Variable("FIRESTARTER_SLOT".into()),
        Piece::Literal("/h".into()),
    ]);
    assert_eq!(http.launch.health, Some(Health::Http { url: word, good: (200, 399) }));
    let probe = http.spec.probe.expect("a probe");
    assert_eq!((http.spec.ack, probe.by, probe.liveness), (Ack::Probe, ProbeBy::Connection, false));
    assert_eq!((probe.interval, probe.timeout), (Duration::from_secs(1), Duration::from_secs(3)));
    assert_eq!((probe.healthy_after.get(), probe.unhealthy_after.get()), (1, 3));
    let tcp = web("ack = 'tcp'\nhealth = { address = 'unix:/run/${FIRESTARTER_WORKER_PID}.sock' }");
    assert!(matches!(tcp.launch.health, Some(Health::Tcp(_))) && tcp.spec.ack == Ack::Probe);
    let exec =
        web("ack = 'exec'\nhealth = { command = 'ask $FIRESTARTER_SLOT $MAINPID $HOME $FIRESTARTER_SOCK_PATH' }");
    assert!(matches!(&exec.launch.health, Some(Health::Command(words)) if words.len() == 5));
    assert_eq!(exec.spec.probe.map(|probe| probe.by), Some(ProbeBy::Command));
}

#[test]
fn numbers_and_liveness() {
    let group = web(&with(", interval = '200ms', timeout = 2, healthy_after = 2, unhealthy_after = 5, status = 204"));
    let probe = group.spec.probe.expect("a probe");
    assert_eq!((probe.interval, probe.timeout), (Duration::from_millis(200), Duration::from_secs(2)));
    assert_eq!((probe.healthy_after.get(), probe.unhealthy_after.get()), (2, 5));
    assert!(matches!(group.launch.health, Some(Health::Http { good: (204, 204), .. })));
    let group = web(&with(", status = '200-299'"));
    assert!(matches!(group.launch.health, Some(Health::Http { good: (200, 299), .. })));
    for ack in ["timer", "manual", "none"] {
        let group = web(&format!("ack = '{ack}'\n[web.health]\ncommand = 'ask'\nliveness = true"));
        assert!(group.spec.probe.is_some_and(|probe| probe.liveness) && group.spec.ack != Ack::Probe, "{ack}");
    }
    // One worker, asked whether it still serves: nobody else could answer in its place for long.
    web("health = { address = 'localhost:80', liveness = true }");
    web("environment_base_name = 'X'\nack = 'tcp'\nhealth = { address = 'unix:$X_SLOT' }");
}

#[test]
fn contradictions() {
    for (lines, fault) in [
        (
            "ack = 'http'",
            "3:1 ack = \"http\" asks by health.url, and there is no health = write health = { url = \
             \"http://127.0.0.1:800$FIRESTARTER_SLOT/\" }",
        ),
        (
            "ack = 'tcp'\nhealth = { command = 'a' }",
            "4:22 health: ack = \"tcp\" asks by health.address, which is not there = write address in it, or ack = \
             \"exec\"",
        ),
        (
            "health = { command = 'a' }",
            "3:1 health: nobody asks, as ack is another one and liveness is not set = write ack = \"http\", \"tcp\" or \
             \"exec\", or liveness = true in it",
        ),
        (
            "ack = 'exec'\nhealth = { command = 'a', url = 'http://1.2.3.4' }",
            "4:27 health.url: health.command is there already = a worker is asked in one way: remove one of them",
        ),
        ("ack = 'exec'\nhealth = { interval = 2 }", "4:10 health: it says nobody whom to ask = write url, address or command in it"),
        ("ack = 'exec'\nhealth = 3", "4:10 health: expected a table, found 3 = write health = { url = \"http://127.0.0.1:800$FIRESTARTER_SLOT/\" }"),
        ("liveness = true", "3:1 unknown key \"liveness\" = write it in health = { liveness = … }"),
        ("ack = 'exec'\nhealth = { command = 'a', intervall = 2 }", "4:27 health: unknown key \"intervall\" = did you mean interval?"),
        (
            "ack = 'tcp'\nsocket_address = 80\nhealth = { address = '127.0.0.1:80' }",
            "5:22 health: at an address that workers share a probe cannot choose which answers = let each listen at one \
             of its own and put $FIRESTARTER_SLOT in it, or ask by command, which knows its worker",
        ),
        (
            "numprocesses = 2\nhealth = { address = '127.0.0.1:80', liveness = true }",
            "4:22 health: at an address that workers share a probe cannot choose which answers = let each listen at one \
             of its own and put $FIRESTARTER_SLOT in it, or ask by command, which knows its worker",
        ),
        (
            "ack = 'exec'\nhealth = { command = 'a', status = 200 }",
            "4:27 health.status: only an answer over HTTP has one = remove it, or write a url",
        ),
        (
            "ack = 'exec'\nhealth = { command = 'a', timeout = 0 }",
            "4:37 health.timeout: expected a duration above 0, found 0 = no worker could answer",
        ),
    ] {
        assert_eq!(web_fault(lines), fault, "{lines}");
    }
}

#[test]
fn addresses_that_cannot_be_asked() {
    let of_url = |url: &str| web_fault(&format!("ack = 'http'\nhealth = {{ url = '{url}' }}"));
    assert_eq!(
        of_url("https://127.0.0.1:800$FIRESTARTER_SLOT/"),
        "4:18 health: \"https://127.0.0.1:8000/\" (of slot 0): https is not spoken = write http://, or ask by command, \
         such as curl"
    );
    assert!(of_url("http://web:800$FIRESTARTER_SLOT/").contains("the name web is not looked up = write the address"));
    assert!(of_url("http://127.0.0.1/a b$FIRESTARTER_SLOT").contains("health.url: a blank cannot stand in it"));
    assert!(of_url("http://127.0.0.1:80$NOBODY$FIRESTARTER_SLOT").contains("the variable NOBODY is not set"));
    let many = faults(
        "[web]\nexec_start = 'a'\nnumprocesses = 11\nack = 'tcp'\nhealth = { address = '[::1]:800$FIRESTARTER_SLOT' }\n",
    );
    assert_eq!(many.len(), 1, "{many:?}");
    assert!(many[0].contains("\"[::1]:80010\" (of slot 10): port 80010 is not from 1 to 65535"), "{many:?}");
}

#[test]
fn endpoints() {
    let internet = |text: &str| Endpoint::Internet(text.parse().expect("an address"));
    assert_eq!(address("localhost:80"), Ok(internet("127.0.0.1:80")));
    assert_eq!(address("[::1]:80"), Ok(internet("[::1]:80")));
    assert_eq!(address("unix:a.sock"), Ok(Endpoint::Unix("a.sock".into())));
    assert_eq!(address("80"), Err(EndpointFault::NoAddress));
    assert_eq!(address("::1:80"), Err(EndpointFault::NoAddress));
    assert_eq!(address("1.2.3.4:0"), Err(EndpointFault::Port("0".into())));
    assert_eq!(address("unix:"), Err(EndpointFault::Length(0)));
    let parts = |text: &str| url(text).map(|found| (found.endpoint, found.host, found.path));
    let found = |endpoint, host: &str, path: &str| Ok((endpoint, host.to_owned(), path.to_owned()));
    assert_eq!(parts("http://1.2.3.4"), found(internet("1.2.3.4:80"), "1.2.3.4", "/"));
    assert_eq!(parts("HTTP://[::1]:9?a=b#c"), found(internet("[::1]:9"), "[::1]:9", "/?a=b"));
    assert_eq!(parts("unix:/a.sock:/h?x"), found(Endpoint::Unix("/a.sock".into()), "localhost", "/h?x"));
    assert_eq!(parts("http://unix:b.sock"), found(Endpoint::Unix("b.sock".into()), "localhost", "/"));
    assert_eq!(url("http://1.2.3.4/\r\nX: y"), Err(EndpointFault::Blank));
    assert_eq!(url("1.2.3.4:80/h"), Err(EndpointFault::NoUrl));
    assert_eq!(url(""), Err(EndpointFault::NoUrl));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text in ".{0,60}", end in "[ -~]{0,30}") {
        let _ = (address(&text), url(&text));
        if let Ok(found) = url(&format!("http://127.0.0.1:80{end}")) {
            proptest::prop_assert!(found.path.starts_with('/') && !found.path.contains([' ', '\r', '\n']));
        }
    }
}
