//! Runs every fault against real servers and writes what was seen into `docs/reliability.md`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::servers;

const DOCUMENT: &str = "docs/reliability.md";
/// What precedes and follows the table.
const HEAD: &str = include_str!("reliability_head.md");
const TAIL: &str = include_str!("reliability_tail.md");

/// Fails, and leaves the document alone, if a fault does not heal.
pub(crate) fn run(root: &Path) -> Result<()> {
    servers::prepare_all(false)?;
    let tables = tempfile::tempdir().context("cannot make a temporary folder")?;
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["test", "--locked", "--package", "kdc-testbed"])
        .args(["--test", "reliability", "--", "--test-threads", "1"])
        .env("KDC_RELIABILITY_TABLES", tables.path())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "a fault did not heal as it should");
    let mut rows = String::new();
    let mut names: Vec<_> = fs::read_dir(tables.path())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        rows.push_str(&fs::read_to_string(&name)?);
    }
    let cores = std::thread::available_parallelism()?;
    let machine = format!("Measured on {cores} cores of {}.", env::consts::ARCH);
    let text = HEAD.replace("{machine}", &machine) + &rows + TAIL;
    fs::write(root.join(DOCUMENT), text).with_context(|| format!("cannot write {DOCUMENT}"))
}
