//! The whole writer in one thread, on real pipes, stages and files: what is read, written, held and dropped happens in any
//! order, the disk is full at any byte, and the writer is killed at any step. What workers wrote is in the file then, each
//! line once and whole, or it is counted in the file.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use firestarter_core::ids::WorkerId;
use proptest::prelude::*;

use super::super::board::Task;
use super::super::compress::Compressor;
use super::super::file::LogFile as File;
use super::super::sink::{Place, Scratch, Sink, Turn};
use super::super::Outlet;
use super::*;
use crate::journal::{create, deaths, Newborn, Row, Stream};
use crate::output::Rotation;

mod steps;

/// Something that happens.
#[derive(Clone, Debug)]
enum Act {
    /// A worker writes a line of this length.
    Line(usize, usize),
    /// A worker writes so many long lines: more than a stage holds.
    Flood(usize, usize),
    /// A worker writes the first part of a line.
    Begin(usize, usize),
    /// A worker ends, and its successor begins.
    Respawn(usize),
    /// The thread that reads has a turn.
    Read,
    /// A hand takes something on; does it; puts it back.
    Take,
    Work,
    PutBack,
    /// Whoever waits has waited for too long.
    TooLong,
    /// Nothing comes for a while: stages give back the memory that they do not need.
    Quiet,
    /// So much goes onto the disk from now on; none: all.
    Room(Option<usize>),
}

/// A worker, what it wrote and what the kernel took of that.
struct Worker {
    write: Option<OwnedFd>,
    /// Each line without its newline.
    lines: Vec<String>,
    /// The last one has no newline yet.
    open: bool,
    written: u64,
}

struct World {
    pipes: &'static Pipes,
    plan: &'static Plan,
    board: &'static Board,
    reader: Option<Reader>,
    task: Option<(Task, Option<Turn>)>,
    scratch: Scratch,
    workers: Vec<Worker>,
    /// Which of them writes now, in each of two slots.
    current: [usize; 2],
    folder: PathBuf,
    kills: u32,
}

const SLOTS: usize = 2;

impl World {
    fn new(name: &str, rotation: Rotation, overflow: Overflow) -> World {
        let folder = std::env::temp_dir().join(format!("fs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let log = LogFile { overflow, line_max: 70_000, ..LogFile::new(folder.join("log"), rotation) };
        let outlet = Outlet { name: "web".to_owned(), streams: [Way::Log(0); 2] };
        let plan: &'static Plan =
            Box::leak(Box::new(Plan { groups: vec![outlet], logs: vec![log], own: [OwnStyle::default(); 2] }));
        let (records, _) = create().unwrap();
        let records = records.with_pipes(1).unwrap();
        let pipes = records.pipes.unwrap();
        let (board, reader) = begin(plan, pipes);
        let mut world = World {
            pipes,
            plan,
            board,
            reader: Some(reader),
            task: None,
            scratch: Scratch::default(),
            workers: Vec::new(),
            current: [0; SLOTS],
            folder,
            kills: 0,
        };
        (0..SLOTS).for_each(|slot| world.spawn(slot));
        world
    }

    fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().unwrap()
    }

    fn spawn(&mut self, slot: usize) {
        let number = self.workers.len();
        let origin = Origin { group: 0, speaker: Speaker::Slot(slot as u32), stream: Stream::Stdout };
        let newborn = Newborn { worker: WorkerId(number as u64), row: Row(number as u32), generation: 1 };
        let write = self.pipes.open(origin, &newborn).unwrap().write;
        rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::NONBLOCK).unwrap();
        self.current[slot] = number;
        self.workers.push(Worker { write: Some(write), lines: Vec::new(), open: false, written: 0 });
        self.reader().hear();
    }

    /// Writes as much as the kernel takes.
    fn write(&mut self, slot: usize, length: usize, whole: bool) -> bool {
        let number = self.current[slot];
        let worker = &mut self.workers[number];
        if !worker.open {
            let begin = format!("{number}:{} ", worker.lines.len());
            worker.lines.push(String::new());
            worker.open = true;
            return self.put(number, begin + &"x".repeat(length), whole);
        }
        self.put(number, "y".repeat(length), whole)
    }

