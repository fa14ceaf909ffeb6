//! `kdc backup seal`: a snapshot file into a bucket.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use kdc_envelope::snapshot::Trailer;
use kdc_envelope_backup::CountRows;

use super::destination::Destination;
use super::file::RandomAccess;
use super::{file, recognise};
use crate::failure::{Exit, Failure};
use crate::file_kind::HEAD_LEN;
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
        return from_stdin(arguments, &source, trailer, out);
    }
    let file = open(path)?;
    let len = file.metadata().map(|metadata| metadata.len());
    let len = len.map_err(|error| Failure::unreadable("FILE", path, &error))?;
    recognise::check_file(&file, path, len, arguments.without_checksum)?;
    let deposit = arguments.destination.open(&source)?;
    // What is compressed cannot be counted where it lies.
    let rows = match arguments.destination.is_compressed() {
        true => CountRows::Copy(Box::new(copy(&file, path)?)),
        false => CountRows::Sealed,
    };
    let source = progress::Watched::new(file, "sealing", Some(len));
    Ok(deposit.store(source, trailer, rows, out)?)
}

fn from_stdin(
    arguments: &Seal,
    source: &str,
    trailer: Trailer,
    out: &mut Output,
) -> Result<(), Failure> {
    let deposit = arguments.destination.open(source)?;
    let mut start = Vec::new();
    let limit = HEAD_LEN as u64;
    let read = io::stdin().take(limit).read_to_end(&mut start);
    read.map_err(|error| Failure::at(Exit::Io, "cannot read standard input", &error))?;
    if let Some(kind) = recognise::by_start(&start) {
        return Err(recognise::refused(source, kind));
    }
    let whole = io::Cursor::new(start).chain(io::stdin());
    let whole = progress::Watched::new(whole, "sealing", None);
    Ok(deposit.store(whole, trailer, CountRows::Sealed, out)?)
}

/// The same file, to be read at any place.
fn copy(file: &File, path: &Path) -> Result<RandomAccess, Failure> {
    let copy = file.try_clone().and_then(RandomAccess::of);
    copy.map_err(|error| Failure::unreadable("FILE", path, &error))
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = file::open(path).map_err(|error| Failure::unreadable("FILE", path, &error))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(recognise::no_file(path));
    }
    Ok(file)
}
