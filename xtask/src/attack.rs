//! Attacks from outside: those that the tests run briefly, for as long as requested.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::servers::WithNode;
use crate::{reliability, servers};

const HEADINGS: &str = "| part | attack | times | outcome |\n|---|---|---|---|\n";

/// Fails, and leaves the document alone, if an attack does harm.
pub(crate) fn run(root: &Path, minutes: u64, seed: Option<u64>) -> Result<()> {
    servers::prepare_all(false, WithNode::No)?;
    let tables = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        // The features of `cargo xtask test`, so that nothing is built twice.
        .args(["test", "--locked", "--workspace", "--all-features"])
        .args([
            "--test",
            "attack",
            "--",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env("KDC_ATTACK_SECONDS", minutes.saturating_mul(60).to_string())
        .env("KDC_ATTACK_TABLES", tables.path());
    if let Some(seed) = seed {
        cargo.env("KDC_ATTACK_SEED", seed.to_string());
    }
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "an attack did harm");
    let table = format!("{HEADINGS}{}", reliability::rows(tables.path())?);
    reliability::write_attacks(root, &table)
}
