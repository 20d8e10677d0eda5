//! From what is wanted and where groups write to, to what is to be read; or why it cannot be. Pure. Used by `reading`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::sieve::Sieve;
use super::{Order, Trouble};
use crate::api::{self, Form, Output, Stream, To};
use crate::output::{Rotation, Schedule, Unit};

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Where its workers' streams go.
    pub(crate) outputs: Vec<Output>,
    /// How many slots it has now. Lines may be older than that.
    pub(crate) slots: u32,
}

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
    /// The groups that have not the slot that is wanted, and what to say if no line of it is there.
    pub(super) slotless: Vec<(String, String)>,
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
        let Some((place, group)) = groups.iter().enumerate().find(|(_, group)| group.name == name) else { continue };
        let outputs = &group.outputs;
        let missing = slot.filter(|slot| *slot >= group.slots);
        plans.slotless.extend(missing.map(|slot| (name.clone(), no_slot(group, slot))));
        let (mut reasons, mut untold, mut any) = (Vec::new(), Vec::new(), false);
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
                    untold.push(elsewhere(&name, output, &reason));
                    reasons.push(reason);
                }
            }
        }
        for remark in untold {
            // Of a group of which two slots are wanted it is said once.
            if any && !plans.remarks.contains(&remark) {
                plans.remarks.push(remark);
            }
        }
        match reasons.pop() {
            Some(Reason { what, next }) if !any => {
                let what = format!("{name}: what it writes {what}");
                if order.names.is_empty() {
                    plans.remarks.push(what);
                } else {
                    return Err(Trouble::Refused { what, next });
                }
            }
            Some(_) | None => {}
        }
    }
    if order.names.is_empty() && plans.slotless.len() < groups.len() {
        plans.slotless.clear();
    }
    if plans.all.is_empty() {
        let what = format!("no group writes to where it could be read{}", reasons_of(&plans.remarks));
        return Err(Trouble::Refused { what, next: KEEP.to_owned() });
    }
    plans.leave_out_untold(order, groups)?;
    for plan in &plans.all {
        plans.remarks.extend(plan.strangers(groups));
    }
    Ok(plans)
}

fn no_slot(group: &Group, slot: u32) -> String {
    let slots = match group.slots {
        1 => "its only slot is 0".to_owned(),
        slots => format!("its slots are 0 to {}", slots.saturating_sub(1)),
    };
    format!("{} has no slot {slot}: {slots}", group.name)
}

const KEEP: &str = "to keep what it writes: stdout_log and stderr_log (firestarter help stdout_log)";

const UNTOLD: &str = "form = \"json\" tells it of the lines to come; or leave the option out";

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
        return Ok(groups.iter().map(|group| (group.name.clone(), order.slot)).collect());
    }
    let mut wanted: Vec<(String, Option<u32>)> = Vec::new();
    for (name, slot) in &order.names {
        if groups.iter().all(|group| group.name != *name) {
            let groups = groups.iter().map(|group| group.name.clone()).collect();
            return Err(Trouble::UnknownGroup { group: name.clone(), groups });
        }
        let one = (name.clone(), slot.or(order.slot));
        if !wanted.contains(&one) {
            wanted.push(one);
        }
    }
    Ok(wanted)
}

/// Why a stream cannot be shown.
struct Reason {
    /// What becomes of what is written, as it stands behind that.
    what: String,
    /// What to do.
    next: String,
}

/// Where a stream is to be read; or why it is not. `own`: the files that the group's workers have from Firestarter itself.
fn kind(to: &To, running: bool, own: &str) -> Result<Kind, Reason> {
    let refused = |what: &str, next: &str| Reason { what: what.to_owned(), next: next.to_owned() };
    match to {
        To::File { path, .. } if is_device(path) => {
            Err(refused(&format!("goes to {path}, where nothing is kept"), KEEP))
        }
        To::File { path, form, rotation } => {
            let rotation = rotation.map_or(Rotation::Never, rotation_of);
            Ok(Kind::File { path: PathBuf::from(path), form: *form, rotation })
        }
        To::Null => Err(refused("is thrown away: its log is \"null\"", KEEP)),
        To::Own { kept: true, .. } if running => Ok(Kind::Ring),
        To::Own { .. } if running && own_file(to).is_some() => Err(refused(
            &format!("goes to firestarter's own output, {own}, and is not kept elsewhere"),
            &format!(
                "look into {own}; or to have it shown here: stdout_log and stderr_log (firestarter help stdout_log)"
            ),
        )),
        To::Own { path, .. } if running => Err(refused(
            &format!("goes to firestarter's own output{}, and nothing of that is kept", called(path)),
            "look there; or to keep it: log_ring, or stdout_log and stderr_log (firestarter help log_ring)",
        )),
        To::Own { .. } => Err(refused(
            "goes to firestarter's own output, and no daemon runs that keeps the last of it",
            "look there; or to keep it: stdout_log and stderr_log (firestarter help stdout_log)",
        )),
    }
}

