//! A source file, taken apart as far as the rules need: its code without comments, strings and tests, line by line, and
//! its comments.

/// A source file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the workspace's root.
    pub(crate) path: String,
    /// Its lines as written.
    pub(crate) lines: Vec<String>,
    /// The same lines; comments are blanked out, and what stands between quotes.
    pub(crate) code: Vec<String>,
    /// The same lines; only comments are left.
    pub(crate) comments: Vec<String>,
    /// Whether a line belongs to what is compiled for tests alone.
    pub(crate) test: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = separate(text);
        let split = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let code = split(&code);
        let test = in_tests(&code);
        Source { path: path.to_owned(), lines: split(text), comments: split(&comments), test, code }
    }

    /// A fault at a line, counted from 0.
    pub(crate) fn fault(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    /// Lines of code that are not for tests alone, with their numbers from 0.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().filter(|(line, _)| !self.test[*line]).map(|(line, code)| (line, code.as_str()))
    }
}

/// The text twice, of the same shape: with the code alone, and with the comments alone.
fn separate(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (end, is_comment, is_text) = token(&chars, at);
        for (index, &c) in chars[at..end].iter().enumerate() {
            let newline = c == '\n';
            let edge = is_text && (index == 0 || at + index + 1 == end);
            let in_code = newline || !is_comment && (!is_text || edge);
            code.push(if in_code { c } else { ' ' });
            comments.push(if newline || is_comment { c } else { ' ' });
        }
        at = end;
    }
    (code, comments)
}

/// Where the token at `at` ends, and whether it is a comment or a text between quotes.
fn token(chars: &[char], at: usize) -> (usize, bool, bool) {
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..chars.len()).find(|i| chars[*i..].starts_with(&end)).map_or(chars.len(), |i| i + end.len())
    };
    let rest = &chars[at..];
    let before = at.checked_sub(1).map(|i| chars[i]);
    match rest {
        ['/', '/', ..] => (find(at, "\n").max(at + 1), true, false),
        ['/', '*', ..] => (find(at + 2, "*/"), true, false),
        ['r', '"' | '#', ..] if !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            match rest.get(1 + hashes) {
                Some('"') => (find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes))), false, true),
                Some(_) | None => (at + 1, false, false),
            }
        }
        ['"', ..] => (quoted(chars, at, '"'), false, true),
        ['\'', '\\', ..] => (quoted(chars, at, '\''), false, true),
        ['\'', _, '\'', ..] => (at + 3, false, true),
        _ => (at + 1, false, false),
    }
}

fn quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// Marks each item under `#[cfg(test)]`, up to its closing brace or semicolon.
fn in_tests(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut line = 0;
    while line < code.len() {
        if !code[line].trim_start().starts_with("#[cfg(test)]") {
            line += 1;
            continue;
        }
        let end = item_end(code, line);
        test[line..=end].fill(true);
        line = end + 1;
    }
    test
}

/// The line on which the item that begins here ends.
pub(crate) fn item_end(code: &[String], begin: usize) -> usize {
    let (mut depth, mut parens) = (0, 0);
    for (line, text) in code.iter().enumerate().skip(begin) {
        for c in text.chars() {
            match c {
                '(' | '[' => parens += 1,
                ')' | ']' => parens -= 1,
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return line;
                    }
                }
                ';' if depth == 0 && parens == 0 => return line,
                _ => {}
            }
        }
    }
    code.len().saturating_sub(1)
}
