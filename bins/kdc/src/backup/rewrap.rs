//! `kdc backup rewrap`: data keys of all snapshots to the newest version of their key.

use clap::Args;
use kdc_envelope::snapshot::check_name;
use kdc_envelope_backup::catalogue::place;
use kdc_envelope_backup::{RewrapEvent, RewrapReport, rewrap};
use serde::Serialize;

use super::bucket::BucketArguments;
use super::keys::KeyArguments;
use super::proof;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, note};
use crate::{clock, progress, runtime};

const EXAMPLES: &str = "\
Examples:
  kdc backup rewrap --bucket s3://backups --dry-run --bao-address https://openbao.example.com:8200 --bao-key etcd-prod
  kdc backup rewrap --bucket /var/backups/etcd --cluster prod --keyring /etc/kdc/keyring";

/// Move the data keys of snapshots to the newest version of their key, without touching the snapshots.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RewrapCommand {
    #[command(flatten)]
    bucket: BucketArguments,
    /// Only this cluster [default: all in the bucket]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
    /// Ask for the new wrapped keys, but write nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// How many snapshots had which fate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_dry_run: bool,
    rewrapped: u64,
    /// Were under the newest version.
    already_newest: u64,
    /// Are under another key.
    other_keys: u64,
    /// Could not be read, or not be moved.
    failed: u64,
    /// Have no metadata, or were not looked at: nothing tells which key they need.
    unknown: u64,
}

pub(super) fn run(arguments: &RewrapCommand, out: &mut Output) -> Result<Exit, Failure> {
    let cluster = arguments.cluster.as_deref();
    if let Some(cluster) = cluster {
        check_name("--cluster", cluster).map_err(|error| Failure::of(Exit::Usage, &error))?;
    }
    let keys = arguments.keys.open()?;
    let store = arguments.bucket.open()?;
    let bar = progress::looked_at();
    let mut done = RewrapReport::default();
    let tell = |event| match event {
        RewrapEvent::Inspected => bar.inc(1),
        RewrapEvent::Failed { snapshot, error } => {
            let failure = Failure::from(error);
            let why = failure.line().unwrap_or_default();
            bar.suspend(|| note(&format!("{snapshot}: {why}")));
        }
        _ => {}
    };
    let is_dry_run = arguments.dry_run;
    let outcome: Result<(), Failure> = runtime::wait(async {
        let moved = rewrap(
            &store,
            &*keys,
            cluster,
            is_dry_run,
            clock::now(),
            &mut done,
            tell,
        );
        Ok(moved.await?)
    });
    bar.finish_and_clear();
    outcome.map_err(|failure| match done.rewrapped {
        0 => failure,
        done => failure.hint(&format!("{done} were moved before this, and stay so")),
    })?;
    let report = Report {
        is_dry_run,
        rewrapped: done.rewrapped,
        already_newest: done.already_newest,
        other_keys: done.other_keys,
        failed: done.failed,
        unknown: done.unknowns.count(),
    };
    show(arguments, &report, out)?;
    proof::verdict(
        &done.evidence(&place(&store.name(), cluster)),
        "that no snapshot needs an older version of the key",
    )
}

fn show(arguments: &RewrapCommand, report: &Report, out: &mut Output) -> Result<(), Failure> {
    if arguments.output == Format::Json {
        return out.json(report);
    }
    let done = match report.is_dry_run {
        true => "would be rewrapped",
        false => "rewrapped",
    };
    out.line(format_args!("{:>8}  {done}", report.rewrapped))?;
    out.line(format_args!(
        "{:>8}  already under the newest version",
        report.already_newest
    ))?;
    out.line(format_args!("{:>8}  under other keys", report.other_keys))?;
    out.line(format_args!("{:>8}  failed", report.failed))?;
    match report.unknown {
        0 => Ok(()),
        unknown => out.line(format_args!("{unknown:>8}  unknown")),
    }
}
