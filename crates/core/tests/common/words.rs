//! The words of a story: the options of a group and of the policy, verbs, signals, times, ends.

use firestarter_core::command::Verb;
use firestarter_core::event::{Answer, Exit, Said, SpawnStep};
use firestarter_core::spec::{
    Ack, Backoff, ExitWhen, GroupSpec, Policy, Probe, ProbeBy, Restart, Share, Signal, Start, Surge, Upgrader,
};
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
        surge: Surge::Fixed(Share::Percent(100)),
        ..GroupSpec::new(name)
    };
    for option in options {
        let (key, value) = option.split_once('=').ok_or("key=value")?;
        let halves = || value.split_once('/').ok_or("two values with / between");
        match key {
            "count" => spec.count = value.parse().map_err(|_| "no count")?,
            "surge" if value == "auto" => spec.surge = Surge::Auto,
            "surge" => spec.surge = Surge::Fixed(share(value)?),
            "max_unavailable" => spec.max_unavailable = share(value)?,
            "soak" => spec.soak = duration(value)?,
            "kill_old_delay" => spec.kill_old_delay = duration(value)?,
            "watchdog" => spec.watchdog = Some(duration(value)?),
            "max_age" => spec.max_age = Some(duration(value)?),
            "max_memory" => spec.max_memory = Some(value.parse().map_err(|_| "no bytes")?),
            "fd_store" => spec.fd_store = flag(value)?,
            "probe" => spec.probe = Some(probe(value)?),
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
                    None => choose(value, &[("manual", Ack::Manual), ("probe", Ack::Probe), ("none", Ack::None)])?,
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
    choose(word, &Verb::ALL.map(|verb| (verb.word(), verb)))
}

/// `3` or `25%`.
fn share(word: &str) -> Told<Share> {
    match word.strip_suffix('%') {
        Some(percent) => percent.parse().map(Share::Percent).map_err(|_| format!("no share {word}")),
        None => word.parse().map(Share::Count).map_err(|_| format!("no share {word}")),
    }
}

/// `connection/1s/2s/2/3`, `command/…`: interval, time-out, healthy after, unhealthy after; `/liveness`.
fn probe(words: &str) -> Told<Probe> {
    let mut words = words.split('/');
    let mut next = || words.next().ok_or("by/interval/timeout/good/bad");
    let by = choose(next()?, &[("connection", ProbeBy::Connection), ("command", ProbeBy::Command)])?;
    let (interval, timeout) = (duration(next()?)?, duration(next()?)?);
    let healthy_after = next()?.parse().map_err(|_| "no number")?;
    let unhealthy_after = next()?.parse().map_err(|_| "no number")?;
    let liveness = words.next() == Some("liveness");
    Ok(Probe { by, interval, timeout, healthy_after, unhealthy_after, liveness })
}

pub fn answer(words: &[&str]) -> Told<Answer> {
    match words {
        ["good"] => Ok(Answer::Good),
        ["status", status] => Ok(Answer::Status(status.parse().map_err(|_| "no status")?)),
        ["unreachable", errno] => Ok(Answer::Unreachable(number_of_error(errno)?)),
        [word] => choose(word, &[("garbled", Answer::Garbled), ("closed", Answer::Closed), ("late", Answer::Late)]),
        _ => Err("good, status n, unreachable errno, garbled, closed or late".into()),
    }
}

pub fn said(words: &[&str]) -> Told<Said> {
    match words {
        ["within", time] => Ok(Said::Within(duration(time)?)),
        ["extend", time] => Ok(Said::Extend(duration(time)?)),
        [word] => choose(
            word,
            &[
                ("reloading", Said::Reloading),
                ("stopping", Said::Stopping),
                ("well", Said::Well),
                ("unwell", Said::Unwell),
            ],
        ),
        _ => Err("reloading, stopping, well, unwell, within t or extend t".into()),
    }
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
    choose(word, &[("ENOENT", 2), ("EAGAIN", 11), ("EACCES", 13), ("EMFILE", 24), ("ECONNREFUSED", 111)])
}
