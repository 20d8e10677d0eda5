//! The journal for people: taken from a daemon, replayed, and what becomes of a Firestarter whose journal is damaged.

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firestarter_core::journal::Recording;
use harness::proc::{self, Sig};
use harness::superior::Superior;
use harness::{until, Fire, Folder, Said, BIN};
use serde_json::{json, Value};

const STEADY: &str = "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nrestart = 'always'\n\
                      ack_timeout = '50ms'\nack_signal = 'TERM'\n";

/// Where something that keeper and daemon share is in the keeper's memory.
fn mapped(fire: &Fire, name: &str) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/maps", fire.keeper_pid)).expect("maps");
    let path = format!("/memfd:{name} ");
    let line =
        maps.lines().find(|line| format!("{line} ").contains(&path)).unwrap_or_else(|| panic!("no {name}: {maps}"));
    u64::from_str_radix(line.split('-').next().unwrap_or_default(), 16).expect("an address")
}

/// Writes into memory that keeper and daemon share.
fn overwrite(fire: &Fire, name: &str, at: u64, with: &[u8]) {
    let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", fire.keeper_pid)).expect("mem");
    memory.write_all_at(with, mapped(fire, name) + at).expect("write to memory");
}

/// Lets the daemon that lives now die, and the next one find its journal like that.
fn next_daemon(fire: &Fire) {
    let daemon = proc::daemon(fire.keeper_pid).expect("a daemon");
    proc::signal(daemon, Sig::KILL);
    until("another daemon", || proc::daemon(fire.keeper_pid).is_some_and(|next| next != daemon));
}

/// A Firestarter whose snapshot is not what was written, whichever buffer holds it, and the pids of its two workers.
fn damaged() -> (Fire, Vec<u32>) {
    damage(Fire::start(STEADY))
}

fn damage(fire: Fire) -> (Fire, Vec<u32>) {
    let workers = fire.settled("web", 2);
    for buffer in ["firestarter-journal-a", "firestarter-journal-b"] {
        overwrite(&fire, buffer, 20, &[0xaa; 4]);
    }
    next_daemon(&fire);
    fire.hears("read journal: damaged at byte 0; nothing is started");
    (fire, workers)
}

fn take(fire: &Fire, name: &str) -> (PathBuf, Said) {
    let file = fire.folder.join(name);
    let said = fire.ctl(&["debug", "journal", "-o", file.to_str().expect("UTF-8")]);
    (file, said)
}

fn replay(fire: &Fire, file: &Path, options: &[&str]) -> Said {
    let mut command: Command = fire.folder.command(BIN);
    command.arg("replay").arg(file).args(options);
    harness::said(command)
}

/// What it ends with.
fn end(said: &Said) -> Value {
    let last: Value = serde_json::from_str(said.out.lines().last().unwrap_or_default()).expect("JSON");
    last["end"].clone()
}

#[test]
fn a_service_manager_hears_of_a_damaged_journal_and_the_daemon_is_not_taken_for_one_that_hangs() {
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let (mut fire, workers) = damage(Fire::start_with(folder, STEADY, |command| {
        command.env("NOTIFY_SOCKET", &superior.path).env("WATCHDOG_USEC", "100000");
        command.env("FIRESTARTER_TEST_PATIENCE_MS", "200");
    }));
    superior.hears("STATUS=read journal: damaged at byte 0; the workers run on");
    let daemon = proc::daemon(fire.keeper_pid);
    let well = || superior.count("WATCHDOG=1");
    let so_far = well();
    // Much longer than one that hangs would live.
    until("signs of life", || well() > so_far + 40);
    assert_eq!((proc::daemon(fire.keeper_pid), fire.stderr().contains("hangs")), (daemon, false));
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.ended();
    assert!(!workers.iter().any(|pid| proc::alive(*pid)));
    assert!(superior.count("STOPPING=1") > 0, "{:?}", superior.heard());
}

#[test]
fn a_damaged_journal_costs_no_worker_and_is_told() {
    let (fire, workers) = damaged();
    let daemon = proc::daemon(fire.keeper_pid);
    for words in [&["status"][..], &["ctrl", "web", "status"], &["ctrl", "web", "upgrade"], &["ctrl", "web", "inc"]] {
        let said = fire.ctl(words);
        assert_eq!(said.code, 1, "{said:?}");
        let told = ["damaged at byte 0", "firestarter debug journal -o FILE", "firestarter stop"];
        assert!(told.iter().all(|told| said.err.contains(told)), "{said:?}");
        assert!(workers.iter().all(|pid| said.err.contains(&format!("pid {pid}"))), "{said:?}");
    }
    let reply = fire.wire().ask("status", json!({}));
    assert_eq!(reply["error"]["data"]["code"], "journal_unreadable", "{reply}");
    assert_eq!(fire.ctl(&["list", "-q"]).out, "web\n");
    // What workers tell is taken in: none of them ever waits because nobody reads.
    let path = proc::variable(workers[0], "NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_write_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    for _ in 0..1500 {
        socket.send_to(b"WATCHDOG=1", &path).expect("send");
    }
    // Nobody takes the place of one that dies, and the daemon lives on.
    proc::signal(workers[0], Sig::KILL);
    until("a zombie", || !proc::alive(workers[0]));
    assert_eq!(fire.ctl(&["status"]).code, 1);
    assert!(proc::alive(workers[1]));
    assert_eq!((proc::daemon(fire.keeper_pid), fire.stderr().matches("the daemon died").count()), (daemon, 1));
    assert_eq!(proc::children(fire.keeper_pid).len(), 3, "the daemon and two workers, of which one is a zombie");

    let (file, said) = take(&fire, "j");
    assert_eq!(said.code, 0, "{said:?}");
    let told = replay(&fire, &file, &[]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("note: read journal: damaged at byte 0"), "{told:?}");
    assert!(told.out.contains("its snapshot: damaged at byte 0; all of it is lost"), "{told:?}");
    stopped(fire, &["stop"], &workers);
}

