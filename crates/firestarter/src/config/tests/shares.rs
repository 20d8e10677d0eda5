//! What workers share and are told: sockets as tables, variables from files.

use std::path::PathBuf;

use super::super::environment_file::{variable, LineFault};
use super::super::{Address, Kind};
use super::{faults, parsed, web, web_fault};

#[test]
fn sockets_of_every_kind() {
    let address = |written: &str| web(&format!("socket_address = {written}")).sockets.remove(0).address;
    assert_eq!(address("'udp::53'"), Address::Udp("127.0.0.1:53".parse().unwrap()));
    assert_eq!(address("'UDP::[::1]:53'"), Address::Udp("[::1]:53".parse().unwrap()));
    for written in ["'@web'", "'unix::@web'", "{ address = '@web' }"] {
        assert_eq!(address(written), Address::Abstract("web".into()), "{written}");
    }
    assert_eq!(address("'@/a:b'"), Address::Abstract("/a:b".into()));
    assert_eq!(address(&format!("'@{}'", "x".repeat(107))), Address::Abstract("x".repeat(107)));
    assert!(web_fault(&format!("socket_address = '@{}'", "x".repeat(108))).contains("has 108 bytes"));
    web("socket_address = ['udp::53', 'tcp::53', '@53', './53']");
    assert!(web_fault("socket_address = ['@a', 'unix::@a']").contains("is already used by web at 3:19"));
    web("socket_address = ['udp::0', 'udp::0']");
}

#[test]
fn a_table_for_a_socket() {
    let group =
        web("socket_address = ['80', 81, { address = 82 }, { name = 'a b', address = './s', backlog = 1, mode = \
                     '660', user = 'www', group = 'staff' }]");
    let [plain, port, bare, full] = &group.sockets[..] else { panic!("{:?}", group.sockets) };
    for socket in [plain, port, bare] {
        assert_eq!((socket.backlog, &socket.name, socket.mode), (4096, &None, None));
        assert_eq!((socket.uid, socket.gid), (None, None));
    }
    assert_eq!(bare.written, "82");
    assert_eq!((full.name.as_deref(), full.written.as_str(), full.backlog), (Some("a b"), "./s", 1));
    assert_eq!(full.address, Address::Unix(PathBuf::from("/srv/app/s")));
    assert_eq!((full.mode, full.uid, full.gid), (Some(0o660), Some(33), Some(50)));
    let owner = |user: &str| web(&format!("socket_address = {{ address = '/s', user = {user} }}")).sockets[0].clone();
    assert_eq!((owner("4242").uid, owner("'4242'").uid, owner("'me'").gid), (Some(4242), Some(4242), None));
    let inline = web("[[web.socket_address]]\naddress = 80\n[[web.socket_address]]\naddress = 81");
    assert_eq!(inline.sockets.len(), 2);
}

