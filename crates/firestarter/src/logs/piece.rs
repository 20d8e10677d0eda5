//! One of the files that a log consists of: the log itself or a backup, plain or compressed. Opened once and then read
//! through its descriptor, so it may be renamed or removed meanwhile. Used by `chain`, `tail` and `file`.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::output::Compression;

/// An open file.
pub(super) struct Piece {
    file: File,
    /// As it was called when it was opened.
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) compression: Option<Compression>,
    unpacker: Option<Unpacker>,
    /// What has been read, unpacked.
    pub(super) at: u64,
}

/// What stays when a file is renamed: its device and its inode.
pub(super) type Identity = (u64, u64);

enum Unpacker {
    Gzip(Box<MultiGzDecoder<File>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, io::BufReader<File>>>),
}

impl Piece {
    /// # Errors
    /// As of open(2); or it is no file.
    pub(super) fn open(path: &Path, compression: Option<Compression>) -> io::Result<Piece> {
        // Whatever stands there, opening it neither waits nor makes it the terminal of this process.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let mut piece =
            Piece { file, path: path.to_owned(), identity: identity(&meta), compression, unpacker: None, at: 0 };
        piece.start_over()?;
        Ok(piece)
    }

    /// The next read is from the beginning.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.at = 0;
        // The copy shares the place in the file, which is why it is set first.
        self.file.seek(SeekFrom::Start(0))?;
        self.unpacker = match self.compression {
            None => None,
            Some(Compression::Gzip) => Some(Unpacker::Gzip(Box::new(MultiGzDecoder::new(self.file.try_clone()?)))),
            Some(Compression::Zstd) => {
                Some(Unpacker::Zstd(Box::new(zstd::stream::read::Decoder::new(self.file.try_clone()?)?)))
            }
        };
        Ok(())
    }

    /// The next bytes; 0: the end, for now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.unpacker {
            None => self.file.read_at(buffer, self.at),
            Some(Unpacker::Gzip(unpacker)) => unpacker.read(buffer),
            Some(Unpacker::Zstd(unpacker)) => unpacker.read(buffer),
        };
        self.at += *read.as_ref().unwrap_or(&0) as u64;
        read
    }

    /// Of a plain one: bytes from a place on, without moving on.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    /// The same open file once more.
    pub(super) fn hold(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn meta(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether this one, compressed, has just what a plain one has, which is read from the beginning for that.
    pub(super) fn holds(&mut self, plain: &Piece) -> io::Result<bool> {
        let (mut ours, mut theirs) = (vec![0; 32 << 10], vec![0; 32 << 10]);
        self.start_over()?;
        let same = loop {
            let begin = self.at;
            let read = self.read(&mut ours)?;
            let mut filled = 0;
            while filled < read {
                match plain.read_at(&mut theirs[filled..read], begin + filled as u64)? {
                    0 => break,
                    more => filled += more,
                }
            }
            if ours[..read] != theirs[..filled] {
                break false;
            }
            if read == 0 {
                break plain.meta()?.len() == self.at;
            }
        };
        self.start_over()?;
        Ok(same)
    }
}

pub(super) fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino())
}
