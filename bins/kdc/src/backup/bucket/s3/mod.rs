//! A bucket of S3.
//!
//! Requests that fail are sent again by the client; what can be decided only by looking (an answer that got lost after the server had
//! done its work) is decided here by reading back. Nothing is concluded from what is no answer of S3:
//!
//! | module | holds |
//! |---|---|
//! | `address`, `connect` | from flags and environment to a client |
//! | `wire` | what requests go through: redirects, bounds, and what is no answer |
//! | `answer`, `xml` | what an answer says |
//! | `list`, `listing` | all pages of a listing, and one |
//! | `read`, `upload` | the data of a snapshot |
//! | `failure` | the words for what failed |

mod address;
mod answer;
mod connect;
mod failure;
mod list;
mod listing;
mod read;
#[cfg(test)]
mod tests;
mod upload;
mod wire;
mod xml;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, HeaderMap, ObjectStore as _, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt as _;

use super::environment::Environment;
use super::{BucketArguments, Replaced, StoredMetadata, Version};
use crate::failure::{Exit, Failure};
use crate::runtime;
use connect::Clients;
use failure::{Kind, Place};
use kdc_envelope::snapshot::metadata::MAX_METADATA_LEN;
pub(super) use list::Listing;
pub(super) use read::Reader;
pub(super) use upload::Upload;

