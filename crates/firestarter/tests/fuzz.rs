//! The parsers of bytes from outside, on the corpus of `fuzz/` and on bytes made from it by chance: what `cargo fuzz` does
//! for hours, for a moment and without what that needs. A failure prints its seed; `SEED=n` tries that one again.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod parsers;

use std::path::Path;

/// So many inputs are made from the corpus of each parser.
const MADE: usize = 100_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(files.len() > 5, "{} is no corpus", folder.display());
    files.into_iter().map(|file| std::fs::read(file).expect("a file of the corpus")).collect()
}

/// One of the corpus, changed in a few places, or cut, or with a part of another put into it.
fn changed(all: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = all[dice.roll(all.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll(256) as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let other = &all[dice.roll(all.len())];
                let from = dice.roll(other.len() + 1);
                let part = other[from..(from + dice.roll(40)).min(other.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.splice(at..at, *b"\n").for_each(drop),
        }
    }
    bytes
}

fn run(name: &str, parse: fn(&[u8])) {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let (all, mut dice) = (corpus(name), Dice(seed));
    all.iter().for_each(|bytes| parse(bytes));
    for _ in 0..MADE {
        let bytes = changed(&all, &mut dice);
        if std::panic::catch_unwind(|| parse(&bytes)).is_err() {
            panic!("{name}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn datagrams_of_sd_notify() {
    run("notify", parsers::notify);
}

#[test]
fn lines_of_worker_sockets() {
    run("ack", parsers::ack);
}

#[test]
fn lines_of_the_control_socket() {
    run("request", parsers::request);
}

#[test]
fn answers_to_probes() {
    run("probe_answer", parsers::probe_answer);
}
