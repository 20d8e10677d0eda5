//! Every fault: what it says, what it advises, and where it points.

use super::super::words::{parse as words, WordCause};
use super::{faults, parsed, web_fault};

/// The faults of a file with two columns of text: what is written, and what is found on line 3 of `[web]`.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        assert_eq!(web_fault(lines), *expected, "{lines}");
    }
}

#[test]
fn rendering_of_a_file_with_six_faults() {
    let text = "[web]\nexec_strat = \"./web\"\n\n\tnumprocesses = \"two\"\nrestart = always\r\n\
                exec_stop = \"kill |\"\n\n[api]\nexec_start = \"run 'é $HOM\"\n[jobs]\n# a job\nstop_timeout = \"10\"\n";
    let expected = r#"f.toml:2:1: unknown key "exec_strat"
    2 | exec_strat = "./web"
      | ^^^^^^^^^^
      = help: did you mean exec_start?
f.toml:4:17: numprocesses: expected a whole number from 1 to 10000, found the string "two"
    4 | 	numprocesses = "two"
      | 	               ^^^^^
      = help: write numprocesses = 2
f.toml:5:11: expected a value; text stands in quotes
    5 | restart = always
      |           ^^^^^^
      = help: write "always"
f.toml:6:19: exec_stop: an unquoted | means nothing here: there is no shell
    6 | exec_stop = "kill |"
      |                   ^
      = help: quote the |, or let a shell run it: sh -c '…'
f.toml:9:19: exec_start: the quote ' is not closed
    9 | exec_start = "run 'é $HOM"
      |                   ^
      = help: close it with another ', or quote the ' itself
f.toml:12:16: stop_timeout: expected a unit after the number, found the string "10"
   12 | stop_timeout = "10"
      |                ^^^^
      = help: write stop_timeout = 10 for seconds, or add a unit: ms, s, m, h, d
6 faults in f.toml; nothing was started"#;
    assert_eq!(parsed(text).unwrap_err().to_string(), expected);
}

#[test]
fn long_lines_are_cut_and_control_characters_are_not_sent() {
    let line = format!("exec_start = ['{}', 7, '{}']", "x".repeat(300), "y".repeat(300));
    let shown = parsed(&format!("[web]\n{line}\n")).unwrap_err().to_string();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "f.toml:2:319: exec_start: expected a string in the array, found 7");
    assert!(lines[1].chars().count() < 180 && lines[1].contains("…xxx") && lines[1].ends_with("yyy…"), "{}", lines[1]);
    let caret = lines[2].chars().count() - 1;
    assert_eq!(lines[1].chars().nth(caret), Some('7'));
    let shown = parsed("[web]\nexec_start = \"\u{1b}[2J\"\n").unwrap_err().to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = parsed("[web]\nexec_start = 'a'\nrestart = \"\\u001b[2J\"\n").unwrap_err().to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn missing_things() {
    assert_eq!(
        faults(""),
        ["0:0 no group is configured in f.toml = write a table such as [web], with exec_start = \
                             \"COMMAND\" in it"]
    );
    assert_eq!(faults("[firestarter]\n").len(), 1);
    assert_eq!(faults("\n[web]\n"), ["2:2 web: exec_start is missing = write exec_start = \"COMMAND\" in this table"]);
}

#[test]
fn groups() {
    assert_eq!(
        faults("numprocesses = 2\n[web]\nexec_start='a'\n"),
        ["1:1 \"numprocesses\" is in no group = a top-level key belongs in a group's table, such as [web]"]
    );
    assert_eq!(
        faults("[[web]]\nexec_start='a'\n"),
        ["1:3 web: expected one table, found an array of tables = write [web] once, with single brackets"]
    );
    assert_eq!(
        faults("[\"a b\"]\nexec_start='a'\n"),
        ["1:2 group \"a b\": expected a name of ASCII letters, digits, _, - and . = write [a-b]"]
    );
    assert_eq!(faults("['']\nexec_start='a'\n"), ["1:2 a group has no name = write a name such as [web]"]);
    let long = "n".repeat(65);
    assert!(faults(&format!("[{long}]\nexec_start='a'\n"))[0].contains("a name has at most 64 characters"));
    assert!(parsed(&format!("[{}]\nexec_start='a'\n", &long[1..])).is_ok());
    assert_eq!(
        faults("[a.b]\nexec_start='a'\n"),
        ["1:4 unknown key \"b\" = a group's name with a dot in it is written in quotes: [\"web.api\"]"]
    );
}

