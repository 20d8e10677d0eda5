//! The shared sockets: what addresses mean, what is done about what stands in the way, and groups that a connection starts.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{symlink, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use harness::{proc, run_to_the_end, until, Fire, Folder};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A group whose sockets nobody accepts from.
fn idle(addresses: &str) -> String {
    format!("[web]\nexec_start = ['sleep', '1000']\nsocket_address = {addresses}\nstart_immediate = true\n")
}

fn address_of(fire: &Fire, index: usize) -> SocketAddr {
    let status = fire.group("web");
    let address = status["listeners"][index]["address"].as_str().unwrap_or_default().to_owned();
    address.parse().unwrap_or_else(|_| panic!("no address: {address}"))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("bind").port()
}

#[test]
fn addresses_of_every_kind_are_listened_at() {
    let port = free_port();
    let fire = Fire::start(
        &idle(&format!("['127.0.0.1:0', 'tcp::[::1]:0', {port}, '@DIR@/a.sock', 'unix::@DIR@/b.sock']"))
            .replace(&format!(", {port},"), &format!(", '{port}',")),
    );
    fire.settled("web", 1);
    for index in [0, 1] {
        TcpStream::connect(address_of(&fire, index)).expect("connect");
    }
    TcpStream::connect(("127.0.0.1", port)).expect("a bare port is this machine's");
    for path in ["a.sock", "b.sock"] {
        UnixStream::connect(fire.folder.join(path)).expect("connect");
    }
    let (a, b) = (fire.folder.join("a.sock"), fire.folder.join("b.sock"));
    assert_eq!(fire.ctl(&["stop"]).code, 0);
    until("the paths removed", || !a.exists() && !b.exists());
}

#[test]
fn listeners_stay_through_stop_and_start() {
    let fire = Fire::start(&idle("['127.0.0.1:0']"));
    let address = address_of(&fire, 0);
    fire.order("web", "stop");
    let waiting = TcpStream::connect(address).expect("the queue stays");
    fire.order("web", "start");
    assert_eq!(address_of(&fire, 0), address);
    drop(waiting);
}

#[test]
fn a_stale_path_is_replaced() {
    let folder = Folder::new();
    drop(UnixListener::bind(folder.join("a.sock")).expect("bind"));
    let fire = Fire::start_in(folder, &idle("['@DIR@/a.sock']"));
    UnixStream::connect(fire.folder.join("a.sock")).expect("connect");
}

#[test]
fn a_live_path_is_an_error_and_its_owner_is_not_harmed() {
    let folder = Folder::new();
    let owner = UnixListener::bind(folder.join("a.sock")).expect("bind");
    let said = run_to_the_end(&folder, &idle("['@DIR@/a.sock']"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("another program listens there"), "{said:?}");
    UnixStream::connect(folder.join("a.sock")).expect("the owner's socket is still there");
    drop(owner);
    assert!(!folder.join("c").exists() && folder.processes().is_empty(), "nothing is left");
}

#[test]
fn a_file_where_a_socket_belongs_is_an_error_and_stays() {
    let folder = Folder::new();
    folder.write("a.sock", "precious");
    let said = run_to_the_end(&folder, &idle("['@DIR@/a.sock']"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is something that is no socket"), "{said:?}");
    assert_eq!(folder.read("a.sock"), "precious");
}

#[test]
fn an_address_in_use_is_said_and_nothing_is_left() {
    let folder = Folder::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = other.local_addr().expect("an address");
    let said = run_to_the_end(&folder, &idle(&format!("['@DIR@/a.sock', '{address}']")));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("web: bind {address}: address already in use")), "{said:?}");
    assert!(folder.processes().is_empty());
    for name in ["c", "c.d", "c.lock", "a.sock"] {
        assert!(!folder.join(name).exists(), "{name} is left");
    }
}

#[test]
fn whose_path_it_is_that_cannot_be_bound_is_said() {
    let folder = Folder::new();
    folder.write("file", "");
    let file = folder.join("file").display().to_string();
    let nowhere = folder.join("no/s").display().to_string();
    let create = format!("web: bind {nowhere}: no such file or directory (create its folder, or name another path)");
    for (toml, want) in [
        (idle("['@DIR@/file']"), format!("web: bind {file}: there is something that is no socket")),
        (idle("['@DIR@/no/s']"), create.clone()),
        (format!("{}control_socket = '@DIR@/no/s'\n", idle("[]")), create.clone()),
    ] {
        let said = run_to_the_end(&folder, &toml);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(&want), "{said:?}");
    }
}

