//! One job in a process of its own: prints its seconds and its peak of memory in MiB.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use kdc_envelope::Key256;
use kdc_envelope::snapshot::{self, Expected, Identity, OpenOptions, SealOptions, Trailer};
use sha2::{Digest as _, Sha256};

use crate::print;
use crate::process::mib;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    Seal,
    Open,
    SealChecked,
    OpenChecked,
    OpenVersion1,
}

impl Job {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
            Self::SealChecked => "seal-checked",
            Self::OpenChecked => "open-checked",
            Self::OpenVersion1 => "open-version1",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Seal => "seal, digest off",
            Self::Open => "open, digest off",
            Self::SealChecked => "seal, checksum of etcd checked",
            Self::OpenChecked => "open, checksum of etcd checked",
            Self::OpenVersion1 => "open version 1, digest",
        }
    }

    const fn trailer(self) -> Trailer {
        match self {
            Self::Seal | Self::Open => Trailer::Unchecked,
            Self::SealChecked | Self::OpenChecked => Trailer::Etcd,
            Self::OpenVersion1 => Trailer::Digest,
        }
    }

    /// Does the job on `len` bytes; what is to be opened lies in `folder`, and is made there once.
    pub(crate) fn run(self, len: u64, folder: &Path) -> Result<()> {
        let dek = Key256::new([7; 32]);
        // Of the source, in MiB; it is none of the memory that opening takes.
        let mut held = 0.0;
        let seconds = match self {
            Self::Seal | Self::SealChecked => self.seal(len, &dek, io::sink())?,
            Self::Open | Self::OpenChecked | Self::OpenVersion1 => {
                let path = folder.join(format!("{}-{len}", self.name()));
                if !path.exists() {
                    let file = File::create(&path)?;
                    self.seal(len, &dek, &file)?;
                    // Else the disk is busy with it while it is opened.
                    file.sync_all()?;
                }
                // Without a checksum the processor alone is measured, so nothing is read from a file.
                match self {
                    Self::Open => {
                        let object = fs::read(&path)?;
                        held = mib(u64::try_from(object.len())?);
                        self.open(&dek, object.as_slice())?
                    }
                    _ => self.open(&dek, File::open(&path)?)?,
                }
            }
        };
        print(format_args!("{seconds} {}", peak_memory()? - held));
        Ok(())
    }

    fn seal(self, len: u64, dek: &Key256, sink: impl Write) -> Result<f64> {
        let source = self.source(len);
        let started = Instant::now();
        if self == Self::OpenVersion1 {
            snapshot::v1::seal(source, sink, dek, self.trailer())?;
        } else {
            let mut options = SealOptions::default();
            options.workers = workers();
            options.trailer = self.trailer();
            snapshot::seal(source, sink, dek, &identity()?, &options)?;
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn open(self, dek: &Key256, source: impl Read + Send) -> Result<f64> {
        let started = Instant::now();
        if self == Self::OpenVersion1 {
            snapshot::v1::open(source, io::sink(), dek, self.trailer())?;
        } else {
            let mut options = OpenOptions::default();
            options.workers = workers();
            options.trailer = self.trailer();
            snapshot::open(source, io::sink(), dek, &Expected::default(), &options)?;
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// Zeros, and their SHA-256 where it is asked for, made before the clock runs.
    fn source(self, len: u64) -> Box<dyn Read + Send> {
        if self.trailer() != Trailer::Etcd {
            return Box::new(io::repeat(0).take(len));
        }
        let mut digest = Sha256::new();
        let zeros = vec![0; 1 << 20];
        for _ in 0..len >> 20 {
            digest.update(&zeros);
        }
        let checksum = digest.finalize().to_vec();
        Box::new(
            io::repeat(0)
                .take(len >> 20 << 20)
                .chain(io::Cursor::new(checksum)),
        )
    }
}

fn identity() -> Result<Identity> {
    Identity::new("bench", "bench-1", "zeros").context("names")
}

fn workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Peak of resident memory in MiB (proc(5), `VmHWM`).
fn peak_memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib.context("VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}
