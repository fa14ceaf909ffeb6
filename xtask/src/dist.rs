//! The release binaries: static, so that they run in an empty container image.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

const PROGRAMS: [&str; 2] = ["kms-plugin", "kdc"];

/// Builds into `target/dist`. Linked statically against glibc, whose standard library comes with every Rust toolchain; the programs use
/// neither name resolution by plug-ins nor locales, which alone would miss the dynamic one.
pub(crate) fn run(root: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--release", "--locked", "--target", &target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    for program in PROGRAMS {
        cargo.args(["--package", program]);
    }
    ensure!(
        cargo.status().context("cannot run cargo")?.success(),
        "the build failed"
    );
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let dist = target_dir.join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    for program in PROGRAMS {
        let from = target_dir.join(&target).join("release").join(program);
        let to = dist.join(program);
        let len =
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        crate::say(&format!("{} ({} KiB)", to.display(), len / 1024));
    }
    Ok(())
}
