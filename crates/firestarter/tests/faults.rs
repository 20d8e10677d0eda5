//! Configurations with faults, and command lines: all that is wrong is said at once, with its place, and nothing starts.

mod harness;

use harness::{run_to_the_end, said, Folder, Said, BIN};

fn run(folder: &Folder, words: &[&str]) -> Said {
    let mut command = folder.command(BIN);
    command.args(words);
    said(command)
}

const FAULTY: &str = "[web]\nexec_start = \"sh -c 'echo ran >ran' | cat\"\nnumproceses = 2\nrestart = \"sometimes\"\n\
    [api]\nnumprocesses = 0\n";

#[test]
fn several_faults_are_told_at_once_and_nothing_is_started() {
    let folder = Folder::new();
    let said = run_to_the_end(&folder, FAULTY);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    let places = [":2:", ":3:1: ", ":4:11: ", ":5:2: ", ":6:16: "];
    for place in places {
        assert!(said.err.contains(&format!("config.toml{place}")), "{place} is missing: {}", said.err);
    }
    for words in ["numprocesses", "sh -c", "exec_start is missing", "5 faults", "nothing was started"] {
        assert!(said.err.contains(words), "{words:?} is missing: {}", said.err);
    }
    assert!(folder.processes().is_empty());
    for name in ["c", "c.lock", "c.d", "ran"] {
        assert!(!folder.join(name).exists(), "{name} was made");
    }
}

#[test]
fn check_says_the_same_and_starts_nothing() {
    let folder = Folder::new();
    folder.config(FAULTY);
    let faulty = run(&folder, &["check", "-c", "config.toml"]);
    assert_eq!((faulty.code, faulty.out.as_str()), (2, ""), "{faulty:?}");
    assert!(faulty.err.contains("5 faults in config.toml"), "{faulty:?}");
    folder.config("[web]\nexec_start = \"sleep 1\"\n[api]\nexec_start = \"sleep 1\"\n");
    let good = run(&folder, &["check", "-c", "config.toml"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{good:?}");
    assert_eq!(good.out, "config.toml: no faults; groups: web, api\n");
    assert!(folder.processes().is_empty());
}

#[test]
fn files_that_are_no_configuration() {
    let folder = Folder::new();
    let cases: [(&str, &[u8], &str); 4] = [
        ("empty", b"", "no group is configured"),
        ("binary", b"\xff\xfe\x00", "not UTF-8"),
        ("toml", b"[web\nexec_start", ":1:"),
        ("huge", &[b'#'; (1 << 20) + 1], "larger than 1 MiB"),
    ];
    for (name, text, words) in cases {
        std::fs::write(folder.join(name), text).expect("write");
        let said = run(&folder, &["run", "-c", name, "-d", "c"]);
        assert_eq!(said.code, 2, "{name}: {said:?}");
        assert!(said.err.contains(words), "{name}: {said:?}");
    }
    let missing = run(&folder, &["run", "-c", "missing", "-d", "c"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("cannot read missing: no such file or directory"), "{missing:?}");
    assert!(!folder.join("c").exists());
}

#[test]
fn a_group_of_the_original_is_a_group_here() {
    // Spellings without the underscore, numbers as the original wrote them.
    let folder = Folder::new();
    folder.config("[web]\nexec_start = \"sleep 1\"\nstdoutlog = \"null\"\nstderrlog = \"null\"\nack = \"manual\"\nack_signal = \"SIGTERM\"\n");
    assert_eq!(run(&folder, &["check", "-c", "config.toml"]).code, 0);
}

#[test]
fn command_lines_that_mean_nothing() {
    let folder = Folder::new();
    let cases: [&[&str]; 7] = [
        &[],
        &["explode"],
        &["run", "--explode"],
        &["ctrl"],
        &["ctrl", "web", "explode"],
        &["list", "web", "x"],
        &["-x"],
    ];
    for words in cases {
        let said = run(&folder, words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words:?}: {said:?}");
        assert!(said.err.contains("see firestarter help"), "{words:?}: {said:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = Folder::new();
    for words in [["help"], ["--help"], ["-h"]] {
        let said = run(&folder, &words);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        assert!(said.out.contains("ctrl") && said.out.contains("run"), "{said:?}");
    }
    for words in [["--version"], ["-V"]] {
        let said = run(&folder, &words);
        assert_eq!((said.code, said.out), (0, format!("firestarter {}\n", env!("CARGO_PKG_VERSION"))));
    }
}
