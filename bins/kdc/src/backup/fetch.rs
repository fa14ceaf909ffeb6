//! A snapshot out of a bucket: what `open`, `restore` and `verify` share.

use std::io::{Read as _, Write};
use std::num::NonZeroUsize;

use clap::Args;
use kdc_envelope::Key256;
use kdc_envelope::snapshot::metadata::{Metadata, MetadataV1, MetadataV2};
use kdc_envelope::snapshot::{
    self, ContentSummary, Expected, OpenError, OpenOptions, Trailer, Unlocked, check_name,
};

use super::bucket::{Bucket, BucketArguments, SnapshotFiles};
use super::deposit::threads;
use super::kek::{Kek, KekArguments};
use super::refusal::{of_metadata, of_open};
use super::state::{Known, State};
use super::{pass, proof, recognise};
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
    kek: KekArguments,
    /// Threads that decrypt [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

/// A snapshot in a bucket, its metadata, and its data key.
pub(super) struct Fetched {
    pub(super) cluster: String,
    pub(super) id: String,
    pub(super) metadata: Metadata,
    files: SnapshotFiles,
    dek: Key256,
    workers: NonZeroUsize,
}

impl Origin {
    /// Opens key and bucket.
    pub(super) fn open(&self) -> Result<(Bucket, Kek), Failure> {
        let usage = |error: &snapshot::InvalidIdentity| Failure::of(Exit::Usage, error);
        check_name("--cluster", &self.cluster).map_err(|error| usage(&error))?;
        check_name("--snapshot", &self.snapshot).map_err(|error| usage(&error))?;
        Ok((Bucket::open(&self.bucket)?, self.kek.open()?))
    }

    /// Finds the snapshot, and unwraps its data key.
    pub(super) fn fetch(&self) -> Result<Fetched, Failure> {
        let (bucket, kek) = self.open()?;
        let id = self.id(&bucket)?;
        self.fetch_one(&bucket, &kek, &id)
    }

    /// The id that was given, or that of the newest snapshot.
    pub(super) fn id(&self, bucket: &Bucket) -> Result<String, Failure> {
        match self.snapshot.as_str() {
            LATEST => self.latest(bucket),
            id => Ok(id.to_owned()),
        }
    }

    /// The same of one of which the id is known.
    pub(super) fn fetch_one(
        &self,
        bucket: &Bucket,
        kek: &Kek,
        id: &str,
    ) -> Result<Fetched, Failure> {
        let files = bucket.snapshot(&self.cluster, id);
        let Some(stored) = files.read_metadata()? else {
            let line = format!(
                "there is no snapshot `{id}` of cluster `{}` in the bucket",
                self.cluster
            );
            let advice = "`kdc backup list` shows what there is";
            return Err(Failure::new(Exit::NoInput, line).hint(advice));
        };
        let metadata = Metadata::parse(&stored.json).map_err(|error| {
            let place = format!("snapshot `{id}` of cluster `{}`", self.cluster);
            let kind = recognise::by_start(&stored.json).filter(|_| !stored.json.starts_with(b"{"));
            let failure = of_metadata(&place, &error);
            match kind {
                Some(kind) => failure.hint(&format!("what lies there is {}", kind.what)),
                None => failure,
            }
        })?;
        let dek = kek.unwrap(metadata.wrapped_dek())?;
        Ok(Fetched {
            cluster: self.cluster.clone(),
            id: id.to_owned(),
            metadata,
            files,
            dek,
            workers: threads(self.threads),
        })
    }

    /// Everything of the cluster that is, or may be, a snapshot, oldest first. What has not got its metadata yet is none.
    pub(super) fn all(&self, bucket: &Bucket) -> Result<Vec<Known>, Failure> {
        let mut found = Vec::new();
        pass::examine(bucket, Some(&self.cluster), |known| {
            if !matches!(
                known.state,
                State::Orphan | State::Plaintext | State::Foreign
            ) {
                found.push(known);
            }
        })?;
        found.sort_by_key(|known| (known.created(), known.entry.id.clone()));
        Ok(found)
    }

    /// Whether a snapshot was deleted since it was listed.
    pub(super) fn is_gone(&self, bucket: &Bucket, id: &str) -> bool {
        let stored = bucket.snapshot(&self.cluster, id).read_metadata();
        matches!(stored, Ok(None))
    }