#[test]
fn faults_of_a_socket_s_table() {
    for (table, fault) in [
        ("{}", "3:18 socket_address: a socket has no address = write { address = \"IP:PORT\" }"),
        ("{ adress = 80 }", "3:20 socket_address: unknown key \"adress\" of a socket = did you mean address?"),
        (
            "{ address = 80, colour = 1 }",
            "3:34 socket_address: unknown key \"colour\" of a socket = a socket has name, address, backlog, mode, user, group, type, reuseport, v6only, interface",
        ),
        (
            "{ address = 80, mode = '660' }",
            "3:34 mode: only a unix socket with a path has an owner and permissions = remove it, or use a path with /",
        ),
        ("{ address = 'udp::80', backlog = 5 }", "3:41 backlog: nobody waits at a socket for datagrams = remove it"),
        (
            "{ address = '/s', backlog = 0 }",
            "3:46 backlog: expected a whole number from 1 to 2147483647, found 0 = write backlog = 2",
        ),
        ("{ address = '/s', mode = 660 }", "3:43 mode: a plain number is not octal, and so is easily another one than was meant = write mode = \"660\""),
        ("{ address = '/s', user = 'nobdy' }", "3:43 user: there is no user \"nobdy\" = create it, or write the name of one that exists"),
        ("{ address = 80, name = 'a:b' }", "3:41 name: \"a:b\" cannot stand in LISTEN_FDNAMES = use at most 255 ASCII characters, and no :"),
        ("{ address = 80, name = 'é' }", "3:41 name: \"é\" cannot stand in LISTEN_FDNAMES = use at most 255 ASCII characters, and no :"),
        ("{ address = 80, name = '' }", "3:41 name: expected a name as a string, found an empty string"),
        ("{ address = 'x' }", "3:30 address: \"x\": expected IP:PORT, [IPV6]:PORT, PORT, @NAME or a path with / = for a unix socket write a path with /, such as ./x"),
        ("{ address = { address = 80 } }", "3:30 address: expected an address as a string, found a table"),
    ] {
        let found = faults(&format!("[web]\nexec_start = 'a'\nsocket_address = {table}\n"));
        assert!(found.contains(&fault.to_owned()), "{table}: {found:#?}");
    }
    for key in ["user = 'www'", "group = 'staff'", "mode = '600'"] {
        for address in ["80", "'udp::80'", "'@a'"] {
            let fault = web_fault(&format!("socket_address = {{ address = {address}, {key} }}"));
            assert!(fault.contains("only a unix socket with a path"), "{fault}");
        }
    }
    assert!(web_fault(&format!("socket_address = {{ address = 80, name = '{}' }}", "n".repeat(256)))
        .contains("at most 255"));
    let twice = "socket_address = [{ address = 80, name = 'a' }, { address = 81, name = 'a' }]";
    assert_eq!(
        web_fault(twice),
        "3:72 name: \"a\" is already the name of the socket at 3:19 = give each socket of a group a name of its own"
    );
    let two = "[a]\nexec_start='x'\nsocket_address={address=80,name='n'}\n[b]\nexec_start='x'\nsocket_address={address=81,name='n'}";
    parsed(two).unwrap();
}

#[test]
fn options_of_a_socket() {
    let socket = |table: &str| web(&format!("socket_address = {{ {table} }}")).sockets.remove(0);
    let plain = socket("address = 80");
    assert_eq!((plain.kind, plain.reuseport, plain.v6only, plain.interface), (Kind::Stream, false, None, None));
    assert_eq!(socket("address = 'udp::80'").kind, Kind::Datagram);
    assert_eq!(socket("address = 'udp::80', type = 'datagram'").kind, Kind::Datagram);
    assert_eq!(socket("address = '/s', type = 'seqpacket'").kind, Kind::SeqPacket);
    assert_eq!(socket("address = '@s', type = 'datagram'").kind, Kind::Datagram);
    let full = socket("address = '[::]:80', reuseport = true, v6only = false, interface = 'eth0.7'");
    assert_eq!((full.reuseport, full.v6only, full.interface.as_deref()), (true, Some(false), Some("eth0.7")));
    let inherited = socket("address = 'systemd::http', name = 'x'");
    assert_eq!((inherited.address, inherited.name.as_deref()), (Address::Inherited("http".into()), Some("x")));
    web("socket_address = ['systemd::http', 'systemd::http']");
    let only_ip = "only a socket of TCP or UDP can have that = remove it";
    let v6 = "only a socket of IPv6 can have that = remove it, or use an address such as [::]:80";
    let given = "an inherited socket is as whoever opened it made it = remove it, or set it in the socket unit";
    for (table, fault) in [
        ("address = '/s', reuseport = true", format!("3:36 reuseport: {only_ip}")),
        ("address = '@s', interface = 'lo'", format!("3:36 interface: {only_ip}")),
        ("address = '1.1.1.1:80', v6only = true", format!("3:44 v6only: {v6}")),
        ("address = '/s', v6only = true", format!("3:36 v6only: {v6}")),
        ("address = 'systemd::a', backlog = 1", format!("3:44 backlog: {given}")),
        ("address = 'systemd::a', type = 'stream'", format!("3:44 type: {given}")),
        ("address = '/s', type = 'datagram', backlog = 1", "3:55 backlog: nobody waits at a socket for datagrams = remove it".into()),
        ("address = 80, type = 'seqpacket'", "3:41 type: a socket with this address cannot be seqpacket = an address of IP is TCP; UDP is written udp::IP:PORT".into()),
        ("address = '/s', type = 'steam'", "3:43 type: expected \"stream\", \"datagram\" or \"seqpacket\", found the string \"steam\" = did you mean type = \"stream\"?".into()),
        ("address = 80, interface = 'a/b'", "3:46 interface: \"a/b\" cannot be the name of a network interface = `ip link` shows the names, such as eth0".into()),
        ("address = 80, interface = 'sixteen-letters-'", "3:46 interface: \"sixteen-letters-\" cannot be the name of a network interface = `ip link` shows the names, such as eth0".into()),
        ("address = 80, reuseport = 1", "3:46 reuseport: expected true or false, found 1 = write reuseport = true".into()),
        ("address = 'systemd:a'", "3:30 address: \"systemd:a\": expected IP:PORT, [IPV6]:PORT, PORT, @NAME or a path with / = write systemd::a".into()),
        ("address = 'systemd::'", "3:30 address: \"systemd::\": \"\" cannot be a name in LISTEN_FDNAMES = write systemd:: and at most 255 ASCII characters without :, as FileDescriptorName= says".into()),
    ] {
        assert_eq!(web_fault(&format!("socket_address = {{ {table} }}")), fault, "{table}");
    }
}

