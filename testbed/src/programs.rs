//! The programs of this workspace, built as a user would build them, for tests
//! that run them as processes of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::Error;

const TAIL_LINES: usize = 20;

/// Where our own programs lie.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Programs {
    /// `kdc`.
    pub kdc: PathBuf,
    /// `kms-plugin`.
    pub kms_plugin: PathBuf,
    /// `k8-manager`.
    pub k8_manager: PathBuf,
    /// `kdc-manager`.
    pub kdc_manager: PathBuf,
}

/// Builds all of them, once for this process, in the profile of the
/// caller and where cargo is configured to put them. Blocks.
///
/// # Errors
/// [`Error::Build`] with the end of what cargo printed.
pub fn build() -> Result<&'static Programs, &'static Error> {
    static PROGRAMS: LazyLock<Result<Programs, Error>> = LazyLock::new(build_now);
    PROGRAMS.as_ref()
}

fn build_now() -> Result<Programs, Error> {
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        // As a test run of the whole workspace builds them, so that nothing is compiled twice.
        .args(["build", "--workspace", "--all-features"])
        .args(["--bin", "kdc", "--bin", "kms-plugin"])
        .args(["--bin", "k8-manager", "--bin", "kdc-manager"])
        .args(["--profile", profile])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Process {
            action: "run",
            name: "cargo".to_owned(),
            source,
        })?;
    let failed = |tail: String| Error::Build {
        what: "the programs of the workspace".to_owned(),
        tail,
    };
    if !output.status.success() {
        return Err(failed(tail(&String::from_utf8_lossy(&output.stderr))));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = |name: &str| {
        executable(&messages, name).ok_or_else(|| failed(format!("cargo named no program {name}")))
    };
    Ok(Programs {
        kdc: program("kdc")?,
        kms_plugin: program("kms-plugin")?,
        k8_manager: program("k8-manager")?,
        kdc_manager: program("kdc-manager")?,
    })
}

/// The path in cargo's message about the program `name`.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message
                .pointer("/target/name")
                .is_some_and(|target| target == name)
        })
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines
        .into_iter()
        .skip(skipped)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_beside_its_library_and_other_messages() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"kdc"},"executable":null}
            not JSON
            {"reason":"compiler-artifact","target":{"name":"kdc"},"executable":"/target/debug/kdc"}"#;
        assert_eq!(
            executable(messages, "kdc"),
            Some(PathBuf::from("/target/debug/kdc"))
        );
        assert_eq!(executable(messages, "kms-plugin"), None);
    }

    #[test]
    fn the_tail_has_the_last_lines() {
        let text: Vec<String> = (0..30).map(|line| line.to_string()).collect();
        assert!(tail(&text.join("\n")).starts_with("10\n11\n"));
        assert_eq!(tail("one"), "one");
    }
}
