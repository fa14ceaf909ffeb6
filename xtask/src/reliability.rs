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
/// What the marks around the table say that `cargo xtask attack` writes.
const ATTACKS: &str = "attacks";
/// Likewise for the table that `cargo xtask reliability --node` writes.
const NODE: &str = "node";
const NODE_HEADINGS: &str =
    "| event | reads of a Secret | writes of a Secret | calls of the plugin |\n|---|---|---|---|\n";

/// Measures what clients see on a real node when parts of it end, and writes that table alone.
pub(crate) fn run_node(root: &Path) -> Result<()> {
    servers::prepare_all(false, WithNode::Yes)?;
    let tables = tempfile::tempdir().context("cannot make a temporary folder")?;
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["test", "--locked", "--workspace", "--all-features"])
        .args([
            "--test",
            "node",
            "interruptions",
            "--",
            "--test-threads",
            "1",
        ])
        .env("KDC_NODE_TABLES", tables.path())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "clients saw what they should not");
    let table = format!("{}\n\n{NODE_HEADINGS}{}", machine()?, rows(tables.path())?);
    replace_section(root, NODE, &table)
}

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
    let mut text = HEAD.replace("{machine}", &machine()?) + &rows + TAIL;
    // The other tables are kept.
    for name in [ATTACKS, NODE] {
        if let Some(table) = section(&before, name) {
            text = with_section(&text, name, table)?;
        }
    }
    fs::write(path, text).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// Puts the table of attacks into the document.
pub(crate) fn write_attacks(root: &Path, table: &str) -> Result<()> {
    replace_section(root, ATTACKS, &format!("{}\n\n{table}", machine()?))
}

fn replace_section(root: &Path, name: &str, section: &str) -> Result<()> {
    let path = root.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let text = with_section(&text, name, section)?;
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

/// The marks around a table.
fn marks(name: &str) -> [String; 2] {
    ["begin", "end"].map(|end| format!("<!-- {name}: {end} -->"))
}

/// The text between the marks of this name.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let [begin, end] = marks(name);
    let (_, rest) = text.split_once(&begin)?;
    let (section, _) = rest.split_once(&end)?;
    Some(section.trim())
}

fn with_section(text: &str, name: &str, section: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let no_marks = || format!("{DOCUMENT} has no marks for the table of {name}");
    let (before, rest) = text.split_once(&begin).with_context(no_marks)?;
    let (_, after) = rest.split_once(&end).with_context(no_marks)?;
    Ok(format!("{before}{begin}\n{}\n{end}{after}", section.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        let text = "a\n<!-- attacks: begin -->\nold\n<!-- attacks: end -->\nb\n";
        assert_eq!(section(text, ATTACKS), Some("old"));
        assert_eq!(section(text, NODE), None);
        let replaced = with_section(text, ATTACKS, "new").unwrap();
        assert_eq!(replaced, text.replace("old", "new"));
        assert!(with_section(text, NODE, "new").is_err());
    }

    #[test]
    fn the_document_ends_as_it_would_be_written() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
        let mut text = fs::read_to_string(path).unwrap();
        for name in [ATTACKS, NODE] {
            text = with_section(&text, name, section(TAIL, name).unwrap()).unwrap();
        }
        assert!(
            text.ends_with(TAIL),
            "edit xtask/src/reliability_tail.md as well"
        );
    }
}