#[test]
fn a_socket_as_standard_input() {
    let place = |lines: &str| web(lines).launch.stdin_socket;
    let two = "socket_address = ['80', { address = 81, name = 'b' }]";
    assert_eq!(place(two), None);
    assert_eq!(place(&format!("stdin_socket = 'b'\n{two}")), Some(1));
    assert_eq!(place(&format!("{two}\nstdin_socket = 0")), Some(0));
    for (lines, fault) in [
        (format!("{two}\nstdin_socket = 2"), "4:16 stdin_socket: there is no socket 2: the group has 2 = the names are b"),
        (format!("{two}\nstdin_socket = 'c'"), "4:16 stdin_socket: no socket of this group has the name \"c\" = the names are b"),
        ("stdin_socket = 0".into(), "3:16 stdin_socket: there is no socket 0: the group has 0 = write socket_address too, or remove this key"),
        ("socket_address = 80\nstdin_socket = 'c'".into(), "4:16 stdin_socket: no socket of this group has the name \"c\" = write a place from 0 to 0, or give a socket a name"),
        ("socket_address = 80\nstdin_socket = 48".into(), "4:16 stdin_socket: expected a whole number from 0 to 47, found 48 = write stdin_socket = 2"),
        ("socket_address = 80\nstdin_socket = true".into(), "4:16 stdin_socket: expected a socket's name, or its place as a number, found true = put it in quotes"),
    ] {
        assert_eq!(web_fault(&lines), fault, "{lines}");
    }
}

#[test]
fn control_sockets() {
    let path = |written: &str| web(&format!("control_socket = '{written}'")).launch.control_socket.unwrap();
    assert_eq!(web("").launch.control_socket, None);
    assert_eq!(path("c.sock"), PathBuf::from("/srv/app/c.sock"));
    assert_eq!(path("/run/c"), PathBuf::from("/run/c"));
    path(&format!("/{}", "x".repeat(106)));
    for (written, fault) in [
        ("'/run/'", "the path is that of a folder"),
        ("'..'", "the path is that of a folder"),
        ("'@x'", "expected a path, found an abstract name"),
        ("''", "expected a path as a string, found an empty string"),
        ("1", "expected a path as a string, found 1"),
    ] {
        let found = web_fault(&format!("control_socket = {written}"));
        assert!(found.starts_with(&format!("3:18 control_socket: {fault}")), "{found}");
    }
    assert!(web_fault(&format!("control_socket = '/{}'", "x".repeat(107))).contains("has 108 bytes, at most 107"));
    let two = |a: &str, b: &str| faults(&format!("[a]\nexec_start='x'\n{a}\n[b]\nexec_start='x'\n{b}\n")).concat();
    assert_eq!(
        two("control_socket = './c'", "control_socket = '/srv/app/c'"),
        "6:18 control_socket: this path is already used by a at 3:18 = give each socket a path of its own"
    );
    assert!(two("control_socket = '/c'", "socket_address = '/c'")
        .starts_with("3:18 control_socket: this path is already used by b at 6:18"));
}

