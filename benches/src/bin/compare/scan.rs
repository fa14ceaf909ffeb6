//! Counting the rows of a snapshot: ours beside `etcdutl snapshot status`, each as a process of its own on the same file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use kdc_benches::row_keys;
use kdc_envelope::etcd_file::{EtcdFile, ReadAt};
use kdc_testbed::Etcd;
use kdc_testbed::servers::{Server, prepare};

use crate::child::{Taken, run};
use crate::{median, print};

const ROWS: u32 = 1_000_000;
/// Rows that were changed once more, so that their older changes are in the file, too.
const CHANGED: u32 = 100_000;
/// Bytes in the plaintext of a row: a small Secret.
const PLAINTEXT_LEN: usize = 256;
/// Written to etcd at once.
const BATCH: u32 = 12_800;
const ROUNDS: usize = 5;

pub(crate) async fn compare(kdc: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let snapshot = folder.path().join("etcd.db");
    let etcd = write(&snapshot).await?;
    live(&etcd, kdc)?;
    drop(etcd);
    let etcdutl = prepare(Server::Etcdutl, &mut |_| ())?;
    let mut scan = Command::new(std::env::current_exe()?);
    scan.arg("scan-file").arg(&snapshot);
    let mut status = Command::new(etcdutl);
    status.args(["snapshot", "status"]).arg(&snapshot);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(run(&mut scan)?);
        theirs.push(run(&mut status)?);
    }
    let mib = fs::metadata(&snapshot)?.len() >> 20;
    print(format_args!(
        "{ROWS} rows and {CHANGED} older changes in {mib} MiB, in the page cache; median of {ROUNDS} runs\n"
    ));
    print(format_args!(
        "| program | s | rows/s | resident at most, MiB |"
    ));
    print(format_args!("|---|---|---|---|"));
    show("kdc-envelope, rows by provider, key id and version", &ours);
    show("etcdutl snapshot status", &theirs);
    print(format_args!(""));
    Ok(())
}

/// The same rows in the etcd itself, beside its own client, whose output is dropped.
fn live(etcd: &Etcd, kdc: &Path) -> Result<()> {
    let mut inspect = Command::new(kdc);
    inspect.args([
        "value",
        "inspect",
        "--etcd-prefix",
        "/registry/",
        "--output",
        "json",
    ]);
    inspect.args(["--etcd-endpoints", etcd.endpoint(), "--etcd-timeout", "60s"]);
    let etcdctl = etcd.etcdctl();
    let mut get = Command::new("sh");
    get.args(["-c", "exec \"$@\" > /dev/null", "sh"]);
    get.arg(etcdctl.get_program()).args(etcdctl.get_args());
    get.args(["--command-timeout=300s", "get", "--prefix", "/registry/"]);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(run(&mut inspect)?);
        theirs.push(run(&mut get)?);
    }
    print(format_args!(
        "{ROWS} rows in a running etcd on the same machine; median of {ROUNDS} runs\n"
    ));
    print(format_args!(
        "| program | s | rows/s | resident at most, MiB |"
    ));
    print(format_args!("|---|---|---|---|"));
    show("kdc, rows by provider, key id and version", &ours);
    show("etcdctl get --prefix", &theirs);
    print(format_args!(""));
    Ok(())
}

fn show(name: &str, rounds: &[Taken]) {
    let seconds = median(rounds.iter().map(|taken| taken.seconds).collect());
    let resident = median(rounds.iter().map(|taken| taken.resident_mib).collect());
    let rate = f64::from(ROWS) / seconds;
    print(format_args!(
        "| {name} | {seconds:.2} | {rate:.0} | {resident:.0} |"
    ));
}

/// Counts the rows of a file on one core; what [`compare`] runs as a process of its own.
pub(crate) fn scan_file(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let usage = EtcdFile::open(OfFile { file, len })?.key_usage(b"/registry/", |_| ())?;
    ensure!(usage.totals.rows == u64::from(ROWS), "{:?}", usage.totals);
    ensure!(
        usage.totals.changes == u64::from(ROWS + CHANGED),
        "{:?}",
        usage.totals
    );
    ensure!(usage.rows.groups().len() == 2, "{:?}", usage.rows);
    Ok(())
}

struct OfFile {
    file: File,
    len: u64,
}

impl ReadAt for OfFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A snapshot that a real etcd wrote: nine of ten rows encrypted, the others plain.
async fn write(path: &Path) -> Result<Etcd> {
    let etcd = Etcd::start().await?;
    let (sealer, _) = row_keys();
    let row = |number: u32| {
        let key = format!(
            "/registry/secrets/namespace-{}/secret-{number:08}",
            number % 997
        );
        let plaintext = [b's'; PLAINTEXT_LEN];
        let value = match number % 10 {
            0 => [b"k8s\0", plaintext.as_slice()].concat(),
            _ => sealer.seal(&plaintext, key.as_bytes())?,
        };
        anyhow::Ok((key, value))
    };
    for first in (0..ROWS).step_by(BATCH as usize) {
        let rows: Result<Vec<_>> = (first..ROWS.min(first + BATCH)).map(row).collect();
        etcd.put_all(&rows?).await?;
    }
    let again: Result<Vec<_>> = (0..CHANGED).map(|number| row(number * 7)).collect();
    etcd.put_all(&again?).await?;
    etcd.save_snapshot(path)?;
    Ok(etcd)
}
