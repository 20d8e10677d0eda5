//! The lives of workers: spawned, respawned, stopped, killed; and the lines and exit codes of the commands.

mod harness;

use std::fs;

use harness::proc::{self, Sig};
use harness::{group_of, listed, number, pids, run_to_the_end, until, Fire, Folder};

const TWO: &str = "[web]\nexec_start = [\"sleep\", \"1000\"]\nnumprocesses = 2\nack_timeout = \"10ms\"\n";

/// Ignores what asks it to stop.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 1000; done";

#[test]
fn workers_are_children_of_the_keeper_and_a_stop_leaves_nothing() {
    let fire = Fire::start(TWO);
    let workers = fire.settled("web", 2);
    for pid in &workers {
        assert_eq!(proc::parent(*pid), fire.keeper_pid);
        assert_eq!(proc::arguments(*pid), ["sleep", "1000"]);
    }
    fire.stop();
    assert!(!workers.into_iter().any(proc::alive));
}

/// The lists of pids in a text, each in ascending order: which worker comes first is not agreed upon.
fn ordered(text: &str) -> String {
    let mut parts = text.split('[');
    let mut ordered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (list, rest) = part.split_once(']').expect("a bracket");
        let mut items: Vec<&str> = list.split(", ").collect();
        items.sort_by_key(|item| item.parse::<u32>().unwrap_or(0));
        ordered += &format!("[{}]{rest}", items.join(", "));
    }
    ordered
}

