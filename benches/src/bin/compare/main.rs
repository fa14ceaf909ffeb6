//! Measures this project and its peers in one run, side by side, and prints tables for `docs/performance.md`.

mod backup;
mod bao;
mod child;
mod machine;
mod plugin;
mod process;
mod rewrite;
mod rows;
mod scan;
mod snapshot;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Measures this project and its peers in one run")]
struct Arguments {
    /// The release build of kms-plugin to measure.
    #[arg(long, default_value = "target/dist/kms-plugin", global = true)]
    kms_plugin: PathBuf,
    /// The release build of kdc to measure.
    #[arg(long, default_value = "target/dist/kdc", global = true)]
    kdc: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// KMS v2 rows against upstream's Go transformer, on one core.
    Rows,
    /// kms-plugin against its own server without cryptography, and a Go server with the same work.
    Plugin,
    /// Start, memory and size of kms-plugin.
    Process,
    /// kms-plugin on OpenBao against a bare HTTP client, and against itself with a local key.
    Bao,
    /// Sealing and opening snapshots, against the processor's limit and age.
    Snapshot,
    /// Looking through a bucket of many snapshots, and moving their data keys.
    Backup,
    /// Counting the rows of a snapshot, against `etcdutl snapshot status`, and of a running etcd, against `etcdctl`.
    Scan,
    /// Rewriting rows through an API server, against clients that read and write whole objects.
    Rewrite(rewrite::Size),
    /// One pass, which `rewrite` runs as a process of its own.
    #[command(hide = true)]
    RewriteChild(rewrite::Child),
    /// One count of a file, which `scan` runs as a process of its own.
    #[command(hide = true)]
    ScanFile {
        /// The snapshot.
        file: PathBuf,
    },
    /// All of them.
    All,
    /// One measurement of snapshots in a process of its own.
    #[command(hide = true)]
    SnapshotChild {
        job: snapshot::Job,
        len: u64,
        folder: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments {
        kms_plugin,
        kdc,
        what,
    } = Arguments::parse();
    match &what {
        What::SnapshotChild { job, len, folder } => return job.run(*len, folder),
        What::ScanFile { file } => return scan::scan_file(file),
        What::RewriteChild(child) => return child.run().await,
        _ => {}
    }
    machine::describe();
    if matches!(what, What::Rows | What::All) {
        rows::compare()?;
    }
    if matches!(what, What::Plugin | What::All) {
        plugin::compare(&kms_plugin).await?;
    }
    if matches!(what, What::Process | What::All) {
        process::measure(&kms_plugin).await?;
    }
    if matches!(what, What::Bao | What::All) {
        bao::compare(&kms_plugin).await?;
    }
    if matches!(what, What::Snapshot | What::All) {
        snapshot::compare()?;
    }
    if matches!(what, What::Backup | What::All) {
        backup::compare(&kdc).await?;
    }
    if matches!(what, What::Scan | What::All) {
        scan::compare(&kdc).await?;
    }
    if let What::Rewrite(size) = &what {
        rewrite::compare(size).await?;
    } else if matches!(what, What::All) {
        rewrite::compare(&rewrite::Size::FULL).await?;
    }
    Ok(())
}

/// The middle of several rounds, which one bad round cannot move.
fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "tables are what this program is for")]
fn print(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

/// A credential, which only its owner may read.
fn write_private(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
