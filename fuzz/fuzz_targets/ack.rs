//! See `firestarter_fuzz::ack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firestarter_fuzz::ack(bytes));
