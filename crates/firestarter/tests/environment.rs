//! What a worker finds: its descriptors, signals, environment, folder and limits. Looked at from outside, in /proc.

mod harness;

use harness::{proc, until, Fire, Folder};
use rustix::process::{getrlimit, Resource};

const THREE_SOCKETS: &str = "[web]\nexec_start = ['sleep', '1000']\n\
    socket_address = ['127.0.0.1:0', '@DIR@/a.sock', 'tcp::[::1]:0']\nrestart = 'always'\nstart_immediate = true\n";

#[test]
fn a_worker_has_its_streams_its_sockets_and_nothing_else() {
    let fire = Fire::start(THREE_SOCKETS);
    // Other clients' descriptors and other groups' must not be found either: these are open while it respawns.
    let clients: Vec<_> = (0..20).map(|_| fire.wire()).collect();
    let first = fire.settled("web", 1);
    proc::signal(first[0], proc::Sig::KILL);
    fire.wait_for("a respawn", |status| status["groups"][0]["restarts"] == 1);
    let worker = fire.settled("web", 1)[0];
    let open = proc::descriptors(worker);
    let numbers: Vec<u32> = open.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6], "{open:?}");
    assert_eq!(open[0].1, "/dev/null");
    assert_eq!(open[1].1, fire.folder.join("stdout").display().to_string());
    assert_eq!(open[2].1, fire.folder.join("stderr").display().to_string());
    assert!(open[3..].iter().all(|(_, what)| what.starts_with("socket:")), "{open:?}");
    drop(clients);
}

#[test]
fn without_sockets_there_is_the_ack_socket_alone() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nstdout_log = 'null'\nstderr_log = '@DIR@/log'\n");
    let worker = fire.settled("web", 1)[0];
    let open = proc::descriptors(worker);
    assert_eq!(open.len(), 4, "{open:?}");
    assert_eq!(open[1].1, "/dev/null");
    assert!(open[2].1.starts_with("pipe:"), "{open:?}");
    assert_eq!(proc::variable(worker, "FIRESTARTER_SOCK_FD").as_deref(), Some("3"));
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FIRESTARTER_FD_COUNT", "FIRESTARTER_FD_0"] {
        assert_eq!(proc::variable(worker, name), None, "{name}");
    }
}

#[test]
fn the_variables_of_the_contracts() {
    let fire = Fire::start(THREE_SOCKETS);
    let worker = fire.settled("web", 1)[0];
    let variable = |name: &str| proc::variable(worker, name).unwrap_or_else(|| panic!("{name} is not set"));
    assert_eq!(variable("LISTEN_FDS"), "3");
    assert_eq!(variable("LISTEN_PID"), worker.to_string());
    assert_eq!(variable("LISTEN_FDNAMES").split(':').count(), 3);
    assert!(variable("LISTEN_FDNAMES").split(':').all(|name| !name.is_empty()));
    assert_eq!(variable("FIRESTARTER_FD_COUNT"), "3");
    for (index, fd) in [(0, "3"), (1, "4"), (2, "5")] {
        assert_eq!(variable(&format!("FIRESTARTER_FD_{index}")), fd);
    }
    assert_eq!(variable("FIRESTARTER_SOCK_FD"), "6");
    assert_eq!(variable("FIRESTARTER_MASTER_PID"), fire.keeper_pid.to_string());
    assert_eq!(proc::parent(worker), fire.keeper_pid);
    let path = variable("FIRESTARTER_SOCK_PATH");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "{path}");
}

#[test]
fn what_firestarter_was_given_for_itself_is_not_passed_on() {
    let taboo = [
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "FDSTORE",
        "EINHORN_MASTER_PID",
        "EINHORN_SOCK_FD",
        "SERVER_STARTER_PORT",
        "FIRESTARTER_FD_0",
        "FIRESTARTERWATCHFILE",
        "GUNICORN_PID",
        "GUNICORN_FD",
        "NGINX",
        "PUMA_INHERIT_0",
    ];
    let harmless = ["HARMLESS", "NGINX_VERSION", "FDSTORES", "LISTENER", "FIRESTARTER"];
    // Of the contracts that it speaks it would be told anew.
    let toml = "[web]\nexec_start = ['sleep', '1000']\ncontracts = ['firestarter', 'systemd']\n";
    let fire = Fire::start_with(Folder::new(), toml, |command| {
        command.envs(taboo.map(|name| (name, "1"))).envs(harmless.map(|name| (name, "passed on")));
    });
    let worker = fire.settled("web", 1)[0];
    for name in taboo {
        // Its own it has in place of that.
        let own = (name == "NOTIFY_SOCKET").then(|| fire.folder.join("c.d/notify-0.sock").display().to_string());
        assert_eq!(proc::variable(worker, name), own, "{name}");
    }
    for name in harmless {
        assert_eq!(proc::variable(worker, name).as_deref(), Some("passed on"), "{name}");
    }
}

