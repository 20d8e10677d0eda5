//! Listeners that the service manager keeps: they outlive the keeper and all that it has started.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::proc::{self, Sig};
use harness::superior::Superior;
use harness::{pids, run_command, until, Fire, Folder, BIN};

/// Starts one that has a service manager, which gives it what it keeps.
fn start(folder: Folder, superior: &Superior, toml: &str) -> Fire {
    superior.hold(true);
    let kept = superior.kept();
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    let plain = run_command(&folder, toml);
    let mut command: Command = folder.command("sh");
    let output = |name: &str| fs::File::options().append(true).create(true).open(folder.join(name)).expect("a file");
    command.arg("-c").arg(format!("LISTEN_PID=$$ exec {BIN} \"$@\"")).arg("sh").args(plain.get_args());
    command.stdout(output("stdout")).stderr(output("stderr"));
    command.env("NOTIFY_SOCKET", &superior.path).env("FDSTORE", "10");
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    // Out of the way of the numbers that they shall have.
    let above = kept.iter().map(|(_, fd)| rustix::io::fcntl_dupfd_cloexec(fd, 200).expect("a descriptor"));
    let above: Vec<OwnedFd> = above.collect();
    // SAFETY: only system calls between fork and exec. What these numbers were is of no use to the new process.
    unsafe {
        command.pre_exec(move || {
            for (fd, number) in above.iter().zip(3..) {
                let mut place = OwnedFd::from_raw_fd(number);
                let placed = rustix::io::dup2(fd, &mut place);
                std::mem::forget(place);
                placed?;
            }
            Ok(())
        });
    }
    let child = command.spawn().expect("start");
    // What is let go must not stay open here.
    drop((command, kept));
    superior.hold(false);
    Fire::watch(folder, child)
}

/// Kills everything at once, as a machine that runs out of memory may; the files stay.
fn kill_all(fire: Fire) -> Folder {
    let mut fire = fire;
    until("nobody left", || {
        fire.folder.processes().into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
        fire.folder.processes().is_empty()
    });
    fire.ended();
    // Who has no memory any more may still have its descriptors.
    let lock = fs::File::open(fire.folder.join("c.lock")).expect("the lock");
    let free = || rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
    until("the lock", free);
    fire.into_folder()
}

fn tcp(fire: &Fire, group: &str, index: usize) -> SocketAddr {
    let listener = fire.group(group)["listeners"][index]["address"].clone();
    listener.as_str().and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {listener}"))
}

/// The workers of all groups of the first test.
fn all(fire: &Fire) -> Vec<u32> {
    let groups = [("web", 1), ("path", 1), ("name", 1), ("divided", 3)];
    groups.into_iter().flat_map(|(group, count)| fire.settled(group, count)).collect()
}

/// Asks, and may be answered much later.
fn ask<S: Read + Write>(mut stream: S) -> S {
    stream.write_all(b"?").expect("ask");
    stream
}

fn answer(mut stream: impl Read) -> u32 {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.parse().expect("a pid")
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream
}

fn patient_unix(stream: std::io::Result<UnixStream>) -> UnixStream {
    let stream = stream.expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream
}

const SERVES: &str = "exec_start = ['@WORKER@', 'serve', 'no']\nstart_immediate = true\nack_timeout = '10ms'\n";

