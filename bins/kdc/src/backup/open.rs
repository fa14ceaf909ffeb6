//! `kdc backup open`: a snapshot file out of a bucket.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::origin::Origin;
use super::private_file::PrivateFile;
use crate::failure::Failure;
use crate::output::{Format, Output};
use crate::runtime;

const EXAMPLES: &str = "\
Examples:
  kdc backup open --bucket /var/backups/etcd --cluster prod --out snapshot.db --keyring /etc/kdc/keyring
  kdc backup open --bucket s3://backups --cluster prod --snapshot prod-20261124T100000Z --out snapshot.db \\
      --bao-address https://openbao.example.com:8200 --bao-key etcd-prod --bao-auth token --bao-token-file token";

/// Decrypt a sealed snapshot into a file for `etcdutl snapshot restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Open {
    #[command(flatten)]
    origin: Origin,
    /// File to write, with mode 0600; it appears only when all of the snapshot was found authentic.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    cluster: String,
    snapshot: String,
    created_at: String,
    file: PathBuf,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

pub(super) fn run(arguments: &Open, out: &mut Output) -> Result<(), Failure> {
    let file = PrivateFile::create("--out", &arguments.out)?;
    let source = arguments.origin.open()?;
    let sink = file.sink()?;
    let (opened, content) = runtime::wait(async {
        let opened = source.fetch().await?;
        let content = source.open_content(&opened, sink).await?;
        Ok((opened, content))
    })?;
    file.keep()?;
    let report = Report {
        created_at: opened.metadata().created_at().to_owned(),
        cluster: opened.cluster().to_owned(),
        snapshot: opened.id().to_owned(),
        file: arguments.out.clone(),
        length: content.len,
        sha256: content.sha256.map(hex::encode),
    };
    if arguments.output == Format::Json {
        return out.json(&report);
    }
    out.line(format_args!(
        "snapshot  {}, taken {}",
        report.snapshot, report.created_at
    ))?;
    out.line(format_args!("file      {}", report.file.display()))?;
    out.line(format_args!("length    {} bytes", report.length))?;
    match &report.sha256 {
        Some(sha256) => out.line(format_args!("sha256    {sha256}")),
        None => Ok(()),
    }
}