#[test]
fn a_path_too_long_for_a_socket_is_said() {
    let folder = Folder::new();
    let said = run_to_the_end(&folder, &idle(&format!("['@DIR@/{}']", "x".repeat(120))));
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.err.contains("107"), "{said:?}");
}

#[test]
fn a_listener_is_blocking_at_first() {
    let toml = idle("['127.0.0.1:0']").replace("['sleep', '1000']", "['@WORKER@', 'flags']");
    let fire = Fire::start(&toml);
    until("an answer", || !fire.stdout().is_empty());
    assert_eq!(fire.stdout(), "0\n");
}

/// Answers one connection, then ends.
const ONE_SHOT: &str =
    "[web]\nexec_start = ['@WORKER@', 'once']\nsocket_address = ['127.0.0.1:0']\nbackoff_max = '1ms'\n";

#[test]
fn a_connection_starts_a_group_and_another_starts_it_again() {
    let fire = Fire::start(ONE_SHOT);
    assert_eq!(fire.in_state("web", "waiting")["workers"].as_array().map(Vec::len), Some(0));
    let address = address_of(&fire, 0);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).expect("connect");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(!answer.is_empty() && !seen.contains(&answer), "{answer:?} {seen:?}");
        seen.push(answer);
        fire.in_state("web", "waiting");
    }
    fire.hears("web: started by a connection");
    fire.hears("the next connection starts them again");
    fire.stop();
}

#[test]
fn a_connection_that_nobody_accepts_does_not_spin() {
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo ran >>@DIR@/ran']\nsocket_address = ['127.0.0.1:0']\n";
    let fire = Fire::start(toml);
    let _waiting = TcpStream::connect(address_of(&fire, 0)).expect("connect");
    until("three runs", || fire.folder.read("ran").lines().count() >= 3);
    let runs = fire.folder.read("ran").lines().count();
    // At once, then about 0.1 s, 0.2 s, 0.4 s: a spin would have run it hundreds of times by now.
    let begun = std::time::Instant::now();
    until("two more", || fire.folder.read("ran").lines().count() >= runs + 2);
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
    fire.order("web", "stop");
    assert_eq!(fire.group("web")["state"], "stopped");
}

#[test]
fn every_worker_serves_the_same_socket() {
    let folder = Folder::new();
    let toml = "[web]\nexec_start = ['@WORKER@', 'serve', 'no']\nnumprocesses = 3\n\
                socket_address = ['127.0.0.1:0']\nstart_immediate = true\n";
    let fire = Fire::start_in(folder, toml);
    let (workers, address) = (fire.settled("web", 3), address_of(&fire, 0));
    let held: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.write_all(b"").expect("write");
            stream
        })
        .collect();
    // Two workers may be busy with those; the third, or whoever is free, answers.
    let answer = harness::load::plain(address).expect("an answer");
    assert!(workers.iter().any(|pid| pid.to_string() == answer), "{answer} {workers:?}");
    drop(held);
    assert!(workers.into_iter().all(proc::alive));
}

/// The address of a UDP socket, as the status shows it.
fn udp_address_of(fire: &Fire, index: usize) -> SocketAddr {
    let status = fire.group("web");
    let shown = status["listeners"][index]["address"].as_str().unwrap_or_default().to_owned();
    let address = shown.strip_prefix("udp::").and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("no address: {shown}"))
}

#[test]
fn datagrams_reach_a_worker_and_start_a_group() {
    let worker =
        "[web]\nexec_start = ['@WORKER@', 'datagram']\nsocket_address = ['udp::127.0.0.1:0', 'udp::[::1]:0']\n\
                  backoff_max = '1ms'\n";
    let fire = Fire::start(worker);
    fire.in_state("web", "waiting");
    let address = udp_address_of(&fire, 0);
    assert!(udp_address_of(&fire, 1).is_ipv6());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut seen = Vec::new();
    for _ in 0..3 {
        socket.send_to(b"?", address).expect("send");
        let mut answer = [0; 64];
        let read = socket.recv(&mut answer).expect("an answer");
        let answer = answer[..read].to_vec();
        assert!(!answer.is_empty() && !seen.contains(&answer), "{answer:?} {seen:?}");
        seen.push(answer);
        fire.in_state("web", "waiting");
    }
    fire.hears("web: started by a connection");
    fire.stop();
}

#[test]
fn a_port_of_udp_in_use_is_an_error_though_its_owner_would_share_it() {
    let folder = Folder::new();
    let owner = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
    rustix::net::sockopt::set_socket_reuseaddr(&owner, true).expect("set");
    rustix::net::bind(&owner, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
    let address = SocketAddr::try_from(rustix::net::getsockname(&owner).expect("a name")).expect("an address");
    let said = run_to_the_end(&folder, &idle(&format!("['udp::{address}']")));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("web: bind udp::{address}: address already in use")), "{said:?}");
}

