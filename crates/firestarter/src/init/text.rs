//! A recipe as a configuration with comments. Called by `init`.

use super::recipe::Recipe;

/// The file's text.
pub(super) fn written(recipe: &Recipe) -> String {
    let mut text = String::new();
    let mut line = |line: &str| text.extend([line, "\n"]);
    let group = &recipe.group;
    let what = recipe.server.map_or(String::new(), |server| format!(" for {server}"));
    line(&format!("# A configuration{what}. Check it with `firestarter check`, run it with `firestarter run`."));
    line("# What a key means: `firestarter help KEY`.");
    line("");
    line(&format!("[{group}]"));
    for advice in &recipe.advice {
        line(&format!("# {}", plain(advice)));
    }
    line(&format!("exec_start = {}", command(&recipe.command)));
    sockets(recipe, &mut line);
    let (count, of_what) = recipe.count;
    line(&format!("numprocesses = {count} # {of_what}"));
    line("restart = \"always\" # when a worker ends: \"none\", \"on-failure\" or \"always\"");
    if recipe.without_listen_pid {
        line("listen_pid = false # the command starts the server as its child, which has another pid");
    }
    line("");
    line(&format!("# firestarter ctrl {group} upgrade: new workers start beside the old ones. One that has lived for"));
    line("# ack_timeout serves; when all do, the old ones get ack_signal and may finish for drain_timeout.");
    line("ack = \"timer\" # \"manual\": a worker says itself when it serves");
    line(&format!("ack_timeout = {} # seconds; longer than a worker takes to boot, or to fail", recipe.ack_timeout));
    line(&format!("ack_signal = \"{}\"", recipe.finish));
    line("drain_timeout = 30 # then SIGKILL");
    line("");
    line(&format!("# firestarter ctrl {group} stop"));
    line(&format!("stop_signal = \"{}\"", recipe.finish));
    line("stop_timeout = 10 # then SIGKILL");
    line("");
    line("# Who the workers run as, if Firestarter runs as root:");
    line("# user = \"www-data\"");
    line("# Variables, on top of those that Firestarter was started with; or from a file:");
    match recipe.environments.is_empty() {
        true => line("# environments = [\"NAME=value\"]"),
        false => line(&format!("environments = [{}]", list(&recipe.environments))),
    }
    line(&format!("# environment_file = \"/etc/{group}.env\""));
    line("# Logs with rotation: 10 MiB, 5 old files. Without them, output goes to Firestarter's own.");
    line(&format!("# stdout_log = \"size:10485760:5:/var/log/{group}.log\""));
    line(&format!("# stderr_log = \"size:10485760:5:/var/log/{group}.err\""));
    text
}

fn sockets(recipe: &Recipe, line: &mut impl FnMut(&str)) {
    let addresses = list(&recipe.addresses);
    if recipe.takes_sockets {
        line("# Opened once, and open through every restart and upgrade.");
        line(&format!("socket_address = [{addresses}]"));
        line("start_immediate = true # false: the first connection starts the workers");
    } else {
        line("# A server that can take its socket from systemd (LISTEN_FDS), or by number (the first one is 3), shares it");
        line("# with its successors, and no request is lost in an upgrade. The command must then not bind it itself.");
        line(&format!("# socket_address = [{addresses}]"));
        line("# start_immediate = true");
    }
}

/// A string if the words can stand in one as they are, else an array.
fn command(words: &[String]) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    if words.iter().all(|word| !word.is_empty() && word.chars().all(harmless)) {
        return format!("\"{}\"", words.join(" "));
    }
    format!("[{}]", list(words))
}

fn list(words: &[String]) -> String {
    words.iter().map(|word| string(word)).collect::<Vec<_>>().join(", ")
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment ends with its line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
