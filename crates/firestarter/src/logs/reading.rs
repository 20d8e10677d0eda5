//! From an order to lines that are shown: the loop over all sources. Called by way of `read`. It decides neither what is
//! read (`plan`) nor how it looks (`show`).

use std::io::{self, BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use regex_lite::Regex;

use super::file::{FileSource, Look, Taker};
use super::line::Line;
use super::merge::Merge;
use super::plan::{plan, Group, Kind, Plan};
use super::ring::{RingSource, PAUSE};
use super::show::Show;
use super::watch::Watch;
use super::{Order, Trouble};
use crate::say::{plain, say};

/// Where lines are shown.
pub(crate) struct Page<'a> {
    pub(crate) out: &'a mut dyn Write,
    /// What `out` writes to: who has gone from there is not waited for.
    pub(crate) fd: BorrowedFd<'a>,
    /// It is a terminal that shows colours.
    pub(crate) coloured: bool,
}

/// Shows what is wanted. `groups` are all that there are, in the order of the configuration; `socket` is a daemon's.
///
/// # Errors
/// It is not there, or cannot be shown.
pub(crate) fn read(order: &Order, groups: &[Group], socket: Option<&Path>, page: Page<'_>) -> Result<(), Trouble> {
    let since = order.since.map(|since| since.resolve(SystemTime::now()));
    let grep = order.grep.as_deref().and_then(|text| Regex::new(text).ok());
    let plans = plan(order, groups, since, grep.as_ref(), socket.is_some())?;
    for remark in &plans.remarks {
        say(format_args!("{remark}"));
    }
    let mut slotless = plans.slotless;
    if order.follow {
        // It may come.
        slotless.drain(..).for_each(|(_, what)| say(format_args!("{what}")));
    }
    let names: std::collections::BTreeSet<&str> =
        plans.all.iter().flat_map(|plan| plan.sieve.groups.iter().map(|(name, _)| name.as_str())).collect();
    let (marked, fd, coloured) = (names.len() > 1, page.fd, page.coloured);
    let mut out = BufWriter::with_capacity(64 << 10, page.out);
    let show = Show { out: &mut out, marked, coloured, grep };
    let merge = Merge::new(plans.all.len());
    let sources = plans.all.into_iter().map(|plan| Source::new(plan, socket)).collect();
    let mut reading = Reading {
        sources,
        merge,
        show,
        follow: order.follow,
        lines: order.lines,
        slotless,
        shown: false,
        failed: false,
    };
    match reading.run(fd) {
        Ok(()) if reading.has_failed() => Err(Trouble::Told),
        Ok(()) => nothing_of(&reading.slotless),
        // Who has read enough, as head(1) does, has got what he wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Trouble::Output(error)),
    }
}

/// Of a slot that is not there, lines may be; where none is, it was a slip.
fn nothing_of(slotless: &[(String, String)]) -> Result<(), Trouble> {
    if slotless.is_empty() {
        return Ok(());
    }
    let what = slotless.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>().join("; ");
    Err(Trouble::Refused { what, next: "name a slot that is there, or leave it out".to_owned() })
}

/// A source, and how its lines are marked.
struct Source {
    from: From,
    name: String,
    place: usize,
    /// Nothing was there at the last look.
    idle: bool,
    /// There was no file at the first look.
    absent: bool,
    /// It is where the first of its lines is that is wanted.
    begun: bool,
    /// Why it could not be read at the last look, which has been said.
    trouble: Option<String>,
}

enum From {
    File(Box<FileSource>),
    Ring(RingSource),
    /// It could not be read, and nobody follows.
    Nothing,
}

impl Source {
    fn new(plan: Plan, socket: Option<&Path>) -> Source {
        let from = match plan.kind {
            Kind::File { path, form, rotation } => {
                From::File(Box::new(FileSource::new(&path, form, rotation, plan.sieve)))
            }
            Kind::Ring => {
                let socket = socket.map_or_else(PathBuf::new, Path::to_owned);
                From::Ring(RingSource::new(plan.name.clone(), &socket, plan.sieve))
            }
        };
        Source { from, name: plan.name, place: plan.place, idle: false, absent: false, begun: false, trouble: None }
    }
}

struct Reading<'a> {
    sources: Vec<Source>,
    merge: Merge<Line>,
    show: Show<'a>,
    follow: bool,
    /// So many of the last lines of each source; none: all.
    lines: Option<u64>,
    /// The groups that have not the slot that is wanted, and of which nothing was shown yet.
    slotless: Vec<(String, String)>,
    /// A line was.
    shown: bool,
    failed: bool,
}

/// Takes what one source gives.
struct Into<'a> {
    merge: &'a mut Merge<Line>,
    source: usize,
    failed: &'a mut bool,
}

impl Taker for Into<'_> {
    fn line(&mut self, time: Option<i64>, line: Line) {
        self.merge.push(self.source, time, line);
    }

    fn remark(&mut self, remark: String) {
        say(format_args!("{remark}"));
    }

    fn fails(&mut self, remark: String) {
        *self.failed = true;
        self.remark(remark);
    }
}

