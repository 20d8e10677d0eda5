//! The values of Einhorn's options: text in, a change of [`Options`] or what is wrong out. Called by `options`, by way of
//! its table.

use std::path::PathBuf;
use std::time::Duration;

use super::build::{LONGEST_S, MOST_WORKERS};
use super::options::{Bind, BindPlace, Options};

impl Bind {
    /// Reads `HOST:PORT[,FLAG]…` or `/PATH[,FLAG]…`.
    pub(super) fn parse(value: &str) -> Result<Bind, String> {
        let (address, flags) = value.split_once(',').unwrap_or((value, ""));
        let mut nonblocking = false;
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag.to_ascii_lowercase().as_str() {
                // What listens here always reuses its address.
                "r" | "so_reuseaddr" => {}
                "n" | "o_nonblock" => nonblocking = true,
                _ => return Err(format!("{value:?}: unknown flag {flag:?}; there are r and n")),
            }
        }
        if address.starts_with('/') {
            return Ok(Bind { place: BindPlace::Unix(PathBuf::from(address)), nonblocking });
        }
        let wrong = || format!("{value:?}: expected IP:PORT or a path with /, then flags such as ,r");
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| format!("{value:?}: port {port} is not from 0 to 65535"))?;
        Ok(Bind { place: BindPlace::Tcp(host.to_owned(), port), nonblocking })
    }
}

pub(super) fn bind(options: &mut Options, value: &str) -> Result<(), String> {
    options.binds.push(Bind::parse(value)?);
    Ok(())
}

pub(super) fn name(options: &mut Options, value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains(['/', '\0']) {
        return Err(format!("{value:?}: expected a name without a slash, since it is part of paths"));
    }
    options.name = Some(value.to_owned());
    Ok(())
}

fn path(value: &str) -> Result<PathBuf, String> {
    match value {
        "" => Err("the path is empty".to_owned()),
        value if value.ends_with('/') => Err(format!("{value:?}: the path of a folder; name a file in it")),
        value => Ok(PathBuf::from(value)),
    }
}

pub(super) fn socket(options: &mut Options, value: &str) -> Result<(), String> {
    options.socket = Some(path(value)?);
    Ok(())
}

pub(super) fn pid_file(options: &mut Options, value: &str) -> Result<(), String> {
    options.pid_file = Some(path(value)?);
    Ok(())
}

pub(super) fn lock_file(options: &mut Options, _: &str) -> Result<(), String> {
    options.without_effect.push("lockfile");
    Ok(())
}

pub(super) fn reexec(options: &mut Options, _: &str) -> Result<(), String> {
    options.without_effect.push("reexec-as");
    Ok(())
}

pub(super) fn drop_variable(options: &mut Options, value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains('=') {
        return Err(format!("{value:?}: no variable has that name"));
    }
    options.dropped.push(value.to_owned());
    Ok(())
}

/// A whole number from 1.
fn count(value: &str, most: u32) -> Result<u32, String> {
    let number = value.trim().parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{value:?}: expected a whole number from 1 to {most}"))
}

pub(super) fn number(options: &mut Options, value: &str) -> Result<(), String> {
    options.number = count(value, MOST_WORKERS)?;
    Ok(())
}

pub(super) fn backlog(options: &mut Options, value: &str) -> Result<(), String> {
    options.backlog = count(value, i32::MAX as u32)? as i32;
    Ok(())
}

pub(super) fn max_unacked(options: &mut Options, value: &str) -> Result<(), String> {
    options.max_unacked = Some(count(value, u32::MAX)?);
    Ok(())
}

pub(super) fn max_additional(options: &mut Options, value: &str) -> Result<(), String> {
    options.max_additional = Some(count(value, u32::MAX)?);
    Ok(())
}

/// Seconds, as a number that may have a fraction.
fn span(value: &str) -> Result<Duration, String> {
    let seconds = value.trim().parse().ok().filter(|seconds: &f64| (0.0..=LONGEST_S).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("{value:?}: expected a number of seconds"))
}

pub(super) fn ack(options: &mut Options, value: &str) -> Result<(), String> {
    options.ack_after = match value {
        "manual" => None,
        value => Some(span(value).map_err(|fault| format!("{fault}, or manual"))?),
    };
    Ok(())
}

pub(super) fn seconds(options: &mut Options, value: &str) -> Result<(), String> {
    options.respawn_after = span(value)?;
    Ok(())
}

pub(super) fn signal_timeout(options: &mut Options, value: &str) -> Result<(), String> {
    options.signal_timeout = Some(span(value)?);
    Ok(())
}

/// `ALL[:WORKERS[:RENICE]]`; either number may be left out, and no renice is run.
pub(super) fn nice(options: &mut Options, value: &str) -> Result<(), String> {
    let level = |text: &str| match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(level) if (-20..=19).contains(&level) => Ok(Some(level)),
            Ok(_) | Err(_) => Err(format!("{text:?}: expected a niceness from -20 to 19")),
        },
    };
    let mut parts = value.splitn(3, ':');
    options.nice = (level(parts.next().unwrap_or(""))?, level(parts.next().unwrap_or(""))?);
    Ok(())
}