/// Stops one whose daemon cannot read its journal, by a command or by a signal; nothing may be left.
fn stopped(mut fire: Fire, command: &[&str], workers: &[u32]) {
    match command {
        [] => fire.signal_keeper(Sig::TERM),
        words => assert_eq!(fire.ctl(words).code, 0, "{}", fire.stderr()),
    }
    assert_eq!(fire.ended().code(), Some(1), "{}", fire.stderr());
    assert!(workers.iter().all(|pid| !proc::alive(*pid)));
    assert_eq!(fire.stderr().matches("the daemon died").count(), 1, "no other was tried: {}", fire.stderr());
    fire.nothing_left();
}

#[test]
fn a_client_that_waits_is_told_and_a_signal_stops_all() {
    let fire = Fire::start(&STEADY.replace("ack_timeout = '50ms'", "ack = 'manual'"));
    fire.wait_for("two workers", |status| harness::pids(&harness::group_of(status, "web")).len() == 2);
    let mut wire = fire.wire();
    wire.send("upgrade", json!({ "group": "web" })).expect("send");
    fire.wait_for("an upgrade", |status| {
        harness::group_of(status, "web")["workers"].as_array().map(Vec::len) == Some(4)
    });
    let status = fire.group("web");
    overwrite(&fire, "firestarter-journal", 0, &[1; 8]);
    next_daemon(&fire);
    fire.hears("read journal: the number of its last snapshot is damaged; nothing is started");
    let reply = wire.reply().expect("a reply");
    assert_eq!(reply["error"]["data"]["code"], "journal_unreadable", "{reply}");
    stopped(fire, &[], &harness::pids(&status));
}

#[test]
fn who_dies_of_the_journal_time_and_again_is_followed_by_one_that_does_not_try() {
    let fire = Fire::start(STEADY);
    let workers = fire.settled("web", 2);
    // As if five daemons had died within their replay.
    overwrite(&fire, "firestarter-header", 8 * 8, &5u64.to_ne_bytes());
    next_daemon(&fire);
    fire.hears("read journal: 5 daemons in a row died of it; nothing is started");
    let (file, said) = take(&fire, "j");
    assert_eq!(said.code, 0, "{said:?}");
    let told = replay(&fire, &file, &["--json"]);
    assert_eq!(told.code, 0, "the journal itself is whole: {told:?}");
    assert_eq!(end(&told)["faults"], json!([]));
    stopped(fire, &["stop"], &workers);
}

