//! Shared memory that outlives a process: memfds mapped once by the keeper and inherited by every daemon it forks.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{ftruncate, memfd_create, MemfdFlags};

/// Words that several processes read and write at once.
pub(crate) struct SharedWords(Mapping);

/// Bytes that one process at a time reads and writes: the daemon that lives.
pub(crate) struct SharedBytes(Mapping);

// SAFETY: all access to the words is atomic, from whichever thread.
unsafe impl Sync for SharedWords {}

struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl SharedWords {
    /// So many words, all zero. Memory is taken page by page as they are written.
    ///
    /// # Errors
    /// No descriptor, or no memory.
    pub(crate) fn new(name: &str, words: usize) -> io::Result<SharedWords> {
        Mapping::new(name, words * size_of::<AtomicU64>()).map(SharedWords)
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `len` bytes long and lives as long as `self`; any bits are a valid
        // AtomicU64, and all access, in this process and in others, is atomic.
        unsafe { slice::from_raw_parts(self.0.start.as_ptr().cast(), self.0.len / size_of::<AtomicU64>()) }
    }
}

impl SharedBytes {
    /// So many bytes, all zero. Memory is taken page by page as they are written.
    ///
    /// # Errors
    /// No descriptor, or no memory.
    pub(crate) fn new(name: &str, len: usize) -> io::Result<SharedBytes> {
        Mapping::new(name, len).map(SharedBytes)
    }

    /// Gives the memory back; all bytes are zero again.
    ///
    /// # Errors
    /// The kernel's, which leaves the bytes as they are.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // SAFETY: the range is exactly the mapping, and `&mut self` says that nobody holds a reference into it.
        let result = unsafe { libc::madvise(self.0.start.as_ptr().cast(), self.0.len, libc::MADV_REMOVE) };
        super::check(result.into()).map(|_| ())
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`. Only a living daemon touches these bytes, and the keeper forks
        // the next one after the death of the last, so nobody writes while this reference stands.
        unsafe { slice::from_raw_parts(self.0.start.as_ptr(), self.0.len) }
    }
}

impl DerefMut for SharedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` excludes other references in this process.
        unsafe { slice::from_raw_parts_mut(self.0.start.as_ptr(), self.0.len) }
    }
}

impl Mapping {
    fn new(name: &str, len: usize) -> io::Result<Mapping> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, len as u64)?;
        // The mapping keeps the file; its descriptor is needed no more.
        // SAFETY: a new shared mapping at an address of the kernel's choice cannot alias anything; the file is as long
        // as the mapping and nobody else has it, so it cannot shrink under it.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED | rustix::mm::MapFlags::NORESERVE,
                &fd,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped in `new`, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_are_shared_with_a_forked_process() {
        let words = SharedWords::new("test", 1024).unwrap();
        let child = crate::sys::clone::fork_sharing_descriptors(|| {
            words[1000].store(7, Ordering::Release);
            crate::sys::clone::exit_now(0)
        })
        .unwrap();
        crate::sys::wait::reap_blocking(child).unwrap();
        assert_eq!(words[1000].load(Ordering::Acquire), 7);
    }

    #[test]
    fn cleared_bytes_are_zero() {
        let mut bytes = SharedBytes::new("test", 1 << 20).unwrap();
        bytes[5000..5003].copy_from_slice(b"abc");
        assert_eq!(&bytes[5000..5003], b"abc");
        bytes.clear().unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
    }
}
