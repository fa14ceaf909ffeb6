//! [`SnapshotReader`]: a snapshot of etcd out of a store.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use kdc_envelope::Key256;
use kdc_envelope::snapshot::metadata::{Metadata, MetadataV1, MetadataV2};
use kdc_envelope::snapshot::{
    self, ContentSummary, Expected, OpenError, OpenOptions, Trailer, Unlocked, check_name,
};

use crate::blocking::blocking;
use crate::catalogue::{CatalogueEntry, State, scan};
use crate::error::{BackupError, BackupErrorKind, Subject};
use crate::keys::{SnapshotKeys, open_dek};
use crate::store::{SnapshotFiles, SnapshotStore};

/// Reads the snapshots of one cluster.
#[derive(Debug, Clone)]
pub struct SnapshotReader {
    store: Arc<dyn SnapshotStore>,
    keys: Arc<dyn SnapshotKeys>,
    cluster: String,
    workers: NonZeroUsize,
}

/// The newest snapshot of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Newest {
    /// Its id.
    pub id: String,
    /// How many entries may be newer, because nothing tells what they are or when they were taken.
    pub uncomparable: u64,
}

/// A snapshot in a store, its metadata, and its data key. Nothing of its content was looked at yet.
#[derive(Debug, Clone)]
pub struct OpenedSnapshot {
    cluster: String,
    id: String,
    metadata: Arc<Metadata>,
    files: SnapshotFiles,
    dek: Arc<Key256>,
    workers: NonZeroUsize,
}

impl SnapshotReader {
    /// Snapshots of another cluster than this are refused, whatever their place says.
    ///
    /// # Errors
    /// [`BackupErrorKind::InvalidInput`] for a name that no cluster can have.
    pub fn new(
        store: Arc<dyn SnapshotStore>,
        keys: Arc<dyn SnapshotKeys>,
        cluster: &str,
    ) -> Result<Self, BackupError> {
        let named = check_name("the cluster name", cluster);
        named.map_err(|error| {
            BackupError::wrap(BackupErrorKind::InvalidInput, &error).about(Subject::Cluster)
        })?;
        Ok(Self {
            store,
            keys,
            cluster: cluster.to_owned(),
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        })
    }

    /// So many threads decrypt, instead of one a core.
    #[must_use]
    pub const fn with_workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// The newest snapshot by what its metadata says, which a copied store keeps and a rewrap does not change. `now` is in seconds since
    /// 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`BackupErrorKind::NotFound`] if there is no complete snapshot of the cluster; else [`BackupError`] of the store.
    pub async fn newest(&self, now: u64) -> Result<Newest, BackupError> {
        let mut newest = None;
        let (mut unknown, mut timeless) = (0_u64, 0_u64);
        for found in self.list(now).await? {
            match found.state {
                State::TimeUnknown => timeless += 1,
                _ if found.entry.data.is_some() && found.metadata.is_some() => {
                    newest = Some(found.entry.id);
                }
                _ => unknown += 1,
            }
        }
        let Some(id) = newest else {
            let cluster = &self.cluster;
            let line =
                format!("there is no complete snapshot of cluster `{cluster}` in the bucket");
            let error = BackupError::new(BackupErrorKind::NotFound, line);
            return Err(match timeless {
                0 => error.advise("{inventory} shows what there is"),
                _ => error.advise("those that are there tell no time, or one in the future by the clock of this machine; {snapshot} names one"),
            });
        };
        Ok(Newest {
            id,
            uncomparable: unknown + timeless,
        })
    }

    /// Everything of the cluster that is, or may be, a snapshot, oldest first. What has not got its metadata yet is none.
    ///
    /// # Errors
    /// [`BackupError`] of the store.
    pub async fn list(&self, now: u64) -> Result<Vec<CatalogueEntry>, BackupError> {
        let mut all = Vec::new();
        scan(&self.store, Some(&self.cluster), now, |found| {
            if !matches!(
                found.state,
                State::Orphan | State::Plaintext | State::Foreign
            ) {
                all.push(found);
            }
        })
        .await?;
        all.sort_by_key(|found| (found.created(), found.entry.id.clone()));
        Ok(all)
    }

