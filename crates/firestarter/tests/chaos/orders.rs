//! Acts that are orders: what they may answer, whatever happens beside them.

use std::fs;

use crate::harness::dice::Dice;
use crate::harness::{finish, Fire, Said};
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Upgrade,
    Restart,
    Rollback,
    /// An upgrade to a release that does not serve.
    Abort,
    /// An upgrade that is taken back while it is under way.
    Cancel,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verb::Upgrade => "upgrade",
            Verb::Restart => "restart",
            Verb::Rollback => "roll back",
            Verb::Abort => "upgrade to a bad release",
            Verb::Cancel => "upgrade and cancel",
        }
    }
}

/// Orders that a group gets.
pub(crate) fn of(group: &str) -> &'static [Verb] {
    match group {
        "web" => &[Verb::Upgrade, Verb::Upgrade, Verb::Restart, Verb::Rollback, Verb::Abort, Verb::Abort, Verb::Cancel],
        _ => &[Verb::Upgrade, Verb::Restart],
    }
}

/// Done, or not done for a reason that there is.
pub(crate) fn is_fine(said: &Said, excuses: &[&str]) -> bool {
    said.code == 0 || said.code == 1 && excuses.iter().any(|excuse| said.err.contains(excuse))
}

/// `excuses`: why an upgrade may fail.
pub(crate) fn order(stage: &Stage, group: &str, verb: Verb, excuses: &[&str], dice: &mut Dice) -> String {
    let fire = &stage.fire;
    let said = match verb {
        Verb::Upgrade => fire.ctl(&["ctrl", group, "upgrade"]),
        Verb::Restart => fire.ctl(&["ctrl", group, "restart"]),
        Verb::Rollback => fire.ctl(&["ctrl", group, "rollback"]),
        Verb::Abort => return abort(stage, group, dice),
        Verb::Cancel => return cancel(fire, group, dice),
    };
    let first = verb == Verb::Rollback && said.err.contains("there is no generation before this one");
    assert!(first || is_fine(&said, excuses), "{} {group}: {said:?}", verb.word());
    gist(&said)
}

/// The last line of what was said.
fn gist(said: &Said) -> String {
    let line = |text: &str| text.lines().last().map(str::to_owned);
    line(&said.err).or_else(|| line(&said.out)).unwrap_or_default()
}

/// Puts another release in the place of the one that is there.
fn release(fire: &Fire, name: &str) {
    let fresh = fire.folder.join("fresh");
    fs::hard_link(fire.folder.join(name), &fresh).expect("link a release");
    fs::rename(fresh, fire.folder.join("release")).expect("rename a release");
}

fn abort(stage: &Stage, group: &str, dice: &mut Dice) -> String {
    let name = dice.among(&["ends", "ends", "crashes", "crashes", "hangs"]);
    release(&stage.fire, name);
    let said = stage.fire.ctl(&["ctrl", group, "upgrade"]);
    release(&stage.fire, "good");
    assert!(said.code == 1 && said.err.contains("upgrade aborted"), "a release that {name}: {said:?}");
    format!("one that {name}: {}", said.err.lines().next().unwrap_or_default())
}

fn cancel(fire: &Fire, group: &str, dice: &mut Dice) -> String {
    let upgrade = fire.begin(&["ctrl", group, "upgrade"]);
    dice.moment(100);
    let (cancel, upgrade) = (fire.ctl(&["ctrl", group, "cancel"]), finish(upgrade));
    assert!(matches!((cancel.code, upgrade.code), (0 | 1, 0 | 1)), "{cancel:?} {upgrade:?}");
    format!("{}; {}", gist(&cancel), gist(&upgrade))
}

pub(crate) fn scale(stage: &Stage, group: &'static str, dice: &mut Dice) -> String {
    let up = match stage.count(group) {
        0..=2 => true,
        5.. => false,
        _ => dice.roll(2) == 0,
    };
    let said = stage.fire.ctl(&["ctrl", group, if up { "inc" } else { "dec" }]);
    assert_eq!(said.code, 0, "scale {group}: {said:?}");
    let mut counts = stage.counts.lock().expect("no panic");
    let count = counts.get_mut(group).expect("a group");
    *count = if up { *count + 1 } else { *count - 1 };
    format!("to {count}: {}", gist(&said))
}

/// `daemon_dies`: three that die while they should get to work, and the old program has its place back.
pub(crate) fn upgrade_daemon(fire: &Fire, daemon_dies: bool, dice: &mut Dice) -> String {
    let binary = fire.folder.join(dice.among(&["one", "two"]));
    let said = fire.ctl(&["upgrade-daemon", "--binary", binary.to_str().expect("UTF-8")]);
    let fine = said.code == 0 || daemon_dies && said.err.contains("died before they were at work");
    assert!(fine, "upgrade-daemon: {said:?}");
    gist(&said)
}

pub(crate) fn upgrade_to_another_program(fire: &Fire) -> String {
    let said = fire.ctl(&["upgrade-daemon", "--binary", "/bin/true"]);
    assert!(said.code == 1 && said.err.contains("it is no Firestarter"), "{said:?}");
    gist(&said)
}

/// `may_wait`: a disk or the writer may keep it from being done in time.
pub(crate) fn reopen(fire: &Fire, may_wait: bool) -> String {
    let said = fire.ctl(&["reopen"]);
    assert!(said.code == 0 || may_wait && said.code == 1, "reopen: {said:?}");
    gist(&said)
}
