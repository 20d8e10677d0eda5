//! The first minute.
pub(crate) mod worker;
pub(crate) fn main() -> u8 {
    1
}
