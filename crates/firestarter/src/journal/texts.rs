//! Short texts in shared memory, each with a number beside it: what workers say of themselves, and the names of what they
//! have stored. Called by the table and the ledger. A text is whole or, after a crash in the middle, empty: what it was
//! read from still stands then, and it is set again.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::memory::{Memory, Part};
use crate::sys::maps::SharedWords;

/// All texts. Each has a head, a word for its length, below the number; behind the heads stand the bytes. So texts that are
/// empty take no memory: only to look at a word of shared memory takes a page.
pub(super) struct Texts {
    words: SharedWords,
    count: usize,
}

/// No text has more bytes.
pub(crate) const LONGEST: usize = 256;
const WORDS: usize = LONGEST / 8;

impl Texts {
    /// So many texts, all empty.
    pub(super) fn new(memory: Memory<'_>, part: Part, count: usize) -> io::Result<Texts> {
        Ok(Texts { words: memory.words(part, count * (1 + WORDS))?, count })
    }

    /// Empties a text, and sets its number to 0.
    pub(super) fn clear(&self, index: usize) {
        self.head(index).store(0, Release);
    }

    /// Sets a text, cut at a character's end if it is too long.
    pub(super) fn set(&self, index: usize, text: &str) {
        let text = &text[..end_of(text)];
        let number = u64::from(self.number(index)) << 32;
        self.head(index).store(number, Release);
        for (place, bytes) in text.as_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.word(index, place).store(u64::from_le_bytes(word), Release);
        }
        self.head(index).store(number | text.len() as u64, Release);
    }

    pub(super) fn get(&self, index: usize) -> String {
        let length = (self.head(index).load(Acquire) as u32 as usize).min(LONGEST);
        let words = (0..length.div_ceil(8)).map(|place| self.word(index, place).load(Acquire));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(length).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn set_number(&self, index: usize, number: u32) {
        let length = self.head(index).load(Acquire) & u64::from(u32::MAX);
        self.head(index).store(u64::from(number) << 32 | length, Release);
    }

    pub(super) fn number(&self, index: usize) -> u32 {
        (self.head(index).load(Acquire) >> 32) as u32
    }

    fn head(&self, index: usize) -> &AtomicU64 {
        &self.words[index]
    }

    fn word(&self, index: usize, word: usize) -> &AtomicU64 {
        &self.words[self.count + index * WORDS + word]
    }
}

/// Where a text is cut.
fn end_of(text: &str) -> usize {
    let fits = (0..=LONGEST.min(text.len())).rev();
    fits.into_iter().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_set_and_cut_between_characters() {
        let texts = Texts::new(Memory::Loose, Part::Said, 3).unwrap();
        let long = "ä".repeat(LONGEST);
        for text in ["", "a", "eight by", "nine byte", &long] {
            texts.set(1, text);
            assert_eq!(texts.get(1), text[..text.len().min(LONGEST)]);
        }
        texts.set(1, &format!("x{long}"));
        assert_eq!(texts.get(1).len(), LONGEST - 1);
        texts.set_number(1, 7);
        texts.set(1, "short");
        assert_eq!((texts.get(1).as_str(), texts.number(1)), ("short", 7));
        assert_eq!([texts.get(0), texts.get(2)], [String::new(), String::new()]);
        texts.clear(1);
        assert_eq!((texts.get(1).as_str(), texts.number(1)), ("", 0));
    }
}
