//! The words of a story: the options of a group and of the policy, verbs, signals, times, ends.

use firestarter_core::command::Verb;
use firestarter_core::event::{Exit, SpawnStep};
use firestarter_core::spec::{Ack, Backoff, ExitWhen, GroupSpec, Policy, Restart, Signal, Start, Surge, Upgrader};
use firestarter_core::time::Duration;

pub type Told<T> = Result<T, String>;

pub fn spec(name: &str, options: &[&str]) -> Told<GroupSpec> {
    let mut spec = GroupSpec {
        restart: Restart::Always,
        ack: Ack::Manual,
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(5),
        ack_signal: Signal::QUIT,
        drain_timeout: Duration::from_secs(60),
        ..GroupSpec::new(name)
    };
    for option in options {
        let (key, value) = option.split_once('=').ok_or("key=value")?;
        let halves = || value.split_once('/').ok_or("two values with / between");
        match key {
            "count" => spec.count = value.parse().map_err(|_| "no count")?,
            "surge" => spec.surge = Surge::AtMost(value.parse().map_err(|_| "no surge")?),
            "restart" => {
                spec.restart = choose(
                    value,
                    &[("always", Restart::Always), ("on-failure", Restart::OnFailure), ("none", Restart::None)],
                )?;
            }
            "start" => {
                spec.start = choose(value, &[("at-once", Start::AtOnce), ("on-connection", Start::OnConnection)])?
            }
            "ack" => {
                spec.ack = match value.strip_prefix("timer:") {
                    Some(after) => Ack::Timer(duration(after)?),
                    None => choose(value, &[("manual", Ack::Manual), ("none", Ack::None)])?,
                }
            }
            "give_up" => spec.give_up = Some(value.parse().map_err(|_| "no count")?),
            "warmup" => spec.warmup = duration(value)?,
            "autostart" => spec.autostart = flag(value)?,
            "stop_hook" => spec.stop_hook = flag(value)?,
            "auto_upgrade" => spec.auto_upgrade = flag(value)?,
            "live_check" => spec.live_check = Some(duration(value)?),
            "upgrader" => {
                let (timeout, every) = value.split_once('/').map_or((value, None), |(t, every)| (t, Some(every)));
                let every = every.map(duration).transpose()?;
                spec.upgrader = Some(Upgrader { every, timeout: duration(timeout)? });
            }
            "start_timeout" => spec.start_timeout = duration(value)?,
            "stop" => (spec.stop_signal, spec.stop_timeout) = (signal(halves()?.0)?, duration(halves()?.1)?),
            "drain" => (spec.ack_signal, spec.drain_timeout) = (signal(halves()?.0)?, duration(halves()?.1)?),
            "backoff" => spec.backoff = Backoff { max: duration(halves()?.0)?, reset: duration(halves()?.1)? },
            _ => return Err(format!("no option {key}")),
        }
    }
    Ok(spec)
}

pub fn policy(options: &[&str]) -> Told<Policy> {
    let mut policy = Policy::default();
    for option in options {
        match option.split_once('=').ok_or("key=value")? {
            ("stop_timeout", value) => policy.stop_timeout = duration(value)?,
            ("exit_when", value) => {
                let whens = [("done", ExitWhen::Done), ("failed", ExitWhen::Failed), ("never", ExitWhen::Never)];
                policy.exit_when = choose(value, &whens)?;
            }
            (key, _) => return Err(format!("no option {key}")),
        }
    }
    Ok(policy)
}

pub fn flag(word: &str) -> Told<bool> {
    choose(word, &[("true", true), ("false", false)])
}

pub fn choose<T: Copy>(word: &str, from: &[(&str, T)]) -> Told<T> {
    from.iter().find(|(name, _)| *name == word).map(|(_, value)| *value).ok_or_else(|| format!("what is {word}?"))
}

pub fn parse_verb(word: &str) -> Told<Verb> {
    let verbs =
        [Verb::Start, Verb::Stop, Verb::Restart, Verb::Upgrade, Verb::Inc, Verb::Dec, Verb::Killall, Verb::Signal];
    choose(word, &verbs.map(|verb| (verb.word(), verb)))
}

pub fn signal(word: &str) -> Told<Signal> {
    Signal::parse(word).ok_or_else(|| format!("no signal {word}"))
}

pub fn duration(text: &str) -> Told<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("no duration {text}"))?;
    let unit = choose(&text[digits.len()..], &[("ms", 1), ("s", 1000), ("m", 60_000)])?;
    Ok(Duration::from_millis(number * unit))
}

pub fn exit(words: &[&str]) -> Told<Exit> {
    match words {
        ["code", code] => Ok(Exit::Code(code.parse().map_err(|_| "no code")?)),
        ["signal", word] => Ok(Exit::Signal(signal(word)?, false)),
        ["signal", word, "core"] => Ok(Exit::Signal(signal(word)?, true)),
        ["unknown"] => Ok(Exit::Unknown),
        _ => Err("code n, signal s or unknown".into()),
    }
}

pub fn spawn_step(word: &str) -> Told<SpawnStep> {
    let steps = [
        ("prepare", SpawnStep::Prepare),
        ("clone", SpawnStep::Clone),
        ("directory", SpawnStep::Directory),
        ("setup", SpawnStep::Setup),
        ("exec", SpawnStep::Exec),
        ("watch", SpawnStep::Watch),
    ];
    choose(word, &steps)
}

pub fn number_of_error(word: &str) -> Told<i32> {
    choose(word, &[("ENOENT", 2), ("EAGAIN", 11), ("EACCES", 13), ("EMFILE", 24)])
}