/// Signals 32 and 33, which the C library keeps for itself: it lets nobody set what becomes of them.
const LIBRARYS_OWN: u64 = 3 << 31;

#[test]
fn signals_are_as_a_program_expects_them() {
    // The launcher ignores some signals, as nohup and some shells do: these must not come through either.
    let folder = Folder::new();
    folder.config("[web]\nexec_start = ['sleep', '1000']\nnumprocesses = 2\n");
    let mut shell = folder.command("sh");
    let line = format!("trap '' HUP PIPE USR1 USR2 TTOU CHLD; exec {} run -c config.toml -d c 2>stderr", harness::BIN);
    shell.args(["-c", &line]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    for worker in fire.settled("web", 2) {
        assert_eq!(proc::mask(worker, "SigBlk"), 0, "blocked");
        assert_eq!(proc::mask(worker, "SigIgn") & !LIBRARYS_OWN, 0, "ignored");
        assert_eq!(proc::mask(worker, "SigPnd"), 0, "pending");
        assert_eq!(proc::process_group(worker), worker, "a process group of its own");
    }
    assert_ne!(proc::process_group(fire.daemon()), proc::process_group(fire.keeper_pid));
}

#[test]
fn the_limit_of_open_files_is_the_launchers() {
    let folder = Folder::new();
    folder.config("[web]\nexec_start = ['sleep', '1000']\n");
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("ulimit -Sn 777; exec {} run -c config.toml -d c 2>stderr", harness::BIN)]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    let worker = fire.settled("web", 1)[0];
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let hard = getrlimit(Resource::Nofile).maximum.map_or("unlimited".to_owned(), |hard| hard.to_string());
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["777", &hard]);
}

#[test]
fn folder_environment_and_words() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("sub")).expect("a folder");
    folder.script(
        "sub/show",
        "#!/bin/sh\npwd >@OUT@\nfor word; do echo \"$word\" >>@OUT@; done\nexec sleep 1000\n"
            .replace("@OUT@", &folder.join("out").display().to_string())
            .as_str(),
    );
    let toml = "[web]\n\
        exec_start = '''./show \"$FIRESTARTER_FD_0 kept\" $FIRESTARTER_FD_0 ${A}x a\"b c\"d 'single $A' back\\slash'''\n\
        working_directory = 'sub'\nenvironments = ['A=one', 'B=two=2']\nsocket_address = ['127.0.0.1:0']\n\
        start_immediate = true\n";
    let fire = Fire::start_in(folder, toml);
    let worker = fire.settled("web", 1)[0];
    assert_eq!(proc::variable(worker, "B").as_deref(), Some("two=2"));
    until("the worker's words", || fire.folder.read("out").contains("back"));
    let sub = fire.folder.join("sub").display().to_string();
    let words = [&sub, "$FIRESTARTER_FD_0 kept", "3", "onex", "ab cd", "single $A", "back\\slash"];
    assert_eq!(fire.folder.read("out").lines().collect::<Vec<_>>(), words);
}

#[test]
fn the_groups_environment_wins_and_arrays_are_taken_word_for_word() {
    let fire = Fire::start_with(
        Folder::new(),
        "[web]\nexec_start = ['sh', '-c', 'exec sleep \"$1\"', '$HOME', '1000']\nenvironments = { WHO = 'group' }\n",
        |command| {
            command.env("WHO", "launcher");
        },
    );
    let worker = fire.settled("web", 1)[0];
    assert_eq!(proc::variable(worker, "WHO").as_deref(), Some("group"));
    until("the second program", || proc::arguments(worker) == ["sleep", "1000"]);
}

