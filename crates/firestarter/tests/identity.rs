//! Who a worker is: its user, groups, capabilities, mask, folder and score, and what of Firestarter's own that user can
//! reach. Root alone can make processes of another user, so where the tests do not run as root these say so and pass.

mod harness;

use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use harness::{proc, run_command, run_to_the_end, said, to_the_end, until, Fire, Folder, BIN};

/// Two users of whom no more is known than that they are not root.
const ONE: u32 = 65_534;
const OTHER: u32 = 61_234;

/// A command through setpriv, in the test's folder. Its program must be one that anybody can run.
fn setpriv(folder: &Folder, options: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = folder.command("setpriv");
    command.args(options.split_whitespace()).arg("--").arg(program);
    command
}

fn as_user(uid: u32) -> String {
    format!("--reuid {uid} --regid {uid} --clear-groups")
}

/// A copy of a program where everybody reaches it.
fn copy(folder: &Folder, program: &str, name: &str) -> String {
    let path = folder.join(name);
    fs::copy(program, &path).expect("copy a program");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
    path.display().to_string()
}

/// Whether a process of this user may connect to that socket.
fn connects(folder: &Folder, uid: u32, path: &Path) -> bool {
    let mut command = setpriv(folder, &as_user(uid), folder.join("worker"));
    command.arg("say").arg(path).arg("0");
    match said(command).code {
        0 => true,
        4 => false,
        other => panic!("say: {other}"),
    }
}

fn ids(pid: u32, key: &str) -> Vec<String> {
    proc::status(pid, key).split_whitespace().map(str::to_owned).collect()
}

/// Firestarter itself as setpriv says, in a folder that is the first user's, not started yet.
fn run_as(folder: &Folder, options: &str, toml: &str) -> Command {
    let program = copy(folder, BIN, "firestarter");
    folder.config(toml);
    chown(folder.path(), Some(ONE), Some(ONE)).expect("chown");
    let mut command = setpriv(folder, options, program);
    command.args(["run", "-c", "config.toml", "-d", "c"]);
    command.stderr(fs::File::create(folder.join("stderr")).expect("a file"));
    command
}

#[test]
fn a_worker_is_the_user_and_keeps_nothing_of_the_launchers() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    folder.config(&format!("[web]\nexec_start = ['sleep', '1000']\nuid = {ONE}\ngid = {OTHER}\numask = 0o027\n"));
    let mut command = setpriv(&folder, "--groups 1,2,3", BIN);
    command.args(["run", "-c", "config.toml", "-d", "c"]).env("HOME", "/launchers").env("LOGNAME", "launcher");
    command.stderr(fs::File::create(folder.join("stderr")).expect("a file"));
    let keeper = command.spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    assert_eq!(ids(fire.daemon(), "Groups"), ["1", "2", "3"], "the launcher's, or this proves nothing");
    let worker = fire.settled("web", 1)[0];
    assert_eq!(ids(worker, "Uid"), [ONE; 4].map(|uid| uid.to_string()));
    assert_eq!(ids(worker, "Gid"), [OTHER; 4].map(|gid| gid.to_string()));
    // What the system's lists say of the user, and its own group; nothing of the launcher's.
    let groups = ids(worker, "Groups");
    assert!(groups.iter().all(|group| !["1", "2", "3"].contains(&group.as_str())), "{groups:?}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(proc::mask(worker, set), 0, "{set}");
    }
    assert_eq!(proc::status(worker, "Umask"), "0027");
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entry.into_iter().find(|entry| entry.get(2) == Some(&"65534"));
    let [name, home] = [0, 5].map(|at| entry.as_ref().and_then(|entry| entry.get(at)).map(ToString::to_string));
    assert_eq!(proc::variable(worker, "HOME"), home);
    assert_eq!(proc::variable(worker, "USER"), name);
    assert_eq!(proc::variable(worker, "LOGNAME"), name);
    fire.stop();
}

#[test]
fn the_groups_own_environment_wins_over_the_users() {
    if !proc::may_change_user() {
        return;
    }
    let fire = Fire::start(&format!(
        "[web]\nexec_start = ['sleep', '1000']\nuid = {ONE}\nenvironments = ['HOME=/chosen', 'USER=chosen']\n"
    ));
    let worker = fire.settled("web", 1)[0];
    assert_eq!(proc::variable(worker, "HOME").as_deref(), Some("/chosen"));
    assert_eq!(proc::variable(worker, "USER").as_deref(), Some("chosen"));
}

