//! `kdc backup run`: from a running etcd into a bucket, without a file in between.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use kdc_envelope::snapshot::Trailer;
use kdc_envelope_backup::{BackupErrorKind, CountRows};

use super::destination::{BackupFailure, Destination};
use crate::etcd::{EtcdFlags, SnapshotReader};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  kdc backup run --etcd-endpoints https://127.0.0.1:2379 --etcd-cacert ca.crt --etcd-cert client.crt \\
      --etcd-keyfile client.key --bucket s3://backups --cluster prod --bao-address https://openbao.example.com:8200 \\
      --bao-key etcd-prod";

/// Take a snapshot of a running etcd, seal it on the way, and put it into a bucket.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    etcd: EtcdFlags,
    #[command(flatten)]
    destination: Destination,
    /// How often to try in all when etcd fails in the middle; each try makes a new data key.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// Do not read the sealed snapshot again to count the rows inside by key.
    #[arg(long)]
    without_rows: bool,
}

pub(super) fn run(arguments: &Run, out: &mut Output) -> Result<(), Failure> {
    let mut tries = 1;
    loop {
        let has_failed = Arc::new(AtomicBool::new(false));
        let Err(BackupFailure { failure, kind }) = once(arguments, &has_failed, out) else {
            return Ok(());
        };
        // What etcd sent was cut off, or not what it should be. Bucket and key have their own tries.
        let may_heal = has_failed.load(Relaxed) || kind == Some(BackupErrorKind::Damaged);
        if !may_heal || tries >= arguments.tries {
            return Err(failure);
        }
        note(&format!(
            "try {tries} of {} failed: {}",
            arguments.tries,
            failure.line().unwrap_or_default()
        ));
        tries += 1;
    }
}

fn once(
    arguments: &Run,
    has_failed: &Arc<AtomicBool>,
    out: &mut Output,
) -> Result<(), BackupFailure> {
    let Some(connection) = arguments.etcd.connection()? else {
        let line = "--etcd-endpoints is missing: where does etcd answer?";
        return Err(Failure::new(Exit::Usage, line).into());
    };
    connection.check_one_cluster()?;
    let deposit = arguments.destination.open(connection.endpoint())?;
    let source = connection.snapshot().inspect_err(|failure| {
        has_failed.store(failure.exit() == Exit::Unavailable, Relaxed);
    })?;
    let source = Remembering {
        source,
        has_failed: Arc::clone(has_failed),
    };
    let source = progress::Watched::new(source, "taking and sealing", None);
    let rows = match arguments.without_rows {
        true => CountRows::Skip,
        false => CountRows::Sealed,
    };
    deposit.store(source, Trailer::Etcd, rows, out)
}

/// A source that remembers that it failed.
struct Remembering {
    source: SnapshotReader,
    has_failed: Arc<AtomicBool>,
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer);
        if read.is_err() {
            self.has_failed.store(true, Relaxed);
        }
        read
    }
}
