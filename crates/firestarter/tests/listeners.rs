//! Listeners for real use: options, paths that come back, standard input, and what Firestarter is itself given.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::proc::{self, Sig};
use harness::{number, run_command, run_to_the_end, until, Fire, Folder, BIN};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

fn address_of(fire: &Fire, index: usize) -> SocketAddr {
    let address = fire.group("web")["listeners"][index]["address"].as_str().unwrap_or_default().to_owned();
    address.parse().unwrap_or_else(|_| panic!("no address: {address}"))
}

/// Which socket a process has under a number.
fn socket_of(pid: u32, number: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
    let socket = link.display().to_string();
    assert!(socket.starts_with("socket:"), "{pid} has {socket:?} under {number}");
    socket
}

#[test]
fn options_are_set() {
    let fire = Fire::start(
        "[web]\nexec_start = ['sleep', '1000']\nstart_immediate = true\nstdin_socket = 'b'\nsocket_address = [\
         { address = '[::]:0', v6only = true }, { address = '[::]:0', v6only = false, name = 'b' },\
         { address = '@DIR@/packets', type = 'seqpacket' }, { address = '127.0.0.1:0', interface = 'lo' }]\n",
    );
    let pid = fire.settled("web", 1)[0];
    assert_eq!(socket_of(pid, 0), socket_of(pid, 4));
    assert_ne!(socket_of(pid, 0), socket_of(pid, 3));
    let v4 = |index: usize| TcpStream::connect(("127.0.0.1", address_of(&fire, index).port()));
    assert!(v4(0).is_err(), "it is of IPv6 alone");
    v4(1).expect("it takes both");
    v4(3).expect("by this interface");
    let connect = |kind: SocketType| {
        let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).expect("a socket");
        rustix::net::connect(&socket, &SocketAddrUnix::new(fire.folder.join("packets")).expect("an address"))
    };
    connect(SocketType::SEQPACKET).expect("connect");
    assert_eq!(connect(SocketType::STREAM), Err(rustix::io::Errno::PROTOTYPE));
    let said = run_to_the_end(
        &Folder::new(),
        "[web]\nexec_start = 'true'\nsocket_address = { address = '127.0.0.1:0', interface = 'no-such-one' }\n",
    );
    assert!(said.code == 1 && said.err.contains("web: bind 127.0.0.1:0: no such device"), "{said:?}");
    fire.stop();
}

/// A worker that serves a unix socket.
fn unix(path: &str) -> String {
    format!(
        "[web]\nexec_start = ['@WORKER@', 'serve', 'no']\nstart_immediate = true\n\
         socket_address = {{ address = '{path}', mode = '600' }}\n"
    )
}

fn ask(path: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.write_all(b"?").expect("ask");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|there| there.ino())
}

#[test]
fn a_path_that_was_removed_is_there_again_with_its_queue() {
    let fire = Fire::start(&unix("@DIR@/s"));
    let (worker, path) = (fire.settled("web", 1)[0], fire.folder.join("s"));
    let bound = inode(&path);
    proc::signal(worker, Sig::STOP);
    let mut waiting = vec![ask(&path)];
    let back = || until("the path", || inode(&path).is_some());
    fs::remove_file(&path).expect("remove");
    back();
    waiting.push(ask(&path));
    // Moved away is removed too.
    fs::rename(&path, fire.folder.join("t")).expect("rename");
    back();
    waiting.push(ask(&path));
    // While there is no daemon.
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::STOP);
    fs::remove_file(&path).expect("remove");
    proc::signal(daemon, Sig::KILL);
    back();
    waiting.push(ask(&path));
    assert_eq!(inode(&path), bound);
    proc::signal(worker, Sig::CONT);
    for stream in waiting {
        assert_eq!(answer(stream), worker.to_string());
    }
    fire.hears("it was removed, and is there again");
    fire.stop();
}

#[test]
fn what_has_taken_the_place_of_a_path_is_left_alone() {
    let fire = Fire::start(&unix("@DIR@/s"));
    fire.settled("web", 1);
    let (path, other) = (fire.folder.join("s"), fire.folder.write("other", "precious"));
    fs::rename(other, &path).expect("rename");
    fire.hears("something else has taken its place");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
    fs::remove_file(&path).expect("remove");
    assert_eq!(fire.ctl(&["status"]).code, 0);
}

#[test]
fn a_path_on_another_file_system_has_its_spare_beside_it() {
    let folder = Folder::new();
    let elsewhere = Path::new("/dev/shm");
    if elsewhere.metadata().map(|there| there.dev()).ok() == folder.path().metadata().map(|here| here.dev()).ok()
        || !elsewhere.exists()
    {
        return eprintln!("skipped: needs a /dev/shm that is a file system of its own");
    }
    let name = format!("fs{}.sock", std::process::id());
    let (path, spare) = (elsewhere.join(&name), elsewhere.join(format!(".{name}.spare")));
    let toml = unix(&path.display().to_string());
    let fire = Fire::start_in(folder, &toml);
    fire.settled("web", 1);
    let bound = inode(&path);
    assert!(bound.is_some() && inode(&spare) == bound);
    fs::remove_file(&spare).expect("remove");
    until("the spare", || inode(&spare) == bound);
    fs::remove_file(&path).expect("remove");
    until("the path", || inode(&path) == bound);
    // Everything is killed: the files are left, and the next one clears up.
    fire.folder.processes().into_iter().for_each(|pid| proc::signal(pid, Sig::KILL));
    until("all dead", || UnixStream::connect(&path).is_err());
    assert!(inode(&path).is_some() && inode(&spare).is_some());
    let next = Fire::start(&toml);
    next.settled("web", 1);
    answer(ask(&path));
    assert_eq!(inode(&spare), inode(&path));
    next.stop();
    assert!(inode(&path).is_none() && inode(&spare).is_none());
}