#[test]
fn the_folder_is_entered_as_the_user() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    fs::create_dir(folder.join("private")).expect("a folder");
    fs::set_permissions(folder.join("private"), Permissions::from_mode(0o700)).expect("chmod");
    let toml = format!("[web]\nexec_start = ['sleep', '1000']\nuid = {ONE}\nworking_directory = 'private'\n");
    let fire = Fire::start_in(folder, &toml);
    let private = fire.folder.join("private");
    fire.hears(&format!("web/0: not started: enter its working directory {}: permission denied", private.display()));
    chown(fire.folder.join("private"), Some(ONE), None).expect("chown");
    fire.order("web", "start");
    fire.settled("web", 1);
}

#[test]
fn without_the_privilege_a_user_is_an_error_of_the_start() {
    if !proc::may_change_user() {
        return;
    }
    let toml = format!("[web]\nexec_start = ['sleep', '1000']\nuid = {OTHER}\ngid = {OTHER}\nrestart = 'always'\n");
    // A user, and the root of a container that may not.
    for options in [as_user(ONE), "--bounding-set -setuid".to_owned(), "--bounding-set -setgid".to_owned()] {
        let folder = Folder::new();
        let said = to_the_end(&folder, run_as(&folder, &options, &toml));
        assert_eq!(said.code, 1, "{options}: {said:?}");
        let what = format!("web: run workers as uid {OTHER}, gid {OTHER}: operation not permitted");
        assert!(said.err.contains(&what) && said.err.contains("start Firestarter as root"), "{options}: {said:?}");
        for name in ["c", "c.d", "c.lock"] {
            assert!(!folder.join(name).exists(), "{options}: {name} is left");
        }
    }
}

#[test]
fn ones_own_user_needs_no_privilege() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    let options = format!("--reuid {ONE} --regid {ONE} --groups 7");
    let keeper = run_as(&folder, &options, &format!("[web]\nexec_start = ['sleep', '1000']\nuid = {ONE}\n")).spawn();
    let fire = Fire::watch(folder, keeper.expect("start"));
    let worker = fire.settled("web", 1)[0];
    assert_eq!(ids(worker, "Uid")[0], ONE.to_string());
    assert_eq!(ids(worker, "Groups"), ["7"]);
    let socket = proc::variable(worker, "FIRESTARTER_SOCK_PATH").expect("a path");
    assert_eq!(fs::metadata(socket).expect("a socket").mode() & 0o7777, 0o600);
}

#[test]
fn capabilities_that_make_users_are_not_passed_on() {
    if !proc::may_change_user() {
        return;
    }
    let caps = "+setuid,+setgid,+chown";
    let options = format!("{} --inh-caps {caps} --ambient-caps {caps}", as_user(ONE));
    let folder = Folder::new();
    let keeper =
        run_as(&folder, &options, &format!("[web]\nexec_start = ['sleep', '1000']\nuid = {OTHER}\ngid = {OTHER}\n"))
            .spawn();
    let fire = Fire::watch(folder, keeper.expect("start"));
    assert_ne!(proc::mask(fire.daemon(), "CapAmb"), 0, "or this proves nothing");
    let worker = fire.settled("web", 1)[0];
    assert_eq!(ids(worker, "Uid")[0], OTHER.to_string());
    assert_eq!([proc::mask(worker, "CapEff"), proc::mask(worker, "CapAmb")], [0, 0]);
}

/// Three groups: two of users of their own, and one of root.
fn three_users() -> String {
    let group = |name: &str, more: &str| format!("[{name}]\nexec_start = ['sleep', '1000']\n{more}\n");
    group("one", &format!("uid = {ONE}"))
        + &group("other", &format!("uid = {OTHER}\ngid = {OTHER}"))
        + &group("root", "")
}

