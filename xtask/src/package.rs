//! The libraries as a registry would have them: packed, and built from nothing but what was packed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A library that is meant to be published.
struct Library {
    name: String,
    version: String,
}

/// Packs every library into `target/package`, unpacks them beside each other, and checks them there, one depending on the other.
/// A file that a library needs and does not pack is missed then.
pub(crate) fn run(root: &Path) -> Result<()> {
    let libraries = libraries(root)?;
    ensure!(!libraries.is_empty(), "no library is meant to be published");
    let target_dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut pack = cargo(root);
    pack.args(["package", "--no-verify", "--allow-dirty", "--locked"])
        .arg("--target-dir")
        .arg(&target_dir);
    for library in &libraries {
        pack.args(["--package", &library.name]);
    }
    succeed(&mut pack)?;

    let folder = tempfile::tempdir().context("a folder for what was packed")?;
    for library in &libraries {
        let archive = format!("{}-{}.crate", library.name, library.version);
        let mut unpack = Command::new("tar");
        unpack
            .arg("-xzf")
            .arg(target_dir.join("package").join(archive));
        succeed(unpack.arg("-C").arg(folder.path()))?;
    }
    fs::write(folder.path().join("Cargo.toml"), workspace(&libraries))?;
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock"))?;
    for features in ["--no-default-features", "--all-features"] {
        let mut check = cargo(folder.path());
        check.args(["check", "--workspace", "--offline", features]);
        succeed(check.arg("--target-dir").arg(target_dir.join("packaged")))?;
    }
    for library in &libraries {
        crate::say(&format!(
            "{} {} builds from its package",
            library.name, library.version
        ));
    }
    Ok(())
}

/// The members of the workspace that `publish = false` does not keep back.
fn libraries(root: &Path) -> Result<Vec<Library>> {
    let mut metadata = cargo(root);
    metadata.args(["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let output = metadata.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed");
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let text = |package: &Value, field: &str| -> Result<String> {
        let text = package.get(field).and_then(Value::as_str);
        Ok(text
            .with_context(|| format!("a package without {field}"))?
            .to_owned())
    };
    packages
        .context("cargo metadata shows no packages")?
        .iter()
        .filter(|package| package.get("publish").is_none_or(Value::is_null))
        .map(|package| {
            Ok(Library {
                name: text(package, "name")?,
                version: text(package, "version")?,
            })
        })
        .collect()
}

/// A workspace of unpacked libraries, each of which takes the others from there and not from a registry.
fn workspace(libraries: &[Library]) -> String {
    let folder = |library: &Library| format!("{}-{}", library.name, library.version);
    let members: Vec<_> = libraries
        .iter()
        .map(|one| format!("{:?}", folder(one)))
        .collect();
    let patches: String = libraries
        .iter()
        .map(|one| format!("{} = {{ path = {:?} }}\n", one.name, folder(one)))
        .collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[patch.crates-io]\n{patches}",
        members.join(", ")
    )
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder);
    cargo
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        status.success(),
        "{} {} failed",
        command.get_program().display(),
        command.get_args().next().unwrap_or_default().display()
    );
    Ok(())
}
