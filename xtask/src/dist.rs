//! The release binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// Without the second a static program finds no `getrandom` in the C library and reads `/dev/urandom`, which an empty image may lack.
const STATIC: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";
/// For the C parts.
const HARDENED: &str = "-fstack-protector-strong";

/// Where the release binaries were put.
#[derive(Debug)]
pub(crate) struct Dist {
    /// `kms-plugin`, static.
    pub(crate) kms_plugin: PathBuf,
    /// `kdc`, static.
    pub(crate) static_kdc: PathBuf,
    target_dir: PathBuf,
}

impl Dist {
    /// The folder for the archives of images.
    pub(crate) fn images(&self) -> PathBuf {
        self.target_dir.join("dist/images")
    }
}

/// Builds into `target/dist`: `kms-plugin` and `static/kdc` static, for container images that hold nothing else; and `kdc` dynamic, for
/// machines, where host names may come from more than `/etc/hosts` and DNS, which is all that a static C library knows for sure.
pub(crate) fn run(root: &Path) -> Result<()> {
    let dist = build_static(root)?;
    let built = dist.target_dir.join("release/kdc");
    let to = dist.target_dir.join("dist/kdc");
    build_and_copy(release(root, "kdc"), &built, &to)
}

/// The part of [`run`] that images are made from.
pub(crate) fn build_static(root: &Path) -> Result<Dist> {
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let dist = target_dir.join("dist");
    let for_images = dist.join("static");
    fs::create_dir_all(&for_images)
        .with_context(|| format!("cannot create {}", for_images.display()))?;
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let [rust, c] = flags(root)?;
    for (package, to) in [
        ("kms-plugin", dist.join("kms-plugin")),
        ("kdc", for_images.join("kdc")),
    ] {
        let mut cargo = release(root, package);
        cargo.args(["--target", &target]);
        cargo.env("RUSTFLAGS", &rust).env("CFLAGS", &c);
        let built = target_dir.join(&target).join("release").join(package);
        build_and_copy(cargo, &built, &to)?;
    }
    Ok(Dist {
        kms_plugin: dist.join("kms-plugin"),
        static_kdc: for_images.join("kdc"),
        target_dir,
    })
}

/// Flags of the two compilers. The folders of the machine that builds are replaced by names that are the same everywhere.
fn flags(root: &Path) -> Result<[String; 2]> {
    let (mut rust, mut c) = (STATIC.to_owned(), HARDENED.to_owned());
    let home = cargo_home()?;
    for (folder, name) in [(home.as_path(), "/cargo"), (root, "/kdc-envelope")] {
        let folder = folder.display();
        rust.push_str(&format!(" --remap-path-prefix={folder}={name}"));
        c.push_str(&format!(" -ffile-prefix-map={folder}={name}"));
    }
    Ok([rust, c])
}

/// Where cargo keeps the sources of other packages.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// With `cargo auditable`, if that is installed, the program holds the list of what it was built from.
fn release(root: &Path, package: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root);
    if is_auditable() {
        cargo.arg("auditable");
    }
    cargo.args(["build", "--release", "--locked", "--package", package]);
    cargo
}

/// Whether `cargo auditable` is installed.
pub(crate) fn is_auditable() -> bool {
    let version = Command::new(env!("CARGO"))
        .args(["auditable", "--version"])
        .output();
    version.is_ok_and(|output| output.status.success())
}

fn build_and_copy(mut cargo: Command, from: &Path, to: &Path) -> Result<()> {
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the build failed");
    let len = fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    crate::say(&format!("{} ({} KiB)", to.display(), len / 1024));
    Ok(())
}
