//! What stands before a line that is passed on to Firestarter's own output: whose it is, in colour on a terminal; under
//! systemd's journal how serious it is. [`OwnStyle`] is what a stream wants, found by `start`; a [`Label`] is made once for each
//! pipe and put before its lines by the sinks. Neither knows what a line says, but for the level that it may begin with.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;

use rustix::fs::{fstat, Stat};

use crate::journal::{Speaker, Stream};

/// How lines stand on one of the streams that Firestarter was started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnStyle {
    /// Behind whose they are.
    pub(crate) marked: bool,
    /// That in the colour of its group.
    pub(crate) coloured: bool,
    /// Behind their level, which journald takes off again.
    pub(crate) levelled: bool,
}

impl OwnStyle {
    /// What a stream wants. `env` looks up a variable; `several_groups` pass something on.
    pub(crate) fn of(stream: BorrowedFd<'_>, env: &dyn Fn(&str) -> Option<OsString>, several_groups: bool) -> OwnStyle {
        let terminal = stream.is_terminal();
        // no-color.org: set and not empty.
        let no_color = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env("TERM").is_some_and(|term| term == "dumb");
        let journal = env("JOURNAL_STREAM");
        OwnStyle {
            marked: several_groups || terminal,
            coloured: terminal && !no_color && !dumb,
            levelled: fstat(stream).is_ok_and(|stat| is_journal(&stat, journal)),
        }
    }
}

/// Whether a stream is the one that `$JOURNAL_STREAM` names by device and inode, in decimal (systemd.exec(5)). That the
/// variable is there says little: who was started by a service and redirected has it too.
fn is_journal(stat: &Stat, journal_stream: Option<OsString>) -> bool {
    journal_stream.is_some_and(|named| named == *format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// What stands before each line of a pipe.
pub(super) struct Label {
    level: Option<u8>,
    mark: Vec<u8>,
}

/// Cyan, yellow, green, magenta, bright blue, bright cyan: to be read on dark and on light. Red would look like a fault.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "94", "96"];

impl Label {
    /// `place`: the group's, in the order of the configuration.
    pub(super) fn new(style: OwnStyle, place: u32, group: &str, speaker: Speaker, stream: Stream) -> Label {
        let name = match speaker {
            Speaker::Slot(slot) => format!("{group}/{slot}"),
            Speaker::StopHook => format!("{group}/exec_stop"),
            Speaker::Upgrader => format!("{group}/upgrader"),
        };
        // Info and warning of sd-daemon(3): most programs write all that they log to standard error, so to call it an
        // error would show every healthy service in red.
        let (bar, level) = match stream {
            Stream::Stdout => ('|', b'6'),
            Stream::Stderr => ('!', b'4'),
        };
        let colour = COLOURS[place as usize % COLOURS.len()];
        let mark = match style {
            OwnStyle { marked: false, .. } => String::new(),
            // Journald shows escapes as bytes, and takes a line with them for no text.
            OwnStyle { coloured: true, levelled: false, .. } => format!("\x1b[0;{colour}m{name} {bar}\x1b[0m "),
            OwnStyle { .. } => format!("{name} {bar} "),
        };
        Label { level: style.levelled.then_some(level), mark: mark.into_bytes() }
    }

    /// Whether lines stay as they are.
    pub(super) fn is_empty(&self) -> bool {
        self.level.is_none() && self.mark.is_empty()
    }

    /// Adds lines, each behind the label. The first one begins here, and the last one ends here: what its writer left open
    /// when it ended gets a newline, or what Firestarter says next would stand behind it in one line.
    pub(super) fn put(&self, lines: &[u8], out: &mut Vec<u8>) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let (own_level, line) = match self.level {
                Some(_) => split_level(line),
                None => (None, line),
            };
            if let Some(level) = own_level.or(self.level) {
                out.extend_from_slice(&[b'<', level, b'>']);
            }
            out.extend_from_slice(&self.mark);
            out.extend_from_slice(line);
        }
        if lines.last().is_some_and(|last| *last != b'\n') {
            out.push(b'\n');
        }
    }
}

