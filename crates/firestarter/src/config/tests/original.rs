//! A configuration of the original, with every key that it knows, runs here unchanged.

use std::num::NonZeroU32;
use std::time::Duration;

use firestarter_core::spec::{Ack, Restart, Signal, Start, Upgrader};

use super::super::keys::Scope;
use super::super::words::{Piece, Word};
use super::super::{LogFile, Output, Rotation, Schedule, Unit};
use super::parsed;

const ORIGINAL: &str = r#"
[worker1] # set worker group name.
exec_start = "/usr/bin/emacs --fg-daemon"
exec_stop = "/usr/bin/emacsclient --eval (kill-emacs)"
numprocesses = 2
working_directory = "/tmp"
restart = "on-failure"
giveup = 3
warmup_delay = 1
start_immediate = true
socket_address = ["127.0.0.1:4000", "127.0.0.1:4001", "/tmp/foo.sock", "4002", "tcp::4003", "udp::4004", "unix::/tmp/u"]
environments=["TESTA=XXXX", "TESTB=YYYY"]
ack = "manual"
ack_timeout = 1
ack_signal = "SIGUSR2"
uid = 1000
gid = 10
stdout_log = "size:10240:5:/tmp/web1_out.log"
stderr_log = "time:3:D:U:7:/tmp/web1_err.log"
live_check_timeout = 60
auto_upgrade = true
upgrader = "/a/b/upgrader --config abc"
upgrader_active_sec=10
upgrader_timeout=60
environment_base_name = "EINHORN"
control_socket = "/tmp/worker1.ctl"
"#;

/// The spellings of the original's page, which has lost some underscores.
const AS_DOCUMENTED: &str = r#"
[worker1]
exec_start = "./demo/target/debug/demo"
stdoutlog = "size:10240:5:/tmp/web1out.log"
stderrlog = "size:10240:5:/tmp/web1err.log"
livechecktimeout = 60
auto_upgrade = false
upgrader = "/a/b/upgrader --config abc"
upgraderactivesec=10
upgrader_timeout=60
"#;

#[test]
fn every_key_of_the_original() {
    let config = parsed(ORIGINAL).unwrap_or_else(|faults| panic!("{faults}"));
    let group = &config.groups[0];
    let (spec, launch) = (&group.spec, &group.launch);
    let words = |text: &str| Some(text.split(' ').map(|w| Word(vec![Piece::Literal(w.into())])).collect::<Vec<_>>());
    let seconds = Duration::from_secs;
    assert_eq!(Some(launch.exec.clone()), words("/usr/bin/emacs --fg-daemon"));
    assert_eq!(launch.exec_stop, words("/usr/bin/emacsclient --eval (kill-emacs)"));
    assert_eq!(launch.upgrader, words("/a/b/upgrader --config abc"));
    assert!(spec.stop_hook && spec.auto_upgrade && spec.autostart);
    assert_eq!(spec.upgrader, Some(Upgrader { every: Some(seconds(10)), timeout: seconds(60) }));
    assert_eq!((spec.count.get(), spec.restart, spec.start), (2, Restart::OnFailure, Start::AtOnce));
    assert_eq!((spec.give_up, spec.warmup), (NonZeroU32::new(3), seconds(1)));
    assert_eq!((spec.ack, spec.ack_signal), (Ack::Manual, Signal::USR2));
    assert_eq!(spec.live_check, Some(seconds(60)));
    assert_eq!(group.sockets.len(), 7);
    assert_eq!(launch.environments, [("TESTA".into(), "XXXX".into()), ("TESTB".into(), "YYYY".into())]);
    let identity = launch.identity.as_ref().unwrap();
    assert_eq!((identity.uid, identity.gid), (1000, 10));
    let rotation = Rotation::Size { max_bytes: 10240, backups: 5 };
    assert_eq!(launch.stdout, Output::File(LogFile::new("/tmp/web1_out.log".into(), rotation)));
    let rotation = Rotation::Time(Schedule { interval: 3, unit: Unit::Days, utc: true, backups: 7 });
    assert_eq!(launch.stderr, Output::File(LogFile::new("/tmp/web1_err.log".into(), rotation)));
    assert_eq!(launch.base_name, "EINHORN");
    assert_eq!(launch.control_socket, Some("/tmp/worker1.ctl".into()));
    assert_eq!(launch.working_directory.as_os_str(), "/tmp");
}

#[test]
fn spellings_without_the_underscore() {
    let with = |text: &str| parsed(text).unwrap_or_else(|faults| panic!("{faults}"));
    let spelled = AS_DOCUMENTED
        .replace("stdoutlog", "stdout_log")
        .replace("stderrlog", "stderr_log")
        .replace("livechecktimeout", "live_check_timeout")
        .replace("upgraderactivesec", "upgrader_active_sec");
    assert_ne!(spelled, AS_DOCUMENTED);
    assert_eq!(with(AS_DOCUMENTED).groups, with(&spelled).groups);
}

#[test]
fn there_is_no_key_but_these() {
    let seed = "exec_start exec_stop stop_signal stop_timeout numprocesses working_directory restart backoff_max \
        backoff_reset giveup warmup_delay start_immediate socket_address environments environment_file inherit_env ack \
        ack_timeout health start_timeout ack_signal drain_timeout uid gid user group umask stdout_log stderr_log \
        live_check_timeout auto_upgrade upgrader upgrader_active_sec upgrader_timeout environment_base_name \
        control_socket contracts listen_pid stdin_socket autostart fd_store watchdog_timeout stdoutlog stderrlog \
        livechecktimeout upgraderactivesec";
    let pace = "surge max_unavailable soak kill_old_delay max_age max_memory";
    let logs = "log_ring";
    let mut wanted: Vec<&str> = [seed, pace, logs].iter().flat_map(|keys| keys.split_whitespace()).collect();
    let mut names: Vec<&str> = Scope::Group.keys().iter().flat_map(|key| [&[key.name], key.aliases].concat()).collect();
    wanted.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, wanted);
}

#[test]
fn settings_of_the_daemon() {
    let config = |text: &str| parsed(&format!("{text}\n[web]\nexec_start = 'a'")).unwrap();
    assert_eq!(config("").stop_timeout, None);
    assert_eq!(config("[firestarter]").stop_timeout, None);
    let kills = |text: &str| config(text).kill_strangers;
    assert!(!kills("[firestarter]") && kills("[firestarter]\nkill_strangers = true"));
    assert_eq!(config("[firestarter]\nstop_timeout = '1m'").stop_timeout, Some(Duration::from_secs(60)));
    let group = parsed("[firestarter]\nexec_start = 'a'\nstop_timeout = 1").unwrap();
    assert_eq!((group.groups[0].spec.name.as_str(), group.stop_timeout), ("firestarter", None));
}
