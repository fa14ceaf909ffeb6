//! The images of the shipped programs, as OCI archives.
//!
//! What is in them is read from the Containerfiles that others build with podman or docker; these use few instructions, and any further
//! one is refused here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kdc_testbed::oci::Image;
use serde_json::{Value, json};

use crate::{dist, say};

/// As podman and buildah name what was built on the machine.
const LOCAL: &str = "localhost";

/// Builds all images.
pub(crate) fn run(root: &Path) -> Result<()> {
    let built = dist::build_static(root)?;
    if !dist::is_auditable() {
        say(
            "the programs hold no list of what they were built from: `cargo install cargo-auditable` brings it",
        );
    }
    let folder = built.images();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (program, recipe) in [
        (&built.kms_plugin, "deploy/Containerfile"),
        (&built.static_kdc, "deploy/backup/Containerfile"),
    ] {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        ensure_portable(root, program)?;
        let recipe = root.join(recipe);
        let text = read(&recipe)?;
        let context = program.parent().unwrap_or(root);
        let image = image(&text, &name, context)
            .with_context(|| format!("cannot follow {}", recipe.display()))?;
        let archive = folder.join(format!("{name}.tar"));
        let written = image.write(&archive)?;
        let contents = folder.join(format!("{name}.cdx.json"));
        fs::write(&contents, bill_of_materials(root, &name)?.to_string())
            .with_context(|| format!("cannot write {}", contents.display()))?;
        say(&format!(
            "{} ({} KiB) {}",
            archive.display(),
            written.size / 1024,
            written.digest
        ));
    }
    Ok(())
}

/// The image that a recipe describes. `context` is the folder that `COPY` copies from.
fn image(recipe: &str, name: &str, context: &Path) -> Result<Image> {
    let recipe = recipe.replace("\\\n", " ");
    let version = env!("CARGO_PKG_VERSION");
    let mut image = Image::new(format!("{LOCAL}/{name}:{version}"));
    let lines = recipe.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        image = match instruction {
            "FROM" if rest == "scratch" => image,
            "LABEL" => labels(rest)
                .iter()
                .fold(image, |image, (name, value)| image.label(name, value)),
            "COPY" => match *rest.split_whitespace().collect::<Vec<_>>() {
                ["--chmod=0555", from, to] => image.program(context.join(from), to),
                _ => bail!("COPY is understood with --chmod=0555 and one file: {line}"),
            },
            "USER" => image.user(rest),
            "ENTRYPOINT" => {
                let words: Vec<&str> = serde_json::from_str(rest).context("ENTRYPOINT")?;
                image.entrypoint(&words)
            }
            _ => bail!("not understood: {line}"),
        };
    }
    Ok(image)
}

/// `NAME="VALUE"`, with spaces between.
fn labels(text: &str) -> Vec<(String, String)> {
    let mut parts = text.split('"');
    let mut labels = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let name = name.trim().trim_end_matches('=');
        labels.push((name.to_owned(), value.to_owned()));
    }
    labels
}

/// Fails if the program names folders of this machine.
fn ensure_portable(root: &Path, program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    for folder in [root.to_path_buf(), dist::cargo_home()?] {
        let folder = folder.to_string_lossy().into_owned();
        let is_inside = bytes
            .windows(folder.len())
            .any(|window| window == folder.as_bytes());
        ensure!(
            !is_inside,
            "{} names the folder {folder} of this machine",
            program.display()
        );
    }
    Ok(())
}

/// All packages that are linked into a program, in CycloneDX 1.5.
fn bill_of_materials(root: &Path, package: &str) -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["tree", "--locked", "--edges", "normal", "--no-dedupe"])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
            "--package",
            package,
        ])
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo tree failed");
    let listed = String::from_utf8(output.stdout).context("cargo tree")?;
    // A package that is a path of this machine has it in parentheses; the name and version stand before.
    let packages: BTreeSet<(&str, &str, &str)> = listed
        .lines()
        .filter_map(|line| {
            let (package, license) = line.split_once('|')?;
            let mut words = package.split_whitespace();
            let (name, version) = (words.next()?, words.next()?);
            Some((name, version.trim_start_matches('v'), license))
        })
        .collect();
    ensure!(packages.len() > 1, "cargo tree names no packages");
    let component = |(name, version, license): &(&str, &str, &str), kind: &str| {
        json!({
            "type": kind,
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{"expression": license}],
        })
    };
    let is_itself = |one: &&(&str, &str, &str)| one.0 == package;
    let itself = packages.iter().find(is_itself);
    let others = packages.iter().filter(|one| !is_itself(one));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": itself.map(|one| component(one, "application"))},
        "components": others.map(|one| component(one, "library")).collect::<Vec<_>>(),
    }))
}

fn read(path: &PathBuf) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_are_followed_and_what_is_unknown_is_refused() {
        let root = crate::workspace_root().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, recipe) in [
            ("kms-plugin", "deploy/Containerfile"),
            ("kdc", "deploy/backup/Containerfile"),
        ] {
            fs::write(folder.path().join(name), "a program").unwrap();
            let text = read(&root.join(recipe)).unwrap();
            let archive = folder.path().join("image.tar");
            let image = image(&text, name, folder.path()).unwrap();
            image.write(&archive).unwrap();
            let archive = fs::read(&archive).unwrap();
            let archive = String::from_utf8_lossy(&archive);
            let version = env!("CARGO_PKG_VERSION");
            for expected in [
                format!(r#""Entrypoint":["/{name}"]"#),
                r#""User":"65532:65532""#.to_owned(),
                format!(r#""org.opencontainers.image.title":"{name}""#),
                format!(r#""org.opencontainers.image.version":"{version}""#),
                format!(r#""io.containerd.image.name":"localhost/{name}:{version}""#),
                "a program".to_owned(),
            ] {
                assert!(archive.contains(&expected), "{expected}");
            }
        }
        let refused = |recipe| image(recipe, "kdc", folder.path()).unwrap_err().to_string();
        assert!(refused("FROM scratch\nRUN true").contains("not understood: RUN true"));
        assert!(refused("FROM debian").contains("not understood: FROM debian"));
    }

    #[test]
    fn the_list_has_what_is_linked_and_no_path_of_the_machine() {
        let root = crate::workspace_root().unwrap();
        let list = bill_of_materials(&root, "kms-plugin").unwrap().to_string();
        assert!(list.contains("pkg:cargo/aws-lc-rs@"));
        assert!(list.contains("pkg:cargo/kdc-envelope-bao@"));
        assert!(!list.contains("pkg:cargo/insta@"), "of tests alone");
        assert!(!list.contains(root.to_str().unwrap()));
    }

    #[test]
    fn a_program_that_names_a_folder_of_this_machine_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "at /kdc-envelope/bins/kdc/src/main.rs:1").unwrap();
        ensure_portable(folder.path(), &program).unwrap();
        fs::write(&program, format!("at {}/main.rs", folder.path().display())).unwrap();
        ensure_portable(folder.path(), &program).unwrap_err();
    }
}
