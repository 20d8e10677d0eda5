//! What stands before a line that is passed on. Used by `sink`.

pub(super) struct Label(Vec<u8>);

impl Label {
    pub(super) fn new(text: String) -> Label {
        Label(text.into_bytes())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds lines, each behind the label.
    pub(super) fn put(&self, lines: &[u8], out: &mut Vec<u8>) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(&self.0);
            out.extend_from_slice(line);
        }
    }
}