#[test]
fn a_user_reaches_its_own_worker_socket_and_nothing_else() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    copy(&folder, harness::worker(), "worker");
    folder.config(&three_users());
    // Whatever the launcher's mask.
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("umask 077; exec {BIN} run -c config.toml -d run/c 2>stderr")]);
    shell.env("FIRESTARTER_SOCKET", "run/c");
    let mut keeper = shell.spawn().expect("start");
    until("three workers", || folder.read("stderr").contains("control socket:"));
    let [one, other, root] =
        ["worker-0.sock", "worker-1.sock", "worker-2.sock"].map(|n| folder.join("run/c.d").join(n));
    let paths = [&one, &other, &root, &folder.join("run/c")];
    for (uid, own) in [(ONE, 0), (OTHER, 1), (OTHER + 1, 9)] {
        for (place, path) in paths.iter().enumerate() {
            assert_eq!(connects(&folder, uid, path), place == own, "uid {uid}, {}", path.display());
        }
    }
    for (path, uid) in [(&one, ONE), (&other, OTHER), (&root, 0)] {
        let found = fs::symlink_metadata(path).expect("a socket");
        assert_eq!((found.uid(), found.mode() & 0o7777), (uid, 0o600), "{}", path.display());
    }
    for path in ["run", "run/c.d"] {
        let found = fs::symlink_metadata(folder.join(path)).expect("a folder");
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o711), "{path}");
    }
    let mut stop = folder.command(BIN);
    stop.args(["stop", "-d", "run/c"]);
    assert_eq!(said(stop).code, 0, "{}", folder.read("stderr"));
    assert_eq!(keeper.wait().expect("wait").code(), Some(0));
}

#[test]
fn another_user_acks_over_its_worker_socket() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    copy(&folder, harness::worker(), "worker");
    let toml = format!(
        "[web]\nexec_start = ['@DIR@/worker', 'serve', 'path']\nuid = {ONE}\nack = 'manual'\n\
         socket_address = ['127.0.0.1:0']\nstart_immediate = true\n"
    );
    let fire = Fire::start_in(folder, &toml);
    let first = fire.settled("web", 1);
    fire.order("web", "upgrade");
    assert_ne!(fire.settled("web", 1), first);
    fire.stop();
}

#[test]
fn a_worker_socket_out_of_reach_is_said() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("chmod");
    let toml = format!("[web]\nexec_start = ['sleep', '1000']\nuid = {ONE}\nworking_directory = '/'\n");
    let fire = Fire::start_in(folder, &toml);
    fire.hears(&format!("web: uid {ONE} cannot connect to its worker socket {}", fire.folder.join("c.d").display()));
    fire.settled("web", 1);
    fire.stop();
    let folder = Folder::new();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("chmod");
    let said = run_to_the_end(&folder, &format!("{toml}live_check_timeout = 60\n"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("web: uid {ONE} does not reach its watch files in ")), "{said:?}");
    for name in ["c", "c.d", "c.lock"] {
        assert!(!folder.join(name).exists(), "{name} is left");
    }
}

#[test]
fn a_worker_socket_of_ones_choice() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\ncontrol_socket = 'chosen.sock'\n";
    let folder = Folder::new();
    let chosen = folder.join("chosen.sock");
    drop(UnixListener::bind(&chosen).expect("bind"));
    let fire = Fire::start_in(folder, toml);
    let worker = fire.settled("web", 1)[0];
    assert_eq!(proc::variable(worker, "FIRESTARTER_SOCK_PATH"), Some(chosen.display().to_string()));
    std::os::unix::net::UnixStream::connect(&chosen).expect("the stale one was replaced");
    assert_eq!(fs::metadata(&chosen).expect("a socket").mode() & 0o7777, 0o600);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    until("it is removed", || !chosen.exists());
    let folder = Folder::new();
    let owner = UnixListener::bind(folder.join("chosen.sock")).expect("bind");
    let said = run_to_the_end(&folder, toml);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("chosen.sock: another program listens there"), "{said:?}");
    drop(owner);
    assert!(folder.join("chosen.sock").exists() && !folder.join("c").exists());
}

fn score(pid: u32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    text.trim().parse().unwrap_or(i32::MIN)
}

