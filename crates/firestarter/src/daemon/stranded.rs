//! A daemon that cannot read the journal. By the table it knows which workers there are, but not what was meant for them:
//! whatever it did could be wrong, and a state from before the damage could take living workers for strangers and kill
//! them. So it does nothing to anybody. It says what is wrong, answers clients, takes in what workers tell so that none of
//! them waits, and stays, so that there is no loop of deaths. Told to stop it goes, and the keeper ends the workers.
//!
//! Daemons that died while they replayed, several in a row, died of what is in the journal; the next one does not try.
//! Called by `recover`; never returns, and never writes to the log.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::net::{recv, RecvFlags};

use super::control::Control;
use super::found::find;
use super::pieces;
use super::recover::{self, must, RecoverError};
use super::{Shared, Source};
use crate::api::{Call, Order, Outcome, Question};
use crate::journal::{Log, LogError};
use crate::keeper::Link;
use crate::say::say;
use crate::sys::clone::exit_now;
use crate::sys::fds;

/// So many daemons in a row may die while they replay.
const MOST_DEATHS: u64 = 5;
/// So many workers are named in a line.
const NAMED: usize = 64;
/// So many descriptors are looked at in one turn.
const READY: usize = 64;

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("read journal: {0} daemons in a row died of it")]
    Deadly(u64),
}

/// Replays, unless daemons have died of that.
///
/// # Errors
/// They have, or the journal is damaged.
pub(super) fn replay<T>(shared: Shared, replay: impl FnOnce() -> Result<T, LogError>) -> Result<T, Unread> {
    let deaths = shared.header.begin_replay();
    if deaths >= MOST_DEATHS {
        return Err(Unread::Deadly(deaths));
    }
    let replayed = replay();
    shared.header.end_replay();
    Ok(replayed?)
}

struct Stranded<'a> {
    shared: Shared,
    log: &'a Log,
    why: String,
    control: Control,
    /// Where workers tell how they are, by group.
    notify: BTreeMap<u32, OwnedFd>,
    /// What the keeper tells.
    told: OwnedFd,
    /// By which the keeper is woken.
    wake: OwnedFd,
    epoll: OwnedFd,
}

pub(super) fn live(shared: Shared, log: &Log, link: &Link, why: &Unread) -> ! {
    shared.header.set_stranded(true);
    let mut found = find(shared);
    let control = recover::control(shared, &mut found);
    let notify = std::mem::take(&mut found.notify);
    let clients = std::mem::take(&mut found.clients);
    // The rest is the workers', and whoever comes next may want it.
    std::mem::forget(found);
    let adopt = |number| must(fds::adopt(number).ok_or(RecoverError::Missing("pipe to the keeper")));
    let (told, wake) = (adopt(link.told), adopt(link.reap));
    let epoll = must(epoll::create(epoll::CreateFlags::CLOEXEC));
    let mut stranded = Stranded { shared, log, why: why.to_string(), control, notify, told, wake, epoll };
    must(stranded.listen());
    say(format_args!("{}; {}", stranded.complaint(), NEXT));
    for (client, fd) in clients {
        stranded.control.take_over(client, fd, None);
        // To what the last daemon had begun there will be no other answer.
        let outcome = stranded.sorry();
        stranded.control.answer(client, &outcome);
        stranded.control.watch(client, &stranded.epoll);
    }
    shared.header.set_taken_over(true);
    stranded.report(false);
    loop {
        if shared.header.asked_to_stop().next().is_some() {
            stranded.leave();
        }
        stranded.wait();
    }
}

/// What is to be done about it.
const NEXT: &str = "to keep it for a report: firestarter debug journal -o FILE; to end the workers: firestarter stop; \
                    then start anew";

