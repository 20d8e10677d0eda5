//! See `firestarter_fuzz::probe_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firestarter_fuzz::probe_answer(bytes));
