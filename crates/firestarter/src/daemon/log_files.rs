//! The files that groups' streams go to, and how they are. Asked by `perform` for a status, and by `reopen`.

use std::collections::BTreeMap;

use super::Daemon;
use crate::api::{LogStatus, LogStream};
use crate::config::{LogFile, Output};
use crate::journal::{SinkRow, Speaker, Stream};
use crate::say::plain_errno;

impl Daemon<'_> {
    /// How the files of each group's streams are.
    pub(super) fn logs(&self) -> Vec<Vec<LogStatus>> {
        let groups = 0..self.shared.setup.config.groups.len();
        let Some(pipes) = self.shared.pipes else { return groups.map(|_| Vec::new()).collect() };
        let untold = self.dropped_untold();
        let status = |(stream, sink, log): (Stream, usize, &LogFile)| {
            let untold = untold.get(&sink).copied().unwrap_or_default();
            status(stream, log, pipes.sinks().row(sink), untold)
        };
        groups.map(|group| self.files(group).map(status).collect()).collect()
    }

    /// What was dropped and does not stand in a file as a number yet, bytes and lines, by sink.
    fn dropped_untold(&self) -> BTreeMap<usize, [u64; 2]> {
        let mut by_sink = BTreeMap::<usize, [u64; 2]>::new();
        let files = &self.shared.setup.outputs.files;
        for (origin, [bytes, lines]) in self.shared.pipes.into_iter().flat_map(|pipes| pipes.dropped_untold()) {
            let sink = files.get(origin.group as usize).and_then(|streams| streams[origin.stream as usize]);
            if let (Some(sink), Speaker::Slot(_)) = (sink, origin.speaker) {
                let sum = by_sink.entry(sink).or_default();
                *sum = [sum[0] + bytes, sum[1] + lines];
            }
        }
        by_sink
    }

    /// The files that a group's streams go to, and the sinks that they are.
    pub(super) fn files(&self, group: usize) -> impl Iterator<Item = (Stream, usize, &'static LogFile)> {
        let setup = self.shared.setup;
        let sinks = setup.outputs.files.get(group).copied().unwrap_or_default();
        let launch = setup.config.groups.get(group).map(|group| &group.launch);
        let outputs = launch.into_iter().flat_map(|launch| [&launch.stdout, &launch.stderr]);
        outputs.zip([Stream::Stdout, Stream::Stderr]).zip(sinks).filter_map(|((output, stream), sink)| match output {
            Output::File(log) => Some((stream, sink?, log)),
            Output::PassOn(_) | Output::Null => None,
        })
    }
}

fn status(stream: Stream, log: &LogFile, row: SinkRow<'_>, untold: [u64; 2]) -> LogStatus {
    let stream = match stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
    };
    let (counts, (lost, told)) = (row.counts(), row.lost());
    let [bytes, lines] = [0, 1].map(|at: usize| untold[at] + lost[at].saturating_sub(told[at]));
    LogStatus {
        stream,
        path: path(log),
        bytes: counts.bytes,
        dropped_bytes: counts.dropped + bytes,
        dropped_lines: counts.dropped_lines + lines,
        torn_lines: counts.torn,
        rotations: row.rotations(),
        error: error(row.errno()),
    }
}

pub(super) fn path(log: &LogFile) -> String {
    log.path.display().to_string()
}

/// The kernel's words for what is wrong, if anything is.
pub(super) fn error(errno: i32) -> Option<String> {
    (errno != 0).then(|| plain_errno(errno))
}
