//! From what is wanted and where groups write to, to what is to be read; or why it cannot be. Pure. Used by `reading`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::sieve::Sieve;
use super::{Order, Trouble};
use crate::api::{self, Form, Output, Stream, To};
use crate::output::{Rotation, Schedule, Unit};

/// A group, and where its workers' streams go.
pub(crate) type Group = (String, Vec<Output>);

/// Something to be read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// The groups' names, for what does not say whose it is.
    pub(super) name: String,
    /// Of the first of them in the configuration.
    pub(super) place: usize,
    pub(super) sieve: Sieve,
    /// Which streams of the groups go there.
    streams: Vec<Stream>,
}

/// Where it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File {
        path: PathBuf,
        form: Form,
        rotation: Rotation,
    },
    /// In the daemon's memory.
    Ring,
}

/// What is to be read, and what people should know of it.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) all: Vec<Plan>,
    pub(super) remarks: Vec<String>,
    /// The same of one group's streams that cannot be shown while others can.
    elsewhere: Vec<String>,
}

/// Finds what is to be read. `running`: a daemon is there to be asked.
///
/// # Errors
/// A name that is no group's; or nothing is there to be read, or it does not tell what is asked for.
pub(super) fn plan(
    order: &Order,
    groups: &[Group],
    since: Option<i64>,
    grep: Option<&Regex>,
    running: bool,
) -> Result<Plans, Trouble> {
    let mut plans = Plans::default();
    for (name, slot) in wanted(order, groups)? {
        let found = groups.iter().enumerate().find(|(_, (group, _))| *group == name);
        let Some((place, (_, outputs))) = found else { continue };
        let mut reasons = Vec::new();
        let mut any = false;
        let wanted = || outputs.iter().filter(|output| order.stream.is_none_or(|stream| stream == output.stream));
        let own: BTreeSet<&str> = wanted().filter_map(|output| own_file(&output.to)).collect();
        let own = own.into_iter().collect::<Vec<_>>().join(" and ");
        for output in wanted() {
            match kind(&output.to, running, &own) {
                Ok(kind) => {
                    let sieve = Sieve { groups: vec![], stream: order.stream, since, grep: grep.cloned() };
                    plans.add(kind, (&name, slot), place, output.stream, sieve);
                    any = true;
                }
                Err(reason) => {
                    plans.elsewhere.extend(elsewhere(&name, output));
                    reasons.push(reason);
                }
            }
        }
        let elsewhere = std::mem::take(&mut plans.elsewhere);
        plans.remarks.extend(elsewhere.into_iter().filter(|_| any));
        match reasons.pop() {
            Some(Trouble::Refused { what, next }) if !any => {
                let what = format!("{name}: {what}");
                if order.names.is_empty() {
                    plans.remarks.push(what);
                } else {
                    return Err(Trouble::Refused { what, next });
                }
            }
            Some(_) | None => {}
        }
    }
    if plans.all.is_empty() {
        let what = format!("no group writes to where it could be read{}", reasons_of(&plans.remarks));
        return Err(Trouble::Refused { what, next: KEEP.to_owned() });
    }
    for plan in &plans.all {
        plan.tells(groups)?;
        plans.remarks.extend(plan.strangers(groups));
    }
    Ok(plans)
}

const KEEP: &str = "to keep what it writes: stdout_log and stderr_log (firestarter help stdout_log)";

fn reasons_of(remarks: &[String]) -> String {
    if remarks.is_empty() {
        String::new()
    } else {
        format!(": {}", remarks.join("; "))
    }
}

/// The groups that are wanted, and the slot of each; each once.
fn wanted(order: &Order, groups: &[Group]) -> Result<Vec<(String, Option<u32>)>, Trouble> {
    if order.names.is_empty() {
        return Ok(groups.iter().map(|(name, _)| (name.clone(), order.slot)).collect());
    }
    let mut wanted: Vec<(String, Option<u32>)> = Vec::new();
    for (name, slot) in &order.names {
        if groups.iter().all(|(group, _)| group != name) {
            let groups = groups.iter().map(|(group, _)| group.clone()).collect();
            return Err(Trouble::UnknownGroup { group: name.clone(), groups });
        }
        let one = (name.clone(), slot.or(order.slot));
        if !wanted.contains(&one) {
            wanted.push(one);
        }
    }
    Ok(wanted)
}