#[test]
fn daemon_settings() {
    assert_eq!(
        faults("[firestarter]\nstop_timeout = 1\nnumprocesses = 2\nstop_timeot = 1\nzzz = 1\n"),
        [
            "3:1 numprocesses: not a setting of the daemon = [firestarter] holds the daemon's settings unless it has \
         exec_start",
            "4:1 unknown key \"stop_timeot\" = did you mean stop_timeout?",
            "5:1 unknown key \"zzz\" = remove it",
        ]
    );
}

#[test]
fn keys_unknown_or_twice() {
    check(&[
        ("num_processes = 2", "3:1 unknown key \"num_processes\" = did you mean numprocesses?"),
        ("stdoutlgo = 'x'", "3:1 unknown key \"stdoutlgo\" = did you mean stdout_log?"),
        ("Working-Directory = '/'", "3:1 unknown key \"Working-Directory\" = did you mean working_directory?"),
        ("colour = 'red'", "3:1 unknown key \"colour\" = remove it"),
        (
            "stdoutlog = 'a'\nstdout_log = 'b'",
            "4:1 stdout_log: already set at 3:1 = remove one of the two; stdout_log is the newer spelling",
        ),
    ]);
}

#[test]
fn exec_start() {
    let one = |line: &str| faults(&format!("[web]\n{line}\n")).concat();
    assert_eq!(
        one("exec_start = 7"),
        "2:14 exec_start: expected a command as a string or an array of strings, found 7 = write exec_start = \"COMMAND\""
    );
    let empty = "exec_start: the command is empty = write the program to run, then its arguments";
    for value in ["\"\"", "' \t'", "[]", "['', 'a']", "\"'' a\""] {
        assert_eq!(one(&format!("exec_start = {value}")), format!("2:14 {empty}"), "{value}");
    }
    assert_eq!(
        one("exec_start = ['a', 1]"),
        "2:20 exec_start: expected a string in the array, found 1 = put it in quotes"
    );
    assert_eq!(
        one("exec_start = 'a | b'"),
        "2:17 exec_start: an unquoted | means nothing here: there is no shell = quote the |, or let a shell run it: \
         sh -c '…'"
    );
    for operator in ["|", "<", ">", ";"] {
        assert!(
            one(&format!("exec_start = \"a{operator}b\"")).starts_with("2:16 exec_start: an unquoted "),
            "{operator}"
        );
    }
    assert_eq!(
        one("exec_start = \"a ${X\""),
        "2:17 exec_start: expected a variable's name and } after ${ = write ${NAME}, or quote the $"
    );
    assert_eq!(
        one(r#"exec_start = "a \"b""#),
        "2:14 exec_start: the quote \" is not closed = close it with another \", or quote the \" itself",
        "with escapes in the string, only its beginning is certain"
    );
    assert!(one("exec_start = \"\"\"\na\n 'b\"\"\"").starts_with("4:2 exec_start: the quote ' is not closed"));
    assert!(one("exec_start = '''a 'b'''").starts_with("2:19 exec_start: the quote ' is not closed"));
    assert!(one(r#"exec_start = "a\u0000""#).starts_with("2:14 exec_start: a NUL byte cannot be passed on"));
    assert!(one(r#"exec_start = ["a", "\u0000"]"#).starts_with("2:20 exec_start: a NUL byte cannot be passed on"));
}

#[test]
fn unset_variables() {
    assert_eq!(faults("[web]\nexec_start = 'a é $NO ${HOMER}'\n"), [
        "2:19 exec_start: the variable NO is not set = set it in environments; for the text itself, quote it: '$NO'",
        "2:23 exec_start: the variable HOMER is not set = set it in environments; for the text itself, quote it: '$HOMER'",
    ]);
    let fd = faults("[web]\nexec_start = 'a $FIRESTARTER_FD_1'\nsocket_address = 80\n").concat();
    assert!(fd.contains("FIRESTARTER_FD_1 is not set = did you mean $FIRESTARTER_FD_0?"), "{fd}");
    assert_eq!(faults("[web]\nexec_start = 'a $LISTEN_FDS'\n").len(), 1, "without sockets there is none");
    assert_eq!(faults("[web]\nexec_start = 'a $A'\nenvironments = ['A']\n").len(), 1, "it may be the one meant");
    assert_eq!(faults("[web]\nexec_start = 'a $FIRESTARTER_FD_0'\nsocket_address = 'x'\n").len(), 1);
}

#[test]
fn numbers_flags_and_words() {
    let count = "numprocesses: expected a whole number from 1 to 10000, found";
    check(&[
        ("numprocesses = 0", &format!("3:16 {count} 0 = write numprocesses = 2")),
        ("numprocesses = -1", &format!("3:16 {count} -1 = write numprocesses = 2")),
        ("numprocesses = 10001", &format!("3:16 {count} 10001 = write numprocesses = 2")),
        ("numprocesses = 1.5", &format!("3:16 {count} 1.5 = write numprocesses = 2")),
        ("numprocesses = '8'", &format!("3:16 {count} the string \"8\" = write numprocesses = 8")),
        ("numprocesses = [1]", &format!("3:16 {count} an array = write numprocesses = 2")),
        ("numprocesses = {}", &format!("3:16 {count} a table = write numprocesses = 2")),
        ("numprocesses = 2020-01-01", &format!("3:16 {count} a date = write numprocesses = 2")),
        (
            "numprocesses = 99999999999999999999",
            &format!("3:16 {count} 99999999999999999999 = write numprocesses = 2"),
        ),
        (
            "start_immediate = 'false'",
            "3:19 start_immediate: expected true or false, found the string \"false\" = write start_immediate = false",
        ),
        ("start_immediate = 1", "3:19 start_immediate: expected true or false, found 1 = write start_immediate = true"),
        (
            "restart = 'allways'",
            "3:11 restart: expected \"none\", \"on-failure\" or \"always\", found the string \"allways\" = did you mean \
             restart = \"always\"?",
        ),
        ("restart = true", "3:11 restart: expected \"none\", \"on-failure\" or \"always\", found true"),
        (
            "ack = 'Manual'",
            "3:7 ack: expected \"timer\", \"manual\", \"notify\", \"http\", \"tcp\", \"exec\" or \"none\", found the string \
             \"Manual\" = did you mean ack = \"manual\"?",
        ),
    ]);
}

#[test]
fn durations() {
    for key in ["backoff_max", "backoff_reset", "ack_timeout", "start_timeout", "stop_timeout", "drain_timeout"] {
        for value in ["-1", "-0.5", "315360001", "1e300", "inf", "nan", "'3651d'", "'-1s'", "9223372036854775807"] {
            let found = web_fault(&format!("{key} = {value}"));
            assert!(found.contains(&format!("{key}: expected a duration from 0 to 10 years, found ")), "{found}");
        }
        for value in [
            "'x'",
            "''",
            "'1x'",
            "'s'",
            "'1s2'",
            "'1 s'",
            "'1..5s'",
            "'1.0000000000000000000.5s'",
            "'.5s'",
            "'inf'",
            "true",
            "[]",
        ] {
            let found = web_fault(&format!("{key} = {value}"));
            assert!(found.contains(": expected seconds as a number, or a string with a unit, found "), "{found}");
        }
        let advice = format!("write {key} = 30 for seconds, or add a unit: ms, s, m, h, d");
        assert!(web_fault(&format!("{key} = '30'")).ends_with(&advice));
    }
}

#[test]
fn signals() {
    check(&[
        ("stop_signal = 'STOP'", "3:15 stop_signal: SIGSTOP pauses a worker and does not end it = write stop_signal = \"SIGTERM\""),
        (
            "ack_signal = 9",
            "3:14 ack_signal: SIGKILL leaves a worker no chance to finish its requests = write ack_signal = \"SIGUSR2\", \
             or one that the worker catches",
        ),
        (
            "stop_signal = 'trem'",
            "3:15 stop_signal: expected a signal's name, or its number from 1 to 64, found the string \"trem\" = did you \
             mean stop_signal = \"SIGTERM\"?",
        ),
        (
            "stop_signal = 'RTMIN'",
            "3:15 stop_signal: expected a signal's name, or its number from 1 to 64, found the string \"RTMIN\" = write \
             stop_signal = \"SIGTERM\"; a real-time signal is written as its number",
        ),
    ]);
    assert!(web_fault("ack_signal = 'sigstop'").contains("SIGSTOP leaves a worker no chance"));
    for value in ["0", "65", "300", "-1", "1.0", "false"] {
        assert!(web_fault(&format!("stop_signal = {value}")).contains("expected a signal's name"), "{value}");
    }
}

#[test]
fn sockets() {
    let form = "expected IP:PORT, [IPV6]:PORT, PORT, @NAME or a path with /";
    for (written, fault) in [
        ("localhost:80", format!("{form} = names are not looked up: write 127.0.0.1:80")),
        ("db.example:80", format!("{form} = names are not looked up: write an address such as 127.0.0.1:80")),
        ("0.0.0.0", format!("{form} = add a port: 0.0.0.0:8080")),
        ("*:80", format!("{form} = for all addresses write 0.0.0.0:80 or [::]:80")),
        (":80", format!("{form} = for all addresses write 0.0.0.0:80 or [::]:80")),
        ("::1:80", format!("{form} = write brackets and a port, such as [::1]:8080")),
        ("web.sock", format!("{form} = for a unix socket write a path with /, such as ./web.sock")),
        ("70000", "port 70000 is not from 0 to 65535 = write a smaller port; 0 lets the kernel choose one".into()),
        (
            "1.2.3.4:70000",
            "port 70000 is not from 0 to 65535 = write a smaller port; 0 lets the kernel choose one".into(),
        ),
        ("udp::localhost:53", format!("{form} = names are not looked up: write 127.0.0.1:53")),
        ("udp::70000", "port 70000 is not from 0 to 65535 = write a smaller port; 0 lets the kernel choose one".into()),
        ("@", "the name after @ has 0 bytes, it can have from 1 to 107 = write a name such as @web".into()),
        ("unix::@", "the name after @ has 0 bytes, it can have from 1 to 107 = write a name such as @web".into()),
        ("unix::", format!("{form} = write a path after unix::")),
        ("sctp::1", "unknown prefix sctp:: = write tcp::, udp::, unix:: or systemd::, or no prefix".into()),
    ] {
        assert_eq!(
            web_fault(&format!("socket_address = ['{written}']")),
            format!("3:19 socket_address: \"{written}\": {fault}")
        );
    }
    assert!(web_fault("socket_address = [-1]").contains("\"-1\": expected IP:PORT"));
    assert!(web_fault("socket_address = [true]").contains("expected an address as a string, found true"));
    assert!(web_fault("socket_address = ''").contains("expected an address as a string, found an empty string"));
    let long = format!("socket_address = '/{}'", "x".repeat(107));
    assert!(web_fault(&long).contains("the socket's path has 108 bytes, at most 107 are possible"));
    let many: Vec<String> = (1..=49).map(|port| port.to_string()).collect();
    let many = web_fault(&format!("socket_address = [{}]", many.join(",")));
    assert!(many.contains("socket_address: expected at most 48 sockets, found 49"), "{many}");
}

#[test]
fn an_address_twice_names_the_other_place() {
    assert_eq!(faults("[a]\nexec_start='x'\nsocket_address=['80', './s']\n[b]\nexec_start='x'\nsocket_address=['tcp::80', '/srv/app/s']"), [
        "6:17 socket_address: \"tcp::80\" is already used by a at 3:17 = give each socket an address of its own",
        "6:28 socket_address: \"/srv/app/s\" is already used by a at 3:23 = give each socket an address of its own",
    ]);
}

#[test]
fn environments() {
    check(&[
        ("environments = 'A=b'", "3:16 environments: expected an array of \"NAME=VALUE\" or a table, found the string \"A=b\" = write environments = [\"NAME=VALUE\"]"),
        ("environments = ['A']", "3:17 environments: expected \"NAME=VALUE\", found \"A\" = put = between the name and the value"),
        ("environments = ['=b']", "3:17 environments: a variable has no name = write a name before the ="),
        ("environments = ['A=1', 'A=2']", "3:24 environments: \"A\" is already set at 3:17 = remove one of the two"),
        ("environments = {A = 1}", "3:21 environments: expected a string, found 1 = put it in quotes"),
        ("environments = {'A=B' = 'x'}", "3:17 environments: \"A=B\" cannot be a variable's name = use letters, digits and _"),
    ]);
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FIRESTARTER_FD_0", "FIRESTARTER_X"] {
        assert!(web_fault(&format!("environments = ['{name}=1']")).contains("is set by the daemon itself"), "{name}");
        assert!(
            web_fault(&format!("environments = {{{name} = '1'}}")).contains("is set by the daemon itself"),
            "{name}"
        );
    }
    assert!(web_fault(r#"environments = ["A=\u0000"]"#).contains("a NUL byte"));
    assert!(web_fault(r#"environments = {A = "\u0000"}"#).contains("a NUL byte"));
}

#[test]
fn outputs_and_folders() {
    check(&[
        ("stdoutlog = ''", "3:13 stdout_log: expected \"null\", a path as a string, or a table, found an empty string"),
        (
            "stdout_log = false",
            "3:14 stdout_log: expected \"null\", a path as a string, or a table, found false = put it in quotes",
        ),
        (
            "working_directory = ''",
            "3:21 working_directory: expected a folder's path as a string, found an empty string",
        ),
        (
            "working_directory = \"a\\u0000\"",
            "3:21 working_directory: a NUL byte cannot be passed on = remove the \\u0000",
        ),
    ]);
}

#[test]
fn broken_syntax_hides_only_what_follows_from_it() {
    assert_eq!(
        faults("[web]\nexec_start = 'a'\nexec_start = 'b'\nnumprocesses = 0\n"),
        [
            "3:1 \"exec_start\" is already set at 2:1 = remove one of the two, or put a # before it",
            "4:16 numprocesses: expected a whole number from 1 to 10000, found 0 = write numprocesses = 2",
        ]
    );
    assert_eq!(faults("[web]\nexec_start = \nnumprocesses = 0\n").len(), 2);
    assert_eq!(
        faults("[web]\nexec_start = 'a'\n[web]\nack = 'none'\n"),
        ["3:2 \"web\" is already defined above = remove one of the two, or put a # before it"]
    );
    assert_eq!(faults("[web\nexec_start = 'a'\nnumprocesses = 0\n[b]\nnumprocesses = 0\n").len(), 2);
    assert_eq!(
        faults("[web]\nexec_start = 'a'\nsocket_address = ['x',\nnumprocesses = 0\n[b]\nack = 1\n"),
        ["3:18 the [ is not closed = close it with ]"]
    );
    assert_eq!(
        faults("[web]\nworking_directory = \"/tmp\".\n"),
        ["2:27 expected the end of the line = remove the rest of the line, or put a # before it"]
    );
    assert_eq!(faults("[web]\nexec_start = \"a $NO\"\nenvironments = [\"NO=1\"\n").len(), 1);
}

#[test]
fn words_have_their_faults_in_place() {
    let fault = |text: &str| words(text).map_err(|fault| (fault.offset, fault.cause)).unwrap_err();
    assert_eq!(fault("é \"a"), (3, WordCause::OpenQuote('"')));
    assert_eq!(fault("a 'b\"c"), (2, WordCause::OpenQuote('\'')));
    assert_eq!(fault("a;b"), (1, WordCause::Operator(';')));
    assert_eq!(fault("'a' 2>&1"), (5, WordCause::Operator('>')));
    for text in ["${", "${}", "${A", "${A B}", "${A-b}"] {
        assert_eq!(fault(text), (0, WordCause::Brace), "{text}");
    }
}

#[test]
fn many_faults_are_cut() {
    let text = "[web]\n".to_owned() + &(0..500).map(|n| format!("zz{n} = 1\n")).collect::<String>();
    let shown = parsed(&text).unwrap_err().to_string();
    assert!(shown.ends_with("\nand 301 more\n501 faults in f.toml; nothing was started"), "{shown}");
}

#[test]
fn keys_of_the_upgrader_need_one() {
    check(&[
        ("upgrader_active_sec = 1", "3:1 upgrader_active_sec: there is no upgrader = write upgrader = \"COMMAND\" too, or remove this key"),
        ("upgraderactivesec = 1", "3:1 upgrader_active_sec: there is no upgrader = write upgrader = \"COMMAND\" too, or remove this key"),
        ("upgrader_timeout = 1", "3:1 upgrader_timeout: there is no upgrader = write upgrader = \"COMMAND\" too, or remove this key"),
        ("upgrader_timeout = 1\nupgrader = 'a |'", "4:15 upgrader: an unquoted | means nothing here: there is no shell = quote the |, or let a shell run it: sh -c '…'"),
        ("upgrader = ''", "3:12 upgrader: the command is empty = write the program to run, then its arguments"),
        ("exec_stop = 1", "3:13 exec_stop: expected a command as a string or an array of strings, found 1 = write exec_stop = \"COMMAND\""),
    ]);
    for key in ["upgrader_active_sec", "upgrader_timeout"] {
        let zero = web_fault(&format!("upgrader = 'a'\n{key} = 0"));
        assert!(zero.contains(&format!("{key}: expected a duration above 0, found 0")), "{zero}");
    }
}

#[test]
fn counts_and_flags_of_the_newer_keys() {
    check(&[
        ("giveup = -1", "3:10 giveup: expected a whole number from 0 to 1000000, found -1 = write giveup = 2"),
        ("warmup_delay = '1'", "3:16 warmup_delay: expected a unit after the number, found the string \"1\" = write warmup_delay = 1 for seconds, or add a unit: ms, s, m, h, d"),
        ("auto_upgrade = 'yes'", "3:16 auto_upgrade: expected true or false, found the string \"yes\" = write auto_upgrade = true"),
        ("listen_pid = 0", "3:14 listen_pid: expected true or false, found 0 = write listen_pid = true"),
        ("livechecktimeout = -1", "3:20 live_check_timeout: expected a duration from 0 to 10 years, found -1 = write live_check_timeout = 10 for ten seconds"),
    ]);
}

#[test]
fn times_that_would_do_harm_are_faults() {
    let shown = faults("[web]\nexec_start = 'x'\nbackoff_reset = 0\nstart_timeout = '0s'\n").join("\n");
    assert!(shown.contains("3:17 backoff_reset: expected a duration above 0"), "{shown}");
    assert!(shown.contains("4:17 start_timeout: expected a duration above 0"), "{shown}");
    let shown = faults("[web]\nexec_start = 'x'\nack_timeout = 5\nstart_timeout = 5\n").join("\n");
    assert!(shown.contains("3:1 ack_timeout is not shorter than start_timeout"), "{shown}");
}
