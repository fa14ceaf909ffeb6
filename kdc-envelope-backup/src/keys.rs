//! [`SnapshotKeys`]: the key encryption key that wraps the data keys of snapshots.

use std::fmt;

use async_trait::async_trait;
use kdc_envelope::local::LocalKek;
use kdc_envelope::snapshot::metadata::WrappedDek;
use kdc_envelope::{Aad, KekError, Key256, KeyEncryptionKey as _};

use crate::error::{BackupError, BackupErrorKind, Subject};

/// Makes, opens and moves the data keys of snapshots. A keyring is one by itself; callers with a key elsewhere, such as in OpenBao Transit,
/// bring their own.
#[async_trait]
pub trait SnapshotKeys: fmt::Debug + Send + Sync {
    /// The key, with its article or in backquotes, for messages.
    fn name(&self) -> String;

    /// A new data key, and how it is wrapped.
    async fn new_dek(&self) -> Result<(Key256, WrappedDek), KekError>;

    /// Opens a data key.
    async fn unwrap(&self, wrapped: &WrappedDek) -> Result<Key256, KekError>;

    /// Whether a data key is under this key, in whatever version.
    fn is_own(&self, wrapped: &WrappedDek) -> bool;

    /// Moves up to [`max_rewrap`](Self::max_rewrap) data keys to the newest version of the key: one result for each, in order.
    async fn rewrap(
        &self,
        wrapped: &[&WrappedDek],
    ) -> Result<Vec<Result<WrappedDek, KekError>>, KekError>;

    /// How many data keys one call of [`rewrap`](Self::rewrap) takes.
    fn max_rewrap(&self) -> usize {
        100
    }
}

/// What is wrapped under another kind of key.
const OTHER_KIND: KekError = KekError::Misuse("its kind is not that of the given key");

#[async_trait]
impl SnapshotKeys for LocalKek {
    fn name(&self) -> String {
        "a keyring".to_owned()
    }

    async fn new_dek(&self) -> Result<(Key256, WrappedDek), KekError> {
        let dek = Key256::random().map_err(|error| KekError::Unavailable {
            source: Box::new(error),
        })?;
        let wrapped = self.wrap(dek.expose(), Aad::EMPTY).await?;
        Ok((dek, WrappedDek::KeyId(wrapped)))
    }

    async fn unwrap(&self, wrapped: &WrappedDek) -> Result<Key256, KekError> {
        let WrappedDek::KeyId(key) = wrapped else {
            return Err(OTHER_KIND);
        };
        let secret = kdc_envelope::KeyEncryptionKey::unwrap(self, key, Aad::EMPTY).await?;
        Key256::from_slice(secret.expose()).ok_or(KekError::Malformed {
            field: "wrapped DEK, which holds no 32 bytes",
            offset: 0,
        })
    }

    fn is_own(&self, wrapped: &WrappedDek) -> bool {
        matches!(wrapped, WrappedDek::KeyId(_))
    }

    async fn rewrap(
        &self,
        wrapped: &[&WrappedDek],
    ) -> Result<Vec<Result<WrappedDek, KekError>>, KekError> {
        let mut results = Vec::with_capacity(wrapped.len());
        for old in wrapped {
            results.push(match old {
                WrappedDek::KeyId(key) => {
                    let moved = kdc_envelope::KeyEncryptionKey::rewrap(self, key, Aad::EMPTY).await;
                    moved.map(|new| WrappedDek::KeyId(new.unwrap_or_else(|| key.clone())))
                }
                _ => Err(OTHER_KIND),
            });
        }
        Ok(results)
    }
}

/// Opens the data key of a snapshot, if it is under `keys`.
pub(crate) async fn open_dek(
    keys: &dyn SnapshotKeys,
    wrapped: &WrappedDek,
) -> Result<Key256, BackupError> {
    if !keys.is_own(wrapped) {
        let given = keys.name();
        let line = format!("the data key of the snapshot is under {wrapped}, not under {given}");
        return Err(BackupError::new(BackupErrorKind::Mismatch, line).about(Subject::Key));
    }
    let opened = keys.unwrap(wrapped).await;
    opened.map_err(|error| {
        let what = format!("cannot unwrap the data key, which is under {wrapped}");
        BackupError::of_kek(what, error)
    })
}
