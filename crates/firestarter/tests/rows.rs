//! Rows of the original that need no more than one look at a real process: files of variables, users by name, old
//! spellings, stamps by a clock of its own, and a whole configuration of the original as it stands.

mod harness;

use std::time::Duration;

use harness::proc;
use harness::{until, Fire, Folder};

#[test]
fn an_environment_file_is_read_and_what_stands_in_the_configuration_wins() {
    let folder = Folder::new();
    folder.write("one.env", "# a comment\nA=1\nexport B='two words'\n\nC=3\n");
    folder.write("two.env", "C=\"33\"\nD=$HOME\n");
    let fire = Fire::start_in(
        folder,
        "[web]\nexec_start = 'sleep 1000'\nenvironment_file = ['one.env', 'two.env']\nenvironments = ['A=11']\n",
    );
    let worker = fire.settled("web", 1)[0];
    for (name, value) in [("A", "11"), ("B", "two words"), ("C", "33"), ("D", "$HOME")] {
        assert_eq!(proc::variable(worker, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_user_and_a_group_go_by_name() {
    if !proc::may_change_user() {
        return;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some(nobody) = passwd.lines().find(|line| line.starts_with("nobody:")) else {
        eprintln!("there is no user nobody here, so nothing is tried");
        return;
    };
    let fields: Vec<&str> = nobody.split(':').collect();
    let (uid, gid, home) = (fields[2], fields[3], fields[5]);
    let fire = Fire::start(
        "[web]\nexec_start = 'sleep 1000'\nuser = 'nobody'\n\
         [api]\nexec_start = 'sleep 1000'\nuser = 'nobody'\ngroup = 'root'\n",
    );
    let worker = fire.settled("web", 1)[0];
    assert!(proc::status(worker, "Uid").starts_with(uid), "{}", proc::status(worker, "Uid"));
    assert!(proc::status(worker, "Gid").starts_with(gid), "its primary group");
    assert_eq!(proc::variable(worker, "USER").as_deref(), Some("nobody"));
    assert_eq!(proc::variable(worker, "HOME").as_deref(), Some(home));
    let worker = fire.settled("api", 1)[0];
    assert!(proc::status(worker, "Uid").starts_with(uid));
    assert!(proc::status(worker, "Gid").starts_with('0'), "the group that is named");
}

#[test]
fn the_old_spellings_work() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo out; echo err >&2; exec sleep 1000']\nrestart = 'always'\n\
         stdoutlog = 'size:100000:2:@DIR@/out'\nstderrlog = 'size:100000:2:@DIR@/err'\nlivechecktimeout = '500ms'\n\
         upgrader = ['sh', '-c', 'echo run >> @DIR@/runs; exit 1']\nupgraderactivesec = '100ms'\n",
    );
    until("both logs", || !fire.folder.read("out").is_empty() && !fire.folder.read("err").is_empty());
    until("the upgrader", || fire.folder.read("runs").lines().count() > 1);
    until("a kill for silence", || fire.group("web")["last_failure"]["kind"] == "silent");
}

#[test]
fn signs_of_life_count_whatever_the_clock_says() {
    // As after the clock was set: the stamps are years old, but each is another one.
    let touch = "n=0; while :; do n=$((n+1)); touch -d @$n \"$FIRESTARTERWATCHFILE\"; sleep 0.1; done";
    let fire = Fire::start(&format!("[web]\nexec_start = ['sh', '-c', '{touch}']\nlive_check_timeout = '800ms'\n"));
    let worker = fire.settled("web", 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(fire.settled("web", 1), worker, "{}", fire.stderr());
}

#[test]
fn a_configuration_of_the_original_runs_as_it_stands() {
    let fire = Fire::start(
        r#"[worker1] # set worker group name.
exec_start = "@WORKER@ serve pair"
numprocesses = 2
working_directory = "/tmp"
restart = "on-failure"
warmup_delay = 0
start_immediate = true
socket_address = ["127.0.0.1:0", "tcp::127.0.0.1:0", "@DIR@/foo.sock"]
environments=["TEST_A=XXXX", "TEST_B=YYYY"]
ack = "manual"
ack_timeout = 1
ack_signal = "SIGUSR2"
stdout_log = "size:10240:5:@DIR@/web1_out.log"
stderr_log = "time:3:D:U:7:@DIR@/web1_err.log"
live_check_timeout = 0
auto_upgrade = false
upgrader = "sh -c 'exit 0' --config abc"
upgrader_timeout=60
environment_base_name = "FIRESTARTER"
giveup = 5
"#,
    );
    let old = fire.settled("worker1", 2);
    assert_eq!(proc::variable(old[0], "TEST_B").as_deref(), Some("YYYY"));
    let upgraded = fire.order("worker1", "upgrade");
    let new = fire.settled("worker1", 2);
    assert!(upgraded.starts_with("upgrade processes new [") && old.iter().all(|pid| !new.contains(pid)), "{upgraded}");
    fire.stop();
}
