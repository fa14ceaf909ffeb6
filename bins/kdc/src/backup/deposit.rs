//! A snapshot into a bucket: what `seal` and `run` share.

use std::io::Read;
use std::num::NonZeroUsize;
use std::thread;

use clap::{Args, ValueEnum};
use kdc_envelope::Key256;
use kdc_envelope::snapshot::metadata::{Metadata, MetadataV1, RowsInside, WrappedDek};
use kdc_envelope::snapshot::{self, Codec, ContentSummary, Identity, SealOptions, Trailer};
use serde::Serialize;

use super::bucket::{Bucket, BucketArguments, SnapshotFiles};
use super::kek::{Kek, KekArguments};
use super::refusal::{of_metadata, of_seal};
use crate::clock::{now, rfc3339};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, note};

/// Where a snapshot goes and how it is sealed.
#[derive(Debug, Args)]
pub(super) struct Destination {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Name of the cluster: the folder in the bucket, and bound into the snapshot.
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: String,
    /// Id of the snapshot [default: the cluster and the time, such as prod-20261124T100000Z]
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    #[command(flatten)]
    kek: KekArguments,
    /// Format to write: 1 is what older tools read, one message that cannot be opened in parts.
    #[arg(long, value_enum, default_value_t, value_name = "VERSION")]
    format: FormatVersion,
    /// Compress before sealing. Rows inside cannot be counted later without unpacking.
    #[arg(long, value_enum, default_value_t, value_name = "CODEC")]
    compress: Compression,
    /// Threads that encrypt [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum FormatVersion {
    #[value(name = "1")]
    One,
    #[default]
    #[value(name = "2")]
    Two,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Compression {
    #[default]
    None,
    Zstd,
}

/// One thread a core, unless another number was given.
pub(super) fn threads(given: Option<NonZeroUsize>) -> NonZeroUsize {
    given
        .or_else(|| thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

/// What lies in the bucket now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    cluster: String,
    snapshot: String,
    created_at: String,
    content_length: u64,
    sealed_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_snapshot_sha256: Option<String>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<RowsInside>,
}

/// A destination that was checked.
pub(super) struct Deposit<'d> {
    destination: &'d Destination,
    identity: Identity,
    created_at: String,
    bucket: Bucket,
    kek: Kek,
}

/// Ids that are made from the time of one second.
const MAX_PER_SECOND: u32 = 99;

/// Not every server keeps what was there: then two runs may have written to one place.
const OVERWRITTEN: &str =
    "nothing was deleted; `kdc backup verify` tells whether the other run's snapshot is whole";

/// What was written before its metadata, which makes it a snapshot.
struct Stored {
    content: ContentSummary,
    sealed_len: u64,
    metadata: Metadata,
}

/// Removes what a run has written that failed.
fn give_up(files: &SnapshotFiles, claim: &str, has_data: bool) {
    // The failure before this is the one to tell; what stays behind is found by the inventory.
    let _ = files.withdraw(claim, has_data);
}

/// Counts the rows of a snapshot that was stored, if it can.
pub(super) type CountRows<'c> =
    dyn FnOnce(&SnapshotFiles, &Key256) -> Result<Option<RowsInside>, Failure> + 'c;

impl Destination {
    /// Opens key and bucket and settles the names; nothing is written.
    pub(super) fn open(&self, source: &str) -> Result<Deposit<'_>, Failure> {
        if self.format == FormatVersion::One && self.compress != Compression::None {
            let line = "--compress zstd needs --format 2; version 1 knows no compression";
            return Err(Failure::new(Exit::Usage, line));
        }
        let created_at = rfc3339(now()).unwrap_or_default();
        let compact: String = created_at.chars().filter(|c| !"-:".contains(*c)).collect();
        let id = match &self.snapshot {
            Some(id) => id.clone(),
            None => format!("{}-{compact}", self.cluster),
        };
        let identity = Identity::new(&self.cluster, &id, source)
            .map_err(|error| Failure::at(Exit::Usage, "--cluster, --snapshot", &error))?;
        Ok(Deposit {
            destination: self,
            identity,
            created_at,
            kek: self.kek.open()?,
            bucket: Bucket::open(&self.bucket)?,
        })
    }
}

