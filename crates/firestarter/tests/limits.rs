//! Where numbers grow large and limits are small.

mod harness;

use std::collections::BTreeSet;

use harness::{finish, proc, said, to_the_end, until, Fire, Folder, BIN};

/// Runs Firestarter from a shell that sets a limit first.
fn limited(folder: &Folder, limit: &str) -> std::process::Command {
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("ulimit {limit}; exec {BIN} run -c config.toml -d c 2>stderr")]);
    shell
}

#[test]
fn too_few_descriptors_are_an_error_that_says_so() {
    for limit in [20, 64, 68] {
        let folder = Folder::new();
        folder.config("[web]\nexec_start = ['sleep', '1000']\n");
        let said = to_the_end(&folder, limited(&folder, &format!("-n {limit}")));
        let stderr = folder.read("stderr");
        assert_eq!(said.code, 1, "{limit}: {said:?} {stderr}");
        assert!(stderr.starts_with("firestarter: ") && stderr.contains("open files"), "{limit}: {stderr}");
        assert!(folder.processes().is_empty());
        for name in ["c", "c.d", "c.lock"] {
            assert!(!folder.join(name).exists(), "{limit}: {name} is left");
        }
    }
}

#[test]
fn three_hundred_workers_start_and_stop() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 300\nack_timeout = '10ms'\n");
    let workers = fire.settled("web", 300);
    assert_eq!(workers.iter().collect::<BTreeSet<_>>().len(), 300);
    let upgraded = fire.order("web", "upgrade");
    assert!(upgraded.starts_with("upgrade processes new ["), "{upgraded}");
    let after = fire.settled("web", 300);
    assert!(workers.iter().all(|pid| !proc::alive(*pid)));
    proc::signal(fire.daemon(), proc::Sig::KILL);
    assert_eq!(fire.settled("web", 300), after);
    fire.stop();
}

#[test]
fn a_flood_of_clients_uses_up_no_descriptor_that_workers_need() {
    let folder = Folder::new();
    folder.config("[web]\nexec_start = ['sleep', '1000']\nrestart = 'always'\n");
    let keeper = limited(&folder, "-n 120").spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    let worker = fire.settled("web", 1);
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.extend(std::os::unix::net::UnixStream::connect(fire.socket()));
    }
    fire.hears("clients are turned away: no descriptor is left");
    assert!(proc::alive(worker[0]));
    assert!(!fire.stderr().contains("the daemon died"), "{}", fire.stderr());
    drop(flood);
    // Those that had been waiting are turned away first.
    until("a client to be served again", || fire.ctl(&["status"]).code == 0);
    proc::signal(worker[0], proc::Sig::KILL);
    until("a successor", || harness::pids(&fire.group("web")).iter().any(|pid| *pid != worker[0]));
    let idle = proc::ticks(fire.daemon());
    assert!(idle < 500, "the daemon has spun: {idle} ticks");
}

#[test]
fn the_most_sockets_that_a_group_may_have() {
    let addresses = vec!["'127.0.0.1:0'"; 48].join(",");
    let toml =
        format!("[web]\nexec_start = ['sleep', '1000']\nsocket_address = [{addresses}]\nstart_immediate = true\n");
    let fire = Fire::start(&toml);
    let worker = fire.settled("web", 1)[0];
    let numbers: Vec<u32> = proc::descriptors(worker).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..52).collect::<Vec<u32>>());
    let folder = Folder::new();
    let toml = toml.replace("= ['127.0.0.1:0',", "= ['127.0.0.1:0','127.0.0.1:0',");
    let said = harness::run_to_the_end(&folder, &toml);
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn many_groups() {
    let groups: String = (0..60).map(|n| format!("[g{n}]\nexec_start = ['sleep', '1000']\n")).collect();
    let fire = Fire::start(&groups);
    fire.settled("g59", 1);
    let orders: Vec<_> = (0..60).step_by(10).map(|n| fire.begin(&["ctrl", &format!("g{n}"), "restart"])).collect();
    for order in orders {
        assert_eq!(finish(order).code, 0);
    }
    assert_eq!(fire.ctl(&["list", "-q"]).out.lines().count(), 60);
    fire.stop();
}

#[test]
fn a_daemon_that_dies_while_the_table_is_full_is_followed_by_one_that_works() {
    let folder = Folder::new();
    folder.config(
        "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 3\nsocket_address = ['@DIR@/s']\nstart_immediate = true\n",
    );
    let keeper = limited(&folder, "-n 120").spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    let workers = fire.settled("web", 3);
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.extend(std::os::unix::net::UnixStream::connect(fire.socket()));
    }
    fire.hears("clients are turned away: no descriptor is left");
    for deaths in 1..=3 {
        let daemon = proc::daemon(fire.keeper_pid).expect("a daemon");
        proc::signal(daemon, proc::Sig::KILL);
        let next = || proc::daemon(fire.keeper_pid).is_some_and(|next| next != daemon);
        until("another daemon", next);
        fire.wait_for_lines("the daemon died", deaths);
    }
    drop(flood);
    until("a client to be served again", || fire.try_status().is_some());
    assert_eq!(fire.settled("web", 3), workers, "{}", fire.stderr());
    std::os::unix::net::UnixStream::connect(fire.folder.join("s")).expect("the shared socket is still there");
    fire.order("web", "restart");
    fire.stop();
}

