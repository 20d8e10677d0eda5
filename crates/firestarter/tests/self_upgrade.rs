//! Firestarter replaced by another version of itself, under load: no worker, no connection and no line notices, and a
//! program that cannot take over costs nothing.

mod harness;

use std::path::PathBuf;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{until, Fire, Folder, BIN};

const WEB: &str =
    "[web]\nexec_start = ['@WORKER@', 'serve', 'path']\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\n\
                   numprocesses = 3\nrestart = 'always'\nack = 'manual'\n\
                   [talk]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $$ $i; i=$((i+1)); sleep 0.002; done']\n\
                   stdout_log = 'size:100000000:1:@DIR@/log'\n";

/// A copy of the program, as a new version would be.
fn another(fire: &Fire, name: &str) -> PathBuf {
    let path = fire.folder.join(name);
    std::fs::copy(BIN, &path).expect("a copy of the program");
    path
}

fn load(fire: &Fire) -> Load {
    let address = fire.group("web")["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok());
    let load = Load::start(address.expect("an address"), 3, plain);
    load.goes_on(20);
    load
}

/// What the talking worker wrote is there, each line once.
fn nothing_missing(fire: &Fire) {
    let text = fire.folder.read("log");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut next = 0;
    for line in whole.lines() {
        let number: u32 =
            line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(number, next, "a line is missing, or there twice");
        next += 1;
    }
    assert!(next > 0);
}

fn upgrade(fire: &Fire, binary: &str) -> harness::Said {
    fire.ctl(&["upgrade-daemon", "--binary", binary])
}

#[test]
fn twenty_upgrades_in_a_row_lose_nothing() {
    let fire = Fire::start(WEB);
    let (workers, talker) = (fire.settled("web", 3), fire.settled("talk", 1));
    let load = load(&fire);
    let names = ["one", "two"];
    names.iter().for_each(|name| drop(another(&fire, name)));
    let mut flat = Vec::new();
    for nth in 0..20 {
        let daemon = fire.daemon();
        let said = upgrade(&fire, names[nth % 2]);
        assert_eq!(said.code, 0, "{said:?}\n{}", fire.stderr());
        assert!(said.out.starts_with("replaced "), "{said:?}");
        assert_eq!(fire.program(), fire.folder.join(names[nth % 2]));
        assert!(!proc::alive(daemon) && fire.daemon() != daemon);
        load.goes_on(10);
        until("a writer", || proc::writer(fire.keeper_pid).is_some());
        if nth >= 4 {
            flat.push(proc::descriptors(fire.keeper_pid).len());
        }
    }
    assert!(load.stop() >= 200);
    assert_eq!((fire.settled("web", 3), fire.settled("talk", 1)), (workers, talker), "a worker noticed");
    let (least, most) = (flat.iter().min().expect("some"), flat.iter().max().expect("some"));
    assert!(most - least <= 8, "descriptors grow: {flat:?}");
    fire.order("web", "upgrade");
    proc::signal(fire.daemon(), Sig::KILL);
    fire.settled("web", 3);
    let lines = || fire.folder.read("log").lines().count();
    let before = lines();
    until("more lines", || lines() > before + 10);
    nothing_missing(&fire);
    fire.stop();
}

#[test]
fn what_cannot_take_over_is_refused_and_touches_nothing() {
    let fire = Fire::start(WEB);
    let (workers, before) = (fire.settled("web", 3), fire.program());
    let daemon = fire.daemon();
    fire.folder.write("plain", "#!/bin/sh\n");
    fire.folder.script("script", "#!/bin/sh\necho firestarter 9 takes over\n");
    fire.folder.script("broken", "\x7fELF and nothing else");
    for (binary, reason) in [
        ("none", "/none: no such file or directory"),
        ("plain", "/plain: not executable"),
        (".", ": no file"),
        ("/bin/true", "it is no Firestarter that could take over (exit status: 0)"),
        ("/bin/cat", "it cannot take over: firestarter: check-handover: "),
        ("script", "/script: no program that can be executed in the keeper's place (a script?)"),
        ("broken", "it cannot be executed: "),
    ] {
        let said = upgrade(&fire, binary);
        assert_eq!(said.code, 1, "{binary}: {said:?}");
        assert!(said.err.contains(reason), "{binary}: {said:?}");
    }
    assert_eq!((fire.settled("web", 3), fire.program(), fire.daemon()), (workers, before, daemon));
    fire.stop();
}

#[test]
fn a_program_that_does_not_get_to_work_gives_the_place_back() {
    for (fault, reason) in [
        ("execute", "it cannot be executed: exec format error"),
        ("refused", "it could not take over after all"),
        ("died", "its daemons died before they were at work"),
        ("late", "its daemon was not at work in time"),
    ] {
        let folder = Folder::new();
        let mut command = harness::run_command(&folder, WEB);
        let fire = Fire::watch(folder, command.env("FIRESTARTER_HANDOVER_FAULT", fault).spawn().expect("start"));
        let (workers, before) = (fire.settled("web", 3), fire.program());
        let load = load(&fire);
        let new = another(&fire, "new");
        let said = upgrade(&fire, new.to_str().expect("UTF-8"));
        assert_eq!(said.code, 1, "{fault}: {said:?}\n{}", fire.stderr());
        assert!(said.err.contains(reason), "{fault}: {said:?}");
        load.goes_on(20);
        load.stop();
        assert_eq!((fire.settled("web", 3), fire.program()), (workers, before), "{fault}");
        fire.order("web", "upgrade");
        nothing_missing(&fire);
        if fault == "died" {
            // What the next one replaces is this one again, and not what was on trial.
            fire.ctl(&["upgrade-daemon"]);
            fire.hears(&format!("asking {BIN}"));
        }
        fire.stop();
    }
}

#[test]
fn the_signal_takes_what_is_at_the_place_of_the_program_now() {
    let folder = Folder::new();
    let path = folder.join("fire");
    std::fs::copy(BIN, &path).expect("a copy");
    let mut command = harness::run_command_of(&path, &folder, WEB);
    let fire = Fire::watch(folder, command.spawn().expect("start"));
    let workers = fire.settled("web", 3);
    // As a package manager does it: another file under the name.
    std::fs::copy(BIN, fire.folder.join("fresh")).expect("a copy");
    std::fs::rename(fire.folder.join("fresh"), &path).expect("rename");
    assert!(fire.program().to_string_lossy().ends_with("(deleted)"));
    fire.signal_keeper(Sig::USR2);
    until("the new program", || fire.program() == path);
    until("its word", || fire.stderr().contains(" took the place of "));
    assert_eq!(fire.settled("web", 3), workers);
    fire.stop();
}

#[test]
fn a_daemon_killed_over_it_is_no_end_of_it() {
    let folder = Folder::new();
    let mut command = harness::run_command(&folder, WEB);
    let fire = Fire::watch(folder, command.env("FIRESTARTER_HANDOVER_FAULT", "slow").spawn().expect("start"));
    let workers = fire.settled("web", 3);
    let (asked, new) = (fire.folder.join("asked"), another(&fire, "new"));
    let client = fire.begin(&["upgrade-daemon", "--binary", new.to_str().expect("UTF-8")]);
    until("the question", || asked.exists());
    proc::signal(fire.daemon(), Sig::KILL);
    // The next daemon finds the request in the socket, and asks again.
    fire.wait_for_lines("whether it could take over", 2);
    fire.folder.write("go", "");
    let said = harness::finish(client);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((fire.settled("web", 3), fire.program()), (workers, new));
    fire.stop();
}

#[test]
fn workers_learn_nothing_of_it() {
    let fire = Fire::start("[web]\nexec_start = ['sh', '-c', 'env > env.$$; exec sleep 1000']\nrestart = 'always'\n");
    fire.settled("web", 1);
    let new = another(&fire, "new");
    assert_eq!(upgrade(&fire, new.to_str().expect("UTF-8")).code, 0);
    fire.order("web", "restart");
    let pid = fire.settled("web", 1)[0];
    until("its environment", || fire.folder.read(&format!("env.{pid}")).contains("FIRESTARTER"));
    let text = fire.folder.read(&format!("env.{pid}"));
    assert!(!text.contains("HANDOVER"), "{text}");
    let open: Vec<_> = proc::descriptors(pid).into_iter().filter(|(number, _)| *number > 2).collect();
    let leaked: Vec<_> =
        open.iter().filter(|(_, what)| what.contains("memfd:") || what.contains("anon_inode")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    fire.stop();
}
