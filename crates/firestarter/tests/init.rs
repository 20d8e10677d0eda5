//! `init` writes a configuration that `check` finds without fault and `run` can run, and never overwrites a file; `check`
//! warns of signals that harm a server, with exit code 0.

mod harness;

use std::os::unix::fs::symlink;

use harness::{said, until, Fire, Folder, Said, BIN};

fn run(folder: &Folder, words: &[&str]) -> Said {
    let mut command = folder.command(BIN);
    command.args(words);
    said(command)
}

#[test]
fn a_file_is_written_once() {
    let folder = Folder::new();
    let first = run(&folder, &["init", "--", "gunicorn", "-b", "0.0.0.0:8000", "app:app"]);
    assert_eq!((first.code, first.err.as_str()), (0, ""), "{first:?}");
    assert_eq!(first.out, "wrote firestarter.toml; next: firestarter check, then firestarter run\n");
    let text = folder.read("firestarter.toml");
    assert!(
        text.contains("socket_address = [\"0.0.0.0:8000\"]") && text.contains("ack_signal = \"SIGTERM\""),
        "{text}"
    );
    let checked = run(&folder, &["check"]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{checked:?}");
    let again = run(&folder, &["init", "--", "node", "app.js"]);
    assert_eq!((again.code, again.out.as_str()), (1, ""), "{again:?}");
    assert!(again.err.contains("firestarter.toml exists and is not overwritten"), "{again:?}");
    assert_eq!(folder.read("firestarter.toml"), text);
}

#[test]
fn a_file_of_another_name_and_none_at_all() {
    let folder = Folder::new();
    let named = run(&folder, &["init", "-c", "n.toml", "--", "nginx"]);
    assert_eq!(named.out, "wrote n.toml; next: firestarter check -c n.toml, then firestarter run -c n.toml\n");
    assert_eq!(run(&folder, &["check", "-c", "n.toml"]).code, 0);
    let printed = run(&folder, &["init", "-c", "-", "--", "nginx"]);
    assert_eq!((printed.code, printed.out), (0, folder.read("n.toml")));
    let nowhere = run(&folder, &["init", "-c", "no/n.toml", "--", "nginx"]);
    assert_eq!((nowhere.code, nowhere.out.as_str()), (1, ""), "{nowhere:?}");
    assert!(nowhere.err.contains("write no/n.toml: no such file or directory"), "{nowhere:?}");
    assert_eq!(run(&folder, &["init"]).code, 2);
    assert!(!folder.join("firestarter.toml").exists());
}

#[test]
fn a_link_that_leads_nowhere_is_not_followed() {
    let folder = Folder::new();
    symlink("elsewhere", folder.join("firestarter.toml")).expect("a link");
    assert_eq!(run(&folder, &["init", "--", "nginx"]).code, 1);
    assert!(!folder.join("elsewhere").exists());
}

#[test]
fn what_is_written_for_any_command_runs() {
    let folder = Folder::new();
    let command = ["init", "-c", "-", "--", "sh", "-c", "echo \"$0\" >ran; exec sleep 1000", "a 'b\" $c"];
    let printed = run(&folder, &command);
    assert_eq!(printed.code, 0, "{printed:?}");
    let fire = Fire::start_in(folder, &printed.out);
    until("the command", || fire.folder.read("ran") == "a 'b\" $c\n");
}

#[test]
fn check_warns_of_signals_and_is_content() {
    let folder = Folder::new();
    folder.config("[web]\nexec_start = \"gunicorn app:app\"\n[proxy]\nexec_start = \"nginx -g 'daemon off;'\"\nack_signal = \"QUIT\"\n");
    let checked = run(&folder, &["check", "-c", "config.toml"]);
    assert_eq!(
        (checked.code, checked.out.as_str()),
        (0, "config.toml: no faults; groups: web, proxy\n"),
        "{checked:?}"
    );
    for words in [
        "config.toml:2:1: warning: ack_signal: SIGUSR2 by default: gunicorn starts a second master",
        "help: write ack_signal = \"SIGTERM\"",
        "config.toml:4:1: warning: stop_signal: SIGTERM by default: nginx cuts off its requests",
        "help: write stop_signal = \"SIGQUIT\"",
    ] {
        assert!(checked.err.contains(words), "{words:?} is missing: {}", checked.err);
    }
}

#[test]
fn users_and_files_of_this_system_are_read() {
    let folder = Folder::new();
    folder.write("a.env", "A=1\nnonsense\n");
    folder.config("[web]\nexec_start = \"sleep 1\"\nuser = \"root\"\nenvironment_file = \"a.env\"\n");
    let faulty = run(&folder, &["check", "-c", "config.toml"]);
    assert_eq!(faulty.code, 2, "{faulty:?}");
    assert!(
        faulty.err.contains("config.toml:4:20: environment_file: ") && faulty.err.contains("/a.env:2: expected"),
        "{faulty:?}"
    );
    assert!(faulty.err.contains("1 fault"), "root is a user: {faulty:?}");
    folder.write("a.env", "A=1\n");
    assert_eq!(run(&folder, &["check", "-c", "config.toml"]).code, 0);
    folder.config("[web]\nexec_start = \"sleep 1\"\nuser = \"no-such-user\"\n");
    let stranger = run(&folder, &["check", "-c", "config.toml"]);
    assert!(stranger.err.contains("config.toml:3:8: user: there is no user \"no-such-user\""), "{stranger:?}");
}

#[test]
fn help_tells_of_a_key() {
    let folder = Folder::new();
    let told = run(&folder, &["help", "umask"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.starts_with("umask\n") && told.out.contains("example:  umask = "), "{told:?}");
    let unknown = run(&folder, &["help", "umsk"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("did you mean umask?"), "{unknown:?}");
}
