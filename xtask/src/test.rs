//! All tests of the workspace, against servers that are there before the
//! first test starts, so that no test's time limit counts a build.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use kdc_testbed::KubeMinor;
use kdc_testbed::servers::KUBE_MINORS;

use crate::servers;

/// What `cargo test` is run on. All features bring `aws-lc`, so the core is tested a second time without it.
const RUNS: [&[&str]; 2] = [
    &["--workspace", "--all-features"],
    &["--package", "kdc-envelope", "--features", "testing"],
];

/// Ends as `cargo test` does.
pub(crate) fn run(root: &Path, matrix: bool, cargo_arguments: &[OsString]) -> Result<ExitCode> {
    servers::prepare_all(matrix)?;
    for run in RUNS {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(root)
            .args(["test", "--locked"])
            .args(run)
            .args(cargo_arguments);
        if matrix {
            let minors = KubeMinor::ALL.map(|minor| minor.to_string());
            cargo.env(KUBE_MINORS, minors.join(","));
        }
        if !cargo.status().context("cannot run cargo")?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
