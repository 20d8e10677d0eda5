//! What `init` writes for each server has no faults and no warnings, and takes the sockets as the server needs it.

use std::path::Path;

use proptest::prelude::*;

use super::{arguments::address, recipe, text};
use crate::accounts::System;
use crate::config::servers::{recognise, SERVERS};
use crate::config::words::expand;
use crate::config::{self, Config, Surroundings};

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

/// The file for a command, checked; and what it comes to.
fn checked(command: &[String]) -> (String, Config) {
    let text = text::written(&recipe::recipe(command));
    let around = Surroundings {
        cwd: Path::new("/srv"),
        env: &|_| None,
        read: &config::read,
        is_folder: &|_| Ok(false),
        real: &Path::to_owned,
        accounts: &System,
    };
    let (config, warnings) =
        config::parse(Path::new("f.toml"), &text, &around).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    assert_eq!(warnings.to_string(), "", "{text}");
    (text, config)
}

/// The command that is written, and the addresses.
fn written(command: &str) -> (String, String) {
    let (_, config) = checked(&words(command));
    let group = &config.groups[0];
    let expanded = expand(&group.launch.exec, |_| None).expect("no variables");
    let words: Vec<String> = expanded.into_iter().map(|word| word.into_string().expect("UTF-8")).collect();
    let addresses: Vec<&str> = group.sockets.iter().map(|socket| socket.written.as_str()).collect();
    (words.join(" "), addresses.join(" "))
}

#[test]
fn each_server_takes_its_sockets() {
    for (command, exec, addresses) in [
        ("gunicorn app:app", "gunicorn --no-control-socket app:app", "127.0.0.1:8000"),
        (
            "/v/bin/gunicorn -w 4 -b 0.0.0.0:80 --bind=unix:/run/a.sock -D --no-control-socket app:app",
            "/v/bin/gunicorn -w 4 --no-control-socket app:app",
            "0.0.0.0:80 /run/a.sock",
        ),
        ("python -m gunicorn -b:9000 a", "python -m gunicorn --no-control-socket a", "0.0.0.0:9000"),
        ("uv run gunicorn -b 9000 a", "uv run gunicorn -b fd://3 --no-control-socket a", "127.0.0.1:9000"),
        ("uvicorn app:app", "uvicorn --fd 3 app:app", "127.0.0.1:8000"),
        ("uvicorn --host 0.0.0.0 --port=80 --reload a:b", "uvicorn --fd 3 a:b", "0.0.0.0:80"),
        ("uvicorn --host :: a:b", "uvicorn --fd 3 a:b", "[::]:8000"),
        ("python -m uvicorn a:b --uds /run/u", "python -m uvicorn --fd 3 a:b", "/run/u"),
        ("hypercorn -b localhost:81 -b [::1]:82 a:b", "hypercorn -b fd://3 -b fd://4 a:b", "127.0.0.1:81 [::1]:82"),
        ("hypercorn a:b", "hypercorn -b fd://3 a:b", "127.0.0.1:8000"),
        ("node app.js", "node app.js", "127.0.0.1:3000"),
        ("node app.js --port 4000", "node app.js --port 4000", "127.0.0.1:4000"),
        ("puma", "puma -b tcp://0.0.0.0:9292", "0.0.0.0:9292"),
        ("bundle exec puma -p 3000 -t 5", "bundle exec puma -b tcp://0.0.0.0:3000 -t 5", "0.0.0.0:3000"),
        ("puma -b unix:///run/p -b tcp://[::1]:1", "puma -b unix:///run/p -b tcp://[::1]:1", "/run/p [::1]:1"),
        ("nginx -c n.conf", "nginx -g daemon off; -c n.conf", "0.0.0.0:80"),
        ("haproxy -D -f h.cfg", "haproxy -db -f h.cfg", "0.0.0.0:80"),
        ("haproxy -Ws -f h.cfg", "haproxy -Ws -f h.cfg", "0.0.0.0:80"),
        ("caddy run --config C", "caddy run --config C", "0.0.0.0:80"),
        ("caddy start", "caddy run", "0.0.0.0:80"),
        ("./server --port 80", "./server --port 80", ""),
    ] {
        assert_eq!(written(command), (exec.to_owned(), addresses.to_owned()), "{command}");
    }
}

