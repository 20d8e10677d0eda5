//! The words of `logs`. Called by `args`.

use super::{Given, Invocation, Opt, Usage};
use crate::api::Stream;
use crate::logs::{is_pattern, Order, Since};

/// Who follows and says no number sees so many lines of each log first, as with tail(1).
const LAST: u64 = 10;

impl Given {
    pub(super) fn logs(&self) -> Result<Invocation, Usage> {
        let names = self.operands.iter().map(|name| {
            let (group, slot) = self.target(name)?;
            Ok((group, slot.map(|slot| slot.0)))
        });
        let names = names.collect::<Result<_, Usage>>()?;
        let stream = match (self.has(Opt::Stdout), self.has(Opt::Stderr)) {
            (true, false) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (true, true) | (false, false) => None,
        };
        let (follow, since) = (self.has(Opt::Follow), self.since()?);
        let order = Order {
            names,
            slot: self.slot_option()?,
            stream,
            lines: self.lines(follow && since.is_none())?,
            since,
            grep: self.grep()?,
            follow,
        };
        Ok(Invocation::Logs { order, config: self.path(Opt::Config), socket: self.path(Opt::Socket) })
    }

    fn lines(&self, only_the_last: bool) -> Result<Option<u64>, Usage> {
        let Some(text) = self.text(Opt::Lines) else { return Ok(only_the_last.then_some(LAST)) };
        if text == "all" {
            return Ok(None);
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|_| digits) {
            Some(lines) => Ok(Some(lines)),
            None => Err(self.wrong(format!("-n: {text:?} is neither a number of lines nor all"))),
        }
    }

    fn since(&self) -> Result<Option<Since>, Usage> {
        let Some(text) = self.text(Opt::Since) else { return Ok(None) };
        match Since::parse(&text) {
            Some(since) => Ok(Some(since)),
            None => Err(self.wrong(format!("--since: {text:?} is no time; write 10m, 2h, 1d or 2026-01-31T12:00:00Z"))),
        }
    }

    fn slot_option(&self) -> Result<Option<u32>, Usage> {
        let Some(text) = self.text(Opt::Slot) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|_| digits) {
            Some(slot) => Ok(Some(slot)),
            None => Err(self.wrong(format!("--slot: {text:?} is no slot; slots are numbers from 0"))),
        }
    }

    fn grep(&self) -> Result<Option<String>, Usage> {
        let Some(text) = self.text(Opt::Grep) else { return Ok(None) };
        match is_pattern(&text) {
            Ok(()) => Ok(Some(text)),
            Err(error) => Err(self.wrong(format!("--grep: {text:?}: {error}"))),
        }
    }

    fn text(&self, opt: Opt) -> Option<String> {
        self.value(opt).map(|text| text.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use std::ffi::OsString;
    use std::time::Duration;

    fn order(text: &str) -> Result<Order, String> {
        match parse(text.split(' ').map(OsString::from)) {
            Ok(Invocation::Logs { order, .. }) => Ok(order),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(usage) => Err(usage.to_string()),
        }
    }

    #[test]
    fn what_is_wanted() {
        assert_eq!(order("logs"), Ok(Order::default()));
        assert_eq!(order("logs -f").unwrap().lines, Some(10));
        assert_eq!(order("logs -f -n all").unwrap().lines, None);
        assert_eq!(order("logs -f --since 1m").unwrap().lines, None);
        let all = Order {
            names: vec![("web".into(), Some(2)), ("api".into(), None)],
            slot: Some(1),
            stream: Some(Stream::Stderr),
            lines: Some(5),
            since: Some(Since::Ago(Duration::from_secs(3600))),
            grep: Some("a|b".into()),
            follow: true,
        };
        assert_eq!(order("logs web/2 -f -n5 --since 1h --stderr --slot 1 --grep a|b api"), Ok(all));
        assert_eq!(order("logs --stdout --stderr").unwrap().stream, None);
        let Ok(Invocation::Logs { config, socket, .. }) = parse(["logs", "-c", "x", "-d", "s"].map(OsString::from))
        else {
            panic!("no logs")
        };
        assert_eq!((config, socket), (Some("x".into()), Some("s".into())));
    }

    #[test]
    fn what_is_wrong() {
        for (text, want) in [
            ("logs -n x", "-n: \"x\" is neither a number of lines nor all"),
            ("logs -n +1", "-n: \"+1\" is neither a number of lines nor all"),
            ("logs --since soon", "--since: \"soon\" is no time; write 10m, 2h, 1d or 2026-01-31T12:00:00Z"),
            ("logs --slot -1", "--slot: \"-1\" is no slot; slots are numbers from 0"),
            ("logs web/x", "\"web/x\": after the / stands a slot, a number from 0: web/0"),
        ] {
            assert_eq!(order(text), Err(format!("{want}\nsee firestarter help logs")));
        }
        assert!(order("logs --grep (").unwrap_err().starts_with("--grep: \"(\": "));
    }
}