#[test]
fn a_name_without_a_file() {
    let folder = Folder::new();
    let name = format!("firestarter-test-{}", std::process::id());
    let fire = Fire::start_in(folder, &idle(&format!("['@{name}']")));
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    UnixStream::connect_addr(&address).expect("connect");
    assert_eq!(fire.group("web")["listeners"][0]["address"], format!("@{name}"));
    let said = run_to_the_end(&Folder::new(), &idle(&format!("['@{name}']")));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("web: bind @{name}: address already in use")), "{said:?}");
    fire.stop();
}

#[test]
fn the_mode_of_a_path_is_as_configured_whatever_the_umask() {
    let folder = Folder::new();
    let table = |name: &str, more: &str| format!("{{ address = '@DIR@/{name}'{more} }}");
    let tables = [table("a", ", mode = 0o666"), table("b", ", mode = 0o600"), table("c2", "")].join(", ");
    folder.config(&idle(&format!("[{tables}]")));
    let mut shell = folder.command("sh");
    shell.args(["-c", &format!("umask 027; exec {} run -c config.toml -d c 2>stderr", harness::BIN)]);
    let fire = Fire::watch(folder, shell.spawn().expect("start"));
    let mode = |name: &str| fire.folder.join(name).symlink_metadata().expect("a socket").mode() & 0o7777;
    assert_eq!([mode("a"), mode("b"), mode("c2")], [0o666, 0o600, 0o750]);
    for name in ["a", "b", "c2"] {
        UnixStream::connect(fire.folder.join(name)).expect("connect");
    }
    fire.stop();
}

#[test]
fn a_path_may_belong_to_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root, to give files away");
    }
    let fire = Fire::start(&idle(
        "[{ address = '@DIR@/a', user = 65534, group = 61234, mode = 0o660 }, { address = '@DIR@/b', group = 61234 }]",
    ));
    let found = |name: &str| {
        let found = fire.folder.join(name).symlink_metadata().expect("a socket");
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let own = 0o777 & !u32::from_str_radix(&proc::status(fire.keeper_pid, "Umask"), 8).expect("a mask");
    assert_eq!([found("a"), found("b")], [(65_534, 61_234, 0o660), (0, 61_234, own)]);
    fire.stop();
}

#[test]
fn a_full_queue_is_as_long_as_configured() {
    let fire = Fire::start(&idle("[{ address = '@DIR@/a', backlog = 1 }]"));
    fire.settled("web", 1);
    let address = SocketAddrUnix::new(fire.folder.join("a")).expect("an address");
    let connect = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
        rustix::net::connect(&socket, &address).map(|()| socket)
    };
    // A unix socket takes one more than it says.
    let queued = [connect(), connect()];
    assert!(queued.iter().all(Result::is_ok), "{queued:?}");
    assert_eq!(connect().err(), Some(rustix::io::Errno::AGAIN));
    // Nobody waits for a place in the queue of a live socket to find out that it is one.
    let said = run_to_the_end(&Folder::new(), &idle(&format!("['{}']", fire.folder.join("a").display())));
    assert!(said.code == 1 && said.err.contains("another program listens there"), "{said:?}");
    fire.stop();
}

#[test]
fn links_in_the_place_of_sockets_are_not_followed() {
    let folder = Folder::new();
    drop(UnixListener::bind(folder.join("elsewhere")).expect("bind"));
    symlink(folder.join("elsewhere"), folder.join("a.sock")).expect("a link");
    let said = run_to_the_end(&folder, &idle("[{ address = '@DIR@/a.sock', mode = 0o666 }]"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is something that is no socket"), "{said:?}");
    assert!(folder.join("elsewhere").exists(), "what it points to stays");
    symlink(folder.join("nowhere"), folder.join("b.sock")).expect("a link");
    let said = run_to_the_end(&folder, &idle("['@DIR@/b.sock']"));
    assert!(said.code == 1 && !folder.join("nowhere").exists(), "{said:?}");
}

#[test]
fn a_live_socket_of_datagrams_is_nobodys_to_replace() {
    let folder = Folder::new();
    let owner = UnixDatagram::bind(folder.join("a.sock")).expect("bind");
    let said = run_to_the_end(&folder, &idle("['@DIR@/a.sock']"));
    assert!(said.code == 1 && said.err.contains("another program listens there"), "{said:?}");
    drop(owner);
    let fire = Fire::start_in(folder, &idle("['@DIR@/a.sock']"));
    UnixStream::connect(fire.folder.join("a.sock")).expect("the stale one was replaced");
}
