//! Programs of the tests that are written in C, built when a test first wants them.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

/// The tests' worker, built from `worker.c` when a test first wants it.
pub(crate) fn worker() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| build("worker"))
}

/// A worker that speaks sd_notify(3), built likewise from `notifier.c`.
pub(crate) fn notifier() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| build("notifier"))
}

/// A worker that is asked whether it serves, built likewise from `asked.c`.
pub(crate) fn asked() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| build("asked"))
}

fn build(name: &str) -> String {
    let built = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    // Under another name first: a test of another file may be running it.
    let fresh = format!("{built}-{}", std::process::id());
    let source = format!("{}/tests/harness/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let cc = Command::new("cc").args(["-O1", "-w", "-o", &fresh, &source]).status().expect("a C compiler, cc");
    assert!(cc.success(), "cc {source}");
    fs::rename(&fresh, &built).expect("rename");
    built
}
