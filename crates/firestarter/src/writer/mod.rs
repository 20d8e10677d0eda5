//! The process that reads what workers and hooks write, and writes it to log files or passes it on. The only one that
//! touches log files that rotate: a disk that hangs hangs it and nobody else.
//!
//! The keeper forks it, and forks it again when it dies; the pipes stay open meanwhile, so no worker notices. It has a
//! table of descriptors of its own (`journal::Pipes` says why). It ends when nobody is left who could open a pipe: then
//! all processes that Firestarter knew have ended, and what they wrote last stands in the pipes. [`live`] is its whole
//! life. It knows no configuration: `start` says what goes where.

mod calendar;
mod file;
#[cfg_attr(not(test), expect(dead_code, reason = "for the sinks, which come with the stages"))]
mod form;
#[cfg_attr(not(test), expect(dead_code, reason = "for the sinks, which come with the stages"))]
mod label;
mod lines;
mod own;
mod rotate;

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{epoll, poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::journal::{Heard, Origin, Pipe, Pipes, Speaker};
use crate::output::{self, Form};
use crate::say::say;
use crate::sys::clone::exit_now;
use crate::sys::maps;
use file::LogFile;
pub(crate) use label::OwnStyle;
use lines::Cutter;
use own::Own;

/// What goes where.
pub(crate) struct Plan {
    /// By group, in the order of the configuration.
    pub(crate) groups: Vec<Outlet>,
    /// The files, each path once.
    pub(crate) logs: Vec<output::LogFile>,
    /// Whether lines that are passed on to standard output and standard error are marked.
    pub(crate) marked: [bool; 2],
}

/// Where a group's workers write to.
pub(crate) struct Outlet {
    pub(crate) name: String,
    /// Standard output and standard error.
    pub(crate) streams: [Way; 2],
}

/// Where a stream goes that has a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To this one of the logs.
    Log(usize),
    /// To the own output.
    Own(Form),
}

/// The name that the process bears in lists of processes.
const NAME: &std::ffi::CStr = c"firestarter-log";
/// So much is read from a pipe at a time: all that one holds.
const CHUNK: usize = 64 * 1024;
/// So many descriptors are looked at in one turn.
const READY: usize = 64;
/// At the end, a pipe that is still written to is read so many times.
const LAST_READS: usize = 16;
/// At the end, whoever reads what is passed on is waited for so long.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How the door and the sinks are marked in the epoll set; pipes by their number, which is larger.
const DOOR: u64 = 0;
const OWN: [u64; 2] = [1, 2];

/// Lives as the writer. Called by the keeper in a new process, with a copy of its table of descriptors. `voice` is what
/// must stay open beyond the standard streams.
pub(crate) fn live(plan: &'static Plan, pipes: &'static Pipes, voice: Option<RawFd>) -> ! {
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("{panic}"));
        exit_now(101)
    }));
    let found = pipes.take_over(voice);
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::thread::set_name(NAME);
    let begun = Writer::new(plan, pipes).and_then(|mut writer| {
        found.into_iter().try_for_each(|pipe| writer.take_in(pipe))?;
        Ok(writer)
    });
    maps::give_back_text();
    match begun {
        Ok(mut writer) => writer.run(),
        Err(errno) => {
            say(format_args!("watch the pipes of the logs: {}", crate::say::plain(&errno.into())));
            exit_now(1)
        }
    }
}

struct Writer {
    plan: &'static Plan,
    pipes: &'static Pipes,
    epoll: OwnedFd,
    /// By their numbers in the shared table.
    readers: BTreeMap<RawFd, Reader>,
    own: [Own; 2],
    /// Whether there is a wait for room in the own output.
    waiting: [bool; 2],
    logs: Vec<LogFile>,
    /// Pipes at their end of which the keeper could not be told.
    untold: Vec<(RawFd, u32)>,
    buffer: Vec<u8>,
}

struct Reader {
    pipe: Pipe,
    sink: Sink,
    label: Vec<u8>,
    cutter: Cutter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Own(usize),
    Log(usize),
}

