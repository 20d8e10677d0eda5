//! Keeps the borders and the style of the design, so that nobody has to remember them: which room may import which,
//! `unsafe` only in `sys/`, short functions and files, and what is written where. Each failure says what to do.

#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use source::Source;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Every Rust file below a folder, with its path from the workspace's root.
fn sources(folder: &str) -> Vec<Source> {
    let (root, mut folders, mut found) = (root(), vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).expect("a folder").flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(entry.path()).expect("a source file");
                found.push(Source::new(&path.display().to_string(), &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{folder} holds no sources: this test looks at the wrong place");
    found
}

fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn rooms_import_what_they_may() {
    let program = sources("crates/firestarter/src");
    report(program.iter().flat_map(rooms::imports).collect());
}

#[test]
fn every_exception_is_still_needed() {
    let program = sources("crates/firestarter/src");
    report(rooms::unused_exceptions(&program));
}

#[test]
fn the_core_touches_nothing() {
    report(sources("crates/core/src").iter().flat_map(rooms::core_imports).collect());
}

#[test]
fn sources_are_written_as_agreed() {
    let all = ["crates/core/src", "crates/firestarter/src"].map(sources).concat();
    report(all.iter().flat_map(rules::of_sources).collect());
}

#[test]
fn tests_are_written_as_agreed() {
    let all = ["crates/core/tests", "crates/firestarter/tests"].map(sources).concat();
    report(all.iter().flat_map(rules::of_tests).collect());
}

#[test]
fn whoever_may_take_our_dependencies_may_take_us() {
    const FREE: [&str; 8] =
        ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Unicode-DFS-2016", "Zlib"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let output = cargo.output().expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let unfree = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none");
        let free = rules::is_satisfied(licence, |word| FREE.contains(&word));
        (!free).then(|| format!("{}: licence {licence}: replace it, or decide and add it here", package["name"]))
    });
    report(unfree.collect());
}

mod tests_of_this_test {
    use super::rules::is_satisfied;
    use super::source::Source;
    use super::{rooms, rules};

    fn faults(check: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> String {
        check(&Source::new(path, text)).join("\n")
    }

    fn of(path: &str, text: &str) -> String {
        let path = format!("crates/firestarter/src/{path}");
        faults(rooms::imports, &path, text) + &faults(rules::of_sources, &path, text)
    }

    #[test]
    fn imports_across_a_border_are_found_in_every_form() {
        for text in [
            "//! x\nuse crate::daemon::Setup;\n",
            "//! x\nuse crate::{api, daemon};\n",
            "//! x\nuse crate::{api::{self, Id}, daemon::{Setup, open}};\n",
            "//! x\nfn f() { crate::daemon::live() }\n",
            "//! x\nuse super::daemon::Setup;\n",
            "//! x\npub(in crate::daemon) fn f() {}\n",
        ] {
            assert!(of("cli/mod.rs", text).contains("cli may not import daemon"), "{text}: {}", of("cli/mod.rs", text));
        }
        assert!(of("cli/deep.rs", "//! x\nuse super::super::daemon::Setup;\n").contains("cli may not import daemon"));
        assert!(of("sys/fds.rs", "//! x\nuse firestarter_core::ids::Pid;\n").contains("sys may not import core::ids"));
        assert!(of("config/mod.rs", "//! x\nuse firestarter_core::{spec::A, view::B};\n").contains("core::view"));
        assert_eq!(of("cli/mod.rs", "//! x\nuse crate::api::Id;\nuse crate::cli::args;\nuse super::api;\n"), "");
        assert_eq!(of("cli/mod.rs", "//! x\n// use crate::daemon::Setup;\nconst A: &str = \"crate::daemon\";\n"), "");
        assert_eq!(of("cli/mod.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use crate::daemon::Setup;\n}\n"), "");
        assert!(of("attic/mod.rs", "//! x\n").contains("is no room"));
    }

    #[test]
    fn the_core_may_not_reach_out() {
        let core = |text: &str| faults(rooms::core_imports, "crates/core/src/x.rs", text);
        assert!(core("//! x\nuse std::vec::Vec;\n").contains("core may not import std"));
        assert!(core("//! x\nuse libc::c_int;\n").contains("core may not import libc"));
        assert!(core("//! x\nfn f() { std::process::exit(1) }\n").contains("core may not import std"));
        assert_eq!(
            core("//! x\nuse alloc::vec::Vec;\nuse core::fmt;\nuse serde::Serialize;\nuse crate::ids::{A, B};\n"),
            ""
        );
        assert_eq!(core("//! x\nmod rollout;\nuse rollout::Rollout;\n"), "");
    }

    #[test]
    fn each_rule_finds_its_fault() {
        let body = |lines: usize| format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        for (path, text, fault) in [
            ("cli/a.rs", "fn f() {}\n".to_owned(), "begin"),
            ("cli/a.rs", "//! x\nfn f() { unsafe { g() } }\n".to_owned(), "unsafe"),
            ("cli/a.rs", body(69), "70 lines"),
            ("cli/a.rs", format!("//! x\n{}", "const A: u8 = 0;\n".repeat(400)), "400 lines"),
            ("cli/utils.rs", "//! x\n".to_owned(), "utils"),
            ("daemon/handler/mod.rs", "//! x\n".to_owned(), "handler"),
            ("cli/a.rs", "//! x\n// ------ helpers ------\n".to_owned(), "banner"),
            ("cli/a.rs", "//! x\n/* ==================== */\n".to_owned(), "banner"),
            ("cli/a.rs", "//! x\nfn f() { g().unwrap(); }\n".to_owned(), "unwrap"),
            ("cli/a.rs", "//! x\n// TODO: later\n".to_owned(), "TODO"),
            ("cli/a.rs", "//! x\nfn f() { todo!() }\n".to_owned(), "todo!"),
        ] {
            let found = of(path, &text);
            assert!(found.contains(fault), "{fault} is not found in {text:?}: {found}");
            assert!(found.starts_with(&format!("crates/firestarter/src/{path}:")), "it names file and line: {found}");
        }
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        let body = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(68));
        let tests = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() { g().unwrap(); }\n".repeat(500));
        let comments =
            "//! x\n// A | table | row\n//! |---|---|\n/// unwrap() and TODO-like words: \"unsafe\"\nfn f() {}\n";
        for text in
            [body.as_str(), &tests, comments, "//! x\nconst A: char = '\"';\nfn f() { g(\"}\").unwrap_or(b'{') }\n"]
        {
            assert_eq!(of("cli/a.rs", text), "", "{text}");
        }
        assert_eq!(of("sys/a.rs", "//! x\n// SAFETY: x\nfn f() { unsafe { g() } }\n"), "");
    }

    #[test]
    fn licences_are_read_as_expressions() {
        let mit = |word: &str| word == "MIT" || word == "Unicode-3.0";
        for licence in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_satisfied(licence, mit), "{licence}");
        }
        for licence in ["none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND GPL-3.0", ""] {
            assert!(!is_satisfied(licence, mit), "{licence}");
        }
    }
}
