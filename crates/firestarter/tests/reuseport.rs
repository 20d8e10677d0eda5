//! `reuseport`: a socket for each slot, which workers hand to each other.

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{number, run_command, run_to_the_end, until, Fire, Folder, BIN};

/// Two workers with a socket each.
const DIVIDED: &str = "[web]\nexec_start = ['@WORKER@', 'serve', 'no']\nnumprocesses = 2\nstart_immediate = true\n\
    restart = 'always'\nack_timeout = '10ms'\ndrain_timeout = '10ms'\nstop_timeout = '10ms'\n\
    socket_address = { address = '127.0.0.1:0', reuseport = true }\n";

/// So many connections that each of two sockets gets some.
const MANY: usize = 60;

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

/// Connections that wait with a request.
fn wait_at(address: SocketAddr) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(b"?").expect("ask");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        stream
    };
    (0..MANY).map(connect).collect()
}

/// Who answers them: every one must be answered.
fn answers(waiting: Vec<TcpStream>) -> BTreeSet<u32> {
    let answer = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text.parse().expect("a pid")
    };
    waiting.into_iter().map(answer).collect()
}

fn set(pids: &[u32]) -> BTreeSet<u32> {
    pids.iter().copied().collect()
}

/// Waits until the group has other workers than these.
fn others_than(fire: &Fire, old: &[u32]) -> Vec<u32> {
    until("new workers", || fire.settled("web", old.len()).iter().all(|pid| !old.contains(pid)));
    fire.settled("web", old.len())
}

#[test]
fn a_slot_keeps_its_socket_through_upgrades_crashes_and_another_daemon() {
    let fire = Fire::start(DIVIDED);
    let workers = fire.settled("web", 2);
    let sockets = |workers: &[u32]| workers.iter().map(|pid| socket_of(*pid, 3)).collect::<Vec<_>>();
    let first = sockets(&workers);
    assert_ne!(first[0], first[1]);
    fire.order("web", "upgrade");
    let upgraded = others_than(&fire, &workers);
    assert_eq!(sockets(&upgraded), first);
    upgraded.iter().for_each(|pid| proc::signal(*pid, Sig::KILL));
    let respawned = others_than(&fire, &upgraded);
    assert_eq!(sockets(&respawned), first);
    fire.order("web", "inc");
    let three = sockets(&fire.settled("web", 3));
    assert!(three[..2] == first && !first.contains(&three[2]), "{three:?}");
    let daemon = fire.daemon();
    proc::signal(daemon, Sig::KILL);
    fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
    let old = fire.settled("web", 3);
    old.iter().for_each(|pid| proc::signal(*pid, Sig::KILL));
    assert_eq!(sockets(&others_than(&fire, &old)), three);
    assert!(answers(wait_at(address_of(&fire, 0))).len() > 1, "the kernel divides what comes");
    fire.stop();
}

#[test]
fn what_waits_at_a_slot_is_answered_by_the_next_worker() {
    let fire = Fire::start(DIVIDED);
    let address = address_of(&fire, 0);
    let old = fire.settled("web", 2);
    old.iter().for_each(|pid| proc::signal(*pid, Sig::STOP));
    let waiting = wait_at(address);
    fire.order("web", "upgrade");
    let new = others_than(&fire, &old);
    assert_eq!(answers(waiting), set(&new));
    new.iter().for_each(|pid| proc::signal(*pid, Sig::STOP));
    let waiting = wait_at(address);
    new.iter().for_each(|pid| proc::signal(*pid, Sig::KILL));
    assert_eq!(answers(waiting), set(&others_than(&fire, &new)));
    fire.stop();
}

#[test]
fn no_request_is_lost_while_slots_and_their_workers_come_and_go() {
    let fire = Fire::start(&DIVIDED.replace("drain_timeout = '10ms'\nstop_timeout = '10ms'\n", ""));
    fire.settled("web", 2);
    let load = Load::start(address_of(&fire, 0), 4, plain);
    for _ in 0..5 {
        load.goes_on(20);
        fire.order("web", "upgrade");
        fire.order("web", "inc");
        load.goes_on(20);
        let daemon = fire.daemon();
        proc::signal(daemon, Sig::KILL);
        fire.wait_for("a new daemon", |status| number(&status["daemon_pid"]) != daemon);
        fire.settled("web", 3);
        load.goes_on(20);
        fire.order("web", "dec");
        fire.settled("web", 2);
    }
    if fire.stderr().contains("are reset") {
        return eprintln!("skipped: needs CAP_BPF and Linux 5.14, or net.ipv4.tcp_migrate_req");
    }
    load.stop();
    fire.stop();
}