impl Writer {
    fn new(plan: &'static Plan, pipes: &'static Pipes) -> rustix::io::Result<Writer> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, pipes.door(), epoll::EventData::new_u64(DOOR), epoll::EventFlags::IN)?;
        Ok(Writer {
            plan,
            pipes,
            epoll,
            readers: BTreeMap::new(),
            own: [Own::new(rustix::stdio::stdout()), Own::new(rustix::stdio::stderr())],
            waiting: [false; 2],
            logs: plan.logs.iter().map(LogFile::new).collect(),
            untold: Vec::new(),
            buffer: vec![0; CHUNK],
        })
    }

    fn run(&mut self) -> ! {
        loop {
            let mut ready = [const { MaybeUninit::uninit() }; READY];
            let events: Vec<u64> = match epoll::wait(&self.epoll, &mut ready, None) {
                Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
                Err(_) => Vec::new(),
            };
            for key in events {
                match key {
                    DOOR => self.hear(),
                    key if OWN.contains(&key) => self.own[key as usize - 1].flush(),
                    key => drop(self.read(key as RawFd)),
                }
            }
            self.mind_readers();
            let pipes = self.pipes;
            self.untold.retain(|(number, pipe)| !pipes.done(*number, *pipe));
        }
    }

    fn hear(&mut self) {
        loop {
            match self.pipes.hear() {
                Heard::Nothing => return,
                Heard::Over => self.end(),
                Heard::Missed => self.hand_over(),
                Heard::Pipe(pipe) => {
                    if self.take_in(pipe).is_err() {
                        // No memory for it; perhaps there is for the next writer.
                        self.hand_over();
                    }
                }
            }
        }
    }

    /// A pipe is read from now on.
    fn take_in(&mut self, pipe: Pipe) -> rustix::io::Result<()> {
        let number = pipe.number;
        if self.readers.get(&number).is_some_and(|known| known.pipe.pipe == pipe.pipe) {
            return Ok(());
        }
        rustix::fs::fcntl_setfl(&pipe.read, rustix::fs::OFlags::NONBLOCK)?;
        let (sink, label) = self.sink_of(pipe.origin);
        let reader = Reader { pipe, sink, label, cutter: Cutter::default() };
        let key = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &reader.pipe.read, key, epoll::EventFlags::IN)?;
        self.pipes.begins(&reader.pipe);
        self.readers.insert(number, reader);
        Ok(())
    }

    fn sink_of(&self, Origin { group, speaker, stream }: Origin) -> (Sink, Vec<u8>) {
        let stream = stream as usize;
        let outlet = self.plan.groups.get(group as usize);
        let log = outlet.and_then(|outlet| match outlet.streams[stream] {
            Way::Log(log) => Some(log),
            Way::Own(_) => None,
        });
        let name = outlet.map_or("", |outlet| &outlet.name);
        let mark = match (speaker, log) {
            (Speaker::Slot(_), Some(log)) => return (Sink::Log(log), Vec::new()),
            (Speaker::Slot(slot), None) => slot.to_string(),
            (Speaker::StopHook, _) => "exec_stop".to_owned(),
            (Speaker::Upgrader, _) => "upgrader".to_owned(),
        };
        let label = if self.plan.marked[stream] { format!("{name}/{mark} | ") } else { String::new() };
        (Sink::Own(stream), label.into_bytes())
    }

    /// Reads once from a pipe. Says whether there may be more.
    fn read(&mut self, number: RawFd) -> bool {
        let Some(reader) = self.readers.get_mut(&number) else { return false };
        let (read, key) = (self.pipes.read(&reader.pipe, &mut self.buffer), number as u64);
        let (sink, own, logs) = (reader.sink, &mut self.own, &mut self.logs);
        match read {
            Err(Errno::AGAIN | Errno::INTR) => false,
            Ok(length) if length > 0 => {
                let pass_on = |run: &[u8]| put(sink, own, logs, key, &reader.label, run);
                reader.cutter.feed(&self.buffer[..length], pass_on);
                true
            }
            Ok(_) | Err(_) => {
                self.finish(number);
                false
            }
        }
    }

    /// A pipe is at its end.
    fn finish(&mut self, number: RawFd) {
        let Some(mut reader) = self.readers.remove(&number) else { return };
        let (sink, key) = (reader.sink, number as u64);
        reader.cutter.finish(|run| put(sink, &mut self.own, &mut self.logs, key, &reader.label, run));
        match sink {
            Sink::Own(stream) => self.own[stream].closes(key),
            Sink::Log(log) => self.logs[log].closes(key),
        }
        let pipe = reader.pipe.pipe;
        // It leaves the epoll set with its last descriptor only, which the shared table has.
        let _ = epoll::delete(&self.epoll, &reader.pipe.read);
        drop(reader);
        if !self.pipes.done(number, pipe) {
            self.untold.push((number, pipe));
        }
    }

    /// Waits for room in the own output where something waits for it.
    fn mind_readers(&mut self) {
        for (own, (waiting, own_key)) in self.own.iter().zip(self.waiting.iter_mut().zip(OWN)) {
            let waits = own.waits();
            if waits == *waiting {
                continue;
            }
            let key = epoll::EventData::new_u64(own_key);
            let done = match waits {
                true => epoll::add(&self.epoll, own.fd(), key, epoll::EventFlags::OUT),
                false => epoll::delete(&self.epoll, own.fd()),
            };
            *waiting = if done.is_ok() { waits } else { *waiting };
        }
    }

    /// Ends, so that the next writer finds what this one cannot. What it has in hand is written.
    fn hand_over(&mut self) -> ! {
        self.write_the_rest();
        exit_now(0)
    }

    /// All is over: reads what the pipes hold, whoever may still hold their other ends, and ends.
    fn end(&mut self) -> ! {
        let numbers: Vec<RawFd> = self.readers.keys().copied().collect();
        for number in numbers {
            for _ in 0..LAST_READS {
                if !self.read(number) {
                    break;
                }
            }
        }
        self.write_the_rest();
        let dropped: u64 = self.own.iter().map(Own::dropped).sum();
        if dropped > 0 {
            say(format_args!("{dropped} lines of workers found nobody who reads"));
        }
        self.pipes.set_all_written();
        exit_now(0)
    }

    fn write_the_rest(&mut self) {
        let numbers: Vec<RawFd> = self.readers.keys().copied().collect();
        for number in numbers {
            let Some(reader) = self.readers.get_mut(&number) else { continue };
            let (sink, key) = (reader.sink, number as u64);
            reader.cutter.finish(|run| put(sink, &mut self.own, &mut self.logs, key, &reader.label, run));
        }
        let end = Instant::now() + LAST_WAIT;
        for own in &mut self.own {
            own.flush();
            while own.waits() && Instant::now() < end {
                let left = end.saturating_duration_since(Instant::now());
                let mut room = [PollFd::from_borrowed_fd(own.fd(), PollFlags::OUT)];
                let _ = poll(&mut room, Timespec::try_from(left).ok().as_ref());
                own.flush();
            }
        }
    }
}

fn put(sink: Sink, own: &mut [Own; 2], logs: &mut [LogFile], from: u64, label: &[u8], run: &[u8]) {
    match sink {
        Sink::Own(stream) => own[stream].put(from, label, run),
        Sink::Log(log) => logs[log].put(from, run),
    }
}
