//! Reads `contracts`: which programs' conventions a group's workers are spoken to in, and with it which variables they
//! get and whose acks count.
//!
//! Called by `keys`, `group`, and by the daemon when it puts an environment together. Knows names only, never values.

use toml::de::DeValue;

use super::draft::{AckKind, Draft};
use super::environment::Variable;
use super::fault::Ledger;
use super::value::{self, Item};

/// Whose conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contract {
    /// The original's, with the prefix `environment_base_name`.
    Firestarter,
    /// Einhorn's.
    Einhorn,
    /// Server::Starter's.
    ServerStarter,
    /// Those of sd_listen_fds(3) and sd_notify(3).
    Systemd,
}

const NAMES: [(&str, Contract); 4] = [
    ("firestarter", Contract::Firestarter),
    ("einhorn", Contract::Einhorn),
    ("server-starter", Contract::ServerStarter),
    ("systemd", Contract::Systemd),
];

/// Those that a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contracts([bool; NAMES.len()]);

impl Contracts {
    /// What holds unless the configuration says otherwise.
    pub(crate) const ALL: Contracts = Contracts([true; NAMES.len()]);

    /// These and no others.
    pub(crate) fn only(contracts: &[Contract]) -> Contracts {
        let mut spoken = [false; NAMES.len()];
        contracts.iter().for_each(|contract| spoken[*contract as usize] = true);
        Contracts(spoken)
    }

    /// Whether a contract is among them.
    pub(crate) fn speak(self, contract: Contract) -> bool {
        self.0[contract as usize]
    }

    /// Whether a line on the worker socket can be an ack.
    pub(crate) fn hear_acks(self) -> bool {
        self.speak(Contract::Firestarter) || self.speak(Contract::Einhorn)
    }
}

/// What the names of Einhorn's variables begin with.
pub(crate) const EINHORN: &str = "EINHORN";
/// Server::Starter's variables: its ports, and the number of the attempt.
pub(crate) const PORTS: &str = "SERVER_STARTER_PORT";
pub(crate) const ATTEMPT: &str = "SERVER_STARTER_GENERATION";
/// Of Einhorn's, made when the worker is.
pub(crate) const CHILD_INDEX: &str = "EINHORN_CHILD_INDEX";

/// Reads `contracts`: an array of names, which may be empty.
pub(crate) fn read(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Contracts> {
    if !matches!(item.value, DeValue::Array(_)) {
        item.mismatch("an array of names", ledger).advise("write contracts = [\"systemd\"]");
        return None;
    }
    let before = ledger.count();
    let mut spoken = [false; NAMES.len()];
    for element in item.each() {
        let Some(contract) = value::choice(&element, &NAMES, ledger) else { continue };
        if std::mem::replace(&mut spoken[contract as usize], true) {
            element.note("this name stands there twice", ledger).advise("remove one of the two");
        }
    }
    (ledger.count() == before).then_some(Contracts(spoken))
}

/// A worker that nobody hears is never ready, nor well. To be called when the whole group is read.
pub(crate) fn check(draft: &Draft<'_>, ledger: &mut Ledger<'_>) {
    let Some(place) = draft.places.get("contracts") else { return };
    let systemd = draft.contracts.speak(Contract::Systemd);
    if draft.ack == AckKind::Manual && !draft.contracts.hear_acks() && !systemd {
        let what = "contracts: ack = \"manual\" needs a contract that has acks: every upgrade would be aborted";
        let advice = "add \"firestarter\", \"einhorn\" or \"systemd\", or write another ack";
        ledger.note(place.clone(), what).advise(advice);
    }
    let needs = [
        (draft.ack == AckKind::Notify, "ack = \"notify\"", "every upgrade would be aborted", "write another ack"),
        (!draft.watchdog.is_zero(), "watchdog_timeout", "every worker would be killed", "remove watchdog_timeout"),
        (draft.fd_store > 0, "fd_store", "nobody could store anything", "remove fd_store"),
    ];
    for (_, key, why, else_) in needs.into_iter().filter(|(wanted, ..)| *wanted && !systemd) {
        let what = format!("contracts: {key} needs the contract of sd_notify(3): {why}");
        ledger.note(place.clone(), what).advise(format!("add \"systemd\", or {else_}"));
    }
}

/// The variables that a worker gets by these contracts, but for those of its sockets by the original's and systemd's, and
/// that are known before there is a worker. What `environments` says of Einhorn's and of Server::Starter's wins: they are
/// newer than many a configuration.
pub(crate) fn own(draft: &Draft<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if draft.contracts.speak(Contract::Einhorn) {
        names.extend(["MASTER_PID", "SOCK_PATH", "SOCK_FD", "FD_COUNT"].map(|name| format!("{EINHORN}_{name}")));
        let numbered = |at| [format!("{EINHORN}_FD_{at}"), format!("{EINHORN}_FD_FAMILY_{at}")];
        names.extend((0..draft.sockets.len()).flat_map(numbered));
    }
    if draft.contracts.speak(Contract::ServerStarter) {
        names.push(PORTS.to_owned());
    }
    if draft.contracts.speak(Contract::Systemd) {
        names.push("NOTIFY_SOCKET".to_owned());
        names.extend((!draft.watchdog.is_zero()).then(|| "WATCHDOG_USEC".to_owned()));
        names.extend((draft.fd_store > 0).then(|| "FDSTORE".to_owned()));
    }
    names
}

/// Those that only the worker itself knows.
pub(crate) fn later(draft: &Draft<'_>) -> Vec<String> {
    let of = [(Contract::Einhorn, CHILD_INDEX), (Contract::ServerStarter, ATTEMPT)];
    let spoken = of.into_iter().filter(|(contract, _)| draft.contracts.speak(*contract));
    let mut names: Vec<String> = spoken.map(|(_, name)| name.to_owned()).collect();
    if draft.contracts.speak(Contract::Systemd) {
        let pid = |wanted: bool, name: &str| (draft.listen_pid && wanted).then(|| name.to_owned());
        names.extend(pid(!draft.sockets.is_empty() || draft.fd_store > 0, "LISTEN_PID"));
        names.extend(pid(!draft.watchdog.is_zero(), "WATCHDOG_PID"));
        if draft.fd_store > 0 {
            names.extend(["LISTEN_FDS", "LISTEN_FDNAMES"].map(str::to_owned));
        }
    }
    names
}

/// What would make the daemon set a variable of a contract that the group does not speak.
pub(crate) fn giver(name: &str, draft: &Draft<'_>) -> Option<&'static str> {
    let based = name.strip_prefix(draft.base_name.as_str()).is_some_and(|rest| rest.starts_with('_'));
    let of = [
        (name.starts_with("EINHORN_"), Contract::Einhorn, "with \"einhorn\" in contracts"),
        (name.starts_with("SERVER_STARTER_"), Contract::ServerStarter, "with \"server-starter\" in contracts"),
        (is_systemds(name), Contract::Systemd, "with \"systemd\" in contracts"),
        (based, Contract::Firestarter, "with \"firestarter\" in contracts"),
    ];
    let silent = of.into_iter().find(|(is_its, contract, _)| *is_its && !draft.contracts.speak(*contract));
    silent.map(|(_, _, giver)| giver)
}

fn is_systemds(name: &str) -> bool {
    ["LISTEN_", "WATCHDOG_"].iter().any(|beginning| name.starts_with(beginning))
        || ["NOTIFY_SOCKET", "FDSTORE"].contains(&name)
}

/// Whether a configuration sets a variable itself.
pub(crate) fn set_by_hand(environments: &[Variable], name: &str) -> bool {
    environments.iter().any(|(set, _)| set == name)
}
