//! One batch: the bytes that it is, from its record and the stage alone; how it begins, is written, and ends; and how one
//! is finished that this thread or a dead writer has begun. Called by `sink`.

use std::io;

use super::super::form::{shape, Voice};
use super::super::source::Source;
use super::{Place, Scratch, Sink, Work, NOBODY, SPLIT, WHOLE};
use crate::journal::{Area, Batch, Counts, Kind};
use crate::output::Form;

impl Sink {
    /// Gives bytes their form. False: they stay as they are.
    pub(super) fn shape(&self, kind: Kind, source: &Source, time: u64, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let (plain, bare) = (source.form == Form::Plain, source.label.is_empty());
        if plain && bare && kind == Kind::Lines {
            return false;
        }
        out.clear();
        let split: Vec<u8>;
        let lines = if kind == Kind::Split {
            split = [bytes, SPLIT].concat();
            &split[..]
        } else {
            bytes
        };
        let (pid, generation) = source.writer();
        let origin = source.pipe.origin;
        let voice = Voice { group: source.group, speaker: origin.speaker, stream: origin.stream, pid, generation };
        if bare {
            shape(source.form, &voice, time, lines, out);
        } else if plain {
            source.label.put(lines, out);
        } else {
            let mut shaped = Vec::with_capacity(lines.len() * 2);
            shape(source.form, &voice, time, lines, &mut shaped);
            source.label.put(&shaped, out);
        }
        true
    }

    /// The bytes of a batch, from its record and the stage.
    pub(super) fn compose<'s>(&self, batch: &Batch, source: &Source, scratch: &'s mut Scratch) -> io::Result<&'s [u8]> {
        let Scratch { input, output } = scratch;
        match batch.kind {
            Kind::Close => {
                input.clear();
                input.push(b'\n');
                return Ok(input);
            }
            Kind::Gap | Kind::Lost => {
                let [bytes, lines] = batch.missing;
                let why = match &self.place {
                    Place::File(_) => "could not be written",
                    Place::Own(_) => "were not read in time",
                };
                let s = if lines == 1 { "" } else { "s" };
                let text = format!("firestarter: {lines} line{s} ({bytes} bytes) of workers {why}\n");
                *input = text.into_bytes();
            }
            Kind::Lines | Kind::Split => {
                input.resize((batch.to - batch.from) as usize, 0);
                let read = source.read(batch.from, Area::Ring, input)?.len();
                input.truncate(read);
            }
        }
        let kind = if batch.kind == Kind::Split { Kind::Split } else { Kind::Lines };
        let shaped = self.shape(kind, source, batch.time, input, output);
        Ok(if shaped { output } else { input })
    }

    /// Finishes what this thread or a dead writer has begun.
    pub(super) fn resume(
        &mut self,
        batch: Batch,
        written: Option<usize>,
        work: &Work,
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        let bytes = self.compose(&batch, &work.source, scratch)?.to_vec();
        let written = match (written, &mut self.place, batch.file) {
            (written, Place::File(file), Some((inode, before))) => {
                let there = file.look_for(inode)?.map_or(0, |size| size.saturating_sub(before)) as usize;
                // Of a file that was removed or emptied meanwhile, what was written has gone: lines begin anew.
                written.map_or(there, |written| if there < written { 0 } else { written })
            }
            (written, Place::File(file), None) => {
                file.look()?;
                written.unwrap_or(0)
            }
            (written, Place::Own(_), _) => written.unwrap_or(0),
        };
        self.append(&bytes, written.min(bytes.len()))?;
        let part = if batch.kind == Kind::Lines { &scratch.input[..] } else { b"" };
        let part = part.to_vec();
        let last = work.ended && batch.to == work.to;
        self.finish(&work.source, &part, bytes.last() == Some(&b'\n'), last);
        Ok(())
    }

    pub(super) fn begin(&mut self, batch: Batch) {
        self.row.begin(&batch);
        self.pending = Some((batch, Some(0)));
    }

    /// Writes the rest of the batch that has begun.
    pub(super) fn append(&mut self, bytes: &[u8], mut written: usize) -> io::Result<()> {
        while written < bytes.len() {
            let rest = &bytes[written..];
            #[cfg(test)]
            let rest = crate::journal::deaths::part(rest)?;
            let more = match &mut self.place {
                Place::File(file) => file.write(rest),
                Place::Own(own) => own.write(rest),
            };
            match more {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some((batch, progress)) = &mut self.pending {
                *progress = Some(written);
                if batch.file.is_none() {
                    self.row.set_written(written);
                }
            }
        }
        Ok(())
    }

    /// All of a batch is written. `part`: what of the stage it was; `whole`: the sink ends with a line's end; `last`: nothing
    /// follows on the part.
    pub(super) fn finish(&mut self, source: &Source, part: &[u8], whole: bool, last: bool) {
        let Some((batch, _)) = self.pending.take() else { return };
        self.open_line = match whole {
            true => WHOLE,
            false if last => NOBODY,
            false => source.id(),
        };
        if let (Kind::Lines | Kind::Split, Place::Own(own)) = (batch.kind, &self.place) {
            own.keep(source.pipe.origin, batch.time, part);
        }
        match batch.kind {
            Kind::Lost => self.row.told([batch.to, batch.from]),
            Kind::Gap => {
                source.consumed(part, batch.to);
                source.row.end_gap(batch.from);
            }
            Kind::Lines | Kind::Split | Kind::Close => source.consumed(part, batch.to),
        }
        let torn = last && part.last().is_some_and(|byte| *byte != b'\n');
        let bytes = match batch.kind {
            Kind::Lines | Kind::Split => batch.to - batch.from,
            Kind::Gap | Kind::Lost | Kind::Close => 0,
        };
        let [dropped, dropped_lines] = batch.missing;
        self.row.end(self.open_line, Counts { bytes, dropped, dropped_lines, torn: u64::from(torn) });
    }
}
