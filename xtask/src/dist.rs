//! The release binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// Without the second a static program finds no `getrandom` in the C library and reads `/dev/urandom`, which an empty image may lack.
const STATIC: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

/// Builds into `target/dist`: `kms-plugin` static, for an empty container image; `kdc` dynamic, because it looks up host names
/// through the C library, which does not do that when linked statically.
pub(crate) fn run(root: &Path) -> Result<()> {
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let dist = target_dir.join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;

    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut plugin = release(root, "kms-plugin");
    plugin.args(["--target", &target]).env("RUSTFLAGS", STATIC);
    let built = target_dir.join(target).join("release/kms-plugin");
    build_and_copy(plugin, &built, &dist.join("kms-plugin"))?;

    let built = target_dir.join("release/kdc");
    build_and_copy(release(root, "kdc"), &built, &dist.join("kdc"))
}

fn release(root: &Path, package: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--release", "--locked", "--package", package]);
    cargo
}

fn build_and_copy(mut cargo: Command, from: &Path, to: &Path) -> Result<()> {
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the build failed");
    let len = fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    crate::say(&format!("{} ({} KiB)", to.display(), len / 1024));
    Ok(())
}