#[test]
fn what_somebody_puts_in_the_place_of_a_spare_is_not_linked() {
    let elsewhere = Path::new("/dev/shm");
    if !elsewhere.exists() {
        return eprintln!("skipped: needs /dev/shm");
    }
    let name = format!("fs{}-trap.sock", std::process::id());
    let (path, spare) = (elsewhere.join(&name), elsewhere.join(format!(".{name}.spare")));
    let fire = Fire::start(&unix(&path.display().to_string()));
    fire.settled("web", 1);
    if inode(&spare).is_none() {
        return eprintln!("skipped: needs a /dev/shm that is a file system of its own");
    }
    let trap = elsewhere.join(format!("{name}.trap"));
    let theirs = UnixListener::bind(&trap).expect("bind");
    fs::rename(&trap, &spare).expect("rename");
    fs::remove_file(&path).expect("remove");
    fire.hears("somebody has put something else in the place of its spare link");
    assert!(inode(&path).is_none() && inode(&spare).is_some());
    fire.stop();
    fs::remove_file(&spare).expect("theirs is left");
    drop(theirs);
}

/// Starts Firestarter with sockets as 3 and 4, as systemd does.
fn activated(folder: &Folder, toml: &str, names: &str, first: OwnedFd, second: OwnedFd) -> Command {
    let plain = run_command(folder, toml);
    let mut command = folder.command("sh");
    let script = format!(
        "exec 3<&0 4<&1 0</dev/null 1>stdout; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names} exec {BIN} \"$@\""
    );
    command.arg("-c").arg(script).arg("sh").args(plain.get_args());
    command.stdin(first).stdout(second);
    command.stderr(fs::File::options().append(true).create(true).open(folder.join("stderr")).expect("a file"));
    command
}

#[test]
fn sockets_that_firestarter_is_given_are_listeners() {
    let (first, second) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let (first, second) = (first.expect("bind"), second.expect("bind"));
    let (at, unasked) = (first.local_addr().expect("an address"), second.local_addr().expect("an address"));
    let toml = "[web]\nexec_start = ['sh', '-c', 'echo $LISTEN_FDS $LISTEN_FDNAMES >names; exec @WORKER@ serve no']\n\
                start_immediate = true\nack_timeout = '10ms'\nsocket_address = ['systemd::http']\n";
    let folder = Folder::new();
    let mut command = activated(&folder, toml, "http:extra", first.into(), second.into());
    let child = command.spawn().expect("start");
    drop(command);
    let fire = Fire::watch(folder, child);
    let worker = fire.settled("web", 1)[0];
    assert_eq!(harness::load::plain(at).expect("an answer"), worker.to_string());
    assert_eq!(fire.folder.read("names"), "1 http\n");
    assert_eq!(address_of(&fire, 0), at, "the status shows where it is");
    fire.hears(&format!(
        "the inherited socket \"extra\" ({unasked}) is closed: no socket_address names systemd::extra"
    ));
    assert!(TcpStream::connect(unasked).is_err(), "what nobody asks for is closed");
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    fire.order("web", "upgrade");
    until("its successor alone", || fire.settled("web", 1) != [worker]);
    let answered = harness::load::plain(at).expect("an answer");
    assert_eq!(answered, fire.settled("web", 1)[0].to_string());
    fire.stop();
}

#[test]
fn a_name_that_was_not_given_is_an_error_that_tells_those_that_were() {
    let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("bind"));
    let toml = "[web]\nexec_start = 'true'\nsocket_address = ['systemd::web']\n";
    let folder = Folder::new();
    let said = harness::to_the_end(&folder, activated(&folder, toml, "http:extra", listener(), listener()));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("web: no socket \"web\" was inherited"), "{said:?}");
    assert!(said.err.contains("inherited are: http, extra"), "{said:?}");
    let folder = Folder::new();
    let toml = toml.replace("::web", "::http");
    let stream = OwnedFd::from(UnixStream::pair().expect("a pair").0);
    let said = harness::to_the_end(&folder, activated(&folder, &toml, "http:extra", stream, listener()));
    assert!(said.code == 1 && said.err.contains("the inherited socket \"http\" does not listen"), "{said:?}");
    let said = run_to_the_end(&Folder::new(), &toml);
    assert!(said.code == 1 && said.err.contains("inherited are: none"), "{said:?}");
}
