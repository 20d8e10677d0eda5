//! The rows of a group's life that need time or failures: giving up, warming up, waiting for a command, signs of life,
//! and what ends Firestarter by itself.

mod harness;

use std::time::{Duration, Instant};

use harness::proc::{self, Sig};
use harness::{finish, run_command, run_to_the_end, until, Fire, Folder};

const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 1000; done";

#[test]
fn a_group_gives_up_after_so_many_failures_in_a_row() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'exit 3']\nrestart = 'always'\nbackoff_max = '10ms'\ngiveup = 4\n",
    );
    until("giving up", || fire.group("web")["state"] == "gave_up");
    let group = fire.group("web");
    assert_eq!((group["restarts"].as_u64(), group["last_failure"]["exit_code"].as_u64()), (Some(3), Some(3)));
    assert_eq!(group["last_failure"]["gave_up"]["times"], 4);
    assert!(fire.ctl(&["ctrl", "web", "status"]).out.contains("[web] stopped"), "the original's words");
    let stderr = fire.stderr();
    assert!(stderr.contains("given up after 4 failures") && stderr.contains("gave up"), "{stderr}");
    // It tries again when it is asked to.
    assert_eq!(fire.ctl(&["ctrl", "web", "start"]).code, 0);
    until("giving up again", || fire.group("web")["state"] == "gave_up");
    fire.stop();
}

#[test]
fn a_program_that_cannot_run_counts_as_failing_and_never_means_never() {
    let missing = "[web]\nexec_start = '/no/such/program'\nrestart = 'always'\nbackoff_max = '1ms'\n";
    let fire = Fire::start(&format!("{missing}giveup = 2\n[b]{}", missing.replace("[web]", "")));
    until("giving up", || fire.group("web")["state"] == "gave_up");
    until("many failures", || fire.group("b")["restarts"].as_u64() > Some(10));
    assert_eq!(fire.group("b")["state"], "running");
}

#[test]
fn a_slot_that_is_given_up_leaves_the_others_alone() {
    let one = "mkdir one 2>/dev/null && exec sleep 1000; exit 1";
    let config =
        format!("[web]\nexec_start = ['sh', '-c', '{one}']\nnumprocesses = 2\nrestart = 'always'\ngiveup = 1\n");
    let fire = Fire::start(&config);
    until("giving up one", || !fire.group("web")["last_failure"]["gave_up"].is_null());
    let worker = fire.settled("web", 1);
    assert_eq!(fire.group("web")["state"], "running");
    assert!(proc::alive(worker[0]));
}

#[test]
fn a_group_warms_up_before_it_starts_by_itself() {
    let begun = Instant::now();
    let fire = Fire::start(
        "[web]\nexec_start = ['sleep', '1000']\nwarmup_delay = '400ms'\n[api]\nexec_start = ['sleep', '1000']\nwarmup_delay = 1000\n",
    );
    assert_eq!(fire.group("api")["state"], "warming_up");
    until("a worker", || fire.group("web")["state"] == "running");
    assert!(begun.elapsed() >= Duration::from_millis(400), "it was warm too early");
    // A command waits for nothing.
    fire.order("api", "start");
    fire.settled("api", 1);
    fire.stop();
}

#[test]
fn without_autostart_a_group_waits_for_a_command() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sleep', '1000']\nautostart = false\n[api]\nexec_start = ['sleep', '1000']\n",
    );
    fire.settled("api", 1);
    assert_eq!(fire.group("web")["state"], "stopped");
    fire.order("web", "start");
    fire.settled("web", 1);
    fire.stop();
}

/// Touches its watch file as long as the file "well" is there.
const LIVELY: &str = "while :; do test -e well && touch \"$FIRESTARTER_WATCH_FILE\"; sleep 0.05; done";

