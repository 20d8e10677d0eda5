//! `contracts`: which are spoken, and which variables commands may mention and `environments` set because of it.

use super::super::{Contract, Contracts};
use super::{faults, parsed, web, web_fault};

#[test]
fn all_are_spoken_unless_some_are_named() {
    let spoken = |lines: &str| {
        let contracts = web(lines).launch.contracts;
        [Contract::Firestarter, Contract::Einhorn, Contract::ServerStarter, Contract::Systemd]
            .map(|contract| contracts.speak(contract))
    };
    assert_eq!(web("").launch.contracts, Contracts::ALL);
    assert_eq!(spoken(""), [true; 4]);
    assert_eq!(spoken("contracts = []"), [false; 4]);
    assert_eq!(spoken("contracts = ['systemd', 'einhorn']"), [false, true, false, true]);
    assert_eq!(spoken("contracts = ['server-starter', 'firestarter']"), [true, false, true, false]);
}

#[test]
fn faults_of_contracts() {
    let names = "contracts: expected \"firestarter\", \"einhorn\", \"server-starter\" or \"systemd\"";
    assert_eq!(
        web_fault("contracts = ['einhorm']"),
        format!("3:14 {names}, found the string \"einhorm\" = did you mean contracts = \"einhorn\"?")
    );
    assert_eq!(web_fault("contracts = [3]"), format!("3:14 {names}, found 3"));
    let no_array = "3:13 contracts: expected an array of names, found the string \"systemd\"";
    assert_eq!(web_fault("contracts = 'systemd'"), format!("{no_array} = write contracts = [\"systemd\"]"));
    assert_eq!(
        web_fault("contracts = ['systemd', 'systemd']"),
        "3:25 contracts: this name stands there twice = remove one of the two"
    );
    let unheard = "contracts: ack = \"manual\" needs a contract that has acks: every upgrade would be aborted = \
        add \"firestarter\", \"einhorn\" or \"systemd\", or write another ack";
    assert_eq!(web_fault("contracts = ['server-starter']\nack = 'manual'"), format!("3:1 {unheard}"));
    web("contracts = ['einhorn']\nack = 'manual'");
    web("contracts = ['systemd']\nack = 'manual'");
    for (line, key) in [
        ("ack = 'notify'", "ack = \"notify\""),
        ("watchdog_timeout = 5", "watchdog_timeout"),
        ("fd_store = 1", "fd_store"),
    ] {
        let fault = web_fault(&format!("contracts = ['firestarter', 'einhorn', 'server-starter']\n{line}"));
        assert!(fault.starts_with(&format!("3:1 contracts: {key} needs the contract of sd_notify(3): ")), "{fault}");
        assert!(fault.contains("= add \"systemd\", or "), "{fault}");
        web(&format!("contracts = ['systemd']\n{line}"));
        web(line);
    }
    web("contracts = []\nack = 'none'");
}

#[test]
fn commands_may_mention_what_is_spoken() {
    let with = |command: &str, lines: &str| format!("[w]\nexec_start = 'a ${command}'\nsocket_address = 80\n{lines}\n");
    for name in ["EINHORN_FD_0", "EINHORN_FD_FAMILY_0", "EINHORN_SOCK_FD", "EINHORN_FD_COUNT", "SERVER_STARTER_PORT"] {
        parsed(&with(name, "")).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    }
    for name in ["EINHORN_CHILD_INDEX", "SERVER_STARTER_GENERATION"] {
        assert!(faults(&with(name, "")).concat().contains("is set only in the worker itself"), "{name}");
    }
    for (name, contract) in [
        ("EINHORN_FD_0", "einhorn"),
        ("EINHORN_CHILD_INDEX", "einhorn"),
        ("SERVER_STARTER_PORT", "server-starter"),
        ("LISTEN_FDNAMES", "systemd"),
        ("FIRESTARTER_FD_0", "firestarter"),
    ] {
        let fault = faults(&with(name, "contracts = []")).concat();
        let advice = format!("is not set = the daemon sets it with \"{contract}\" in contracts; ");
        assert!(fault.contains(&advice), "{fault}");
    }
    parsed(&with("EINHORN_FD_0", "contracts = []\nenvironments = ['EINHORN_FD_0=9']")).unwrap();
}
