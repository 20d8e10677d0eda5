//! Each action of the core, mapped to one effect.

use std::collections::BTreeSet;

use firestarter_core::action::Action;
use firestarter_core::command::{Command, Reply};
use firestarter_core::event::{SpawnError, SpawnStep};
use firestarter_core::ids::{GroupId, Pid, RequestId};

use super::spawner::Role;
use super::{now, reading, Daemon, Fact, Receipt};
use crate::api::{Call, Facts, Listener, Order, Outcome, Question, Said, Status};
use crate::journal::Row;
use crate::sys::maps;
use firestarter_core::event::Event;

impl Daemon<'_> {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { worker, group, slot, generation, edition } => {
                match self.listeners.prepare(self.shared, group.0, slot.0) {
                    Ok(opened) => self.children.show_keeper(&opened),
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                        let error = SpawnError { step: SpawnStep::Prepare, errno };
                        let event = Event::SpawnFailed { worker, error };
                        return self.inbox.push_back(Fact { event, receipt: Receipt::None });
                    }
                }
                let role = Role::Worker { slot, generation, edition };
                self.children.spawn(worker, group, role, &mut self.inbox);
            }
            Action::RunHook { hook, group, kind, pids } => {
                self.children.spawn(hook, group, Role::Hook { kind, pids }, &mut self.inbox);
            }
            Action::Signal { worker, signal, uncaught } => {
                if let Some(unheard) = self.children.signal(worker, signal, uncaught) {
                    let name = self.core.workers().find(|(id, _)| *id == worker).map(|(_, group)| group);
                    let name = name.map_or("", |group| self.core.group_name(group));
                    crate::say::say(format_args!("{name}: {unheard}"));
                }
            }
            Action::Kill { worker } => self.children.kill(worker),
            Action::Watch { group, on } => self.listeners.watch(group.0, on, &self.epoll),
            Action::Reply { request, reply } => self.reply(request, &reply),
            Action::Notice(notice) => {
                self.children.spawners.pins.heed(&notice);
                self.heed_words(&notice);
                self.notices.push(notice);
            }
            Action::Probe { worker } => {
                let whose = self.core.worker(worker).map(|(group, slot, pid, _)| (group, slot, pid));
                self.probes.ask(worker, whose, &self.epoll, &mut self.inbox);
            }
            Action::Measure { group } => self.measure(group),
            Action::Weigh { group, limit } => self.weigh(group, limit),
            Action::Discard { group, from } => self.notify.store.discard(group, from, &self.epoll),
            Action::Look { worker } => self.inbox.extend(self.children.look_for_life(worker)),
            Action::WatchProgram { group, known } => self.programs.watch(group, known),
            Action::Tell { worker, signal } => self.children.tell(worker, signal),
            Action::Halt { code } => {
                self.clear_up();
                self.status_file.end();
                let _ = self.report();
                super::open::remove_files(self.shared.setup);
                self.shared.header.halt(code);
                self.halted = true;
            }
        }
    }

    /// Does what can wait until nothing more urgent is left.
    pub(super) fn clear_up(&mut self) {
        let ended = self.children.graves.iter().map(|(row, _)| self.shared.table.group(*row));
        let ended: BTreeSet<GroupId> = ended.filter(|group| self.listeners.slots.divides(group.0)).collect();
        self.children.bury_all();
        self.close_unused_sockets(ended);
        self.children.spawners.pins.settle(|group| self.core.editions(group).collect());
        for notice in std::mem::take(&mut self.notices) {
            super::notices::tell(&notice, &self.shared.setup.config.groups);
            self.say_last_words(&notice);
        }
        self.last_words.settle();
        self.list_workers();
        // What runs now was needed to start the first workers, and is mapped again should it be needed later.
        let youngest_runs = || self.children.known.values().next_back().is_some_and(|child| child.process.is_some());
        if !self.settled && youngest_runs() {
            maps::give_back_text();
            self.settled = true;
        }
    }

    /// Closes the sockets of slots that these groups have no longer, and of which no worker is left.
    pub(super) fn close_unused_sockets(&mut self, groups: BTreeSet<GroupId>) {
        if groups.is_empty() {
            return;
        }
        let view = self.core.view(now());
        for group in groups {
            let Some(seen) = view.groups.get(group.0 as usize) else { continue };
            let slots: BTreeSet<u32> = seen.workers.iter().map(|worker| worker.slot.0).collect();
            let used = |slot: u32| slot < seen.wanted || slots.contains(&slot);
            let gone = self.listeners.slots.close_unused(self.shared, group.0, used);
            if self.children.keeper_alive() {
                self.children.show_keeper(&gone);
            } else {
                gone.into_iter().for_each(|number| self.shared.ledger.close(number));
            }
        }
    }

    /// A reply that nobody waits for (any more) is dropped.
    fn reply(&mut self, request: RequestId, reply: &Reply) {
        if request.is_nobodys() {
            return Daemon::reply_to_nobody(reply);
        }
        let Some(order) = self.control.owed(request) else { return };
        let outcome = self.last_words.add_to(Outcome::from_reply(order.group(), reply), reply);
        self.answer(request.client, &outcome);
    }

    /// Answers a client that does not wait for the end of its order, unless the core has.
    pub(super) fn say_begun(&mut self, client: u64) {
        if let Some(outcome) = self.control.begun(client).map(Outcome::begun) {
            self.answer(client, &outcome);
        }
    }

    pub(super) fn answer(&mut self, client: u64, outcome: &Outcome) {
        self.control.answer(client, outcome);
        self.control.watch_again(client, &self.epoll);
    }

    /// Answers a client's next question, or puts its order into the inbox.
    pub(super) fn serve(&mut self, client: u64) {
        let outcome = match self.control.next_call(client) {
            None => return,
            Some(Call::Ask(Question::Succeed { binary })) => return self.succession_asked(client, binary.as_deref()),
            Some(Call::Ask(question)) => self.answer_to(question),
            Some(Call::Reopen { group }) => match self.reopen(client, group) {
                None => return,
                Some(outcome) => outcome,
            },
            Some(Call::Do(order) | Call::Follow(order) | Call::Begin(order)) => match self.command(&order) {
                Ok(command) => {
                    let event = Event::Request { request: self.control.request(client), command };
                    return self.inbox.push_back(Fact { event, receipt: Receipt::Request { client } });
                }
                Err(outcome) => outcome,
            },
        };
        self.answer(client, &outcome);
    }

    fn command(&self, order: &Order) -> Result<Command, Outcome> {
        match order {
            Order::Shutdown => Ok(Command::Shutdown),
            Order::Group { group: name, verb, signal, slot } => match self.core.group_named(name) {
                Some(group) => Ok(Command::Group { group, verb: *verb, signal: *signal, slot: *slot }),
                None => Err(self.unknown_group(name)),
            },
        }
    }

    pub(super) fn unknown_group(&self, name: &str) -> Outcome {
        Outcome::unknown_group(name, self.core.group_names().map(str::to_owned).collect())
    }

    fn answer_to(&self, question: Question) -> Outcome {
        match question {
            Question::List => Outcome::names(self.core.group_names().map(str::to_owned).collect()),
            // It is no question that has its answer at once.
            Question::Status | Question::Succeed { .. } => Outcome::status(self.status()),
            Question::Journal { from } => super::pieces::piece(self.shared, self.log, from, None),
            Question::Lines { group: name, from } => match self.core.group_named(&name) {
                Some(group) => Outcome::lines(&name, reading::lines(self.shared, group, &name, from)),
                None => self.unknown_group(&name),
            },
            Question::GroupStatus { group: name, slot } => match (self.status().only(&name), slot) {
                (None, _) => self.unknown_group(&name),
                (Some(status), None) => Outcome::status(status),
                (Some(status), Some(slot)) => {
                    status.only_slot(slot).map_or_else(|| Outcome::no_worker(&name, slot), Outcome::status)
                }
            },
        }
    }

    fn status(&self) -> Status {
        let setup = self.shared.setup;
        let now = now();
        let listeners = setup.config.groups.iter().zip(0..).map(|(group, index)| {
            let written = self.listeners.addresses(index, group);
            written.into_iter().map(|address| Listener { name: group.spec.name.clone(), address }).collect()
        });
        let kept = reading::Kept { rings: self.shared.rings, piped: &setup.outputs.workers };
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            keeper: shown(setup.keeper),
            daemon: shown(rustix::process::getpid()),
            keeper_alive: self.children.keeper_alive(),
            recoveries: self.shared.header.recoveries(),
            uptime: now.since(setup.since),
            listeners: listeners.collect(),
            logs: self.logs(),
            last_words: (0..setup.config.groups.len() as u32).map(|g| self.last_words.of_failure(GroupId(g))).collect(),
            outputs: reading::outputs(&setup.config.groups, Some(&kept)),
            said: self.shared.table.rows().filter_map(|(row, _)| self.said(row)).collect(),
        };
        Status::new(&self.core.view(now), facts)
    }

    /// What a worker says of itself, if it has said anything.
    fn said(&self, row: Row) -> Option<(Pid, Said)> {
        let (text, errno) = self.shared.table.said(row);
        let said = Said { text: Some(text).filter(|text| !text.is_empty()), errno: Some(errno).filter(|e| *e != 0) };
        (said != Said::default()).then_some((shown(self.shared.table.pid(row)?), said))
    }
}

/// A pid as the core shows it.
pub(super) fn shown(pid: rustix::process::Pid) -> Pid {
    Pid(pid.as_raw_nonzero().get().unsigned_abs())
}