impl Reading<'_> {
    /// # Errors
    /// Of the output alone.
    fn run(&mut self, out: BorrowedFd<'_>) -> io::Result<()> {
        let mut watch = self.follow.then(Watch::new);
        self.watch(&mut watch);
        (0..self.sources.len()).for_each(|index| self.begin(index));
        self.show_all()?;
        // Who wants no line of what is there sees nothing of it either.
        if self.follow && self.lines != Some(0) {
            self.tell_of_absence();
        }
        while let Some(waiting) = &mut watch {
            let asks = |source: &Source| matches!(source.from, From::Ring(_)) || source.trouble.is_some();
            let asked = self.sources.iter().any(asks);
            if !waiting.wait(out, PAUSE, asked)? {
                break;
            }
            self.watch(&mut watch);
            self.sources.iter_mut().for_each(|source| source.idle = false);
            self.show_all()?;
        }
        for index in 0..self.sources.len() {
            let mut into = Into { merge: &mut self.merge, source: index, failed: &mut self.failed };
            if let From::File(file) = &mut self.sources[index].from {
                file.finish(&mut into);
            }
        }
        self.show_all()?;
        if !self.follow {
            self.tell_of_absence();
        }
        Ok(())
    }

    fn watch(&self, watch: &mut Option<Watch>) {
        for source in &self.sources {
            if let (Some(watch), From::File(file)) = (watch.as_mut(), &source.from) {
                watch.add(file.path(), file.folder());
            }
        }
    }

    /// Something could not be read, and not at the last look either.
    fn has_failed(&self) -> bool {
        self.failed || self.sources.iter().any(|source| source.trouble.is_some())
    }

    fn begin(&mut self, index: usize) {
        let lines = self.lines;
        let mut into = Into { merge: &mut self.merge, source: index, failed: &mut self.failed };
        let source = &mut self.sources[index];
        let begun = match &mut source.from {
            From::File(file) => match file.begin(lines) {
                Ok(there) => {
                    source.absent = !there;
                    Ok(())
                }
                Err(error) => Err(format!("read {}: {}", file.path().display(), plain(&error))),
            },
            From::Ring(ring) => ring.begin(lines, &mut into).map_err(|error| error.to_string()),
            From::Nothing => Ok(()),
        };
        match begun {
            Ok(()) => source.begun = true,
            Err(error) => self.fail(index, error),
        }
    }

    /// A stream to which nobody has written yet has no file, which is nothing to tell of while others have lines.
    fn tell_of_absence(&self) {
        if !self.shown {
            for source in self.sources.iter().filter(|source| source.absent) {
                let From::File(file) = &source.from else { continue };
                let (name, path, folder) = (&source.name, file.path().display(), file.folder());
                match folder.is_dir() {
                    true => say(format_args!("{name}: {path} is not there yet")),
                    false => say(format_args!("{name}: {path} is not there, nor is the folder {}", folder.display())),
                }
            }
        }
    }

    /// Shows whatever is there.
    fn show_all(&mut self) -> io::Result<()> {
        loop {
            (0..self.sources.len()).for_each(|index| self.fill(index));
            let Some((index, line)) = self.merge.pop() else { break };
            let source = &self.sources[index];
            self.shown = true;
            self.show.line(&source.name, source.place, &line)?;
            self.slotless.retain(|(group, _)| line.group.as_ref() != Some(group));
            // One that is never at its end does not keep the others from being looked at. One that cannot be read has a pause.
            if self.follow && self.merge.wants(index) {
                self.sources.iter_mut().for_each(|source| source.idle = source.trouble.is_some());
            }
        }
        self.show.out.flush()
    }

    fn fill(&mut self, index: usize) {
        while self.merge.wants(index) && !self.sources[index].idle {
            if !self.sources[index].begun {
                self.begin(index);
                continue;
            }
            let mut into = Into { merge: &mut self.merge, source: index, failed: &mut self.failed };
            let source = &mut self.sources[index];
            let look = match &mut source.from {
                From::File(file) => {
                    file.look(&mut into).map_err(|error| format!("read {}: {}", file.path().display(), plain(&error)))
                }
                From::Ring(ring) if self.follow => Ok(ring.look(&mut into)),
                // All that was kept was taken in at the beginning.
                From::Ring(_) | From::Nothing => Ok(Look::Idle),
            };
            match look {
                Ok(Look::More) => {}
                Ok(Look::Idle) => {
                    source.idle = true;
                    // Not before: what is open may give lines while what comes after it cannot be found.
                    source.trouble = None;
                }
                Err(error) => self.fail(index, error),
            }
        }
    }

    /// Of a source that cannot be read no more is shown; of the others it is. Who follows looks again: it may pass.
    fn fail(&mut self, index: usize, error: String) {
        let source = &mut self.sources[index];
        if source.trouble.as_ref() != Some(&error) {
            say(format_args!("{}: {error}", source.name));
        }
        source.idle = true;
        if self.follow {
            source.trouble = Some(error);
        } else {
            (source.from, source.begun, self.failed) = (From::Nothing, true, true);
        }
    }
}
