//! What must hold of each parser of bytes from outside, for any bytes. A parser's source is included as it is; it has to
//! stand by itself for that. Called by the targets in `fuzz_targets/` and, with the same corpus, by the ordinary tests
//! (`crates/firestarter/tests/fuzz.rs`).
//!
//! A new parser: a function here, a target, some files in `corpus/NAME/`, a line in the ordinary test.

#[allow(dead_code)]
#[path = "../../crates/firestarter/src/daemon/ack.rs"]
mod ack_line;
#[allow(dead_code, unused_imports)]
#[path = "../../crates/firestarter/src/api/mod.rs"]
mod api;
#[allow(dead_code)]
#[path = "../../crates/firestarter/src/daemon/message.rs"]
mod message;
#[allow(dead_code)]
#[path = "../../crates/firestarter/src/daemon/probe_answer.rs"]
mod probe;

use message::{Message, Store};

/// A datagram of sd_notify(3).
pub fn notify(bytes: &[u8]) {
    let message = message::parse(bytes);
    if let Some(status) = &message.status {
        assert!(status.chars().count() <= 100 && !status.chars().any(char::is_control), "{status:?}");
    }
    if let Some(Store::Keep { name, .. } | Store::Remove { name }) = &message.store {
        let fits = |byte: u8| byte != b':' && (b' '..127).contains(&byte);
        assert!((1..=255).contains(&name.len()) && name.bytes().all(fits), "{name:?}");
    }
    if bytes.split(|byte| *byte == b'\n').any(|line| line == b"BARRIER=1") {
        assert_eq!(message, Message::default());
    }
    if message.ready {
        assert!(bytes.windows(7).any(|part| part == b"READY=1"));
    }
}

/// A line of a worker socket.
pub fn ack(bytes: &[u8]) {
    let einhorns = ack_line::read(bytes, true);
    if let Some(signal) = einhorns {
        assert!(signal.is_none_or(|signal| (1..=64).contains(&signal.number())));
    }
    if let Some(signal) = ack_line::read(bytes, false) {
        assert_eq!(einhorns, Some(signal), "what is an ack in JSON is one for Einhorn");
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("an ack is JSON");
        assert_eq!(value["command"], "worker:ack");
    }
}

/// What a worker answers over HTTP when it is asked whether it serves. Whatever comes, in whatever portions: what is
/// decided once stays so, and at the limit something always is.
pub fn probe_answer(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(probe::LONGEST)];
    let mut decided = None;
    for end in 0..=bytes.len() {
        let judged = probe::judge(&bytes[..end], (200, 399));
        assert!(decided.is_none() || decided == judged, "{decided:?} {judged:?}");
        decided = judged;
    }
    assert!(decided.is_some() || bytes.len() < probe::LONGEST);
}

/// A line of the control socket.
pub fn request(bytes: &[u8]) {
    match api::parse(bytes) {
        Ok(request) => {
            let line = api::request_line(&request);
            assert_eq!(api::parse(line.as_bytes()), Ok(request), "{line}");
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}
