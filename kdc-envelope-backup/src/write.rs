//! [`SnapshotWriter`]: a snapshot of etcd into a store.

use std::fmt;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use kdc_envelope::Key256;
use kdc_envelope::etcd_file::ReadAt;
use kdc_envelope::snapshot::metadata::{Metadata, MetadataV1, RowsInside, WrappedDek};
use kdc_envelope::snapshot::{self, Codec, ContentSummary, Identity, SealOptions, Trailer};

use crate::advice::Advice;
use crate::blocking::blocking;
use crate::error::{BackupError, BackupErrorKind, Subject};
use crate::keys::SnapshotKeys;
use crate::rows;
use crate::store::{DataSink, SnapshotFiles, SnapshotStore};

/// Ids that are made from the time of one second.
const MAX_PER_SECOND: u32 = 99;

/// Not every server keeps what was there: then two runs may have written to one place.
const OVERWRITTEN: &str =
    "nothing was deleted; {verify} shows whether the other run's snapshot is complete";

/// The format of a sealed snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FormatVersion {
    /// One message that cannot be opened in parts, as older tools read it. It needs a key of Transit.
    One,
    /// Chunks that are authenticated one by one.
    #[default]
    Two,
}

/// How the rows inside are counted by key.
#[derive(Default)]
#[non_exhaustive]
pub enum CountRows {
    /// By reading again what is needed of what was sealed, where it lies. What is compressed is not counted.
    #[default]
    Sealed,
    /// By reading this copy of the content.
    Copy(Box<dyn ReadAt + Send>),
    /// Not at all. Then nothing tells which keys the snapshot needs.
    Skip,
}

impl fmt::Debug for CountRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "Sealed",
            Self::Copy(_) => "Copy",
            Self::Skip => "Skip",
        })
    }
}

/// How a snapshot is written.
#[derive(Debug)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The format to write.
    pub format: FormatVersion,
    /// Compression before sealing; version 1 knows none.
    pub codec: Codec,
    /// What the content must end in.
    pub trailer: Trailer,
    /// Threads that encrypt.
    pub workers: NonZeroUsize,
    /// How the rows inside are counted.
    pub rows: CountRows,
}

impl Default for WriteOptions {
    /// Version 2, not compressed, etcd's checksum demanded, a thread a core, rows counted.
    fn default() -> Self {
        Self {
            format: FormatVersion::default(),
            codec: Codec::None,
            trailer: Trailer::Etcd,
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            rows: CountRows::default(),
        }
    }
}

/// A snapshot that lies in the store now.
#[derive(Debug)]
#[non_exhaustive]
pub struct WrittenSnapshot {
    /// Its cluster, id and source.
    pub identity: Identity,
    /// When it was taken, in RFC 3339.
    pub created_at: String,
    /// Its content, before it was sealed.
    pub content: ContentSummary,
    /// The length of the sealed data in bytes.
    pub sealed_len: u64,
    /// Its metadata, with the wrapped data key and the count of rows.
    pub metadata: Metadata,
    /// Why the rows inside were not counted, although they were to be: a snapshot that is there is worth more than a count of its rows.
    pub uncounted: Option<BackupError>,
}

/// Writes one snapshot, with settled names.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: Arc<dyn SnapshotStore>,
    keys: Arc<dyn SnapshotKeys>,
    identity: Identity,
    is_id_given: bool,
    created_at: String,
}

/// What was written before its metadata, which makes it a snapshot.
struct Stored {
    content: ContentSummary,
    sealed_len: u64,
    metadata: Metadata,
    uncounted: Option<BackupError>,
}

/// A data key, and how it is wrapped.
struct Dek {
    key: Arc<Key256>,
    wrapped: WrappedDek,
}

impl SnapshotWriter {
    /// Settles the names; writes nothing. Without an `id` the snapshot is named after the cluster and the time. `source` says where the
    /// content comes from, `now` is in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`BackupErrorKind::InvalidInput`] for names that no snapshot can have, and for a time that no calendar has.
    pub fn new(
        store: Arc<dyn SnapshotStore>,
        keys: Arc<dyn SnapshotKeys>,
        cluster: &str,
        id: Option<&str>,
        source: &str,
        now: u64,
    ) -> Result<Self, BackupError> {
        let created_at = rfc3339(now)?;
        let compact: String = created_at.chars().filter(|c| !"-:".contains(*c)).collect();
        let named = id.map_or_else(|| format!("{cluster}-{compact}"), str::to_owned);
        let identity = identity(cluster, &named, source)?;
        Ok(Self {
            store,
            keys,
            identity,
            is_id_given: id.is_some(),
            created_at,
        })
    }

