//! A file as a whole.

use core::ops::ControlFlow;

use super::history::{History, Row, Totals};
use super::meta::{self, Meta};
use super::pages::Pages;
use super::read_at::ReadAt;
use super::{EtcdFileError, trailer, tree};
use crate::key_usage::KeyUsage;

/// The bucket that holds all changes of rows.
const KEY_BUCKET: &[u8] = b"key";

/// A snapshot or data file of etcd.
///
/// Nothing else may write to it meanwhile: of a running etcd take a snapshot, not its data file.
#[derive(Debug)]
pub struct EtcdFile<R> {
    source: R,
    meta: Meta,
}

/// What a file holds, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileKeyUsage {
    /// Revision, rows and changes of the whole file.
    pub totals: Totals,
    /// The rows under the prefix that was asked for, by what encrypts them.
    pub rows: KeyUsage,
}

impl<R: ReadAt> EtcdFile<R> {
    /// Looks at the start of a file, and whether all of it is there.
    ///
    /// # Errors
    /// [`EtcdFileError::NoMeta`] for a file of another kind, [`EtcdFileError::CutOff`], or [`EtcdFileError::Read`].
    pub fn open(source: R) -> Result<Self, EtcdFileError> {
        let meta = meta::newest(&source)?;
        let file = Self { source, meta };
        let len = file.database_len();
        let needed = meta.pages.saturating_mul(meta.page_size);
        if needed > len {
            return Err(EtcdFileError::CutOff { len, needed });
        }
        Ok(file)
    }

    /// Whether it ends in a SHA-256, as snapshots do and data files do not.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        trailer::is_there(self.source.len())
    }

    /// The length of all pages in bytes: the upper bound of what progress is told.
    #[must_use]
    pub const fn pages_len(&self) -> u64 {
        self.meta.pages.saturating_mul(self.meta.page_size)
    }

    /// Hands every row to `visit`, the one that changed last first, until it breaks. `on_progress` is told how many bytes were
    /// read so far, now and then.
    ///
    /// # Errors
    /// The first damage that is met. Rows that were handed out before it are right.
    pub fn for_each_newest_row(
        &self,
        mut on_progress: impl FnMut(u64),
        mut visit: impl FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<Totals, EtcdFileError> {
        let mut pages = Pages::new(&self.source, self.meta, &mut on_progress);
        let bucket = tree::find(&mut pages, self.meta.root, KEY_BUCKET)?
            .ok_or(EtcdFileError::NoKeyBucket)?;
        let mut history = History::default();
        bucket.for_each_from_last(&mut pages, |page, entry| {
            let row = history.take(page, entry)?;
            Ok(row.map_or(ControlFlow::Continue(()), &mut visit))
        })?;
        Ok(history.totals())
    }

    /// Counts the rows whose etcd keys begin with `prefix`, mostly `/registry/`, by what encrypts them.
    ///
    /// # Errors
    /// As [`Self::for_each_newest_row`]. A row that kube-apiserver would refuse is no error of the file; it is counted as damaged.
    pub fn key_usage(
        &self,
        prefix: &[u8],
        on_progress: impl FnMut(u64),
    ) -> Result<FileKeyUsage, EtcdFileError> {
        let mut rows = KeyUsage::new(prefix);
        let totals = self.for_each_newest_row(on_progress, |row| {
            rows.count(row.key, row.value);
            ControlFlow::Continue(())
        })?;
        Ok(FileKeyUsage { totals, rows })
    }

    /// Compares the SHA-256 at the end of a snapshot with the bytes before it. Returns false if the file has none.
    ///
    /// # Errors
    /// [`EtcdFileError::Trailer`] if they differ, or [`EtcdFileError::Read`].
    pub fn check_trailer(&self, on_progress: impl FnMut(u64)) -> Result<bool, EtcdFileError> {
        if !self.is_snapshot() {
            return Ok(false);
        }
        trailer::check(&self.source, on_progress).map(|()| true)
    }

    fn database_len(&self) -> u64 {
        let len = self.source.len();
        if self.is_snapshot() {
            len.saturating_sub(trailer::LEN)
        } else {
            len
        }
    }
}
