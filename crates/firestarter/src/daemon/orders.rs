//! Signals to the keeper that mean something: a stop of everything, or a command, as a front end's table has it.
//!
//! The keeper counts signals in the journal's header, by number. The core keeps in its state, and so in the journal, how
//! many of each it has taken as orders; the difference is what is outstanding. So a signal that comes while no daemon
//! lives is carried out by the next one, and none is carried out twice.

use std::collections::BTreeMap;

use firestarter_core::command::{Command, Reply};
use firestarter_core::event::Event;
use firestarter_core::spec::Signal;

use super::{Daemon, Fact, Receipt};
use crate::api::Outcome;
use crate::say::say;

/// What signals to the keeper mean. One that is in neither list is ignored; HUP, where it is ignored, means no stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Those that stop everything, and what workers get of each in place of `stop_signal`.
    pub(crate) stops: Vec<(Signal, Option<Signal>)>,
    /// Those that stand for a command.
    pub(crate) orders: Vec<(Signal, Command)>,
    /// Whether USR2 wants another program in place of this one.
    pub(crate) succession: bool,
}

impl Signals {
    /// INT, TERM, QUIT and HUP stop everything; USR2 upgrades Firestarter itself.
    pub(crate) fn only_stops() -> Signals {
        let stops = [Signal::INT, Signal::TERM, Signal::QUIT, Signal::HUP];
        Signals { stops: stops.map(|signal| (signal, None)).into(), orders: Vec::new(), succession: true }
    }
}

/// How many signals of each kind this daemon has put into its inbox or found to be taken.
#[derive(Default)]
pub(super) struct Heard(BTreeMap<Signal, u32>);

impl Daemon<'_> {
    /// Signals may stand in the header.
    pub(super) fn hear_signals(&mut self) {
        self.hear_stops();
        self.hear_orders();
        self.hear_succession();
    }

    fn hear_stops(&mut self) {
        let header = self.shared.header;
        for signal in header.asked_to_stop().filter_map(Signal::from_number) {
            let known = self.shared.setup.signals.stops.iter().find(|(stop, _)| *stop == signal);
            let with = known.and_then(|(_, with)| *with);
            let event = Event::StopSignal { signal, nth: header.stops_asked(), with };
            self.inbox.push_back(Fact { event, receipt: Receipt::StopSignal(signal.number()) });
        }
    }

    fn hear_orders(&mut self) {
        for (signal, command) in &self.shared.setup.signals.orders {
            let asked = self.shared.header.orders_asked(signal.number());
            let heard = self.orders.0.entry(*signal).or_insert_with(|| self.core.orders_taken(*signal));
            while *heard < asked {
                *heard += 1;
                say_order(&self.core, *signal, command);
                let event = Event::Order { signal: *signal, nth: *heard, command: *command };
                self.inbox.push_back(Fact { event, receipt: Receipt::None });
            }
        }
    }

    /// What became of an order by a signal is told in the log, as far as no notice tells of it.
    pub(super) fn reply_to_nobody(reply: &Reply) {
        if let (Reply::Refused(_), Outcome::Problem(problem)) = (reply, Outcome::from_reply(None, reply)) {
            say(format_args!("refused: {}", problem.label()));
        }
    }
}

/// Says what a signal is taken for, as whoever reads the log later will ask.
fn say_order(core: &firestarter_core::Supervisor, signal: Signal, command: &Command) {
    match command {
        Command::Group { group, verb, signal: with, slot: _ } => {
            let with = with.map_or_else(String::new, |with| format!(" {with}"));
            say(format_args!("{}: {verb}{with}, ordered by {signal}", core.group_name(*group)));
        }
        Command::Shutdown => say(format_args!("stop of everything, ordered by {signal}")),
    }
}
