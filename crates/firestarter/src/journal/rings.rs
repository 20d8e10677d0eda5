//! The last lines of what is passed on to Firestarter's own output, for who asks later: one ring a group, in shared memory
//! that outlives daemon and writer. The writer pushes, the daemon reads at the same time; neither waits for the other.
//!
//! A ring is a sequence of *entries*: a place, a time, whose lines they are, and whole lines. An entry's place is the
//! number of bytes that were ever pushed before it, and stands in it; so a place that a client brings is the beginning of
//! an entry or is seen not to be.
//!
//! `END` is where the next entry goes. It is stored when the entry stands there, so a writer that is killed in the middle
//! of a push leaves a ring without it. `OLDEST` is moved on before bytes are overwritten; who has copied bytes looks at it
//! again, and drops what was overwritten meanwhile.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{fence, AtomicU64};

use super::memory::{Memory, Part};
use super::{Speaker, Stream};
use crate::sys::maps::SharedWords;

/// The rings of all groups.
pub(crate) struct Rings {
    words: SharedWords,
    /// Where each group's ring begins, in words, and how long it is, in bytes; 0: there is none.
    places: Vec<(usize, u64)>,
}

/// Lines that one process wrote to one stream, as they were read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In nanoseconds since 1970.
    pub(crate) time: u64,
    pub(crate) speaker: Speaker,
    pub(crate) stream: Stream,
    /// Each of them ends with a newline, but for one that was too long.
    pub(crate) lines: Vec<u8>,
}

/// What was read of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Oldest first.
    pub(crate) entries: Vec<Entry>,
    /// Where to go on.
    pub(crate) next: u64,
    /// Not all that came after the place that was asked for is there any more.
    pub(crate) lost: bool,
}

/// The first word tells these rings from those of another start; behind it stands one ring after the other.
const NAME: usize = 0;

const END: usize = 0;
const OLDEST: usize = 1;
const HEAD: usize = 2;

/// The words before an entry's lines: its place, its time, whose it is, its stream and its length.
const FRONT: usize = 4;
const WORD: u64 = 8;
/// An entry holds at most this part of a ring, so that a long one does not push out all others.
const SHARE: u64 = 16;
/// No ring is smaller: what is touched is whole pages anyway.
const LEAST: u64 = 4096;
/// So often a reader tries that the writer overtakes.
const TRIES: u32 = 4;

impl Rings {
    /// Rings of so many bytes, by group; 0: none. `name` is kept if these rings are new.
    ///
    /// # Errors
    /// No descriptor, or no memory; or what is kept is of another length.
    pub(super) fn new(memory: Memory<'_>, sizes: &[u32], name: u64) -> io::Result<Rings> {
        let mut words = 1;
        let places = sizes.iter().map(|size| {
            let size = if *size == 0 { 0 } else { u64::from(*size).max(LEAST).next_multiple_of(WORD) };
            let place = (words, size);
            words += if size == 0 { 0 } else { HEAD + (size / WORD) as usize };
            place
        });
        let places = places.collect();
        let rings = Rings { words: memory.words(Part::Rings, words)?, places };
        let _ = rings.words[NAME].compare_exchange(0, name, Release, Relaxed);
        Ok(rings)
    }

    /// What tells these rings from those of another start: a client's place counts in the rings that gave it.
    pub(crate) fn name(&self) -> u64 {
        self.words[NAME].load(Relaxed)
    }

    /// Whether the group has a ring.
    pub(crate) fn has(&self, group: usize) -> bool {
        self.ring(group).is_some()
    }

    /// Adds lines. Of one group one thread at a time may do so, in the one writer that lives; readers may read meanwhile.
    /// What is longer than the ring pushes itself out: the last of it stays.
    pub(crate) fn push(&self, group: usize, time: u64, speaker: Speaker, stream: Stream, lines: &[u8]) {
        let Some(ring) = self.ring(group) else { return };
        let whose = u64::from(speaker.number()) << 1 | stream as u64;
        let most = ((ring.size / SHARE) as usize).max(256);
        let mut left = lines;
        while !left.is_empty() {
            let (now, rest) = left.split_at(whole_lines(left, most));
            // A line that is longer than an entry loses its end: a ring is there to be looked at, not to be replayed.
            ring.push([time, whose], &now[..now.len().min(most)]);
            left = rest;
        }
    }

