//! `auto_upgrade`: a group follows its program's file. That something is no change is shown by another group that
//! follows a later change first.

mod harness;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{group_of, number, until, Fire, Folder};

const PROGRAM: &str = "#!/bin/sh\nexec sleep 1000\n";

/// A release: a folder with a program.
fn release(folder: &Folder, name: &str, program: &str) {
    fs::create_dir_all(folder.join(name)).expect("a folder");
    folder.script(&format!("{name}/server"), program);
}

/// Another program takes the place of the one that is there.
fn replace(folder: &Folder, path: &str, program: &str) {
    let fresh = folder.script("fresh", program);
    fs::rename(fresh, folder.join(path)).expect("rename");
}

fn switch(folder: &Folder, link: &str, target: &str) {
    let fresh: PathBuf = folder.join("fresh");
    std::os::unix::fs::symlink(target, &fresh).expect("a link");
    fs::rename(fresh, folder.join(link)).expect("rename");
}

/// A group that follows the program in its folder of the same name.
fn following(name: &str) -> String {
    format!(
        "[{name}]\nexec_start = ['@DIR@/{name}/server']\nauto_upgrade = true\nack_timeout = '300ms'\n\
         restart = 'always'\n"
    )
}

fn start(groups: &[&str]) -> Fire {
    let folder = Folder::new();
    groups.iter().for_each(|name| release(&folder, name, PROGRAM));
    let fire = Fire::start_in(folder, &groups.iter().map(|name| following(name)).collect::<String>());
    groups.iter().for_each(|name| drop(fire.settled(name, 1)));
    fire
}

/// Waits for this generation of a group to serve alone; its workers.
fn generation(fire: &Fire, name: &str, wanted: u32) -> Vec<u32> {
    fire.wait_for(&format!("generation {wanted} of {name}"), |status| {
        let group = group_of(status, name);
        number(&group["generation"]) == wanted && group["rollout"].is_null()
    });
    fire.settled(name, 1)
}

/// The daemon's threads of this name, and its descriptors of this kind.
fn watching(fire: &Fire) -> (usize, usize) {
    let daemon = fire.daemon();
    let tasks = fs::read_dir(format!("/proc/{daemon}/task")).expect("its threads");
    let named = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let threads = tasks.flatten().map(named).filter(|name| name.trim() == "programs").count();
    let watches = proc::descriptors(daemon).into_iter().filter(|(_, what)| what.contains("inotify")).count();
    (threads, watches)
}

#[test]
fn a_program_that_changes_is_followed() {
    let fire = start(&["web"]);
    let before = fire.settled("web", 1);
    replace(&fire.folder, "web/server", PROGRAM);
    let after = generation(&fire, "web", 2);
    assert_ne!(before, after);
    fire.hears("web: its program has changed");
    fs::write(fire.folder.join("web/server"), format!("{PROGRAM}# in place\n")).expect("write");
    generation(&fire, "web", 3);
    fire.stop();
}

#[test]
fn a_link_that_is_switched_is_followed_under_load_without_a_loss() {
    let folder = Folder::new();
    for name in ["1", "2", "3"] {
        fs::create_dir(folder.join(name)).expect("a folder");
        fs::copy(harness::worker(), folder.join(&format!("{name}/server"))).expect("copy");
    }
    std::os::unix::fs::symlink("1", folder.join("current")).expect("a link");
    let toml = "[web]\nexec_start = ['@DIR@/current/server', 'serve', 'path']\nauto_upgrade = true\nack = 'manual'\n\
                socket_address = ['127.0.0.1:0']\nstart_immediate = true\n";
    let fire = Fire::start_in(folder, toml);
    let mut before = fire.settled("web", 1);
    let address = fire.group("web")["listeners"][0]["address"].as_str().and_then(|text| text.parse().ok());
    let load = Load::start(address.expect("an address"), 2, plain);
    for (target, number) in [("2", 2), ("3", 3), ("1", 4)] {
        load.goes_on(20);
        switch(&fire.folder, "current", target);
        let after = generation(&fire, "web", number);
        let program = fs::read_link(format!("/proc/{}/exe", after[0])).expect("a program");
        assert_eq!(program, fire.folder.join(target).join("server"));
        assert_ne!(before, after);
        before = after;
    }
    load.stop();
    fire.stop();
}