#[test]
fn what_waits_is_served_although_the_keeper_was_killed() {
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let name = format!("fs-shelf-{}", std::process::id());
    let toml = format!(
        "[web]\n{SERVES}socket_address = '127.0.0.1:0'\n[path]\n{SERVES}socket_address = '@DIR@/s'\n\
         [name]\n{SERVES}socket_address = '@{name}'\n\
         [divided]\n{SERVES}numprocesses = 3\nsocket_address = {{ address = '127.0.0.1:0', reuseport = true }}\n"
    );
    let fire = start(folder, &superior, &toml);
    until("all are kept", || superior.names().len() == 6);
    assert!(superior.names().iter().all(|name| name.len() < 256 && !name.contains(':')), "{:?}", superior.names());
    let (at, divided) = (tcp(&fire, "web", 0), tcp(&fire, "divided", 0));
    let before = all(&fire);
    let folder = kill_all(fire);
    let path = folder.join("s");
    let internet: Vec<TcpStream> = [at; 3]
        .into_iter()
        .chain([divided; 30])
        .map(|at| ask(patient(TcpStream::connect(at).expect("connect"))))
        .collect();
    let abstract_name = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let unix =
        [UnixStream::connect(&path), UnixStream::connect_addr(&abstract_name)].map(|stream| ask(patient_unix(stream)));
    let messages = superior.heard().len();
    let fire = start(folder, &superior, &toml);
    assert_eq!((tcp(&fire, "web", 0), tcp(&fire, "divided", 0)), (at, divided), "the ports are the same");
    let after = all(&fire);
    let answers = internet.into_iter().map(answer).chain(unix.into_iter().map(answer));
    for pid in answers {
        assert!(after.contains(&pid) && !before.contains(&pid), "{pid} is not one of {after:?}");
    }
    let stores =
        |from: usize| superior.heard()[from..].iter().filter(|m| m.contains("FDSTORE")).cloned().collect::<Vec<_>>();
    assert!(stores(messages).is_empty(), "it has them already: {:?}", stores(messages));
    assert!(!fire.stderr().contains("inherited socket"), "{}", fire.stderr());
    // A slot that is new has a socket that is kept too.
    fire.order("divided", "inc");
    until("one more", || superior.names().len() == 7);
    // And the path is looked after as before.
    fs::remove_file(&path).expect("remove");
    until("the path", || path.exists());
    fire.stop();
    assert!(!path.exists());
}

#[test]
fn what_is_configured_no_more_or_was_replaced_is_let_go() {
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let web = |internet: &str| {
        format!("[web]\n{SERVES}socket_address = [{internet}, '@DIR@/t']\n[path]\n{SERVES}socket_address = '@DIR@/s'\n")
    };
    let fire = start(folder, &superior, &web("'127.0.0.1:0', 'udp::127.0.0.1:0'"));
    until("all are kept", || superior.names().len() == 4);
    let udp = fire.group("web")["listeners"][1]["address"].as_str().expect("an address").to_owned();
    let at = tcp(&fire, "web", 0);
    let folder = kill_all(fire);
    // Another program's by now.
    fs::remove_file(folder.join("s")).expect("remove");
    drop(std::os::unix::net::UnixListener::bind(folder.join("s")).expect("bind"));
    // The same addresses, of another group: so they are not the same listeners.
    let toml = web(&format!("'{at}', '{udp}'")).replace("[web]", "[other]").replace("[path]", "[others]");
    let first = superior.names();
    let fire = start(folder, &superior, &toml);
    until("the new ones are kept", || superior.names().len() == 4 && superior.names() != first);
    assert!(superior.names().iter().all(|name| name.contains("/other")), "{:?}", superior.names());
    let worker = fire.settled("other", 1)[0];
    assert_eq!(answer(ask(patient(TcpStream::connect(at).expect("connect")))), worker);
    let folder = kill_all(fire);
    fs::remove_file(folder.join("s")).expect("remove");
    drop(std::os::unix::net::UnixListener::bind(folder.join("s")).expect("bind"));
    let at_s = |name: &String| name.contains("/others/");
    let old = superior.names().into_iter().find(at_s).expect("a name");
    let fire = start(folder, &superior, &toml);
    // The new one may have the old one's inode number, and so its name, by then.
    until("the path that was replaced is let go", || superior.count("FDSTOREREMOVE=1") == 5);
    assert!(superior.heard().contains(&format!("FDSTOREREMOVE=1\nFDNAME={old}")), "{:?}", superior.heard());
    until("it is opened anew", || superior.names().len() == 4);
    let worker = fire.settled("others", 1)[0];
    assert_eq!(answer(ask(patient_unix(UnixStream::connect(fire.folder.join("s"))))), worker);
    fire.stop();
}