/// Where a stream is to be read; or why it is not. `own`: the files that the group's workers have from Firestarter itself.
fn kind(to: &To, running: bool, own: &str) -> Result<Kind, Trouble> {
    let refused = |what: &str, next: &str| Trouble::Refused { what: what.to_owned(), next: next.to_owned() };
    match to {
        To::File { path, .. } if path.starts_with("/dev/") => {
            Err(refused(&format!("what it writes goes to {path}, where nothing is kept"), KEEP))
        }
        To::File { path, form, rotation } => {
            let rotation = rotation.map_or(Rotation::Never, rotation_of);
            Ok(Kind::File { path: PathBuf::from(path), form: *form, rotation })
        }
        To::Null => Err(refused("what it writes is thrown away: its log is \"null\"", KEEP)),
        To::Own { kept: true, .. } if running => Ok(Kind::Ring),
        To::Own { .. } if running && own_file(to).is_some() => Err(refused(
            &format!("what it writes goes to firestarter's own output, {own}, and is not kept elsewhere"),
            &format!(
                "look into {own}; or to have it shown here: stdout_log and stderr_log (firestarter help stdout_log)"
            ),
        )),
        To::Own { path, .. } if running => Err(refused(
            &format!("what it writes goes to firestarter's own output{}, and nothing of that is kept", called(path)),
            "look there; or to keep it: log_ring, or stdout_log and stderr_log (firestarter help log_ring)",
        )),
        To::Own { .. } => Err(refused(
            "what it writes goes to firestarter's own output, and no daemon runs that keeps the last of it",
            "look there; or to keep it: stdout_log and stderr_log (firestarter help stdout_log)",
        )),
    }
}

/// The file that workers have from Firestarter itself, if there is something to look into.
fn own_file(to: &To) -> Option<&str> {
    let To::Own { path: Some(path), .. } = to else { return None };
    (!path.starts_with("/dev/")).then_some(path)
}

/// A device by its name.
fn called(path: &Option<String>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(", {path}"))
}

/// Where a stream is that cannot be shown while another can, if there is something to look into.
fn elsewhere(name: &str, output: &Output) -> Option<String> {
    let path = own_file(&output.to)?;
    let stream = match output.stream {
        Stream::Stdout => "standard output",
        Stream::Stderr => "standard error",
    };
    Some(format!("{name}: its {stream} goes to firestarter's own, {path}: look there"))
}

fn rotation_of(rotation: api::Rotation) -> Rotation {
    match rotation {
        api::Rotation::Size { max_bytes, backups } => Rotation::Size { max_bytes, backups },
        api::Rotation::Time { interval, unit, utc, backups } => {
            let unit = match unit {
                api::Unit::Seconds => Unit::Seconds,
                api::Unit::Minutes => Unit::Minutes,
                api::Unit::Hours => Unit::Hours,
                api::Unit::Days => Unit::Days,
                api::Unit::Midnight => Unit::Midnight,
            };
            Rotation::Time(Schedule { interval, unit, utc, backups })
        }
    }
}

