//! [`FolderStore`]: a folder for async callers. What touches the disk runs on threads of tokio that may wait.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kdc_envelope::snapshot::metadata::MAX_METADATA_LEN;

use super::lock::Waiting;
use super::{Directory, Walk};
use crate::blocking::blocking;
use crate::error::BackupError;
use crate::store::{
    DataSink, Found, ObjectListing, Replaced, SnapshotStore, StoreLock, StoredMetadata, Version,
};

/// Objects of a listing that are looked for at once.
const BATCH: usize = 256;

/// A folder that holds clusters. It is made, for its owner alone, when something is written.
#[derive(Debug, Clone)]
pub struct FolderStore(Arc<Directory>);

impl FolderStore {
    /// A folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::telling(root, |_, _| ())
    }

    /// The same; `waits` is called when another process holds the lock of a cluster for seconds, with the lock's path and the longest
    /// time that is waited for it.
    pub fn telling(
        root: impl Into<PathBuf>,
        waits: impl Fn(&Path, Duration) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Directory::new(root.into(), Waiting::new(waits))))
    }

    /// Does `work` where waiting for a disk stops nothing else.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let directory = Arc::clone(&self.0);
        blocking(move || work(&directory)).await
    }
}

#[async_trait]
impl SnapshotStore for FolderStore {
    fn name(&self) -> String {
        self.0.name()
    }

    fn list(&self, below: &[&str]) -> Box<dyn ObjectListing> {
        Box::new(Listing {
            walk: Some(self.0.objects(below)),
            batch: Vec::new().into_iter(),
        })
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let (key, bytes) = (key.to_owned(), bytes.to_vec());
        self.on_disk(move |directory| directory.create(&key, &bytes))
            .await
    }

    async fn commit(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let (key, bytes) = (key.to_owned(), bytes.to_vec());
        self.on_disk(move |directory| directory.commit(&key, &bytes))
            .await
    }

    async fn read(&self, key: &str) -> Result<Option<StoredMetadata>, BackupError> {
        let key = key.to_owned();
        let read = self.on_disk(move |directory| directory.read(&key, MAX_METADATA_LEN));
        let stored = |json: Vec<u8>| StoredMetadata::new(json.clone(), Version::Content(json));
        Ok(read.await?.map(stored))
    }

    async fn replace(
        &self,
        (key, json): (&str, &[u8]),
        (_, wrapped_dek): (&str, &str),
        version: &Version,
    ) -> Result<Replaced, BackupError> {
        let Version::Content(old) = version.clone() else {
            // Read in another kind of store: not this one.
            return Ok(Replaced::Conflict);
        };
        let (key, json, wrapped_dek) = (key.to_owned(), json.to_vec(), wrapped_dek.to_owned());
        self.on_disk(move |directory| directory.replace(&key, &json, &wrapped_dek, &old))
            .await
    }

    async fn create_data(&self, key: &str) -> Result<Box<dyn DataSink>, BackupError> {
        let key = key.to_owned();
        let staged = self.on_disk(move |directory| directory.create_data(&key));
        Ok(Box::new(staged.await?))
    }

    async fn len(&self, key: &str) -> Result<Option<u64>, BackupError> {
        let key = key.to_owned();
        self.on_disk(move |directory| directory.len(&key)).await
    }

    async fn data(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        let key = key.to_owned();
        let reader = self.on_disk(move |directory| directory.reader(&key, range));
        Ok(Box::new(reader.await?))
    }

    async fn delete(&self, key: &str) -> Result<(), BackupError> {
        let key = key.to_owned();
        self.on_disk(move |directory| directory.delete(&key)).await
    }

    async fn delete_rest(&self, key: &str) -> Result<(), BackupError> {
        let key = key.to_owned();
        self.on_disk(move |directory| directory.delete_rest(&key))
            .await
    }

    async fn is_being_written(&self, key: &str) -> Result<bool, BackupError> {
        let key = key.to_owned();
        self.on_disk(move |directory| directory.is_being_written(&key))
            .await
    }

    async fn lock(&self, key: &str) -> Result<Option<StoreLock>, BackupError> {
        let key = key.to_owned();
        let lock = self.on_disk(move |directory| directory.lock(&key));
        Ok(lock.await?.map(StoreLock::new))
    }
}

/// A walk through a folder, some steps at a time.
struct Listing {
    /// `None` once it has ended.
    walk: Option<Walk>,
    batch: std::vec::IntoIter<Result<Found, BackupError>>,
}

#[async_trait]
impl ObjectListing for Listing {
    async fn next(&mut self) -> Result<Option<Found>, BackupError> {
        loop {
            if let Some(found) = self.batch.next() {
                return found.map(Some);
            }
            let Some(mut walk) = self.walk.take() else {
                return Ok(None);
            };
            let (walk, batch) = blocking(move || {
                let batch: Vec<_> = walk.by_ref().take(BATCH).collect();
                Ok((walk, batch))
            })
            .await?;
            self.walk = (batch.len() == BATCH).then_some(walk);
            self.batch = batch.into_iter();
        }
    }
}