#[test]
fn when_memory_runs_out_a_worker_goes_before_firestarter() {
    let folder = Folder::new();
    let more = if proc::may_change_user() {
        format!("[other]\nexec_start = ['sleep', '1000']\nuid = {ONE}\n")
    } else {
        String::new()
    };
    folder.config(&format!("[web]\nexec_start = ['sleep', '1000']\n{more}"));
    let mut shell = folder.command("sh");
    let line = format!("echo 123 >/proc/self/oom_score_adj; exec {BIN} run -c config.toml -d c 2>stderr");
    shell.args(["-c", &line]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    let workers = if proc::may_change_user() { vec!["web", "other"] } else { vec!["web"] };
    for worker in workers {
        assert_eq!(score(fire.settled(worker, 1)[0]), 123, "{worker}: what the launcher had");
    }
    let own = score(fire.keeper_pid);
    assert_eq!(score(fire.daemon()), own);
    // CAP_SYS_RESOURCE. Without it the least is what somebody who had it chose.
    let privileged = proc::mask(fire.keeper_pid, "CapEff") >> 24 & 1 == 1;
    match own {
        -900 => {}
        123 if !privileged => eprintln!("skipped: the score may not be lowered here"),
        _ => assert!(!privileged && own < 123, "{own}"),
    }
}

#[test]
fn a_watch_file_is_its_workers_to_touch_and_nothing_more() {
    if !proc::may_change_user() {
        return;
    }
    let toml = format!(
        "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nuid = {ONE}\nlive_check_timeout = 1000\n\
         environment_base_name = 'APP'\n"
    );
    let fire = Fire::start(&toml);
    let workers = fire.settled("web", 2);
    let files: Vec<String> =
        workers.iter().map(|pid| proc::variable(*pid, "APP_WATCH_FILE").expect("a file")).collect();
    assert_ne!(files[0], files[1]);
    for (worker, file) in workers.iter().zip(&files) {
        assert_eq!(proc::variable(*worker, "FIRESTARTERWATCHFILE").as_ref(), Some(file));
        let found = fs::symlink_metadata(file).expect("it is there");
        assert!(found.is_file());
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (ONE, ONE, 0o600));
    }
    let folder = Path::new(&files[0]).parent().expect("a folder");
    assert_eq!(fs::metadata(folder).map(|found| (found.uid(), found.mode() & 0o7777)).ok(), Some((0, 0o711)));
    let can = |uid: u32, words: &[&str]| {
        let mut command = setpriv(&fire.folder, &as_user(uid), words[0]);
        command.args(&words[1..]);
        said(command).code == 0
    };
    assert!(can(ONE, &["touch", &files[0]]));
    assert!(!can(OTHER, &["touch", &files[0]]), "another user");
    assert!(!can(ONE, &["rm", "-f", &files[0]]) && !can(ONE, &["ln", "-sf", "/etc/passwd", &files[0]]));
    assert!(!can(ONE, &["touch", &folder.join("more").display().to_string()]));
    fire.stop();
}

#[test]
fn watch_files_come_and_go_with_their_workers() {
    let toml =
        "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\nlive_check_timeout = 1000\nrestart = 'always'\n";
    let fire = Fire::start(toml);
    let file = |pid: u32| proc::variable(pid, "FIRESTARTER_WATCH_FILE").expect("a file");
    let workers = fire.settled("web", 2);
    let files = workers.iter().map(|pid| file(*pid)).collect::<Vec<_>>();
    let inode = |path: &str| fs::metadata(path).map(|found| found.ino()).ok();
    let before = files.iter().map(|path| inode(path)).collect::<Vec<_>>();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    // A daemon that takes over leaves them as they are.
    let daemon = fire.daemon();
    proc::signal(daemon, proc::Sig::KILL);
    fire.wait_for("another daemon", |status| status["daemon_pid"] != daemon);
    assert_eq!(fire.settled("web", 2), workers);
    assert_eq!(files.iter().map(|path| inode(path)).collect::<Vec<_>>(), before);
    fire.order("web", "dec");
    until("one file is removed", || files.iter().filter(|path| Path::new(path).exists()).count() == 1);
    let left = fire.settled("web", 1)[0];
    proc::signal(left, proc::Sig::KILL);
    fire.wait_for("a respawn", |status| status["groups"][0]["restarts"] == 1);
    let next = fire.settled("web", 1)[0];
    assert!(Path::new(&file(next)).exists());
    until("one file", || fs::read_dir(fire.folder.join("c.d/watch-0")).is_ok_and(|files| files.count() == 1));
    // What a Firestarter that was killed has left goes too.
    fire.folder.write("c.d/watch-0/9999", "");
    fire.stop();
}

#[test]
fn without_a_live_check_there_is_no_watch_file() {
    let folder = Folder::new();
    let mut command = run_command(&folder, "[web]\nexec_start = ['sleep', '1000']\nlive_check_timeout = 0\n");
    let keeper = command.env("FIRESTARTERWATCHFILE", "/inherited").spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    let worker = fire.settled("web", 1)[0];
    assert_eq!(proc::variable(worker, "FIRESTARTER_WATCH_FILE"), None);
    assert_eq!(proc::variable(worker, "FIRESTARTERWATCHFILE"), None);
    assert!(!fire.folder.join("c.d/watch-0").exists());
}
