//! Logs that are written, renamed, compressed, emptied and removed while they are read: what is shown is what was written.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::file::{FileSource, Look, Taker};
use super::line::Line;
use super::sieve::Sieve;
use crate::api::{Form, Stream};
use crate::output::{Compression, Rotation, Schedule, Unit};

const BY_SIZE: Rotation = Rotation::Size { max_bytes: 1, backups: 1000 };
const BY_TIME: Rotation = Rotation::Time(Schedule { interval: 1, unit: Unit::Seconds, utc: true, backups: 1000 });

/// A log in a folder of its own, which is gone at the end.
struct Log {
    folder: PathBuf,
    rotation: Rotation,
    /// Lines, and rotations, so far.
    lines: u32,
    rotations: u32,
}

impl Log {
    fn new(rotation: Rotation) -> Log {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("firestarter-logs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Log { folder, rotation, lines: 0, rotations: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn backup(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("log.{suffix}"))
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = File::options().append(true).create(true).open(self.path()).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Writes so many lines.
    fn write(&mut self, count: u32) {
        self.append(text(self.lines..self.lines + count).as_bytes());
        self.lines += count;
    }

    /// As the writer does it: the highest number first, or to a stamp.
    fn rotate(&mut self) {
        self.rotations += 1;
        if self.rotation == BY_TIME {
            let stamp = format!("{:014}", 20_260_101_000_000_u64 + u64::from(self.rotations / 3));
            let twin = self.rotations % 3;
            let name = if twin == 0 { stamp } else { format!("{stamp}.{twin}") };
            let _ = fs::rename(self.path(), self.backup(&name));
            return;
        }
        let ends = ["", ".gz", ".zst"];
        let there = |number: u32| ends.iter().any(|end| self.backup(&format!("{number}{end}")).exists());
        let last = (1..).find(|number| !there(*number)).unwrap();
        for number in (1..last).rev() {
            for end in ends {
                let _ =
                    fs::rename(self.backup(&format!("{number}{end}")), self.backup(&format!("{}{end}", number + 1)));
            }
        }
        let _ = fs::rename(self.path(), self.backup("1"));
    }

    /// Compresses some plain backup, as the writer does it: the other file stands there before the plain one goes.
    fn compress(&self, which: usize, how: Compression) {
        let names = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut plain: Vec<String> =
            names.filter(|name| name != "log" && !name.ends_with(".gz") && !name.ends_with(".zst")).collect();
        plain.sort();
        if plain.is_empty() {
            return;
        }
        let from = self.folder.join(&plain[which % plain.len()]);
        let bytes = fs::read(&from).unwrap();
        let (end, packed) = match how {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes).unwrap();
                (".gz", encoder.finish().unwrap())
            }
            Compression::Zstd => (".zst", zstd::stream::encode_all(&bytes[..], 1).unwrap()),
        };
        let to = self.folder.join(format!("{}{end}", plain[which % plain.len()]));
        let unnamed = self.folder.join("temporary");
        fs::write(&unnamed, packed).unwrap();
        let modified = fs::metadata(&from).unwrap().modified().unwrap();
        File::options().write(true).open(&unnamed).unwrap().set_modified(modified).unwrap();
        fs::rename(&unnamed, &to).unwrap();
        fs::remove_file(&from).unwrap();
    }

    fn source(&self) -> FileSource {
        self.source_of(Form::Plain, sieve())
    }

    fn source_of(&self, form: Form, sieve: Sieve) -> FileSource {
        FileSource::new(&self.path(), form, self.rotation, sieve)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn sieve() -> Sieve {
    Sieve { groups: vec![("web".into(), None)], stream: None, since: None, grep: None }
}

/// Lines by their numbers, of various lengths.
fn text(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("{number} {}\n", "x".repeat(number as usize * 7 % 50))).collect()
}

#[derive(Default)]
struct Taken {
    text: Vec<u8>,
    remarks: Vec<String>,
    failed: bool,
}

impl Taker for Taken {
    fn line(&mut self, _: Option<i64>, line: Line) {
        self.text.extend(&line.text);
        self.text.extend(line.ends.then_some(b'\n'));
    }

    fn fails(&mut self, remark: String) {
        self.failed = true;
        self.remark(remark);
    }

    fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }
}

impl Taken {
    fn text(&self) -> String {
        String::from_utf8(self.text.clone()).unwrap()
    }

    fn look(&mut self, source: &mut FileSource) {
        while source.look(self).unwrap() == Look::More {}
    }
}

fn all_of(source: &mut FileSource, lines: Option<u64>) -> String {
    let mut taken = Taken::default();
    source.begin(lines).unwrap();
    taken.look(source);
    source.finish(&mut taken);
    assert_eq!(taken.remarks, [""; 0]);
    taken.text()
}