#[test]
fn signals_are_those_that_let_the_server_finish() {
    for command in
        ["gunicorn a", "uvicorn a", "hypercorn a", "node a", "puma", "nginx", "haproxy", "caddy run", "./any"]
    {
        let (_, config) = checked(&words(command));
        let finish = recognise(&words(command)).map_or("SIGTERM", |(server, _)| server.finish);
        let spec = &config.groups[0].spec;
        assert_eq!(
            (spec.ack_signal.to_string(), spec.stop_signal.to_string()),
            (finish.into(), finish.into()),
            "{command}"
        );
    }
    assert_eq!(SERVERS.len(), 8, "a new server is tried here too");
    let (_, nginx) = checked(&words("nginx"));
    assert_eq!(nginx.groups[0].launch.environments, [("NGINX".to_owned(), "3;".to_owned())]);
    let (_, uv) = checked(&words("uv run uvicorn a:b"));
    assert!(!uv.groups[0].launch.listen_pid && nginx.groups[0].launch.listen_pid);
}

#[test]
fn what_a_command_says_that_cannot_be_kept_is_told() {
    let (text, _) = checked(&words("gunicorn -b db.example:80 a"));
    assert!(text.contains("# The command's address \"db.example:80\" is left out"), "{text}");
    let command = ["nginx".to_owned(), "-g".to_owned(), "user www;".to_owned()];
    let (text, _) = checked(&command);
    assert!(text.contains(r#"["nginx", "-g", "user www; daemon off;"]"#), "{text}");
    let (text, _) = checked(&words("./server.sh --port 80"));
    assert!(text.contains("\n[server]\n") && text.contains("\n# socket_address = [\"127.0.0.1:80\"]\n"), "{text}");
    assert!(checked(&words("/usr/bin/firestarter x")).0.contains("\n[app]\n"));
}

#[test]
fn comments_become_keys_when_the_mark_is_removed() {
    let (text, _) = checked(&words("./server"));
    let opened =
        text.replace("# user = \"www-data\"\n", "# user = \"root\"\n").replace("\n# environment_file", "\n## ");
    let keys = ["user", "environments", "stdout_log", "stderr_log", "socket_address", "start_immediate"];
    let opened = keys.iter().fold(opened, |text, key| text.replace(&format!("\n# {key} = "), &format!("\n{key} = ")));
    let around = Surroundings {
        cwd: Path::new("/srv"),
        env: &|_| None,
        read: &config::read,
        is_folder: &|_| Ok(false),
        real: &Path::to_owned,
        accounts: &System,
    };
    let (config, _) =
        config::parse(Path::new("f"), &opened, &around).unwrap_or_else(|faults| panic!("{opened}\n{faults}"));
    let group = &config.groups[0];
    assert!(group.launch.identity.is_some() && group.launch.environments.len() == 1 && group.sockets.len() == 1);
}

#[test]
fn addresses_as_servers_write_them() {
    for (given, host, want) in [
        ("0.0.0.0:80", "h", Some("0.0.0.0:80")),
        ("80", "127.0.0.1", Some("127.0.0.1:80")),
        (":80", "h", Some("0.0.0.0:80")),
        ("*:80", "h", Some("0.0.0.0:80")),
        ("tcp://localhost:80", "h", Some("127.0.0.1:80")),
        (":::80", "h", Some("[::]:80")),
        ("unix:a.sock", "h", Some("./a.sock")),
        ("unix:///a", "h", Some("/a")),
        ("/run/a", "h", Some("/run/a")),
        ("fd://3", "h", None),
        ("ssl://0.0.0.0:80?key=x", "h", None),
        ("example.org:80", "h", None),
        ("", "h", None),
        ("x", "127.0.0.1", None),
    ] {
        assert_eq!(address(given, host).as_deref(), want, "{given}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_command_is_written_so_that_it_comes_back(
        known in prop::sample::select(vec!["", "gunicorn", "uvicorn", "puma", "nginx", "haproxy", "caddy", "node", "env"]),
        more in prop::collection::vec("[^\0]{0,12}|-b|-p|--port|-g|--host|--fd|--workers", 0..6),
    ) {
        let first = if known.is_empty() { "./any" } else { known };
        let command: Vec<String> = std::iter::once(first.to_owned()).chain(more).collect();
        let (_, config) = checked(&command);
        if recognise(&command).is_none() {
            let back = expand(&config.groups[0].launch.exec, |_| None).expect("no variables");
            prop_assert_eq!(back, command.iter().map(std::ffi::OsString::from).collect::<Vec<_>>());
        }
    }
}
