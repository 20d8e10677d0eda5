//! Where numbers grow large and limits are small.

mod harness;

use std::collections::BTreeSet;

use harness::{finish, proc, said, until, Fire, Folder, BIN};

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
        let said = said(limited(&folder, &format!("-n {limit}")));
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