#[derive(Clone, Debug)]
enum Deed {
    Write(u32),
    Rotate,
    Compress(usize, Compression),
    Look,
    LookOnce,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (0_u32..40).prop_map(Deed::Write),
        4 => Just(Deed::Rotate),
        2 => (any::<usize>(), prop::sample::select(vec![Compression::Gzip, Compression::Zstd]))
            .prop_map(|(which, how)| Deed::Compress(which, how)),
        3 => Just(Deed::Look),
        1 => Just(Deed::LookOnce),
    ];
    prop::collection::vec(deed, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn who_follows_gets_what_was_written(
        before in deeds(),
        after in deeds(),
        lines in prop::option::of(0_u64..60),
        by_time in any::<bool>(),
    ) {
        let mut log = Log::new(if by_time { BY_TIME } else { BY_SIZE });
        let (mut source, mut taken) = (log.source(), Taken::default());
        let mut first = None;
        for (deed, begun) in before.into_iter().map(|deed| (deed, false)).chain(after.into_iter().map(|deed| (deed, true))) {
            if begun && first.is_none() {
                let there = source.begin(lines).unwrap();
                let skipped = lines.map_or(0, |lines| log.lines.saturating_sub(lines as u32));
                first = Some(if there { skipped } else { 0 });
            }
            match deed {
                Deed::Write(count) => log.write(count),
                Deed::Rotate => log.rotate(),
                Deed::Compress(which, how) => log.compress(which, how),
                Deed::Look if begun => taken.look(&mut source),
                Deed::LookOnce if begun => { source.look(&mut taken).unwrap(); }
                Deed::Look | Deed::LookOnce => {}
            }
        }
        if let Some(first) = first {
            // What stands in a backup alone, its successor still empty, could still grow.
            log.write(1);
            taken.look(&mut source);
            prop_assert_eq!(taken.text(), text(first..log.lines));
            prop_assert_eq!(taken.remarks, Vec::<String>::new());
        }
    }

    #[test]
    fn the_last_lines_are_the_last_lines(
        sizes in prop::collection::vec(0_u32..3000, 1..4),
        compressed in any::<[bool; 3]>(),
        lines in 0_u64..9000,
        grep in any::<bool>(),
    ) {
        let mut log = Log::new(BY_SIZE);
        for (size, compressed) in sizes.into_iter().zip(compressed) {
            log.rotate();
            if compressed {
                log.compress(0, Compression::Zstd);
            }
            log.write(size);
        }
        let regex = if grep { "^[0-9]*7 " } else { "" };
        let pattern = regex_lite::Regex::new(regex).unwrap();
        let all = text(0..log.lines);
        let passing: Vec<&str> = all.split_inclusive('\n').filter(|line| pattern.is_match(line)).collect();
        let want = passing[passing.len().saturating_sub(lines as usize)..].concat();
        let mut source = log.source_of(Form::Plain, Sieve { grep: Some(pattern.clone()), ..sieve() });
        prop_assert_eq!(all_of(&mut source, Some(lines)), want);
    }
}

#[test]
fn who_reads_while_it_is_rotated_and_compressed_misses_nothing() {
    for rotation in [BY_SIZE, BY_TIME] {
        let mut log = Log::new(rotation);
        let mut source = log.source();
        let seen = Arc::new(AtomicU32::new(0));
        let progress = Arc::clone(&seen);
        const COUNT: u32 = 1500;
        source.begin(None).unwrap();
        let writer = thread::spawn(move || {
            while log.lines < COUNT {
                log.write(3);
                log.rotate();
                if log.rotations % 4 == 0 {
                    log.compress(0, Compression::Gzip);
                }
                // Backups pile up while the reader is behind, but not without end: a rotation renames all of them.
                while log.lines > progress.load(Ordering::Relaxed).saturating_add(60) {
                    thread::yield_now();
                }
                if log.rotations % 20 == 0 {
                    for entry in fs::read_dir(&log.folder).unwrap().map(Result::unwrap) {
                        let name = entry.file_name().into_string().unwrap();
                        let number = name.trim_start_matches("log.").split('.').next().and_then(|n| n.parse().ok());
                        if number.is_some_and(|number: u64| (60..1000).contains(&number)) {
                            fs::remove_file(entry.path()).unwrap();
                        }
                    }
                }
            }
            log.write(1);
            log
        });
        let mut taken = Taken::default();
        let want = text(0..COUNT + 1);
        let begun = Instant::now();
        while taken.text.len() < want.len() && taken.remarks.is_empty() && begun.elapsed() < Duration::from_secs(60) {
            taken.look(&mut source);
            seen.store(taken.text.iter().filter(|byte| **byte == b'\n').count() as u32, Ordering::Relaxed);
        }
        seen.store(u32::MAX, Ordering::Relaxed);
        let shown = taken.text();
        let differs = shown.lines().zip(want.lines()).find(|(shown, want)| shown != want);
        assert_eq!((differs, shown.len(), taken.remarks), (None, want.len(), vec![]));
        writer.join().unwrap();
    }
}

