//! Acts with disks. The group that logs there is started for the act and stopped after it, so each act ends with a whole
//! account: what its worker wrote is in the log, to the byte, or counted there as missing.

use std::fs;
use std::path::PathBuf;

use crate::harness::dice::Dice;
use crate::harness::disk::Disk;
use crate::harness::{lines, until};
use crate::stage::Stage;

/// Full for up to 3 s, which may be more than is held: the rest is dropped.
pub(crate) fn full(stage: &Stage, dice: &mut Dice) -> String {
    let disk = stage.full.as_ref().expect("the act is possible");
    logged(stage, "full", dice, Disk::fill, |disk| fs::remove_file(disk.0.join("fill")).expect("remove"), disk)
}

/// Frozen for up to 3 s.
pub(crate) fn slow(stage: &Stage, dice: &mut Dice) -> String {
    let disk = stage.slow.as_ref().expect("the act is possible");
    logged(stage, "slow", dice, |disk| assert!(disk.freeze("-f")), |disk| assert!(disk.freeze("-u")), disk)
}

fn logged(
    stage: &Stage,
    group: &str,
    dice: &mut Dice,
    fails: impl Fn(&Disk),
    works: impl Fn(&Disk),
    disk: &Disk,
) -> String {
    let fire = &stage.fire;
    let place: PathBuf = fire.folder.join(group);
    let log = || fs::read_to_string(disk.0.join("log")).unwrap_or_default();
    fire.order(group, "start");
    until("lines on the disk", || log().len() > 10_000);
    fails(disk);
    dice.moment(3000);
    works(disk);
    dice.moment(300);
    fs::write(place.join("enough"), "").expect("write");
    let done = || names(&place).iter().any(|name| name.starts_with("done."));
    until("the worker has written all", done);
    let sum = || {
        let text = log();
        // A count that is half written says nothing yet.
        if !text.ends_with('\n') {
            return 0;
        }
        let found = lines::read(&place, &text, true);
        found.values().map(|found| found.bytes).sum::<u64>() + lines::missing(&text).1
    };
    let taken = lines::all_taken(&place);
    until("what is there and what is counted as missing to be all", || sum() >= taken);
    assert_eq!(sum(), taken, "more than was written");
    let (lines, bytes) = lines::missing(&log());
    fire.order(group, "stop");
    for name in names(&place).iter().filter(|name| *name != "disk") {
        fs::remove_file(place.join(name)).expect("remove");
    }
    fs::remove_file(disk.0.join("log")).expect("remove the log");
    format!("{taken} bytes, of which {bytes} ({lines} lines) are told to be missing")
}

fn names(place: &PathBuf) -> Vec<String> {
    let entries = fs::read_dir(place).expect("the folder").flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
