//! What `worker lines` writes, made again, and looked for in a log: in its order, whole, once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A worker writes at most so much at once.
const PART: u64 = 20_000;

/// What was found of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) lines: u32,
    pub(crate) bytes: u64,
    /// The last line has no end.
    torn: bool,
}

/// Line number `n` of a worker, without its newline.
pub(crate) fn line(pid: u32, n: u32) -> String {
    let hash = (pid.wrapping_mul(2_654_435_761).wrapping_add(n.wrapping_mul(40_503))) ^ (n << 7);
    let most = if n % 256 == 255 {
        6000
    } else if n % 16 == 15 {
        900
    } else {
        60
    };
    let text = (0..(hash >> 8) % most).map(|at| char::from(b'a' + (n.wrapping_add(at) % 26) as u8));
    format!("{pid} {n} ") + &text.collect::<String>()
}

/// Reads a log: every line is the next of its worker, but for one at most of each that was cut short by its end. `skips`:
/// lines may be missing, and lines of Firestarter stand in their place.
pub(crate) fn read(folder: impl AsRef<Path>, text: &str, skips: bool) -> BTreeMap<u32, Found> {
    let folder = folder.as_ref();
    let mut found: BTreeMap<u32, Found> = lives(folder).into_iter().map(|pid| (pid, Found::default())).collect();
    let mut torn = Vec::new();
    for piece in text.split_inclusive('\n') {
        let (text, ended) = piece.strip_suffix('\n').map_or((piece, false), |text| (text, true));
        if skips && text.starts_with("firestarter: ") {
            continue;
        }
        let mut words = text.split(' ').map(|word| word.parse::<u32>().ok());
        let (Some(Some(pid)), Some(Some(n)), true) = (words.next(), words.next(), ended) else {
            torn.push(text);
            continue;
        };
        if text != line(pid, n) {
            torn.push(text);
            continue;
        }
        let of = found.entry(pid).or_default();
        assert!(n == of.lines || skips && n > of.lines, "pid {pid}: line {n} in place of {}", of.lines);
        *of = Found { lines: n + 1, bytes: of.bytes + piece.len() as u64, torn: false };
    }
    give_back(folder, &mut found, torn);
    found
}

/// Gives each line that was cut short to whom it may be of. Of a few letters that may be several: whoever lacks just so
/// many bytes comes first, then who lacks any, and the longest is given first.
fn give_back(folder: &Path, found: &mut BTreeMap<u32, Found>, mut torn: Vec<&str>) {
    let all: BTreeMap<u32, u64> = found.keys().map(|pid| (*pid, taken(folder, *pid))).collect();
    torn.sort_by_key(|text| std::cmp::Reverse(text.len()));
    for text in torn {
        let may = |(pid, of): &(&u32, &mut Found)| !of.torn && line(**pid, of.lines).starts_with(text);
        let lacks = |(pid, of): &(&u32, &mut Found)| {
            let lacks = all[*pid].saturating_sub(of.bytes);
            (lacks != text.len() as u64, lacks == 0)
        };
        let (_, of) = found.iter_mut().filter(may).min_by_key(lacks).unwrap_or_else(|| panic!("whose is {text:?}?"));
        *of = Found { lines: of.lines, bytes: of.bytes + text.len() as u64, torn: true };
    }
}

/// All that the kernel took of a worker is in the log.
pub(crate) fn all_there(folder: impl AsRef<Path>, found: &BTreeMap<u32, Found>) -> u64 {
    let folder = folder.as_ref();
    let mut all = 0;
    for pid in lives(folder) {
        let taken = taken(folder, pid);
        let of = found.get(&pid).copied().unwrap_or_default();
        // One that was killed may not have noted its last write.
        let most = if is_done(folder, pid) { taken } else { taken + PART };
        assert!((taken..=most).contains(&of.bytes), "pid {pid}: {of:?}, but it wrote {taken} bytes");
        all += taken;
    }
    all
}

/// Whether a worker has written all that it was to.
pub(crate) fn is_done(folder: impl AsRef<Path>, pid: u32) -> bool {
    folder.as_ref().join(format!("done.{pid}")).exists()
}

/// How many bytes of a worker the kernel took.
pub(crate) fn taken(folder: impl AsRef<Path>, pid: u32) -> u64 {
    let bytes = fs::read(folder.as_ref().join(format!("life.{pid}"))).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// How many bytes of all workers the kernel took.
pub(crate) fn all_taken(folder: impl AsRef<Path>) -> u64 {
    let folder = folder.as_ref();
    lives(folder).into_iter().map(|pid| taken(folder, pid)).sum()
}

/// The pids of all workers that wrote.
fn lives(folder: &Path) -> Vec<u32> {
    let names = fs::read_dir(folder).expect("the folder").flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("life.")?.parse().ok()).collect()
}

/// All that is in a log and its backups, oldest first, each file beginning a line.
pub(crate) fn of_log(folder: impl AsRef<Path>, log: &str, by_stamp: bool) -> String {
    let folder = folder.as_ref();
    let prefix = format!("{log}.");
    let names = fs::read_dir(folder).expect("the folder").flatten();
    let backups = names.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned()));
    let mut backups: Vec<String> = backups.collect();
    let place = |name: &String| {
        let (stamp, twin) = name.split_once('.').unwrap_or((name, "0"));
        (stamp.parse::<u64>().unwrap_or(0), twin.parse::<u64>().unwrap_or(0))
    };
    backups.sort_by_key(place);
    if !by_stamp {
        backups.reverse();
    }
    let mut text = String::new();
    for name in backups.iter().map(|name| format!("{prefix}{name}")).chain([log.to_owned()]) {
        let part = fs::read_to_string(folder.join(name)).unwrap_or_default();
        // The last line of a worker that was killed may end a file.
        if !text.is_empty() && !text.ends_with('\n') && !part.is_empty() {
            text.push('\n');
        }
        text.push_str(&part);
    }
    text
}

/// Lines and bytes that a log says are missing.
pub(crate) fn missing(text: &str) -> (u64, u64) {
    let counts = text.lines().filter_map(|line| line.strip_prefix("firestarter: "));
    counts.fold((0, 0), |(lines, bytes), line| {
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        let [more, of] = numbers[..] else { panic!("{line:?}") };
        (lines + more, bytes + of)
    })
}
