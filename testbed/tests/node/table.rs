//! The table of `docs/reliability.md`, which `cargo xtask reliability --node` writes from what the tests leave in a folder.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::observer::{Observed, Tally};

/// The variable that names the folder for the tables.
const FOLDER: &str = "KDC_NODE_TABLES";

/// The lines of one test.
pub struct Table {
    name: &'static str,
    text: String,
}

impl Table {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            text: String::new(),
        }
    }

    /// Something that happened, and what clients saw of it.
    pub fn line(&mut self, event: &str, seen: &Observed) {
        let Observed {
            reads,
            writes,
            plugin,
        } = seen;
        let plugin = plugin
            .as_ref()
            .map_or_else(|| "–".to_owned(), Tally::to_string);
        let line = format!("| {event} | {reads} | {writes} | {plugin} |");
        let _ = writeln!(self.text, "{line}");
    }
}

impl Drop for Table {
    /// Writes the table, if the environment names a folder for it.
    fn drop(&mut self) {
        if let Some(folder) = std::env::var_os(FOLDER).filter(|_| !std::thread::panicking()) {
            fs::write(PathBuf::from(folder).join(self.name), &self.text).unwrap();
        }
    }
}
