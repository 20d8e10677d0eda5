//! What `state` answers: a dump in YAML that has Einhorn's keys, filled from the daemon's status. Called by `talk`. Pure.

use super::build::Briefing;
use super::scalar::quoted;
use crate::api::{GroupStatus, Stage, State, Status};

/// The whole, as Einhorn dumps it.
pub(super) fn dump(briefing: &Briefing, status: &Status) -> String {
    let group = status.groups.iter().find(|group| group.name == briefing.group);
    let maybe = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
    let number = |number: Option<f64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let ack = match briefing.ack_after {
        None => "\n    :type: :manual".to_owned(),
        Some(after) => format!("\n    :type: :timer\n    :timeout: {after}"),
    };
    let state = group.map(|group| group.state);
    let upgrading = state == Some(State::Upgrading);
    let going_down = status.shutting_down || matches!(state, Some(State::Stopping | State::Stopped));
    let mut text = String::from("---\n:state:\n");
    for (key, value) in [
        ("children", children(group)),
        (
            "config",
            format!(
                "\n    :number: {}\n    :backlog: {}\n    :seconds: {}",
                group.map_or(0, |group| group.wanted),
                briefing.backlog,
                briefing.respawn_after
            ),
        ),
        ("version", group.map_or(0, |group| group.generation.0.saturating_sub(1)).to_string()),
        ("cmd", format!("[{}]", list(&briefing.command))),
        ("cmd_name", maybe(briefing.name.as_deref())),
        ("bind", format!("[{}]", list(&briefing.binds))),
        ("respawn", (!going_down).to_string()),
        ("upgrading", upgrading.to_string()),
        ("generation", "0".to_owned()),
        ("ack_mode", ack),
        ("signal_timeout", number(briefing.signal_timeout)),
        ("socket_path", quoted(&briefing.socket.to_string_lossy())),
        ("pidfile", quoted(&briefing.pid_file.to_string_lossy())),
    ] {
        // What has lines of its own begins with a newline.
        let blank = if value.starts_with('\n') { "" } else { " " };
        text.push_str(&format!("  :{key}:{blank}{value}\n"));
    }
    text.push_str(":persistent_descriptors: []\n");
    text
}

/// The workers, by pid.
fn children(group: Option<&GroupStatus>) -> String {
    let workers = group.into_iter().flat_map(|group| &group.workers).filter_map(|worker| {
        let acked = matches!(worker.state, Stage::Ready | Stage::Draining);
        let (version, index) = (worker.generation.0.saturating_sub(1), worker.slot.0);
        let signaled = if matches!(worker.state, Stage::Draining | Stage::Killing) { "[\"USR2\"]" } else { "[]" };
        let pid = worker.pid?;
        Some(format!(
            "\n    {pid}:\n      :type: :worker\n      :version: {version}\n      :acked: {acked}\n      \
             :signaled: {signaled}\n      :index: {index}"
        ))
    });
    let workers: String = workers.collect();
    if workers.is_empty() {
        "{}".to_owned()
    } else {
        workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status_example;
    use std::path::PathBuf;

    #[test]
    fn the_dump_has_einhorns_keys_and_our_facts() {
        let briefing = Briefing {
            group: "web".to_owned(),
            control: PathBuf::from("/c"),
            name: None,
            command: vec!["a".to_owned(), "b \"c\"".to_owned()],
            binds: vec!["127.0.0.1:80".to_owned()],
            backlog: 100,
            ack_after: Some(1.0),
            respawn_after: 1.0,
            signal_timeout: None,
            at_a_time: 2,
            socket: PathBuf::from("/tmp/einhorn.sock"),
            pid_file: PathBuf::from("/tmp/einhorn.pid"),
        };
        let text = dump(&briefing, &status_example());
        for line in [
            "\n  :config:\n    :number: 2\n    :backlog: 100\n    :seconds: 1\n",
            "\n  :cmd: [\"a\", \"b \\\"c\\\"\"]\n",
            "\n  :upgrading: true\n",
            "\n  :ack_mode:\n    :type: :timer\n    :timeout: 1\n",
            "\n  :socket_path: \"/tmp/einhorn.sock\"\n",
            "\n    100:\n      :type: :worker\n      :version: ",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        let gone = dump(&Briefing { group: "none".to_owned(), ..briefing }, &status_example());
        assert!(gone.contains("\n  :children: {}\n"), "{gone}");
    }
}
