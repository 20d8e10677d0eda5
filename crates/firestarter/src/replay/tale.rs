//! What `replay` prints: a line an event and a line each of what the core did, or, as JSON, a line an event. Called by
//! `replay`. The words are the core's (`firestarter_core::text`).

use std::io::{self, Write};

use firestarter_core::event::Event;
use firestarter_core::journal::Recording;
use firestarter_core::text::{state_lines, Names};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;
use serde_json::json;

use super::clock;

pub(super) struct Tale<'a> {
    out: &'a mut dyn Write,
    json: bool,
    /// When the journal was taken, by the core's clock and by the one on the wall.
    taken: (Instant, u64),
    /// The first event's time, and the last one's.
    first: Option<Instant>,
    last: Instant,
    events: u64,
    faults: Vec<String>,
}

impl<'a> Tale<'a> {
    pub(super) fn new(out: &'a mut dyn Write, json: bool, head: &Recording) -> io::Result<Tale<'a>> {
        let taken = (head.taken, head.unix_ns);
        if json {
            let (build, format, taken) = (&head.build, head.format, clock::utc(head.unix_ns));
            writeln!(out, "{}", json!({ "build": build, "format": format, "taken": taken, "notes": head.notes }))?;
        } else {
            writeln!(out, "build {}, format {}, taken {}", head.build, head.format, clock::utc(head.unix_ns))?;
            head.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
        }
        Ok(Tale { out, json, taken, first: None, last: head.taken, events: 0, faults: Vec::new() })
    }

    /// What happened, and what the core did.
    pub(super) fn event(&mut self, now: Instant, event: &Event, text: &str, actions: &[String]) -> io::Result<()> {
        let since = now.since(*self.first.get_or_insert(now));
        (self.last, self.events) = (now, self.events + 1);
        let wall = self.wall(now);
        if self.json {
            let (at, since) = (now.0, since.as_nanos() as u64);
            let line = json!({
                "at_ns": at, "since_start_ns": since, "wall": wall, "event": event, "text": text, "actions": actions,
            });
            return writeln!(self.out, "{line}");
        }
        writeln!(self.out, "{:>14.6} {wall} <- {text}", since.as_secs_f64())?;
        actions.iter().try_for_each(|action| writeln!(self.out, "{:>14} {:27}    -> {action}", "", ""))
    }

    /// Something is wrong with the journal.
    pub(super) fn fault(&mut self, fault: &str) -> io::Result<()> {
        self.faults.push(fault.to_owned());
        if self.json {
            return Ok(());
        }
        writeln!(self.out, "!! {fault}")
    }

    /// The state that all has led to, if there is one.
    pub(super) fn end(self, core: Option<&Supervisor>, names: &Names) -> io::Result<()> {
        let state = core.map(|core| state_lines(core, self.last)).unwrap_or_default();
        let outstanding = core.map(Supervisor::outstanding).unwrap_or_default();
        let outstanding: Vec<String> = outstanding.iter().map(|action| names.action(action)).collect();
        let (events, wall) = (self.events, self.wall(self.last));
        if self.json {
            let end = json!({
                "events": events, "wall": wall, "state": state, "outstanding": outstanding, "faults": self.faults,
            });
            return writeln!(self.out, "{}", json!({ "end": end }));
        }
        writeln!(self.out, "after {events} events, at {wall}:")?;
        state.iter().try_for_each(|line| writeln!(self.out, "{line}"))?;
        outstanding.iter().try_for_each(|action| writeln!(self.out, "outstanding: {action}"))
    }

    /// The core's clock stands still while the machine sleeps, so what was before a sleep seems later than it was.
    fn wall(&self, at: Instant) -> String {
        let (taken, unix_ns) = self.taken;
        let before = taken.0.saturating_sub(at.0);
        clock::utc(unix_ns.saturating_sub(before).saturating_add(at.0.saturating_sub(taken.0)))
    }
}