#[test]
fn without_room_or_a_service_manager_nothing_is_kept() {
    let toml = format!("[web]\n{SERVES}socket_address = ['127.0.0.1:0', '@DIR@/s', '@DIR@/t']\n");
    for (room, kept) in [("0", 0), ("2", 2)] {
        let folder = Folder::new();
        let superior = Superior::new(&folder);
        let fire = Fire::start_with(folder, &toml, |command| {
            command.env("NOTIFY_SOCKET", &superior.path).env("FDSTORE", room);
        });
        superior.hears("READY=1");
        assert_eq!(superior.names().len(), kept);
        let said = "the service manager keeps 2 of 3 listeners: for all set FileDescriptorStoreMax=3";
        assert_eq!(fire.stderr().contains(said), kept == 2, "{}", fire.stderr());
        assert_eq!(pids(&fire.group("web")).len(), 1);
        fire.stop();
    }
}

/// Listens in a folder, and has more to read already than it has room for; nobody reads.
fn silent(folder: &Folder) -> (PathBuf, UnixDatagram) {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).expect("bind");
    loop {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("set");
        let sent = (0..10_000).take_while(|_| sender.send_to(b"X=1", &path).is_ok()).count();
        if sent == 0 {
            return (path, socket);
        }
    }
}

#[test]
fn a_service_manager_that_does_not_read_delays_the_start_once_whatever_there_is_to_keep() {
    let folder = Folder::new();
    let (path, _silent) = silent(&folder);
    // To wait for each of them would take longer than a test waits for an answer.
    let addresses = vec!["'127.0.0.1:0'"; 30].join(", ");
    let toml = format!("[web]\n{SERVES}socket_address = [{addresses}]\n");
    let fire = Fire::start_with(folder, &toml, |command| {
        command.env("NOTIFY_SOCKET", path).env("FDSTORE", "100");
    });
    let said =
        "have listeners kept by the service manager: it does not read; at least 30 of 30 are not kept: what waits at these \
                is lost when Firestarter ends";
    assert_eq!(fire.stderr().matches(said).count(), 1, "{}", fire.stderr());
    assert_eq!(fire.stderr().matches("the service manager").count(), 1, "{}", fire.stderr());
    let worker = fire.settled("web", 1)[0];
    assert_eq!(answer(ask(patient(TcpStream::connect(tcp(&fire, "web", 0)).expect("connect")))), worker);
    fire.stop();
}

#[test]
fn another_program_in_its_place_stores_nothing_twice_and_lets_go_what_is_gone() {
    let folder = Folder::new();
    let superior = Superior::new(&folder);
    let divided = "numprocesses = 3\nsocket_address = [{ address = '127.0.0.1:0', reuseport = true }, \
                   { address = 'udp::127.0.0.1:0', reuseport = true }]\n";
    let toml = format!("[web]\n{SERVES}socket_address = '127.0.0.1:0'\n[divided]\n{SERVES}{divided}");
    let fire = start(folder, &superior, &toml);
    until("all are kept", || superior.names().len() == 7);
    let upgrade = || {
        let said = fire.ctl(&["upgrade-daemon", "--binary", BIN]);
        assert_eq!(said.code, 0, "{said:?}\n{}", fire.stderr());
    };
    let stores = || superior.count("FDSTORE=1");
    // Those on the stage come and go.
    let is_socket = |(number, to): &(u32, String)| *number >= 64 && to.starts_with("socket:");
    let sockets = || proc::descriptors(fire.keeper_pid).iter().filter(|fd| is_socket(fd)).count();
    let few = sockets();
    upgrade();
    // By a slot that is new it is seen that what came before it has been told.
    fire.order("divided", "inc");
    until("two more", || superior.names().len() == 9);
    assert_eq!(stores(), 9, "{:?}", superior.heard());
    let old = fire.daemon();
    proc::signal(old, Sig::KILL);
    until("another daemon", || fire.daemon() != old);
    upgrade();
    fire.order("divided", "dec");
    until("two are let go", || superior.names().len() == 7);
    assert!(!superior.names().iter().any(|name| name.contains("/divided/3/")), "{:?}", superior.names());
    fire.order("divided", "inc");
    until("two more again", || superior.names().len() == 9);
    assert_eq!(stores(), 11, "{:?}", superior.heard());
    fire.order("divided", "dec");
    until("two are let go again", || superior.names().len() == 7 && sockets() <= few);
    assert_eq!(superior.count("FDSTOREREMOVE=1"), 4);
    fire.stop();
}