/// `RECORD=1` keeps this journal for the core's tests.
#[test]
fn a_journal_is_taken_and_tells_of_an_upgrade_and_a_worker_that_was_killed() {
    let fire = Fire::start(STEADY);
    let before = fire.settled("web", 2);
    assert_eq!(fire.ctl(&["ctrl", "web", "upgrade"]).code, 0);
    let after = fire.settled("web", 2);
    proc::signal(after[1], Sig::KILL);
    fire.wait_for("a respawn", |status| harness::group_of(status, "web")["restarts"] == 1);
    let now = fire.settled("web", 2);
    next_daemon(&fire);
    fire.wait_for("a daemon", |_| true);

    let (file, said) = take(&fire, "j");
    assert_eq!(said.code, 0, "{said:?}");
    let bytes = fs::read(&file).expect("the file");
    assert_eq!(said.out, format!("{} bytes written to {}\n", bytes.len(), file.display()));
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(take(&fire, "j").1.code, 1, "it is there already");
    assert_eq!(fs::read(&file).expect("the file"), bytes, "and is left as it was");

    let told = replay(&fire, &file, &[]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    for line in [
        format!("<- spawned web/0 #1 pid {}", before[0]),
        "<- request r1 upgrade web".to_owned(),
        "-> notice web generation 2 committed after".to_owned(),
        "<- exited web/1 #4 SIGKILL".to_owned(),
        format!("-> notice web/1 pid {} SIGKILL; respawn", after[1]),
        "web running 2/2 generation 2, 1 restarts, last failure SIGKILL".to_owned(),
        format!("  web/1 pid {} generation 2 ready", now[1]),
        "note: recoveries: 1".to_owned(),
    ] {
        assert!(told.out.contains(&line), "{line:?} is not in:\n{}", told.out);
    }
    let as_json = replay(&fire, &file, &["--json"]);
    assert!(as_json.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{as_json:?}");
    assert_eq!(end(&as_json)["state"][0].as_str(), told.out.lines().find(|line| line.starts_with("web running")));

    assert!(bytes.starts_with(b"firestarter journal 2\n"), "its head has a checksum");
    let (mut head, parts) = Recording::read(&bytes).expect("a recording");
    head.build.insert_str(0, "not-");
    fs::write(fire.folder.join("other"), [head.write().as_bytes(), parts].concat()).expect("write");
    let refused = replay(&fire, &fire.folder.join("other"), &[]);
    assert!(refused.code == 1 && refused.out.is_empty() && refused.err.contains("not-"), "{refused:?}");
    let at = bytes.windows(6).position(|six| six == b"taken ").expect("a time") + 6;
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(fire.folder.join("damaged"), &damaged).expect("write");
    let refused = replay(&fire, &fire.folder.join("damaged"), &[]);
    assert!(refused.code == 1 && refused.out.is_empty() && refused.err.contains("its head is not"), "{refused:?}");
    for (file, code) in [("other", "other_build"), ("damaged", "damaged")] {
        let refused = replay(&fire, &fire.folder.join(file), &["--json"]);
        let error: Value = serde_json::from_str(&refused.out).expect("one document");
        assert!(refused.code == 1 && refused.err.is_empty() && error["data"]["code"] == code, "{refused:?}");
    }
    fs::write(fire.folder.join("twice"), [&bytes[..], &bytes].concat()).expect("write");
    let twice = replay(&fire, &fire.folder.join("twice"), &[]);
    let fault = format!("!! {} bytes stand behind the end", bytes.len());
    assert!(twice.code == 1 && twice.out.contains(&fault), "{twice:?}");

    if std::env::var_os("RECORD").is_some() {
        let journals = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/journals");
        fs::write(journals.join("an_upgrade_and_a_worker_killed.journal"), &bytes).expect("write");
    }
    fire.stop();
}

#[test]
fn a_long_journal_comes_in_pieces_and_holds_what_was_before_the_last_snapshot() {
    let fire = Fire::start(STEADY);
    fire.settled("web", 2);
    // Each is journalled and refused at once. So many fill more than one buffer.
    let mut wire = fire.wire();
    for _ in 0..60 {
        for _ in 0..100 {
            wire.send("stop", json!({ "group": "web", "slot": 1 })).expect("send");
        }
        for _ in 0..100 {
            assert_eq!(wire.reply().expect("a reply")["error"]["data"]["code"], "whole_group");
        }
    }
    let (file, said) = take(&fire, "j");
    assert_eq!(said.code, 0, "{said:?}");
    let bytes = fs::read(&file).expect("the file");
    let head = String::from_utf8_lossy(&bytes[..200]).into_owned();
    let older = head.lines().find_map(|line| line.strip_prefix("older ")).expect("its length");
    assert!(older.parse::<usize>().expect("a number") > 64 << 10, "{head}");
    let told = replay(&fire, &file, &["--json"]);
    assert_eq!(told.code, 0, "{:?}", end(&told));
    assert!(end(&told)["events"].as_u64() > Some(2000), "{:?}", end(&told));
    fire.stop();
}

#[test]
fn without_a_daemon_or_a_journal_it_is_said_what_is_missing() {
    let folder = harness::Folder::new();
    let run = |words: &[&str]| {
        let mut command = folder.command(BIN);
        command.args(words);
        harness::said(command)
    };
    let said = run(&["debug", "journal", "-o", "j", "-d", "nobody"]);
    assert_eq!((said.code, folder.join("j").exists()), (3, false), "{said:?}");
    for (words, told) in [
        (&["debug"][..], "there is: firestarter debug journal"),
        (&["debug", "journal"], "-o FILE is missing"),
        (&["replay"], "FILE is missing"),
    ] {
        let said = run(words);
        assert!(said.code == 2 && said.err.contains(told), "{said:?}");
    }
    folder.write("text", "no journal\n");
    let said = run(&["replay", "text"]);
    assert!(said.code == 1 && said.err.contains("read text: does not begin with"), "{said:?}");
    let said = run(&["replay", "nothing"]);
    assert!(said.code == 1 && said.err.contains("read nothing: no such file"), "{said:?}");
    for (file, code, told) in
        [("text", "no_recording", "read text: does not begin"), ("nothing", "io", "read nothing: ")]
    {
        let said = run(&["replay", file, "--json"]);
        let error: Value = serde_json::from_str(&said.out).expect("one document");
        assert_eq!((said.code, said.err.as_str(), &error["data"]["code"]), (1, "", &json!(code)), "{said:?}");
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with(told)), "{said:?}");
    }
}