#[test]
fn whatever_the_limit_it_runs_or_ends_and_leaves_nothing() {
    for limit in 64..96 {
        let folder = Folder::new();
        folder.config("[web]\nexec_start = ['sleep', '1000']\nsocket_address = ['@DIR@/s']\nstart_immediate = true\n");
        let mut keeper = limited(&folder, &format!("-n {limit}")).spawn().expect("start");
        let mut stop = folder.command(BIN);
        stop.args(["stop", "-d", "c"]);
        // Either it is there to be stopped, or it has ended by itself.
        let ended = loop {
            if let Some(status) = keeper.try_wait().expect("wait") {
                break status.code();
            }
            if folder.read("stderr").contains("control socket:") {
                let said = said(stop);
                assert_eq!(said.code, 0, "{limit}: {said:?} {}", folder.read("stderr"));
                break keeper.wait().expect("wait").code();
            }
            let stderr = folder.read("stderr");
            assert!(stderr.matches("the daemon died").count() < 3, "{limit}: {stderr}");
            harness::pause();
        };
        let stderr = folder.read("stderr");
        assert!(matches!(ended, Some(0 | 1)), "{limit}: {ended:?} {stderr}");
        for name in ["c", "c.d", "c.lock", "s"] {
            assert!(!folder.join(name).exists(), "{limit}: {name} is left: {stderr}");
        }
    }
}

/// A user that nobody else is.
fn lonely_user() -> u32 {
    60_000 + std::process::id() % 5000
}

/// Runs Firestarter with a limit of the processes that a user may have.
fn crowded(folder: &Folder, most: u32) -> std::process::Command {
    let mut command = folder.command("prlimit");
    command.args([&format!("--nproc={most}"), BIN, "run", "-c", "config.toml", "-d", "c"]);
    command.stderr(std::fs::File::create(folder.join("stderr")).expect("a file"));
    command
}

#[test]
fn too_few_processes_of_a_user_are_an_error_that_says_so() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    let uid = lonely_user();
    folder.config(&format!("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 30\nuid = {uid}\ngid = {uid}\n"));
    let said = to_the_end(&folder, crowded(&folder, 29));
    let stderr = folder.read("stderr");
    assert_eq!(said.code, 1, "{said:?} {stderr}");
    let what =
        format!("the limit of processes of uid {uid} is 29, and this configuration needs 30: raise it (`ulimit -u`");
    assert!(stderr.contains(&what), "{stderr}");
    assert!(!folder.join("c").exists() && folder.processes().is_empty());
}

#[test]
fn a_limit_that_stops_a_respawn_is_named() {
    if !proc::may_change_user() {
        return;
    }
    let folder = Folder::new();
    let uid = lonely_user() - 5000;
    folder.config(&format!(
        "[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 4\nuid = {uid}\ngid = {uid}\nrestart = 'always'\n"
    ));
    // Others of that user leave too little room.
    let mut others = folder.command("setpriv");
    others.args([&format!("--reuid={uid}"), "--clear-groups", "sh", "-c", "sleep 1000 & exec sleep 1000"]);
    let mut others = others.spawn().expect("start");
    until("two of them", || proc::children(others.id()).len() == 1 && proc::status(others.id(), "Name") == "sleep");
    let keeper = crowded(&folder, 4).spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    let limit = format!("web: no room for another process: the limit of processes of uid {uid} is 4, in use are ");
    fire.hears(&limit);
    fire.hears("run its program sleep: resource temporarily unavailable");
    // Not with each failure.
    fire.wait_for_lines("not started: ", 3);
    assert!(fire.stderr().matches("no room for another").count() < 3, "{}", fire.stderr());
    proc::signal_group(others.id(), proc::Sig::KILL);
    others.wait().expect("wait");
    fire.settled("web", 4);
    fire.stop();
}

/// A control group with a limit of processes; none where such cannot be made.
struct ControlGroup(std::path::PathBuf);

impl ControlGroup {
    fn new(most: u32) -> Option<ControlGroup> {
        let name = format!("firestarter-test-{}-{most}", std::process::id());
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].into_iter().find_map(|mount| {
            let group = ControlGroup(std::path::Path::new(mount).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join("pids.max"), most.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        until("the control group to be empty", || !self.0.exists() || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// Runs Firestarter in a control group.
fn grouped(folder: &Folder, group: &ControlGroup) -> std::process::Command {
    let mut shell = folder.command("sh");
    let join = format!("echo $$ >{}/cgroup.procs", group.0.display());
    shell.args(["-c", &format!("{join} && exec {BIN} run -c config.toml -d c 2>stderr")]);
    shell
}

#[test]
fn the_limit_of_a_control_group_is_named() {
    let (Some(small), Some(large)) = (ControlGroup::new(6), ControlGroup::new(13)) else {
        return eprintln!("skipped: no control group with a limit of processes can be made here");
    };
    let folder = Folder::new();
    folder.config("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 3\n");
    let ended = to_the_end(&folder, grouped(&folder, &small));
    let stderr = folder.read("stderr");
    assert_eq!(ended.code, 1, "{ended:?} {stderr}");
    let name = small.0.file_name().and_then(std::ffi::OsStr::to_str).expect("a name").to_owned();
    let what =
        format!("pids.max of the control group /{name} is 6, and this configuration needs 8: raise it (TasksMax=");
    assert!(stderr.contains(&what), "{stderr}");
    let folder = Folder::new();
    folder.config("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 8\nrestart = 'always'\n");
    let keeper = grouped(&folder, &large).spawn().expect("start");
    let fire = Fire::watch(folder, keeper);
    fire.settled("web", 8);
    // One more than the configuration needs, then too many.
    for _ in 0..5 {
        let said = fire.ctl(&["ctrl", "web", "inc"]);
        if said.code != 0 {
            break;
        }
    }
    fire.hears("web: no room for another process: pids.max of the control group /");
    fire.hears("is 13, in use are 13: raise it (TasksMax=");
    fire.stop();
}