#[test]
fn variables_from_files() {
    let pairs = |lines: &str| {
        let all = web(lines).launch.environments.into_iter();
        all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(pairs("environment_file = 'a.env'"), "A=1 B=2");
    assert_eq!(pairs("environment_file = ['a.env', '/etc/b.env']"), "A=1 B=3 C=4", "a later file wins");
    assert_eq!(pairs("environments = ['B=0', 'D=5']\nenvironment_file = 'a.env'"), "A=1 B=0 D=5", "environments wins");
    web("environment_file = 'a.env'\nexec_stop = 'x $A'");
}

#[test]
fn a_file_full_of_variables_or_ports_is_read() {
    let variables: Vec<String> = (0..60_000).map(|n| format!("'V{n}='")).collect();
    assert_eq!(web(&format!("environments = [{}]", variables.join(","))).launch.environments.len(), 60_000);
    let ports: Vec<String> = (1..150_000).map(|port| port.to_string()).collect();
    assert!(web_fault(&format!("socket_address = [{}]", ports.join(","))).contains("expected at most 48 sockets"));
}

#[test]
fn lines_of_a_file_of_variables() {
    let read = |line: &str| variable(line.as_bytes());
    for (line, name, value) in [
        ("A=b", "A", "b"),
        ("  export A=b c \t\r", "A", "b c"),
        ("export\tA=", "A", ""),
        ("exported=1", "exported", "1"),
        ("export=1", "export", "1"),
        ("A= b", "A", "b"),
        ("A=\" b \"", "A", " b "),
        ("A=' b\"c '", "A", " b\"c "),
        ("A=\"\"", "A", ""),
        ("A='a' 'b'", "A", "a' 'b"),
        ("A='a'b", "A", "'a'b"),
        ("A=b'c", "A", "b'c"),
        ("A=$B # no comment", "A", "$B # no comment"),
        ("_1=é=\\n", "_1", "é=\\n"),
    ] {
        assert_eq!(read(line), Ok(Some((name.to_owned(), value.to_owned()))), "{line}");
    }
    for line in ["", "  ", "# A=b", "\t#", "\r"] {
        assert_eq!(read(line), Ok(None), "{line:?}");
    }
    for (line, fault) in [
        ("A", LineFault::NoAssignment),
        ("=b", LineFault::Name),
        ("A =b", LineFault::Name),
        ("1A=b", LineFault::Name),
        ("export =b", LineFault::Name),
        ("A-B=c", LineFault::Name),
        ("A=\"b", LineFault::OpenQuote),
        ("A='", LineFault::OpenQuote),
        ("A=\0", LineFault::Nul),
    ] {
        assert_eq!(read(line), Err(fault), "{line:?}");
    }
    assert_eq!(variable(b"A=\xff"), Err(LineFault::NotUtf8));
}

#[test]
fn faults_of_a_file_of_variables_hide_what_stands_there() {
    let found = faults("[web]\nexec_start = 'a $NO'\nenvironment_file = ['a.env', '/etc/bad.env']\n");
    let begins = |line: usize, what: &str| format!("3:30 environment_file: /etc/bad.env:{line}: {what}");
    let expected = [
        begins(2, "expected NAME=VALUE"),
        begins(3, "what stands before the = cannot be a variable's name"),
        begins(4, "the quote is not closed; a value cannot go over several lines"),
        begins(5, "what stands before the = cannot be a variable's name"),
        begins(6, "the line is not UTF-8"),
        begins(7, "a NUL byte cannot be passed on"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(&expected), "{found}");
    }
    let shown = parsed("[web]\nexec_start = 'a'\nenvironment_file = '/etc/bad.env'\n").unwrap_err().to_string();
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(web_fault("environment_file = '/no.env'")
        .starts_with("3:20 environment_file: cannot read /no.env: no such file"));
    assert!(
        web_fault("environment_file = '/etc/denied.env'").contains("cannot read /etc/denied.env: permission denied")
    );
    assert!(web_fault("environment_file = [1]").contains("expected a file's path as a string, found 1"));
}

#[test]
fn names_that_the_daemon_sets_follow_the_base_name() {
    let own = "is set by the daemon itself";
    for lines in [
        "environments = ['EINHORN_X=1']\nenvironment_base_name = 'EINHORN'",
        "environment_base_name = 'EINHORN'\nenvironments = ['EINHORN_X=1']",
    ] {
        assert!(web_fault(lines).contains(own), "{lines}");
    }
    web("environments = ['FIRESTARTER_X=1']\nenvironment_base_name = 'EINHORN'");
    web("environments = ['EINHORN_X=1', 'FIRESTARTERS=1']");
    for name in ["FIRESTARTERWATCHFILE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"] {
        assert!(web_fault(&format!("environments = ['{name}=1']")).contains(own));
    }
    let in_file = web_fault("environment_file = '/etc/own.env'");
    assert_eq!(
        in_file,
        "3:1 environment_file: \"LISTEN_FDS\" is set by the daemon itself = remove it from the file, or choose another name"
    );
    let both = faults("[w]\nexec_start='a'\nenvironment_file = '/etc/own.env'\nenvironment_base_name = 'EINHORN'\n");
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(web("environment_base_name = '_A1'").launch.base_name, "_A1");
    for written in ["'1A'", "'A-B'", "'é'", "'A='"] {
        let found = web_fault(&format!("environment_base_name = {written}"));
        assert!(found.contains("cannot begin a variable's name = use letters, digits and _"), "{found}");
    }
}

#[test]
fn variables_that_commands_may_mention() {
    web("environment_base_name = 'EINHORN'\nsocket_address = 80\nupgrader = 'x $EINHORN_FD_0 $HOME'");
    web("exec_stop = 'x $MAINPID $FIRESTARTER_PIDS $FIRESTARTER_SOCK_PATH $HOME $NOTIFY_SOCKET'\ninherit_env = false");
    let with_command =
        |command: &str, lines: &str| faults(&format!("[w]\nexec_start = '{command}'\n{lines}\n")).concat();
    assert!(with_command("a $FIRESTARTER_FD_0", "socket_address=80\nenvironment_base_name='EINHORN'")
        .contains("FIRESTARTER_FD_0 is not set"));
    assert!(with_command("a $HOME", "inherit_env = false").contains("the variable HOME is not set"));
    parsed("[w]\nexec_start = 'a $HOME $PATH'\ninherit_env = false\nuser = 'me'").unwrap();
    web("upgrader = 'x $NOTIFY_SOCKET $WATCHDOG_USEC $FDSTORE'\nwatchdog_timeout = 5\nfd_store = 2");
    for variable in ["LISTEN_FDS", "LISTEN_FDNAMES"] {
        let fault = with_command(&format!("a ${variable}"), "socket_address = 80\nfd_store = 1");
        assert!(fault.contains("is set only in the worker itself"), "it depends on what is stored: {fault}");
    }
    assert!(with_command("a $EINHORN_FD_0", "").contains("EINHORN_FD_0 is not set"), "it is not passed on");
    assert!(with_command("a $MAINPID", "").contains("MAINPID is not set"));
    assert!(web_fault("upgrader = 'x $MAINPID'").starts_with("3:15 upgrader: the variable MAINPID is not set"));
    let told_of_nobody = web_fault("upgrader = 'x $FIRESTARTER_PIDS'");
    assert!(told_of_nobody.starts_with("3:15 upgrader: the variable FIRESTARTER_PIDS is not set"), "{told_of_nobody}");
    assert!(
        web_fault("exec_stop = ['x']\nupgrader = 'x $MAINPIDS'").starts_with("4:15 upgrader: the variable MAINPIDS")
    );
    let in_hook = web_fault("socket_address = 80\nexec_stop = 'x $LISTEN_PID'");
    assert!(
        in_hook.starts_with("4:16 exec_stop: the variable LISTEN_PID is not set"),
        "a hook is no worker: {in_hook}"
    );
    let later = "is set only in the worker itself, when it has been made = let a shell there expand it: sh -c 'exec … $LISTEN_PID'";
    assert_eq!(with_command("a $LISTEN_PID", "socket_address = 80"), format!("2:17 exec_start: LISTEN_PID {later}"));
    assert!(with_command("a $LISTEN_PID", "socket_address = 80\nlisten_pid = false").contains("is not set"));
    assert!(with_command("a $FIRESTARTER_WATCH_FILE", "live_check_timeout = 1").contains("only in the worker itself"));
    for (variable, giver) in [
        ("FIRESTARTER_FD_0", "for each address of socket_address"),
        ("LISTEN_FDS", "for each address of socket_address"),
        ("LISTEN_PID", "only in the worker itself, with socket_address and without listen_pid = false"),
        ("FIRESTARTER_WATCH_FILE", "only in the worker itself, with live_check_timeout"),
        ("WATCHDOG_PID", "only in the worker itself, with watchdog_timeout and without listen_pid = false"),
        ("WATCHDOG_USEC", "with watchdog_timeout"),
        ("FDSTORE", "with fd_store"),
    ] {
        // In environments they would be a fault, so that is no advice.
        let fault = with_command(&format!("a ${variable}"), "");
        let advice = format!("is not set = the daemon sets it {giver}; for the text itself, quote it: '${variable}'");
        assert!(fault.ends_with(&advice), "{fault}");
    }
}
