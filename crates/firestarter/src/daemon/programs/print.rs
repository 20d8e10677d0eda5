//! The fingerprint of a program's file: what tells one content of the file from another without reading it. It is the
//! same in every daemon, since the core compares it over the death of one.
//!
//! In it are the path at the end of all links, the device, the inode, the size, the time of the last change of the
//! content, and the time of the inode's birth where the file system has one. So these are changes:
//! - another file renamed over it, or put in its place: another inode. If the number of the old one is used again, the
//!   birth differs, also for files that are all given one time of change;
//! - a write in place: the time of change;
//! - a link on its path that leads elsewhere: the path, even where the releases share the file by hard links, since what
//!   lies beside the program is then another release's;
//! - `touch`, as an order to begin anew that many know.
//!
//! And these are none: `chmod`, `chown`, another hard link (a backup makes some), a rename away and back: they leave the
//! content alone, so the time of change of the inode itself is left out. What goes unnoticed is a write in place that
//! keeps the size and puts the time of change back to what it was.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Statx, StatxFlags};

/// Of a file, by its path without links.
pub(super) fn of(path: &Path, stat: &Statx) -> u64 {
    let mut print = Fnv::new();
    print.add(path.as_os_str().as_bytes());
    let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let times = [Some(stat.stx_mtime), born.then_some(stat.stx_btime)];
    let numbers = [u64::from(stat.stx_dev_major), u64::from(stat.stx_dev_minor), stat.stx_ino, stat.stx_size];
    let times = times.into_iter().flatten().flat_map(|time| [time.tv_sec as u64, u64::from(time.tv_nsec)]);
    numbers.into_iter().chain(times).for_each(|number| print.add(&number.to_le_bytes()));
    print.0
}

/// The 64-bit hash FNV-1a, with the numbers of its authors (RFC 9923).
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        let of = |text: &str| {
            let mut print = Fnv::new();
            print.add(text.as_bytes());
            print.0
        };
        // Test vectors of its authors.
        assert_eq!(
            [of(""), of("a"), of("foobar")],
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
    }
}
