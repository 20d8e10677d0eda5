//! The reference: what it says of a default is what holds, its examples can be written, and the page in `docs/` is the
//! one that the table makes. `UPDATE=1 cargo test -p firestarter --bin firestarter page` writes it.

use std::path::Path;

use firestarter_core::spec::Policy;

use super::super::keys::{Default, Key, Scope, TOPICS};
use super::super::{page, Group};
use super::parsed;

/// A group with `line`, among keys without which `key` has no effect.
fn group_with(key: &Key, line: &str) -> Group {
    let needs: &[(&str, &str)] = match key.name {
        "upgrader_active_sec" | "upgrader_timeout" => &[("upgrader", "'x'")],
        "start_immediate" => &[("socket_address", "[80]")],
        "stdin_socket" => &[("socket_address", "[{ name = 'http', address = 80 }]")],
        _ => &[],
    };
    let needs = needs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
    let text = match key.name {
        "exec_start" => format!("[web]\nenvironments = ['PORT=1']\n{line}\n"),
        _ => format!("[web]\nexec_start = 'run'\n{needs}{line}\n"),
    };
    parsed(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}")).groups.remove(0)
}

#[test]
fn documented_defaults_are_what_holds_without_the_key() {
    let mut compared = 0;
    for key in Scope::Group.keys() {
        let Default::Value(default) = key.default else { continue };
        let written = group_with(key, &format!("{} = {default}", key.name));
        assert_eq!(written, group_with(key, ""), "{} = {default}", key.name);
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    let Default::Value(default) = Scope::Daemon.find("stop_timeout").unwrap().default else { panic!("no default") };
    assert_eq!(default, Policy::default().stop_timeout.as_secs().to_string());
}

#[test]
fn examples_can_be_written_and_say_something_else_than_the_default() {
    for key in Scope::Group.keys() {
        // The tests' file and group of variables and users.
        let example = match key.name {
            "environment_file" => key.example.replace("/etc/web.env", "/etc/b.env"),
            "user" => key.example.replace("www-data", "www"),
            "group" => key.example.replace("www-data", "staff"),
            _ => key.example.to_owned(),
        };
        let with = group_with(key, &format!("{} = {example}", key.name));
        if key.name != "exec_start" {
            assert_ne!(with, group_with(key, ""), "{} = {example} changes nothing", key.name);
        }
        assert!(key.about.ends_with('.') && !key.about.contains("  "), "{}", key.name);
        assert!(TOPICS.iter().any(|topic| topic.keys.iter().any(|other| other.name == key.name)));
    }
    let key = Scope::Daemon.find("stop_timeout").unwrap();
    let text = format!("[firestarter]\n{} = {}\n[web]\nexec_start = 'a'", key.name, key.example);
    assert!(parsed(&text).unwrap().stop_timeout.is_some());
}

#[test]
fn the_page_is_the_one_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page::whole()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let advice = "docs/configuration.md is not what the table of keys says; write it with\n  UPDATE=1 cargo test -p firestarter \
                  --bin firestarter page";
    assert!(there == page::whole(), "{advice}");
}

#[test]
fn the_page_names_every_key_and_spelling() {
    let page = page::whole();
    for key in Scope::Group.keys() {
        assert!(page.contains(&format!("\n### {}\n", key.name)), "{}", key.name);
        for alias in key.aliases {
            assert!(page.contains(&format!("`{alias}`")), "{alias}");
            assert_eq!(page::of_key(alias), page::of_key(key.name));
        }
        let help = page::of_key(key.name).unwrap();
        assert!(help.lines().all(|line| line.len() < 200) && help.contains("example:  "), "{help}");
    }
    assert!(page.contains("backlog` | 4096 |"), "the number comes from the code");
    assert_eq!(page::of_key("zzz"), None);
    let both = page::of_key("stop_timeout").unwrap();
    assert!(both.contains("\nstop_timeout, in [firestarter]\n"), "{both}");
}

#[test]
fn examples_in_the_page_have_no_faults() {
    let page = page::whole();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        parsed(block).unwrap_or_else(|faults| panic!("{block}\n{faults}"));
    }
}
