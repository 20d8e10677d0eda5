//! Splits a command as written (`exec_start`) into words, by the grammar that is Firestarter's own: blanks split,
//! `"…"` and `'…'` quote and nothing expands inside, parts that touch are one word, `$NAME` and `${NAME}` stand for
//! variables, everything else is ordinary. There is no shell: an unquoted `|`, `<`, `>` or `;` is a fault.
//!
//! Called by `group` when the configuration is read, and by whoever spawns a worker, for `expand`. Never reads the
//! environment: the caller looks a variable up.

use std::ffi::OsString;
use std::fmt;

/// One argument of a command: its pieces, put together without anything between them. No pieces: the empty word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) Vec<Piece>);

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it is.
    Literal(String),
    /// The value of the variable of that name; never split again.
    Variable(String),
}

impl Word {
    /// The word that is `text` and nothing else: no quotes, no variables.
    pub(crate) fn literal(text: &str) -> Word {
        match text {
            "" => Word(Vec::new()),
            text => Word(vec![Piece::Literal(text.to_owned())]),
        }
    }
}

/// As it was meant when it was written, without quotes.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Variable(name) => write!(f, "${name}"),
        })
    }
}

/// Why a command is not made of words, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct WordFault {
    /// Bytes before the faulty place.
    pub(crate) offset: usize,
    /// Bytes that the faulty place takes.
    pub(crate) length: usize,
    /// What is wrong there.
    pub(crate) cause: WordCause,
}

/// What can be wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordCause {
    /// A quote without its second.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// Something that only a shell understands.
    #[error("an unquoted {0} means nothing here: there is no shell")]
    Operator(char),
    /// `${` without a name and `}` after it.
    #[error("expected a variable's name and }} after ${{")]
    Brace,
}

impl WordCause {
    /// What to write instead.
    pub(crate) fn advice(&self) -> String {
        match self {
            WordCause::OpenQuote(quote) => format!("close it with another {quote}, or quote the {quote} itself"),
            WordCause::Operator(operator) => {
                format!("quote the {operator}, or let a shell run it: sh -c '…'")
            }
            WordCause::Brace => "write ${NAME}, or quote the $".to_owned(),
        }
    }
}

/// A variable that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} is not set")]
pub(crate) struct Unset {
    /// Its name, without the `$`.
    pub(crate) name: String,
}

/// Where a command mentions a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The variable's name.
    pub(crate) name: String,
    /// Bytes before its `$`.
    pub(crate) offset: usize,
    /// Bytes from its `$` to its end.
    pub(crate) length: usize,
}

/// Splits a command into its words. There may be none.
#[cfg(test)]
pub(crate) fn parse(text: &str) -> Result<Vec<Word>, WordFault> {
    parse_with_mentions(text).map(|(words, _)| words)
}

/// As `parse`; and every variable mentioned, in order.
pub(crate) fn parse_with_mentions(text: &str) -> Result<(Vec<Word>, Vec<Mention>), WordFault> {
    let mut splitter = Splitter::default();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at + c.len_utf8()..];
        let taken = match c {
            ' ' | '\t' | '\n' | '\r' => {
                splitter.end_word();
                0
            }
            '"' | '\'' => {
                let length = rest.find(c).ok_or_else(|| fault(at, 1, WordCause::OpenQuote(c)))?;
                splitter.literal(&rest[..length]);
                length + 1
            }
            '|' | '<' | '>' | ';' => return Err(fault(at, 1, WordCause::Operator(c))),
            '$' => match variable(rest) {
                Some((name, length)) => {
                    splitter.variable(name, at, length + 1);
                    length
                }
                None if rest.starts_with('{') => return Err(fault(at, 2, WordCause::Brace)),
                None => {
                    splitter.literal("$");
                    0
                }
            },
            c => {
                splitter.literal(c.encode_utf8(&mut [0; 4]));
                0
            }
        };
        at += c.len_utf8() + taken;
    }
    splitter.end_word();
    Ok((splitter.words, splitter.mentions))
}

/// The words with every variable replaced by what `lookup` says.
pub(crate) fn expand(words: &[Word], lookup: impl Fn(&str) -> Option<OsString>) -> Result<Vec<OsString>, Unset> {
    let mut expanded = Vec::with_capacity(words.len());
    for word in words {
        let mut argument = OsString::new();
        for piece in &word.0 {
            match piece {
                Piece::Literal(text) => argument.push(text),
                Piece::Variable(name) => argument.push(lookup(name).ok_or_else(|| Unset { name: name.clone() })?),
            }
        }
        expanded.push(argument);
    }
    Ok(expanded)
}

/// The variable named right after a `$`, and how many bytes that takes. None: the `$` is ordinary or faulty.
fn variable(rest: &str) -> Option<(&str, usize)> {
    let name_length = |text: &str| text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (inner, braces) = match rest.strip_prefix('{') {
        Some(inner) => (inner, 2),
        None => (rest, 0),
    };
    let length = name_length(inner);
    let closed = braces == 0 || inner[length..].starts_with('}');
    (length > 0 && closed).then(|| (&inner[..length], length + braces))
}

fn fault(offset: usize, length: usize, cause: WordCause) -> WordFault {
    WordFault { offset, length, cause }
}

/// The words so far, and the one that is being read.
#[derive(Default)]
struct Splitter {
    words: Vec<Word>,
    word: Option<Word>,
    mentions: Vec<Mention>,
}

impl Splitter {
    fn literal(&mut self, text: &str) {
        let pieces = &mut self.word.get_or_insert_default().0;
        match pieces.last_mut() {
            Some(Piece::Literal(before)) => before.push_str(text),
            Some(Piece::Variable(_)) | None if text.is_empty() => {}
            Some(Piece::Variable(_)) | None => pieces.push(Piece::Literal(text.to_owned())),
        }
    }

    fn variable(&mut self, name: &str, offset: usize, length: usize) {
        self.word.get_or_insert_default().0.push(Piece::Variable(name.to_owned()));
        self.mentions.push(Mention { name: name.to_owned(), offset, length });
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }
}
