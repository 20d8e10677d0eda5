//! What a worker's answer over HTTP means. Pure; called by `probes` with all that has been read so far.
//!
//! The status line decides, and nothing behind it is waited for: who sends it serves, however long its headers are. Only
//! an interim answer (1xx) must be read to its end, as another one follows.

use firestarter_core::event::Answer;

/// Where nothing is decided after so many bytes, it is no answer.
pub(crate) const LONGEST: usize = 8 * 1024;

/// So many headers may an interim answer have.
const HEADERS: usize = 32;

/// None: more must be read. At `LONGEST` there is always an answer. `good` are the first and the last good status.
pub(crate) fn judge(read: &[u8], good: (u16, u16)) -> Option<Answer> {
    let mut rest = read;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(rest);
        // With a reason, even an empty one, the status line has been read to its end.
        let status = response.code.filter(|_| response.reason.is_some());
        match (status, parsed) {
            (Some(100 | 102..=199), Ok(httparse::Status::Complete(head))) => {
                rest = rest.get(head..).filter(|_| head > 0)?;
            }
            (Some(100 | 102..=199) | None, Ok(_)) => return (read.len() >= LONGEST).then_some(Answer::Garbled),
            (Some(100 | 102..=199) | None, Err(_)) | (Some(0..100), _) => return Some(Answer::Garbled),
            (Some(status), _) if (good.0..=good.1).contains(&status) => return Some(Answer::Good),
            (Some(status), _) => return Some(Answer::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: (u16, u16) = (200, 399);

    fn judged(text: &str) -> Option<Answer> {
        judge(text.as_bytes(), GOOD)
    }

    #[test]
    fn the_status_line_decides() {
        assert_eq!(judged("HTTP/1.1 200 OK\r\n\r\nbody"), Some(Answer::Good));
        assert_eq!(judged("HTTP/1.0 204\r\n"), Some(Answer::Good), "no reason, no header yet");
        assert_eq!(judged("HTTP/1.1 399 \r\n"), Some(Answer::Good));
        assert_eq!(judged("HTTP/1.1 400 Bad\r\n"), Some(Answer::Status(400)));
        assert_eq!(judged("HTTP/1.1 500 Oh\r\nA: b\r\n\r\n"), Some(Answer::Status(500)));
        assert_eq!(judged("HTTP/1.1 101 Switching\r\n\r\n"), Some(Answer::Status(101)));
        assert_eq!(judged("HTTP/1.1 999 \r\n"), Some(Answer::Status(999)));
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\n", (201, 204)), Some(Answer::Status(200)));
        assert_eq!(judged("HTTP/1.1 200 OK"), None, "the line is not over");
        assert_eq!(judged(""), None);
    }

    #[test]
    fn interim_answers_are_gone_past() {
        assert_eq!(judged("HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(judged("HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 503 No\r\n"), Some(Answer::Status(503)));
        assert_eq!(judged("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), Some(Answer::Good));
        assert_eq!(judged("HTTP/1.1 100 Continue\r\n\r\ngarbage"), Some(Answer::Garbled));
    }

    #[test]
    fn what_is_no_http_is_garbled() {
        for text in
            ["SSH-2.0-OpenSSH\r\n", "\x16\x03\x01", "HTTP/2 200 OK\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 099 \r\n"]
        {
            assert_eq!(judged(text), Some(Answer::Garbled), "{text:?}");
        }
        assert_eq!(judged(&"\r\n".repeat(LONGEST / 2)), Some(Answer::Garbled));
        let endless = format!("HTTP/1.1 100 Continue\r\nA: {}", "x".repeat(LONGEST));
        assert_eq!(judged(&endless), Some(Answer::Garbled));
        let huge = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(1000));
        assert_eq!(judged(&huge), Some(Answer::Good), "a huge header is nobody's harm");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_at_the_limit_always(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            judge(&bytes, GOOD);
            bytes.resize(LONGEST, bytes.last().copied().unwrap_or(b'\n'));
            prop_assert!(judge(&bytes, GOOD).is_some());
        }

        #[test]
        fn what_is_decided_stays_decided(status in 200_u16..600, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut text = format!("HTTP/1.1 100 a\r\n\r\nHTTP/1.1 {status} x\r\n").into_bytes();
            for end in 0..text.len() {
                prop_assert_eq!(judge(&text[..end], GOOD), None);
            }
            let answer = judge(&text, GOOD);
            let expected = if status < 400 { Answer::Good } else { Answer::Status(status) };
            prop_assert_eq!(answer, Some(expected));
            text.extend(rest);
            prop_assert_eq!(judge(&text, GOOD), answer);
        }
    }
}
