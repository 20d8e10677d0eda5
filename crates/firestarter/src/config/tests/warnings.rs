//! What `check` warns of: signals that harm the server that runs there.

use super::super::servers::{recognise, Effect, SERVERS};
use super::parsed_with_warnings;
use firestarter_core::spec::Signal;

fn warnings(command: &str, lines: &str) -> Vec<String> {
    let text = format!("[web]\nexec_start = {command}\n{lines}\n");
    let (_, warnings) = parsed_with_warnings(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    let one = |w: &super::super::Fault| {
        format!("{}:{} {} = {}", w.line, w.column, w.message, w.advice.clone().unwrap_or_default())
    };
    warnings.warnings.iter().map(one).collect()
}

#[test]
fn the_default_signal_of_an_upgrade() {
    assert_eq!(
        warnings("'gunicorn app:app'", ""),
        ["2:1 ack_signal: SIGUSR2 by default: gunicorn starts a second master beside itself; it does not end, and is \
          killed when its time is over = write ack_signal = \"SIGTERM\""]
    );
    assert_eq!(
        warnings("'uvicorn --fd 3 app:app'", ""),
        ["2:1 ack_signal: SIGUSR2 by default: uvicorn does not catch it, so in an upgrade it gets SIGTERM instead = write \
          ack_signal = \"SIGTERM\""]
    );
    let with_workers = warnings("['uvicorn', '--workers=2', 'app:app']", "").concat();
    assert!(
        with_workers.contains("uvicorn with --workers catches it and does nothing; it does not end"),
        "{with_workers}"
    );
    for (command, what) in [
        ("'python3 -m hypercorn -b fd://3 a:b'", "hypercorn does not catch it"),
        ("'node app.js'", "Node does not catch it"),
        ("'bundle exec puma'", "Puma restarts itself; it does not end"),
        ("'haproxy -W -f c'", "HAProxy reloads; it does not end"),
        ("'caddy run'", "Caddy catches it and does nothing"),
    ] {
        let found = warnings(command, "");
        assert!(found.iter().any(|warning| warning.contains(what)), "{command}: {found:?}");
    }
}

#[test]
fn signals_that_cut() {
    let nginx = warnings("'nginx'", "ack_signal = 'QUIT'");
    assert_eq!(
        nginx,
        ["2:1 stop_signal: SIGTERM by default: nginx cuts off its requests = write stop_signal = \"SIGQUIT\""]
    );
    let written = warnings("'nginx'", "ack_signal = 'QUIT'\nstop_signal = 'TERM'");
    assert_eq!(written, ["4:1 stop_signal: SIGTERM: nginx cuts off its requests = write stop_signal = \"SIGQUIT\""]);
    let caddy = warnings("'caddy run'", "ack_signal = 'QUIT'");
    assert!(caddy.concat().contains("3:1 ack_signal: SIGQUIT: Caddy cuts off its requests"), "{caddy:?}");
    let node = warnings("'node a'", "stop_signal = 'HUP'\nack_signal = 'TERM'");
    assert!(node.concat().contains("Node does not catch it and dies in the middle of its requests"), "{node:?}");
    let haproxy = warnings("'haproxy -db'", "stop_signal = 'USR2'\nack_signal = 'USR1'");
    assert!(haproxy.concat().contains("HAProxy ignores it, and is killed"), "{haproxy:?}");
    assert_eq!(warnings("'haproxy -W'", "").len(), 2, "of either signal");
}

#[test]
fn nothing_is_said_of_what_is_well_or_not_known() {
    for (command, lines) in [
        ("'./server'", ""),
        ("'gunicorn a:b'", "ack_signal = 'TERM'"),
        ("'gunicorn a:b'", "ack = 'none'"),
        ("'nginx'", "ack_signal = 'QUIT'\nstop_signal = 'QUIT'"),
        ("'node app.js'", "ack_signal = 'TERM'"),
        ("'sh -c gunicorn'", ""),
        ("'python app.py -m gunicorn'", ""),
        ("'$HOME/gunicorns a'", ""),
    ] {
        assert_eq!(warnings(command, lines), [""; 0], "{command} {lines}");
    }
}

#[test]
fn a_server_is_known_behind_what_starts_it() {
    let known = |text: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        recognise(&words).map(|(server, rest)| format!("{} {}", server.name, rest.join(" ")))
    };
    for text in [
        "gunicorn -b x",
        "/opt/venv/bin/gunicorn -b x",
        "python -m gunicorn -b x",
        "/usr/bin/python3.12 -u -m gunicorn -b x",
        "env A=b C=d gunicorn -b x",
        "poetry run gunicorn -b x",
        "uv run gunicorn -b x",
        "bundle exec env -i gunicorn -b x",
    ] {
        assert_eq!(known(text).as_deref(), Some("gunicorn -b x"), "{text}");
    }
    for text in
        ["", "gunicorns", "python app.py", "bundle install gunicorn", "env", "python -m", "sh gunicorn", "env env env"]
    {
        assert_eq!(known(text), None, "{text}");
    }
}

#[test]
fn a_command_of_nothing_but_wrappers_ends_the_search() {
    assert!(recognise(&vec!["env".to_owned(); 200_000]).is_none());
    assert!(warnings(&format!("'{}'", "env ".repeat(200_000)), "").is_empty());
}

#[test]
fn the_table_is_sound() {
    for server in SERVERS {
        let finish = Signal::parse(server.finish).unwrap();
        let effect = server.effect(finish, &[]);
        let by_application = server.name == "Node" && effect == Effect::Unknown;
        assert!(effect == Effect::Finishes || by_application, "{}: {} does not finish", server.name, server.finish);
        // What `init` writes must be spelled as signals are here.
        assert_eq!(finish.to_string(), server.finish);
    }
}

#[test]
fn a_warning_is_shown_with_its_line() {
    let (_, warnings) = parsed_with_warnings("[web]\nexec_start = 'nginx'\nack_signal = 'QUIT'\n").unwrap();
    let shown = warnings.to_string();
    assert_eq!(
        shown,
        "f.toml:2:1: warning: stop_signal: SIGTERM by default: nginx cuts off its requests\n    2 | exec_start = 'nginx'\n      \
         | ^^^^^^^^^^\n      = help: write stop_signal = \"SIGQUIT\"\n"
    );
}
