//! What a worker tells by sd_notify(3), as bytes and as a value. Pure: called by `notify`, and by the fuzzing of it.

use std::time::Duration;

/// A longer datagram is nobody's message.
pub(crate) const LONGEST: usize = 4096;
/// A longer status is cut, in characters.
const LONGEST_STATUS: usize = 100;
/// A longer name of a descriptor is none, in bytes: systemd's limit.
const LONGEST_NAME: usize = 255;
/// What stands for the name of a descriptor that has none.
const UNNAMED: &str = "stored";

/// What stands in a datagram. Of a key that comes twice the first counts; what is not known means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `READY=1`.
    pub(crate) ready: bool,
    /// `RELOADING=1`.
    pub(crate) reloading: bool,
    /// `STOPPING=1`.
    pub(crate) stopping: bool,
    /// `STATUS=`, fit to be shown.
    pub(crate) status: Option<String>,
    /// `ERRNO=`.
    pub(crate) errno: Option<u32>,
    /// `MAINPID=`.
    pub(crate) main_pid: Option<u32>,
    /// `WATCHDOG=`.
    pub(crate) watchdog: Option<Watchdog>,
    /// `WATCHDOG_USEC=`.
    pub(crate) within: Option<Duration>,
    /// `EXTEND_TIMEOUT_USEC=`.
    pub(crate) extend: Option<Duration>,
    /// What becomes of descriptors.
    pub(crate) store: Option<Store>,
}

/// `WATCHDOG=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watchdog {
    /// `1`: it is well.
    Well,
    /// `trigger`: it is not.
    Trigger,
}

/// What becomes of descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// `FDSTORE=1`: those that came along are kept under this name; without `FDPOLL=0` for as long as their other end is
    /// there.
    Keep { name: String, polled: bool },
    /// `FDSTOREREMOVE=1`: those of this name go.
    Remove { name: String },
}

