//! `kdc backup restore`: out of a bucket into a data directory, through `etcdutl`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Watch;
use super::origin::Origin;
use super::private_file::folder_of;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::runtime;

/// Standard input, as a path.
const SNAPSHOT: &str = "/proc/self/fd/0";

const EXAMPLES: &str = "\
Examples:
  kdc backup restore --bucket /var/backups/etcd --cluster prod --keyring /etc/kdc/keyring --data-dir /var/lib/etcd
  kdc backup restore --bucket s3://backups --cluster prod --bao-address https://openbao.example.com:8200 \\
      --bao-key etcd-prod --data-dir /var/lib/etcd -- --name etcd-0 --bump-revision 1000000 --mark-compacted";

/// Open a sealed snapshot and make an etcd data directory of it with `etcdutl`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    #[command(flatten)]
    origin: Origin,
    /// Data directory to make; it must not exist. The snapshot lies on its disk, in a file without a name, until etcdutl is done.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The program that restores.
    #[arg(long, value_name = "FILE", default_value = "etcdutl")]
    etcdutl: PathBuf,
    /// Further flags of `etcdutl snapshot restore`.
    #[arg(last = true, value_name = "FLAGS")]
    etcdutl_flags: Vec<String>,
}

pub(super) fn run(arguments: &Restore, out: &mut Output) -> Result<(), Failure> {
    let data_dir = arguments.data_dir.as_path();
    if data_dir.symlink_metadata().is_ok() {
        let line = format!(
            "--data-dir: `{}` exists; etcd's data is not replaced",
            data_dir.display()
        );
        return Err(Failure::new(Exit::CannotCreate, line));
    }
    if !Path::new(SNAPSHOT).exists() {
        let line = format!(
            "restore needs `{SNAPSHOT}`; mount /proc, or use `kdc backup open` and then etcdutl"
        );
        return Err(Failure::new(Exit::NoInput, line));
    }
    let folder = folder_of(data_dir);
    let file = tempfile::tempfile_in(folder).map_err(|error| {
        let place = format!("--data-dir: cannot create a file in `{}`", folder.display());
        Failure::at(Exit::CannotCreate, place, &error)
    })?;
    let source = arguments.origin.open()?;
    let sink = file.try_clone().map_err(|error| {
        let place = format!("--data-dir: cannot write in `{}`", folder.display());
        Failure::at(Exit::Io, place, &error)
    })?;
    let (opened, content) = runtime::wait(async {
        let opened = source.fetch().await?;
        let content = source.open_content(&opened, sink).await?;
        Ok((opened, content))
    })?;
    restore(arguments, file)?;
    out.line(format_args!(
        "restored snapshot {} of {}, {} bytes, taken {}, into {}",
        opened.id(),
        opened.cluster(),
        content.len,
        opened.metadata().created_at(),
        data_dir.display()
    ))
}

/// The snapshot has no name: the program gets it as its standard input, and opens that by its place in /proc.
fn restore(arguments: &Restore, snapshot: File) -> Result<(), Failure> {
    let program = arguments.etcdutl.display();
    let failed = |error: &io::Error| {
        let place = format!("--etcdutl: cannot run `{program}`");
        Failure::at(Exit::NoInput, place, error)
    };
    let child = Command::new(&arguments.etcdutl)
        .args(["snapshot", "restore", SNAPSHOT, "--data-dir"])
        .arg(&arguments.data_dir)
        .args(&arguments.etcdutl_flags)
        .stdin(snapshot)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let stopped = Arc::new(OnceLock::new());
    let watch = stop_with_us(Pid::from_child(&child), Arc::clone(&stopped))?;
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    drop(watch);
    if let Some(signal) = stopped.get().filter(|_| !output.status.success()) {
        let line = format!(
            "stopped by {signal}; of the snapshot nothing is left, but `{}` may hold a part of etcd's data: remove it",
            arguments.data_dir.display()
        );
        return Err(Failure::new(Exit::Negative, line));
    }
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    let line = format!(
        "`{program} snapshot restore` failed: {}",
        last.unwrap_or("it said nothing")
    );
    Err(Failure::new(Exit::Io, line))
}

/// Ends the program as well when a signal ends us, and lets us tell what it leaves.
fn stop_with_us(program: Pid, stopped: Arc<OnceLock<&'static str>>) -> Result<Watch, Failure> {
    Watch::new(move |ending| {
        // Set before the program ends, so that a process that waits for it finds it.
        let _ = stopped.set(ending.name);
        // It may have ended by itself.
        let _ = kill_process(program, Signal::TERM);
    })
}