    /// The bucket and the cluster, for people.
    pub(super) fn place(&self, bucket: &Bucket) -> String {
        proof::place(&bucket.name(), Some(&self.cluster))
    }

    /// The newest snapshot by what its metadata says, which a copied bucket keeps and a rewrap does not change.
    fn latest(&self, bucket: &Bucket) -> Result<String, Failure> {
        let cluster = &self.cluster;
        let mut newest = None;
        let (mut unknown, mut timeless) = (0_u64, 0_u64);
        for known in self.all(bucket)? {
            match known.state {
                State::TimeUnknown => timeless += 1,
                _ if known.entry.data.is_some() && known.metadata.is_some() => {
                    newest = Some(known.entry.id);
                }
                _ => unknown += 1,
            }
        }
        let Some(newest) = newest else {
            let line =
                format!("there is no complete snapshot of cluster `{cluster}` in the bucket");
            let failure = Failure::new(Exit::NoInput, line);
            return Err(match timeless {
                0 => failure.hint("`kdc backup inventory` shows what there is"),
                _ => failure.hint("those that are there tell no time, or one in the future by the clock of this machine; --snapshot names one"),
            });
        };
        if unknown + timeless > 0 {
            note(&format!(
                "{} of the snapshots of `{cluster}` cannot be compared with `{newest}`, and may be newer; `kdc backup list` shows each",
                unknown + timeless
            ));
        }
        Ok(newest)
    }
}

impl Fetched {
    /// Writes the content to `sink`. It may be used only if this succeeds.
    pub(super) fn open_content(&self, sink: impl Write + Send) -> Result<ContentSummary, Failure> {
        self.check_header()?;
        let place = format!("cannot open snapshot `{}`", self.id);
        let len = self.files.data_len()?;
        let source = progress::Watched::new(self.files.data(None)?, "opening", len);
        let content = match &self.metadata {
            Metadata::V1(metadata) => open_v1(metadata, source, sink, &self.dek),
            Metadata::V2(metadata) => self.open_v2(metadata, source, sink),
            _ => Err(OpenError::Content { what: "version" }),
        };
        content.map_err(|error| of_open(&place, error))
    }

    fn open_v2(
        &self,
        metadata: &MetadataV2,
        source: impl std::io::Read + Send,
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
    pub(super) fn check_header(&self) -> Result<(), Failure> {
        /// Longer than any header.
        const START: u64 = 4096;
        let place = format!("snapshot `{}`", self.id);
        let Some(len) = self.files.data_len()? else {
            let line = format!("{place}: its sealed object is missing");
            return Err(Failure::new(Exit::Data, line));
        };
        let mut start = self.files.data(Some(0..len.min(START)))?;
        let checked = match &self.metadata {
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
        checked.map_err(|error| {
            let is_of_another_kind = matches!(
                error,
                OpenError::Malformed { .. } | OpenError::Content { .. }
            );
            let kind = is_of_another_kind.then(|| self.other_kind()).flatten();
            let failure = of_open(&place, error);
            match kind {
                Some(what) => failure.hint(&format!("what lies there is {what}")),
                None => failure,
            }
        })
    }

    /// What the data is if it is not sealed at all.
    fn other_kind(&self) -> Option<&'static str> {
        let mut start = Vec::new();
        let range = 0..HEAD_LEN as u64;
        let mut data = self.files.data(Some(range)).ok()?;
        data.read_to_end(&mut start).ok()?;
        match recognise::is_of_etcd(&start) {
            true => Some("a file of etcd that nothing encrypts"),
            false => recognise::by_start(&start)
                .map(|kind| kind.what)
                .filter(|_| !start.starts_with(&snapshot::MAGIC)),
        }
    }

    fn expected(&self) -> Expected {
        Expected::new(&self.cluster, &self.id)
    }
}

fn open_v1(
    metadata: &MetadataV1,
    source: impl std::io::Read,
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

fn check_nonce(metadata: &MetadataV1, start: &mut impl std::io::Read) -> Result<(), OpenError> {
    let mut nonce = [0; 12];
    start.read_exact(&mut nonce).map_err(OpenError::Source)?;
    match nonce == metadata.nonce() {
        true => Ok(()),
        false => Err(OpenError::Content { what: "nonce" }),
    }
}
