//! Text as it stands between the quotes of a JSON string (RFC 8259). Used by `form`.
//!
//! Escaped is what must be: the quote, the backslash and the control characters below 0x20. DEL, U+2028 and U+2029 pass, as
//! JSON allows. A byte that belongs to no UTF-8 becomes the text `\xNN`, in JSON `\\xNN`: what was there can be read, but
//! not told from a worker that wrote just that text.

/// Adds text, which is UTF-8 already.
pub(super) fn escape_text(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let clean = clean(rest);
        out.extend_from_slice(&rest[..clean]);
        let Some(byte) = rest.get(clean) else { return };
        escape_byte(*byte, out);
        rest = &rest[clean + 1..];
    }
}

/// Adds bytes of any kind.
pub(super) fn escape_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        escape_text(chunk.valid().as_bytes(), out);
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            out.extend_from_slice(&hex(*byte));
        }
    }
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        other => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&hex(other));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// How many bytes stand before the first that must be escaped. Eight are looked at in one step: this is what takes the time
/// of a log in JSON.
fn clean(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return text.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
        }
        rest = after;
    }
    text.len() - rest.len() + rest.iter().position(|byte| must_be_escaped(*byte)).unwrap_or(rest.len())
}

fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The top bit of every byte that must be escaped. A borrow may mark bytes above one that is marked rightly, so only the
/// lowest mark says something.
fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & TOPS
}
