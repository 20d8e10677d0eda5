//! `firestarter logs`: what workers wrote is read from files, their backups and memory, and followed whoever dies.

mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use harness::proc::{self, Sig};
use harness::{finish, group_of, until, Fire, Folder, Said};
use serde_json::json;

/// Two groups with files that rotate often, and one whose output is nowhere.
const LOGS: &str = "[web]\nexec_start = ['sh', '-c', 'seq -f \"web %g\" 1 500; exec sleep 1000']\n\
    stdout_log = 'size:500:100:@DIR@/web.log'\nstderr_log = '@DIR@/web.err'\n\
    [api]\nexec_start = ['sh', '-c', 'echo out; echo err >&2; exec sleep 1000']\n\
    stdout_log = '@DIR@/api.log'\nstderr_log = '@DIR@/api.log'\n\
    [none]\nexec_start = ['sh', '-c', 'echo lost; exec sleep 1000']\nstdout_log = 'null'\nstderr_log = 'null'\n";

fn started() -> Fire {
    let fire = Fire::start(LOGS);
    until("all lines", || fire.folder.read("web.log").ends_with("web 500\n"));
    until("both lines", || fire.folder.read("api.log").lines().count() == 2);
    fire
}

fn numbers(word: &str, from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{word} {number}\n")).collect()
}

/// A client that follows, with its standard output in the folder's file `shown`.
fn follow(folder: &Folder, words: &[&str]) -> Child {
    let shown = File::create(folder.join("shown")).expect("a file");
    let mut command = folder.command(harness::BIN);
    command.arg("logs").args(words).arg("-d").arg(folder.join("c"));
    command.stdout(shown).stderr(Stdio::piped()).spawn().expect("start a client")
}

fn end(client: Child) -> Said {
    proc::signal(client.id(), Sig::TERM);
    finish(client)
}

#[test]
fn all_backups_are_shown_and_the_last_lines_alone() {
    let fire = started();
    let all = fire.ctl(&["logs", "web"]);
    assert_eq!((all.code, all.out.as_str(), all.err.as_str()), (0, numbers("web", 1, 500).as_str(), ""));
    assert!(fire.folder.join("web.log.5").exists(), "it has not rotated");
    assert_eq!(fire.ctl(&["logs", "web", "-n", "120"]).out, numbers("web", 381, 500));
    assert_eq!(fire.ctl(&["logs", "web", "-n", "2", "--grep", "7$"]).out, "web 487\nweb 497\n");
    assert_eq!(fire.ctl(&["logs", "web", "--stderr"]).out, "");
    assert_eq!(fire.ctl(&["logs", "web", "--since", "1h", "-n", "1"]).out, "web 500\n");
    assert_eq!(fire.ctl(&["logs", "web", "--since", "2999-01-01T00:00:00Z"]).out, "");
    let both = fire.ctl(&["logs", "api", "web", "-n", "2"]);
    let mut lines: Vec<&str> = both.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["api | err", "api | out", "web | web 499", "web | web 500"]);
    let every = fire.ctl(&["logs", "-n", "1"]);
    assert_eq!((every.code, every.out.lines().count()), (0, 2), "{every:?}");
    assert!(every.err.contains("none: what it writes is thrown away"), "{every:?}");
    fire.stop();
}

#[test]
fn a_slot_that_is_not_there_is_an_error_unless_it_has_left_lines() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\nnumprocesses = 2\n\
                stdout_log = { path = '@DIR@/log', form = 'json' }\nstderr_log = 'null'\n";
    let mut fire = Fire::start(toml);
    until("two lines", || fire.folder.read("log").lines().count() == 2);
    let said = fire.ctl(&["logs", "web/7"]);
    assert!(said.code == 1 && said.out.is_empty(), "{said:?}");
    assert!(
        said.err.contains("web has no slot 7: its slots are 0 to 1\n  next: name a slot that is there"),
        "{said:?}"
    );
    assert_eq!(fire.ctl(&["logs", "--slot", "7"]).code, 1);
    assert_eq!(fire.ctl(&["logs", "web/1", "--grep", "nothing"]).code, 0);
    fire.order("web", "dec");
    let left = fire.ctl(&["logs", "web/1", "--stdout"]);
    assert!(left.code == 0 && left.out.lines().count() == 1 && left.err.is_empty(), "{left:?}");
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.ended();
    let config = fire.folder.join("config.toml").display().to_string();
    let said = fire.ctl(&["logs", "web/7", "-c", &config]);
    assert!(said.code == 1 && said.err.contains("web has no slot 7: its slots are 0 to 1"), "{said:?}");
}