/// The level with which a worker began its line itself (sd-daemon(3)): it knows better, and it must stand before the mark.
fn split_level(line: &[u8]) -> (Option<u8>, &[u8]) {
    match line {
        [b'<', level @ b'0'..=b'7', b'>', rest @ ..] => (Some(*level), rest),
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::pty::{grantpt, ioctl_tiocgptpeer, openpt, unlockpt, OpenptFlags};

    use super::*;

    const PLAIN: OwnStyle = OwnStyle { marked: true, coloured: false, levelled: false };
    const COLOURED: OwnStyle = OwnStyle { coloured: true, ..PLAIN };
    const LEVELLED: OwnStyle = OwnStyle { levelled: true, ..PLAIN };

    fn labelled(style: OwnStyle, speaker: Speaker, stream: Stream, lines: &str) -> String {
        let (label, mut out) = (Label::new(style, 0, "web", speaker, stream), Vec::new());
        assert_eq!(label.is_empty(), style == OwnStyle::default());
        label.put(lines.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_stand_behind_whose_they_are() {
        for (speaker, stream, label) in [
            (Speaker::Slot(0), Stream::Stdout, "web/0 | "),
            (Speaker::Slot(12), Stream::Stderr, "web/12 ! "),
            (Speaker::StopHook, Stream::Stdout, "web/exec_stop | "),
            (Speaker::Upgrader, Stream::Stderr, "web/upgrader ! "),
        ] {
            let lines = labelled(PLAIN, speaker, stream, "a\n\nopen");
            assert_eq!(lines, format!("{label}a\n{label}\n{label}open\n"));
            assert_eq!(labelled(PLAIN, speaker, stream, ""), "");
        }
        assert_eq!(labelled(OwnStyle::default(), Speaker::Slot(0), Stream::Stderr, "<3>a\nb\n"), "<3>a\nb\n");
    }

    #[test]
    fn groups_have_colours_in_turn() {
        let label = |place| {
            let mut out = Vec::new();
            Label::new(COLOURED, place, "web", Speaker::Slot(1), Stream::Stdout).put(b"a\n", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(label(0), "\x1b[0;36mweb/1 |\x1b[0m a\n");
        let mut six: Vec<String> = (0..6).map(label).collect();
        assert_eq!(label(6), six[0]);
        assert_eq!(label(u32::MAX), six[3]);
        six.sort();
        six.dedup();
        assert_eq!(six.len(), 6);
    }

    #[test]
    fn levels_stand_before_all_and_a_workers_own_counts() {
        let (stdout, stderr) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(labelled(LEVELLED, Speaker::Slot(0), stdout, "a\nb\n"), "<6>web/0 | a\n<6>web/0 | b\n");
        assert_eq!(labelled(LEVELLED, Speaker::Slot(0), stderr, "a\n"), "<4>web/0 ! a\n");
        assert_eq!(
            labelled(LEVELLED, Speaker::Slot(0), stdout, "<3>a\n<8>b\n<3"),
            "<3>web/0 | a\n<6>web/0 | <8>b\n<6>web/0 | <3\n"
        );
        let bare = OwnStyle { marked: false, ..LEVELLED };
        assert_eq!(labelled(bare, Speaker::Slot(0), stdout, "a\n<2>b\n"), "<6>a\n<2>b\n");
        // Never an escape for the journal.
        let both = OwnStyle { coloured: true, ..LEVELLED };
        assert_eq!(labelled(both, Speaker::Slot(0), stdout, "a\n"), "<6>web/0 | a\n");
    }

    fn style(stream: BorrowedFd<'_>, variables: &[(&str, &str)], several_groups: bool) -> OwnStyle {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        OwnStyle::of(stream, &env, several_groups)
    }

    #[test]
    fn a_terminal_has_colours_unless_somebody_objects() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        for (variables, expected) in [
            (&[("TERM", "xterm")][..], COLOURED),
            (&[("NO_COLOR", "")], COLOURED),
            (&[("NO_COLOR", "1")], PLAIN),
            (&[("TERM", "dumb")], PLAIN),
        ] {
            assert_eq!(style(terminal.as_fd(), variables, false), expected, "{variables:?}");
        }
        let (_reader, pipe) = rustix::pipe::pipe().unwrap();
        assert_eq!(style(pipe.as_fd(), &[("TERM", "xterm")], true), PLAIN);
        assert_eq!(style(pipe.as_fd(), &[("TERM", "xterm")], false), OwnStyle::default());
    }

    #[test]
    fn the_journal_is_the_very_stream_that_is_named() {
        let (socket, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let name_of = |stream: BorrowedFd<'_>| {
            let stat = fstat(stream).unwrap();
            format!("{}:{}", stat.st_dev, stat.st_ino)
        };
        let (name, other) = (name_of(socket.as_fd()), name_of(other.as_fd()));
        assert!(style(socket.as_fd(), &[("JOURNAL_STREAM", &name)], false).levelled);
        for wrong in [other.as_str(), "", ":", "8:", &name[1..], &format!("{name} "), &format!("0{name}")] {
            assert!(!style(socket.as_fd(), &[("JOURNAL_STREAM", wrong)], false).levelled, "{wrong:?}");
        }
        assert!(!style(socket.as_fd(), &[], false).levelled);
    }
}
