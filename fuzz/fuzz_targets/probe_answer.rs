//! What a worker answers over HTTP when it is asked whether it serves. Whatever comes, in whatever portions: what is
//! decided once stays so, and at the limit something always is.
#![no_main]

#[allow(dead_code)]
#[path = "../../crates/firestarter/src/daemon/probe_answer.rs"]
mod probe_answer;

use probe_answer::{judge, LONGEST};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let mut decided = None;
    for end in 0..=bytes.len() {
        let judged = judge(&bytes[..end], (200, 399));
        assert!(decided.is_none() || decided == judged, "{decided:?} {judged:?}");
        decided = judged;
    }
    assert!(decided.is_some() || bytes.len() < LONGEST);
});
