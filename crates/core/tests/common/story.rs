//! The commands of a story. Each is one fact, one request, or time that passes.
//!
//! ```text
//! policy exit_when=done|failed|never stop_timeout=30s     before anything else; optional
//! group web count=2 ack=manual|probe|none|timer:1s restart=always|on-failure|none start=at-once|on-connection surge=1
//!           start_timeout=10s stop=TERM/5s drain=USR2/60s backoff=10s/10s give_up=3 warmup=2s autostart=false
//!           max_unavailable=1 soak=5s kill_old_delay=2s watchdog=10s max_age=60s max_memory=1000 fd_store=true
//!           probe=connection/1s/2s/2/3/liveness (by, interval, time-out, good and bad in a row) surge=25%|auto
//!           stop_hook=true upgrader=60s | upgrader=60s/10s (every) auto_upgrade=true live_check=8s
//! begin                             the daemon runs
//! spawned web/0                     also: web (all its workers that are being spawned), #3 (a worker by its id)
//! fail web/0 exec ENOENT
//! exit web/0 code 3 | signal KILL | unknown
//! ack web/0 [HUP]
//! request upgrade web [USR2]        requests are r1, r2 and so on
//! shutdown                          the request; stop-signal TERM is the signal, `stop-signal TERM again` the same one,
//!                                   `stop-signal TERM USR1` one of which workers get USR1
//! order HUP 1 upgrade web           a signal that stands for a command, and the how manieth of its kind
//! connection web
//! said web/0 reloading | stopping | well | unwell | within 3s | extend 9s
//! probed web/0 good | status 503 | unreachable ECONNREFUSED | garbled | closed | late
//! measured web 3                    so many more workers fit into memory
//! heavy web/0 5000000               so many bytes
//! looked web/0 7 3s                 its sign of life: the mark, and how long ago
//! program web 7 | program web 7 changed
//! advance 500ms                     fires the deadlines on the way, each at its time
//! crash                             a new daemon: the state must be the same; says what is outstanding
//! status
//! ```
//! `web/hook` is the youngest hook. `request signal web/1 HUP` names a slot.
//! `web/0` is the youngest worker in that slot that has not ended. A worker's pid is 100 more than its id.

use firestarter_core::action::Action;
use firestarter_core::command::Command;
use firestarter_core::event::{Event, SpawnError};
use firestarter_core::ids::{GroupId, Pid, RequestId, Slot, WorkerId};
use firestarter_core::journal::{self, Checksum, Reader};
use firestarter_core::spec::{GroupSpec, Policy};
use firestarter_core::text::{duration_text, state_lines, Names};
use firestarter_core::time::{Duration, Instant};
use firestarter_core::Supervisor;

use crate::common::check_invariants;
use crate::words::{answer, duration, exit, number_of_error, parse_verb, policy, said, signal, spawn_step, spec, Told};

pub struct Story {
    specs: Vec<GroupSpec>,
    policy: Policy,
    core: Option<Supervisor>,
    now: Instant,
    names: Names,
    /// Workers that have not ended, by age; whether they have a process.
    crew: Vec<(WorkerId, bool)>,
    requests: u32,
    stops: u32,
    journal: Vec<u8>,
    checksum: Checksum,
    lines: Vec<String>,
}

impl Story {
    pub fn new() -> Story {
        Story {
            specs: Vec::new(),
            policy: Policy::default(),
            core: None,
            now: Instant(0),
            names: Names::default(),
            crew: Vec::new(),
            requests: 0,
            stops: 0,
            journal: Vec::new(),
            checksum: Checksum(0),
            lines: Vec::new(),
        }
    }