#[test]
fn a_backup_that_cannot_be_read_is_a_failure_and_the_rest_is_shown() {
    let fire = started();
    let after = (1..).find(|number| !fire.folder.join(&format!("web.log.{number}")).exists()).expect("a number");
    fire.folder.write(&format!("web.log.{after}.zst"), "something else");
    let all = fire.ctl(&["logs", "web"]);
    assert_eq!((all.code, all.out.as_str()), (1, numbers("web", 1, 500).as_str()));
    assert!(all.err.contains(".zst: it is damaged, or not compressed as its name says; the rest of it"), "{all:?}");
    fire.stop();
}

#[test]
fn what_cannot_be_shown_is_said() {
    let fire = started();
    for (words, code, text) in [
        (&["wbe"][..], 4, "unknown group wbe; there are: web, api, none\n  next: did you mean web?"),
        (
            &["none"],
            1,
            "none: what it writes is thrown away: its log is \"null\"\n  next: to keep what it writes: stdout_log",
        ),
        (&["web/0"], 1, "web.log does not tell which worker wrote a line: its form is plain"),
        (&["api", "--stderr"], 1, "api.log has both streams and does not tell which a line is of"),
        (&["web", "--grep", "("], 2, "--grep: \"(\": "),
    ] {
        let said = fire.ctl(&[&["logs"], words].concat());
        assert!(said.code == code && said.out.is_empty() && said.err.contains(text), "{words:?}: {said:?}");
    }
    fire.stop();
}

#[test]
fn a_stream_that_goes_to_nowhere_and_a_log_that_is_not_there_are_told_of() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo out; exec sleep 1000']\nstdout_log = 'null'\n\
         stderr_log = { pass_on = true, form = 'timed' }\n\
         [api]\nexec_start = ['sleep', '1000']\nstderr_log = { pass_on = true, form = 'timed' }\n\
         stdout_log = '@DIR@/api.log'\n",
    );
    let said = |words: &[&str]| {
        let said = fire.ctl(&[&["logs"], words].concat());
        assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
        said.err
    };
    assert_eq!(said(&["web"]), "firestarter: web: its standard output is thrown away: its log is \"null\"\n");
    assert_eq!(said(&["web", "--stderr"]), "");
    let log = fire.folder.join("api.log");
    assert_eq!(said(&["api"]), format!("firestarter: api: {} is not there yet\n", log.display()));
    fire.folder.write("told", "");
    let told = File::options().append(true).open(fire.folder.join("told")).expect("a file");
    let mut client = fire.folder.command(harness::BIN);
    client.args(["logs", "api", "-f", "-d"]).arg(fire.socket()).stdout(Stdio::piped()).stderr(told);
    let client = client.spawn().expect("a client");
    until("that it is told", || fire.folder.read("told").ends_with("api.log is not there yet\n"));
    end(client);
    fire.folder.write("api.log", "a line\n");
    let all = fire.ctl(&["logs", "api"]);
    assert_eq!((all.code, all.out.as_str(), all.err.as_str()), (0, "a line\n", ""));
    fire.stop();
}

