//! Where snapshots are kept: a folder, or a bucket of S3, seen alike.
//!
//! | module | holds |
//! |---|---|
//! | [`SnapshotStore`] | what a place of snapshots can do |
//! | `snapshot` | the objects of one snapshot, in the order that makes them one |
//! | `listing` | one pass over everything, grouped by snapshot |
//! | `folder`, `s3` | the two places |
//!
//! A snapshot is `<cluster>/<id>/` with three objects. `dek.wrapped` is written first, and only if it is absent: the run that has written it
//! has claimed the id, and no other writes there. The snapshot exists once `metadata.json` does, which is written last. Deleting goes the
//! other way round, so that the claim stands until nothing else is left. The data of a snapshot is never replaced.

mod folder;
mod listing;
#[cfg(feature = "s3")]
mod s3;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;

use std::any::Any;
use std::fmt;
use std::io::{Read, Write};
use std::ops::Range;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::error::BackupError;

pub use folder::FolderStore;
pub use listing::{Entries, Entry, Found, Object, ObjectInfo, ObjectListing, Obstacle};
#[cfg(feature = "s3")]
pub use s3::{Addressing, Checksum, S3Credentials, S3Settings, S3Store};
pub use snapshot::SnapshotFiles;

/// The sealed snapshot.
pub const DATA: &str = "snapshot.db.enc";
/// Its DEK, for tools that do not read the metadata.
pub const WRAPPED_DEK: &str = "dek.wrapped";
/// What makes it a snapshot.
pub const METADATA: &str = "metadata.json";

/// Advice where an object exists already.
pub(crate) const NEVER_OVERWRITTEN: &str =
    "a snapshot is never overwritten; take a new id, or let {prune} delete it";

/// A place of snapshots. Keys are `<cluster>/<id>/<object>`; [`SnapshotFiles`] makes them, and checks the names in them.
///
/// Readers and writers of data block: they are for threads that may wait, such as those of [`tokio::task::spawn_blocking`].
#[async_trait]
pub trait SnapshotStore: fmt::Debug + Send + Sync {
    /// The place as it was named, for messages.
    fn name(&self) -> String;

    /// All objects, or those below `below`, the parts of a key's beginning. Objects of one snapshot follow each other.
    fn list(&self, below: &[&str]) -> Box<dyn ObjectListing>;

    /// Writes a small object unless there is one with another content.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError>;

    /// The same with metadata, where a store can see to it that the data is still there.
    async fn commit(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.create(key, bytes).await
    }

    /// A small object, if there is one.
    async fn read(&self, key: &str) -> Result<Option<StoredMetadata>, BackupError>;

    /// Writes metadata over the one that was read as `version`, if that is still there, and the wrapped DEK beside it: each with its key.
    async fn replace(
        &self,
        metadata: (&str, &[u8]),
        wrapped_dek: (&str, &str),
        version: &Version,
    ) -> Result<Replaced, BackupError>;

    /// A new object for data. Fails, at the latest in [`DataSink::finish`], if there is one already.
    async fn create_data(&self, key: &str) -> Result<Box<dyn DataSink>, BackupError>;

    /// The length of an object in bytes, if there is one.
    async fn len(&self, key: &str) -> Result<Option<u64>, BackupError>;

    /// An object, or a range of its bytes.
    async fn data(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Box<dyn Read + Send>, BackupError>;

    /// Deletes an object, if there is one.
    async fn delete(&self, key: &str) -> Result<(), BackupError>;

    /// Deletes what killed runs left beside an object, and its folder if that is empty then.
    async fn delete_rest(&self, _key: &str) -> Result<(), BackupError> {
        Ok(())
    }

    /// Whether a run that goes on is writing beside an object, where that can be seen.
    async fn is_being_written(&self, _key: &str) -> Result<bool, BackupError> {
        Ok(false)
    }

    /// Keeps others from changing the cluster of an object, where a store has locks; `None` if there is no such cluster.
    async fn lock(&self, _key: &str) -> Result<Option<StoreLock>, BackupError> {
        Ok(Some(StoreLock(None)))
    }
}

/// Held until it is dropped.
pub struct StoreLock(
    #[expect(dead_code, reason = "it acts when it is dropped")] Option<Box<dyn Any + Send>>,
);

impl StoreLock {
    /// A lock that ends when `guard` is dropped.
    pub fn new(guard: impl Any + Send) -> Self {
        Self(Some(Box::new(guard)))
    }
}

impl fmt::Debug for StoreLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLock").finish_non_exhaustive()
    }
}

/// Takes the data of a new snapshot. Dropped before [`finish`](Self::finish), it is given up without waiting.
pub trait DataSink: Write + Send + fmt::Debug {
    /// Makes the object appear, and gives its length in bytes.
    ///
    /// # Errors
    /// [`BackupError`]; then there is no such object, or that of another run.
    fn finish(self: Box<Self>) -> Result<u64, BackupError>;

    /// Gives it up, and waits until nothing is left of it.
    ///
    /// # Errors
    /// [`BackupError`] if something stays behind.
    fn abort(self: Box<Self>) -> Result<(), BackupError>;
}

/// `metadata.json` as it was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredMetadata {
    /// Its bytes; one more than the longest metadata has if it is longer than that.
    pub json: Vec<u8>,
    /// To replace exactly this one.
    pub version: Version,
}

impl StoredMetadata {
    /// An object of a store that another crate implements.
    #[must_use]
    pub const fn new(json: Vec<u8>, version: Version) -> Self {
        Self { json, version }
    }
}

/// One state of `metadata.json`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Version {
    /// A folder: its content.
    Content(Vec<u8>),
    /// S3: the ETag, and the version where the bucket has versions.
    ETag {
        /// As the server gives it.
        e_tag: Option<String>,
        /// As the server gives it.
        version: Option<String>,
    },
}

/// What a snapshot was when something about it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// The SHA-256 of its metadata.
    Metadata([u8; 32]),
    /// It had none, and this is when the newest of its objects was written, in seconds since 1970-01-01 UTC.
    Orphan {
        /// That time.
        modified: u64,
    },
}

impl Seen {
    /// A snapshot with this metadata.
    #[must_use]
    pub fn of_metadata(json: &[u8]) -> Self {
        Self::Metadata(Sha256::digest(json).into())
    }
}

/// What became of deleting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deleted {
    /// It is deleted.
    Yes,
    /// Another process has deleted it.
    Gone,
    /// It is not what was seen any more, and stays.
    Changed,
}

/// What became of replacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replaced {
    /// It is replaced.
    Yes,
    /// It has changed, or went away, since it was read.
    Conflict,
}
