//! Workers that need memory: as many at a time as there is room for in an upgrade, and one that has become too large is
//! replaced, its successor first.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{pids, Fire, Folder};

/// A control group whose memory is limited, gone at the end.
struct Limited(PathBuf);

impl Limited {
    /// None where no group can be made, with the reason.
    fn new(mebibytes: u64) -> Option<Limited> {
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (mount, limit) in places {
            let group = Path::new(mount).join(format!("fs-memory-{}", std::process::id()));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let limited = Limited(group);
            if fs::write(limited.0.join(limit), (mebibytes << 20).to_string()).is_ok() {
                return Some(limited);
            }
        }
        eprintln!("skipped: no control group for memory can be made here, which needs root");
        None
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        harness::until("nobody is left in the control group", || fs::remove_dir(&self.0).is_ok());
    }
}

/// Starts Firestarter in it.
fn start_in(limited: &Limited, folder: Folder, toml: &str) -> Fire {
    let join = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", limited.0.display());
    let plain = harness::run_command(&folder, toml);
    let mut command = folder.command("sh");
    command.args(["-c", &join, "sh"]).arg(plain.get_program()).args(plain.get_args());
    let file = |name: &str| fs::File::create(folder.join(name)).expect("a file");
    command.stdout(file("stdout")).stderr(file("stderr"));
    let keeper = command.spawn().expect("start firestarter");
    Fire::watch(folder, keeper)
}

#[test]
fn an_upgrade_takes_as_many_at_a_time_as_the_memory_holds() {
    // Three of 40 MiB and what Firestarter needs leave room for one and a half of 48.
    let Some(limited) = Limited::new(210) else { return };
    let toml = "[web]\nexec_start = ['@WORKER@', 'heap', '40']\nnumprocesses = 3\nrestart = 'always'\nack = 'manual'\n";
    let fire = start_in(&limited, Folder::new(), toml);
    let before = fire.settled("web", 3);
    let said = fire.ctl(&["ctrl", "web", "upgrade", "--progress"]);
    assert_eq!(said.code, 0, "{said:?} {}", fire.stderr());
    assert!(said.err.contains(", 1 at a time as memory is short"), "{said:?}");
    assert!(!said.err.contains("0 of 3 ready, 2 spawned"), "never two more: {said:?}");
    fire.hears("web: the memory holds 1 of 3 new workers at a time");
    let after = fire.settled("web", 3);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    fire.stop();
}

#[test]
fn a_worker_that_is_too_large_is_replaced_start_first() {
    let folder = Folder::new();
    folder.write("large", "");
    folder.script(
        "run",
        &format!("#!/bin/sh\ncd @DIR@\n[ -e large ] && exec {0} heap 64\nexec {0} heap 1\n", harness::worker())
            .replace("@DIR@", &folder.path().display().to_string()),
    );
    let toml =
        "[web]\nexec_start = ['@DIR@/run']\nnumprocesses = 1\nrestart = 'always'\nack = 'manual'\nmax_memory = '32M'\n";
    let fire = Fire::start_in(folder, toml);
    let before = fire.settled("web", 1)[0];
    fs::remove_file(fire.folder.join("large")).expect("remove");
    fire.wait_for("its successor", |status| {
        let group = harness::group_of(status, "web");
        assert_ne!(group["ready"], 0, "never without a worker: {group}");
        pids(&group).iter().any(|pid| *pid != before)
    });
    let after = fire.settled("web", 1)[0];
    assert_ne!(after, before);
    assert_eq!((&fire.group("web")["restarts"], &fire.group("web")["generation"]), (&0.into(), &1.into()));
    fire.hears("; starting its successor");
    fire.stop();
}