    /// Seals `source` into the store. The wrapped data key comes first and claims the id; the metadata comes last and makes it a snapshot.
    /// After a failure before that, what was written is removed again, and what cannot be removed is an orphan and no snapshot.
    ///
    /// `source` is read on a thread that may wait. Given up in between, as by a timeout, this leaves an orphan.
    ///
    /// # Errors
    /// [`BackupError`] of store, key and content. [`BackupErrorKind::Damaged`] if the content is no whole snapshot of etcd.
    pub async fn write(
        mut self,
        source: impl Read + Send + 'static,
        options: WriteOptions,
    ) -> Result<WrittenSnapshot, BackupError> {
        let (key, wrapped) = self
            .keys
            .new_dek()
            .await
            .map_err(|error| BackupError::of_kek("cannot make a data key", error))?;
        check_format(&options, &wrapped)?;
        let claim = wrapped.text();
        let files = self.claim_id(&claim).await?;
        let dek = Dek {
            key: Arc::new(key),
            wrapped,
        };
        let stored = match self.write_data(&files, source, dek, options).await {
            Ok(stored) => stored,
            Err(error) => {
                give_up(&files, &claim, false).await;
                return Err(error);
            }
        };
        self.commit(&files, &claim, &stored).await?;
        Ok(WrittenSnapshot {
            identity: self.identity,
            created_at: self.created_at,
            content: stored.content,
            sealed_len: stored.sealed_len,
            metadata: stored.metadata,
            uncounted: stored.uncounted,
        })
    }

    /// Two runs may have chosen one id. From here on it is ours, and everything below it. One that was not given is numbered if another
    /// run of the same second has it.
    async fn claim_id(&mut self, claim: &str) -> Result<SnapshotFiles, BackupError> {
        let base = self.identity.clone();
        let mut number = 1;
        loop {
            let files = SnapshotFiles::new(
                &self.store,
                self.identity.cluster(),
                self.identity.snapshot(),
            );
            let claimed = match self.check_free(&files).await {
                Ok(()) => self.claim(&files, claim).await,
                taken => taken,
            };
            match claimed {
                Err(error)
                    if error.kind() == BackupErrorKind::AlreadyExists
                        && !self.is_id_given
                        && number < MAX_PER_SECOND =>
                {
                    number += 1;
                    let id = format!("{}-{number}", base.snapshot());
                    self.identity = identity(base.cluster(), &id, base.source())?;
                }
                other => return other.map(|()| files),
            }
        }
    }

    async fn check_free(&self, files: &SnapshotFiles) -> Result<(), BackupError> {
        if files.read_metadata().await?.is_none() && files.data_len().await?.is_none() {
            return Ok(());
        }
        let (cluster, id) = (self.identity.cluster(), self.identity.snapshot());
        let line = format!("`{id}` of `{cluster}` is in the bucket already");
        Err(taken(line, "choose another id"))
    }

    async fn claim(&self, files: &SnapshotFiles, claim: &str) -> Result<(), BackupError> {
        let Err(error) = files.claim(claim).await else {
            return Ok(());
        };
        let is_taken = error.kind() == BackupErrorKind::AlreadyExists
            && matches!(files.is_claimed_by(claim).await, Ok(Some(false)));
        if !is_taken {
            return Err(error);
        }
        let line = format!(
            "`{}` of `{}` is claimed by another run, which is still running or was killed",
            self.identity.snapshot(),
            self.identity.cluster()
        );
        Err(taken(
            line,
            "choose another id; a day after a run was killed {prune_orphans} frees its id",
        ))
    }

    /// Writes the metadata, after a last check that what it tells of is there and ours.
    async fn commit(
        &self,
        files: &SnapshotFiles,
        claim: &str,
        stored: &Stored,
    ) -> Result<(), BackupError> {
        let (cluster, id) = (self.identity.cluster(), self.identity.snapshot());
        match files.is_claimed_by(claim).await? {
            Some(true) => {}
            // The run took so long that it was pruned as an orphan.
            None => self.claim(files, claim).await?,
            Some(false) => {
                let line = format!("`{id}` of `{cluster}` was claimed by another run meanwhile");
                let error = BackupError::new(BackupErrorKind::AlreadyExists, line);
                return Err(error.advise(OVERWRITTEN));
            }
        }
        let len = files.data_len().await?;
        if len != Some(stored.sealed_len) {
            give_up(files, claim, false).await;
            let found = len.map_or_else(|| "nothing".to_owned(), |len| format!("{len} bytes"));
            let line = format!(
                "{} bytes of `{cluster}/{id}` were stored, but {found} is there; it is no snapshot",
                stored.sealed_len
            );
            return Err(BackupError::new(BackupErrorKind::Io, line));
        }
        let Err(error) = files.commit(&stored.metadata.to_json()).await else {
            return Ok(());
        };
        // Only what certainly is no snapshot may be removed: other metadata may belong to another run, and what cannot be
        // read may be ours.
        match files.read_metadata().await {
            Ok(None) => give_up(files, claim, true).await,
            Ok(Some(_)) => return Err(error.advise(OVERWRITTEN)),
            Err(_) => {}
        }
        Err(error)
    }