impl Stranded<'_> {
    fn listen(&self) -> Result<(), RecoverError> {
        let add = |fd: &dyn AsFd, source: Source, flags| {
            epoll::add(&self.epoll, fd.as_fd(), epoll::EventData::new_u64(source.key()), epoll::EventFlags::IN | flags)
        };
        add(&self.told, Source::Told, epoll::EventFlags::empty())?;
        add(&self.control.socket, Source::Control, epoll::EventFlags::ET)?;
        for (group, socket) in &self.notify {
            add(socket, Source::Notify(*group), epoll::EventFlags::empty())?;
        }
        Ok(())
    }

    fn wait(&mut self) {
        let mut ready = [const { MaybeUninit::uninit() }; READY];
        self.shared.header.rests();
        let waited = epoll::wait(&self.epoll, &mut ready, None);
        self.shared.header.works();
        let Ok((ready, _)) = waited else { return };
        for event in ready {
            let Some(source) = Source::read(event.data.u64()) else { continue };
            // Only these were added to the set.
            if source == Source::Control {
                self.control.accept(&self.epoll);
            } else if source == Source::Told {
                let _ = rustix::io::read(&self.told, &mut [0; 4096]);
            } else if let Source::Client(client) = source {
                self.control.go_on(client, event.flags, &self.epoll);
                self.serve(client);
            } else if let Some(socket) = self.group_of(source).and_then(|group| self.notify.get(&group)) {
                // Descriptors in it are closed by the kernel, as no room is given for them.
                let _ = recv(socket, &mut [0; 64], RecvFlags::DONTWAIT);
            }
        }
    }

    fn group_of(&self, source: Source) -> Option<u32> {
        self.notify.keys().copied().find(|group| source == Source::Notify(*group))
    }

    fn serve(&mut self, client: u64) {
        let Some(call) = self.control.next_call(client) else { return };
        let names = self.shared.setup.config.groups.iter().map(|group| group.spec.name.clone());
        let stops = match &call {
            Call::Do(order) | Call::Follow(order) | Call::Begin(order) => *order == Order::Shutdown,
            Call::Ask(_) | Call::Reopen { .. } => false,
        };
        let outcome = match &call {
            Call::Ask(Question::List) => Outcome::names(names.collect()),
            Call::Ask(Question::Journal { from }) => pieces::piece(self.shared, self.log, *from, Some(&self.why)),
            Call::Ask(
                Question::Status | Question::GroupStatus { .. } | Question::Lines { .. } | Question::Succeed { .. },
            )
            | Call::Reopen { .. } => self.sorry(),
            Call::Do(order) | Call::Follow(order) | Call::Begin(order) if stops && self.keeper_lives() => {
                Outcome::begun(order)
            }
            Call::Do(_) | Call::Follow(_) | Call::Begin(_) => self.sorry(),
        };
        self.control.answer(client, &outcome);
        self.control.watch_again(client, &self.epoll);
        if stops && self.keeper_lives() {
            self.shared.header.ask_to_stop(libc::SIGTERM as u8);
        }
    }

    /// Without a keeper nobody may signal the workers: their pids may be others' by now.
    fn keeper_lives(&self) -> bool {
        rustix::process::getppid() == Some(self.shared.setup.keeper)
    }

    /// Says how it is, for a service manager.
    fn report(&self, stopping: bool) {
        let header = self.shared.header;
        let what = if stopping { "the keeper stops all workers" } else { "the workers run on" };
        header.set_report(header.report().ready, stopping, &format!("{}; {what}", self.why));
        let _ = rustix::io::write(&self.wake, &[0; 4]);
    }

    /// The keeper finds that somebody asked to stop and that no daemon can.
    fn leave(&self) -> ! {
        self.report(true);
        super::open::remove_files(self.shared.setup);
        exit_now(0)
    }

    fn sorry(&self) -> Outcome {
        Outcome::unreadable(self.complaint())
    }

    /// What is wrong, and who runs.
    fn complaint(&self) -> String {
        let table = self.shared.table;
        let groups = &self.shared.setup.config.groups;
        let mut workers: Vec<String> = Vec::new();
        let mut rows = table.rows().filter_map(|(row, _)| Some((row, table.pid(row)?)));
        for (row, pid) in rows.by_ref().take(NAMED) {
            let group = groups.get(table.group(row).0 as usize).map_or("", |group| group.spec.name.as_str());
            let slot = table.slot(row).map_or_else(|| "hook".to_owned(), |slot| slot.to_string());
            workers.push(format!("{group}/{slot} pid {}", pid.as_raw_nonzero()));
        }
        let more = rows.count();
        if more > 0 {
            workers.push(format!("{more} more"));
        }
        let workers = if workers.is_empty() { "nobody".to_owned() } else { workers.join(", ") };
        let keeper = if self.keeper_lives() { "" } else { "; the keeper is dead: end them by hand" };
        format!("{}; nothing is started, replaced or stopped any more; still there: {workers}{keeper}", self.why)
    }
}
