//! A bucket of S3.
//!
//! Requests that fail are sent again by the client; what can be decided only by looking (an answer that got lost after the server had
//! done its work) is decided here by reading back. Nothing is concluded from what is no answer of S3:
//!
//! | module | holds |
//! |---|---|
//! | `address`, `connect` | from flags and environment to a client |
//! | `wire` | what requests go through: redirects, bounds, and what is no answer |
//! | `response`, `xml` | what an answer says |
//! | `list`, `listing` | all pages of a listing, and one |
//! | `read`, `upload` | the data of a snapshot |
//! | `failure` | the words for what failed |

mod address;
mod connect;
mod environment;
mod failure;
mod list;
mod listing;
mod profile;
mod read;
mod response;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod upload;
mod wire;
mod xml;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, HeaderMap, ObjectStore as _, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, UpdateVersion,
};

use super::{Replaced, StoredMetadata, Version};
use crate::error::Subject;
use crate::error::{BackupError, BackupErrorKind as ErrorKind};
use connect::Clients;
use environment::Environment;
use failure::{Kind, Place};
use kdc_envelope::snapshot::metadata::MAX_METADATA_LEN;
use list::Listing;
use read::Reader;
pub use settings::{Addressing, Checksum, S3Credentials, S3Settings};
pub use store::S3Store;

/// What failed for so long is not begun anew: a server that takes requests and answers none needs minutes for each.
const RETRY_BUDGET: Duration = Duration::from_secs(120);

/// A bucket, or what is below a prefix in it.
struct S3 {
    clients: Clients,
    bucket: String,
    /// Ends in a slash, or is empty.
    prefix: String,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client knows credentials.
        f.debug_struct("S3").field("name", &self.name()).finish()
    }
}

