//! See `firestarter_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firestarter_fuzz::request(bytes));
