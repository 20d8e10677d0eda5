//! The logs after the death of the keeper, which nothing replaces: the writer works on, and what ends is cleared away.

mod harness;

use harness::proc::{self, Sig};
use harness::{number, until, Fire};

#[test]
fn without_a_keeper_the_writer_lives_as_long_as_the_daemon() {
    let toml =
        "[web]\nexec_start = ['sh', '-c', 'trap \"printf last; exit\" TERM; echo up; while :; do sleep 0.01; done']\n\
                stdout_log = 'size:100000:1:@DIR@/log'\n";
    let fire = Fire::start(toml);
    until("up", || fire.folder.read("log") == "up\n");
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    fire.signal_keeper(Sig::KILL);
    fire.wait_for("the bad news", |status| status["keeper_alive"] == false);
    fire.order("web", "restart");
    until("its successor", || fire.folder.read("log") == "up\nlast\nup\n");
    assert!(proc::alive(writer));
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.nothing_left();
    assert_eq!(fire.folder.read("log"), "up\nlast\nup\nlast");
}

#[test]
fn without_a_keeper_ends_of_workers_leave_no_pipe() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo one line']\nnumprocesses = 4\nrestart = 'always'\nbackoff_max = '10ms'\n\
         backoff_reset = '1000s'\nstdout_log = 'size:1000000:1:@DIR@/log'\nstderr_log = 'size:1000000:1:@DIR@/err'\n",
    );
    // The keeper alone forks the writer, which must be there before nothing replaces it any more.
    until("a writer", || fire.folder.read("log").contains("one line"));
    fire.signal_keeper(Sig::KILL);
    fire.wait_for("the bad news", |status| status["keeper_alive"] == false);
    let before = number(&fire.group("web")["restarts"]);
    fire.wait_for("many ends", |status| number(&status["groups"][0]["restarts"]) > before + 200);
    let daemon = fire.daemon();
    let pipes = || proc::descriptors(daemon).into_iter().filter(|(_, what)| what.starts_with("pipe:")).count();
    until("few pipes", || pipes() < 30);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.nothing_left();
}
