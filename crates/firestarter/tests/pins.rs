//! What a generation runs is held fast: respawns in the middle of a bad upgrade and rollbacks start the program that
//! served, whatever is under its path by then, and over the death of the daemon.

mod harness;

use std::fs;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::Path;

use harness::proc::{self, Sig};
use harness::{group_of, pids, until, Fire, Folder};

const KEYS: &str = "restart = 'always'\nack_timeout = '50ms'\nbackoff_max = '20ms'\nbackoff_reset = '1ms'\n";

/// A program of its own: a copy of one of the system's, renamed to its place as a deployment does.
fn deploy(folder: &Folder, program: &str, name: &str) -> u64 {
    let fresh = folder.join("fresh");
    fs::copy(program, &fresh).expect("copy a program");
    let number = fs::metadata(&fresh).expect("its inode").ino();
    fs::rename(&fresh, folder.join(name)).expect("rename");
    number
}

/// The inode of what a process runs.
fn runs(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |program| program.ino())
}

fn cwd(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/cwd")).map_or_else(|_| String::new(), |path| path.display().to_string())
}

/// Kills the only worker; its successor.
fn respawned(fire: &Fire) -> u32 {
    let before = fire.settled("web", 1)[0];
    proc::signal(before, Sig::KILL);
    fire.wait_for("a successor", |status| !pids(&group_of(status, "web")).contains(&before));
    fire.settled("web", 1)[0]
}

fn kill_daemon(fire: &Fire) {
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("another daemon", |status| harness::number(&status["daemon_pid"]) != daemon);
}

fn fails(fire: &Fire, verb: &str) -> String {
    let said = fire.ctl(&["ctrl", "web", verb]);
    assert_eq!(said.code, 1, "{said:?}");
    said.err
}

/// The descriptors of the shared table that stand for a file only.
fn held(fire: &Fire) -> usize {
    proc::standing_for_files(fire.keeper_pid)
}

#[test]
fn a_program_that_was_replaced_is_run_on_until_an_upgrade_has_served() {
    let folder = Folder::new();
    let old = deploy(&folder, "/bin/sleep", "server");
    let fire = Fire::start_in(folder, &format!("[web]\nexec_start = ['@DIR@/server', '1000']\n{KEYS}"));
    let first = fire.settled("web", 1)[0];
    let descriptors = proc::descriptors(first).iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let arguments = proc::arguments(first);
    let bad = deploy(&fire.folder, "/bin/false", "server");
    assert!(fails(&fire, "upgrade").contains("exit code 1"));
    let again = respawned(&fire);
    assert_eq!(runs(again), old, "a respawn after the abort ({bad} is the bad one)");
    assert_eq!(proc::arguments(again), arguments);
    let now = proc::descriptors(again).iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(now, descriptors, "no descriptor more than the first worker had");
    kill_daemon(&fire);
    assert_eq!(runs(respawned(&fire)), old, "another daemon knows it too");
    fs::remove_file(fire.folder.join("server")).expect("remove");
    assert_eq!(runs(respawned(&fire)), old, "and if there is none under the path");
    let good = deploy(&fire.folder, "/bin/sleep", "server");
    fire.order("web", "upgrade");
    assert_eq!(runs(fire.settled("web", 1)[0]), good);
    assert_eq!(runs(respawned(&fire)), good);
    fire.stop();
}

#[test]
fn a_rollback_runs_the_program_of_before() {
    let folder = Folder::new();
    let old = deploy(&folder, "/bin/sleep", "server");
    let fire = Fire::start_in(folder, &format!("[web]\nexec_start = ['@DIR@/server', '1000']\n{KEYS}"));
    fire.settled("web", 1);
    let new = deploy(&fire.folder, "/bin/sleep", "server");
    fire.order("web", "upgrade");
    assert_eq!(runs(fire.settled("web", 1)[0]), new);
    kill_daemon(&fire);
    fire.order("web", "rollback");
    assert_eq!(runs(fire.settled("web", 1)[0]), old, "{}", fire.stderr());
    assert_eq!(runs(respawned(&fire)), old);
    kill_daemon(&fire);
    assert_eq!(runs(respawned(&fire)), old);
    fire.order("web", "restart");
    assert_eq!(runs(fire.settled("web", 1)[0]), old, "a restart does not undo it");
    fire.order("web", "rollback");
    assert_eq!(runs(fire.settled("web", 1)[0]), new, "back and forth");
    fire.stop();
}

#[test]
fn a_script_that_was_replaced_is_run_on() {
    let folder = Folder::new();
    let script =
        |number: u32, rest: &str| format!("#!/bin/sh\necho {number} $1 >>'{}/said'\n{rest}\n", folder.path().display());
    let (good, bad) = (script(1, "exec sleep 1000"), script(2, "exit 3"));
    folder.script("server", &good);
    let fire = Fire::start_in(folder, &format!("[web]\nexec_start = ['@DIR@/server', 'word']\n{KEYS}"));
    fire.settled("web", 1);
    fire.folder.script("fresh", &bad);
    fs::rename(fire.folder.join("fresh"), fire.folder.join("server")).expect("rename");
    assert!(fails(&fire, "upgrade").contains("exit code 3"));
    respawned(&fire);
    kill_daemon(&fire);
    respawned(&fire);
    assert_eq!(fire.folder.read("said"), "1 word\n2 word\n1 word\n1 word\n");
    fire.stop();
}

