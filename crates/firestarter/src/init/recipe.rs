//! How a command becomes a group: what its server needs to take its sockets from Firestarter and to go without cutting
//! off a request. Called by `init`; what signals do to servers stands in `config::servers`.

use super::arguments::{address, Arguments};
use crate::config::servers::{self, Kind};

/// What a configuration says, before it is text.
pub(super) struct Recipe {
    /// The server, if it is known.
    pub(super) server: Option<&'static str>,
    /// The group's name.
    pub(super) group: String,
    /// `exec_start`.
    pub(super) command: Vec<String>,
    /// What must be known about the command and the server's own configuration; a line each.
    pub(super) advice: Vec<String>,
    /// `socket_address`.
    pub(super) addresses: Vec<String>,
    /// Whether the command takes the sockets. If not, they are a suggestion.
    pub(super) takes_sockets: bool,
    /// `numprocesses`, and what a process is.
    pub(super) count: (u32, &'static str),
    /// `environments`.
    pub(super) environments: Vec<String>,
    /// `listen_pid = false`.
    pub(super) without_listen_pid: bool,
    /// `ack_timeout` in seconds.
    pub(super) ack_timeout: u32,
    /// `ack_signal` and `stop_signal`.
    pub(super) finish: &'static str,
}

const OWN_WORKERS: &str = "each has workers of its own";
const PROCESSES: &str = "processes that share the sockets";

/// The recipe for a command.
pub(super) fn recipe(command: &[String]) -> Recipe {
    let Some((server, rest)) = servers::recognise(command) else { return general(command) };
    let before = &command[..command.len() - rest.len()];
    let mut recipe = Recipe {
        server: Some(server.name),
        group: "web".to_owned(),
        command: Vec::new(),
        advice: Vec::new(),
        addresses: Vec::new(),
        takes_sockets: true,
        count: (2, PROCESSES),
        environments: Vec::new(),
        without_listen_pid: false,
        ack_timeout: 2,
        finish: server.finish,
    };
    let mut arguments = Arguments(rest.to_vec());
    // These start the server as a child and wait for it.
    recipe.without_listen_pid = matches!(before[0].rsplit('/').next(), Some("uv" | "npx"));
    match server.kind {
        Kind::Gunicorn => gunicorn(&mut recipe, &mut arguments),
        Kind::Uvicorn => uvicorn(&mut recipe, &mut arguments),
        Kind::Hypercorn => hypercorn(&mut recipe, &mut arguments),
        Kind::Node => node(&mut recipe, &arguments),
        Kind::Puma => puma(&mut recipe, &mut arguments),
        Kind::Nginx => nginx(&mut recipe, &mut arguments),
        Kind::Haproxy => haproxy(&mut recipe, &mut arguments),
        Kind::Caddy => caddy(&mut recipe, &mut arguments),
    }
    recipe.command = before.iter().cloned().chain(arguments.0).collect();
    recipe
}

fn gunicorn(recipe: &mut Recipe, arguments: &mut Arguments) {
    bound(recipe, &arguments.take(&["-b", "--bind"]), "127.0.0.1", "127.0.0.1:8000");
    arguments.drop(&["-D", "--daemon"]);
    if !arguments.has(&["--no-control-socket"]) {
        arguments.put(&["--no-control-socket"]);
        recipe.advise(
            "Two generations would share gunicorn's control socket, hence --no-control-socket. gunicorn before",
        );
        recipe.advise("25.1 has neither: remove the option there.");
    }
    match recipe.without_listen_pid {
        true => bind_to_descriptors(recipe, arguments, "fd://"),
        false => recipe.advise("gunicorn finds its sockets by itself (LISTEN_FDS), in place of -b."),
    }
    recipe.count = (1, OWN_WORKERS);
}

fn uvicorn(recipe: &mut Recipe, arguments: &mut Arguments) {
    let port = arguments.take(&["--port"]);
    let host = arguments.take(&["--host"]);
    let host = host.last().map_or("127.0.0.1", String::as_str);
    let path = arguments.take(&["--uds"]).into_iter().map(|path| format!("unix:{path}"));
    let given: Vec<String> = path.chain(port.last().map(|port| format!("{host}:{port}"))).take(1).collect();
    let default = address("8000", host).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    bound(recipe, &given, host, &default);
    if arguments.drop(&["--reload"]) {
        recipe.advise("Without --reload: an upgrade does the same without a gap.");
    }
    if arguments.see(&["--fd"]).is_empty() {
        arguments.put(&["--fd", "3"]);
    }
    recipe.advise("uvicorn takes its socket by number: the first one of socket_address is 3.");
    if arguments.0.iter().any(|word| word.starts_with("--workers")) {
        recipe.count = (1, OWN_WORKERS);
    }
}

fn hypercorn(recipe: &mut Recipe, arguments: &mut Arguments) {
    bound(recipe, &arguments.take(&["-b", "--bind"]), "127.0.0.1", "127.0.0.1:8000");
    if arguments.drop(&["--reload"]) {
        recipe.advise("Without --reload: an upgrade does the same without a gap.");
    }
    bind_to_descriptors(recipe, arguments, "fd://");
    recipe.advise("hypercorn takes its sockets by number: the first one of socket_address is 3.");
}

fn node(recipe: &mut Recipe, arguments: &Arguments) {
    let host = arguments.see(&["--host", "--hostname"]);
    let host = host.last().map_or("127.0.0.1", String::as_str);
    bound(recipe, &arguments.see(&["--port", "-p"]), host, "127.0.0.1:3000");
    recipe.advise("The program must listen on the shared socket, server.listen({fd: 3}), and finish on SIGTERM:");
    recipe.advise("process.on('SIGTERM', () => server.close()). Node without such a line cuts off its requests.");
}

fn puma(recipe: &mut Recipe, arguments: &mut Arguments) {
    let mut given = arguments.take(&["-b", "--bind"]);
    given.extend(arguments.take(&["-p", "--port"]).into_iter().map(|port| format!("0.0.0.0:{port}")));
    bound(recipe, &given, "0.0.0.0", "0.0.0.0:9292");
    arguments.drop(&["-d", "--daemon"]);
    for address in recipe.addresses.iter().rev() {
        let kind = if address.contains('/') { "unix" } else { "tcp" };
        arguments.put(&["-b", &format!("{kind}://{address}")]);
    }
    recipe.advise("Puma takes a socket of socket_address when it is bound to the very same address: here by -b, or in");
    recipe.advise("config/puma.rb, which must not name another one.");
    recipe.count = (1, OWN_WORKERS);
}

fn nginx(recipe: &mut Recipe, arguments: &mut Arguments) {
    recipe.addresses = vec!["0.0.0.0:80".to_owned()];
    let mut directives = arguments.take(&["-g"]);
    if !directives.iter().any(|text| text.contains("daemon off")) {
        directives.push("daemon off;".to_owned());
    }
    arguments.put(&["-g", &directives.join(" ")]);
    recipe.environments = vec!["NGINX=3;".to_owned()];
    recipe.advise(
        "socket_address must be what nginx.conf listens on (listen 80; is 0.0.0.0:80); for a second one add it",
    );
    recipe.advise("here and write NGINX=3;4; below. SIGQUIT lets nginx finish; SIGTERM would cut off its requests.");
    recipe.count = (1, OWN_WORKERS);
}

fn haproxy(recipe: &mut Recipe, arguments: &mut Arguments) {
    recipe.addresses = vec!["0.0.0.0:80".to_owned()];
    arguments.drop(&["-D"]);
    if !arguments.has(&["-W", "-Ws", "-db"]) {
        arguments.put(&["-db"]);
    }
    recipe.advise(
        "In haproxy.cfg write bind fd@3 in place of the address. SIGUSR1 lets HAProxy finish; SIGTERM would cut",
    );
    recipe.advise("off its connections.");
    recipe.count = (1, "each is a whole HAProxy");
}

fn caddy(recipe: &mut Recipe, arguments: &mut Arguments) {
    recipe.addresses = vec!["0.0.0.0:80".to_owned()];
    match arguments.0.first_mut() {
        Some(word) if word == "start" => "run".clone_into(word),
        Some(_) => {}
        None => arguments.put(&["run"]),
    }
    recipe.advise("In the Caddyfile write bind fd/3 in each site (Caddy 2.6 does not know that yet), and admin off at");
    recipe.advise("the top, as two generations would fight for the address of the admin endpoint.");
    recipe.count = (1, "each is a whole Caddy");
}

/// Any other command.
fn general(command: &[String]) -> Recipe {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let arguments = Arguments(command.iter().skip(1).cloned().collect());
    let given = arguments.see(&["--bind", "-b", "--listen", "--addr", "--address", "--port", "-p"]);
    let addresses: Vec<String> = given.iter().filter_map(|given| address(given, "127.0.0.1")).collect();
    Recipe {
        server: None,
        group: group_name(program),
        command: command.to_vec(),
        advice: Vec::new(),
        addresses: if addresses.is_empty() { vec!["127.0.0.1:8000".to_owned()] } else { addresses },
        takes_sockets: false,
        count: (1, "processes"),
        environments: Vec::new(),
        without_listen_pid: false,
        ack_timeout: 1,
        finish: "SIGTERM",
    }
}

/// The program's name, as far as a group can have it.
fn group_name(program: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(64).collect();
    // `[firestarter]` looks like the daemon's own settings.
    if name.is_empty() || name == "firestarter" {
        "app".to_owned()
    } else {
        name
    }
}

/// The addresses that a server was given, or its default.
fn bound(recipe: &mut Recipe, given: &[String], host: &str, default: &str) {
    for given in given {
        match address(given, host) {
            Some(address) if recipe.addresses.contains(&address) => {}
            Some(address) => recipe.addresses.push(address),
            None => {
                recipe.advise(&format!("The command's address {given:?} is left out: socket_address cannot say it."))
            }
        }
    }
    if recipe.addresses.is_empty() {
        recipe.addresses.push(default.to_owned());
    }
}

/// Binds to every socket by its number.
fn bind_to_descriptors(recipe: &Recipe, arguments: &mut Arguments, form: &str) {
    for index in (0..recipe.addresses.len()).rev() {
        arguments.put(&["-b", &format!("{form}{}", 3 + index)]);
    }
}

impl Recipe {
    fn advise(&mut self, line: &str) {
        self.advice.push(line.to_owned());
    }
}