    fn put(&mut self, number: usize, text: String, whole: bool) -> bool {
        let worker = &mut self.workers[number];
        let text = if whole { text + "\n" } else { text };
        let write = worker.write.as_ref().unwrap();
        let taken = rustix::io::write(write, text.as_bytes()).unwrap_or(0);
        let line = worker.lines.last_mut().unwrap();
        line.push_str(text[..taken].trim_end_matches('\n'));
        worker.open = !text[..taken].ends_with('\n');
        worker.written += taken as u64;
        if line.is_empty() && worker.open {
            worker.lines.pop();
            worker.open = false;
        }
        taken == text.len()
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Line(slot, length) => _ = self.write(slot, length, true),
            Act::Begin(slot, length) => _ = self.write(slot, length, false),
            Act::Flood(slot, lines) => {
                for _ in 0..lines {
                    self.write(slot, 9000, true);
                    self.reader().wait(Some(Duration::ZERO));
                }
            }
            Act::Respawn(slot) => {
                let number = self.current[slot];
                self.workers[number].write = None;
                self.spawn(slot);
            }
            Act::Read => {
                self.reader().wait(Some(Duration::ZERO));
                let mut state = self.board.lock();
                state.seats.iter_mut().filter_map(|seat| seat.retry_at.as_mut()).for_each(|at| *at = Instant::now());
                drop(state);
                self.reader().mind_waits();
            }
            Act::Take => self.take(),
            Act::Work => {
                if let Some((task, turn)) = &mut self.task {
                    if turn.is_none() {
                        *turn = Some(hand::attend(task, &mut self.scratch));
                    }
                }
            }
            Act::PutBack => {
                let Some((task, turn)) = self.task.take() else { return };
                let Some(turn) = turn else { return self.task = Some((task, None)) };
                self.task = self.board.put_back(task, turn).map(|task| (task, None));
            }
            Act::TooLong => {
                let held: Vec<RawFd> = self.reader().held.iter().copied().collect();
                held.into_iter().for_each(|number| self.reader().begin_gap(number));
                let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
                self.board
                    .lock()
                    .seats
                    .iter_mut()
                    .filter_map(|seat| seat.stuck_since.as_mut())
                    .for_each(|since| *since = long_ago);
            }
            Act::Quiet => self.reader().feeds.values_mut().for_each(Feed::give_back),
            Act::Room(room) => deaths::set_room(room.unwrap_or(usize::MAX)),
        }
    }

    fn take(&mut self) {
        if self.task.is_none() && self.board.lock().wants_hand().is_some() {
            self.task = self.board.take().map(|task| (task, None));
        }
    }

    /// The writer is killed, and the next one begins.
    fn kill(&mut self) {
        self.kills += 1;
        self.task = None;
        let mut state = self.board.lock();
        state.entries.clear();
        state.seats.clear();
        drop(state);
        let reader = self.reader.take().unwrap();
        let found = reader.feeds.into_values().map(|feed| Arc::into_inner(feed.source).unwrap().pipe).collect();
        let (board, reader) = begin(self.plan, self.pipes);
        self.board = board;
        self.reader = Some(reader);
        self.reader().take_in_all(found).unwrap();
    }

    /// The disk has room, all workers end, and all is written.
    fn finish(&mut self) -> Found {
        deaths::set_room(usize::MAX);
        for worker in &mut self.workers {
            worker.write = None;
        }
        let mut rounds = 0;
        while !self.reader().feeds.is_empty() || self.task.is_some() {
            for act in [Act::Read, Act::Take, Act::Work, Act::PutBack] {
                self.act(&act);
            }
            rounds += 1;
            assert!(rounds < 20_000, "it comes to no end");
        }
        self.pipes.close_done();
        self.look()
    }

    /// What is in the files: nothing but lines of workers, in their order, and counts.
    fn look(&self) -> Found {
        let mut found = Found::default();
        let mut next = vec![0; self.workers.len()];
        for line in self.text().split_terminator('\n') {
            if let Some(counts) = line.strip_prefix("firestarter: ") {
                let numbers: Vec<u64> =
                    counts.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
                let [lines, bytes] = numbers[..] else { panic!("{line:?}") };
                (found.dropped_lines, found.dropped) = (found.dropped_lines + lines, found.dropped + bytes);
                continue;
            }
            let short = &line[..line.len().min(40)];
            let number: usize =
                line.split(':').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{short:?}"));
            let worker = &self.workers[number];
            let at = (next[number]..worker.lines.len()).find(|at| worker.lines[*at].starts_with(line));
            let at = at.unwrap_or_else(|| panic!("{short:?} of {} bytes after line {}", line.len(), next[number]));
            next[number] = at + 1;
            let whole = worker.lines[at] == line;
            let newline = whole && !(worker.open && at + 1 == worker.lines.len());
            found.kept += line.len() as u64 + u64::from(newline);
            found.kept_lines += u64::from(newline);
            found.cut += u64::from(!whole);
        }
        found
    }

    fn text(&self) -> String {
        let mut names: Vec<(u32, PathBuf)> = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.extension().map_or(0, |number| number.to_str().unwrap().parse().unwrap()), path))
            .collect();
        names.sort();
        // A last word without a newline may end a file.
        let read =
            |(_, path): &(u32, PathBuf)| fs::read_to_string(path).unwrap().trim_end_matches('\n').to_owned() + "\n";
        names.iter().rev().map(read).filter(|text| text != "\n").collect()
    }

    /// What people are told of the sink is what stands in its files.
    fn counts_are_those_of(&self, found: &Found) {
        let counts = self.pipes.sinks().row(0).counts();
        let told = (counts.bytes, counts.dropped, counts.dropped_lines);
        assert_eq!(told, (found.kept, found.dropped, found.dropped_lines), "{found:?}, kills: {}", self.kills);
    }

    fn written(&self) -> (u64, u64) {
        let newlines = self.workers.iter().map(|worker| worker.lines.len() as u64 - u64::from(worker.open)).sum();
        (self.workers.iter().map(|worker| worker.written).sum(), newlines)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        deaths::set_room(usize::MAX);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[derive(Debug, Default)]
struct Found {
    kept: u64,
    kept_lines: u64,
    dropped: u64,
    dropped_lines: u64,
    /// Lines of which a part is there.
    cut: u64,
}

fn begin(plan: &'static Plan, pipes: &'static Pipes) -> (&'static Board, Reader) {
    let row = pipes.sinks().row(0);
    let compressor: &'static Compressor = Box::leak(Box::new(Compressor::new(&plan.logs)));
    let sink = Sink::new(row, Place::File(File::new(&plan.logs[0], row, (compressor, 0))));
    let board: &'static Board = Box::leak(Box::new(Board::new([sink].into_iter()).unwrap()));
    (board, Reader::new(plan, pipes, board).unwrap())
}
