//! What people are told of a log that does not work: once that it does not, and what becomes of what is written to it; once
//! that something is dropped; and once that it works again. The row of the sink has what was said, so that no writer says it
//! again after another.

use std::io;

use super::{Place, Sink};
use crate::journal::SinkRow;
use crate::output::{LogFile, Overflow};
use crate::say::{plain, say};

impl Sink {
    pub(super) fn fails(&mut self, error: &io::Error) {
        self.row.set_errno(error.raw_os_error().unwrap_or(libc::EIO));
        if self.row.trouble().is_none() {
            self.row.begin_trouble();
            if let Place::File(file) = &self.place {
                let path = file.log().path.display();
                let then = match file.log().overflow {
                    Overflow::Wait => "what is written to it waits 5 s at most, then it is dropped and counted,",
                    Overflow::Block => "whoever writes to it waits",
                    Overflow::Drop => "what is written to it is dropped and counted",
                };
                say(format_args!("log {path}: {}; {then} until that is mended", plain(error)));
            }
        }
    }

    pub(super) fn works(&mut self) {
        let Some(before) = self.row.trouble() else { return };
        self.row.end_trouble();
        if let Place::File(file) = &self.place {
            let (path, dropped) = (file.log().path.display(), self.row.counts().dropped - before);
            match dropped {
                0 => say(format_args!("log {path}: works again; nothing is lost")),
                _ => say(format_args!("log {path}: works again; {dropped} bytes are missing")),
            }
        }
    }

    /// Something is wrong with it, as far as people were told.
    pub(in super::super) fn is_in_trouble(&self) -> bool {
        self.row.trouble().is_some()
    }
}

/// What workers write to this log is dropped from now on. Also where it does not fail, but whoever reads it is slow.
pub(in super::super) fn drops(log: &LogFile, row: SinkRow<'_>) {
    if row.says_that_it_drops() {
        say(format_args!(
            "log {}: what workers write is dropped and counted from now on, until it can be written again",
            log.path.display()
        ));
    }
}