    /// Does what a line says; returns the transcript.
    pub fn obey(&mut self, line: &str) -> Told<Vec<String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["group", name, options @ ..] => self.specs.push(spec(name, options)?),
            ["policy", options @ ..] => self.policy = policy(options)?,
            ["begin"] => self.feed(Event::Begin),
            ["request", verb, group, how @ ..] => {
                let signal = how.first().map(|word| signal(word)).transpose()?;
                let (group, slot) = group.split_once('/').map_or((*group, None), |(group, slot)| (group, Some(slot)));
                let slot = slot.map(|slot| slot.parse().map(Slot)).transpose().map_err(|_| "no slot")?;
                let command = Command::Group { group: self.group(group)?, verb: parse_verb(verb)?, signal, slot };
                self.request(command);
            }
            ["shutdown"] => self.request(Command::Shutdown),
            ["stop-signal", word, how @ ..] => {
                self.stops += u32::from(*how != ["again"]);
                let with = how.first().filter(|how| **how != "again").map(|word| signal(word)).transpose()?;
                self.feed(Event::StopSignal { signal: signal(word)?, nth: self.stops, with });
            }
            ["order", word, nth, verb, group] => {
                let (group, nth) = (self.group(group)?, nth.parse().map_err(|_| "no number")?);
                let command = Command::Group { group, verb: parse_verb(verb)?, signal: None, slot: None };
                self.feed(Event::Order { signal: signal(word)?, nth, command });
            }
            ["connection", group] => {
                let group = self.group(group)?;
                self.feed(Event::Connection { group });
            }
            ["program", group, print, how @ ..] => {
                let (group, print) = (self.group(group)?, print.parse().map_err(|_| "no print")?);
                self.feed(Event::Program { group, print, changed: *how == ["changed"] });
            }
            ["advance", by] => self.advance(duration(by)?),
            ["crash"] => self.crash(),
            ["status"] => self.status(),
            _ => self.hear(&words)?,
        }
        Ok(std::mem::take(&mut self.lines))
    }

    /// A fact about workers.
    fn hear(&mut self, words: &[&str]) -> Told<()> {
        match words {
            ["spawned", whom] => {
                for worker in self.whom(whom, Some(false))? {
                    self.feed(Event::Spawned { worker, pid: Pid(100 + worker.ordinal() as u32) });
                }
            }
            ["fail", whom, step, errno] => {
                let error = SpawnError { step: spawn_step(step)?, errno: number_of_error(errno)? };
                for worker in self.whom(whom, None)? {
                    self.feed(Event::SpawnFailed { worker, error });
                }
            }
            ["exit", whom, how @ ..] => {
                let exit = exit(how)?;
                let runs = (!whom.contains('/')).then_some(true);
                for worker in self.whom(whom, runs)? {
                    self.feed(Event::Exited { worker, exit });
                }
            }
            ["ack", whom, how @ ..] => {
                let signal = how.first().map(|word| signal(word)).transpose()?;
                for worker in self.whom(whom, None)? {
                    self.feed(Event::Acked { worker, signal });
                }
            }
            ["said", whom, what @ ..] => {
                let said = said(what)?;
                for worker in self.whom(whom, None)? {
                    self.feed(Event::Notified { worker, said });
                }
            }
            ["probed", whom, what @ ..] => {
                let answer = answer(what)?;
                for worker in self.whom(whom, None)? {
                    self.feed(Event::Probed { worker, answer });
                }
            }
            ["heavy", whom, bytes] => {
                let bytes = bytes.parse().map_err(|_| "no bytes")?;
                for worker in self.whom(whom, None)? {
                    self.feed(Event::Heavy { worker, bytes });
                }
            }
            ["measured", group, fits] => {
                let (group, fits) = (self.group(group)?, fits.parse().map_err(|_| "no number")?);
                self.feed(Event::Measured { group, fits });
            }
            ["looked", whom, mark, ago] => {
                let (mark, ago) = (mark.parse().map_err(|_| "no mark")?, duration(ago)?);
                for worker in self.whom(whom, None)? {
                    self.feed(Event::Looked { worker, mark, ago });
                }
            }
            _ => return Err("no such command".into()),
        }
        Ok(())
    }

    fn core(&mut self) -> &mut Supervisor {
        if self.core.is_none() {
            self.names = Names::new(self.specs.iter().map(|spec| spec.name.clone()).collect());
            let core = Supervisor::new(self.specs.clone(), self.policy, 1, self.now);
            (self.journal, self.checksum) = journal::write_snapshot(&core);
            self.core = Some(core);
        }
        self.core.as_mut().unwrap()
    }

    fn feed(&mut self, event: Event) {
        let now = self.now;
        self.core().handle(now, event);
        let mut space = [0; journal::MAX_ENTRY];
        let (length, checksum) = journal::write_entry(self.checksum, now, &event, &mut space).unwrap();
        self.journal.extend_from_slice(&space[..length]);
        self.checksum = checksum;
        match event {
            Event::Spawned { worker, .. } => {
                self.crew.iter_mut().filter(|(id, _)| *id == worker).for_each(|(_, runs)| *runs = true);
            }
            Event::SpawnFailed { worker, .. } | Event::Exited { worker, .. } => {
                self.crew.retain(|(id, _)| *id != worker);
            }
            Event::Begin
            | Event::Acked { .. }
            | Event::Notified { .. }
            | Event::Probed { .. }
            | Event::Measured { .. }
            | Event::Heavy { .. }
            | Event::Connection { .. }
            | Event::Looked { .. }
            | Event::Program { .. }
            | Event::Request { .. }
            | Event::StopSignal { .. }
            | Event::Order { .. }
            | Event::Deadline => {}
        }
        while let Some(action) = self.core().poll_action() {
            self.names.learn(&action);
            if let Action::Spawn { worker, .. } = action {
                self.crew.push((worker, false));
            }
            if let Action::RunHook { hook, .. } = action {
                self.crew.push((hook, false));
            }
            self.lines.push(self.names.action(&action));
        }
        check_invariants(self.core());
    }

    fn request(&mut self, command: Command) {
        self.requests += 1;
        let request = RequestId { client: 1, seq: self.requests };
        self.feed(Event::Request { request, command });
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.core().next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let from = self.lines.len();
            self.feed(Event::Deadline);
            let text = format!("at {}", duration_text(self.now.since(Instant(0))));
            self.lines.insert(from, text);
        }
        self.now = end;
    }

    fn crash(&mut self) {
        let (mut core, mut reader) = Reader::open(&self.journal).unwrap();
        let mut count = 0;
        while let Some((now, event)) = reader.entry().unwrap() {
            core.handle(now, event);
            while core.poll_action().is_some() {}
            count += 1;
        }
        assert_eq!(Some(&core), self.core.as_ref(), "the replayed state is another one");
        self.lines.push(format!("the same after {count} entries"));
        for action in core.outstanding() {
            self.lines.push(format!("outstanding: {}", self.names.action(&action)));
        }
        (self.journal, self.checksum) = journal::write_snapshot(&core);
    }

    fn status(&mut self) {
        let now = self.now;
        let lines = state_lines(self.core(), now);
        self.lines.extend(lines);
    }

    fn group(&mut self, name: &str) -> Told<GroupId> {
        match name {
            "nobody" => Ok(GroupId(99)),
            _ => self.core().group_named(name).ok_or_else(|| format!("no group {name}")),
        }
    }

    /// The workers that a word names; if `runs` is given, only such as have a process or such as have none.
    fn whom(&mut self, word: &str, runs: Option<bool>) -> Told<Vec<WorkerId>> {
        if let Some(id) = word.strip_prefix('#') {
            let ordinal = id.parse().map_err(|_| "no id")?;
            let known = self.names.places.keys().find(|id| id.ordinal() == ordinal);
            return Ok(vec![known.copied().unwrap_or(WorkerId::new(ordinal, 0))]);
        }
        let (name, slot) = word.split_once('/').unzip();
        let group = self.group(name.unwrap_or(word))?;
        let hook = slot == Some("hook");
        let slot = slot.filter(|_| !hook);
        let slot = slot.map(|text: &str| text.parse().map(Slot)).transpose().map_err(|_| "no slot")?;
        if hook {
            let ours = |(id, _): &&(WorkerId, bool)| self.names.hooks.get(id) == Some(&group);
            return self.crew.iter().rfind(ours).map(|(id, _)| vec![*id]).ok_or_else(|| "no hook there".into());
        }
        let fits = |(id, has_process): &&(WorkerId, bool)| {
            let Some(place) = self.names.places.get(id) else { return false };
            place.0 == group && slot.is_none_or(|slot| place.1 == slot) && runs.is_none_or(|runs| runs == *has_process)
        };
        let mut found: Vec<WorkerId> = self.crew.iter().filter(fits).map(|(id, _)| *id).collect();
        if slot.is_some() {
            found = found.pop().into_iter().collect();
        }
        if found.is_empty() {
            return Err("nobody there".into());
        }
        Ok(found)
    }
}