/// Reads a datagram. One that holds a zero byte, but for one at its end, means nothing. Nor does anything beside
/// `BARRIER=1`, and that only wants its descriptor to be closed, as it is when the datagram is taken.
pub(crate) fn parse(datagram: &[u8]) -> Message {
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    let lines = || text.split(|byte| *byte == b'\n');
    if text.contains(&0) || text.len() > LONGEST || lines().any(|line| line == b"BARRIER=1") {
        return Message::default();
    }
    let is_set = |flag: &str| lines().any(|line| line == flag.as_bytes());
    let value = |key: &str| lines().find_map(|line| line.strip_prefix(key.as_bytes()));
    let microseconds = |key| number(value(key)?).map(Duration::from_micros);
    Message {
        ready: is_set("READY=1"),
        reloading: is_set("RELOADING=1"),
        stopping: is_set("STOPPING=1"),
        status: value("STATUS=").map(shown),
        errno: value("ERRNO=").and_then(number).and_then(|errno| u32::try_from(errno).ok()),
        main_pid: value("MAINPID=").and_then(number).and_then(|pid| u32::try_from(pid).ok()),
        watchdog: match value("WATCHDOG=") {
            Some(b"1") => Some(Watchdog::Well),
            Some(b"trigger") => Some(Watchdog::Trigger),
            Some(_) | None => None,
        },
        within: microseconds("WATCHDOG_USEC="),
        extend: microseconds("EXTEND_TIMEOUT_USEC="),
        store: if is_set("FDSTOREREMOVE=1") {
            value("FDNAME=").and_then(name).map(|name| Store::Remove { name })
        } else if is_set("FDSTORE=1") {
            let name = value("FDNAME=").and_then(name).unwrap_or_else(|| UNNAMED.to_owned());
            Some(Store::Keep { name, polled: !is_set("FDPOLL=0") })
        } else {
            None
        },
    }
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// A status as it may be shown: no control characters, not long, blank for blank.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut shown: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).take(LONGEST_STATUS).collect();
    if text.chars().nth(LONGEST_STATUS).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// Not one that moves the cursor or turns the direction of writing.
fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A descriptor's name as `LISTEN_FDNAMES` can hold it: printable ASCII without `:`.
fn name(text: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| (b' '..127).contains(byte) && *byte != b':';
    let is_name = (1..=LONGEST_NAME).contains(&text.len()) && text.iter().all(allowed);
    is_name.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read() {
        let message = parse(
            b"READY=1\nRELOADING=1\nMONOTONIC_USEC=7\nSTOPPING=1\nSTATUS=Serving 3 clients\nERRNO=13\nMAINPID=42\n\
              WATCHDOG=1\nWATCHDOG_USEC=2500000\nEXTEND_TIMEOUT_USEC=1000\nFDSTORE=1\nFDNAME=db\nFDPOLL=0\nX_OWN=1\n",
        );
        let want = Message {
            ready: true,
            reloading: true,
            stopping: true,
            status: Some("Serving 3 clients".to_owned()),
            errno: Some(13),
            main_pid: Some(42),
            watchdog: Some(Watchdog::Well),
            within: Some(Duration::from_millis(2500)),
            extend: Some(Duration::from_millis(1)),
            store: Some(Store::Keep { name: "db".to_owned(), polled: false }),
        };
        assert_eq!(message, want);
    }

    #[test]
    fn what_is_not_exactly_a_key_and_its_value_means_nothing() {
        for nothing in [
            &b""[..],
            b"\n\n",
            b"READY=0",
            b"READY=1 ",
            b" READY=1",
            b"ready=1",
            b"READY=1\r\n",
            b"READY=1\0STOPPING=1",
            b"WATCHDOG=2",
            b"ERRNO=-1\nMAINPID=99999999999\nWATCHDOG_USEC=+5\nEXTEND_TIMEOUT_USEC=1.5\nFDNAME=x\nFDPOLL=0",
            b"ERRNO=\nWATCHDOG_USEC=18446744073709551616",
            b"FDSTOREREMOVE=1",
            b"FDSTOREREMOVE=1\nFDNAME=a:b",
            b"BARRIER=1\nREADY=1",
            &[b'A'; LONGEST + 1],
        ] {
            assert_eq!(parse(nothing), Message::default(), "{:?}", String::from_utf8_lossy(nothing));
        }
        assert!(parse(b"READY=1\0").ready, "one zero byte at the end is let pass");
        assert_eq!(parse(b"ERRNO=1\nERRNO=2").errno, Some(1), "the first counts");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_as_the_manual_has_it_is_read_so(
            [ready, reloading, stopping, polled] in proptest::array::uniform4(proptest::bool::ANY),
            status in proptest::option::of("[a-zA-Zäöü]{1,100}"),
            (errno, main_pid) in proptest::arbitrary::any::<(Option<u32>, Option<u32>)>(),
            (within, extend) in proptest::arbitrary::any::<(Option<u64>, Option<u64>)>(),
            name in "[ -9;-~]{1,255}",
            seed in proptest::num::u64::ANY,
        ) {
            let mut lines = vec![format!("FDSTORE=1\nFDNAME={name}"), "X_UNKNOWN=1".to_owned()];
            let flags = [(ready, "READY=1"), (reloading, "RELOADING=1"), (stopping, "STOPPING=1"), (!polled, "FDPOLL=0")];
            lines.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, line)| line.to_owned()));
            lines.extend(status.iter().map(|status| format!("STATUS={status}")));
            lines.extend(errno.map(|errno| format!("ERRNO={errno}")));
            lines.extend(main_pid.map(|pid| format!("MAINPID={pid}")));
            lines.extend(within.map(|within| format!("WATCHDOG_USEC={within}")));
            lines.extend(extend.map(|extend| format!("EXTEND_TIMEOUT_USEC={extend}")));
            // In any order.
            let turn = seed as usize % lines.len();
            lines.rotate_left(turn);
            let (within, extend) = (within.map(Duration::from_micros), extend.map(Duration::from_micros));
            let store = Some(Store::Keep { name, polled });
            let want = Message { ready, reloading, stopping, status, errno, main_pid, watchdog: None, within, extend, store };
            proptest::prop_assert_eq!(parse(lines.join("\n").as_bytes()), want);
        }

        #[test]
        fn no_bytes_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..5000)) {
            parse(&bytes);
        }
    }

    #[test]
    fn a_status_is_fit_to_be_shown() {
        let shown = |status: &[u8]| parse(&[b"STATUS=", status].concat()).status;
        assert_eq!(shown(b""), Some(String::new()));
        assert_eq!(shown(b"a\x1b[2Jb\tc\xff").as_deref(), Some("a [2Jb c\u{fffd}"));
        assert_eq!(shown("gpj.\u{202e}exe".as_bytes()).as_deref(), Some("gpj. exe"));
        let long = shown("ü".repeat(200).as_bytes()).unwrap_or_default();
        assert_eq!((long.chars().count(), long.chars().last()), (LONGEST_STATUS, Some('…')));
        assert_eq!(shown("ü".repeat(100).as_bytes()), Some("ü".repeat(100)));
    }

    #[test]
    fn names_of_descriptors_are_such_as_fit_into_a_list_with_colons() {
        let kept = |name: &[u8]| match parse(&[b"FDSTORE=1\nFDNAME=", name].concat()).store {
            Some(Store::Keep { name, polled: true }) => name,
            other => panic!("{other:?}"),
        };
        let longest = "x".repeat(LONGEST_NAME);
        for name in ["a", "with blank", "~", &longest] {
            assert_eq!(kept(name.as_bytes()), name);
        }
        for bad in ["", "a:b", "t\tb", "ä", &format!("{longest}x")] {
            assert_eq!(kept(bad.as_bytes()), UNNAMED);
        }
        assert_eq!(parse(b"FDSTORE=1").store, Some(Store::Keep { name: UNNAMED.to_owned(), polled: true }));
        assert_eq!(parse(b"FDNAME=a\nFDSTORE=1\nFDSTOREREMOVE=1").store, Some(Store::Remove { name: "a".to_owned() }));
    }
}
