//! Files that people name: opened so that a pipe in the place of one does not hang the program, and read at any place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use kdc_envelope::etcd_file::ReadAt;
use rustix::fs::OFlags;

/// Opens a file for reading. If it turns out to be a pipe, its other end is not waited for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A regular file of the length that it had when it was opened.
#[derive(Debug)]
pub(super) struct RandomAccess {
    file: File,
    len: u64,
}

impl RandomAccess {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(open(path)?)
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