#[test]
fn the_lines_of_the_commands() {
    let fire = Fire::start(TWO);
    let first = fire.settled("web", 2);
    let ctrl = |verb: &str| {
        let said = fire.ctl(&["ctrl", "web", verb]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{verb}: {said:?}");
        let rest = said.out.strip_prefix(&format!("send ctrl command [{verb}] to [web] worker\n"));
        ordered(rest.unwrap_or_else(|| panic!("{said:?}")))
    };
    assert_eq!(ctrl("start"), "start processes pid []\n");
    let status = ctrl("status");
    assert!(status.starts_with(&ordered(&format!("[web] active\nprocesses {first:?}\ntime 00:00:"))), "{status}");
    let grown = ctrl("inc");
    let three = fire.settled("web", 3);
    assert_eq!(grown, ordered(&format!("increments worker process pid [{}]\n", three[2])));
    assert_eq!(ctrl("dec"), format!("decrements worker process pid [{}]\n", three[2]));
    assert_eq!(fire.settled("web", 2), first);
    let upgraded = ctrl("upgrade");
    let second = fire.settled("web", 2);
    assert_eq!(upgraded, ordered(&format!("upgrade processes new {second:?} old {first:?}\n")));
    let restarted = ctrl("restart");
    let third = fire.settled("web", 2);
    assert_eq!(restarted, ordered(&format!("restart processes new {third:?} old {second:?}\n")));
    assert_eq!(ctrl("stop"), ordered(&format!("send signal SIGTERM pid {third:?}\n")));
    assert_eq!(ctrl("status"), "[web] stopped\nprocesses []\ntime 00:00:00\n");
    let started = ctrl("start");
    let fourth = fire.settled("web", 2);
    assert_eq!(started, ordered(&format!("start processes pid {fourth:?}\n")));
    assert_eq!(ctrl("killall"), ordered(&format!("kill processes pid {fourth:?}\n")));
    assert_eq!(fire.group("web")["state"], "stopped");
    assert!([first, second, third, fourth].concat().into_iter().all(|pid| !proc::alive(pid)));
}

#[test]
fn lists_and_statuses_of_several_groups() {
    let fire = Fire::start("[b]\nexec_start = [\"sleep\", \"1000\"]\n[a]\nexec_start = [\"sleep\", \"1000\"]\n");
    let (b, a) = (fire.settled("b", 1), fire.settled("a", 1));
    assert_eq!(fire.ctl(&["list"]).out, "worker names:\nb\na\n");
    assert_eq!(fire.ctl(&["list", "-q"]).out, "b\na\n");
    let said = fire.ctl(&["status"]).out;
    assert!(said.starts_with(&format!("[b] active\nprocesses {b:?}\n")), "{said}");
    assert!(said.contains(&format!("\n[a] active\nprocesses {a:?}\n")), "{said}");
    let json = fire.ctl(&["status", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(pids(&group_of(&json, "a")), a);
}

#[test]
fn exit_codes() {
    let stubborn = format!("[deaf]\nexec_start = ['sh', '-c', \"{STUBBORN}\"]\nstdout_log = \"@DIR@/deaf\"\n");
    let fire = Fire::start(&format!("{TWO}{stubborn}stop_timeout = 1000\n"));
    until("a deaf worker", || fire.folder.read("deaf").contains("up"));
    let code = |words: &[&str]| fire.ctl(words).code;
    assert_eq!(code(&["ctrl", "web", "status"]), 0);
    assert_eq!(code(&["ctrl", "web", "inc", "-s", "TERM"]), 2, "inc takes no signal");
    assert_eq!(code(&["ctrl", "web"]), 2);
    assert_eq!(code(&["ctrl", "web", "stopp"]), 2);
    assert_eq!(code(&["ctrl", "nobody", "stop"]), 4);
    assert_eq!(code(&["ctrl", "deaf", "stop", "--timeout", "50ms"]), 5);
    assert_eq!(fire.group("deaf")["state"], "stopping", "it goes on");
    assert_eq!(code(&["ctrl", "web", "stop"]), 0, "no group waits for another");
    assert_eq!(code(&["ctrl", "web", "upgrade"]), 1, "of a stopped group");
    let nowhere = harness::said({
        let mut command = fire.folder.command(harness::BIN);
        command.args(["status", "-d"]).arg(fire.folder.join("nobody"));
        command
    });
    assert_eq!(nowhere.code, 3);
}

#[test]
fn dec_stops_at_one() {
    let fire = Fire::start("[web]\nexec_start = [\"sleep\", \"1000\"]\n");
    let worker = fire.settled("web", 1);
    let said = fire.ctl(&["ctrl", "web", "dec"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("one worker is the least"), "{said:?}");
    assert_eq!(fire.settled("web", 1), worker);
}

#[test]
fn restart_policies() {
    let group = |name: &str, policy: &str, code: u8| {
        let script = format!("echo {name} >>@DIR@/ran; exit {code}");
        format!("[{name}]\nexec_start = ['sh', '-c', '{script}']\nrestart = '{policy}'\nbackoff_max = '1ms'\n")
    };
    let cases = [
        ("none-good", "none", 0, false),
        ("none-bad", "none", 3, false),
        ("failure-good", "on-failure", 0, false),
        ("failure-bad", "on-failure", 3, true),
        ("always-good", "always", 0, true),
    ];
    let toml: String = cases.iter().map(|(name, policy, code, _)| group(name, policy, *code)).collect();
    let fire = Fire::start(&toml);
    let runs = |name: &str| fire.folder.read("ran").lines().filter(|line| *line == name).count();
    for (name, _, _, again) in cases {
        if again {
            until("four runs", || runs(name) >= 4);
            assert!(number(&fire.group(name)["restarts"]) >= 3);
        } else {
            fire.in_state(name, "stopped");
        }
    }
    for (name, ..) in cases.iter().filter(|(.., again)| !again) {
        assert_eq!(runs(name), 1, "{name}");
    }
    assert_eq!(fire.group("none-bad")["last_failure"]["exit_code"], 3);
    assert!(fire.group("none-good")["last_failure"].is_null());
}

#[test]
fn a_respawn_waits_longer_each_time_and_a_command_wipes_that() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo $$ >>@DIR@/ran; exit 1']\nrestart = 'always'\nbackoff_max = 1000\n",
    );
    // At once, 0.1 s, 0.2 s, 0.4 s: the fourth delay is announced when the fifth run has ended.
    fire.hears("respawning in 0.");
    until("four runs", || fire.folder.read("ran").lines().count() >= 4);
    let stderr = fire.stderr();
    let delays: Vec<&str> = stderr.lines().filter_map(|line| line.split("; respawning ").nth(1)).collect();
    assert_eq!(delays[0], "at once", "{stderr}");
    let second = |text: &str| text.trim_start_matches("in ").trim_end_matches(" s").parse::<f64>().expect("seconds");
    assert!((0.07..=0.13).contains(&second(delays[1])), "{stderr}");
    assert!((0.15..=0.25).contains(&second(delays[2])), "{stderr}");
    let runs = fire.folder.read("ran").lines().count();
    assert_eq!(fire.ctl(&["ctrl", "web", "restart"]).code, 0);
    until("another run", || fire.folder.read("ran").lines().count() > runs);
}

#[test]
fn a_worker_killed_from_outside_is_respawned_and_said_so() {
    let fire = Fire::start(&format!("{TWO}restart = 'on-failure'\n"));
    let before = fire.settled("web", 2);
    proc::signal(before[0], Sig::KILL);
    fire.wait_for("a respawn", |status| number(&group_of(status, "web")["restarts"]) == 1);
    let after = fire.settled("web", 2);
    assert_eq!(before[1], after[1]);
    assert_ne!(before[0], after[0]);
    fire.hears(&format!("web/0: pid {} was ended by SIGKILL; respawning at once", before[0]));
    until("no zombie", || proc::zombies(fire.keeper_pid).is_empty());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let fire = Fire::start(
        "[web]\nexec_start = ['/nowhere/server']\nautostart = true\n".replace("autostart = true\n", "").as_str(),
    );
    fire.in_state("web", "stopped");
    fire.hears("web/0: not started: run its program /nowhere/server: no such file or directory");
    let said = fire.ctl(&["ctrl", "web", "start"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("could not be started: exec: no such file or directory"), "{said:?}");
    assert!(proc::zombies(fire.keeper_pid).is_empty() || fire.folder.processes().len() == 2);
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nstdout_log = 'log'\nautostart = false\n";
    let fire = Fire::start(toml);
    let log = fire.folder.join("log").display().to_string();
    fs::create_dir(&log).expect("a folder");
    assert_eq!(fire.ctl(&["ctrl", "web", "start"]).code, 0);
    fire.hears(&format!("{log}: is a directory; what is written to it "));
    fire.stop();
}

#[test]
fn a_folder_that_is_not_there_and_a_file_that_is_no_program() {
    let folder = Folder::new();
    folder.write("plain", "not a program");
    let fire = Fire::start_in(
        folder,
        "[gone]\nexec_start = ['sleep', '1']\nworking_directory = '@DIR@/gone'\n[plain]\nexec_start = ['@DIR@/plain']\n",
    );
    let at = |name: &str| fire.folder.join(name).display().to_string();
    fire.hears(&format!("gone/0: not started: enter its working directory {}: no such file or directory", at("gone")));
    fire.hears(&format!("plain/0: not started: run its program {}: permission denied", at("plain")));
}

#[test]
fn who_does_not_end_in_time_is_killed() {
    let fire = Fire::start(&format!(
        "[deaf]\nexec_start = ['sh', '-c', \"{STUBBORN}\"]\nstop_timeout = '200ms'\nstdout_log = '@DIR@/deaf'\n"
    ));
    until("a deaf worker", || fire.folder.read("deaf").contains("up"));
    let worker = fire.settled("deaf", 1);
    let children = proc::children(worker[0]);
    assert_eq!(fire.order("deaf", "stop"), format!("send signal SIGTERM pid {worker:?}"));
    fire.hears("did not end in time and gets SIGKILL");
    assert!(!children.is_empty() && worker.iter().chain(&children).all(|pid| !proc::alive(*pid)), "its group dies");
}

#[test]
fn stop_signals_of_configuration_and_command() {
    let script = "for s in INT TERM QUIT USR1; do trap \"echo $s >>@DIR@/got; exit\" $s; done; echo up >>@DIR@/up; while :; do sleep 0.05; done";
    let fire = Fire::start(&format!("[web]\nexec_start = ['sh', '-c', '{script}']\nstop_signal = 'SIGINT'\n"));
    let up = |count| until("it is up", || fire.folder.read("up").lines().count() == count);
    up(1);
    assert!(fire.order("web", "stop").starts_with("send signal SIGINT pid ["));
    fire.order("web", "start");
    up(2);
    let said = fire.ctl(&["ctrl", "web", "stop", "-s", "usr1"]);
    assert!(said.out.contains("send signal SIGUSR1 pid ["), "{said:?}");
    fire.order("web", "start");
    up(3);
    assert_eq!(fire.ctl(&["ctrl", "web", "restart", "-s", "3"]).code, 0);
    up(4);
    assert_eq!(fire.folder.read("got"), "INT\nUSR1\nQUIT\n");
}

#[test]
fn children_of_a_killed_worker_die_with_it() {
    let fire = Fire::start("[web]\nexec_start = ['sh', '-c', 'sleep 1000 & sleep 1001 & wait']\n");
    let worker = fire.settled("web", 1);
    until("two children", || proc::children(worker[0]).len() == 2);
    let children = proc::children(worker[0]);
    assert_eq!(listed(&fire.order("web", "killall")), worker);
    until("all of them gone", || !worker.iter().chain(&children).any(|pid| proc::alive(*pid)));
}

#[test]
fn children_left_behind_by_a_worker_die_before_its_successor_is_there() {
    let fire = Fire::start("[web]\nexec_start = ['sh', '-c', 'sleep 1000 & sleep 1001 & wait']\nrestart = 'always'\n");
    let worker = fire.settled("web", 1);
    until("two children", || proc::children(worker[0]).len() == 2);
    let children = proc::children(worker[0]);
    proc::signal(worker[0], Sig::KILL);
    fire.wait_for("a respawn", |status| number(&group_of(status, "web")["restarts"]) == 1);
    until("all of them gone", || !children.iter().any(|pid| proc::alive(*pid)));
}

#[test]
fn a_second_firestarter_at_the_same_place_says_so_and_harms_nothing() {
    let fire = Fire::start(TWO);
    let workers = fire.settled("web", 2);
    let mut command = fire.folder.command(harness::BIN);
    command.args(["run", "-c", "config.toml", "-d", "c"]);
    let said = harness::said(command);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("another Firestarter runs here"), "{said:?}");
    assert_eq!(fire.settled("web", 2), workers);
    fire.stop();
}

#[test]
fn a_socket_left_behind_by_a_crash_is_replaced() {
    let folder = Folder::new();
    drop(std::os::unix::net::UnixListener::bind(folder.join("c")).expect("bind"));
    let fire = Fire::start_in(folder, TWO);
    fire.settled("web", 2);
    fire.stop();
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    folder.write("c", "a file");
    let said = run_to_the_end(&folder, TWO);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is something that is no socket"), "{said:?}");
    assert_eq!(folder.read("c"), "a file");
}
