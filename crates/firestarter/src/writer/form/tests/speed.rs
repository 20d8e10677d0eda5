//! How many bytes a second take their form. Run by hand: it asserts nothing, since a loaded machine proves nothing.

use rustix::time::{clock_gettime, ClockId};

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
            println!("{what:>14}  {form:?}: {:.0} MB/s", measured(form, lines.as_bytes()));
        }
    }
}

/// MB of input a second of this thread's own time: others who use the machine do not count. The median of several tries of
/// the same length, each long enough for a clock to say something.
fn measured(form: Form, lines: &[u8]) -> f64 {
    const BYTES: usize = 64 << 20;
    let mut out = Vec::new();
    let calls = BYTES / lines.len();
    let mut tries: Vec<f64> = (0..7)
        .map(|_| {
            let begun = own_seconds();
            for _ in 0..calls {
                out.clear();
                shape(form, &voice(), TIME, std::hint::black_box(lines), &mut out);
                std::hint::black_box(&out);
            }
            (calls * lines.len()) as f64 / (own_seconds() - begun) / 1e6
        })
        .collect();
    tries.sort_by(f64::total_cmp);
    tries[tries.len() / 2]
}

fn own_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