    /// Finds a snapshot, and unwraps its data key.
    ///
    /// # Errors
    /// [`BackupErrorKind::NotFound`] if there is none of this id, [`BackupErrorKind::Mismatch`] if it is under another key; else
    /// [`BackupError`] of store and key.
    pub async fn open(&self, id: &str) -> Result<OpenedSnapshot, BackupError> {
        let files = SnapshotFiles::new(&self.store, &self.cluster, id);
        let Some(stored) = files.read_metadata().await? else {
            let line = format!(
                "there is no snapshot `{id}` of cluster `{}` in the bucket",
                self.cluster
            );
            let error = BackupError::new(BackupErrorKind::NotFound, line);
            return Err(error.advise("{list} shows what there is"));
        };
        let metadata = Metadata::parse(&stored.json).map_err(|error| {
            let what = format!("snapshot `{id}` of cluster `{}`", self.cluster);
            BackupError::of_metadata(what, error)
        })?;
        let dek = open_dek(&*self.keys, metadata.wrapped_dek()).await?;
        Ok(OpenedSnapshot {
            cluster: self.cluster.clone(),
            id: id.to_owned(),
            metadata: Arc::new(metadata),
            files,
            dek: Arc::new(dek),
            workers: self.workers,
        })
    }

    /// What lies in the place of a snapshot's metadata, even if it cannot be used.
    ///
    /// # Errors
    /// [`BackupError`] of the store.
    pub async fn raw_metadata(&self, id: &str) -> Result<Option<Vec<u8>>, BackupError> {
        let files = SnapshotFiles::new(&self.store, &self.cluster, id);
        Ok(files.read_metadata().await?.map(|stored| stored.json))
    }

    /// Whether a snapshot is known to be no longer there.
    pub async fn is_gone(&self, id: &str) -> bool {
        matches!(self.raw_metadata(id).await, Ok(None))
    }

    /// The first `len` bytes of what lies in the place of a snapshot's data.
    ///
    /// # Errors
    /// [`BackupError`] of the store.
    pub async fn raw_start(&self, id: &str, len: u64) -> Result<Vec<u8>, BackupError> {
        let files = SnapshotFiles::new(&self.store, &self.cluster, id);
        read_start(&files, len).await
    }
}

impl OpenedSnapshot {
    /// The cluster that it is of.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its metadata; authentic only after [`check_header`](Self::check_header).
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The length of the sealed data in bytes, if there is any.
    ///
    /// # Errors
    /// [`BackupError`] of the store.
    pub async fn sealed_len(&self) -> Result<Option<u64>, BackupError> {
        self.files.data_len().await
    }

    /// Writes the content to `sink`, on a thread that may wait. It may be used only if this succeeds. `progress` is told how many more sealed
    /// bytes were read.
    ///
    /// # Errors
    /// [`BackupErrorKind::Damaged`] if anything is not authentic; else [`BackupError`] of store and sink.
    pub async fn write_content_to(
        &self,
        sink: impl Write + Send + 'static,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<ContentSummary, BackupError> {
        self.check_header().await?;
        let source = Watched {
            source: self.files.data(None).await?,
            progress,
        };
        let opened = self.clone();
        blocking(move || {
            let content = match &*opened.metadata {
                Metadata::V1(metadata) => open_v1(metadata, source, sink, &opened.dek),
                Metadata::V2(metadata) => opened.open_v2(metadata, source, sink),
                _ => Err(OpenError::Content { what: "version" }),
            };
            let what = format!("cannot open snapshot `{}`", opened.id);
            content.map_err(|error| BackupError::of_open(what, error))
        })
        .await
    }

