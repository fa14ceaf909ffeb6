//! A snapshot into a bucket: what `seal` and `run` share.

use std::io::Read;
use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use kdc_envelope::snapshot::metadata::RowsInside;
use kdc_envelope::snapshot::{Codec, Trailer};
use kdc_envelope_backup::{
    BackupError, BackupErrorKind, CountRows, FormatVersion, SnapshotWriter, Subject, WriteOptions,
    WrittenSnapshot,
};
use serde::Serialize;

use super::bucket::BucketArguments;
use super::keys::KeyArguments;
use crate::clock::now;
use crate::failure::{Exit, Failure, chain};
use crate::output::{Format as Shown, Output, note};
use crate::runtime;

/// Where a snapshot goes and how it is sealed.
#[derive(Debug, Args)]
pub(super) struct Destination {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Name of the cluster: the folder in the bucket, and bound into the snapshot.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// Id of the snapshot [default: the cluster and the time, such as prod-20261124T100000Z]
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
    /// Format to write: 1 is what older tools read, one message that cannot be opened in parts.
    #[arg(long, value_enum, default_value_t, value_name = "VERSION")]
    format: Format,
    /// Compress before sealing. Rows inside cannot be counted later without unpacking.
    #[arg(long, value_enum, default_value_t, value_name = "CODEC")]
    compress: Compression,
    /// Threads that encrypt [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
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
    writer: SnapshotWriter,
}

impl Destination {
    /// Opens key and bucket and settles the names; nothing is written.
    pub(super) fn open(&self, source: &str) -> Result<Deposit<'_>, Failure> {
        if self.format == Format::One && self.compress != Compression::None {
            let line = "--compress zstd needs --format 2; version 1 knows no compression";
            return Err(Failure::new(Exit::Usage, line));
        }
        let keys = self.keys.open()?;
        if self.format == Format::One && self.keys.is_keyring() {
            let line =
                "--format 1 needs a key in OpenBao; it has no place for the key id of a keyring";
            return Err(Failure::new(Exit::Usage, line));
        }
        let (store, id) = (self.bucket.open()?, self.snapshot.as_deref());
        let writer = SnapshotWriter::new(store, keys, &self.cluster, id, source, now());
        let writer = writer.map_err(|error| match error.subject() {
            Some(Subject::Cluster) => {
                let line = format!("--cluster, --snapshot: {}", error.message());
                Failure::new(Exit::Usage, line)
            }
            _ => Failure::from(error),
        })?;
        Ok(Deposit {
            destination: self,
            writer,
        })
    }

    /// Whether rows can be counted in what was sealed.
    pub(super) fn is_compressed(&self) -> bool {
        self.compress != Compression::None
    }

    fn options(&self, trailer: Trailer, rows: CountRows) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.trailer = trailer;
        options.rows = rows;
        options.workers = self.threads.unwrap_or(options.workers);
        if self.format == Format::One {
            options.format = FormatVersion::One;
        }
        if self.is_compressed() {
            options.codec = Codec::Zstd;
        }
        options
    }
}

impl Deposit<'_> {
    /// Seals `source` into the bucket, and says what lies there then.
    pub(super) fn store(
        self,
        source: impl Read + Send + 'static,
        trailer: Trailer,
        rows: CountRows,
        out: &mut Output,
    ) -> Result<(), BackupFailure> {
        let options = self.destination.options(trailer, rows);
        let written = runtime::wait(async { Ok(self.writer.write(source, options).await) })??;
        if let Some(error) = &written.uncounted {
            let why = chain(error);
            note(&format!("the rows inside are not counted: {why}"));
        }
        Ok(self.destination.report(&written, out)?)
    }
}

/// What keeps a snapshot from the bucket. A snapshot that is damaged may be taken again.
pub(super) struct BackupFailure {
    pub(super) failure: Failure,
    /// Of a failure of the library.
    pub(super) kind: Option<BackupErrorKind>,
}

impl From<BackupError> for BackupFailure {
    fn from(error: BackupError) -> Self {
        Self {
            kind: Some(error.kind()),
            failure: error.into(),
        }
    }
}

impl From<Failure> for BackupFailure {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            kind: None,
        }
    }
}

impl From<BackupFailure> for Failure {
    fn from(failure: BackupFailure) -> Self {
        failure.failure
    }
}

impl Destination {
    fn report(&self, written: &WrittenSnapshot, out: &mut Output) -> Result<(), Failure> {
        let report = Report {
            cluster: written.identity.cluster().to_owned(),
            snapshot: written.identity.snapshot().to_owned(),
            created_at: written.created_at.clone(),
            content_length: written.content.len,
            sealed_length: written.sealed_len,
            etcd_snapshot_sha256: written.content.sha256.map(hex::encode),
            key: written.metadata.wrapped_dek().to_string(),
            rows: written.metadata.rows().cloned(),
        };
        if self.output == Shown::Json {
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
