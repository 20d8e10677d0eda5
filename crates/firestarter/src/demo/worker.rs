//! The demo's worker.
pub(crate) fn main(_args: &[std::ffi::OsString]) -> u8 {
    1
}
