//! How lines are shown: each behind whose it is, if several groups are; on a terminal in colours. Used by `reading`. It
//! writes to whatever it is given, and knows no source.

use std::io::{self, Write};

use regex_lite::Regex;

use super::line::Line;
use crate::api::Hook;

/// Where lines are shown.
pub(super) struct Show<'a> {
    pub(super) out: &'a mut dyn Write,
    /// Each line stands behind whose it is.
    pub(super) marked: bool,
    pub(super) coloured: bool,
    /// What matches is made to stand out.
    pub(super) grep: Option<Regex>,
}

/// One for each group in turn, in the order of the configuration: cyan, yellow, green, magenta, blue, and a bright cyan. Red
/// looks like an error.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 96];

impl Show<'_> {
    /// Shows a line, of the group in this place, or of several whose names are written together.
    pub(super) fn line(&mut self, name: &str, place: usize, line: &Line) -> io::Result<()> {
        if self.marked {
            let colour = COLOURS[place % COLOURS.len()];
            let (on, off) = if self.coloured { (format!("\x1b[{colour}m"), "\x1b[0m") } else { (String::new(), "") };
            write!(self.out, "{on}{}{} |{off} ", line.group.as_deref().unwrap_or(name), speaker(line))?;
        }
        self.text(line)?;
        // What has no end yet is left open where nothing else comes between.
        if line.ends || self.marked {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn text(&mut self, line: &Line) -> io::Result<()> {
        let (front, said) = line.text.split_at(line.said);
        self.out.write_all(front)?;
        match (&self.grep, std::str::from_utf8(said)) {
            (Some(regex), Ok(said)) if self.coloured => {
                let mut end = 0;
                for found in regex.find_iter(said).filter(|found| !found.is_empty()) {
                    write!(self.out, "{}\x1b[1;31m{}\x1b[0m", &said[end..found.start()], found.as_str())?;
                    end = found.end();
                }
                self.out.write_all(&said.as_bytes()[end..])
            }
            (Some(_) | None, _) => self.out.write_all(said),
        }
    }
}

/// What stands behind the group's name.
fn speaker(line: &Line) -> String {
    match (line.slot, line.hook) {
        (Some(slot), _) => format!("/{slot}"),
        (None, Some(Hook::ExecStop)) => "/exec_stop".to_owned(),
        (None, Some(Hook::Upgrader)) => "/upgrader".to_owned(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(marked: bool, coloured: bool, grep: Option<&str>, line: &Line) -> String {
        let mut out = Vec::new();
        let grep = grep.map(|regex| Regex::new(regex).unwrap());
        Show { out: &mut out, marked, coloured, grep }.line("web", 1, line).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn raw_or_marked_and_in_colours() {
        let line = Line { text: b"12:00 GET /get".to_vec(), said: 6, ends: true, ..Line::default() };
        assert_eq!(shown(false, false, None, &line), "12:00 GET /get\n");
        assert_eq!(shown(true, false, Some("GET"), &line), "web | 12:00 GET /get\n");
        assert_eq!(shown(true, true, None, &line), "\x1b[33mweb |\x1b[0m 12:00 GET /get\n");
        let found = "12:00 \x1b[1;31mG\x1b[0mET /g\x1b[1;31met\x1b[0m\n";
        assert_eq!(shown(false, true, Some("(G|et|x*)"), &line), found);
        let slot = Line { group: Some("api".into()), slot: Some(2), ..line.clone() };
        assert_eq!(shown(true, false, None, &slot), "api/2 | 12:00 GET /get\n");
        let hook = Line { hook: Some(Hook::ExecStop), ends: false, ..line };
        assert_eq!(shown(true, false, None, &hook), "web/exec_stop | 12:00 GET /get\n");
        assert_eq!(shown(false, false, None, &hook), "12:00 GET /get");
    }
}
