//! What `start` does for a service manager, if one has started Firestarter: what it keeps for us is opened no second time,
//! and it hears how long the start and the stop may take. Called by `start` and, in another program's place, by `resume`.

use std::time::Duration;

use firestarter_core::spec::Policy;

use super::FOR_EVER;
use crate::config::Config;
use crate::daemon::open::{self, OpenError};
use crate::daemon::shelf::Shelf;
use crate::daemon::{report, Setup};
use crate::journal::{Log, Records};
use crate::keeper::Longest;
use crate::service::Service;
use crate::sys::fds;

/// It is told of so much more than a start or a stop may take.
const LEEWAY: Duration = Duration::from_secs(15);

/// Who has started this process, or the program whose place it has taken: the environment is the same.
pub(super) fn find() -> Option<Service> {
    Service::find(|name| std::env::var_os(name), fds::STAGE_END)
}

/// Whether it keeps listeners for us.
pub(super) fn has_room(service: Option<&Service>) -> bool {
    service.is_some_and(|service| service.room > 0)
}

/// Opens everything, but for the listeners that it has kept; the others it keeps from now on.
pub(super) fn open_all(
    setup: &Setup,
    records: Records,
    log: &mut Log,
    seed: u64,
    (shelf, service): (Option<Shelf>, Option<&Service>),
) -> Result<(), OpenError> {
    let mut shelf = shelf.unwrap_or_default();
    let unwanted = shelf.sort(&setup.config);
    if let Some(service) = service {
        service.let_go(&unwanted);
    }
    open::open(setup, records, log, seed, &mut shelf)?;
    if let Some(service) = service.filter(|_| setup.shelved) {
        shelf.fill(service, setup, records.ledger);
    }
    Ok(())
}

/// What it is to know, so that it does not take a long start or stop for one that has failed.
pub(super) fn with_times(service: Service, config: &Config, policy: Policy) -> (Service, Longest) {
    let more = |time: Duration| time.min(FOR_EVER) + LEEWAY;
    let (start, stop) = (more(report::longest_start(config)), more(policy.stop_timeout));
    (service, Longest { start, stop })
}
