//! The limit of the machine, and the peer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// 10^9 bytes a second of `openssl speed` on one core, in pieces of 64 KiB.
pub(super) fn openssl(flag: &str, algorithm: &str) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args([
        "-c", "0", "openssl", "speed", "-bytes", "65536", "-seconds", "2",
    ]);
    let words = said(command.args([flag, algorithm])).context("openssl speed")?;
    let last = words.lines().last().unwrap_or_default();
    let thousands = last
        .split_whitespace()
        .last()
        .and_then(|word| word.strip_suffix('k'));
    let thousands: f64 = thousands
        .context("the last line of openssl speed")?
        .parse()?;
    Ok(thousands * 1000.0 / 1e9)
}

/// 10^9 bytes a second of the crate age on one core.
pub(super) fn age(mode: &str, len: u64) -> Result<f64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/age");
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "--manifest-path"]);
    said(build.arg(folder.join("Cargo.toml"))).context("build the peer")?;
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(folder.join("target/release/age-peer"));
    let seconds: f64 = said(command.args([mode, &len.to_string()]))?
        .trim()
        .parse()?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
    let bytes = len as f64;
    Ok(bytes / seconds / 1e9)
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().context("start")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