impl Deposit<'_> {
    /// Seals `source` into the bucket. The wrapped data key comes first and claims the id; the metadata comes last and makes it a
    /// snapshot. After a failure before that, what was written is removed again, and what cannot be removed is an orphan and no snapshot.
    pub(super) fn store(
        mut self,
        source: impl Read + Send,
        trailer: Trailer,
        count_rows: Box<CountRows<'_>>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let (dek, wrapped) = self.kek.new_dek()?;
        self.check_format(&wrapped)?;
        let claim = wrapped.text();
        let files = self.claim_id(&claim)?;
        let stored = self.write(&files, source, trailer, (&dek, wrapped), count_rows);
        let stored = stored.inspect_err(|_| give_up(&files, &claim, false))?;
        self.commit(&files, &claim, &stored)?;
        self.report(&stored, out)
    }

    /// Two runs may have chosen one id. From here on it is ours, and everything below it. One that was not given is numbered if another
    /// run of the same second has it.
    fn claim_id(&mut self, claim: &str) -> Result<SnapshotFiles, Failure> {
        let base = self.identity.clone();
        let mut number = 1;
        loop {
            let files = self
                .bucket
                .snapshot(self.identity.cluster(), self.identity.snapshot());
            match self
                .check_free(&files)
                .and_then(|()| self.claim(&files, claim))
            {
                Err(failure)
                    if failure.exit() == Exit::CannotCreate
                        && self.destination.snapshot.is_none()
                        && number < MAX_PER_SECOND =>
                {
                    number += 1;
                    let id = format!("{}-{number}", base.snapshot());
                    self.identity = Identity::new(base.cluster(), &id, base.source())
                        .map_err(|error| Failure::at(Exit::Usage, "--cluster", &error))?;
                }
                other => return other.map(|()| files),
            }
        }
    }

    fn check_free(&self, files: &SnapshotFiles) -> Result<(), Failure> {
        if files.read_metadata()?.is_none() && files.data_len()?.is_none() {
            return Ok(());
        }
        let (cluster, id) = (self.identity.cluster(), self.identity.snapshot());
        let line = format!("--snapshot: `{id}` of `{cluster}` is in the bucket already");
        Err(Failure::new(Exit::CannotCreate, line).hint("choose another id"))
    }

    fn claim(&self, files: &SnapshotFiles, claim: &str) -> Result<(), Failure> {
        files.claim(claim).map_err(|failure| match failure.exit() {
            Exit::CannotCreate if matches!(files.is_claimed_by(claim), Ok(Some(false))) => {
                let line = format!(
                    "--snapshot: `{}` of `{}` is claimed by another run, which goes on or was killed",
                    self.identity.snapshot(),
                    self.identity.cluster()
                );
                Failure::new(Exit::CannotCreate, line).hint(
                    "choose another id; a day after a run was killed `kdc backup prune --orphans` frees its id",
                )
            }
            _ => failure,
        })
    }

    /// Writes the metadata, after a last look whether what it tells of is there and ours.
    fn commit(&self, files: &SnapshotFiles, claim: &str, stored: &Stored) -> Result<(), Failure> {
        let (cluster, id) = (self.identity.cluster(), self.identity.snapshot());
        match files.is_claimed_by(claim)? {
            Some(true) => {}
            // The run took so long that it was pruned as an orphan.
            None => self.claim(files, claim)?,
            Some(false) => {
                let line = format!("`{id}` of `{cluster}` was claimed by another run meanwhile");
                return Err(Failure::new(Exit::CannotCreate, line).hint(OVERWRITTEN));
            }
        }
        let len = files.data_len()?;
        if len != Some(stored.sealed_len) {
            give_up(files, claim, false);
            let found = len.map_or_else(|| "nothing".to_owned(), |len| format!("{len} bytes"));
            let line = format!(
                "{} bytes of `{cluster}/{id}` were stored, but {found} is there; it is no snapshot",
                stored.sealed_len
            );
            return Err(Failure::new(Exit::Io, line));
        }
        let Err(failure) = files.commit(&stored.metadata.to_json()) else {
            return Ok(());
        };
        // Only what certainly is no snapshot may be removed: other metadata may belong to another run, and what cannot be
        // read may be ours.
        match files.read_metadata() {
            Ok(None) => give_up(files, claim, true),
            Ok(Some(_)) => return Err(failure.hint(OVERWRITTEN)),
            Err(_) => {}
        }
        Err(failure)
    }

    fn check_format(&self, wrapped: &WrappedDek) -> Result<(), Failure> {
        let is_transit = matches!(wrapped, WrappedDek::Transit { .. });
        if self.destination.format == FormatVersion::Two || is_transit {
            return Ok(());
        }
        let line = "--format 1 needs a key in OpenBao; it has no place for the key id of a keyring";
        Err(Failure::new(Exit::Usage, line))
    }

    fn write(
        &self,
        files: &SnapshotFiles,
        source: impl Read + Send,
        trailer: Trailer,
        (dek, wrapped): (&Key256, WrappedDek),
        count_rows: Box<CountRows<'_>>,
    ) -> Result<Stored, Failure> {
        let place = format!("cannot seal `{}`", self.identity.source());
        let mut writer = files.create_data()?;
        if self.destination.format == FormatVersion::One {
            let sealed = snapshot::v1::seal(source, &mut writer, dek, trailer);
            let (nonce, content) = sealed.map_err(|error| of_seal(&place, error))?;
            let sealed_len = writer.finish()?;
            let sha256 = content.sha256.unwrap_or_default();
            let (created, from) = (&self.created_at, self.identity.source());
            let metadata = MetadataV1::new(wrapped, nonce, created, from, sha256)
                .map_err(|error| of_metadata("--format 1", &error))?;
            return Ok(Stored {
                content,
                sealed_len,
                metadata: Metadata::V1(metadata),
            });
        }
        let mut options = SealOptions::default();
        options.workers = threads(self.destination.threads);
        options.trailer = trailer;
        options.codec = match self.destination.compress {
            Compression::None => Codec::None,
            Compression::Zstd => Codec::Zstd,
        };
        let sealed = snapshot::seal(source, &mut writer, dek, &self.identity, &options);
        let sealed = sealed.map_err(|error| of_seal(&place, error))?;
        let sealed_len = writer.finish()?;
        // A snapshot that is there is worth more than a count of its rows.
        let rows = count_rows(files, dek).unwrap_or_else(|failure| {
            let why = failure.line().unwrap_or_default();
            note(&format!("the rows inside are not counted: {why}"));
            None
        });
        let metadata = sealed.metadata(wrapped, &self.created_at, rows);
        Ok(Stored {
            content: sealed.content,
            sealed_len,
            metadata: Metadata::V2(metadata),
        })
    }

    fn report(&self, stored: &Stored, out: &mut Output) -> Result<(), Failure> {
        let report = Report {
            cluster: self.identity.cluster().to_owned(),
            snapshot: self.identity.snapshot().to_owned(),
            created_at: self.created_at.clone(),
            content_length: stored.content.len,
            sealed_length: stored.sealed_len,
            etcd_snapshot_sha256: stored.content.sha256.map(hex::encode),
            key: stored.metadata.wrapped_dek().to_string(),
            rows: stored.metadata.rows().cloned(),
        };
        if self.destination.output == Format::Json {
            return out.json(&report);
        }
        out.line(format_args!("snapshot  {}", report.snapshot))?;
        out.line(format_args!("cluster   {}", report.cluster))?;
        out.line(format_args!("content   {} bytes", report.content_length))?;
        out.line(format_args!("sealed    {} bytes", report.sealed_length))?;
        out.line(format_args!("key       {}", report.key))?;
        if let Some(sha256) = &report.etcd_snapshot_sha256 {
            out.line(format_args!("sha256    {sha256}"))?;
        }
        let Some(rows) = &report.rows else {
            return out.line("rows      not counted");
        };
        out.line(format_args!("rows      {}", rows.total))?;
        for group in &rows.groups {
            let name = group.name.as_deref().unwrap_or_default();
            let key = group.key_id.as_deref().unwrap_or_default();
            let words = [group.provider.as_str(), name, key].join(" ");
            out.line(format_args!("  {:>8}  {}", group.rows, words.trim_end()))?;
        }
        Ok(())
    }
}
