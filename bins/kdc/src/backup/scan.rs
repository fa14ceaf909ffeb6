//! `kdc backup scan`.

use std::path::PathBuf;

use kdc_envelope::etcd_file::{EtcdFile, EtcdFileError, FileKeyUsage};
use serde::Serialize;

use super::file::RandomAccess;
use super::recognise;
use crate::failure::{Exit, Failure, exit_of_io};
use crate::output::{Format, Output};
use crate::progress;
use crate::rows::Rows;

const EXAMPLES: &str = "\
Examples:
  etcdctl snapshot save etcd.db && kdc backup scan etcd.db
  # which keys a snapshot still needs, for a program
  kdc backup scan etcd.db --output json | jq '.groups[] | {keyId, version, rows}'
  # some of the rows; also of a data file, of an etcd that does not run
  kdc backup scan /var/lib/etcd/member/snap/db --prefix /registry/secrets/

Exit code 65 if the file or a row is damaged.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scan {
    /// A snapshot of etcd, or the data file of an etcd that does not run.
    file: PathBuf,
    /// Count only the rows whose keys begin with this: kube-apiserver's `--etcd-prefix` and a slash, or something below
    /// [default: all rows]
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    /// Also check the SHA-256 that a snapshot ends in.
    #[arg(long)]
    verify: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What is in the file. Rows and changes here are those of the whole file, whatever the prefix.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Whether the file ends in a SHA-256, as snapshots do and data files do not.
    is_snapshot: bool,
    /// Whether that was checked, and right.
    is_verified: bool,
    revision: i64,
    total_rows: u64,
    total_changes: u64,
    #[serde(flatten)]
    rows: Rows,
}

pub(super) fn run(arguments: &Scan, out: &mut Output) -> Result<Exit, Failure> {
    let Scan { file, prefix, .. } = arguments;
    let failure = |error: &EtcdFileError| failure(arguments, error);
    let source = RandomAccess::open(file).map_err(|error| {
        let place = format_args!("cannot read `{}`", file.display());
        Failure::at(exit_of_io(&error), place, &error)
    })?;
    let etcd_file = EtcdFile::open(&source).map_err(|error| failure(&error))?;
    let bar = progress::bytes(etcd_file.pages_len());
    if arguments.verify {
        let is_verified = etcd_file
            .check_trailer(|read| bar.set_position(read))
            .map_err(|error| failure(&error))?;
        if !is_verified {
            let line = format_args!(
                "--verify: `{}` ends in no SHA-256; only snapshots do",
                file.display()
            );
            return Err(Failure::new(Exit::Data, line));
        }
    }
    let usage = etcd_file.key_usage(prefix.as_bytes(), |read| bar.set_position(read));
    bar.finish_and_clear();
    let usage = usage.map_err(|error| failure(&error))?;
    if usage.rows.rows() == 0 {
        return Err(nothing(arguments, &usage));
    }
    let elsewhere = usage.totals.rows - usage.rows.rows();
    let report = Report {
        is_snapshot: etcd_file.is_snapshot(),
        is_verified: arguments.verify,
        revision: usage.totals.revision,
        total_rows: usage.totals.rows,
        total_changes: usage.totals.changes,
        rows: Rows::of(&usage.rows, Some(elsewhere)),
    };
    match arguments.output {
        Format::Json => out.json(&report)?,
        Format::Text => report.show(out)?,
    }
    report
        .rows
        .verdict("kube-apiserver would refuse it with any key")
}

impl Report {
    fn show(&self, out: &mut Output) -> Result<(), Failure> {
        let what = match (self.is_snapshot, self.is_verified) {
            (true, true) => "snapshot, SHA-256 verified",
            (true, false) => "snapshot",
            (false, _) => "data file",
        };
        out.line(format_args!(
            "{what}: revision {}, {} rows, {} changes",
            self.revision, self.total_rows, self.total_changes
        ))?;
        self.rows.show(out)
    }
}

/// A file without a row that counts.
fn nothing(arguments: &Scan, usage: &FileKeyUsage) -> Failure {
    let (file, prefix) = (arguments.file.display(), &arguments.prefix);
    let found = usage.rows.prefixes().found();
    let line = match (usage.totals.rows, found.is_empty()) {
        (0, _) => format!("`{file}` has no rows: nothing was ever written to this etcd"),
        (rows, true) => {
            format!("--prefix: `{file}` has {rows} rows, but none under `{prefix}`")
        }
        (rows, false) => format!(
            "--prefix: `{file}` has {rows} rows, but none under `{prefix}`; API servers have objects under {}",
            found.join(", ")
        ),
    };
    Failure::new(Exit::NoInput, line)
}

fn failure(arguments: &Scan, error: &EtcdFileError) -> Failure {
    let exit = match error {
        EtcdFileError::Read { .. } => Exit::Io,
        _ => Exit::Data,
    };
    let file = arguments.file.display();
    if matches!(error, EtcdFileError::NoMeta)
        && let Some(kind) = recognise::of_path(&arguments.file)
    {
        let line = format_args!(
            "`{file}` is no snapshot or data file of etcd, but {}",
            kind.what
        );
        return Failure::new(exit, line).hint(kind.cure);
    }
    let failure = Failure::at(exit, format_args!("`{file}`"), error);
    match error {
        EtcdFileError::NoMeta => failure.hint("a sealed snapshot must be opened first"),
        _ => failure,
    }
}