#[test]
fn what_waits_at_a_slot_that_is_taken_away_is_answered_by_another() {
    let fire = Fire::start(DIVIDED);
    let address = address_of(&fire, 0);
    fire.order("web", "inc");
    let workers = fire.settled("web", 3);
    workers.iter().for_each(|pid| proc::signal(*pid, Sig::STOP));
    let waiting = wait_at(address);
    for _ in 0..2 {
        let said = fire.ctl(&["ctrl", "web", "dec", "-s", "SIGKILL"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    until("their sockets closed", || listening(address) == 1);
    if fire.stderr().contains("connections that waited there are reset") {
        return eprintln!("skipped: needs CAP_BPF and Linux 5.14, or net.ipv4.tcp_migrate_req");
    }
    proc::signal(workers[0], Sig::CONT);
    assert_eq!(answers(waiting), set(&workers[..1]));
    assert_eq!(answers(wait_at(address)), set(&workers[..1]));
    fire.order("web", "inc");
    let two = fire.settled("web", 2);
    assert_eq!(answers(wait_at(address)), set(&two), "the slot has a socket again");
    fire.stop();
}

#[test]
fn who_may_not_hand_on_what_waits_says_that_it_is_reset() {
    let migrates = fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").unwrap_or_default();
    if !rustix::process::geteuid().is_root() || migrates.trim() == "1" {
        return eprintln!("skipped: needs root, to drop capabilities, and net.ipv4.tcp_migrate_req = 0");
    }
    let folder = Folder::new();
    let plain = run_command(&folder, DIVIDED);
    let mut command = folder.command("setpriv");
    command.args(["--bounding-set", "-net_admin,-sys_admin,-cap_39", "--", BIN]).args(plain.get_args());
    command.stderr(fs::File::create(folder.join("stderr")).expect("a file"));
    let fire = Fire::watch(folder, command.spawn().expect("start"));
    let (workers, address) = (fire.settled("web", 2), address_of(&fire, 0));
    workers.iter().for_each(|pid| proc::signal(*pid, Sig::STOP));
    let waiting = wait_at(address);
    assert_eq!(fire.ctl(&["ctrl", "web", "dec", "-s", "SIGKILL"]).code, 0);
    fire.hears("web: slot 1 is gone");
    fire.hears("are reset (`sysctl net.ipv4.tcp_migrate_req=1`");
    proc::signal(workers[0], Sig::CONT);
    // None is left to wait for ever.
    let answered = waiting.into_iter().filter_map(|mut stream| stream.read_to_string(&mut String::new()).ok()).count();
    assert!((1..MANY).contains(&answered), "{answered}");
    assert_eq!(answers(wait_at(address)), set(&workers[..1]));
    fire.stop();
}

/// How many sockets of this network namespace listen at an address of 127.0.0.1.
fn listening(address: SocketAddr) -> usize {
    open_at(address, "/proc/net/tcp", "0A")
}

/// How many sockets in a table of the kernel have an address of 127.0.0.1 and a state.
fn open_at(address: SocketAddr, table: &str, state: &str) -> usize {
    let local = format!("0100007F:{:04X}", address.port());
    let table = fs::read_to_string(table).expect("the kernel's table");
    let is = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&state)
    };
    table.lines().filter(is).count()
}

#[test]
fn a_slot_that_is_taken_away_gets_no_datagrams() {
    let fire = Fire::start(
        &DIVIDED.replace("'127.0.0.1:0'", "'udp::127.0.0.1:0'").replace("'@WORKER@', 'serve', 'no'", "'sleep', '1000'"),
    );
    fire.settled("web", 2);
    let shown = fire.group("web")["listeners"][0]["address"].as_str().unwrap_or_default().to_owned();
    let address: SocketAddr = shown.strip_prefix("udp::").and_then(|at| at.parse().ok()).expect("an address");
    let open = || open_at(address, "/proc/net/udp", "07");
    fire.order("web", "inc");
    fire.settled("web", 3);
    assert_eq!(open(), 3);
    // Nothing keeps it: neither the daemon nor what was prepared for the last spawn, which was of this slot.
    fire.order("web", "dec");
    until("its socket closed", || open() == 2);
    fire.stop();
}

#[test]
fn a_port_of_another_program_is_an_error_though_it_would_share_it() {
    let fire = Fire::start(DIVIDED);
    let address = address_of(&fire, 0);
    let said = run_to_the_end(&Folder::new(), &DIVIDED.replace("127.0.0.1:0", &address.to_string()));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("web: bind {address}: address already in use")), "{said:?}");
    fire.stop();
}

#[test]
fn a_connection_at_any_slot_starts_the_group() {
    let fire =
        Fire::start(&DIVIDED.replace("start_immediate = true", "").replace("numprocesses = 2", "numprocesses = 8"));
    fire.in_state("web", "waiting");
    let address = address_of(&fire, 0);
    assert_eq!(listening(address), 8);
    assert_eq!(answers(wait_at(address)).len(), 8);
    fire.stop();
}