    async fn write_data(
        &self,
        files: &SnapshotFiles,
        source: impl Read + Send + 'static,
        dek: Dek,
        options: WriteOptions,
    ) -> Result<Stored, BackupError> {
        let place = format!("cannot seal `{}`", self.identity.source());
        let sink = files.create_data().await?;
        let key = Arc::clone(&dek.key);
        if options.format == FormatVersion::One {
            let (trailer, what) = (options.trailer, place.clone());
            let seal = move |sink: &mut dyn Write| {
                let sealed = snapshot::v1::seal(source, sink, &key, trailer);
                sealed.map_err(|error| BackupError::of_seal(what, error))
            };
            let ((nonce, content), sealed_len) = into_sink(sink, seal).await?;
            let sha256 = content.sha256.unwrap_or_default();
            let (created, from) = (&self.created_at, self.identity.source());
            let metadata = MetadataV1::new(dek.wrapped, nonce, created, from, sha256);
            let metadata = metadata.map_err(|error| {
                BackupError::of_metadata("version 1", error).about(Subject::Format)
            })?;
            return Ok(Stored {
                content,
                sealed_len,
                metadata: Metadata::V1(metadata),
                uncounted: None,
            });
        }
        let mut seal_options = SealOptions::default();
        seal_options.workers = options.workers;
        seal_options.trailer = options.trailer;
        seal_options.codec = options.codec;
        let identity = self.identity.clone();
        let seal = move |sink: &mut dyn Write| {
            let sealed = snapshot::seal(source, sink, &key, &identity, &seal_options);
            sealed.map_err(|error| BackupError::of_seal(place, error))
        };
        let (sealed, sealed_len) = into_sink(sink, seal).await?;
        let counted = count_rows(options.rows, files, dek.key).await;
        let (rows, uncounted) = match counted {
            Ok(rows) => (rows, None),
            Err(error) => (None, Some(error)),
        };
        let metadata = sealed.metadata(dek.wrapped, &self.created_at, rows);
        Ok(Stored {
            content: sealed.content,
            sealed_len,
            metadata: Metadata::V2(metadata),
            uncounted,
        })
    }
}

/// Fills a sink and finishes it, or waits until nothing is left of it.
async fn into_sink<T: Send + 'static>(
    mut sink: Box<dyn DataSink>,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, BackupError> + Send + 'static,
) -> Result<(T, u64), BackupError> {
    blocking(move || match fill(&mut sink) {
        Ok(filled) => Ok((filled, sink.finish()?)),
        Err(error) => match sink.abort() {
            Ok(()) => Err(error),
            Err(left) => Err(error.and(left.message())),
        },
    })
    .await
}

async fn count_rows(
    how: CountRows,
    files: &SnapshotFiles,
    dek: Arc<Key256>,
) -> Result<Option<RowsInside>, BackupError> {
    match how {
        CountRows::Skip => Ok(None),
        CountRows::Sealed => rows::of_stored(files, dek).await,
        CountRows::Copy(content) => blocking(move || rows::count(Boxed(content)).map(Some)).await,
    }
}

/// Content that was handed over.
struct Boxed(Box<dyn ReadAt + Send>);

impl ReadAt for Boxed {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

fn check_format(options: &WriteOptions, wrapped: &WrappedDek) -> Result<(), BackupError> {
    let fault = match options.format {
        FormatVersion::One if options.codec != Codec::None => "version 1 knows no compression",
        FormatVersion::One if !matches!(wrapped, WrappedDek::Transit { .. }) => {
            "version 1 needs a key of Transit; it has no place for the key id of another"
        }
        _ => return Ok(()),
    };
    Err(BackupError::new(BackupErrorKind::InvalidInput, fault).about(Subject::Format))
}

fn identity(cluster: &str, id: &str, source: &str) -> Result<Identity, BackupError> {
    let named = Identity::new(cluster, id, source);
    named.map_err(|error| {
        BackupError::wrap(BackupErrorKind::InvalidInput, &error).about(Subject::Cluster)
    })
}

fn taken(line: String, advice: &'static str) -> BackupError {
    BackupError::new(BackupErrorKind::AlreadyExists, line)
        .about(Subject::Snapshot)
        .advise(Advice::from(advice))
}

/// Removes what a run has written that failed.
async fn give_up(files: &SnapshotFiles, claim: &str, has_data: bool) {
    // The failure before this is the one to tell; what stays behind is found by the inventory.
    let _ = files.withdraw(claim, has_data).await;
}

/// Seconds since 1970-01-01 UTC, as metadata has them.
fn rfc3339(seconds: u64) -> Result<String, BackupError> {
    let time = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let time = time.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).ok_or_else(|| {
        let line = format!(
            "the clock says {seconds} s since 1970, by which no snapshot can be dated; set it"
        );
        BackupError::new(BackupErrorKind::Configuration, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_dated_or_refused() {
        assert_eq!(rfc3339(1_750_000_000).unwrap(), "2025-06-15T15:06:40Z");
        for wrong in [0, u64::MAX] {
            let kind = rfc3339(wrong).unwrap_err().kind();
            assert_eq!(kind, BackupErrorKind::Configuration);
        }
    }
}
