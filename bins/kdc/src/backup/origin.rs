//! A snapshot out of a bucket: what `open`, `restore` and `verify` share.

use std::io::Write;
use std::num::NonZeroUsize;

use clap::Args;
use kdc_envelope::snapshot::{self, ContentSummary, check_name};
use kdc_envelope_backup::catalogue::{CatalogueEntry, place};
use kdc_envelope_backup::{BackupError, BackupErrorKind, OpenedSnapshot, SnapshotReader};

use super::bucket::BucketArguments;
use super::keys::KeyArguments;
use super::recognise;
use crate::clock::now;
use crate::failure::{Exit, Failure};
use crate::file_kind::HEAD_LEN;
use crate::output::note;
use crate::progress;

/// The word for the newest snapshot of a cluster.
const LATEST: &str = "latest";

/// Which snapshot, and the key that opens it.
#[derive(Debug, Args)]
pub(super) struct Origin {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Name of the cluster; a snapshot of another one is refused, whatever its file is called.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// Id of the snapshot, or `latest`.
    #[arg(long, value_name = "ID", default_value = LATEST)]
    snapshot: String,
    #[command(flatten)]
    keys: KeyArguments,
    /// Threads that decrypt [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

/// A bucket and a key that are open.
pub(super) struct Source<'o> {
    origin: &'o Origin,
    reader: SnapshotReader,
    /// The bucket and the cluster, for people.
    pub(super) place: String,
}

/// An error of the library, or one of ours.
pub(super) enum Refused {
    /// The snapshot is bad, or not what was asked for.
    Bad(Failure),
    /// A key or bucket that cannot be asked.
    Unknown(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(failure) | Refused::Unknown(failure) => failure,
        }
    }
}

impl Origin {
    /// Opens key and bucket.
    pub(super) fn open(&self) -> Result<Source<'_>, Failure> {
        let usage = |error: &snapshot::InvalidIdentity| Failure::of(Exit::Usage, error);
        check_name("--cluster", &self.cluster).map_err(|error| usage(&error))?;
        check_name("--snapshot", &self.snapshot).map_err(|error| usage(&error))?;
        let store = self.bucket.open()?;
        let place = place(&store.name(), Some(&self.cluster));
        let mut reader = SnapshotReader::new(store, self.keys.open()?, &self.cluster)?;
        if let Some(threads) = self.threads {
            reader = reader.with_workers(threads);
        }
        Ok(Source {
            origin: self,
            reader,
            place,
        })
    }
}

impl Source<'_> {
    /// Finds the snapshot, and unwraps its data key.
    pub(super) async fn fetch(&self) -> Result<OpenedSnapshot, Failure> {
        let id = self.id().await?;
        Ok(self.fetch_one(&id).await?)
    }

    /// The id that was given, or that of the newest snapshot.
    pub(super) async fn id(&self) -> Result<String, Failure> {
        let id = self.origin.snapshot.as_str();
        if id != LATEST {
            return Ok(id.to_owned());
        }
        let newest = self.reader.newest(now()).await?;
        if newest.uncomparable > 0 {
            note(&format!(
                "{} of the snapshots of `{}` cannot be compared with `{}`, and may be newer; `kdc backup list` shows each",
                newest.uncomparable, self.origin.cluster, newest.id
            ));
        }
        Ok(newest.id)
    }

    /// The same of one of which the id is known.
    pub(super) async fn fetch_one(&self, id: &str) -> Result<OpenedSnapshot, Refused> {
        let error = match self.reader.open(id).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let mut kind = None;
        if error.kind() == BackupErrorKind::Damaged {
            let json = self.reader.raw_metadata(id).await.ok().flatten();
            let json = json.filter(|json| !json.starts_with(b"{"));
            kind = json.and_then(|json| recognise::by_start(&json));
        }
        Err(self.refused(error, kind.map(|kind| kind.what)))
    }

    /// Everything of the cluster that is, or may be, a snapshot, oldest first.
    pub(super) async fn all(&self) -> Result<Vec<CatalogueEntry>, Failure> {
        let bar = progress::looked_at();
        let all = self.reader.list(now()).await;
        bar.finish_and_clear();
        Ok(all?)
    }

    /// Whether a snapshot was deleted since it was listed.
    pub(super) async fn is_gone(&self, id: &str) -> bool {
        self.reader.is_gone(id).await
    }

    /// Writes the content to `sink`. It may be used only if this succeeds.
    pub(super) async fn open_content(
        &self,
        opened: &OpenedSnapshot,
        sink: impl Write + Send + 'static,
    ) -> Result<ContentSummary, Refused> {
        let len = match opened.sealed_len().await {
            Ok(len) => len,
            Err(error) => return Err(self.refused(error, None)),
        };
        let bar = progress::source("opening", len);
        let shown = bar.clone();
        let content = opened
            .write_content_to(sink, move |read| shown.inc(read))
            .await;
        bar.finish_and_clear();
        match content {
            Ok(content) => Ok(content),
            Err(error) => Err(self.explained(opened, error).await),
        }
    }

    /// Checks what can be checked without reading the payload.
    pub(super) async fn check_header(&self, opened: &OpenedSnapshot) -> Result<(), Refused> {
        match opened.check_header().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(opened, error).await),
        }
    }

    /// Says what the data is if it is not sealed at all.
    async fn explained(&self, opened: &OpenedSnapshot, error: BackupError) -> Refused {
        let mut what = None;
        if error.kind() == BackupErrorKind::Damaged {
            let start = self.reader.raw_start(opened.id(), HEAD_LEN as u64).await;
            what = start.ok().and_then(|start| other_kind(&start));
        }
        self.refused(error, what)
    }

    fn refused(&self, error: BackupError, what: Option<&str>) -> Refused {
        let is_bad = matches!(
            error.kind(),
            BackupErrorKind::Damaged | BackupErrorKind::Mismatch | BackupErrorKind::Conflict
        );
        let mut failure = self.origin.keys.failure(error);
        if let Some(what) = what {
            failure = failure.hint(&format!("what is there is {what}"));
        }
        match is_bad {
            true => Refused::Bad(failure),
            false => Refused::Unknown(failure),
        }
    }
}

fn other_kind(start: &[u8]) -> Option<&'static str> {
    match recognise::is_of_etcd(start) {
        true => Some("a file of etcd that nothing encrypts"),
        false => recognise::by_start(start)
            .map(|kind| kind.what)
            .filter(|_| !start.starts_with(&snapshot::MAGIC)),
    }
}
