//! Reads `uid`, `gid`, `user` and `group`, and finds out who that is.
//!
//! Called by `keys`, by `sockets` for the owner of a path, and by `group` once the whole table is read, as one key means
//! something else beside another. The system's lists come in with the `Surroundings`.

use std::io;

use toml::de::DeValue;

use super::draft::{Draft, Placed};
use super::fault::Ledger;
use super::value::{self, quoted, Item};
use super::{Account, Accounts, Identity, User};
use crate::say::plain;

/// `(uid_t) -1` stands for "leave it as it is" in the system calls: setresuid(2), chown(2).
const LARGEST: u32 = u32::MAX - 1;

/// What was written, with its place.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// `uid`.
    pub(crate) uid: Option<Placed<u32>>,
    /// `gid`.
    pub(crate) gid: Option<Placed<u32>>,
    /// `user`.
    pub(crate) user: Option<Placed<Who>>,
    /// `group`.
    pub(crate) group: Option<Placed<Who>>,
}

/// A user or a group as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// Reads `uid` or `gid`.
pub(crate) fn number(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Placed<u32>> {
    if let Some(name) = item.value.as_str().filter(|text| text.parse::<u32>().is_err() && !text.is_empty()) {
        let by_name = if item.key == "uid" { "user" } else { "group" };
        let advice = format!("write {by_name} = {}", quoted(name));
        item.mismatch("a number", ledger).advise(advice);
        return None;
    }
    value::whole(item, 0..=LARGEST, ledger).map(|number| (number, item.span.clone()))
}

/// Reads `user` or `group`.
pub(crate) fn who(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<Placed<Who>> {
    let number = match item.value {
        DeValue::Integer(_) => Some(value::whole(item, 0..=LARGEST, ledger)?),
        DeValue::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            let number = text.parse().ok().filter(|number| *number <= LARGEST);
            if number.is_none() {
                let message = format!("{} is too large for a number of a {}", quoted(text), item.key);
                item.note(&message, ledger).advise(format!("write a name, or a number up to {LARGEST}"));
                return None;
            }
            number
        }
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let who = match number {
        Some(number) => Who::Number(number),
        None => Who::Name(value::text(item, &format!("the name of a {}", item.key), ledger)?.to_owned()),
    };
    Some((who, item.span.clone()))
}

/// Finds out who the workers are to run as, and notes what stands against it.
pub(crate) fn resolve(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let conflicts = [("user", "uid"), ("group", "gid")].into_iter().filter(|(name, number)| {
        let both = draft.places.contains_key(name) && draft.places.contains_key(number);
        if let Some(place) = draft.places.get(name).filter(|_| both) {
            ledger
                .note(place.clone(), format!("{name} and {number} both say who the workers run as"))
                .advise(format!("remove one of the two; {name} takes a name or a number"));
        }
        both
    });
    if conflicts.count() == 0 {
        draft.identity = identity(&draft.parts, draft.around.accounts, ledger);
    }
}

fn identity(parts: &Parts, accounts: &dyn Accounts, ledger: &mut Ledger<'_>) -> Option<Identity> {
    let number = |placed: &Placed<u32>| (Who::Number(placed.0), placed.1.clone());
    let user = parts.user.clone().map(|user| ("user", user)).or(parts.uid.as_ref().map(|uid| ("uid", number(uid))));
    let group = parts.group.clone().or(parts.gid.as_ref().map(number));
    if user.is_none() && group.is_none() {
        return None;
    }
    // Both are looked up before either fails: all faults are told at once.
    let gid = group.as_ref().map(|group| gid(group, accounts, ledger));
    let (uid, entry) = match &user {
        Some((key, user)) => look_up(key, user, gid.is_some(), accounts, ledger)?,
        None => (accounts.own_uid(), accounts.uid(accounts.own_uid()).ok().flatten()),
    };
    let gid = match gid {
        Some(gid) => Some(gid?),
        None => None,
    };
    let gid = gid.or(entry.as_ref().map(|user| user.gid))?;
    let account: Option<Account> = entry.map(|user| user.account);
    let groups = match &account {
        None => vec![gid],
        Some(account) => accounts
            .groups_of(&account.name, gid)
            .map_err(|error| {
                let place = user.or(group.map(|group| ("group", group))).map_or(0..0, |(_, (_, place))| place);
                let message = format!("cannot look up the groups of {}: {}", quoted(&account.name), plain(&error));
                ledger.note(place, message).advise(ADVICE);
            })
            .ok()?,
    };
    Some(Identity { uid, gid, groups, account })
}

const ADVICE: &str = "see to the system's lists of users, or write numbers that need no list";

/// The user, and its entry if there is one. Without an entry there must be a group.
fn look_up(
    key: &str,
    (who, place): &Placed<Who>,
    has_group: bool,
    accounts: &dyn Accounts,
    ledger: &mut Ledger<'_>,
) -> Option<(u32, Option<User>)> {
    let (entry, shown) = match who {
        Who::Number(uid) => (accounts.uid(*uid), uid.to_string()),
        Who::Name(name) => (accounts.user(name), quoted(name)),
    };
    match (entry, who) {
        (Ok(Some(user)), _) => Some((user.uid, Some(user))),
        (Ok(None), Who::Number(uid)) if has_group => Some((*uid, None)),
        (Ok(None), Who::Number(_)) => {
            ledger
                .note(place.clone(), format!("{key}: there is no user {shown}, so its group is not known"))
                .advise("write gid too");
            None
        }
        (Ok(None), Who::Name(_)) => {
            ledger.note(place.clone(), format!("{key}: there is no user {shown}")).advise(MISSING);
            None
        }
        (Err(error), _) => {
            failed(key, &shown, place, &error, ledger);
            None
        }
    }
}

const MISSING: &str = "create it, or write the name of one that exists";

fn failed(key: &str, shown: &str, place: &std::ops::Range<usize>, error: &io::Error, ledger: &mut Ledger<'_>) {
    ledger.note(place.clone(), format!("{key}: cannot look up {shown}: {}", plain(error))).advise(ADVICE);
}

/// A user's number.
pub(crate) fn uid((who, place): &Placed<Who>, accounts: &dyn Accounts, ledger: &mut Ledger<'_>) -> Option<u32> {
    match who {
        Who::Number(uid) => Some(*uid),
        Who::Name(_) => look_up("user", &(who.clone(), place.clone()), true, accounts, ledger).map(|(uid, _)| uid),
    }
}

/// A group's number.
pub(crate) fn gid((who, place): &Placed<Who>, accounts: &dyn Accounts, ledger: &mut Ledger<'_>) -> Option<u32> {
    let name = match who {
        Who::Number(gid) => return Some(*gid),
        Who::Name(name) => name,
    };
    match accounts.group(name) {
        Ok(Some(gid)) => return Some(gid),
        Ok(None) => {
            ledger.note(place.clone(), format!("group: there is no group {}", quoted(name))).advise(MISSING);
        }
        Err(error) => failed("group", &quoted(name), place, &error, ledger),
    }
    None
}
