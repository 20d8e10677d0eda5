//! The words of `ctrl NAME VERB`. Called by `args`.

use firestarter_core::command::Verb;
use firestarter_core::ids::Slot;
use firestarter_core::spec::Signal;

use super::super::errand::Wanted;
use super::super::render::target;
use super::super::table::Opt;
use super::{meant, Given, Usage, QUESTIONS};

impl Given {
    pub(super) fn ctrl(&self) -> Result<Wanted, Usage> {
        let (name, word, rest) = match self.operands.as_slice() {
            [] => return Err(self.wrong("NAME and VERB are missing")),
            [name] => return Err(self.wrong(format!("VERB is missing: what shall {name:?} do?"))),
            [name, word, rest @ ..] => (name, word.as_str(), rest),
        };
        let verb = Verb::ALL.into_iter().find(|verb| verb.word() == word);
        let rest = match (verb, rest) {
            (Some(Verb::Signal), [signal, ..]) if self.has(Opt::Signal) => {
                return Err(self.wrong(format!("the signal is named twice: {signal:?} and -s")))
            }
            (Some(Verb::Signal), [_, rest @ ..]) => rest,
            (_, rest) => rest,
        };
        if let [more, ..] = rest {
            return Err(self.wrong(format!("unexpected {more:?} after NAME and VERB")));
        }
        let signal = self.signal(self.operands.get(2))?;
        let (group, slot) = self.target(name)?;
        match verb {
            Some(verb) => self.order(group, slot, verb, signal),
            None if !QUESTIONS.contains(&word) => Err(self.no_verb(name, word)),
            None if signal.is_some() => Err(self.wrong(format!("{word} takes no signal"))),
            None if self.has(Opt::Progress) => {
                Err(self.wrong(format!("{word} is answered at once: leave out --progress")))
            }
            None if self.has(Opt::NoWait) => {
                Err(self.wrong(format!("{word} is answered at once: leave out --no-wait")))
            }
            None if word == "status" => Ok(Wanted::GroupStatus { group, slot }),
            None if slot.is_some() => Err(self.whole_group(&group, word)),
            None => Ok(Wanted::Reopen { group: Some(group) }),
        }
    }

    fn whole_group(&self, group: &str, verb: &str) -> Usage {
        let instead = format!("firestarter ctrl {} {verb}", target(group, None));
        self.wrong(format!("{verb} is for a whole group: {instead}; for one worker are signal and status"))
    }

    fn order(&self, group: String, slot: Option<Slot>, verb: Verb, signal: Option<Signal>) -> Result<Wanted, Usage> {
        match (verb, slot, signal) {
            (Verb::Signal, _, None) => {
                let name = target(&group, slot);
                Err(self.wrong(format!("SIGNAL is missing: firestarter ctrl {name} signal HUP")))
            }
            (verb, _, Some(_)) if !verb.takes_signal() => {
                Err(self.wrong(format!("{verb} takes no signal; stop, restart, dec, upgrade, rollback and signal do")))
            }
            (verb, Some(_), _) if verb != Verb::Signal => Err(self.whole_group(&group, verb.word())),
            (verb, slot, signal) => Ok(Wanted::Ctrl { group, slot, verb, signal }),
        }
    }

    fn no_verb(&self, name: &str, word: &str) -> Usage {
        let words = || Verb::ALL.into_iter().map(Verb::word).chain(QUESTIONS);
        let meant = match words().any(|verb| verb == name) {
            true => format!("; did you mean firestarter ctrl {word} {name}?"),
            false => meant(word, words()),
        };
        self.wrong(format!("unknown verb {word:?}{meant}"))
    }

    /// `web` is a group, `web/2` the worker in slot 2 of it. A group's name has no `/` in it.
    pub(super) fn target(&self, name: &str) -> Result<(String, Option<Slot>), Usage> {
        let Some((group, slot)) = name.split_once('/') else { return Ok((name.to_owned(), None)) };
        let digits = !slot.is_empty() && slot.bytes().all(|byte| byte.is_ascii_digit());
        match slot.parse() {
            _ if group.is_empty() => Err(self.wrong(format!("{name:?}: which group? a worker is written web/0"))),
            Ok(slot) if digits => Ok((group.to_owned(), Some(Slot(slot)))),
            Ok(_) | Err(_) => {
                Err(self.wrong(format!("{name:?}: after the / stands a slot, a number from 0: {group}/0")))
            }
        }
    }
}