    /// Entries from a place on, none: from the oldest; about so many bytes of them, but one at least. None: the group has no
    /// ring.
    pub(crate) fn read(&self, group: usize, after: Option<u64>, most: usize) -> Option<Reading> {
        self.ring(group).map(|ring| ring.read(after, most as u64))
    }

    fn ring(&self, group: usize) -> Option<Ring<'_>> {
        let (begin, size) = *self.places.get(group).filter(|(_, size)| *size > 0)?;
        let (head, body) = self.words[begin..][..HEAD + (size / WORD) as usize].split_at(HEAD);
        Some(Ring { head, body, size })
    }
}

/// How much of this goes into one entry: whole lines, as many as fit; or one that does not.
fn whole_lines(lines: &[u8], most: usize) -> usize {
    let newline = |byte: &u8| *byte == b'\n';
    if lines.len() <= most {
        return lines.len();
    }
    let fits = lines[..most].iter().rposition(newline);
    fits.or_else(|| lines.iter().position(newline)).map_or(lines.len(), |at| at + 1)
}

struct Ring<'a> {
    head: &'a [AtomicU64],
    body: &'a [AtomicU64],
    size: u64,
}

impl Ring<'_> {
    fn push(&self, [time, whose]: [u64; 2], lines: &[u8]) {
        let end = self.head[END].load(Relaxed);
        let new_end = end + length(lines.len() as u64);
        let mut oldest = self.head[OLDEST].load(Relaxed);
        while new_end - oldest > self.size {
            oldest += length(self.word(oldest, 3).load(Relaxed));
        }
        self.head[OLDEST].store(oldest, Relaxed);
        // Whoever sees a word that is stored below sees `OLDEST` as it is now.
        fence(Release);
        let front = [end, time, whose, lines.len() as u64];
        (0..).zip(front).for_each(|(at, word)| self.word(end, at).store(word, Relaxed));
        for (at, bytes) in (FRONT as u64..).zip(lines.chunks(WORD as usize)) {
            let mut word = [0; WORD as usize];
            word[..bytes.len()].copy_from_slice(bytes);
            self.word(end, at).store(u64::from_le_bytes(word), Relaxed);
        }
        self.head[END].store(new_end, Release);
    }

    fn read(&self, after: Option<u64>, most: u64) -> Reading {
        for _ in 0..TRIES {
            if let Some(reading) = self.try_to_read(after, most) {
                return reading;
            }
        }
        // A writer that is so fast has overwritten whatever this looked at.
        Reading { entries: Vec::new(), next: self.head[OLDEST].load(Relaxed), lost: after.is_some() }
    }

    fn try_to_read(&self, after: Option<u64>, most: u64) -> Option<Reading> {
        let end = self.head[END].load(Acquire);
        let oldest = self.head[OLDEST].load(Relaxed).min(end);
        let wanted = after.unwrap_or(oldest);
        let begins = |place| (oldest..end).contains(&place) && self.word(place, 0).load(Relaxed) == place;
        let known = wanted == end || begins(wanted);
        let begin = if known { wanted } else { oldest };
        let (mut found, mut next) = (Vec::new(), begin);
        while next < end && (next == begin || next - begin < most) {
            let (entry, length) = self.entry(next, end)?;
            found.push((next, entry));
            next += length;
        }
        fence(Acquire);
        let oldest = self.head[OLDEST].load(Relaxed);
        if oldest > begin {
            // What was read from there on is sound if an entry was seen to begin just there.
            found.retain(|(place, _)| *place >= oldest);
            found.first().filter(|(place, _)| *place == oldest)?;
        }
        let lost = after.is_some() && (!known || oldest > begin);
        Some(Reading { entries: found.into_iter().map(|(_, entry)| entry).collect(), next, lost })
    }

    /// The entry at a place, and how far the next one is. None: it was overwritten while this looked at it.
    fn entry(&self, at: u64, end: u64) -> Option<(Entry, u64)> {
        let [_, time, whose, len] = [0, 1, 2, 3].map(|index| self.word(at, index).load(Relaxed));
        let all = Some(len).filter(|len| *len < self.size).map(length).filter(|all| *all <= end - at)?;
        let words = (FRONT as u64..all / WORD).map(|index| self.word(at, index).load(Relaxed).to_le_bytes());
        let mut lines: Vec<u8> = Vec::with_capacity((all - FRONT as u64 * WORD) as usize);
        words.for_each(|word| lines.extend_from_slice(&word));
        lines.truncate(len as usize);
        let stream = if whose & 1 == 0 { Stream::Stdout } else { Stream::Stderr };
        Some((Entry { time, speaker: Speaker::read((whose >> 1) as u32), stream, lines }, all))
    }

    fn word(&self, at: u64, index: u64) -> &AtomicU64 {
        &self.body[((at / WORD + index) % (self.size / WORD)) as usize]
    }
}

