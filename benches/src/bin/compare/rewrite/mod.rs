//! Rewriting rows on one control plane: ours beside what others do, which reads and writes whole objects.

mod fixture;
mod ours;
mod peers;
mod reader;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use kdc_testbed::servers::{Server, prepare};

use crate::print;
use fixture::{Fixture, Set};
use reader::Reader;

/// Objects that show whether memory grows with their number.
const MANY: u32 = 100_000;

/// How much is rewritten.
#[derive(Debug, Clone, Args)]
pub(crate) struct Size {
    /// Rewrite so many times fewer objects.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    divide: u32,
}

impl Size {
    /// As it is for all comparisons together.
    pub(crate) const FULL: Self = Self { divide: 1 };
}

/// One pass in a process of its own.
#[derive(Debug, Clone, Args)]
pub(crate) struct Child {
    kubeconfig: PathBuf,
    resource: String,
}

impl Child {
    pub(crate) async fn run(&self) -> Result<()> {
        ours::run_child(&self.kubeconfig, &self.resource).await
    }
}

/// What a pass took.
struct Taken {
    objects: u32,
    seconds: f64,
    bytes: u64,
    /// Of the process, in MiB, if it was one of its own.
    resident: Option<f64>,
    /// Milliseconds in which 99 of 100 reads of another client were answered meanwhile.
    p99: f64,
}

impl Taken {
    fn rate(&self) -> f64 {
        f64::from(self.objects) / self.seconds
    }
}

pub(crate) async fn compare(size: &Size) -> Result<()> {
    // Building it takes minutes, and looking for it a moment: neither is kubectl's time.
    let kubectl = tokio::task::spawn_blocking(|| prepare(Server::Kubectl, &mut |_| ())).await??;
    let fixture = Fixture::start().await?;
    print(format_args!(
        "Secrets rewritten on one kube-apiserver and etcd; clients, servers and a reader on the same cores\n"
    ));
    print(format_args!(
        "| Secrets | client | objects/s | of ours | bytes per object on the wire | resident at most, MiB | p99 of reads, ms | idle, ms | of idle |"
    ));
    print(format_args!("|---|---|---|---|---|---|---|---|---|"));
    for (count, length) in [(10_000, 1 << 10), (1_000, 400 << 10)] {
        let set = Set {
            count: count / size.divide,
            length,
        };
        rows(&fixture, &set, &kubectl).await?;
    }
    let set = Set {
        count: MANY / size.divide,
        length: 100,
    };
    fixture.make_stale(&set).await?;
    let idle = idle(&fixture).await?;
    let taken = measured(&fixture, &set, async || ours::rewrite(&fixture).await).await?;
    row(&set, "kdc-envelope", &taken, taken.rate(), idle);
    fixture.clear().await?;
    print(format_args!(""));
    Ok(())
}

/// All clients on the same objects, each of which are stale again before each.
async fn rows(fixture: &Fixture, set: &Set, kubectl: &Path) -> Result<()> {
    fixture.make_stale(set).await?;
    let idle = idle(fixture).await?;
    let ours = measured(fixture, set, async || ours::rewrite(fixture).await).await?;
    row(set, "kdc-envelope", &ours, ours.rate(), idle);
    fixture.make_stale(set).await?;
    let replace = async || peers::get_then_replace(fixture, kubectl).await;
    let taken = measured(fixture, set, replace).await?;
    let name = "`kubectl get -o json \\| kubectl replace -f -`";
    row(set, name, &taken, ours.rate(), idle);
    fixture.make_stale(set).await?;
    let taken = measured(fixture, set, async || peers::migrate(fixture).await).await?;
    let name = "stand-in for kube-storage-version-migrator";
    row(set, name, &taken, ours.rate(), idle);
    fixture.clear().await
}

/// The 99th percentile of reads, in ms, while nothing is rewritten.
async fn idle(fixture: &Fixture) -> Result<f64> {
    let reader = Reader::start(fixture)?;
    tokio::time::sleep(reader::IDLE).await;
    reader.p99().await
}

/// Runs a client to its end, with a reader beside it, and looks at what it did.
async fn measured(
    fixture: &Fixture,
    set: &Set,
    client: impl AsyncFnOnce() -> Result<Option<f64>>,
) -> Result<Taken> {
    let reader = Reader::start(fixture)?;
    let before = fixture.meter.bytes();
    let begin = Instant::now();
    let resident = client().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = fixture.meter.bytes() - before;
    let p99 = reader.p99().await?;
    let stale = fixture.stale().await?;
    ensure!(stale == 0, "{stale} rows are still stale");
    Ok(Taken {
        objects: set.count,
        seconds,
        bytes,
        resident,
        p99,
    })
}

fn row(set: &Set, client: &str, taken: &Taken, ours: f64, idle: f64) {
    let resident = taken
        .resident
        .map_or_else(|| "–".to_owned(), |mib| format!("{mib:.1}"));
    let (rate, bytes) = (taken.rate(), taken.bytes / u64::from(taken.objects));
    print(format_args!(
        "| {set} | {client} | {rate:.0} | {:.2} × | {bytes} | {resident} | {:.1} | {idle:.1} | {:.2} × |",
        rate / ours,
        taken.p99,
        taken.p99 / idle
    ));
}
