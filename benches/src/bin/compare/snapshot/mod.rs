//! Sealing and opening snapshots, beside what the processor can do (`openssl speed`) and beside the crate `age`.
//!
//! Every figure comes from a process of its own, so that its memory is its own too. "One core" is a process that may run on one core only.

mod child;
mod peers;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) use child::Job;

use crate::{median, print};

const GIB: u64 = 1 << 30;
const ROUNDS: usize = 3;

/// What a child measured.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// 10^9 bytes of content a second.
    speed: f64,
    /// Peak resident memory in MiB.
    memory: f64,
}

/// Prints the tables.
pub(crate) fn compare() -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for sealed objects")?;
    let aes = rounds(|| peers::openssl("-evp", "aes-256-gcm"))?;
    let sha = rounds(|| peers::openssl("-evp", "sha256"))?;
    let age_seal = rounds(|| peers::age("seal", 2 * GIB))?;
    let age_open = rounds(|| peers::age("open", 2 * GIB))?;
    print(format_args!(
        "\n| limit or peer, one core | GB/s |\n|---|---|"
    ));
    print(format_args!(
        "| `openssl speed` AES-256-GCM, 64 KiB | {aes:.2} |"
    ));
    print(format_args!(
        "| `openssl speed` SHA-256, 64 KiB | {sha:.2} |"
    ));
    print(format_args!("| age, seal | {age_seal:.2} |"));
    print(format_args!("| age, open | {age_open:.2} |"));

    print(format_args!(
        "\n| work, 4 GiB | cores | GB/s | of the limit | of age | RSS, MiB |\n|---|---|---|---|---|---|"
    ));
    let slower = aes.min(sha);
    for (job, one_core, limit, age) in [
        (Job::Seal, true, aes, age_seal),
        (Job::Open, true, aes, age_open),
        (Job::SealChecked, false, slower, age_seal),
        (Job::OpenChecked, false, slower, age_open),
        (Job::Seal, false, aes, age_seal),
        (Job::Open, false, aes, age_open),
        (Job::OpenVersion1, false, slower, age_open),
    ] {
        let measured = best(job, 4 * GIB, one_core, folder.path())?;
        let cores = if one_core { "1" } else { "all" };
        print(format_args!(
            "| {} | {cores} | {:.2} | {:.2} | {:.2} × | {:.1} |",
            job.title(),
            measured.speed,
            measured.speed / limit,
            measured.speed / age,
            measured.memory
        ));
    }
    print(format_args!("\n| seal, version 2 | RSS, MiB |\n|---|---|"));
    for (title, len) in [
        ("64 MiB", GIB / 16),
        ("4 GiB", 4 * GIB),
        ("64 GiB", 64 * GIB),
    ] {
        let measured = run(Job::Seal, len, false, folder.path())?;
        print(format_args!("| {title} | {:.1} |", measured.memory));
    }
    Ok(())
}

fn rounds(mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let rounds: Result<Vec<f64>> = (0..ROUNDS).map(|_| measure()).collect();
    Ok(median(rounds?))
}

/// The median in speed, and the most memory.
fn best(job: Job, len: u64, one_core: bool, folder: &Path) -> Result<Measured> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(run(job, len, one_core, folder)?);
    }
    Ok(Measured {
        speed: median(all.iter().map(|measured| measured.speed).collect()),
        memory: all
            .iter()
            .map(|measured| measured.memory)
            .fold(0.0, f64::max),
    })
}

fn run(job: Job, len: u64, one_core: bool, folder: &Path) -> Result<Measured> {
    let program = std::env::current_exe().context("this program")?;
    let mut command = if one_core {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).arg(program);
        pinned
    } else {
        Command::new(program)
    };
    let output = command
        .args(["snapshot-child", job.name(), &len.to_string()])
        .arg(folder)
        .output()
        .context("the child that measures")?;
    let words = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", job.name());
    let mut numbers = words.split_whitespace().rev().map(str::parse::<f64>);
    let mut next = || numbers.next().context("two numbers")?.context("a number");
    let (memory, seconds) = (next()?, next()?);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
    let speed = len as f64 / seconds / 1e9;
    Ok(Measured { speed, memory })
}