/// Of an entry with so many bytes of lines.
fn length(lines: u64) -> u64 {
    FRONT as u64 * WORD + lines.next_multiple_of(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{clone, wait};
    use proptest::prelude::*;
    use std::io::Write as _;

    const WEB: Speaker = Speaker::Slot(3);

    fn text(reading: &Reading) -> String {
        reading.entries.iter().map(|entry| String::from_utf8_lossy(&entry.lines)).collect()
    }

    #[test]
    fn what_was_pushed_is_read_from_where_one_was() {
        let rings = Rings::new(Memory::Loose, &[0, 65_536], 7).unwrap();
        assert!(rings.read(0, None, 1).is_none() && rings.read(2, None, 1).is_none() && rings.has(1));
        rings.push(0, 1, WEB, Stream::Stdout, b"nowhere\n");
        let empty = rings.read(1, None, 1000).unwrap();
        assert_eq!(empty, Reading { entries: vec![], next: 0, lost: false });
        rings.push(1, 5, WEB, Stream::Stderr, b"one\ntwo\n");
        rings.push(1, 6, Speaker::StopHook, Stream::Stdout, b"three\n");
        let first = rings.read(1, None, 1).unwrap();
        let entry = Entry { time: 5, speaker: WEB, stream: Stream::Stderr, lines: b"one\ntwo\n".to_vec() };
        assert_eq!(first.entries, [entry]);
        let second = rings.read(1, Some(first.next), 1000).unwrap();
        let entry = Entry { time: 6, speaker: Speaker::StopHook, stream: Stream::Stdout, lines: b"three\n".to_vec() };
        assert_eq!((&second.entries[..], second.lost), (&[entry][..], false));
        let end = rings.read(1, Some(second.next), 1000).unwrap();
        assert_eq!((end.entries.len(), end.next, end.lost), (0, second.next, false));
    }

    #[test]
    fn a_place_that_is_none_is_seen_to_be_none() {
        let rings = Rings::new(Memory::Loose, &[4096], 7).unwrap();
        for number in 0..40 {
            rings.push(0, number, WEB, Stream::Stdout, b"a line of some length\n");
        }
        for place in [1, 8, 1000, 1 << 40, u64::MAX] {
            let reading = rings.read(0, Some(place), 1 << 20).unwrap();
            assert_eq!((reading.entries.len(), reading.lost), (40, true), "{place}");
        }
        let next = rings.read(0, None, 1).unwrap().next;
        for number in 0..100 {
            rings.push(0, number, WEB, Stream::Stdout, b"later\n");
        }
        let reading = rings.read(0, Some(next), 1 << 20).unwrap();
        assert!(reading.lost && reading.entries.len() > 90, "{}", reading.entries.len());
    }

    #[test]
    fn a_long_push_keeps_its_last_lines_and_a_long_line_its_beginning() {
        let rings = Rings::new(Memory::Loose, &[4096], 7).unwrap();
        let lines: String = (0..10_000).map(|number| format!("{number}\n")).collect();
        rings.push(0, 1, WEB, Stream::Stdout, lines.as_bytes());
        let kept = text(&rings.read(0, None, 1 << 20).unwrap());
        assert!(lines.ends_with(&kept) && kept.len() > 3000 && lines[..lines.len() - kept.len()].ends_with('\n'));
        let long = format!("{}\nnext\n", "x".repeat(100_000));
        rings.push(0, 2, WEB, Stream::Stdout, long.as_bytes());
        let kept = text(&rings.read(0, None, 1 << 20).unwrap());
        assert!(kept.ends_with(&format!("9999\n{}next\n", "x".repeat(256))), "{kept}");
    }

    /// Lines from which one sees what is missing: a number, and its own length. Nothing is allocated: in a child that was
    /// forked while another test did so, that would wait for ever.
    fn line(number: u64, buffer: &mut [u8; 128]) -> &[u8] {
        let length = (number * 7 % 90) as usize;
        let mut rest = &mut buffer[..];
        writeln!(rest, "{number} {length} {:x<length$}", "").unwrap();
        let left = rest.len();
        &buffer[..128 - left]
    }

    fn push(rings: &Rings, number: u64) {
        rings.push(0, number, WEB, Stream::Stdout, line(number, &mut [0; 128]));
    }

    /// The numbers of whole lines that follow each other.
    fn numbers(text: &str) -> Vec<u64> {
        let numbers = text.lines().map(|line| {
            let parts: Vec<&str> = line.split(' ').collect();
            assert_eq!(parts[1].parse::<usize>().unwrap(), parts[2].len(), "{line:?} is torn");
            parts[0].parse().unwrap()
        });
        numbers.collect()
    }

    #[test]
    fn who_reads_while_it_is_written_gets_nothing_torn_and_is_told_of_gaps() {
        let rings: &Rings = Box::leak(Box::new(Rings::new(Memory::Loose, &[8192], 7).unwrap()));
        const COUNT: u64 = 100_000;
        let writer = std::thread::spawn(|| {
            (0..COUNT).for_each(|number| push(rings, number));
        });
        let (mut place, mut expected) = (None, 0);
        while expected < COUNT {
            let reading = rings.read(0, place, 1000).unwrap();
            for number in numbers(&text(&reading)) {
                assert!(number == expected || number > expected && (reading.lost || place.is_none()));
                expected = number + 1;
            }
            place = Some(reading.next);
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_writer_that_is_killed_tears_nothing_and_the_next_one_goes_on() {
        let rings: &Rings = Box::leak(Box::new(Rings::new(Memory::Loose, &[4096], 7).unwrap()));
        let mut next = 0;
        for _ in 0..50 {
            let child = clone::fork_sharing_descriptors(|| {
                // It is killed long before.
                (next..u64::MAX).for_each(|number| push(rings, number));
                clone::exit_now(0)
            });
            let child = child.unwrap();
            let begun = rings.read(0, None, usize::MAX).unwrap().next;
            while rings.read(0, None, usize::MAX).unwrap().next < begun + 10_000 {}
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
            wait::reap_blocking(child).unwrap();
            let numbers = numbers(&text(&rings.read(0, None, 1 << 20).unwrap()));
            assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{numbers:?}");
            next = numbers.last().map_or(next, |last| last + 1);
        }
    }

    proptest! {
        #[test]
        fn any_pushes_leave_their_end(
            pushes in prop::collection::vec((0_usize..3000, 1_usize..200), 1..60),
            sizes in prop::sample::select(vec![1_u32, 4096, 5001, 100_000]),
        ) {
            let rings = Rings::new(Memory::Loose, &[sizes], 7).unwrap();
            let (mut all, mut place, mut heard, mut lost) = (String::new(), None, String::new(), false);
            for (length, every) in pushes {
                let lines: String = (0..length).map(|at| if at % every == every - 1 { '\n' } else { 'a' }).collect();
                let lines = lines + "\n";
                rings.push(0, 1, WEB, Stream::Stdout, lines.as_bytes());
                all += &lines;
                let reading = rings.read(0, place, usize::MAX).unwrap();
                lost |= reading.lost || place.is_none() && all.len() > 2000;
                place = Some(reading.next);
                heard += &text(&reading);
            }
            let kept = text(&rings.read(0, None, usize::MAX).unwrap());
            prop_assert!(all.ends_with(&kept));
            prop_assert!(lost || heard == all);
        }
    }
}