#[test]
fn a_program_that_fails_is_tried_once_and_the_next_is_followed() {
    let fire = start(&["web", "other"]);
    let before = fire.settled("web", 1);
    replace(&fire.folder, "web/server", "#!/bin/sh\necho tried >>tried\nexit 7\n");
    fire.hears("aborted");
    replace(&fire.folder, "other/server", PROGRAM);
    generation(&fire, "other", 2);
    assert_eq!(fire.folder.read("tried"), "tried\n");
    assert_eq!(fire.settled("web", 1), before, "the old serve on");
    replace(&fire.folder, "web/server", PROGRAM);
    until("the next program", || fire.settled("web", 1) != before);
    fire.stop();
}

#[test]
fn a_change_that_a_dead_daemon_has_missed_is_followed_by_the_next() {
    let fire = start(&["web"]);
    let (before, daemon) = (fire.settled("web", 1), fire.daemon());
    proc::signal(daemon, Sig::STOP);
    until("it stands still", || proc::status(daemon, "State").starts_with('T'));
    replace(&fire.folder, "web/server", PROGRAM);
    proc::signal(daemon, Sig::KILL);
    assert_ne!(generation(&fire, "web", 2), before);
    // And a daemon that dies without a change begins no upgrade.
    let (before, daemon) = (fire.settled("web", 1), fire.daemon());
    proc::signal(daemon, Sig::KILL);
    until("the next daemon", || proc::daemon(fire.keeper_pid).is_some_and(|next| next != daemon));
    // What the dead one had opened is closed.
    until("one thread that watches, and one descriptor", || watching(&fire) == (1, 1));
    replace(&fire.folder, "web/server", PROGRAM);
    assert_ne!(generation(&fire, "web", 3), before);
    fire.stop();
}

#[test]
fn an_upgrade_by_command_takes_the_new_program_and_no_second_one_follows() {
    let fire = start(&["web", "other"]);
    replace(&fire.folder, "web/server", PROGRAM);
    fire.order("web", "upgrade");
    replace(&fire.folder, "other/server", PROGRAM);
    generation(&fire, "other", 2);
    assert_eq!(number(&fire.group("web")["generation"]), 2);
    fire.stop();
}

#[test]
fn a_stopped_group_stays_stopped_and_starts_with_what_is_there() {
    let fire = start(&["web", "other"]);
    fire.order("web", "stop");
    replace(&fire.folder, "web/server", PROGRAM);
    replace(&fire.folder, "other/server", PROGRAM);
    generation(&fire, "other", 2);
    assert_eq!(fire.group("web")["state"], "stopped");
    fire.order("web", "start");
    let started = fire.settled("web", 1);
    replace(&fire.folder, "other/server", PROGRAM);
    generation(&fire, "other", 3);
    assert_eq!(fire.settled("web", 1), started, "what it was started with is no change");
    replace(&fire.folder, "web/server", PROGRAM);
    until("an upgrade", || fire.settled("web", 1) != started);
    fire.stop();
}

#[test]
fn without_it_nothing_is_watched() {
    let folder = Folder::new();
    ["web", "other"].iter().for_each(|name| release(&folder, name, PROGRAM));
    let fire = Fire::start_in(folder, &following("web").replace("auto_upgrade = true", "auto_upgrade = false"));
    fire.settled("web", 1);
    assert_eq!(watching(&fire), (0, 0));
    let fire = start(&["web"]);
    assert_eq!(watching(&fire), (1, 1));
}

#[test]
fn an_upgrader_that_replaces_the_program_does_not_loop() {
    let folder = Folder::new();
    folder.script("server", PROGRAM);
    let upgrader = folder
        .script("upgrader", "#!/bin/sh\ncp server next && mv next server && echo run >> runs\nexit $(cat verdict)\n");
    folder.write("verdict", "0");
    let config = format!(
        "[web]\nexec_start = '@DIR@/server'\nauto_upgrade = true\nack_timeout = '10ms'\nupgrader = '{}'\n",
        upgrader.display()
    );
    let fire = Fire::start_in(folder, &config);
    fire.settled("web", 1);
    let runs = || fire.folder.read("runs").lines().count();
    fire.order("web", "upgrade");
    // Longer than a change takes to settle.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((runs(), number(&fire.group("web")["generation"])), (1, 2), "{}", fire.stderr());
    fire.folder.write("verdict", "1");
    assert_eq!(fire.ctl(&["ctrl", "web", "upgrade"]).code, 1);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((runs(), number(&fire.group("web")["generation"])), (2, 2), "nor when it fails: {}", fire.stderr());
    // A change by somebody else is followed still, by way of the upgrader.
    fire.folder.write("verdict", "0");
    replace(&fire.folder, "server", PROGRAM);
    generation(&fire, "web", 3);
    assert_eq!(runs(), 3);
    fire.stop();
}
