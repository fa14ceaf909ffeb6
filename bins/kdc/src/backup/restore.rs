//! `kdc backup restore`: out of a bucket into a data directory, through `etcdutl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::fetch::Origin;
use super::private_file::PrivateFile;
use crate::failure::{Exit, Failure};
use crate::output::Output;

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
    /// Data directory to make; it must not exist. The snapshot lies beside it, readable by nobody else, until etcdutl is done.
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
    let mut name = data_dir.as_os_str().to_owned();
    name.push(".snapshot.db");
    let file = PrivateFile::create("--data-dir", Path::new(&name))?;
    let fetched = arguments.origin.fetch()?;
    let content = fetched.open_content(&file)?;
    restore(arguments, file.path())?;
    out.line(format_args!(
        "restored snapshot {} of {}, {} bytes, taken {}, into {}",
        fetched.id,
        fetched.cluster,
        content.len,
        fetched.metadata.created_at(),
        data_dir.display()
    ))
}

fn restore(arguments: &Restore, snapshot: &Path) -> Result<(), Failure> {
    let program = arguments.etcdutl.display();
    let output = Command::new(&arguments.etcdutl)
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg("--data-dir")
        .arg(&arguments.data_dir)
        .args(&arguments.etcdutl_flags)
        .output()
        .map_err(|error| {
            let place = format!("--etcdutl: cannot run `{program}`");
            Failure::at(Exit::NoInput, place, &error)
        })?;
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