#[test]
fn logs_are_appended_to_by_all_and_outlive_a_respawn() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo out $$; echo err $$ >&2; exec sleep 1000']\nnumprocesses = 2\n\
         stdout_log = '@DIR@/o'\nstderrlog = '@DIR@/e'\nrestart = 'always'\n",
    );
    let workers = fire.settled("web", 2);
    until("two lines", || fire.folder.read("e").lines().count() == 2);
    workers.iter().for_each(|pid| proc::signal(*pid, proc::Sig::KILL));
    until("four lines", || fire.folder.read("e").lines().count() == 4);
    assert_eq!(fire.folder.read("o").lines().filter(|line| line.starts_with("out ")).count(), 4);
    assert_eq!(fire.stdout(), "");
}

#[test]
fn without_inheritance_there_is_a_path_and_what_the_group_says() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\ninherit_env = false\ncontracts = ['firestarter']\n\
        environments = ['FS_TEST_FOLDER=@DIR@', 'A=b']\n";
    let fire = Fire::start_with(Folder::new(), toml, |command| {
        command.env("SECRET", "of the launcher");
    });
    let worker = fire.settled("web", 1)[0];
    let names: Vec<String> = proc::environ(worker).into_iter().map(|(name, _)| name).collect();
    let own = ["FIRESTARTER_MASTER_PID", "FIRESTARTER_SOCK_FD", "FIRESTARTER_SOCK_PATH"];
    let wanted: Vec<&str> =
        ["A"].into_iter().chain(own).chain(["FS_TEST_FOLDER", "PATH", "FIRESTARTER_SLOT"]).collect();
    assert_eq!(names, wanted);
    let path = proc::variable(worker, "PATH").unwrap_or_default();
    assert!(path.split(':').any(|folder| folder == "/usr/bin"), "{path}");
}

#[test]
fn variables_of_another_base_name() {
    let toml = "[web]\nexec_start = ['sleep', '1000']\nenvironment_base_name = 'APP'\nlisten_pid = false\n\
        socket_address = [{ address = '127.0.0.1:0', name = 'http' }, '@DIR@/a.sock']\nstart_immediate = true\n\
        [ruby]\nexec_start = ['sleep', '1000']\nenvironment_base_name = 'EINHORN'\n\
        socket_address = ['127.0.0.1:0', '[::1]:0', '@DIR@/b.sock']\nstart_immediate = true\n\
        [bare]\nexec_start = ['sleep', '1000']\nenvironment_base_name = 'EINHORN'\n";
    let fire = Fire::start_with(Folder::new(), toml, |command| {
        command.envs([("APP_FD_7", "7"), ("APP_WATCH_FILE", "/x"), ("APP_MODE", "kept")]);
    });
    let [web, ruby, bare] = ["web", "ruby", "bare"].map(|name| fire.settled(name, 1)[0]);
    let of = |worker: u32, name: &str| proc::variable(worker, name).unwrap_or_default();
    let keeper = fire.keeper_pid.to_string();
    assert_eq!([of(web, "LISTEN_FDS"), of(web, "LISTEN_FDNAMES")], ["2", "http:web"]);
    assert_eq!(["APP_FD_COUNT", "APP_FD_0", "APP_FD_1", "APP_SOCK_FD"].map(|name| of(web, name)), ["2", "3", "4", "5"]);
    assert_eq!(of(web, "APP_MASTER_PID"), keeper);
    assert!(of(web, "APP_SOCK_PATH").ends_with("/c.d/worker-0.sock"));
    assert_eq!(of(web, "APP_MODE"), "kept");
    for name in ["LISTEN_PID", "APP_FD_7", "APP_WATCH_FILE"] {
        assert_eq!(proc::variable(web, name), None, "{name}");
    }
    let names = proc::environ(web).into_iter().map(|(name, _)| name);
    assert_eq!(names.filter(|name| name.starts_with("FIRESTARTER")).count(), 0);
    let families = ["AF_INET", "AF_INET6", "AF_UNIX"];
    assert_eq!([0, 1, 2].map(|at| of(ruby, &format!("EINHORN_FD_FAMILY_{at}"))), families);
    assert_eq!([of(ruby, "EINHORN_FD_COUNT"), of(ruby, "EINHORN_FD_2")], ["3", "5"]);
    assert_eq!([of(bare, "EINHORN_FD_COUNT"), of(bare, "EINHORN_MASTER_PID")], ["0", &keeper]);
}
