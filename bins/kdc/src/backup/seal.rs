//! `kdc backup seal`: a snapshot file into a bucket.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use kdc_envelope::snapshot::Trailer;

use super::deposit::Destination;
use super::rows;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  kdc backup seal snapshot.db --bucket /var/backups/etcd --cluster prod --keyring /etc/kdc/keyring
  etcdctl snapshot save /dev/stdout | kdc backup seal - --bucket s3://backups --cluster prod \\
      --bao-address https://openbao.example.com:8200 --bao-key etcd-prod --bao-auth token --bao-token-file token";

/// Seal a snapshot file under a new data key and put it into a bucket.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Seal {
    /// The snapshot, as `etcdctl snapshot save` made it; `-` reads standard input.
    file: PathBuf,
    #[command(flatten)]
    destination: Destination,
    /// Take a file that does not end in etcd's checksum, such as a copy of member/snap/db. Nothing then shows that it is whole.
    #[arg(long)]
    without_checksum: bool,
}

pub(super) fn run(arguments: &Seal, out: &mut Output) -> Result<(), Failure> {
    let path = arguments.file.as_path();
    let is_stdin = path == Path::new("-");
    let trailer = match arguments.without_checksum {
        true => Trailer::Digest,
        false => Trailer::Etcd,
    };
    let source = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    if is_stdin {
        let deposit = arguments.destination.open(&source)?;
        let source = progress::Watched::new(io::stdin(), "sealing", None);
        return deposit.store(source, trailer, Box::new(|_, _| Ok(None)), out);
    }
    let file = open(path)?;
    let len = file.metadata().map(|metadata| metadata.len());
    let len = len.map_err(|error| Failure::unreadable("FILE", path, &error))?;
    let deposit = arguments.destination.open(&source)?;
    let source = progress::Watched::new(&file, "sealing", Some(len));
    let count = Box::new(|_: &_, _: &_| rows::of_file(&file, path));
    deposit.store(source, trailer, count, out)
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| Failure::unreadable("FILE", path, &error))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        let line = format!("FILE: `{}` is not a file", path.display());
        return Err(Failure::new(Exit::NoInput, line));
    }
    Ok(file)
}
