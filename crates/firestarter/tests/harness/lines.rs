//! What `worker lines` writes, made again, and looked for in a log: in its order, whole, once.

use std::collections::BTreeMap;
use std::fs;

use super::Folder;

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
pub(crate) fn read(folder: &Folder, text: &str, skips: bool) -> BTreeMap<u32, Found> {
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
    for text in torn {
        let next = |(pid, of): &(&u32, &mut Found)| !of.torn && line(**pid, of.lines).starts_with(text);
        let (_, of) = found.iter_mut().find(next).unwrap_or_else(|| panic!("whose line is {text:?}?"));
        *of = Found { lines: of.lines, bytes: of.bytes + text.len() as u64, torn: true };
    }
    found
}

/// All that the kernel took of a worker is in the log.
pub(crate) fn all_there(folder: &Folder, found: &BTreeMap<u32, Found>) -> u64 {
    let mut all = 0;
    for pid in lives(folder) {
        let taken = taken(folder, pid);
        let of = found.get(&pid).copied().unwrap_or_default();
        // One that was killed may not have noted its last write.
        let noted = folder.join(&format!("done.{pid}")).exists();
        let most = if noted { taken } else { taken + PART };
        assert!((taken..=most).contains(&of.bytes), "pid {pid}: {of:?}, but it wrote {taken} bytes");
        all += taken;
    }
    all
}

/// How many bytes of a worker the kernel took.
pub(crate) fn taken(folder: &Folder, pid: u32) -> u64 {
    let bytes = fs::read(folder.join(&format!("life.{pid}"))).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// How many bytes of all workers the kernel took.
pub(crate) fn all_taken(folder: &Folder) -> u64 {
    lives(folder).into_iter().map(|pid| taken(folder, pid)).sum()
}

/// The pids of all workers that wrote.
fn lives(folder: &Folder) -> Vec<u32> {
    let names = fs::read_dir(folder.path()).expect("the folder").flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("life.")?.parse().ok()).collect()
}

/// All that is in a log and its backups, oldest first, each file beginning a line.
pub(crate) fn of_log(folder: &Folder, log: &str, by_stamp: bool) -> String {
    let prefix = format!("{log}.");
    let names = fs::read_dir(folder.path()).expect("the folder").flatten();
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
    for part in backups.iter().map(|name| folder.read(&format!("{prefix}{name}"))).chain([folder.read(log)]) {
        // The last line of a worker that was killed may end a file.
        if !text.is_empty() && !text.ends_with('\n') && !part.is_empty() {
            text.push('\n');
        }
        text.push_str(&part);
    }
    text
}
