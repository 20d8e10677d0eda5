//! The output that Firestarter was started with, as workers' lines pass on to it. Who reads there may be slow or stand
//! still, and no worker may wait for that: so much is kept, what comes on top of it is dropped and counted, and the number
//! stands where the lines are missing. Used by the writer's loop by way of `Sink`.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::lines::{Join, Seam};
use crate::say::{Mouth, LONGEST};

pub(super) struct Own {
    mouth: Mouth,
    /// What was not taken yet, from `at` on.
    waiting: Vec<u8>,
    at: usize,
    seam: Seam,
    /// Nothing is taken in before all that waits is written.
    full: bool,
    /// Nobody ever will, as far as the kernel can tell: there is no waiting for room.
    broken: bool,
    /// Lines that found nobody who reads.
    dropped: u64,
}

/// So much is kept for a slow reader.
const MUCH: usize = 1024 * 1024;

impl Own {
    pub(super) fn new(stream: BorrowedFd<'static>) -> Own {
        Own {
            mouth: Mouth::new(stream),
            waiting: Vec::new(),
            at: 0,
            seam: Seam::default(),
            full: false,
            broken: false,
            dropped: 0,
        }
    }

    /// Passes on a run of lines of one pipe, each line behind the label, if there is one.
    pub(super) fn put(&mut self, from: u64, label: &[u8], run: &[u8]) {
        if self.full {
            self.flush();
        }
        self.full |= self.waiting.len() - self.at > MUCH;
        if self.full {
            self.dropped += run.split_inclusive(|byte| *byte == b'\n').count() as u64;
            // What follows of a line that was dropped in part is no line.
            self.seam.closes(from);
            return;
        }
        let join = self.seam.join(from);
        if join == Join::Parts {
            self.waiting.push(b'\n');
        }
        if label.is_empty() {
            self.waiting.extend_from_slice(run);
        } else {
            for (line, first) in run.split_inclusive(|byte| *byte == b'\n').zip((0..).map(|index| index == 0)) {
                if !(first && join == Join::GoesOn) {
                    self.waiting.extend_from_slice(label);
                }
                self.waiting.extend_from_slice(line);
            }
        }
        self.seam.wrote(from, run);
        self.flush();
    }

    /// Nothing more comes from this pipe.
    pub(super) fn closes(&mut self, from: u64) {
        self.seam.closes(from);
    }

    /// Writes what waits, as far as it is taken, and then how much was dropped, if it was.
    pub(super) fn flush(&mut self) {
        while self.at < self.waiting.len() {
            let next = &self.waiting[self.at..];
            match self.mouth.write(&next[..self.length_of_part(next)]) {
                Ok(written) => {
                    self.at += written;
                    self.broken = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.tidy(),
                Err(_) => {
                    self.broken = true;
                    return self.give_up();
                }
            }
        }
        (self.waiting, self.at, self.full) = (Vec::new(), 0, false);
        if self.dropped > 0 {
            self.tell();
        }
    }

    /// What goes out in one write. A pipe takes a short part whole or not at all, so lines of others do not get into
    /// ours; to a file all goes at once.
    fn length_of_part(&self, next: &[u8]) -> usize {
        if next.len() <= LONGEST || matches!(self.mouth, Mouth::File(_)) {
            return next.len();
        }
        next[..LONGEST].iter().rposition(|byte| *byte == b'\n').map_or(LONGEST, |newline| newline + 1)
    }

    /// What was written does not take up room for ever.
    fn tidy(&mut self) {
        if self.at >= MUCH {
            // The last byte tells whether a line has begun.
            self.waiting.drain(..self.at - 1);
            self.at = 1;
        }
    }

    /// Whether to tell when there is room.
    pub(super) fn waits(&self) -> bool {
        (self.at < self.waiting.len() || self.dropped > 0) && !self.broken
    }

    /// Nobody can read: drops what waits, but for the rest of a line that has begun.
    fn give_up(&mut self) {
        let begun = self.at > 0 && self.waiting[self.at - 1] != b'\n';
        let rest = &self.waiting[self.at..];
        let kept =
            if begun { rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1) } else { 0 };
        self.dropped += rest[kept..].split_inclusive(|byte| *byte == b'\n').count() as u64;
        self.waiting = rest[..kept].to_vec();
        self.at = 0;
        self.full = true;
        if self.waiting.last().is_none_or(|last| *last == b'\n') {
            self.seam.is_whole();
        } else {
            self.seam.is_torn();
        }
    }

