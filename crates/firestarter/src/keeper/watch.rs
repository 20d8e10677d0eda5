//! Whether the daemon goes on. One that hangs is killed, and so replaced as a dead one is.
//!
//! The daemon's loop says in the header where it is, which costs it no system call. The keeper looks there only for a
//! while after it has forked a daemon or told it something: as long as that is not taken, or is not done. So nothing wakes
//! anybody while nothing happens, and a daemon that hangs over something else (a client's request) is found out with the
//! next exit or signal; or by itself where there is a watchdog, for which the keeper asks it again and again.
//!
//! **Hung** is a daemon that at several looks in a row stands where it stood, with something to do, and was not stopped
//! at any of them: time alone does not count, as the machine may have stood still. Nor does a look count that finds it ready
//! to run and hardly having run since the last one that did: it **waits** for a processor that others have, and another
//! daemon would fare no better. **Stopped** (by SIGSTOP or a debugger) is
//! not hung, but somebody's wish; it is said and left alone. One that the kernel does not even let die is told of once.

use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

use super::link::Joint;
use crate::journal::Header;
use crate::say::say;

/// A daemon that hangs so long is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many looks make up that time.
const LOOKS: u32 = 4;
/// So many of proc_pid_stat(5) are a second, on every architecture that we run on.
const TICKS: u64 = 100;
/// So many times as long may a daemon take until it has taken over.
const FOR_BEGINNING: u32 = 3;
/// So many times as long may it take until another has taken its place: after that not all is well.
const FOR_REPLACING: u32 = 6;

pub(super) struct Watch {
    patience: Duration,
    /// When to look next; none: nothing is expected of it.
    pub(super) look_at: Option<Instant>,
    /// Where it was at the last look,
    turn: u64,
    /// and how many looks more it may stay there.
    left: u32,
    /// How long its loop had run in all at the last look that counted.
    ran: Duration,
    /// When a daemon was last seen to have done what it was told, or to be stopped by somebody.
    seen: Instant,
    /// This daemon was told something,
    asked: bool,
    /// and once was seen to have done it.
    answered: bool,
    said_stopped: bool,
    killed: bool,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It has nothing to do.
    Rests,
    /// It is somewhere else; `taken`: it has read all that it was told.
    WentOn {
        taken: bool,
    },
    Stopped,
    /// It has something to do, and no processor.
    Waits,
    Stands,
}

impl Watch {
    pub(super) fn new() -> Watch {
        let (look_at, turn, left, ran, seen) = (None, 0, 0, Duration::ZERO, Instant::now());
        let (asked, answered, said_stopped, killed) = Default::default();
        Watch { patience: patience(), look_at, turn, left, ran, seen, asked, answered, said_stopped, killed }
    }

    /// A daemon was forked.
    pub(super) fn begins(&mut self, header: &Header) {
        (self.asked, self.answered, self.said_stopped, self.killed) = Default::default();
        (self.turn, self.left, self.ran) = (header.turn(), LOOKS * FOR_BEGINNING, Duration::ZERO);
        self.look_at = Some(self.next());
    }

    /// The daemon was told something.
    pub(super) fn told(&mut self, header: &Header) {
        self.asked = true;
        if self.look_at.is_none() && !self.killed {
            (self.turn, self.left) = (header.turn(), LOOKS);
            self.look_at = Some(self.next());
        }
    }

    /// It has died. Whether it hung before it had done anything that it was told.
    pub(super) fn ended(&mut self) -> bool {
        self.look_at = None;
        self.killed && !self.answered
    }

    /// Whether a daemon has done what it was told so lately that another could not have taken its place since.
    pub(super) fn well(&self) -> bool {
        self.seen.elapsed() < self.patience * FOR_REPLACING
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, pid: Pid, joint: &Joint, header: &Header) {
        if self.look_at.take_if(|at| *at <= Instant::now()).is_none() {
            return;
        }
        if self.killed {
            return say(format_args!(
                "the daemon (pid {pid}) does not die of SIGKILL: the kernel holds it; the workers run on"
            ));
        }
        let (turn, taken) = (header.turn(), !joint.unread());
        let sight = if Header::is_rest(turn) && taken {
            Sight::Rests
        } else if turn != self.turn {
            Sight::WentOn { taken }
        } else {
            self.look_closer(pid)
        };
        self.judge(sight, pid);
        self.turn = turn;
    }

    /// It stands where it stood. A little of what it would have run with a processor of its own is enough to count.
    fn look_closer(&mut self, pid: Pid) -> Sight {
        let Life { state, ran } = life(pid).unwrap_or(Life { state: ' ', ran: Duration::MAX });
        match state {
            'T' | 't' => Sight::Stopped,
            'R' if ran.saturating_sub(self.ran) < self.patience / LOOKS / 4 => Sight::Waits,
            _ => {
                self.ran = ran;
                Sight::Stands
            }
        }
    }