#[test]
fn who_writes_on_to_a_renamed_file_is_read_until_there_is_another() {
    let mut log = Log::new(Rotation::Never);
    log.write(2);
    let (mut source, mut taken) = (log.source(), Taken::default());
    source.begin(None).unwrap();
    let mut held = File::options().append(true).open(log.path()).unwrap();
    taken.look(&mut source);
    fs::rename(log.path(), log.backup("1")).unwrap();
    taken.look(&mut source);
    held.write_all(text(2..3).as_bytes()).unwrap();
    taken.look(&mut source);
    File::create(log.path()).unwrap();
    held.write_all(text(3..4).as_bytes()).unwrap();
    taken.look(&mut source);
    assert_eq!(taken.text(), text(0..4));
    held.write_all(text(4..5).as_bytes()).unwrap();
    log.append(text(5..6).as_bytes());
    taken.look(&mut source);
    assert_eq!((taken.text(), taken.remarks), (text(0..6), vec![]));
}

#[test]
fn an_emptied_file_begins_anew_and_an_open_line_is_closed() {
    let log = Log::new(Rotation::Never);
    log.append(b"a long first line\nopen");
    let (mut source, mut taken) = (log.source(), Taken::default());
    source.begin(None).unwrap();
    taken.look(&mut source);
    assert_eq!(taken.text(), "a long first line\n", "it may go on");
    File::create(log.path()).unwrap();
    log.append(b"new\n");
    taken.look(&mut source);
    assert_eq!(taken.text(), "a long first line\nopennew\n");
}

#[test]
fn what_was_removed_before_it_was_read_is_told() {
    let mut log = Log::new(BY_SIZE);
    log.write(5);
    let (mut source, mut taken) = (log.source(), Taken::default());
    source.begin(None).unwrap();
    taken.look(&mut source);
    log.rotate();
    log.write(5);
    log.rotate();
    fs::remove_file(log.backup("2")).unwrap();
    fs::remove_file(log.backup("1")).unwrap();
    log.write(5);
    taken.look(&mut source);
    assert_eq!(taken.text(), text(0..5) + &text(10..15));
    assert!(taken.remarks.len() == 1 && taken.remarks[0].contains("lines may be missing here"), "{:?}", taken.remarks);
}

#[test]
fn a_damaged_backup_is_told_of_and_passed_by() {
    for (how, name) in [(Compression::Gzip, "1.gz"), (Compression::Zstd, "1.zst")] {
        let mut log = Log::new(BY_SIZE);
        log.write(500);
        log.rotate();
        log.compress(0, how);
        log.write(5);
        let path = log.backup(name);
        let bytes = fs::read(&path).unwrap();
        let half = bytes[..bytes.len() / 2].to_vec();
        let rubbish = b"something else".to_vec();
        for (bytes, cause) in
            [(half, "it ends too early"), (rubbish, "it is damaged, or not compressed as its name says")]
        {
            fs::write(&path, &bytes).unwrap();
            let (mut source, mut taken) = (log.source(), Taken::default());
            source.begin(None).unwrap();
            taken.look(&mut source);
            assert!(taken.text().ends_with(&text(500..505)) && taken.failed, "{:?}", taken.remarks);
            assert_eq!(taken.remarks, [format!("read {}: {cause}; the rest of it is left out", path.display())]);
        }
    }
}

#[test]
fn a_damaged_backup_without_a_newer_file_is_told_of_once() {
    let mut log = Log::new(BY_SIZE);
    fs::write(log.backup("1.zst"), "something else").unwrap();
    let (mut source, mut taken) = (log.source(), Taken::default());
    source.begin(None).unwrap();
    (0..3).for_each(|_| taken.look(&mut source));
    assert_eq!(taken.remarks.len(), 1, "{:?}", taken.remarks);
    log.write(5);
    taken.look(&mut source);
    assert_eq!((taken.text(), taken.remarks.len()), (text(0..5), 1));
}

