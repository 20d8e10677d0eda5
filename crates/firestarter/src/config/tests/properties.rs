//! What holds for any text: parsers never panic, and what is written comes back.

use std::ffi::OsString;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{address, duration, environment_file, output, words};
use super::parsed;
use crate::nearest;

/// A word between quotes, so that it stands for itself.
fn quoted(word: &str) -> String {
    let parts: Vec<String> = word.split('\'').map(|part| format!("'{part}'")).collect();
    parts.join("\"'\"")
}

/// A span of milliseconds, as somebody may write it.
fn written(mut millis: u64) -> String {
    let mut text = String::new();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= factor || (unit == "ms" && text.is_empty()) {
            text += &format!("{}{unit}", millis / factor);
            millis %= factor;
        }
    }
    text
}

/// Text made of what the grammars treat in a special way, and some that they do not.
fn crafted() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[web]\n",
        "exec_start",
        "numprocesses",
        "socket_address",
        "environments",
        "restart",
        "stdoutlog",
        "giveup",
        "upgrader",
        "umask",
        "user",
        "uid",
        "control_socket",
        "environment_file",
        "size:",
        "time:1:D:U:",
        "{ address = ",
        " = ",
        "=",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        ".",
        "#",
        "\n",
        "\r\n",
        "\\",
        "\\u0000",
        "$A",
        "${",
        "}",
        "$",
        "|",
        "é",
        "\u{1b}",
        "\0",
        "1",
        "-",
        "1e9",
        "0x",
        "true",
        "tcp::",
        "udp::",
        "@",
        "/",
        ":80",
        "500ms",
        "2m",
        "\u{feff}",
        "\t",
        "A=b",
        "10000000000000000000000",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Parses, shows the faults, and checks that each place is one.
fn try_file(text: &str) {
    if let Err(faults) = parsed(text) {
        assert!(faults.to_string().ends_with("in f.toml; nothing was started"));
        let mut before = (0, 0);
        for fault in &faults {
            let place = (fault.line, fault.column);
            assert!(place >= before, "sorted by place");
            before = place;
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            if fault.line > 0 {
                let line = text.split('\n').nth(fault.line - 1).unwrap();
                assert!((1..=line.chars().count() + 1).contains(&fault.column), "{fault:?} in {line:?}");
            }
        }
    }
}

proptest! {
    // A failure prints its input; nothing is written into the source tree.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_parsed_or_refused(text in "\\PC*|(?s).{0,200}") {
        try_file(&text);
    }

    #[test]
    fn any_crafted_file_is_parsed_or_refused(text in crafted()) {
        try_file(&text);
        try_file(&format!("[web]\nexec_start = {text}"));
    }

    #[test]
    fn any_value_is_parsed_or_refused(text in "(?s).{0,60}", crafted in crafted()) {
        for text in [text, crafted] {
            let _ = words::parse(&text);
            let _ = duration::parse(&text);
            let _ = address::parse(&text, std::path::Path::new("/srv"));
            let _ = output::log(&text, std::path::Path::new("/srv"));
            let _ = output::log(&format!("size:{text}"), std::path::Path::new("/srv"));
            let _ = environment_file::variable(text.as_bytes());
            let _ = nearest::nearest(&text, ["exec_start", "restart"]);
        }
    }

    #[test]
    fn mentions_stand_where_they_say(text in crafted()) {
        if let Ok((_, mentions)) = words::parse_with_mentions(&text) {
            for mention in mentions {
                let there = &text[mention.offset..mention.offset + mention.length];
                let braced = format!("${{{}}}", mention.name);
                let plain = format!("${}", mention.name);
                prop_assert!([plain, braced].contains(&there.to_owned()));
            }
        }
    }

    #[test]
    fn quoted_words_come_back(list in prop::collection::vec("(?s).{0,12}|[ '\"$|{}\\\\]{0,8}", 0..6)) {
        let text: Vec<String> = list.iter().map(|word| quoted(word)).collect();
        let words = words::parse(&text.join(" ")).unwrap();
        let back = words::expand(&words, |_| None).unwrap();
        prop_assert_eq!(back, list.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn durations_come_back(millis in 0..=315_360_000_000_u64) {
        prop_assert_eq!(duration::parse(&written(millis)), Ok(Duration::from_millis(millis)));
        let seconds = format!("{}.{:03}s", millis / 1000, millis % 1000);
        prop_assert_eq!(duration::parse(&seconds), Ok(Duration::from_millis(millis)));
    }

    #[test]
    fn tcp_addresses_come_back(ip: std::net::IpAddr, port: u16) {
        let address = std::net::SocketAddr::new(ip, port);
        prop_assert_eq!(
            address::parse(&address.to_string(), std::path::Path::new("/")),
            Ok(address::Address::Tcp(address))
        );
    }

    #[test]
    fn a_slip_of_one_letter_is_found(index in 0..10_usize, letter in "[a-z]") {
        let mut slip = "exec_start".to_owned();
        slip.replace_range(index..index + 1, &letter);
        prop_assert_eq!(nearest::nearest(&slip, ["numprocesses", "exec_start"]), Some("exec_start"));
    }
}