/// What failed for so long is not begun anew: a server that takes requests and answers none needs minutes for each.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bucket, or what is below a prefix in it.
pub(super) struct S3 {
    clients: Clients,
    /// Taken when dropped.
    runtime: Option<Runtime>,
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

impl Drop for S3 {
    fn drop(&mut self) {
        // All who wait for something hold a reference to this: nothing is left to wait for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl S3 {
    pub(super) fn connect(
        arguments: &BucketArguments,
        environment: &Environment,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, Failure> {
        let prefix = match prefix.is_empty() {
            true => String::new(),
            false => format!("{prefix}/"),
        };
        Ok(Self {
            clients: connect::connect(arguments, environment, bucket)?,
            runtime: Some(runtime::start_few()?),
            bucket: bucket.to_owned(),
            prefix,
        })
    }

    pub(super) fn name(&self) -> String {
        let prefix = self.prefix.trim_end_matches('/');
        match prefix.is_empty() {
            true => format!("s3://{}", self.bucket),
            false => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// Writes a small object over what is there.
    pub(super) fn write(&self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(key)?;
        let put = self.store().put(&path, PutPayload::from(bytes.to_vec()));
        match self.wait(put)? {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure("write", key, &error)),
        }
    }

    /// Writes a small object unless there is one with another content.
    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(key)?;
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.store().put_opts(&path, payload, options);
        let Err(error) = self.wait(put)? else {
            // What makes a snapshot must be there before anybody relies on it.
            return match self.read_metadata(key)? {
                Some(stored) if stored.json == bytes => Ok(()),
                _ => Err(self.not_kept(key)),
            };
        };
        // Ours may have arrived, and its answer not.
        match self.read_metadata(key) {
            Ok(Some(stored)) if stored.json == bytes => Ok(()),
            _ => Err(self.failure("create", key, &error)),
        }
    }

    /// The server said that it has it.
    fn not_kept(&self, key: &str) -> Failure {
        let (bucket, prefix, endpoint) = (&self.bucket, &self.prefix, &self.clients.endpoint);
        let line = format!(
            "cannot create s3://{bucket}/{prefix}{key}: {endpoint} said that it is stored, and has it not, or another"
        );
        Failure::new(Exit::Io, line)
            .hint("try again; a server that does this again is not fit for snapshots")
    }

    /// Writes a small object if it is still the one with this ETag.
    pub(super) fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        e_tag: Option<&str>,
        version: Option<&str>,
    ) -> Result<Replaced, Failure> {
        let path = self.path(key)?;
        if e_tag.is_none() {
            let (bucket, prefix, endpoint) = (&self.bucket, &self.prefix, &self.clients.endpoint);
            let line = format!(
                "cannot replace s3://{bucket}/{prefix}{key}: {endpoint} gives it no ETag, without which a change of somebody else cannot be noticed"
            );
            return Err(
                Failure::new(Exit::Config, line).hint("such a server is not fit for snapshots")
            );
        }
        let options = PutOptions::from(PutMode::Update(UpdateVersion {
            e_tag: e_tag.map(str::to_owned),
            version: version.map(str::to_owned),
        }));
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.store().put_opts(&path, payload, options);
        let Err(error) = self.wait(put)? else {
            return Ok(Replaced::Yes);
        };
        // Again, ours may have arrived.
        if let Ok(Some(stored)) = self.read_metadata(key)
            && stored.json == bytes
        {
            return Ok(Replaced::Yes);
        }
        match Kind::of(&error) {
            Kind::Changed | Kind::NoObject => Ok(Replaced::Conflict),
            _ => Err(self.failure("replace", key, &error)),
        }
    }

    pub(super) fn read_metadata(&self, key: &str) -> Result<Option<StoredMetadata>, Failure> {
        let path = self.path(key)?;
        // One byte more than is allowed, so that whoever parses it sees that it is too long.
        let limit = u64::try_from(MAX_METADATA_LEN).unwrap_or(u64::MAX);
        let read = async {
            let mut answer = self.store().get_opts(&path, GetOptions::default()).await?;
            let e_tag = answer.meta.e_tag.take();
            let version = answer.meta.version.take();
            let mut json = Vec::new();
            let mut stream = answer.into_stream();
            while let Some(piece) = stream.next().await {
                json.extend_from_slice(&piece?);
                if u64::try_from(json.len()).unwrap_or(u64::MAX) > limit {
                    break;
                }
            }
            // Not every page says what it is.
            match answer::looks_like_page(&json) {
                true => Err(answer::carried(answer::not_s3(&HeaderMap::new(), &json))),
                false => Ok(StoredMetadata {
                    json,
                    version: Version::ETag { e_tag, version },
                }),
            }
        };
        // A server may send a byte now and then, and for ever.
        let read = async {
            let limited = tokio::time::timeout(PATIENCE, read).await;
            limited.unwrap_or_else(|elapsed| Err(wire::too_slow(elapsed)))
        };
        self.unless_absent("read", key, self.wait(read)?)
    }

    pub(super) fn len(&self, key: &str) -> Result<Option<u64>, Failure> {
        let path = self.path(key)?;
        let found = self.wait(self.store().head(&path))?;
        let found = self.unless_absent("read", key, found)?;
        Ok(found.map(|object| object.size))
    }

    pub(super) fn reader(
        s3: &Arc<Self>,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Reader, Failure> {
        let path = s3.path(key)?;
        Reader::new(Arc::clone(s3), key.to_owned(), path, range)
    }

    /// Deletes an object, if there is one.
    pub(super) fn delete(&self, key: &str) -> Result<(), Failure> {
        let path = self.path(key)?;
        let deleted = self.wait(self.store().delete(&path))?;
        self.unless_absent("delete", key, deleted).map(|_| ())
    }

    /// All objects in order of their keys.
    pub(super) fn objects(s3: &Arc<Self>, cluster: Option<&str>) -> Listing {
        Listing::new(s3, cluster)
    }

    const fn store(&self) -> &AmazonS3 {
        &self.clients.store
    }

    fn path(&self, key: &str) -> Result<Path, Failure> {
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|error| Failure::at(Exit::Usage, "--bucket", &error))
    }

    fn runtime(&self) -> Result<&Runtime, Failure> {
        let ended = || Failure::new(Exit::Io, "the connection to the S3 server has ended");
        self.runtime.as_ref().ok_or_else(ended)
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        Ok(self.runtime()?.block_on(future))
    }

    fn unless_absent<T>(
        &self,
        verb: &str,
        key: &str,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if Kind::of(&error) == Kind::NoObject => Ok(None),
            Err(error) => Err(self.failure(verb, key, &error)),
        }
    }

    fn failure(&self, verb: &str, key: &str, error: &StoreError) -> Failure {
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
