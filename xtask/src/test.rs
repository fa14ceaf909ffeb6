//! All tests of the workspace, against servers that are there before the
//! first test starts, so that no test's time limit counts a build.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use kdc_testbed::KubeMinor;
use kdc_testbed::servers::KUBE_MINORS;

use crate::servers;

/// Ends as `cargo test` does.
pub(crate) fn run(root: &Path, matrix: bool, cargo_arguments: &[OsString]) -> Result<ExitCode> {
    servers::prepare_all(matrix)?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["test", "--workspace", "--all-features", "--locked"])
        .args(cargo_arguments);
    if matrix {
        cargo.env(
            KUBE_MINORS,
            KubeMinor::ALL.map(|minor| minor.to_string()).join(","),
        );
    }
    let status = cargo.status().context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
