//! The objects of one snapshot, written and deleted in an order that never leaves something that looks complete and is not.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use kdc_envelope::snapshot::check_name;

use super::listing::{Entries, Entry};
use super::{
    DATA, DataSink, Deleted, METADATA, Replaced, Seen, SnapshotStore, StoredMetadata, Version,
    WRAPPED_DEK,
};
use crate::error::{BackupError, BackupErrorKind};

/// The objects of one snapshot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotFiles {
    store: Arc<dyn SnapshotStore>,
    cluster: String,
    id: String,
}

impl SnapshotFiles {
    /// The snapshot `id` of `cluster`, whether it exists or not.
    pub fn new(store: &Arc<dyn SnapshotStore>, cluster: &str, id: &str) -> Self {
        Self {
            store: Arc::clone(store),
            cluster: cluster.to_owned(),
            id: id.to_owned(),
        }
    }

    /// A new object for the data. Fails, at the latest in [`DataSink::finish`], if the snapshot has data already.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn create_data(&self) -> Result<Box<dyn DataSink>, BackupError> {
        self.store.create_data(&self.key(DATA)?).await
    }

    /// Claims the id, by writing `dek.wrapped` unless there is another one. Wrapped DEKs are all different, so the text tells whose it is.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn claim(&self, wrapped_dek: &str) -> Result<(), BackupError> {
        let key = self.key(WRAPPED_DEK)?;
        self.store.create(&key, wrapped_dek.as_bytes()).await
    }

    /// Whether the claim is this one; `None` if there is none.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn is_claimed_by(&self, wrapped_dek: &str) -> Result<Option<bool>, BackupError> {
        let key = self.key(WRAPPED_DEK)?;
        let stored = self.store.read(&key).await?;
        Ok(stored.map(|stored| stored.json == wrapped_dek.as_bytes()))
    }

    /// Makes it a snapshot: writes `metadata.json`, which must not exist. All else must be written by now.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn commit(&self, json: &[u8]) -> Result<(), BackupError> {
        self.store.commit(&self.key(METADATA)?, json).await
    }

    /// Deletes what a run has written that holds the claim `wrapped_dek`, and has no metadata: the data if it is there, then the claim. Does
    /// nothing if the claim is another's.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn withdraw(&self, wrapped_dek: &str, has_data: bool) -> Result<(), BackupError> {
        if self.is_claimed_by(wrapped_dek).await? != Some(true) {
            return Ok(());
        }
        if has_data {
            self.delete_object(DATA).await?;
        }
        self.delete_object(WRAPPED_DEK).await?;
        self.leave().await
    }

    /// `metadata.json`, if there is any.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn read_metadata(&self) -> Result<Option<StoredMetadata>, BackupError> {
        self.store.read(&self.key(METADATA)?).await
    }

    /// Writes `metadata.json` over the one that was read as `version`, if that is still there, and `dek.wrapped` beside it. Two at once
    /// do no harm: one of them gets [`Replaced::Conflict`].
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn replace_metadata(
        &self,
        json: &[u8],
        wrapped_dek: &str,
        version: &Version,
    ) -> Result<Replaced, BackupError> {
        let (key, beside) = (self.key(METADATA)?, self.key(WRAPPED_DEK)?);
        let replaced = self
            .store
            .replace((&key, json), (&beside, wrapped_dek), version)
            .await?;
        if replaced == Replaced::Conflict && self.read_metadata().await?.is_none() {
            // It was deleted meanwhile. What was written here must not be all that is left of it.
            self.withdraw(wrapped_dek, false).await?;
        }
        Ok(replaced)
    }

    /// The length of the data in bytes, if there is any.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn data_len(&self) -> Result<Option<u64>, BackupError> {
        self.store.len(&self.key(DATA)?).await
    }

    /// The data, or a range of it, as a stream.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn data(
        &self,
        range: Option<Range<u64>>,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        self.store.data(&self.key(DATA)?, range).await
    }

    /// Deletes all of it if it is still what was seen, `metadata.json` first, so that what is left by an end in between is an orphan and
    /// never looks complete. In a folder no other process can commit or replace meanwhile; in S3 a moment is left between the check and the deletion.
    ///
    /// # Errors
    /// [`BackupError`] of the store, and for names that no snapshot can have.
    pub async fn delete_if(&self, seen: Seen) -> Result<Deleted, BackupError> {
        let Some(_lock) = self.store.lock(&self.key(METADATA)?).await? else {
            return Ok(Deleted::Gone);
        };
        let stored = self.read_metadata().await?;
        match (seen, &stored) {
            (Seen::Metadata(_), None) => return Ok(Deleted::Gone),
            (Seen::Metadata(_), Some(stored)) if Seen::of_metadata(&stored.json) == seen => {}
            (Seen::Orphan { modified }, None) => match self.entry().await? {
                None => return Ok(Deleted::Gone),
                Some(entry) if entry.modified != modified || self.is_being_written().await? => {
                    return Ok(Deleted::Changed);
                }
                Some(_) => {}
            },
            _ => return Ok(Deleted::Changed),
        }
        self.delete_object(METADATA).await?;
        if let Err(error) = self.delete_object(DATA).await {
            return Err(self.put_back(stored, error).await);
        }
        self.delete_object(WRAPPED_DEK).await?;
        self.leave().await?;
        Ok(Deleted::Yes)
    }

    /// The data cannot be deleted, as under a legal hold: it stays a snapshot.
    async fn put_back(&self, stored: Option<StoredMetadata>, error: BackupError) -> BackupError {
        let Some(stored) = stored else {
            return error;
        };
        let created = match self.key(METADATA) {
            Ok(key) => self.store.create(&key, &stored.json).await,
            Err(error) => Err(error),
        };
        match created {
            Ok(()) => error,
            Err(_) => error.and("its metadata is deleted already, so that it is an orphan now"),
        }
    }

    /// Everything that is there of it, listed anew.
    async fn entry(&self) -> Result<Option<Entry>, BackupError> {
        let mut entries = Entries::new(self.store.list(&[&self.cluster, &self.id]));
        while let Some(entry) = entries.next().await? {
            if entry.is_snapshot() {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    async fn is_being_written(&self) -> Result<bool, BackupError> {
        self.store.is_being_written(&self.key(DATA)?).await
    }

    async fn delete_object(&self, file: &str) -> Result<(), BackupError> {
        self.store.delete(&self.key(file)?).await
    }

    /// A folder goes when nothing is in it but what killed runs left.
    async fn leave(&self) -> Result<(), BackupError> {
        self.store.delete_rest(&self.key(DATA)?).await
    }

    /// Where an object lies. Names that reach beyond the bucket, or into another snapshot, are refused here, wherever they come from.
    fn key(&self, file: &str) -> Result<String, BackupError> {
        check_name("the cluster name", &self.cluster)
            .and_then(|()| check_name("the snapshot id", &self.id))
            .map_err(|error| BackupError::new(BackupErrorKind::InvalidInput, error))?;
        Ok(format!("{}/{}/{file}", self.cluster, self.id))
    }
}
