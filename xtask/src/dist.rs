//! The release binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// Without the second a static program finds no `getrandom` in the C library and reads `/dev/urandom`, which an empty image may lack.
const STATIC: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

/// Builds into `target/dist`: `kms-plugin` and `static/kdc` static, for container images that hold nothing else; and `kdc` dynamic, for
/// machines, where host names may come from more than `/etc/hosts` and DNS, which is all that a static C library knows for sure.
pub(crate) fn run(root: &Path) -> Result<()> {
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let dist = target_dir.join("dist");
    let for_images = dist.join("static");
    fs::create_dir_all(&for_images)
        .with_context(|| format!("cannot create {}", for_images.display()))?;

    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    for (package, to) in [
        ("kms-plugin", dist.join("kms-plugin")),
        ("kdc", for_images.join("kdc")),
    ] {
        let mut cargo = release(root, package);
        cargo.args(["--target", &target]).env("RUSTFLAGS", STATIC);
        let built = target_dir.join(&target).join("release").join(package);
        build_and_copy(cargo, &built, &to)?;
    }

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
