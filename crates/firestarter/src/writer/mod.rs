//! The process that reads what workers and hooks write, and writes it to log files or passes it on. The only one that
//! touches log files: a disk that hangs hangs a thread of it and nobody else.
//!
//! **The way of a byte**: from its pipe to the pipe's stage by splice(2), which the kernel itself keeps the count of
//! (`source`, `feed`, `reader`); from there in batches of whole lines (`lines`), in the form that is wanted (`form`,
//! `label`), to a file or to the own output (`sink`, `file`, `own`), each batch recorded before it is written. Whatever is
//! killed in between, the next writer finds how far each byte is, and goes on behind it.
//!
//! One thread reads and never waits; *hands* write, one at a sink at a time (`board`, `hand`).
//!
//! The keeper forks it, and forks it again when it dies; the pipes stay open meanwhile, so no worker notices. It has a
//! table of descriptors of its own (`journal::Pipes` says why). It ends when nobody is left who could open a pipe: then
//! all processes that Firestarter knew have ended, and what they wrote last stands in the pipes. [`live`] is its whole
//! life. It knows no configuration: `start` says what goes where.

mod board;
mod calendar;
mod compress;
mod feed;
mod file;
mod form;
mod hand;
mod label;
mod lines;
mod own;
mod reader;
mod rotate;
mod sink;
mod source;
#[cfg(test)]
mod stops;
mod times;

use std::os::fd::RawFd;
use std::sync::Mutex;

use crate::journal::{Pipes, Rings};
use crate::output::{self, Form};
use crate::say::{plain, say};
use crate::sys::clone::exit_now;
use crate::sys::maps;
use board::Board;
use compress::Compressor;
use file::LogFile;
pub(crate) use label::OwnStyle;
use own::Own;
use reader::Reader;
use sink::{Place, Sink};

/// What goes where.
pub(crate) struct Plan {
    /// By group, in the order of the configuration.
    pub(crate) groups: Vec<Outlet>,
    /// The files, each path once.
    pub(crate) logs: Vec<output::LogFile>,
    /// How lines stand that are passed on to standard output and standard error.
    pub(crate) own: [OwnStyle; 2],
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

impl Plan {
    /// How many sinks there are: the files, and standard output and standard error behind them.
    pub(crate) fn sinks(&self) -> usize {
        self.logs.len() + 2
    }
}

/// The name that the process bears in lists of processes.
const NAME: &std::ffi::CStr = c"firestarter-log";

/// Lives as the writer. Called by the keeper in a new process, with a copy of its table of descriptors. `voice` is what
/// must stay open beyond the standard streams.
pub(crate) fn live(
    plan: &'static Plan,
    pipes: &'static Pipes,
    rings: Option<&'static Rings>,
    voice: Option<RawFd>,
) -> ! {
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("{panic}"));
        exit_now(101)
    }));
    let found = pipes.take_over(voice);
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::thread::set_name(NAME);
    let begun = begin(plan, pipes, rings).and_then(|mut reader| {
        reader.take_over(found)?;
        Ok(reader)
    });
    maps::give_back_text();
    match begun {
        Ok(mut reader) => reader.run(),
        Err(error) => {
            say(format_args!("watch the pipes of the logs: {}", plain(&error)));
            exit_now(1)
        }
    }
}

fn begin(plan: &'static Plan, pipes: &'static Pipes, rings: Option<&'static Rings>) -> std::io::Result<Reader> {
    // Both own outputs may have something for the ring of one group, and one at a time may push.
    let rings: &'static Mutex<Option<&'static Rings>> = Box::leak(Box::new(Mutex::new(rings)));
    let rows = pipes.sinks();
    let compressor: &'static Compressor = Box::leak(Box::new(Compressor::new(&plan.logs)));
    let files = plan.logs.iter().enumerate().map(|(sink, log)| {
        let row = rows.row(sink);
        Sink::new(row, Place::File(LogFile::new(log, row, (compressor, sink))))
    });
    let own = [rustix::stdio::stdout(), rustix::stdio::stderr()].into_iter().zip(plan.logs.len()..);
    let own = own.map(|(stream, sink)| Sink::new(rows.row(sink), Place::Own(Own::new(stream, rings))));
    let board: &'static Board = Box::leak(Box::new(Board::new(files.chain(own))?));
    Ok(Reader::new(plan, pipes, board)?)
}