#[test]
fn a_worker_that_gives_no_sign_of_life_is_killed_and_replaced() {
    let folder = Folder::new();
    folder.write("well", "");
    let config =
        format!("[web]\nexec_start = ['sh', '-c', '{LIVELY}']\nrestart = 'always'\nlive_check_timeout = '600ms'\n");
    let fire = Fire::start_in(folder, &config);
    let worker = fire.settled("web", 1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(fire.settled("web", 1), worker, "who gives signs of life lives on");
    std::fs::remove_file(fire.folder.join("well")).expect("remove");
    until("its death", || !proc::alive(worker[0]));
    fire.folder.write("well", "");
    until("another", || fire.settled("web", 1) != worker);
    assert!(fire.stderr().contains("no sign of life"), "{}", fire.stderr());
    assert_eq!(fire.group("web")["last_failure"]["kind"], "silent");
}

#[test]
fn a_worker_that_is_killed_for_silence_is_respawned_only_if_restart_says_so() {
    let fire = Fire::start("[web]\nexec_start = ['sleep', '1000']\nlive_check_timeout = '200ms'\n");
    until("the end", || fire.group("web")["state"] == "stopped");
    assert_eq!(fire.group("web")["restarts"], 0);
}

#[test]
fn nobody_dies_because_the_daemon_was_stopped_for_a_while() {
    let folder = Folder::new();
    folder.write("well", "");
    let config = format!("[web]\nexec_start = ['sh', '-c', '{LIVELY}']\nrestart = 'always'\nlive_check_timeout = 1\n");
    let fire = Fire::start_in(folder, &config);
    let worker = fire.settled("web", 1);
    let daemon = fire.daemon();
    // As when a container is frozen: nobody runs, and the clock does.
    [daemon, worker[0]].into_iter().for_each(|pid| proc::signal(pid, Sig::STOP));
    std::thread::sleep(Duration::from_secs(3));
    [daemon, worker[0]].into_iter().for_each(|pid| proc::signal(pid, Sig::CONT));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(fire.settled("web", 1), worker, "{}", fire.stderr());
}

fn run_with(toml: &str, words: &[&str]) -> (Folder, std::process::Child) {
    let folder = Folder::new();
    let mut command = run_command(&folder, toml);
    let keeper = command.args(words).spawn().expect("start firestarter");
    (folder, keeper)
}

#[test]
fn it_ends_with_1_when_a_group_has_failed_and_it_was_told_to() {
    let failing = "[web]\nexec_start = ['false']\nrestart = 'always'\ngiveup = 2\nbackoff_max = 0\n";
    let other = "[other]\nexec_start = ['sleep', '1000']\n";
    let (folder, keeper) = run_with(&format!("{failing}{other}"), &["--exit-when=failed"]);
    assert_eq!(finish(keeper).code, 1, "{}", folder.read("stderr"));
    assert!(folder.read("stderr").contains("web has failed"), "{}", folder.read("stderr"));
    until("nobody left", || folder.processes().is_empty());
}

#[test]
fn it_ends_when_all_are_done_with_the_code_of_how_they_did() {
    for (program, code) in [("true", 0), ("false", 1)] {
        let jobs = format!("[a]\nexec_start = ['{program}']\n[b]\nexec_start = ['sleep', '0.1']\n");
        let (folder, keeper) = run_with(&jobs, &["--exit-when", "done"]);
        assert_eq!(finish(keeper).code, code, "{}", folder.read("stderr"));
    }
}

#[test]
fn it_stays_when_it_was_not_told_to_end() {
    let fire = Fire::start("[web]\nexec_start = ['false']\n");
    until("the end of all", || fire.group("web")["state"] == "stopped");
    std::thread::sleep(Duration::from_millis(200));
    assert!(fire.try_status().is_some());
    fire.stop();
}

#[test]
fn a_second_ctrl_c_kills_what_is_left() {
    let config = format!(
        "[web]\nexec_start = ['sh', '-c', \"{STUBBORN}\"]\nstop_timeout = 1000\n[firestarter]\nstop_timeout = 1000\n"
    );
    let mut fire = Fire::start(&config);
    let worker = fire.settled("web", 1);
    fire.signal_keeper(Sig::INT);
    until("the stop", || fire.stderr().contains("stopping 1 worker"));
    fire.signal_keeper(Sig::TERM);
    std::thread::sleep(Duration::from_millis(200));
    assert!(proc::alive(worker[0]), "TERM alone is patient");
    fire.signal_keeper(Sig::INT);
    assert_eq!(fire.ended().code(), Some(0));
    assert!(fire.stderr().contains("once more"), "{}", fire.stderr());
    fire.nothing_left();
}

#[test]
fn the_stop_of_everything_fits_into_its_time() {
    let config = format!(
        "[web]\nexec_start = ['sh', '-c', \"{STUBBORN}\"]\nstop_timeout = 1000\n[firestarter]\nstop_timeout = 2\n"
    );
    let mut fire = Fire::start(&config);
    fire.settled("web", 1);
    let begun = Instant::now();
    fire.signal_keeper(Sig::TERM);
    assert_eq!(fire.ended().code(), Some(0), "{}", fire.stderr());
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    fire.nothing_left();
}

#[test]
fn signals_go_to_all_workers_or_to_one() {
    let note = "trap 'echo $$ >> told' HUP; while :; do sleep 0.02; done";
    let fire = Fire::start(&format!("[web]\nexec_start = ['sh', '-c', \"{note}\"]\nnumprocesses = 2\n"));
    let workers = fire.settled("web", 2);
    // A signal that comes before the trap would end them.
    let trapped = |pid: u32| proc::mask(pid, "SigCgt") & 1 == 1;
    until("both to listen", || workers.iter().all(|pid| trapped(*pid)));
    let said = fire.ctl(&["ctrl", "web/1", "signal", "HUP"]);
    assert!(said.out.ends_with(&format!("send signal SIGHUP pid [{}]\n", workers[1])), "{said:?}");
    until("one told", || fire.folder.read("told") == format!("{}\n", workers[1]));
    assert_eq!(fire.ctl(&["ctrl", "web", "signal", "HUP"]).code, 0);
    until("both told", || fire.folder.read("told").lines().count() == 3);
    assert_eq!(fire.settled("web", 2), workers, "nothing else has changed");
    assert_eq!(fire.ctl(&["ctrl", "web/7", "signal", "HUP"]).code, 1);
    assert_eq!(fire.ctl(&["ctrl", "web", "signal", "KILL"]).code, 0);
    until("their end", || fire.group("web")["state"] == "stopped");
    assert_eq!(fire.ctl(&["ctrl", "web", "signal", "HUP"]).code, 1, "nobody is there");
    fire.stop();
}

#[test]
fn the_first_connection_starts_a_group_again_after_its_workers_have_ended_for_good() {
    use std::io::Read;
    let fire =
        Fire::start("[web]\nexec_start = '@WORKER@ once'\nsocket_address = ['127.0.0.1:0']\nbackoff_max = '50ms'\n");
    let ask = || {
        let mut answer = String::new();
        let address = fire.group("web")["listeners"][0]["address"].as_str().expect("an address").to_owned();
        let mut stream = std::net::TcpStream::connect(address).expect("connect");
        stream.read_to_string(&mut answer).expect("read");
        answer
    };
    let answers = [ask(), ask(), ask()];
    assert!(answers[0] != answers[1] && answers[1] != answers[2], "{answers:?}");
    until("waiting again", || fire.group("web")["state"] == "waiting");
    fire.stop();
}

#[test]
fn a_group_that_fails_at_once_says_so_and_nothing_more_happens() {
    let said = run_to_the_end(&Folder::new(), "[web]\nexec_start = 'true'\nexec_sotp = 'x'\n");
    assert!(said.code == 2 && said.err.contains("exec_stop"), "{said:?}");
}