    fn judge(&mut self, sight: Sight, pid: Pid) {
        if !matches!(sight, Sight::Stands | Sight::Waits) {
            self.left = LOOKS;
        }
        if sight != Sight::Rests {
            self.look_at = Some(self.next());
        }
        match sight {
            Sight::Rests | Sight::WentOn { taken: true } if self.asked => {
                self.answered = true;
                self.seen = Instant::now();
            }
            Sight::Rests | Sight::WentOn { .. } | Sight::Waits => {}
            Sight::Stopped => {
                self.seen = Instant::now();
                if !std::mem::replace(&mut self.said_stopped, true) {
                    say(format_args!(
                        "the daemon (pid {pid}) is stopped, by a signal or a debugger, and left alone: nothing is done \
                         until `kill -CONT {pid}` (this is said once)"
                    ));
                }
            }
            Sight::Stands => {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 {
                    say(format_args!(
                        "the daemon (pid {pid}) hangs: it has not moved for {:?} or more, and is killed",
                        self.patience
                    ));
                    self.killed = true;
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    fn next(&self) -> Instant {
        Instant::now() + self.patience / LOOKS
    }
}

/// What the kernel says of the daemon's loop, which is its first thread.
struct Life {
    state: char,
    /// How long it has run, to a hundredth of a second.
    ran: Duration,
}

/// By proc_pid_stat(5).
fn life(pid: Pid) -> Option<Life> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat", pid = pid.as_raw_nonzero())).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok());
    let ran = Duration::from_millis((ticks(11)? + ticks(12)?).saturating_mul(1000) / TICKS);
    Some(Life { state: fields.first()?.chars().next()?, ran })
}

/// In a build for tests it may be less, so that they need not wait so long.
fn patience() -> Duration {
    let less = std::env::var("FIRESTARTER_TEST_PATIENCE_MS").ok().filter(|_| cfg!(debug_assertions));
    less.and_then(|ms| ms.parse().ok()).map_or(PATIENCE, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch over a process that nobody has, after so many looks of these kinds.
    fn after(sights: &[Sight]) -> Watch {
        let mut watch = Watch::new();
        (watch.left, watch.asked) = (LOOKS, true);
        for sight in sights {
            watch.look_at = None;
            watch.judge(*sight, Pid::from_raw(i32::MAX).unwrap());
        }
        watch
    }

    #[test]
    fn only_who_stands_at_every_look_is_killed() {
        use Sight::{Rests, Stands, Stopped, Waits, WentOn};
        assert!(after(&[Stands; LOOKS as usize]).killed);
        let mut waits = [Stands; 20];
        waits[3..].fill(Waits);
        assert!(!after(&waits).killed, "who gets no processor does not hang");
        waits[19] = Stands;
        assert!(after(&waits).killed, "nor does it move");
        for moved in [WentOn { taken: true }, WentOn { taken: false }, Stopped] {
            let watch = after(&[Stands, Stands, Stands, moved, Stands, Stands, Stands]);
            assert!(!watch.killed && watch.look_at.is_some(), "{moved:?}");
        }
        let watch = after(&[Stands, Rests]);
        assert!(!watch.killed && watch.look_at.is_none(), "who has nothing to do is not looked at");
    }

    #[test]
    fn who_never_did_what_it_was_told_has_lived_in_vain() {
        let vain = |taken| {
            let mut sights = vec![Sight::WentOn { taken }];
            sights.extend([Sight::Stands; LOOKS as usize]);
            after(&sights).ended()
        };
        assert!(vain(false) && !vain(true));
    }

    #[test]
    fn all_is_well_only_as_long_as_what_is_told_is_done() {
        let long_ago = Instant::now() - PATIENCE * (FOR_REPLACING + 1);
        for (sight, well) in [
            (Sight::Rests, true),
            (Sight::WentOn { taken: true }, true),
            (Sight::WentOn { taken: false }, false),
            (Sight::Stopped, true),
            (Sight::Waits, false),
            (Sight::Stands, false),
        ] {
            let mut watch = after(&[]);
            watch.seen = long_ago;
            watch.judge(sight, Pid::from_raw(i32::MAX).unwrap());
            assert_eq!(watch.well(), well, "{sight:?}");
        }
        let mut fresh = Watch::new();
        fresh.seen = long_ago;
        fresh.judge(Sight::Rests, Pid::from_raw(i32::MAX).unwrap());
        assert!(!fresh.well(), "who was told nothing has done nothing");
    }

    #[test]
    fn who_is_ready_to_run_and_has_not_waits() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let begun = Instant::now();
        let runs = || life(pid).filter(|life| life.state == 'R' && life.ran > PATIENCE / LOOKS / 4);
        while runs().is_none() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        let (mut watch, ran) = (after(&[]), runs().expect("it runs").ran);
        assert_eq!(watch.look_closer(pid), Sight::Stands, "it has run without getting anywhere");
        assert!(watch.ran >= ran);
        watch.ran += PATIENCE;
        assert_eq!(watch.look_closer(pid), Sight::Waits);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_stopped_process_is_told_from_one_that_runs() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let is_stopped = |pid| life(pid).is_some_and(|life| life.state == 'T');
        assert!(!is_stopped(pid));
        kill_process(pid, Signal::STOP).unwrap();
        let begun = Instant::now();
        while !is_stopped(pid) && begun.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        assert!(is_stopped(pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
