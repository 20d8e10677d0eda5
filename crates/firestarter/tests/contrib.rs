//! The units in `contrib/`: every line of them is one that systemd knows, and what they start can be started.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{said, Folder, BIN};

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib");

fn unit(name: &str) -> String {
    std::fs::read_to_string(Path::new(CONTRIB).join(name)).expect("a unit")
}

/// The key and the value of each line that has any.
fn settings(unit: &str) -> Vec<(&str, &str)> {
    unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn what_the_unit_starts_is_a_command_that_is_understood() {
    let unit = unit("firestarter.service");
    let starts = settings(&unit).into_iter().find(|(key, _)| *key == "ExecStart").expect("ExecStart=").1;
    let folder = Folder::new();
    let nowhere = folder.join("nowhere.toml").display().to_string();
    let words: Vec<String> =
        starts.split(' ').map(|word| word.replace("/etc/firestarter/config.toml", &nowhere)).collect();
    assert_eq!(words[0], "/usr/bin/firestarter");
    assert!(words.contains(&nowhere), "{words:?}");
    let mut command = folder.command(BIN);
    command.args(&words[1..]).arg("-d").arg(folder.join("c"));
    let said = said(command);
    // Understood, and all that is missing is the file.
    assert!(said.err.contains("nowhere.toml: ") && said.err.to_lowercase().contains("no such file"), "{said:?}");
    // And a configuration with faults is not tried again and again.
    assert!(settings(&unit).contains(&("RestartPreventExitStatus", said.code.to_string().as_str())), "{said:?}");
}

#[test]
fn what_the_code_counts_on_is_set() {
    let unit = unit("firestarter.service");
    for line in ["Type=notify", "NotifyAccess=main", "KillMode=mixed", "OOMPolicy=continue", "Restart=on-failure"] {
        assert!(unit.lines().any(|its| its == line), "{line}");
    }
    let keys = settings(&unit);
    let most = keys.iter().find(|(key, _)| *key == "FileDescriptorStoreMax").expect("a store");
    assert!(keys.contains(&("Environment", &format!("FDSTORE={}", most.1))), "an older systemd does not say it");
}

#[test]
fn systemd_knows_every_key() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no systemd-analyze");
    }
    let folder = Folder::new();
    let write = |name: &str| -> PathBuf { folder.write(name, &unit(name).replace("/usr/bin/firestarter", BIN)) };
    let verify = |units: [PathBuf; 2]| {
        let mut command = folder.command("systemd-analyze");
        command.arg("verify").args(units);
        said(command)
    };
    let (service, socket) = (write("firestarter.service"), write("firestarter.socket"));
    let verified = verify([service.clone(), socket.clone()]);
    assert!(verified.code == 0 && !verified.err.contains("firestarter.s"), "{verified:?}");
    folder.write(
        "firestarter.service",
        &unit("firestarter.service").replace("KillMode=", "KilMode=").replace("/usr/bin/firestarter", BIN),
    );
    let broken = verify([service, socket]);
    assert!(broken.err.contains("KilMode"), "a wrong key would be seen: {broken:?}");
}
