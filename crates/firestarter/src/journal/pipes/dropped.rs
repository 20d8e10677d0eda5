//! What was dropped and does not stand in the log as a number yet: it is, once the log works again. For a status.

use super::super::{Meaning, Origin};
use super::Pipes;

impl Pipes {
    /// Whose output that is, bytes and lines; each pipe on its own.
    pub(crate) fn dropped_untold(&self) -> impl Iterator<Item = (Origin, [u64; 2])> + '_ {
        self.ledger.named().filter_map(|(number, meaning)| {
            let Meaning::Output { origin, .. } = meaning else { return None };
            let row = self.stages.row(number).ok()?;
            let consumed = row.consumed();
            let dropped = row.gaps().into_iter().map(|gap| {
                let counted = row.counted(gap.from);
                [gap.to.unwrap_or(counted.up_to).saturating_sub(gap.from.max(consumed)), counted.lines]
            });
            let sum = dropped.fold([0; 2], |[bytes, lines], [more, more_lines]| [bytes + more, lines + more_lines]);
            (sum[0] > 0).then_some((origin, sum))
        })
    }
}