impl Plans {
    /// What several streams write to is read once; each group has a ring of its own.
    fn add(&mut self, kind: Kind, group: (&str, Option<u32>), place: usize, stream: Stream, sieve: Sieve) {
        let (name, slot) = group;
        let same = |plan: &Plan| match (&plan.kind, &kind) {
            (Kind::File { path: one, .. }, Kind::File { path: other, .. }) => one == other,
            (Kind::Ring, Kind::Ring) => plan.place == place,
            (Kind::File { .. } | Kind::Ring, _) => false,
        };
        let index = match self.all.iter().position(same) {
            Some(index) => index,
            None => {
                self.all.push(Plan { kind, name: name.to_owned(), place, sieve, streams: Vec::new() });
                self.all.len() - 1
            }
        };
        let plan = &mut self.all[index];
        if plan.sieve.groups.iter().all(|(group, _)| group != name) && !plan.sieve.groups.is_empty() {
            plan.name = format!("{}+{name}", plan.name);
        }
        let one = (name.to_owned(), slot);
        if !plan.sieve.groups.contains(&one) {
            plan.sieve.groups.push(one);
        }
        plan.streams.push(stream);
    }
}

impl Plan {
    /// Whether its lines tell what they are picked by.
    fn tells(&self, groups: &[Group]) -> Result<(), Trouble> {
        let Kind::File { path, form: form @ (Form::Plain | Form::Timed), .. } = &self.kind else { return Ok(()) };
        let form = if *form == Form::Plain { "plain" } else { "timed" };
        let untold = |what: String| {
            let next = "form = \"json\" tells it of the lines to come; or leave the option out".to_owned();
            Trouble::Refused { what: format!("{what}: its form is {form}"), next }
        };
        if self.sieve.groups.iter().any(|(_, slot)| slot.is_some()) {
            return Err(untold(format!("{} does not tell which worker wrote a line", path.display())));
        }
        let goes_there = |output: &&Output| matches!(&output.to, To::File { path: its, .. } if Path::new(its) == *path);
        let mut streams = groups.iter().flat_map(|(_, outputs)| outputs.iter().filter(goes_there));
        if streams.any(|output| self.sieve.stream.is_some_and(|wanted| wanted != output.stream)) {
            return Err(untold(format!("{} has both streams and does not tell which a line is of", path.display())));
        }
        Ok(())
    }