#[test]
fn what_workers_write_to_firestarters_own_file_is_said_to_be_there() {
    let fire = Fire::start("[web]\nexec_start = ['sh', '-c', 'echo out; exec sleep 1000']\n");
    until("a line", || fire.stdout() == "out\n");
    let [out, err] = ["stdout", "stderr"].map(|name| fire.folder.join(name).display().to_string());
    let said = fire.ctl(&["logs", "web", "--stdout"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    let there = |path: &str| format!("own output, {path}, and is not kept elsewhere\n  next: look into {path}; or");
    assert!(said.err.contains(&there(&out)), "{said:?}");
    assert!(fire.ctl(&["logs", "web/0", "--stderr"]).err.contains(&there(&err)));
    let all = fire.ctl(&["logs", "web"]);
    assert!(all.code == 1 && all.err.contains(&there(&format!("{err} and {out}"))), "{all:?}");
    // A terminal cannot be looked into, but lines that are transformed come by in memory.
    let fire = Fire::start(
        "[web]\nexec_start = ['sh', '-c', 'echo out; exec sleep 1000']\n\
         stdout_log = { pass_on = true, form = 'timed' }\n",
    );
    until("a line", || fire.ctl(&["logs", "web"]).out == "out\n");
    let said = fire.ctl(&["logs", "web"]);
    let err = fire.folder.join("stderr").display().to_string();
    assert!(
        said.code == 0 && said.err.contains(&format!("standard error goes to firestarter's own, {err}")),
        "{said:?}"
    );
}

#[test]
fn status_tells_where_what_is_written_goes() {
    let fire = started();
    let status = fire.status();
    let path = |name: &str| fire.folder.join(name).display().to_string();
    let rotation = json!({ "by": "size", "max_bytes": 500, "backups": 100 });
    let web = json!([
        { "stream": "stdout", "to": "file", "path": path("web.log"), "form": "plain", "rotation": rotation },
        { "stream": "stderr", "to": "file", "path": path("web.err"), "form": "plain" },
    ]);
    assert_eq!(group_of(&status, "web")["outputs"], web);
    let nowhere = |stream: &str| json!({ "stream": stream, "to": "null" });
    assert_eq!(group_of(&status, "none")["outputs"], json!([nowhere("stdout"), nowhere("stderr")]));
    let mut wire = fire.wire();
    wire.send("logs", json!({ "group": "web" })).expect("send");
    assert_eq!(wire.reply().expect("a reply")["error"]["data"]["code"], "not_kept");
    fire.stop();
}

#[test]
fn who_follows_gets_every_line_once_whoever_dies() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'i=0; while :; do echo $$ $i; i=$((i+1)); sleep 0.002; done']\n\
                stdout_log = 'size:2000:1000:@DIR@/log'\nstderr_log = 'null'\nack_timeout = '10ms'\n";
    let fire = Fire::start(toml);
    until("a file", || fire.folder.join("log").exists());
    let client = follow(&fire.folder, &["web", "-f", "-n", "all", "--stdout"]);
    let lines = || fire.folder.read("shown").lines().count();
    until("the first lines", || lines() > 100);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    until("another daemon", || fire.try_status().is_some_and(|status| status["daemon_pid"] != daemon));
    fire.order("web", "upgrade");
    let writer = proc::writer(fire.keeper_pid).expect("a writer");
    proc::signal(writer, Sig::KILL);
    let before = lines();
    until("more lines", || lines() > before + 300);
    until("another file", || fire.folder.join("log.3").exists());
    fire.order("web", "stop");
    let all = fire.ctl(&["logs", "web"]).out;
    until("the last line", || fire.folder.read("shown").len() >= all.len());
    let said = end(client);
    assert_eq!((fire.folder.read("shown"), said.err.as_str()), (all.clone(), ""));
    let mut next = std::collections::BTreeMap::new();
    for line in all.lines() {
        let (pid, number) = line.split_once(' ').expect("two words");
        let expected: &mut u32 = next.entry(pid.to_owned()).or_insert(0);
        assert_eq!(number.parse(), Ok(*expected), "{line}");
        *expected += 1;
    }
    assert_eq!(next.len(), 2);
    fire.stop();
}

#[test]
fn what_cannot_be_read_is_told_once_and_looked_at_again_by_who_follows() {
    let folder = Folder::new();
    let [sub, old, beside] = ["sub", "old", "beside"].map(|name| folder.join(name));
    [&sub, &beside].into_iter().for_each(|path| std::fs::create_dir(path).expect("a folder"));
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\n\
                stdout_log = '@DIR@/sub/log'\nstderr_log = '@DIR@/beside/log'\n";
    let fire = Fire::start_in(folder, toml);
    until("a line", || fire.folder.read("sub/log") == "up\n");
    let follow = |out: Stdio| {
        let mut client = fire.folder.command(harness::BIN);
        client.args(["logs", "web", "-f", "-d"]).arg(fire.socket()).stdout(out);
        client.stderr(File::create(fire.folder.join("told")).expect("a file"));
        client.spawn().expect("a client")
    };
    let client = follow(File::create(fire.folder.join("shown")).expect("a file").into());
    let mut want = "up\n".to_owned();
    let mut shown = |name: &str, line: &str| {
        let file = File::options().append(true).create(true).open(fire.folder.join(name));
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("write");
        want.push_str(line);
        until("what was written", || fire.folder.read("shown") == want);
    };
    shown("beside/log", "");
    let path = sub.join("log").display().to_string();
    let cause = format!("firestarter: web: read {path}: not a directory\n");
    let told = |count: usize| until("the cause", || fire.folder.read("told") == cause.repeat(count));
    shown("sub/log", "before\n");
    std::fs::rename(&sub, &old).expect("rename");
    fire.folder.write("sub", "");
    told(1);
    (0..5).for_each(|number| shown("beside/log", &format!("{number}\n")));
    told(1);
    std::fs::remove_file(&sub).expect("remove");
    std::fs::rename(&old, &sub).expect("rename");
    shown("sub/log", "after\n");
    end(client);
    std::fs::rename(&sub, &old).expect("rename");
    fire.folder.write("sub", "");
    let mut client = follow(Stdio::piped());
    told(1);
    drop(client.stdout.take());
    assert_eq!(finish(client).code, 1, "it has lasted to the end");
    fire.stop();
}