#[test]
fn what_is_older_is_left_out_by_the_lines_own_time_and_else_by_file() {
    let mut log = Log::new(BY_SIZE);
    let line = |second: u32| format!("2026-11-25T15:{:02}:{:02}Z {second}\n", second / 60, second % 60);
    let lines = |seconds: std::ops::Range<u32>| seconds.map(line).collect::<String>();
    log.append(lines(0..1000).as_bytes());
    log.rotate();
    log.append(lines(1000..3000).as_bytes());
    let since = super::line::time("2026-11-25T15:41:40Z");
    let wanted = || Sieve { since, ..sieve() };
    assert_eq!(all_of(&mut log.source_of(Form::Timed, wanted()), None), lines(2500..3000));
    assert_eq!(all_of(&mut log.source_of(Form::Timed, wanted()), Some(3)), lines(2997..3000));
    let early = Sieve { since: super::line::time("2026-11-25T15:16:00Z"), ..sieve() };
    assert_eq!(all_of(&mut log.source_of(Form::Timed, early), None), lines(960..3000));
    let day = Duration::from_secs(86_400);
    let old = SystemTime::now() - 2 * day;
    File::options().append(true).open(log.backup("1")).unwrap().set_modified(old).unwrap();
    let since = Some(super::since::nanoseconds(SystemTime::now() - day));
    assert_eq!(all_of(&mut log.source_of(Form::Plain, Sieve { since, ..sieve() }), None), lines(1000..3000));
    File::options().append(true).open(log.path()).unwrap().set_modified(old).unwrap();
    let mut source = log.source_of(Form::Plain, Sieve { since, ..sieve() });
    assert_eq!(all_of(&mut source, None), "");
    log.append(b"new\n");
    let mut taken = Taken::default();
    taken.look(&mut source);
    assert_eq!(taken.text(), "new\n");
}

#[test]
fn a_log_that_is_not_there_is_waited_for() {
    let mut log = Log::new(BY_SIZE);
    let (mut source, mut taken) = (log.source(), Taken::default());
    assert!(!source.begin(Some(10)).unwrap());
    taken.look(&mut source);
    log.write(20);
    log.rotate();
    log.write(20);
    taken.look(&mut source);
    assert_eq!(taken.text(), text(0..40));
}

#[test]
fn what_is_no_file_is_an_error_and_no_wait() {
    let log = Log::new(BY_SIZE);
    rustix::fs::mknodat(rustix::fs::CWD, log.path(), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(log.source().begin(None).unwrap_err().to_string(), "not a file");
}

#[test]
fn a_long_line_of_json_is_picked_by_what_stands_before_its_message() {
    let log = Log::new(Rotation::Never);
    let line = |second: u32, group: &str, slot: u32, stream: &str, length: usize| {
        let message = "x".repeat(length);
        format!(
            "{{\"time\":\"2026-11-25T15:56:{second:02}.000000Z\",\"group\":\"{group}\",\"slot\":{slot},\"pid\":7,\
             \"generation\":1,\"stream\":\"{stream}\",\"message\":\"{message}\"}}\n"
        )
    };
    const MIB: usize = 1 << 20;
    let all = [
        line(10, "web", 0, "stdout", MIB),
        line(11, "web", 1, "stdout", 2 * MIB),
        line(12, "api", 1, "stdout", MIB),
        line(13, "web", 1, "stderr", MIB),
        line(14, "web", 1, "stdout", 5),
    ];
    log.append(all.concat().as_bytes());
    let lines = |numbers: &[usize]| numbers.iter().map(|number| all[*number].as_str()).collect::<String>();
    // They are too long to be shown where they differ.
    let check = |what: &str, sieve: Sieve, last: Option<u64>, want: &[usize]| {
        assert!(all_of(&mut log.source_of(Form::Json, sieve), last) == lines(want), "{what}");
    };
    let slot = || Sieve { groups: vec![("web".into(), Some(1))], ..sieve() };
    check("group", sieve(), None, &[0, 1, 3, 4]);
    check("slot", slot(), None, &[1, 3, 4]);
    check("stream", Sieve { stream: Some(Stream::Stderr), ..sieve() }, None, &[3]);
    check("since", Sieve { since: super::line::time("2026-11-25T15:56:11Z"), ..sieve() }, None, &[1, 3, 4]);
    check("the last of a slot", slot(), Some(3), &[1, 3, 4]);
    let mut source = log.source_of(Form::Json, slot());
    let mut parts = Parts::default();
    source.begin(None).unwrap();
    while source.look(&mut parts).unwrap() == Look::More {}
    let of = |line: &Line| (line.group.as_deref() == Some("web"), line.slot, line.time.is_some());
    assert!(
        parts.0.len() > 3 && parts.0.iter().all(|line| of(line) == (true, Some(1), true)),
        "each part is its worker's"
    );
}

/// Takes lines as they are.
#[derive(Default)]
struct Parts(Vec<Line>);

impl Taker for Parts {
    fn line(&mut self, _: Option<i64>, line: Line) {
        self.0.push(line);
    }

    fn remark(&mut self, remark: String) {
        panic!("{remark}");
    }

    fn fails(&mut self, remark: String) {
        panic!("{remark}");
    }
}
