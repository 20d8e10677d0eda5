//! How many bytes a second take their form. Run by hand: it asserts nothing, since a loaded machine proves nothing.

use std::time::Instant;

use super::{shape, voice, Form, FORMS, TIME};

/// `cargo test --release -p firestarter --bin firestarter speed_of_forms -- --ignored --nocapture`
#[test]
#[ignore = "prints numbers; run it in release mode"]
fn speed_of_forms() {
    let line = |text: &str, length: usize| {
        let mut line: String = text.chars().cycle().take(length - 1).collect();
        line.push('\n');
        line
    };
    let object = "{\"level\":\"info\",\"path\":\"/index.html\",\"status\":200,\"ms\":12.5,\"agent\":\"none of them\",\"id\":7}\n";
    for (what, line) in [
        ("20 bytes", line("abc def ", 20)),
        ("100 bytes", line("GET /index.html 200 ", 100)),
        ("1000 bytes", line("GET /index.html 200 ", 1000)),
        ("100, quotes", line("key=\"value\" ", 100)),
        ("100, umlauts", line("gr\u{fc}ne w\u{e4}lder ", 100)),
        ("an object", object.to_owned()),
    ] {
        let lines = line.repeat(256 * 1024 / line.len());
        for form in FORMS {
            println!("{what:>14}  {form:?}: {:.0} MB/s", best(form, lines.as_bytes()));
        }
    }
}

/// The best of several tries, in MB of input a second: the others were disturbed.
fn best(form: Form, lines: &[u8]) -> f64 {
    const CALLS: u32 = 40;
    let mut out = Vec::new();
    let tries = (0..10).map(|_| {
        let begun = Instant::now();
        for _ in 0..CALLS {
            out.clear();
            shape(form, &voice(), TIME, std::hint::black_box(lines), &mut out);
            std::hint::black_box(&out);
        }
        f64::from(CALLS) * lines.len() as f64 / begun.elapsed().as_secs_f64() / 1e6
    });
    tries.fold(0.0, f64::max)
}
