//! Shared memory that outlives a process: memfds mapped once by the keeper and inherited by every daemon it forks. Their
//! descriptors stay open, so that a program that is executed in place of the keeper's can map them again.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{fstat, ftruncate, memfd_create, MemfdFlags};

/// Words that several processes read and write at once.
pub(crate) struct SharedWords(Mapping);

/// Bytes that one process at a time reads and writes: the daemon that lives.
pub(crate) struct SharedBytes(Mapping);

// SAFETY: all access to the words is atomic, from whichever thread.
unsafe impl Sync for SharedWords {}

/// A ring in a file, mapped twice in a row, so that each part of it that is shorter than the ring stands in one piece,
/// wherever it begins. Only read here.
pub(crate) struct Ring {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is only read, and whoever asks for a part says that nobody writes there.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

struct Mapping {
    start: NonNull<u8>,
    len: usize,
    memory: ManuallyDrop<OwnedFd>,
    /// It was another program's, which may want it back: the descriptor stays open.
    kept: bool,
}

impl SharedWords {
    /// So many words, all zero. Memory is taken page by page as they are written.
    ///
    /// # Errors
    /// No descriptor, or no memory.
    pub(crate) fn new(name: &str, words: usize) -> io::Result<SharedWords> {
        Mapping::new(name, words * size_of::<AtomicU64>()).map(SharedWords)
    }