/// The file that workers have from Firestarter itself, if there is something to look into.
fn own_file(to: &To) -> Option<&str> {
    let To::Own { path: Some(path), .. } = to else { return None };
    (!is_device(path)).then_some(path)
}

/// What is in memory (`/dev/shm`) has no device of its own, and is a file like others.
fn is_device(path: &str) -> bool {
    path.starts_with("/dev/") && !path.starts_with("/dev/shm/")
}

/// A device by its name.
fn called(path: &Option<String>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(", {path}"))
}

/// What becomes of a stream that cannot be shown while another can.
fn elsewhere(name: &str, output: &Output, reason: &Reason) -> String {
    let stream = match output.stream {
        Stream::Stdout => "standard output",
        Stream::Stderr => "standard error",
    };
    match own_file(&output.to) {
        Some(path) => format!("{name}: its {stream} goes to firestarter's own, {path}: look there"),
        None => format!("{name}: its {stream} {}", reason.what),
    }
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
    /// Whose lines do not tell what they are picked by cannot be shown: an error of who named it, a remark where all that
    /// can be shown are wanted.
    fn leave_out_untold(&mut self, order: &Order, groups: &[Group]) -> Result<(), Trouble> {
        let mut last = None;
        for plan in std::mem::take(&mut self.all) {
            match plan.tells(groups) {
                Ok(()) => self.all.push(plan),
                Err(Trouble::Refused { what, .. }) if order.names.is_empty() => {
                    self.remarks.push(what.clone());
                    last = Some(what);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        match last {
            Some(what) if self.all.is_empty() => Err(Trouble::Refused { what, next: UNTOLD.to_owned() }),
            Some(_) | None => Ok(()),
        }
    }

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
        let untold =
            |what: String| Trouble::Refused { what: format!("{what}: its form is {form}"), next: UNTOLD.to_owned() };
        if self.sieve.groups.iter().any(|(_, slot)| slot.is_some()) {
            return Err(untold(format!("{} does not tell which worker wrote a line", path.display())));
        }
        let goes_there = |output: &&Output| matches!(&output.to, To::File { path: its, .. } if Path::new(its) == *path);
        let mut streams = groups.iter().flat_map(|group| group.outputs.iter().filter(goes_there));
        if streams.any(|output| self.sieve.stream.is_some_and(|wanted| wanted != output.stream)) {
            return Err(untold(format!("{} has both streams and does not tell which a line is of", path.display())));
        }
        Ok(())
    }

    /// Groups that were not asked for, and whose lines are among those that are shown.
    fn strangers(&self, groups: &[Group]) -> Option<String> {
        let Kind::File { path, form: Form::Plain | Form::Timed, .. } = &self.kind else { return None };
        let writes = |group: &&Group| {
            let there = |output: &Output| matches!(&output.to, To::File { path: its, .. } if Path::new(its) == *path);
            group.outputs.iter().any(there) && self.sieve.groups.iter().all(|(name, _)| *name != group.name)
        };
        let names: Vec<&str> = groups.iter().filter(writes).map(|group| group.name.as_str()).collect();
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
        let all = [
            ("web", vec![file(Stdout, "/l/web", Form::Plain), file(Stderr, "/l/err", Form::Timed)]),
            ("api", vec![file(Stdout, "/l/api", Form::Json), file(Stderr, "/l/api", Form::Json)]),
            ("one", vec![file(Stdout, "/l/one", Form::Plain), file(Stderr, "/l/one", Form::Plain)]),
            ("two", vec![file(Stdout, "/l/one", Form::Plain), own(Stderr, true)]),
            ("mem", vec![own(Stdout, true), own(Stderr, true)]),
            ("raw", vec![own(Stdout, false), own(Stderr, false)]),
            ("mix", vec![own(Stdout, true), own(Stderr, false)]),
            ("tty", vec![Output { stream: Stdout, to: To::Own { form: Form::Plain, kept: false, path: None } }]),
            ("low", vec![Output { stream: Stdout, to: To::Null }, file(Stderr, "/dev/shm/low", Form::Json)]),
            ("dev", vec![file(Stdout, "/dev/full", Form::Plain), own(Stderr, true)]),
            ("nul", vec![Output { stream: Stdout, to: To::Null }, file(Stderr, "/dev/null", Form::Plain)]),
        ];
        all.map(|(name, outputs)| Group { name: name.into(), outputs, slots: 4 }).into()
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
            .starts_with(&format!("{web}; api=/l/api@1; one+two=/l/one@2; two@3; mem@4; mix@6; low=/dev/shm/low@8; dev@9; raw: what it writes")));
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
    fn of_all_groups_those_are_shown_that_tell() {
        let told = planned(&[], None, Some(3)).unwrap();
        assert!(told.starts_with("api=/l/api@1; two@3; mem@4; mix@6; "), "{told}");
        for untold in ["/l/web", "/l/err", "/l/one"] {
            assert!(told.contains(&format!("{untold} does not tell which worker wrote a line")), "{told}");
        }
        let order = Order { slot: Some(3), ..Order::default() };
        let Err(Trouble::Refused { what, next }) = plan(&order, &groups()[..1], None, None, true) else {
            panic!("there is something")
        };
        assert!(what.starts_with("/l/err does not tell") && next == UNTOLD, "{what}");
    }

    #[test]
    fn slots_that_are_not_there_are_known() {
        let slotless = |slot, slots| {
            let groups = vec![Group { slots, ..groups().remove(1) }];
            let order = Order { names: vec![("api".into(), Some(slot))], ..Order::default() };
            let mut plans = plan(&order, &groups, None, None, true).unwrap();
            plans.slotless.pop().map(|(_, what)| what)
        };
        assert_eq!(slotless(3, 4), None);
        assert_eq!(slotless(4, 4).unwrap(), "api has no slot 4: its slots are 0 to 3");
        assert_eq!(slotless(1, 1).unwrap(), "api has no slot 1: its only slot is 0");
        let of_all = |slot, mut groups: Vec<Group>| {
            groups[0].slots = 8;
            let order = Order { slot: Some(slot), ..Order::default() };
            plan(&order, &groups, None, None, true).unwrap().slotless.len()
        };
        assert_eq!((of_all(7, groups()), of_all(8, groups())), (0, groups().len()), "one of them has it");
    }

    #[test]
    fn of_each_stream_that_cannot_be_shown_it_is_said_once() {
        use Stream::{Stderr, Stdout};
        let low = "low=/dev/shm/low@8; low: its standard output is thrown away: its log is \"null\"";
        assert_eq!(planned(&["low"], None, None).unwrap(), low);
        assert_eq!(planned(&["low"], Some(Stderr), None).unwrap(), "low=/dev/shm/low@8");
        let thrown = "low: what it writes is thrown away: its log is \"null\"";
        assert_eq!(planned(&["low"], Some(Stdout), None).unwrap_err(), thrown);
        let dev = "dev@9; dev: its standard output goes to /dev/full, where nothing is kept";
        assert_eq!(planned(&["dev"], None, None).unwrap(), dev);
        let names = [0, 1].map(|slot| ("low".to_owned(), Some(slot))).into();
        let order = Order { names, ..Order::default() };
        assert_eq!(plan(&order, &groups(), None, None, true).unwrap().remarks.len(), 1);
        // Without a daemon nothing of what is passed on is there.
        let path = Some("/dev/pts/0".to_owned());
        let own = Output { stream: Stderr, to: To::Own { form: Form::Plain, kept: false, path } };
        let group = Group { name: "web".into(), outputs: vec![file(Stdout, "/l/web", Form::Plain), own], slots: 1 };
        let said =
            |running| plan(&Order::default(), std::slice::from_ref(&group), None, None, running).unwrap().remarks;
        let its = "web: its standard error goes to firestarter's own output";
        assert_eq!(said(true), [format!("{its}, /dev/pts/0, and nothing of that is kept")]);
        assert_eq!(said(false), [format!("{its}, and no daemon runs that keeps the last of it")]);
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
