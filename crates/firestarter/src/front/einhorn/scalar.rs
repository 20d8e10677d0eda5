//! The scalars of YAML, as far as records have them. Called by `record`. Never sees more than the piece of a line, or of
//! the lines that belong to it.

use serde_json::{Number, Value};

/// What a value begins with.
pub(super) enum Scalar {
    /// All that it is.
    Whole(Value),
    /// A quote that is not closed yet.
    Open,
    /// `[` or `{`.
    Flow,
    /// `|` or `>`: the lines below it are the text.
    Block(Style),
    /// A tag, an anchor or an alias.
    Beyond,
}

/// How a block scalar is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    folded: bool,
    end: End,
}

/// What becomes of the newlines at a block's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    One,
    None,
    All,
}

impl Style {
    fn read(text: &str) -> Option<Style> {
        let (folded, rest) = match text.split_at_checked(1)? {
            ("|", rest) => (false, rest),
            (">", rest) => (true, rest),
            _ => return None,
        };
        // How deep it stands is seen from the first line.
        let end = match rest.split(" #").next()?.trim().trim_matches(|c: char| c.is_ascii_digit()) {
            "" => End::One,
            "-" => End::None,
            "+" => End::All,
            _ => return None,
        };
        Some(Style { folded, end })
    }

    /// The text of a block's lines.
    pub(super) fn text(self, lines: Vec<&str>) -> String {
        let depth = lines.iter().find(|line| !line.trim().is_empty());
        let depth = depth.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
        let mut text = String::new();
        for line in lines {
            // A line that stands less deep is empty, or has fewer blanks.
            let line = line.get(depth..).unwrap_or_else(|| line.trim_start_matches(' '));
            if self.folded && !line.is_empty() && text.ends_with('\n') && !text.ends_with("\n\n") {
                text.pop();
                text.push(' ');
            }
            text.push_str(line);
            text.push('\n');
        }
        let kept = text.trim_end_matches('\n').len();
        match self.end {
            End::All => {}
            End::None => text.truncate(kept),
            End::One if kept > 0 => text.truncate(kept + 1),
            End::One => text.clear(),
        }
        text
    }
}

/// Looks at a value.
pub(super) fn begin(text: &str) -> Scalar {
    let text = text.trim();
    match text.chars().next() {
        Some('"' | '\'') => match quoted_whole(text) {
            Some(string) => Scalar::Whole(Value::String(string)),
            None => Scalar::Open,
        },
        Some('[' | '{') => Scalar::Flow,
        Some('!' | '&' | '*' | '@' | '`' | '%') => Scalar::Beyond,
        Some('|' | '>') => Style::read(text).map_or(Scalar::Beyond, Scalar::Block),
        Some(_) | None => Scalar::Whole(plain(text)),
    }
}

/// Whether a value can have more lines: those in quotes end with the second.
pub(super) fn may_go_on(text: &str) -> bool {
    !text.trim_start().starts_with(['"', '\''])
}

/// Adds a line to a value that goes on.
pub(super) fn fold(whole: &mut String, line: &str) {
    let joined = whole.trim_end_matches(' ').len();
    whole.truncate(joined);
    if whole.starts_with('"') && whole.ends_with('\\') && !whole.ends_with("\\\\") {
        whole.pop();
    } else if !line.trim().is_empty() && !whole.ends_with('\n') {
        whole.push(' ');
    } else if line.trim().is_empty() {
        whole.push('\n');
    }
    whole.push_str(line.trim());
}

/// The key that a line begins with, and what stands after its colon.
pub(super) fn key(line: &str) -> Option<(String, &str)> {
    let (key, rest) = if line.starts_with(['"', '\'']) {
        let mut rest = line;
        let key = take_quoted(&mut rest)?;
        (key, rest.trim_start().strip_prefix(':')?)
    } else {
        let end = line
            .match_indices(':')
            .map(|(at, _)| at)
            .find(|at| matches!(line[at + 1..].chars().next(), None | Some(' ')))?;
        let (key, rest) = (line[..end].trim_end(), &line[end + 1..]);
        if key.is_empty() || key.starts_with(['[', '{', '!', '&', '*', '|', '>', '?']) || key.starts_with("- ") {
            return None;
        }
        (key.to_owned(), rest)
    };
    let after = rest.trim_start();
    match after.strip_prefix('#') {
        Some(_) => Some((key, "")),
        None if rest.is_empty() || rest.starts_with(' ') => Some((key, after)),
        None => None,
    }
}

/// Takes a scalar out of a flow collection. `is_key`: a colon ends it too.
pub(super) fn take_in_flow(rest: &mut &str, is_key: bool) -> Option<Value> {
    if rest.starts_with(['"', '\'']) {
        return take_quoted(rest).map(Value::String);
    }
    let ends = |(at, c): &(usize, char)| match c {
        ',' | '[' | ']' | '{' | '}' => true,
        ':' => is_key && *at > 0,
        _ => false,
    };
    let end = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
    let text = rest[..end].trim();
    if text.starts_with(['!', '&', '*', '|', '>', '%', '@', '`']) || text.is_empty() {
        return None;
    }
    *rest = &rest[end..];
    Some(plain(text))
}

/// A scalar as a key.
pub(super) fn as_key(value: &Value) -> String {
    match value {
        Value::String(string) => string.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A string in double quotes, for every reader of YAML: JSON's, and what YAML does not print is escaped too.
pub(super) fn quoted(string: &str) -> String {
    let mut text = String::with_capacity(string.len() + 2);
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn quoted_whole(text: &str) -> Option<String> {
    let mut rest = text;
    let string = take_quoted(&mut rest)?;
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some(string)
}

/// Takes a string in quotes, of which the first is there.
fn take_quoted(rest: &mut &str) -> Option<String> {
    let mut string = String::new();
    let mut chars = rest.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote && quote == '\'' && rest[at + 1..].starts_with('\'') => {
                chars.next();
                string.push('\'');
            }
            c if c == quote => {
                *rest = &rest[at + c.len_utf8()..];
                return Some(string);
            }
            '\\' if quote == '"' => {
                let (_, code) = chars.next()?;
                let digits = match code {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    code => {
                        string.push(named(code)?);
                        continue;
                    }
                };
                let mut value = 0;
                for _ in 0..digits {
                    value = value << 4 | chars.next()?.1.to_digit(16)?;
                }
                string.push(surrogates(value, &mut chars)?);
            }
            c => string.push(c),
        }
    }
    None
}

/// JSON writes what is beyond four digits as two escapes.
fn surrogates(value: u32, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    if !(0xd800..0xdc00).contains(&value) {
        return char::from_u32(value);
    }
    if (chars.next()?.1, chars.next()?.1) != ('\\', 'u') {
        return None;
    }
    let mut low = 0;
    for _ in 0..4 {
        low = low << 4 | chars.next()?.1.to_digit(16)?;
    }
    let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x10000 + ((value - 0xd800) << 10) + low)
}

/// The character that an escape of one letter stands for.
fn named(code: char) -> Option<char> {
    Some(match code {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        '"' | '\\' | '/' | ' ' => code,
        _ => return None,
    })
}

/// What a scalar without quotes is.
fn plain(text: &str) -> Value {
    let text = text.find(" #").map_or(text, |at| text[..at].trim_end());
    let text = if text.starts_with('#') { "" } else { text };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.bytes().any(|byte| byte.is_ascii_digit())
        || !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        return None;
    }
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}