    /// Says how many lines were dropped, there where they are missing.
    fn tell(&mut self) {
        let newline = if self.seam.is_open() { "\n" } else { "" };
        let text = format!("{newline}firestarter: {} lines of workers found nobody who reads\n", self.dropped);
        match self.mouth.write(text.as_bytes()) {
            Ok(written) => {
                (self.dropped, self.broken) = (0, false);
                self.seam.is_whole();
                self.waiting.extend_from_slice(&text.as_bytes()[written..]);
            }
            Err(errno) => (self.full, self.broken) = (true, errno != Errno::AGAIN && errno != Errno::INTR),
        }
    }

    /// At the very end: what nobody was told of.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.waiting[self.at..].split_inclusive(|byte| *byte == b'\n').count() as u64
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.mouth.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{pipe_with, PipeFlags};
    use std::fs::File;
    use std::io::Read;

    fn own() -> (Own, File) {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        // It stays open: nobody's but this test's.
        let write: &'static File = Box::leak(Box::new(File::from(write)));
        let stream = std::os::fd::AsFd::as_fd(write);
        let mut own = Own::new(stream);
        own.mouth = Mouth::Inherited(stream);
        (own, File::from(read))
    }

    fn taken(reader: &mut File) -> String {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn labels_stand_before_each_line_once() {
        let (mut own, mut reader) = own();
        own.put(1, b"web/0 | ", b"a\nb\n");
        own.put(1, b"web/0 | ", b"begun");
        own.put(1, b"web/0 | ", b" ended\n");
        own.put(2, b"web/1 | ", b"torn");
        own.put(1, b"web/0 | ", b"c\n");
        own.put(3, b"", b"raw\n");
        let all = "web/0 | a\nweb/0 | b\nweb/0 | begun ended\nweb/1 | torn\nweb/0 | c\nraw\n";
        assert_eq!(taken(&mut reader), all);
    }

    #[test]
    fn who_does_not_read_gets_whole_lines_and_their_number() {
        let (mut own, mut reader) = own();
        let line = format!("{}\n", "x".repeat(999));
        let put = 3000;
        (0..put).for_each(|_| own.put(1, b"", line.as_bytes()));
        assert!(own.waits() && own.waiting.len() < 2 * MUCH, "it grows without bound");
        let mut text = String::new();
        while own.waits() {
            text += &taken(&mut reader);
            own.flush();
        }
        own.put(1, b"", b"again\n");
        text += &taken(&mut reader);
        let whole = text.lines().filter(|text| text.len() == 999).count();
        assert!(whole > MUCH / 1000, "what was kept for the reader is gone");
        let lost = format!("firestarter: {} lines of workers found nobody who reads\nagain\n", put - whole);
        assert!(text.ends_with(&lost), "{whole} {}", &text[text.len() - 200..]);
        assert_eq!(text.lines().count(), whole + 2, "a line is torn");
    }

    #[test]
    fn a_line_of_which_a_part_was_taken_is_finished() {
        let (mut own, mut reader) = own();
        let long = "x".repeat(200_000);
        own.put(1, b"", format!("{long}\n").as_bytes());
        own.put(1, b"", b"next\n");
        own.give_up();
        let mut text = String::new();
        for _ in 0..100 {
            text += &taken(&mut reader);
            own.flush();
        }
        assert!(!own.waits());
        own.put(1, b"", b"again\n");
        text += &taken(&mut reader);
        assert_eq!(text, format!("{long}\nfirestarter: 1 lines of workers found nobody who reads\nagain\n"));
    }

    #[test]
    fn a_stream_that_is_gone_holds_nobody_back() {
        let (mut own, reader) = own();
        drop(reader);
        for _ in 0..10_000 {
            own.put(1, b"", &[b'x'; 1000]);
        }
        assert!(!own.waits() && own.waiting.is_empty());
        assert_eq!(own.dropped(), 10_000);
    }
}