/// `releases/1` and `releases/2`, each with a script that says which it is, and `current`, which leads to the first.
fn releases(second: &str) -> Folder {
    let folder = Folder::new();
    for (number, rest) in [(1, "exec sleep 1000"), (2, second)] {
        fs::create_dir_all(folder.join(&format!("releases/{number}"))).expect("a release");
        let said = folder.join("said").display().to_string();
        folder.script(&format!("releases/{number}/run"), &format!("#!/bin/sh\necho {number} >>{said}\n{rest}\n"));
    }
    symlink("releases/1", folder.join("current")).expect("symlink");
    folder
}

fn switch(folder: &Folder, release: &str) {
    let fresh = folder.join("fresh");
    symlink(Path::new("releases").join(release), &fresh).expect("symlink");
    fs::rename(fresh, folder.join("current")).expect("rename");
}

fn in_release(fire: &Fire, pid: u32, release: &str) {
    let path = fire.folder.join("releases").join(release).display().to_string();
    assert_eq!(cwd(pid), path, "{}", fire.stderr());
}

/// A release that is bad, then good, then taken back; each word of the command may go through the link.
fn through_releases(exec: &str) {
    let fire = Fire::start_in(
        releases("exit 4"),
        &format!("[web]\nexec_start = [{exec}]\n{KEYS}working_directory = '@DIR@/current'\n"),
    );
    in_release(&fire, fire.settled("web", 1)[0], "1");
    switch(&fire.folder, "2");
    assert!(fails(&fire, "upgrade").contains("exit code 4"));
    in_release(&fire, respawned(&fire), "1");
    kill_daemon(&fire);
    in_release(&fire, respawned(&fire), "1");
    assert_eq!(fire.folder.read("said"), "1\n2\n1\n1\n");
    fire.folder.script(
        "releases/2/run",
        &format!("#!/bin/sh\necho good >>{}/said\nexec sleep 1000\n", fire.folder.path().display()),
    );
    fire.order("web", "upgrade");
    in_release(&fire, fire.settled("web", 1)[0], "2");
    kill_daemon(&fire);
    fire.order("web", "rollback");
    in_release(&fire, fire.settled("web", 1)[0], "1");
    in_release(&fire, respawned(&fire), "1");
    assert_eq!(fire.folder.read("said"), "1\n2\n1\n1\ngood\n1\n1\n");
    fire.stop();
}

#[test]
fn a_release_behind_a_link_by_an_argument() {
    through_releases("'sh', '@DIR@/current/run'");
}

#[test]
fn a_release_behind_a_link_by_its_program() {
    through_releases("'@DIR@/current/run'");
}

#[test]
fn a_release_behind_a_link_by_a_relative_program() {
    through_releases("'./run'");
}

#[test]
fn words_are_rewritten_by_the_folder_of_the_program_too() {
    let folder = releases("exec sleep 1000");
    fs::copy("/bin/sleep", folder.join("releases/1/sleep")).expect("copy");
    let toml = format!(
        "[web]\nexec_start = ['sh', '-c', 'exec sleep 1000', '@DIR@/current/x']\n{KEYS}[own]\nexec_start = \
                        ['@DIR@/current/sleep', '1000']\nack_timeout = '50ms'\n"
    );
    let fire = Fire::start_in(folder, &toml);
    fire.settled("web", 1);
    let own = fire.settled("own", 1)[0];
    let first = fire.folder.join("releases/1/sleep").display().to_string();
    assert_eq!(proc::arguments(own), [first, "1000".to_owned()]);
    fire.stop();
}

#[test]
fn a_program_found_along_the_path_stays_the_one_that_was_found() {
    let folder = Folder::new();
    ["a", "b"].iter().for_each(|name| fs::create_dir(folder.join(name)).expect("a folder"));
    let old = deploy(&folder, "/bin/sleep", "b/fs-prog");
    let toml = format!("[web]\nexec_start = ['fs-prog', '1000']\nenvironments = ['PATH=@DIR@/a:@DIR@/b']\n{KEYS}");
    let fire = Fire::start_in(folder, &toml);
    assert_eq!(runs(fire.settled("web", 1)[0]), old);
    let new = deploy(&fire.folder, "/bin/sleep", "a/fs-prog");
    assert_eq!(runs(respawned(&fire)), old);
    fire.order("web", "upgrade");
    assert_eq!(runs(fire.settled("web", 1)[0]), new);
    fire.stop();
}

#[test]
fn no_more_is_held_than_can_be_run() {
    let folder = Folder::new();
    deploy(&folder, "/bin/sleep", "server");
    let fire = Fire::start_in(folder, &format!("[web]\nexec_start = ['@DIR@/server', '1000']\n{KEYS}"));
    fire.settled("web", 1);
    let least = held(&fire);
    assert_eq!(least, 2);
    for _ in 0..3 {
        deploy(&fire.folder, "/bin/sleep", "server");
        fire.order("web", "upgrade");
        fire.settled("web", 1);
        until("the generation before the last is let go", || held(&fire) == 4);
    }
    deploy(&fire.folder, "/bin/false", "server");
    fails(&fire, "upgrade");
    until("what failed is let go", || held(&fire) == 4);
    kill_daemon(&fire);
    until("nothing is held twice", || held(&fire) == 4);
    deploy(&fire.folder, "/bin/sleep", "server");
    for _ in 0..3 {
        fire.order("web", "restart");
        fire.settled("web", 1);
    }
    until("a restart takes the place of what it ended", || held(&fire) == 4);
    fire.stop();
}
