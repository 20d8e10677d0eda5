//! The keys of the pace: their forms, their faults, and what contradicts itself.

use std::time::Duration;

use firestarter_core::spec::{Share, Surge};

use super::{web, web_fault};

#[test]
fn forms() {
    assert_eq!(web("surge = 'auto'").spec.surge, Surge::Auto);
    assert_eq!(web("surge = 3").spec.surge, Surge::Fixed(Share::Count(3)));
    assert_eq!(web("surge = '25%'").spec.surge, Surge::Fixed(Share::Percent(25)));
    assert_eq!(web("surge = '100%'").spec.surge, Surge::Fixed(Share::Percent(100)));
    let spec = web("surge = 0\nmax_unavailable = 1\nsoak = '2m'\nkill_old_delay = 5").spec;
    assert_eq!((spec.surge, spec.max_unavailable), (Surge::Fixed(Share::Count(0)), Share::Count(1)));
    assert_eq!((spec.soak, spec.kill_old_delay), (Duration::from_secs(120), Duration::from_secs(5)));
    let spec = web("max_age = '1d'\nmax_memory = '512M'").spec;
    assert_eq!((spec.max_age, spec.max_memory), (Some(Duration::from_secs(86_400)), Some(512 << 20)));
    assert_eq!(web("max_memory = 1048576").spec.max_memory, Some(1 << 20));
    let off = web("max_age = 0\nmax_memory = 0").spec;
    assert_eq!((off.max_age, off.max_memory), (None, None));
    web("ack = 'none'\nsurge = 0\nmax_unavailable = 0");
    web("ack = 'none'\nsurge = 'auto'\nmax_unavailable = '50%'");
}

#[test]
fn faults_of_one_value() {
    let share = "a number of workers, or a percentage of them from \"0%\" to \"100%\"";
    for (lines, expected) in [
        ("surge = 'most'", format!("3:9 surge: expected \"auto\", {share}, found the string \"most\" = write surge = 1, or \"25%\"")),
        ("surge = '101%'", format!("3:9 surge: expected \"auto\", {share}, found the string \"101%\" = write surge = 1, or \"25%\"")),
        ("surge = '+5%'", format!("3:9 surge: expected \"auto\", {share}, found the string \"+5%\" = write surge = 1, or \"25%\"")),
        (
            "max_unavailable = '2'",
            format!(
                "3:19 max_unavailable: expected {share}, found the string \"2\" = write max_unavailable = 2 for workers, \
                 or \"25%\" for a part of them"
            ),
        ),
        ("surge = -1", "3:9 surge: expected a whole number from 0 to 10000, found -1 = write surge = 2".to_owned()),
        ("max_unavailable = 0.5", format!("3:19 max_unavailable: expected {share}, found 0.5 = write max_unavailable = 1, or \"25%\"")),
        (
            "max_memory = 512",
            "3:14 max_memory: expected at least 1 MiB, found 512 = no worker is so small; write max_memory = \"512M\" for \
             mebibytes"
                .to_owned(),
        ),
        (
            "max_memory = '512 MB'",
            "3:14 max_memory: expected a number of bytes, or a string with a unit, found the string \"512 MB\" = write \
             max_memory = \"512M\"; the units are K, M, G and T, of 1024 each; KB, MB and so on are of 1000"
                .to_owned(),
        ),
        (
            "max_memory = '100K'",
            "3:14 max_memory: expected at least 1 MiB, found the string \"100K\" = no worker is so small; write max_memory \
             = \"512M\""
                .to_owned(),
        ),
        (
            "soak = '5'",
            "3:8 soak: expected a unit after the number, found the string \"5\" = write soak = 5 for seconds, or add a \
             unit: ms, s, m, h, d"
                .to_owned(),
        ),
    ] {
        assert_eq!(web_fault(lines), expected, "{lines}");
    }
}

#[test]
fn contradictions() {
    let none = "write another ack, such as ack = \"timer\", or remove";
    for (lines, expected) in [
        (
            "surge = 0",
            "3:1 surge and max_unavailable are both 0: no upgrade could begin = write surge = 1, or max_unavailable = 1"
                .to_owned(),
        ),
        (
            "surge = '0%'\nmax_unavailable = '10%'\nnumprocesses = 4",
            "3:1 surge is 0, and max_unavailable, 10% of 4, is 0 too: no upgrade could begin = write surge = 1, or \
             max_unavailable = 1"
                .to_owned(),
        ),
        (
            "ack = 'none'\nsoak = 5",
            format!("4:1 soak: with ack = \"none\" nobody knows whether a new worker is ready = {none} soak"),
        ),
        (
            "ack = 'none'\nsurge = 1",
            format!("4:1 surge: with ack = \"none\" old workers end before new ones start = {none} surge"),
        ),
        (
            "kill_old_delay = 1\nack = 'none'",
            format!("3:1 kill_old_delay: with ack = \"none\" old workers end before new ones start = {none} kill_old_delay"),
        ),
        (
            "ack_timeout = 5\nmax_age = 5",
            "4:1 max_age is not longer than ack_timeout: workers would be too old before they are ready = make max_age \
             longer"
                .to_owned(),
        ),
        (
            "ack = 'manual'\nsoak = '1h'\nmax_age = 60",
            "5:1 max_age is not longer than soak: new workers would be too old before they are trusted = make max_age \
             longer"
                .to_owned(),
        ),
    ] {
        assert_eq!(web_fault(lines), expected, "{lines}");
    }
}
