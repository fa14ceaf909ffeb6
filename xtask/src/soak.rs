//! Long runs of the tests that `cargo xtask test` runs briefly.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::servers;
use crate::servers::WithNode;

/// Load, rotations and faults at random.
pub(crate) fn soak(root: &Path, minutes: u64, seed: Option<u64>) -> Result<()> {
    let mut cargo = test(root, "reliability", "soak::");
    cargo.env("KDC_SOAK_SECONDS", minutes.saturating_mul(60).to_string());
    if let Some(seed) = seed {
        cargo.env("KDC_SOAK_SEED", seed.to_string());
    }
    run(cargo)
}

/// An outage almost as long as seeds are remembered.
pub(crate) fn outage(root: &Path, ttl_seconds: u64) -> Result<()> {
    let mut cargo = test(root, "reliability", "outage::");
    cargo.env("KDC_OUTAGE_TTL_SECONDS", ttl_seconds.to_string());
    run(cargo)
}

/// Outages of OpenBao under a highly available control plane behind a Service.
pub(crate) fn outages_of_minutes(root: &Path, minutes: &[u64]) -> Result<()> {
    let minutes: Vec<String> = minutes.iter().map(u64::to_string).collect();
    let mut cargo = test(root, "reliability", "grace::an_outage");
    cargo.env("KDC_OUTAGE_MINUTES", minutes.join(","));
    run(cargo)
}

/// Kills of the tool and of API servers in the middle of changes of keys.
pub(crate) fn chaos(root: &Path, kills: u64, seed: Option<u64>) -> Result<()> {
    let mut cargo = test(root, "encryption", "chaos::");
    cargo.env("KDC_CHAOS_KILLS", kills.to_string());
    if let Some(seed) = seed {
        cargo.env("KDC_CHAOS_SEED", seed.to_string());
    }
    run(cargo)
}

fn test(root: &Path, target: &str, filter: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        // The features of `cargo xtask test`, so that nothing is built twice.
        .args(["test", "--locked", "--workspace", "--all-features"])
        .args(["--test", target, filter, "--", "--nocapture"]);
    cargo
}

fn run(mut cargo: Command) -> Result<()> {
    servers::prepare_all(false, WithNode::No)?;
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "it did not go as it should");
    Ok(())
}
