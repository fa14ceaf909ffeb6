//! Which keys the rows inside a snapshot need.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kdc_envelope::Key256;
use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError, ReadAt};
use kdc_envelope::snapshot::metadata::RowsInside;
use kdc_envelope::snapshot::{Expected, SealedRange};

use super::bucket::SnapshotFiles;
use super::file::RandomAccess;
use super::refusal::{carried, carry, of_open};
use crate::failure::{Exit, Failure};

/// Counts the rows of a snapshot file.
pub(super) fn of_file(file: &File, path: &Path) -> Result<Option<RowsInside>, Failure> {
    let file = file.try_clone().and_then(RandomAccess::of);
    let file = file.map_err(|error| Failure::unreadable("FILE", path, &error))?;
    count(&file).map(Some)
}

/// Counts the rows of a snapshot that was sealed into a bucket, by reading what is needed of it again. `None` if it is compressed.
pub(super) fn of_stored(
    files: &SnapshotFiles,
    dek: &Key256,
) -> Result<Option<RowsInside>, Failure> {
    const PLACE: &str = "cannot read what was sealed";
    let Some(len) = files.data_len()? else {
        return Err(Failure::new(Exit::Io, PLACE).hint("it went away"));
    };
    match SealedRange::new(Stored { files, len }, dek, &Expected::default()) {
        Ok(content) => count(content).map(Some),
        Err(kdc_envelope::snapshot::OpenError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(of_open(PLACE, error)),
    }
}

/// All of them, whoever's prefix they have: what was not counted would look as if no key were needed for it.
fn count(content: impl ReadAt) -> Result<RowsInside, Failure> {
    const PLACE: &str = "cannot count the rows of the snapshot";
    let usage = EtcdFile::open(content).and_then(|file| file.key_usage(b"", |_| ()));
    let usage = usage.map_err(|error| match &error {
        EtcdFileError::Read { source, .. } => {
            carried(source).unwrap_or_else(|| Failure::at(Exit::Io, PLACE, &error))
        }
        _ => Failure::at(Exit::Data, PLACE, &error),
    })?;
    Ok(RowsInside::from(&usage.rows))
}

/// The sealed object, where it is.
struct Stored<'s> {
    files: &'s SnapshotFiles,
    len: u64,
}

impl ReadAt for Stored<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        let mut data = self.files.data(Some(offset..end)).map_err(carry)?;
        data.read_exact(buffer)
    }
}
