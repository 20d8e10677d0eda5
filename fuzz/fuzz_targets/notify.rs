//! See `firestarter_fuzz::notify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firestarter_fuzz::notify(bytes));