    /// Maps what another program has made.
    ///
    /// # Errors
    /// It is not of this length, so it means something else; or the kernel's.
    pub(crate) fn adopt(memory: OwnedFd, words: usize) -> io::Result<SharedWords> {
        Mapping::adopt(memory, words * size_of::<AtomicU64>()).map(SharedWords)
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

    /// Maps what another program has made.
    ///
    /// # Errors
    /// It is not of this length, so it means something else; or the kernel's.
    pub(crate) fn adopt(memory: OwnedFd, len: usize) -> io::Result<SharedBytes> {
        Mapping::adopt(memory, len).map(SharedBytes)
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

impl AsFd for SharedWords {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.memory.as_fd()
    }
}

impl AsFd for SharedBytes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.memory.as_fd()
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

impl Ring {
    /// Maps the first `len` bytes of a file: whole pages.
    ///
    /// # Errors
    /// No memory, or too many mappings.
    pub(crate) fn new(memory: BorrowedFd<'_>, len: usize) -> io::Result<Ring> {
        use rustix::mm::{mmap, mmap_anonymous, MapFlags, ProtFlags};
        // SAFETY: a new mapping at an address of the kernel's choice cannot alias anything.
        let place = unsafe { mmap_anonymous(std::ptr::null_mut(), 2 * len, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let start = NonNull::new(place.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let ring = Ring { start, len };
        for half in [0, len] {
            // SAFETY: the half lies within the mapping just made, which nobody else knows, and takes its place.
            unsafe {
                let at = ring.start.as_ptr().add(half).cast();
                mmap(at, len, ProtFlags::READ, MapFlags::SHARED | MapFlags::FIXED, memory, 0)?;
            }
        }
        Ok(ring)
    }

    /// So many bytes from this offset on. The file is that long, is never shortened, and nobody writes to that part of
    /// it for as long as the bytes are used: what a stage has that is not consumed. Empty if there cannot be such a part.
    pub(crate) fn part(&self, offset: usize, length: usize) -> &[u8] {
        if offset >= self.len || length > self.len {
            return &[];
        }
        // SAFETY: the part lies within the two halves, which are mapped for as long as `self` lives; that nobody writes
        // there is the promise above.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the range was mapped in `new`, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), 2 * self.len) };
    }
}

impl Mapping {
    fn new(name: &str, len: usize) -> io::Result<Mapping> {
        let memory = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, len as u64)?;
        Ok(Mapping { start: map(memory.as_fd(), len)?, len, memory: ManuallyDrop::new(memory), kept: false })
    }

    fn adopt(memory: OwnedFd, len: usize) -> io::Result<Mapping> {
        let memory = ManuallyDrop::new(memory);
        if fstat(&*memory)?.st_size as u64 != len as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shared memory of another length"));
        }
        Ok(Mapping { start: map(memory.as_fd(), len)?, len, memory, kept: true })
    }
}

/// Maps a file of this length that nobody shortens.
fn map(memory: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<u8>> {
    use rustix::mm::{mmap, MapFlags, ProtFlags};
    let (access, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
    // SAFETY: a new shared mapping at an address of the kernel's choice cannot alias anything; the file is as long as the
    // mapping, and only this program has it, which never shortens it.
    let start = unsafe { mmap(std::ptr::null_mut(), len, access, shared, memory, 0) }?;
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped for `self`, and no reference into it outlives it.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        if !self.kept {
            // SAFETY: it is used no more, and nobody else drops it.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

/// Gives back the memory of all program text; what is still in use is mapped again from the page cache when it is next
/// run. To be called when what only a start needs has been run: reading the configuration, taking over.
pub(crate) fn give_back_text() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(text_range) {
        // SAFETY: the range is a private, executable, read-only mapping of a file, as the kernel has just said, and this
        // program neither writes text nor unmaps it. Its pages equal the file's, so dropping them loses nothing.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The addresses of a line of `/proc/self/maps` that is text of a file: `START-END r-xp OFFSET DEVICE INODE PATH`.
fn text_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let text = fields.next()? == "r-xp" && fields.nth(2)? != "0";
    text.then_some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
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
    fn memory_of_another_program_stays_open_whatever_comes_of_it() {
        let made = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&made, 4096).unwrap();
        let number = made.as_raw_fd();
        std::mem::forget(made);
        let again = || crate::sys::fds::adopt(number).filter(|fd| fstat(fd).unwrap().st_size == 4096).expect("open");
        assert!(SharedBytes::adopt(again(), 4095).is_err());
        drop(SharedBytes::adopt(again(), 4096).unwrap());
        drop(again());
    }

    #[test]
    fn text_is_given_back_and_runs_on() {
        // Of the text alone: other tests allocate meanwhile.
        let resident = || {
            let (mut text, mut sum) = (false, 0);
            for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
                match line.strip_prefix("Rss:").map(|rss| rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap()) {
                    Some(rss) if text => sum += rss,
                    Some(_) => {}
                    None if line.split(' ').next().is_some_and(|range| range.contains('-')) => {
                        text = text_range(line).is_some();
                    }
                    None => {}
                }
            }
            sum
        };
        let before = resident();
        give_back_text();
        assert!(resident() < before, "nothing was given back");
    }

    #[test]
    fn only_text_of_a_file_is_given_back() {
        assert_eq!(text_range("55d0-55f0 r-xp 00010000 08:01 1234 /bin/x"), Some((0x55d0, 0x55f0)));
        for other in [
            "55d0-55f0 r--p 00010000 08:01 1234 /bin/x",
            "55d0-55f0 rwxp 00010000 08:01 1234 /bin/x",
            "7fff-8fff r-xp 00000000 00:00 0 [vdso]",
            "nonsense",
        ] {
            assert_eq!(text_range(other), None, "{other}");
        }
    }

    #[test]
    fn a_part_of_a_ring_stands_in_one_piece() {
        let len = rustix::param::page_size();
        let memory = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        rustix::io::pwrite(&memory, &bytes, 0).unwrap();
        let ring = Ring::new(memory.as_fd(), len).unwrap();
        assert_eq!(ring.part(0, len), bytes);
        assert_eq!(ring.part(len - 3, 5), [&bytes[len - 3..], &bytes[..2]].concat());
        rustix::io::pwrite(&memory, b"new", 0).unwrap();
        assert_eq!(ring.part(len - 1, 4), [&bytes[len - 1..], b"new"].concat());
        assert_eq!((ring.part(len, 1), ring.part(0, len + 1)), (&[][..], &[][..]));
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
