//! Upgrades, rollbacks and restarts in steps without end, under load: not one request may fail, and nothing may grow.
//!
//! `UPGRADES=1000 cargo test --release -p firestarter --test many_upgrades` is the nightly run.

mod harness;

use harness::load::{plain, Load};
use harness::proc::{self, Sig};
use harness::{worker, Fire};

/// How many, unless the environment says so.
const FEW: u32 = 12;

#[test]
fn many_upgrades_lose_nothing_and_leave_nothing() {
    let upgrades = std::env::var("UPGRADES").map_or(FEW, |text| text.parse().expect("a number"));
    let fire = Fire::start(&format!(
        "[web]\nexec_start = ['{}', 'serve', 'path']\nsocket_address = ['127.0.0.1:0']\nstart_immediate = true\nnumprocesses = 4\n\
         restart = 'always'\nack = 'manual'\nsurge = 2\nmax_unavailable = 1\n",
        worker()
    ));
    fire.settled("web", 4);
    let address = fire.group("web")["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok());
    let load = Load::start(address.expect("an address"), 4, plain);
    load.goes_on(20);
    let mut flat = Vec::new();
    for nth in 0..upgrades {
        fire.order("web", ["upgrade", "upgrade", "rollback", "restart"][nth as usize % 4]);
        if nth % 5 == 4 {
            proc::signal(fire.daemon(), Sig::KILL);
        }
        load.goes_on(20);
        fire.settled("web", 4);
        if nth >= FEW / 2 {
            flat.push(proc::descriptors(fire.keeper_pid).len());
        }
    }
    let served = load.stop();
    let (least, most) = (flat.iter().min().expect("some"), flat.iter().max().expect("some"));
    assert!(most - least <= 8, "descriptors grow: {flat:?}");
    println!("{upgrades} upgrades, {served} requests, none failed; {least} to {most} descriptors");
    fire.stop();
}
