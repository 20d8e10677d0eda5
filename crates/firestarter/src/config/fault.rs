//! What is wrong with a configuration: every fault with its place, sorted, and shown with the line it is on.
//!
//! The rest of the room notes faults in a `Ledger` while it reads; `load` and `parse` hand them out as `Faults`. Never
//! decides what is a fault, only which ones merely follow from a broken syntax.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// So many faults are kept; who has more starts with these.
const MOST: usize = 200;
/// So many characters of a line are shown at most, and so many of them before the fault.
const SHOWN: usize = 160;
const SHOWN_BEFORE: usize = 60;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Operation, object, cause; in lower case.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) advice: Option<String>,
    /// From 1; 0 if the fault is the file's as a whole.
    pub(crate) line: usize,
    /// In characters from 1; 0 if the fault is the file's as a whole.
    pub(crate) column: usize,
    excerpt: Option<Excerpt>,
}

/// The line of a fault as shown, and what of it is underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    shown: String,
    /// As wide as what stands before the fault.
    indent: String,
    width: usize,
}

/// All that is wrong with a configuration, sorted by place. Never empty.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) struct Faults {
    path: PathBuf,
    faults: Vec<Fault>,
    omitted: usize,
}

impl Faults {
    /// A fault of the file as a whole; `message` names the file.
    pub(crate) fn whole(path: &Path, message: String, advice: &str) -> Faults {
        let fault = Fault { message, advice: Some(advice.to_owned()), line: 0, column: 0, excerpt: None };
        Faults { path: path.to_owned(), faults: vec![fault], omitted: 0 }
    }

    /// The faults, by place.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }
}

impl<'f> IntoIterator for &'f Faults {
    type Item = &'f Fault;
    type IntoIter = std::slice::Iter<'f, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.path, &self.faults, "")?;
        if self.omitted > 0 {
            writeln!(f, "and {} more", self.omitted)?;
        }
        let count = self.faults.len() + self.omitted;
        let noun = if count == 1 { "fault" } else { "faults" };
        write!(f, "{count} {noun} in {}; nothing was started", self.path.display())
    }
}

/// What can run and will hardly be meant, sorted by place. Shown, it is empty or ends with a newline.
#[derive(Clone, Debug)]
pub(crate) struct Warnings {
    path: PathBuf,
    /// By place.
    pub(crate) warnings: Vec<Fault>,
}

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.path, &self.warnings, "warning: ")
    }
}

/// Each with its place, its line and its advice.
fn show(f: &mut fmt::Formatter<'_>, path: &Path, faults: &[Fault], mark: &str) -> fmt::Result {
    let path = path.display();
    let gutter = faults.last().map_or(0, |last| last.line).to_string().len().max(5);
    for fault in faults {
        match &fault.excerpt {
            None => writeln!(f, "{mark}{}", fault.message)?,
            Some(Excerpt { shown, indent, width }) => {
                writeln!(f, "{path}:{}:{}: {mark}{}", fault.line, fault.column, fault.message)?;
                writeln!(f, "{:>gutter$} | {shown}", fault.line)?;
                writeln!(f, "{:>gutter$} | {indent}{}", "", "^".repeat(*width))?;
            }
        }
        if let Some(advice) = &fault.advice {
            writeln!(f, "{:>gutter$} = help: {advice}", "")?;
        }
    }
    Ok(())
}

/// A fault as noted: its place is still a range of bytes.
#[derive(Debug)]
pub(crate) struct Noted {
    span: Range<usize>,
    message: String,
    advice: Option<String>,
    kind: Kind,
}

/// What a fault rests on, which decides whether it still counts when the syntax is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is the syntax that is broken, and nothing can be said about the rest up to this byte.
    Syntax { reach: usize },
    /// What stands there is wrong.
    Meaning,
    /// Something does not stand there; it may be in what could not be read.
    Absence,
}

impl Noted {
    /// Adds what to write instead.
    pub(crate) fn advise(&mut self, advice: impl Into<String>) {
        self.advice = Some(advice.into());
    }
}

/// The faults noted so far, of one text.
#[derive(Debug)]
pub(crate) struct Ledger<'t> {
    lines: Lines<'t>,
    noted: Vec<Noted>,
    warned: Vec<Noted>,
}

impl<'t> Ledger<'t> {
    /// An empty ledger for `text`.
    pub(crate) fn new(text: &'t str) -> Ledger<'t> {
        Ledger { lines: Lines::of(text), noted: Vec::new(), warned: Vec::new() }
    }

    /// The text that is read.
    pub(crate) fn text(&self) -> &'t str {
        self.lines.text
    }

    /// How many faults there are by now.
    pub(crate) fn count(&self) -> usize {
        self.noted.len()
    }