#[test]
fn who_reads_no_more_ends_it_quietly() {
    let fire = started();
    let mut client = fire.folder.command(harness::BIN);
    client.args(["logs", "web", "-f", "-n", "all", "-d"]).arg(fire.socket());
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client");
    let mut line = String::new();
    let mut reader = BufReader::new(client.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line");
    assert_eq!(line, "web 1\n");
    drop(reader);
    let said = finish(client);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    fire.stop();
}

#[test]
fn without_a_daemon_the_files_of_the_configuration_are_read() {
    let mut fire = started();
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.ended();
    let config = fire.folder.join("config.toml").display().to_string();
    let said = fire.ctl(&["logs", "web", "-n", "2", "-c", &config]);
    assert_eq!((said.code, said.out.as_str()), (0, "web 499\nweb 500\n"), "{said:?}");
    assert!(said.err.contains("no daemon runs; reading the files that"), "{said:?}");
    if !std::path::Path::new("/etc/firestarter/config.toml").exists() {
        let said = fire.ctl(&["logs", "web"]);
        assert!(said.code == 3 && said.err.contains("no daemon at"), "{said:?}");
    }
}

#[test]
fn what_is_passed_on_is_read_from_memory_and_followed_over_daemons() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; \
                i=$((i+1)); sleep 0.004; done; exec sleep 1000']\n\
                [api]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\n";
    let fire = Fire::start(toml);
    until("a line", || fire.ctl(&["logs", "api"]).out == "up\n");
    let client = follow(&fire.folder, &["web", "-f", "-n", "all", "--stdout"]);
    let lines = || fire.folder.read("shown").lines().count();
    until("the first lines", || lines() > 50);
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    until("all lines", || lines() == 500);
    let said = end(client);
    let want: String = (0..500).map(|number| format!("out {number}\n")).collect();
    assert_eq!((fire.folder.read("shown"), said.err.as_str()), (want, ""));
    assert_eq!(fire.ctl(&["logs", "web/0", "--stderr", "-n", "1"]).out, "err 499\n");
    assert_eq!(fire.ctl(&["logs", "web/1"]).out, "");
    let both = fire.ctl(&["logs", "--slot", "0", "--grep", "^(up|out 7)$"]).out;
    assert_eq!(both, "api/0 | up\nweb/0 | out 7\n");
    fire.stop();
}

#[test]
fn who_follows_what_is_passed_on_is_told_of_another_start() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo up; exec sleep 1000']\n[api]\nexec_start = ['sleep', '1000']\n";
    let mut fire = Fire::start(toml);
    until("a line", || fire.ctl(&["logs", "web"]).out == "up\n");
    let [shown, told] = ["shown", "told"].map(|name| File::create(fire.folder.join(name)).expect("a file"));
    let mut client = fire.folder.command(harness::BIN);
    client.args(["logs", "web", "-f", "-d"]).arg(fire.socket()).stdout(shown).stderr(told);
    let client = client.spawn().expect("start a client");
    until("the line", || fire.folder.read("shown") == "up\n");
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    fire.ended();
    let gone = format!("firestarter: web: no daemon at {}; waiting for one\n", fire.socket().display());
    until("that it has noticed", || fire.folder.read("told") == gone);
    let mut next = harness::run_command(&fire.folder, toml).spawn().expect("start");
    until("the line of the next", || fire.folder.read("shown") == "up\nup\n");
    end(client);
    let anew = "firestarter: web: firestarter was started anew; its last lines before may be missing\n";
    assert_eq!(fire.folder.read("told"), gone + anew);
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    assert!(next.wait().expect("its end").success());
}
