//! [`S3Store`]: a bucket of S3 as a [`SnapshotStore`].

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::environment::Environment;
use super::upload::Upload;
use super::{S3, S3Settings};
use crate::error::BackupError;
use crate::store::{DataSink, ObjectListing, Replaced, SnapshotStore, StoredMetadata, Version};

/// A bucket of S3, or what is below a prefix in it. Its tasks run on the tokio runtime of the caller.
#[derive(Debug, Clone)]
pub struct S3Store(Arc<S3>);

impl S3Store {
    /// Takes what is not set, credentials among them, from the environment variables and profiles of AWS. Sends nothing.
    ///
    /// # Errors
    /// [`BackupError`] for settings and profiles that cannot be meant, or that name no credentials.
    pub fn connect(settings: &S3Settings) -> Result<Self, BackupError> {
        let environment = Environment::of_this_process();
        let environment = match &settings.credentials {
            Some(credentials) => environment.with_credentials(credentials),
            None => environment,
        };
        Self::connect_in(settings, &environment)
    }

    pub(super) fn connect_in(
        settings: &S3Settings,
        environment: &Environment,
    ) -> Result<Self, BackupError> {
        Ok(Self(Arc::new(S3::connect(settings, environment)?)))
    }
}

#[async_trait]
impl SnapshotStore for S3Store {
    fn name(&self) -> String {
        self.0.name()
    }

    fn list(&self, below: &[&str]) -> Box<dyn ObjectListing> {
        let below = (!below.is_empty()).then(|| below.join("/"));
        Box::new(S3::objects(&self.0, below.as_deref()))
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.0.create(key, bytes).await
    }

    async fn read(&self, key: &str) -> Result<Option<StoredMetadata>, BackupError> {
        self.0.read_metadata(key).await
    }

    async fn replace(
        &self,
        (key, json): (&str, &[u8]),
        (beside, wrapped_dek): (&str, &str),
        version: &Version,
    ) -> Result<Replaced, BackupError> {
        let Version::ETag { e_tag, version } = version else {
            // Read in another kind of store: not this one.
            return Ok(Replaced::Conflict);
        };
        // The copy goes first: whichever of the two a reader takes, it works, and none is left behind under an old key.
        self.0.write(beside, wrapped_dek.as_bytes()).await?;
        self.0
            .replace(key, json, e_tag.as_deref(), version.as_deref())
            .await
    }

    async fn create_data(&self, key: &str) -> Result<Box<dyn DataSink>, BackupError> {
        Ok(Box::new(Upload::new(&self.0, key).await?))
    }

    async fn len(&self, key: &str) -> Result<Option<u64>, BackupError> {
        self.0.len(key).await
    }

    async fn data(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        Ok(Box::new(S3::reader(&self.0, key, range).await?))
    }

    async fn delete(&self, key: &str) -> Result<(), BackupError> {
        self.0.delete(key).await
    }
}