    /// Notes that what stands there is wrong.
    pub(crate) fn note(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Noted {
        self.push(span, message.into(), Kind::Meaning)
    }

    /// Notes what can run and will hardly be meant.
    pub(crate) fn warn(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Noted {
        let index = self.warned.len();
        self.warned.push(Noted { span, message: message.into(), advice: None, kind: Kind::Meaning });
        &mut self.warned[index]
    }

    /// Notes that something is missing; not shown if the syntax is broken anywhere.
    pub(crate) fn note_absence(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Noted {
        self.push(span, message.into(), Kind::Absence)
    }

    /// Notes broken syntax; to be called before any other. Of several on a line the first is shown.
    pub(crate) fn note_syntax(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Noted {
        let reach = span.start;
        self.push(span, message.into(), Kind::Syntax { reach })
    }

    /// As `note_syntax`, when all up to `reach` was misread.
    pub(crate) fn note_syntax_up_to(
        &mut self,
        reach: usize,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Noted {
        self.push(span, message.into(), Kind::Syntax { reach })
    }

    fn push(&mut self, span: Range<usize>, message: String, kind: Kind) -> &mut Noted {
        let index = self.noted.len();
        self.noted.push(Noted { span, message, advice: None, kind });
        &mut self.noted[index]
    }

    /// Line and column of a byte, as people count them.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let (line, start) = self.lines.find(offset);
        (line + 1, self.text()[start..self.lines.clamp(offset)].chars().count() + 1)
    }

    /// All that was noted and does not merely follow from something else; if that is nothing, the warnings.
    pub(crate) fn finish(self, path: &Path) -> Result<Warnings, Faults> {
        let lines = self.lines;
        let mut blind = Blind::default();
        let mut kept: Vec<Noted> = Vec::new();
        for noted in self.noted {
            let first = lines.find(noted.span.start).0;
            let last_of = |end: usize| lines.find(end).0.max(first);
            let keep = match noted.kind {
                Kind::Syntax { reach } => blind.syntax_fault(first, last_of(reach), &noted.message, &lines),
                Kind::Meaning => !blind.touches(first, last_of(noted.span.end)),
                Kind::Absence => blind.lines.is_empty(),
            };
            if keep {
                kept.push(noted);
            }
        }
        kept.sort_by_key(|noted| noted.span.start);
        let omitted = kept.len().saturating_sub(MOST);
        kept.truncate(MOST);
        let mut warned = self.warned;
        warned.sort_by_key(|noted| noted.span.start);
        let [faults, warnings] = [kept, warned].map(|list| list.into_iter().map(|noted| lines.fault(noted)).collect());
        let (faults, path): (Vec<Fault>, _) = (faults, path.to_owned());
        match faults.is_empty() {
            true => Ok(Warnings { path, warnings }),
            false => Err(Faults { path, faults, omitted }),
        }
    }
}

/// The lines about which nothing can be said, because their syntax is broken.
#[derive(Default)]
struct Blind {
    lines: BTreeSet<usize>,
}

impl Blind {
    /// Whether one of the lines from `first` to `last` is among them.
    fn touches(&self, first: usize, last: usize) -> bool {
        self.lines.range(first..=last).next().is_some()
    }

    /// Takes note of broken syntax; says whether that is more than a consequence of what is known already.
    fn syntax_fault(&mut self, first: usize, last: usize, message: &str, lines: &Lines<'_>) -> bool {
        let new = !self.touches(first, first);
        self.lines.extend(first..=last);
        // After these, what follows was read as part of something else, until a table's header puts it right.
        if new && (lines.is_header(first) || message.contains("no value")) {
            let next = (first + 1..lines.starts.len()).find(|line| lines.is_header(*line));
            self.lines.extend(first + 1..next.unwrap_or(lines.starts.len()));
        }
        new
    }
}

/// A text and where its lines start.
#[derive(Debug)]
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut starts: Vec<usize> = starts.collect();
        // What follows the last newline is a line only if there is anything.
        if starts.len() > 1 && text.ends_with('\n') {
            starts.pop();
        }
        Lines { text, starts }
    }

    /// The byte at or before `offset` where a character starts, or the end of the last line.
    fn clamp(&self, offset: usize) -> usize {
        let end = self.text.strip_suffix('\n').unwrap_or(self.text).len();
        let mut offset = offset.min(end);
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// The line (from 0) of a byte, and the byte where that line starts.
    fn find(&self, offset: usize) -> (usize, usize) {
        let offset = self.clamp(offset);
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        (line, self.starts[line])
    }

    /// The line's text, without its end.
    fn line(&self, line: usize) -> &'t str {
        let start = self.starts[line];
        let line = &self.text[start..];
        let line = line.find('\n').map_or(line, |end| &line[..end]);
        line.strip_suffix('\r').unwrap_or(line)
    }

    fn is_header(&self, line: usize) -> bool {
        self.line(line).trim_start().starts_with('[')
    }

    fn fault(&self, noted: Noted) -> Fault {
        let (line, start) = self.find(noted.span.start);
        let text = self.line(line);
        let from = (self.clamp(noted.span.start) - start).min(text.len());
        let to = self.clamp(noted.span.end.max(noted.span.start)).saturating_sub(start).clamp(from, text.len());
        let before = text[..from].chars().count();
        let excerpt = Excerpt::cut(text, before, text[from..to].chars().count().max(1));
        Fault {
            message: noted.message,
            advice: noted.advice,
            line: line + 1,
            column: before + 1,
            excerpt: Some(excerpt),
        }
    }
}

impl Excerpt {
    /// A line with `before` characters before the fault; of a long line, the part around it.
    fn cut(line: &str, before: usize, width: usize) -> Excerpt {
        // A control character would act on the terminal instead of being seen.
        let mut shown: Vec<char> =
            line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let mut before = before;
        if shown.len() > SHOWN {
            let skipped = before.saturating_sub(SHOWN_BEFORE);
            let cut_behind = shown.len() - skipped > SHOWN;
            shown = shown.into_iter().skip(skipped).take(SHOWN).collect();
            if cut_behind {
                shown.push('…');
            }
            if skipped > 0 {
                shown.insert(0, '…');
                before = before - skipped + 1;
            }
        }
        let indent = shown.iter().take(before).map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let width = width.min(shown.len().saturating_sub(before)).max(1);
        Excerpt { shown: shown.into_iter().collect(), indent, width }
    }
}
