//! A file that is read at any place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kdc_envelope::etcd_file::ReadAt;

/// A regular file of the length that it had when it was opened.
#[derive(Debug)]
pub(super) struct RandomAccess {
    file: File,
    len: u64,
}

impl RandomAccess {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// A file that was opened for reading.
    pub(super) fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::other(
                "it is no regular file, so that it cannot be read at any place",
            ));
        }
        let len = metadata.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for RandomAccess {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
