//! The loop.

use std::mem::MaybeUninit;

use firestarter_core::event::Event;
use firestarter_core::ids::WorkerId;
use firestarter_core::time::Instant;
use rustix::event::{epoll, Timespec};

use super::{now, Daemon, Fact, Receipt, Source};
use crate::journal::Pipes;
use crate::say::say;
use crate::sys::clone::exit_now;

/// So many descriptors are looked at in one turn.
const READY: usize = 128;

impl Daemon<'_> {
    pub(super) fn run(mut self) -> ! {
        self.shared.header.set_taken_over(true);
        self.took_over = now().0;
        self.tell_of_succession();
        loop {
            self.shared.header.works();
            while let Some(action) = self.core.poll_action() {
                self.perform(action);
            }
            if let Some(client) = self.control.in_a_hurry.take() {
                self.say_begun(client);
            }
            match self.inbox.pop_front() {
                _ if self.halted => {
                    self.end_succession();
                    exit_now(0)
                }
                Some(fact) => {
                    if let Some(fact) = self.notify.before(fact, &mut self.inbox, &self.epoll) {
                        self.take_in(fact);
                    }
                }
                None => self.wait(),
            }
        }
    }

    /// Journal, then consume, then act.
    fn take_in(&mut self, fact: Fact) {
        let now = now();
        if let Err(error) = self.log.append(now, &fact.event, &self.core) {
            // Without a journal nothing would survive; the workers live on, and the keeper tries another daemon.
            say(format_args!("{error}"));
            exit_now(1);
        }
        match fact.receipt {
            Receipt::None => {}
            Receipt::Zombie(row, worker) => self.children.ended_for_good(row, worker),
            Receipt::Request { client } => self.control.asked(client),
            Receipt::Line(line) => self.channel.consume(line, &self.epoll),
            Receipt::Datagram { group } => self.notify.consume(group),
            Receipt::StopSignal(signal) => self.shared.header.stop_signal_taken(signal),
        }
        self.core.handle(now, fact.event);
    }

    /// Waits for the next event or deadline and puts what comes into the inbox.
    fn wait(&mut self) {
        self.clear_up();
        self.tell_progress();
        if self.log.snapshot_is_due() && self.control.owes_no_rest(self.log.is_long()) {
            if let Err(error) = self.log.snapshot(&self.core) {
                say(format_args!("{error}"));
            }
        }
        let handover = self.hand_over().map(|wait| Instant(now().0 + wait.as_nanos() as u64));
        let look = self.children.look.as_ref().map(|(at, _)| *at);
        let others = look.into_iter().chain(handover).chain(self.progress.due()).chain(self.probes.next_deadline());
        let others = others.chain(self.reopening.due()).chain(self.report());
        let timeout = self.core.next_deadline().into_iter().chain(others).min().map(|at| {
            let left = at.since(now());
            Timespec { tv_sec: left.as_secs().min(1 << 30) as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let mut ready = [const { MaybeUninit::uninit() }; READY];
        self.shared.header.rests();
        let waited = epoll::wait(&self.epoll, &mut ready, timeout.as_ref());
        self.shared.header.works();
        if let Ok((ready, _)) = waited {
            for event in ready {
                if let Some(source) = Source::read(event.data.u64()) {
                    self.hear(source, event.flags);
                }
            }
        }
        self.children.look_after_spawns();
        self.probes.give_up_late(&self.epoll, &mut self.inbox);
        self.answer_reopened();
        if self.core.next_deadline().is_some_and(|at| at <= now()) {
            self.inbox.push_back(Fact { event: Event::Deadline, receipt: Receipt::None });
        }
    }

    fn hear(&mut self, source: Source, flags: epoll::EventFlags) {
        match source {
            Source::Told => {
                hang_if_a_test_asks();
                self.children.hear_keeper(&mut self.inbox);
                self.hear_signals();
            }
            Source::Spawned => self.children.hear_spawner(&mut self.inbox),
            Source::Keeper => self.children.keeper_died(&self.epoll),
            Source::Exits => self.children.hear_exits(&mut self.inbox),
            Source::Control => self.control.accept(&self.epoll),
            Source::Client(client) => {
                self.control.go_on(client, flags, &self.epoll);
                self.serve(client);
            }
            Source::Listener(group) => self.listeners.hear(group, &self.epoll, &mut self.inbox),
            Source::WorkerSocket(group) => self.channel.accept(group, &self.epoll),
            Source::Pair(group) => self.channel.hear_pair(group, &mut self.inbox, &self.epoll),
            Source::WorkerConnection(arrival) => {
                let over = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP);
                self.channel.hear(arrival, over, &mut self.inbox, &self.epoll);
            }
            Source::Probe(worker) => self.probes.hear(WorkerId(worker), &self.epoll, &mut self.inbox),
            Source::Notify(group) => {
                // That its program runs is to be known before what it says.
                self.children.hear_spawner(&mut self.inbox);
                let unborn = |worker| self.children.is_unborn(worker);
                self.notify.hear(group, &mut self.inbox, &self.epoll, &unborn);
            }
            Source::Successor => self.hear_successor(),
            Source::Stored(number) => self.notify.store.hung_up(number, &self.epoll),
            Source::Programs => self.programs.hear(&mut self.inbox),
            Source::Paths => self.paths.hear(),
            Source::Pipes => _ = self.shared.pipes.map(Pipes::close_done),
        }
    }
}

/// Hangs where a file says so, as the file says: a build for tests can show what becomes of a daemon that does.
fn hang_if_a_test_asks() {
    let file = std::env::var_os("FIRESTARTER_TEST_HANG").filter(|_| cfg!(debug_assertions));
    let Some((how, file)) = file.and_then(|file| Some((std::fs::read_to_string(&file).ok()?, file))) else { return };
    if how != "always" {
        let _ = std::fs::remove_file(file);
    }
    loop {
        match how.as_str() {
            "busy" => std::hint::spin_loop(),
            _ => std::thread::park(),
        }
    }
}