    fn open_v2(
        &self,
        metadata: &MetadataV2,
        source: impl Read + Send,
        sink: impl Write,
    ) -> Result<ContentSummary, OpenError> {
        let mut options = OpenOptions::default();
        options.workers = self.workers;
        options.trailer = match metadata.sha256() {
            Some(_) => Trailer::Digest,
            None => Trailer::Unchecked,
        };
        let expected = self.expected().with_content_len(metadata.content_len());
        let (unlocked, content) = snapshot::open(source, sink, &self.dek, &expected, &options)?;
        unlocked.check(metadata)?;
        match content.sha256 == metadata.sha256() {
            true => Ok(content),
            false => Err(OpenError::Content { what: "SHA-256" }),
        }
    }

    /// Checks what can be checked without reading the payload: for version 2 the header, the commitment to the data key, the
    /// metadata and the length; for version 1 the nonce and nothing more.
    ///
    /// # Errors
    /// [`BackupErrorKind::Damaged`] if these do not belong together; else [`BackupError`] of the store.
    pub async fn check_header(&self) -> Result<(), BackupError> {
        /// Longer than any header.
        const START: u64 = 4096;
        let what = format!("snapshot `{}`", self.id);
        let Some(len) = self.files.data_len().await? else {
            let line = format!("{what}: its sealed object is missing");
            return Err(BackupError::new(BackupErrorKind::Damaged, line));
        };
        let start = read_start(&self.files, len.min(START)).await?;
        let mut start = start.as_slice();
        let checked = match &*self.metadata {
            Metadata::V1(metadata) => check_nonce(metadata, &mut start),
            Metadata::V2(metadata) => Unlocked::read_from(&mut start, &self.dek, &self.expected())
                .and_then(|unlocked| {
                    unlocked.check(metadata)?;
                    match metadata.sealed_len() == len {
                        true => Ok(()),
                        false => Err(OpenError::Authentication { offset: len }),
                    }
                }),
            _ => Err(OpenError::Content { what: "version" }),
        };
        checked.map_err(|error| BackupError::of_open(what, error))
    }

    fn expected(&self) -> Expected {
        Expected::new(&self.cluster, &self.id)
    }
}

/// The first bytes of the data, up to `len`.
async fn read_start(files: &SnapshotFiles, len: u64) -> Result<Vec<u8>, BackupError> {
    let mut data = files.data(Some(0..len)).await?;
    blocking(move || {
        let mut start = Vec::new();
        let read = data.read_to_end(&mut start);
        match read.map_err(BackupError::carried) {
            Ok(_) => Ok(start),
            Err(Ok(error)) => Err(error),
            Err(Err(error)) => Err(BackupError::at(
                BackupErrorKind::of_io(&error),
                "cannot read a snapshot",
                error,
            )),
        }
    })
    .await
}

/// A source that tells how much of it was read.
struct Watched<F> {
    source: Box<dyn Read + Send>,
    progress: F,
}

impl<F: FnMut(u64)> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

fn open_v1(
    metadata: &MetadataV1,
    source: impl Read,
    sink: impl Write + Send,
    dek: &Key256,
) -> Result<ContentSummary, OpenError> {
    let (nonce, content) = snapshot::v1::open(source, sink, dek, Trailer::Digest)?;
    if nonce != metadata.nonce() {
        return Err(OpenError::Content { what: "nonce" });
    }
    match content.sha256 == Some(metadata.sha256()) {
        true => Ok(content),
        false => Err(OpenError::Content { what: "SHA-256" }),
    }
}

fn check_nonce(metadata: &MetadataV1, start: &mut impl Read) -> Result<(), OpenError> {
    let mut nonce = [0; 12];
    start.read_exact(&mut nonce).map_err(OpenError::Source)?;
    match nonce == metadata.nonce() {
        true => Ok(()),
        false => Err(OpenError::Content { what: "nonce" }),
    }
}
