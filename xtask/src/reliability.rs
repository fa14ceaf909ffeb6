//! Runs every fault against real servers and writes the results into `docs/reliability.md`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::servers;
use crate::servers::WithNode;

const DOCUMENT: &str = "docs/reliability.md";
/// The text before the table; the one below follows it.
const HEAD: &str = include_str!("reliability_head.md");
const TAIL: &str = include_str!("reliability_tail.md");
/// The marks around the table that `cargo xtask attack` writes.
const ATTACKS_BEGIN: &str = "<!-- attacks: begin -->";
const ATTACKS_END: &str = "<!-- attacks: end -->";
const NO_MARKS: &str = "docs/reliability.md has no marks for the table of attacks";

/// Measures every fault and writes the document. Fails, and leaves the document alone, if the plugin does not recover.
pub(crate) fn run(root: &Path) -> Result<()> {
    servers::prepare_all(false, WithNode::No)?;
    let tables = tempfile::tempdir().context("cannot make a temporary folder")?;
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        // The features of `cargo xtask test`, so that nothing is built twice.
        .args(["test", "--locked", "--workspace", "--all-features"])
        .args(["--test", "reliability", "--", "--test-threads", "1"])
        .env("KDC_RELIABILITY_TABLES", tables.path())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "a fault did not heal as it should");
    let path = root.join(DOCUMENT);
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let rows = rows(tables.path())?;
    let text = HEAD.replace("{machine}", &machine()?) + &rows + TAIL;
    // The table of attacks is kept.
    let text = match section(&before) {
        Some(attacks) => with_section(&text, attacks)?,
        None => text,
    };
    fs::write(path, text).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// Puts the table of attacks into the document.
pub(crate) fn write_attacks(root: &Path, table: &str) -> Result<()> {
    let path = root.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let text = with_section(&text, &format!("{}\n\n{table}", machine()?))?;
    fs::write(path, text).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// What the tests left in a folder, in the order of the files' names.
pub(crate) fn rows(folder: &Path) -> Result<String> {
    let mut names: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    names.sort();
    let rows: Result<String, _> = names.iter().map(fs::read_to_string).collect();
    Ok(rows?)
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "Measured on {cores} cores of {}.",
        env::consts::ARCH
    ))
}

/// The text between the marks of the table of attacks.
fn section(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(ATTACKS_BEGIN)?;
    let (section, _) = rest.split_once(ATTACKS_END)?;
    Some(section.trim())
}

fn with_section(text: &str, section: &str) -> Result<String> {
    let (before, rest) = text.split_once(ATTACKS_BEGIN).context(NO_MARKS)?;
    let (_, after) = rest.split_once(ATTACKS_END).context(NO_MARKS)?;
    Ok(format!(
        "{before}{ATTACKS_BEGIN}\n{}\n{ATTACKS_END}{after}",
        section.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_attacks_is_replaced_and_nothing_else() {
        let text = format!("a\n{ATTACKS_BEGIN}\nold\n{ATTACKS_END}\nb\n");
        assert_eq!(section(&text), Some("old"));
        let replaced = with_section(&text, "new").unwrap();
        assert_eq!(replaced, text.replace("old", "new"));
        assert!(with_section("without marks", "new").is_err());
    }

    #[test]
    fn the_document_ends_as_it_would_be_written() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
        let text = fs::read_to_string(path).unwrap();
        let text = with_section(&text, section(TAIL).unwrap()).unwrap();
        assert!(
            text.ends_with(TAIL),
            "edit xtask/src/reliability_tail.md as well"
        );
    }
}
