//! `kdc backup inventory` and `kdc backup rewrap` on a folder with many snapshots.
//!
//! All snapshots are copies of one, with a name and a time of their own: neither verb reads what is sealed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kdc_testbed::bao::Bao;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::child::{Taken, run};
use crate::{median, print};

const CLUSTERS: u32 = 10;
const SNAPSHOTS_EACH: u32 = 10_000;
const ROUNDS: usize = 3;
/// What makes a snapshot, beside its metadata.
const DATA: &str = "snapshot.db.enc";
const WRAPPED_DEK: &str = "dek.wrapped";
const METADATA: &str = "metadata.json";

/// A folder with a keyring and buckets, and the program.
struct Bench {
    folder: TempDir,
    kdc: PathBuf,
}

pub(crate) async fn compare(kdc: &Path) -> Result<()> {
    let kdc = fs::canonicalize(kdc)
        .with_context(|| format!("{}: build it with `cargo xtask dist`", kdc.display()))?;
    let bench = Bench {
        folder: tempfile::tempdir()?,
        kdc,
    };
    let keyring = ["--keyring", "keyring"];
    bench.kdc(&["keyring", "init", "keyring"])?;
    bench.fill("local", CLUSTERS, &keyring)?;
    let inventory = [
        "backup",
        "inventory",
        "--bucket",
        "local",
        "--output",
        "json",
    ];
    let inventories = rounds(|| bench.kdc(&inventory))?;
    let local = rounds(|| {
        for step in ["add", "promote"] {
            bench.kdc(&["keyring", step, "keyring"])?;
        }
        bench.rewrap("local", &keyring)
    })?;

    let bao = Bao::start().await?;
    let root = bao.root();
    root.enable_transit("transit").await?;
    root.create_key("transit", "etcd").await?;
    let token = bench.folder.path().join("token");
    crate::write_private(&token, bao.root_token())?;
    let transit = [
        ["--bao-address", bao.address()],
        ["--bao-key", "etcd"],
        ["--bao-auth", "token"],
        ["--bao-token-file", "token"],
    ];
    let transit = [transit.as_flattened(), &["--bao-insecure-http"]].concat();
    bench.fill("bao", 1, &transit)?;
    let mut in_bao = Vec::new();
    for _ in 0..ROUNDS {
        root.rotate_key("transit", "etcd").await?;
        in_bao.push(bench.rewrap("bao", &transit)?);
    }
    print(format_args!(
        "a folder with {} snapshots in {CLUSTERS} clusters; median of {ROUNDS} runs\n",
        CLUSTERS * SNAPSHOTS_EACH
    ));
    print(format_args!(
        "| verb | snapshots | s | snapshots/s | resident at most, MiB |\n|---|---|---|---|---|"
    ));
    show("inventory", CLUSTERS * SNAPSHOTS_EACH, &inventories);
    show("rewrap, keyring", SNAPSHOTS_EACH, &local);
    show("rewrap, OpenBao", SNAPSHOTS_EACH, &in_bao);
    print(format_args!(""));
    Ok(())
}

fn rounds(mut measure: impl FnMut() -> Result<Taken>) -> Result<Vec<Taken>> {
    (0..ROUNDS).map(|_| measure()).collect()
}

fn show(verb: &str, snapshots: u32, rounds: &[Taken]) {
    let seconds = median(rounds.iter().map(|taken| taken.seconds).collect());
    let resident = rounds.iter().map(|taken| taken.resident_mib);
    print(format_args!(
        "| {verb} | {snapshots} | {seconds:.2} | {:.0} | {:.0} |",
        f64::from(snapshots) / seconds,
        resident.fold(0.0, f64::max)
    ));
}

impl Bench {
    fn kdc(&self, words: &[&str]) -> Result<Taken> {
        let mut command = Command::new(&self.kdc);
        run(command.args(words).current_dir(self.folder.path()))
    }

    /// Moves the data keys of one cluster.
    fn rewrap(&self, bucket: &str, key: &[&str]) -> Result<Taken> {
        let place = ["--bucket", bucket, "--cluster", "cluster-0"];
        let verb = ["backup", "rewrap", "--output", "json"];
        let taken = self.kdc(&[&verb[..], &place, key].concat())?;
        let report: Value = serde_json::from_str(&taken.stdout)?;
        let is_done = report.get("rewrapped") == Some(&SNAPSHOTS_EACH.into());
        ensure!(is_done, "{report}");
        Ok(taken)
    }

    /// Seals one snapshot, and fills a bucket with copies.
    fn fill(&self, bucket: &str, clusters: u32, key: &[&str]) -> Result<()> {
        let path = self.folder.path();
        fs::write(path.join("content"), "content")?;
        let seal = ["backup", "seal", "content", "--without-checksum"];
        let name = ["--bucket", "sealed", "--cluster", "c", "--snapshot", bucket];
        self.kdc(&[&seal[..], &name, key].concat())?;
        Copies::of(&path.join("sealed/c").join(bucket))?.fill(&path.join(bucket), clusters)
    }
}

/// A snapshot that is written again and again under other names.
struct Copies {
    data: Vec<u8>,
    wrapped_dek: Vec<u8>,
    metadata: Map<String, Value>,
}

impl Copies {
    fn of(sealed: &Path) -> Result<Self> {
        Ok(Self {
            data: fs::read(sealed.join(DATA))?,
            wrapped_dek: fs::read(sealed.join(WRAPPED_DEK))?,
            metadata: serde_json::from_slice(&fs::read(sealed.join(METADATA))?)?,
        })
    }

    fn fill(mut self, bucket: &Path, clusters: u32) -> Result<()> {
        for cluster in (0..clusters).map(|number| format!("cluster-{number}")) {
            for number in 0..SNAPSHOTS_EACH {
                self.write(bucket, &cluster, number)?;
            }
        }
        Ok(())
    }

    /// One a hour, with rows under two keys, and a new key each hour.
    fn write(&mut self, bucket: &Path, cluster: &str, number: u32) -> Result<()> {
        let id = format!("{cluster}-{number:06}");
        let (month, day) = (number / 24 / 28 % 12 + 1, number / 24 % 28 + 1);
        let created = format!("2026-{month:02}-{day:02}T{:02}:00:00Z", number % 24);
        let first = number % 50 + 1;
        let group = |version: u32| json!({"provider": "kms-v2", "name": "bao", "keyId": format!("bao-v{version}-0123456789ab"), "version": version, "rows": 500});
        let rows = json!({"total": 1000, "groups": [group(first), group(first + 1)]});
        let folder = bucket.join(cluster).join(&id);
        for (field, value) in [
            ("cluster", cluster.into()),
            ("snapshot", id.into()),
            ("createdAt", created.into()),
            ("rows", rows),
        ] {
            self.metadata.insert(field.to_owned(), value);
        }
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(DATA), &self.data)?;
        fs::write(folder.join(WRAPPED_DEK), &self.wrapped_dek)?;
        let metadata = serde_json::to_vec_pretty(&self.metadata)?;
        fs::write(folder.join(METADATA), metadata)?;
        Ok(())
    }
}
