//! What people are told of a log that does not work: what becomes of what is written to it, that something is dropped, and how
//! much is missing. Disks of a test's own need root; without it these tests say that they are skipped.

mod harness;

use harness::disk::Disk;
use harness::{lines, until, Fire, Folder};

#[test]
fn what_is_dropped_is_told_of_while_it_is_and_counted_once_for_all_who_write_there() {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    disk.fill();
    let log = "{ path = '@DIR@/disk/log', on_overflow = 'drop' }";
    let toml = format!(
        "[loud]\nexec_start = ['@WORKER@', 'lines', '0', '9000000']\nnumprocesses = 2\nack_timeout = '10ms'\nstdout_log = {log}\n\
         [quiet]\nexec_start = ['@WORKER@', 'lines', '100000', '1000000']\nack_timeout = '10ms'\nstdout_log = {log}\n"
    );
    let (fire, disk) = (Fire::start_in(folder, &toml), disk);
    fire.hears("no space left on device; what is written to it is dropped and counted until that is mended");
    fire.hears("what workers write is dropped and counted from now on");
    let loud = fire.settled("loud", 2);
    until("all is written", || loud.iter().all(|pid| lines::is_done(&fire.folder, *pid)));
    let of_log = |what: &str| fire.group("quiet")["logs"][0][what].as_u64().expect("a number");
    until("the status says how much is dropped", || {
        of_log("dropped_bytes") > 7_000_000 && of_log("dropped_lines") > 100
    });
    disk.free();
    fire.hears("works again; ");
    let text = || fire.folder.read("disk/log");
    until("the count in the log is that of the status", || {
        let (lines, bytes) = lines::missing(&text());
        (lines, bytes) == (of_log("dropped_lines"), of_log("dropped_bytes"))
    });
    let (_, bytes) = lines::missing(&text());
    let said = fire.stderr();
    assert!(said.contains(&format!("works again; {bytes} bytes are missing")), "{bytes}: {said}");
    for once in ["from now on", "no space left on device", "works again"] {
        assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
    }
    fire.stop();
}

#[test]
fn what_cannot_be_written_before_the_end_is_told_of_with_its_log() {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    disk.fill();
    let toml = "[web]\nexec_start = ['@WORKER@', 'lines', '0', '20000']\nack_timeout = '10ms'\n\
                stdout_log = { path = '@DIR@/disk/log', on_overflow = 'block' }\n";
    let (mut fire, _disk) = (Fire::start_in(folder, toml), disk);
    fire.hears("no space left on device; whoever writes to it waits until that is mended");
    let worker = fire.settled("web", 1)[0];
    until("all is written", || lines::is_done(&fire.folder, worker));
    let taken = lines::all_taken(&fire.folder);
    assert_eq!((fire.ctl(&["stop"]).code, fire.ended().code()), (0, Some(0)));
    let log = fire.folder.join("disk/log");
    let path = log.display();
    let last = format!("log {path}: {taken} bytes that workers wrote last are lost: no space left on device");
    assert!(fire.stderr().contains(&last), "{last}: {}", fire.stderr());
}

#[test]
fn what_was_given_up_of_workers_that_have_ended_is_told_of_too() {
    let folder = Folder::new();
    let Some(disk) = Disk::small(&folder.join("disk")) else { return };
    disk.fill();
    let toml =
        "[web]\nexec_start = ['sh', '-c', 'echo abc']\nnumprocesses = 100\nrestart = 'none'\nack_timeout = '10ms'\n\
                stdout_log = { path = '@DIR@/disk/log', on_overflow = 'drop' }\n";
    let (mut fire, _disk) = (Fire::start_in(folder, toml), disk);
    fire.hears("what workers write is dropped and counted from now on");
    fire.wait_for_lines("not respawned", 100);
    assert_eq!((fire.ctl(&["stop"]).code, fire.ended().code()), (0, Some(0)));
    assert!(fire.stderr().contains(": 400 bytes that workers wrote last are lost: no space left"), "{}", fire.stderr());
}
