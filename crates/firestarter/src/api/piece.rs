//! A piece of the journal on the wire: bytes as text, two digits each. Made by the daemon, put together by `cli/`.

use serde::{Deserialize, Serialize};

use super::reply::{Answer, Outcome};

/// What a request gets, whatever it is, from a daemon that cannot read its journal.
pub(crate) const UNREADABLE: &str = "journal_unreadable";
/// JSON-RPC's number for that.
const UNREADABLE_NUMBER: i64 = -32100;

/// To `journal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The number of the last snapshot: pieces under the same number belong together.
    pub(crate) serial: u32,
    /// How long the whole is by now.
    pub(crate) length: u64,
    /// With the first piece: the head of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<String>,
    /// The bytes.
    hex: String,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Piece {
    /// Of two parts, one behind the other.
    pub(crate) fn new(serial: u32, length: u64, head: Option<String>, parts: [&[u8]; 2]) -> Piece {
        let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
        let hex = parts.concat().iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect();
        Piece { serial, length, head, hex }
    }

    /// The bytes; none if the text means none.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let half = |digit: u8| char::from(digit).to_digit(16).map(|half| half as u8);
        let pairs = self.hex.as_bytes().chunks(2);
        pairs.map(|pair| Some(half(*pair.first()?)? << 4 | half(*pair.get(1)?)?)).collect()
    }
}

impl Outcome {
    /// The answer to `journal`.
    pub(crate) fn piece(piece: Piece) -> Outcome {
        Outcome::Answer(Answer::Piece(piece))
    }

    /// The daemon cannot read its journal, and says what that means.
    pub(crate) fn unreadable(message: String) -> Outcome {
        Outcome::Other { code: UNREADABLE_NUMBER, message, machine: UNREADABLE.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_reply, reply_line};
    use super::*;

    #[test]
    fn a_piece_goes_over_the_wire() {
        let all: Vec<u8> = (0..=255).collect();
        let piece = Piece::new(7, 300, Some("head\n\n".into()), all.split_at(100).into());
        let line = reply_line(&1.into(), &Outcome::piece(piece.clone()));
        let Outcome::Answer(Answer::Piece(read)) = parse_reply(line.as_bytes()).unwrap().outcome else {
            panic!("{line}")
        };
        assert_eq!((read.bytes(), read), (Some(all), piece));
        for hex in ["0", "0g", "é"] {
            assert_eq!(Piece { serial: 0, length: 0, head: None, hex: hex.into() }.bytes(), None, "{hex}");
        }
    }
}
