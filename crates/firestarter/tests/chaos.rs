//! Everything at once: random acts, several in parallel, round after round, under load, with laws that are looked at
//! whenever a round is over. `.ci/run` calls it; it is ignored else, since it takes as long as it is asked to.
//!
//! `CHAOS=3600 CHAOS_SEED=7 cargo test -p firestarter --test chaos -- --ignored --nocapture` goes on for an hour with the
//! dice of seed 7; without these variables it is a minute, and a seed of its own. Every act is printed with its time. A
//! failure keeps what there is to be known of it: see `chaos/stage.rs`.
//!
//! What is killed: daemons and writers at any moment, and workers of the groups that serve nobody. A web worker that is
//! killed loses the request in its hands, and nobody could help it, so no act kills one: of the requests *none* may fail.
//! The keeper is never killed.

mod harness;

#[path = "chaos/acts.rs"]
mod acts;
#[path = "chaos/disks.rs"]
mod disks;
#[path = "chaos/laws.rs"]
mod laws;
#[path = "chaos/orders.rs"]
mod orders;
#[path = "chaos/sizes.rs"]
mod sizes;
#[path = "chaos/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use acts::Act;
use harness::dice::Dice;
use sizes::Sizes;
use stage::Stage;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
#[ignore = "takes a minute, or as long as CHAOS says"]
fn chaos() {
    let length = Duration::from_secs(asked("CHAOS").unwrap_or(60));
    let seed = asked("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("CHAOS={} CHAOS_SEED={seed}", length.as_secs());
    let (stage, mut dice) = (Stage::build(seed), Dice::of(seed));
    laws::look(&stage);
    let begun = Instant::now();
    // Memory is flat once everything has happened a few times.
    let warm = length.mul_f64(0.25).min(Duration::from_secs(120));
    let (mut rounds, mut acts, mut first) = (0, 0, None);
    while begun.elapsed() < length {
        rounds += 1;
        acts += round(&stage, &mut dice, rounds);
        laws::look(&stage);
        if first.is_none() && begun.elapsed() > warm {
            first = Some(Sizes::of(&stage));
        }
    }
    let last = Sizes::of(&stage);
    let first = first.unwrap_or_else(|| last.clone());
    println!("{rounds} rounds, {acts} acts, {} s, CHAOS_SEED={seed}", begun.elapsed().as_secs());
    laws::last_look(&stage, &first, &last);
    stage.close();
}

/// Some acts at once, each begun at a moment of its own and with dice of its own, so that the same seed means the same acts
/// whatever the machine makes of their times. How many.
fn round(stage: &Stage, dice: &mut Dice, nth: u32) -> usize {
    let cast = acts::cast(stage, dice);
    let names: Vec<String> = cast.iter().map(Act::to_string).collect();
    stage.tell(&format!("round {nth}: {}", names.join(", ")));
    // Most acts are short: half of the rounds have them begin almost together, so that they meet.
    let within = match (cast.iter().any(Act::takes_long), dice.roll(2)) {
        (true, _) => 1500,
        (false, 0) => 20,
        (false, _) => 400,
    };
    std::thread::scope(|scope| {
        for act in &cast {
            let mut dice = Dice::of(dice.roll(1 << 31));
            let all = &cast;
            scope.spawn(move || {
                dice.moment(within);
                stage.tell(&format!("  {act}"));
                let said = act.play(stage, &mut dice, all);
                stage.tell(&format!("  {act}: {said}"));
            });
        }
    });
    cast.len()
}
