//! The model check of the rotation planner, at a larger bound than in `cargo test`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Ends as `cargo test` does.
pub(crate) fn run(root: &Path, servers: u8, rows: u8) -> Result<ExitCode> {
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "test",
            "--locked",
            "--release",
            "--package",
            "kdc-envelope-k8s",
        ])
        .args(["--test", "model", "--", "--nocapture", "--skip", "mutants"])
        .env("KDC_MODEL_SERVERS", servers.to_string())
        .env("KDC_MODEL_ROWS", rows.to_string())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