    /// Groups that were not asked for, and whose lines are among those that are shown.
    fn strangers(&self, groups: &[Group]) -> Option<String> {
        let Kind::File { path, form: Form::Plain | Form::Timed, .. } = &self.kind else { return None };
        let writes = |(name, outputs): &&Group| {
            let there = |output: &Output| matches!(&output.to, To::File { path: its, .. } if Path::new(its) == *path);
            outputs.iter().any(there) && self.sieve.groups.iter().all(|(group, _)| group != name)
        };
        let names: Vec<&str> = groups.iter().filter(writes).map(|(name, _)| name.as_str()).collect();
        let others = names.join(", ");
        (!names.is_empty()).then(|| format!("{}: lines of {others} are among these", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stream: Stream, path: &str, form: Form) -> Output {
        Output { stream, to: To::File { path: path.into(), form, rotation: None } }
    }

    fn own(stream: Stream, kept: bool) -> Output {
        let path = (!kept).then(|| "/l/own".into());
        Output { stream, to: To::Own { form: Form::Plain, kept, path } }
    }

    fn groups() -> Vec<Group> {
        use Stream::{Stderr, Stdout};
        vec![
            ("web".into(), vec![file(Stdout, "/l/web", Form::Plain), file(Stderr, "/l/err", Form::Timed)]),
            ("api".into(), vec![file(Stdout, "/l/api", Form::Json), file(Stderr, "/l/api", Form::Json)]),
            ("one".into(), vec![file(Stdout, "/l/one", Form::Plain), file(Stderr, "/l/one", Form::Plain)]),
            ("two".into(), vec![file(Stdout, "/l/one", Form::Plain), own(Stderr, true)]),
            ("mem".into(), vec![own(Stdout, true), own(Stderr, true)]),
            ("raw".into(), vec![own(Stdout, false), own(Stderr, false)]),
            ("mix".into(), vec![own(Stdout, true), own(Stderr, false)]),
            ("tty".into(), vec![Output { stream: Stdout, to: To::Own { form: Form::Plain, kept: false, path: None } }]),
            ("nul".into(), vec![Output { stream: Stdout, to: To::Null }, file(Stderr, "/dev/null", Form::Plain)]),
        ]
    }

    fn planned(names: &[&str], stream: Option<Stream>, slot: Option<u32>) -> Result<String, String> {
        let names = names.iter().map(|name| ((*name).to_owned(), None)).collect();
        let order = Order { names, stream, slot, ..Order::default() };
        match plan(&order, &groups(), None, None, true) {
            Ok(plans) => {
                let kinds = plans.all.iter().map(|plan| match &plan.kind {
                    Kind::File { path, .. } => format!("{}={}@{}", plan.name, path.display(), plan.place),
                    Kind::Ring => format!("{}@{}", plan.name, plan.place),
                });
                let mut words: Vec<String> = kinds.collect();
                words.extend(plans.remarks);
                Ok(words.join("; "))
            }
            Err(Trouble::Refused { what, .. }) => Err(what),
            Err(trouble) => Err(trouble.to_string()),
        }
    }

    #[test]
    fn each_file_and_each_ring_is_read_once() {
        let web = "web=/l/web@0; web=/l/err@0";
        assert_eq!(planned(&["web"], None, None).unwrap(), web);
        assert_eq!(planned(&["web", "web"], None, None).unwrap(), web);
        assert_eq!(planned(&["api", "mem"], None, Some(1)).unwrap(), "api=/l/api@1; mem@4");
        assert_eq!(planned(&["one", "two"], None, None).unwrap(), "one+two=/l/one@2; two@3");
        let all = planned(&[], None, None).unwrap();
        assert!(all
            .starts_with(&format!("{web}; api=/l/api@1; one+two=/l/one@2; two@3; mem@4; mix@6; raw: what it writes")));
        assert!(all.ends_with("nul: what it writes goes to /dev/null, where nothing is kept"), "{all}");
    }

    #[test]
    fn what_lines_do_not_tell_is_said() {
        use Stream::{Stderr, Stdout};
        assert_eq!(planned(&["web"], Some(Stderr), None).unwrap(), "web=/l/err@0");
        assert_eq!(planned(&["api"], Some(Stdout), Some(3)).unwrap(), "api=/l/api@1");
        let both = "/l/one has both streams and does not tell which a line is of: its form is plain";
        assert_eq!(planned(&["one"], Some(Stderr), None).unwrap_err(), both);
        assert_eq!(planned(&["two"], Some(Stdout), None).unwrap_err(), both);
        let slot = "/l/web does not tell which worker wrote a line: its form is plain";
        assert_eq!(planned(&["web"], None, Some(0)).unwrap_err(), slot);
        let strangers = planned(&["two"], None, None).unwrap();
        assert_eq!(strangers, "two=/l/one@3; two@3; /l/one: lines of one are among these");
    }

    #[test]
    fn what_is_kept_nowhere_is_said() {
        let said = |name: &str| planned(&[name], None, None).unwrap_err();
        let own = "what it writes goes to firestarter's own output";
        assert_eq!(said("raw"), format!("raw: {own}, /l/own, and is not kept elsewhere"));
        assert_eq!(said("tty"), format!("tty: {own}, and nothing of that is kept"));
        let some = planned(&["mix"], None, None).unwrap();
        assert_eq!(some, "mix@6; mix: its standard error goes to firestarter's own, /l/own: look there");
        assert_eq!(planned(&["mix"], Some(Stream::Stdout), None).unwrap(), "mix@6");
        assert_eq!(said("nul"), "nul: what it writes goes to /dev/null, where nothing is kept");
        assert_eq!(said("wbe"), "unknown group wbe");
        let order = Order { names: vec![("mem".into(), None)], ..Order::default() };
        let without_daemon = plan(&order, &groups(), None, None, false).unwrap_err().to_string();
        assert!(without_daemon.contains("no daemon runs"), "{without_daemon}");
        assert!(plan(&Order::default(), &[], None, None, true).is_err());
    }
}