impl S3 {
    fn connect(settings: &S3Settings, environment: &Environment) -> Result<Self, BackupError> {
        let prefix = match settings.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            clients: connect::connect(settings, environment)?,
            bucket: settings.bucket.clone(),
            prefix,
        })
    }

    fn name(&self) -> String {
        let prefix = self.prefix.trim_end_matches('/');
        match prefix.is_empty() {
            true => format!("s3://{}", self.bucket),
            false => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// Writes a small object over what is there.
    async fn write(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let path = self.path(key)?;
        let put = self.store().put(&path, PutPayload::from(bytes.to_vec()));
        match put.await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure("write", key, &error)),
        }
    }

    /// Writes a small object unless there is one with another content.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let path = self.path(key)?;
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.store().put_opts(&path, payload, options);
        let Err(error) = put.await else {
            // What makes a snapshot must be there before a caller relies on it.
            return match self.read_metadata(key).await? {
                Some(stored) if stored.json == bytes => Ok(()),
                _ => Err(self.not_kept(key)),
            };
        };
        // Ours may have arrived, and its answer not.
        match self.read_metadata(key).await {
            Ok(Some(stored)) if stored.json == bytes => Ok(()),
            _ => Err(self.failure("create", key, &error)),
        }
    }

    /// The server said that it has it.
    fn not_kept(&self, key: &str) -> BackupError {
        let (bucket, prefix, endpoint) = (&self.bucket, &self.prefix, &self.clients.endpoint);
        let line = format!(
            "cannot create s3://{bucket}/{prefix}{key}: {endpoint} said that it is stored, and has it not, or another"
        );
        BackupError::new(ErrorKind::Io, line)
            .advise("try again; a server that does this again is not fit for snapshots")
    }

    /// Writes a small object if it is still the one with this ETag.
    async fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        e_tag: Option<&str>,
        version: Option<&str>,
    ) -> Result<Replaced, BackupError> {
        let path = self.path(key)?;
        if e_tag.is_none() {
            let (bucket, prefix, endpoint) = (&self.bucket, &self.prefix, &self.clients.endpoint);
            let line = format!(
                "cannot replace s3://{bucket}/{prefix}{key}: {endpoint} gives it no ETag, without which a concurrent change cannot be noticed"
            );
            return Err(BackupError::new(ErrorKind::Configuration, line)
                .advise("such a server is not fit for snapshots"));
        }
        let options = PutOptions::from(PutMode::Update(UpdateVersion {
            e_tag: e_tag.map(str::to_owned),
            version: version.map(str::to_owned),
        }));
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.store().put_opts(&path, payload, options);
        let Err(error) = put.await else {
            return Ok(Replaced::Yes);
        };
        // Again, ours may have arrived.
        if let Ok(Some(stored)) = self.read_metadata(key).await
            && stored.json == bytes
        {
            return Ok(Replaced::Yes);
        }
        match Kind::of(&error) {
            Kind::Changed | Kind::NoObject => Ok(Replaced::Conflict),
            _ => Err(self.failure("replace", key, &error)),
        }
    }

    async fn read_metadata(&self, key: &str) -> Result<Option<StoredMetadata>, BackupError> {
        let path = self.path(key)?;
        // One byte more than is allowed, so that a parser sees that it is too long.
        let limit = u64::try_from(MAX_METADATA_LEN).unwrap_or(u64::MAX);
        let read = async {
            let mut response = self.store().get_opts(&path, GetOptions::default()).await?;
            let e_tag = response.meta.e_tag.take();
            let version = response.meta.version.take();
            let mut json = Vec::new();
            let mut stream = response.into_stream();
            while let Some(piece) = stream.next().await {
                json.extend_from_slice(&piece?);
                if u64::try_from(json.len()).unwrap_or(u64::MAX) > limit {
                    break;
                }
            }
            // Not every page says what it is.
            match response::looks_like_page(&json) {
                true => Err(response::carried(response::not_s3(
                    &HeaderMap::new(),
                    &json,
                ))),
                false => Ok(StoredMetadata {
                    json,
                    version: Version::ETag { e_tag, version },
                }),
            }
        };
        // A server may send a byte now and then, and for ever.
        let read = async {
            let limited = tokio::time::timeout(RETRY_BUDGET, read).await;
            limited.unwrap_or_else(|elapsed| Err(wire::too_slow(elapsed)))
        };
        self.unless_absent("read", key, read.await)
    }

    async fn len(&self, key: &str) -> Result<Option<u64>, BackupError> {
        let path = self.path(key)?;
        let found = self.store().head(&path).await;
        let found = self.unless_absent("read", key, found)?;
        Ok(found.map(|object| object.size))
    }

    async fn reader(
        s3: &Arc<Self>,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Reader, BackupError> {
        let path = s3.path(key)?;
        Reader::new(Arc::clone(s3), key.to_owned(), path, range).await
    }

    /// Deletes an object, if there is one.
    async fn delete(&self, key: &str) -> Result<(), BackupError> {
        let path = self.path(key)?;
        let deleted = self.store().delete(&path).await;
        self.unless_absent("delete", key, deleted).map(|_| ())
    }

    /// All objects in order of their keys.
    fn objects(s3: &Arc<Self>, cluster: Option<&str>) -> Listing {
        Listing::new(s3, cluster)
    }

    const fn store(&self) -> &AmazonS3 {
        &self.clients.store
    }

    fn path(&self, key: &str) -> Result<Path, BackupError> {
        Path::parse(format!("{}{key}", self.prefix)).map_err(|error| {
            BackupError::at(ErrorKind::InvalidInput, "not a key", error).about(Subject::Store)
        })
    }

    fn unless_absent<T>(
        &self,
        verb: &str,
        key: &str,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, BackupError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if Kind::of(&error) == Kind::NoObject => Ok(None),
            Err(error) => Err(self.failure(verb, key, &error)),
        }
    }

    fn failure(&self, verb: &str, key: &str, error: &StoreError) -> BackupError {
        let key = match key.is_empty() {
            true => self.prefix.trim_end_matches('/').to_owned(),
            false => format!("{}{key}", self.prefix),
        };
        let place = Place {
            bucket: &self.bucket,
            endpoint: &self.clients.endpoint,
            key: &key,
        };
        place.failure(verb, error)
    }
}

/// What a read asks for.
fn get_options(range: Option<GetRange>, e_tag: Option<&str>) -> GetOptions {
    GetOptions {
        range,
        if_match: e_tag.map(str::to_owned),
        ..GetOptions::default()
    }
}
